// oauth4webapi, the library below others, as a confidential client: pushed request, code with PKCE, signatures of both tokens verified,
// userinfo, introspection, refresh, revocation, logout.
import * as oauth from 'oauth4webapi';
import { app, refused, visit } from './party.mjs';

export default async function (config, run, browser) {
  run.step('discovery');
  const issuer = new URL(config.issuer);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer));
  const client = { client_id: config.clientId };
  const secret = oauth.ClientSecretBasic(config.clientSecret);
  await app(config, run, () => '<!doctype html><title>App</title><p>The app');

  const authorize = async (more) => {
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const nonce = oauth.generateRandomNonce();
    const parameters = new URLSearchParams({
      response_type: 'code',
      redirect_uri: `${config.origin}/callback`,
      scope: 'openid profile email read:orders offline_access',
      audience: config.audience,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
      ...more,
    });
    const pushed = await oauth.processPushedAuthorizationResponse(as, client, await oauth.pushedAuthorizationRequest(as, client, secret, parameters));
    const url = new URL(as.authorization_endpoint);
    url.search = new URLSearchParams({ client_id: config.clientId, request_uri: pushed.request_uri });
    const { callback, screens } = await visit(browser, url, config);
    return { verifier, nonce, screens, answer: oauth.validateAuthResponse(as, client, callback, state) };
  };

  run.step('login by a pushed request');
  const { verifier, nonce, screens, answer } = await authorize();
  const exchanged = await oauth.authorizationCodeGrantRequest(as, client, secret, answer, `${config.origin}/callback`, verifier);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, exchanged, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, exchanged);
  const { sub } = oauth.getValidatedIdTokenClaims(tokens);

  run.step('access token as an API sees it'); // RFC 9068
  const seen = new Request('https://api.example.com/', { headers: { authorization: `Bearer ${tokens.access_token}` } });
  const access = await oauth.validateJwtAccessToken(as, seen, config.audience);

  run.step('userinfo, introspection');
  const userinfo = await oauth.processUserInfoResponse(as, client, sub, await oauth.userInfoRequest(as, client, tokens.access_token));
  const introspect = async (token) => oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, secret, token));
  const live = await introspect(tokens.access_token);

  run.step('silent');
  const silent = await authorize({ prompt: 'none' });
  if (silent.screens.length) throw new Error(`login was asked for at ${silent.screens}`);

  run.step('refresh');
  const refresh = async (token) =>
    oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, secret, token));
  const refreshed = await refresh(tokens.refresh_token);

  run.step('revoke');
  const last = refreshed.refresh_token ?? tokens.refresh_token;
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, secret, last));
  const revoked = await refused(refresh(last), 'invalid_grant', 'a revoked refresh token');
  const dead = await introspect(last);

  run.step('logout');
  const out = new URL(as.end_session_endpoint);
  out.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: `${config.origin}/logged-out`, state: 'out' });
  await browser.page.goto(out.href);
  if (browser.page.url() !== `${config.origin}/logged-out?state=out`) throw new Error(`logout ended at ${browser.page.url()}`);
  const after = await refused(authorize({ prompt: 'none' }), 'login_required', 'silent login after logout');
  return { subject: sub, scope: access.scope, email: userinfo.email, active: live.active, activeAfter: dead.active, revoked, after };
}
