// auth0-react on a real page, with hidden iframes and then with refresh tokens.
import { signIn } from '../hosted.mjs';
import { mustTake } from '../routes.mjs';
import { report } from '../tokens.mjs';
import { app, bundle, html, refused } from './party.mjs';

export default async function (config, run, { page, routes }) {
  run.step('bundle');
  let useRefreshTokens = false;
  const options = () => ({
    domain: config.tenant.host,
    clientId: config.clientId,
    cacheLocation: 'memory',
    useRefreshTokens,
    authorizationParams: { redirect_uri: `${config.origin}/callback`, audience: config.audience, scope: 'openid profile email read:orders' },
  });
  await app(config, run, () => html(options()), await bundle('auth0-react.jsx'));

  const who = async (want) => {
    const text = page.locator('#who', { hasText: want });
    await text.waitFor().catch(async (cause) => {
      throw new Error(`the page shows ${await page.locator('body').innerText()}, want ${want}`, { cause });
    });
    return text.innerText();
  };
  const press = async (button) => {
    await page.click(`#${button}`);
    await page.locator('#answer', { hasText: '{' }).waitFor();
    const { value, refused: error } = JSON.parse(await page.locator('#answer').innerText());
    if (error) throw error;
    return value;
  };
  const leave = async (button, pattern) => Promise.all([page.waitForURL(pattern), page.click(`#${button}`)]);
  const atTenant = (url) => url.origin === config.tenant.origin;

  run.step('login');
  await page.goto(config.origin);
  await who('nobody');
  await leave('login', atTenant);
  await signIn(page, config.tenant.origin, config);
  await who(config.username);

  run.step('token by iframe');
  routes.took();
  const iframe = report(await press('token'));
  mustTake(routes, 'iframe');

  run.step('reload'); // the page's memory is empty; the session at the tenant answers
  await page.goto(config.origin);
  await who(config.username);
  mustTake(routes, 'iframe');

  run.step('refresh tokens');
  useRefreshTokens = true;
  await page.goto(config.origin);
  // Nothing is known in this page: with refresh tokens and no fallback the library asks for a login, which the session answers.
  await leave('login', (url) => url.origin === config.origin && url.pathname === '/callback');
  await who(config.username);
  routes.took();
  const refreshed = report(await press('token'));
  mustTake(routes, 'refresh_token');

  run.step('revoke');
  await press('revoke');
  const revoked = await refused(press('token'), 'missing_refresh_token', 'a token after revocation');

  run.step('logout');
  await leave('logout', `${config.origin}/logged-out`);
  await who('nobody');
  await leave('silent-login', (url) => url.origin === config.origin && url.pathname === '/callback');
  const after = await who('login_required');
  return { iframe: iframe.accessTokenClaims, refreshed: refreshed.accessTokenClaims, revoked, after };
}
