// oidc-client-ts in a browser: login by redirect, silent renewal in an iframe and by refresh token, revocation, logout.
import { signIn } from '../hosted.mjs';
import { mustTake } from '../routes.mjs';
import { report } from '../tokens.mjs';
import { app, bundle, html, refused } from './party.mjs';

export default async function (config, run, { page, routes }) {
  run.step('bundle');
  let scope = 'openid profile email read:orders';
  const options = () => ({
    authority: config.issuer,
    client_id: config.clientId,
    redirect_uri: `${config.origin}/callback`,
    silent_redirect_uri: `${config.origin}/callback`,
    post_logout_redirect_uri: `${config.origin}/logged-out`,
    scope,
    extraQueryParams: { audience: config.audience },
    loadUserInfo: true,
    automaticSilentRenew: false,
  });
  await app(config, run, () => html(options()), await bundle('oidc-client-ts.js'));

  // What a method of the manager comes to: the user, or the OAuth error.
  const call = async (method, ...args) => {
    const { value, error } = await page.evaluate(
      async ({ method, args }) => {
        try {
          await window.ready;
          const user = method ? await window.manager[method](...args) : await window.manager.getUser();
          return { value: user && { ...user, expires_in: user.expires_in } };
        } catch (e) {
          return { error: { error: e.error ?? e.name, error_description: e.error_description ?? e.message } };
        }
      },
      { method, args },
    );
    if (error) throw error;
    return value;
  };
  const leave = async (method, pattern, ...args) => {
    await page.goto(config.origin);
    await Promise.all([page.waitForURL(pattern), page.evaluate(({ method, args }) => void window.manager[method](...args), { method, args })]);
  };
  const atTenant = (url) => url.origin === config.tenant.origin;
  const atCallback = (url) => url.origin === config.origin && url.pathname === '/callback';

  run.step('login');
  await leave('signinRedirect', atTenant);
  await signIn(page, config.tenant.origin, config);
  const user = await call();

  run.step('silent renewal in an iframe');
  routes.took();
  const iframe = report(await call('signinSilent'));
  mustTake(routes, 'iframe');

  run.step('refresh token');
  scope += ' offline_access';
  await leave('signinRedirect', atCallback);
  await call();
  routes.took();
  const refreshed = report(await call('signinSilent'));
  mustTake(routes, 'refresh_token');

  run.step('revoke');
  const { refresh_token: stolen } = await call();
  await call('revokeTokens', ['refresh_token']);
  const again = await fetch(`${config.issuer}oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'refresh_token', client_id: config.clientId, refresh_token: stolen }),
  });
  const revoked = await refused(again.json().then((body) => (again.ok ? body : Promise.reject(body))), 'invalid_grant', 'a revoked refresh token');

  run.step('logout');
  await leave('signoutRedirect', `${config.origin}/logged-out*`);
  await leave('signinRedirect', atCallback, { prompt: 'none' });
  const after = await refused(call(), 'login_required', 'silent login after logout');
  return { profile: user.profile, iframe: iframe.accessTokenClaims, refreshed: refreshed.accessTokenClaims, revoked, after };
}
