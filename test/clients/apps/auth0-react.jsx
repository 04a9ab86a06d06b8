// An application of auth0-react as its manual shows it: who is logged in, and a button for each thing to do.
import { Auth0Provider, useAuth0 } from '@auth0/auth0-react';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';

function App() {
  const { isLoading, isAuthenticated, error, user, loginWithRedirect, logout, getAccessTokenSilently, revokeRefreshToken } = useAuth0();
  const [answer, setAnswer] = useState('');
  const show = (promise) => {
    setAnswer('');
    promise.then(
      (value) => setAnswer(JSON.stringify({ value: value ?? null })),
      (e) => setAnswer(JSON.stringify({ refused: { error: e.error ?? e.name, error_description: e.error_description ?? e.message } })),
    );
  };
  if (isLoading) return <p>Just a moment</p>;
  return (
    <main>
      <p id="who">{error ? `${error.error}: ${error.message}` : isAuthenticated ? user.email : 'nobody'}</p>
      <button id="login" onClick={() => loginWithRedirect()}>Log in</button>
      <button id="silent-login" onClick={() => loginWithRedirect({ authorizationParams: { prompt: 'none' } })}>Log in silently</button>
      <button id="token" onClick={() => show(getAccessTokenSilently({ cacheMode: 'off', detailedResponse: true }))}>Token</button>
      <button id="revoke" onClick={() => show(revokeRefreshToken())}>Revoke</button>
      <button id="logout" onClick={() => logout({ logoutParams: { returnTo: `${location.origin}/logged-out` } })}>Log out</button>
      <pre id="answer">{answer}</pre>
    </main>
  );
}

createRoot(document.getElementById('root')).render(
  <Auth0Provider {...window.options}>
    <App />
  </Auth0Provider>,
);
