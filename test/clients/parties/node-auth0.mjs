// node-auth0 configured with nothing but a domain, an id and a secret (C0.12): the AuthenticationClient logs a person in and out, and the
// ManagementClient gets its own tokens and manages users, organizations and roles.
import { AuthenticationClient, ManagementClient, UserInfoClient } from 'auth0';
import { createHash, randomBytes } from 'node:crypto';
import { report } from '../tokens.mjs';
import { app, refused, visit } from './party.mjs';

export default async function (config, run, browser) {
  const { host: domain } = config.tenant;
  const { clientId, clientSecret } = config;
  const auth = new AuthenticationClient({ domain, clientId, clientSecret });
  const where = (error) => (error.error ? error : error.cause);
  await app(config, run, () => '<!doctype html><title>App</title><p>The app');

  run.step('login by a pushed request');
  const code_verifier = randomBytes(32).toString('base64url');
  const redirect_uri = `${config.origin}/callback`;
  const { data: pushed } = await auth.oauth.pushedAuthorization({
    client_id: clientId,
    response_type: 'code',
    redirect_uri,
    audience: config.audience,
    scope: 'openid profile email read:orders offline_access',
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const query = new URLSearchParams({ client_id: clientId, request_uri: pushed.request_uri });
  const { callback } = await visit(browser, `${config.issuer}authorize?${query}`, config);
  const code = callback.searchParams.get('code');
  const { data: tokens } = await auth.oauth.authorizationCodeGrantWithPKCE({ code, code_verifier, redirect_uri });
  const { data: info } = await new UserInfoClient({ domain }).getUserInfo(tokens.access_token);

  run.step('refresh, revoke');
  const { data: refreshed } = await auth.oauth.refreshTokenGrant({ refresh_token: tokens.refresh_token });
  const last = refreshed.refresh_token ?? tokens.refresh_token;
  await auth.oauth.revokeRefreshToken({ token: last });
  const revoked = await refused(auth.oauth.refreshTokenGrant({ refresh_token: last }), 'invalid_grant', 'a revoked refresh token', where);

  run.step('sign up and log in with a password');
  const fresh = { email: 'node-auth0@acme.example.com', password: config.password };
  const connection = 'Username-Password-Authentication';
  await auth.database.signUp({ ...fresh, connection });
  const { data: mine } = await auth.oauth.passwordGrant({ username: fresh.email, password: fresh.password, realm: connection, audience: config.audience });
  const wrong = auth.oauth.passwordGrant({ username: fresh.email, password: 'wrong', realm: connection, audience: config.audience });
  const mistaken = await refused(wrong, 'invalid_grant', 'a wrong password', where);

  run.step('logout');
  const out = new URLSearchParams({ client_id: clientId, returnTo: `${config.origin}/logged-out` });
  await browser.page.goto(`${config.issuer}v2/logout?${out}`);
  if (browser.page.url() !== `${config.origin}/logged-out`) throw new Error(`logout ended at ${browser.page.url()}`);

  const managed = await manage(new ManagementClient({ domain, clientId, clientSecret }), fresh, run);
  return {
    access: report(tokens).accessTokenClaims, email: info.email, refreshed: report(refreshed).accessTokenClaims, revoked, mistaken,
    password: report(mine).accessTokenClaims, ...managed,
  };
}

async function manage(api, { email }, run) {
  run.step('users');
  const [{ user_id: id }] = (await api.users.list({ q: `email:"${email}"`, search_engine: 'v3' })).data;
  await api.users.update(id, { app_metadata: { plan: 'gold' }, given_name: 'Nora' });
  const user = await api.users.get(id);

  run.step('organizations');
  const { id: organization } = await api.organizations.create({ name: 'node-auth0', display_name: 'Node' });
  await api.organizations.members.create(organization, { members: [id] });
  const members = [];
  for await (const member of await api.organizations.members.list(organization, { take: 1 })) members.push(member.user_id);

  run.step('roles');
  const role = await api.roles.create({ name: 'node-auth0', description: 'of a test' });
  await api.users.roles.assign(id, { roles: [role.id] });
  const roles = (await api.users.roles.list(id)).data.map((one) => one.name);

  run.step('pages');
  let listed = 0;
  for await (const one of await api.clients.list({ per_page: 2, fields: 'client_id,name', include_fields: true })) listed += one.client_id ? 1 : 0;

  run.step('delete');
  await api.roles.delete(role.id);
  await api.organizations.delete(organization);
  await api.users.delete(id);
  const gone = await api.users.get(id).then(
    () => 200,
    (error) => error.statusCode,
  );
  return { plan: user.app_metadata?.plan, members: members.length, roles, listed, gone };
}
