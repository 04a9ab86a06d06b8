// openid-client 6, a relying party nobody here wrote, goes through the whole life of a login: discovery, authorization code with PKCE,
// state and nonce through the hosted pages, exchange, userinfo, silent switches by plain redirect, refresh, revocation, logout.
//
// stdin:  see members below. The client must have the callback http://localhost:<redirectPort>/callback and the logout URL
//         http://localhost:<redirectPort>/logged-out registered.
// stdout: {ok:true, metadata, screens, tokens, userinfo, silent:{<organization>:tokens}, refreshed, revoked, afterLogout}
import { randomUUID } from 'node:crypto';
import { createRemoteJWKSet, customFetch as joseFetch, jwtVerify } from 'jose';
import * as client from 'openid-client';
import { openBrowser } from './chromium.mjs';
import { signIn } from './hosted.mjs';
import { loopbackFetch, serve } from './loopback.mjs';
import { main } from './script.mjs';
import { report } from './tokens.mjs';

const members = {
  required: ['issuer', 'clientId', 'redirectPort', 'username', 'password', 'scope'],
  // tokenEndpointAuthMethod: client_secret_basic (default with a secret) or client_secret_post. silentOrganizations are switched to by
  // prompt=none in the same browser. javaScriptEnabled:false does the login without script.
  optional: ['clientSecret', 'tokenEndpointAuthMethod', 'organization', 'silentOrganizations', 'audience', 'caFile', 'javaScriptEnabled'],
};

async function flow(config, run) {
  const origin = `http://localhost:${config.redirectPort}`;
  const fetch = loopbackFetch({ ...config, limit: run.limit });

  run.step('discovery');
  const as = await client.discovery(new URL(config.issuer), config.clientId, {}, authentication(config), {
    [client.customFetch]: fetch,
    timeout: run.limit / 1000,
    execute: config.issuer.startsWith('http://') ? [client.allowInsecureRequests] : [],
  });
  // openid-client trusts an ID token it fetched over TLS; the signatures are what is under test here.
  client.enableNonRepudiationChecks(as);
  const metadata = as.serverMetadata();
  const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { [joseFetch]: fetch, timeoutDuration: run.limit });
  const verified = async (answer) => {
    await jwtVerify(answer.access_token, keys, { issuer: config.issuer });
    return report(answer);
  };

  run.step('app');
  const app = await serve(config.redirectPort, (request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><title>App</title><p>The app');
  });
  run.onClose(() => app.close());

  run.step('browser');
  const { page } = await openBrowser(run, config);

  // One authorization request up to the redirect back, and what openid-client makes of it.
  const authorize = async (parameters) => {
    const checks = {
      pkceCodeVerifier: client.randomPKCECodeVerifier(),
      expectedState: client.randomState(),
      expectedNonce: client.randomNonce(),
      idTokenExpected: config.scope.split(' ').includes('openid'),
    };
    const url = client.buildAuthorizationUrl(as, {
      redirect_uri: `${origin}/callback`,
      scope: config.scope,
      state: checks.expectedState,
      nonce: checks.expectedNonce,
      code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
      code_challenge_method: 'S256',
      ...(config.audience && { audience: config.audience }),
      ...parameters,
    });
    await page.goto(url.href);
    return checks;
  };
  const redeem = async (checks) => {
    const callback = new URL(page.url());
    if (callback.origin !== origin || callback.pathname !== '/callback') throw new Error(`arrived at ${callback.href}, not at the callback`);
    // RFC 9207 section 2: in every response, also in errors, and the library only insists on it when the metadata promise it.
    const iss = callback.searchParams.getAll('iss');
    if (iss.length !== 1 || iss[0] !== config.issuer) throw new Error(`iss in the response is ${JSON.stringify(iss)}, want ${config.issuer}`);
    return client.authorizationCodeGrant(as, callback, checks);
  };

  run.step('authorize');
  const checks = await authorize(config.organization ? { organization: config.organization } : {});
  run.step('login');
  const screens = await signIn(page, new URL(config.issuer).origin, config);
  run.step('exchange');
  const answer = await redeem(checks);
  const tokens = await verified(answer);

  run.step('userinfo');
  const userinfo = await client.fetchUserInfo(as, answer.access_token, tokens.idTokenClaims?.sub ?? client.skipSubjectCheck);

  const silent = {};
  for (const organization of config.silentOrganizations ?? []) {
    run.step(`silent ${organization}`);
    silent[organization] = await verified(await redeem(await authorize({ organization, prompt: 'none' })));
  }

  let refreshed;
  let revoked;
  if (config.scope.split(' ').includes('offline_access')) {
    run.step('refresh');
    if (!answer.refresh_token) throw new Error('offline_access was asked for and no refresh token came');
    const again = await client.refreshTokenGrant(as, answer.refresh_token);
    refreshed = await verified(again);

    run.step('revoke');
    // Without rotation the first token stays the current one.
    const last = again.refresh_token ?? answer.refresh_token;
    await client.tokenRevocation(as, last, { token_type_hint: 'refresh_token' });
    revoked = await refusal(client.refreshTokenGrant(as, last), 'invalid_grant', 'a revoked refresh token');
  }

  run.step('logout');
  const state = randomUUID();
  const parameters = { post_logout_redirect_uri: `${origin}/logged-out`, state, ...(answer.id_token && { id_token_hint: answer.id_token }) };
  await page.goto(client.buildEndSessionUrl(as, parameters).href);
  if (page.url() !== `${origin}/logged-out?state=${state}`) throw new Error(`logout ended at ${page.url()}`);

  run.step('after logout');
  const afterLogout = await refusal(authorize({ prompt: 'none' }).then(redeem), 'login_required', 'silent login after logout');

  return { metadata, screens, tokens, userinfo, silent, ...(refreshed && { refreshed, revoked }), afterLogout };
}

function authentication({ clientSecret, tokenEndpointAuthMethod = 'client_secret_basic' }) {
  if (!clientSecret) return client.None();
  return tokenEndpointAuthMethod === 'client_secret_post' ? client.ClientSecretPost(clientSecret) : client.ClientSecretBasic(clientSecret);
}

async function refusal(attempt, code, what) {
  const error = await attempt.then(
    () => {
      throw new Error(`${what} was accepted`);
    },
    (error) => error,
  );
  if (error.error !== code) throw error;
  return { error: error.error, errorDescription: error.error_description ?? '' };
}

await main(members, flow);
