// auth0-spa-js in a real browser, as an app on another site than the tenant: login by redirect, organization switches, logout. With
// third-party cookies the switches go through a hidden iframe; with the cookies blocked that must fail cleanly and refresh tokens take over.
//
// stdin:  see members below. The client must have the callback http://localhost:<redirectPort>/callback, the logout URL
//         http://localhost:<redirectPort>/logged-out and the web origin http://localhost:<redirectPort> registered.
// stdout: {ok:true, screens, login:tokens, switched:{<organization>:tokens}, ...} and, with cookies: forbidden, fallback:tokens;
//         without: refreshed:tokens, iframe, redirect:tokens, fallback; in both: afterLogout. What is no tokens is {error, errorDescription}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { mustBeOpen, openBrowser } from './chromium.mjs';
import { signIn } from './hosted.mjs';
import { serve } from './loopback.mjs';
import { route } from './routes.mjs';
import { main } from './script.mjs';
import { report } from './tokens.mjs';

const members = {
  required: ['issuer', 'clientId', 'redirectPort', 'username', 'password', 'organizations'],
  // organization is the one to log in to, if any; organizations are switched to one after the other; forbiddenOrganization is one the
  // user is no member of.
  optional: ['organization', 'forbiddenOrganization', 'audience', 'scope', 'blockThirdPartyCookies'],
};

const sdk = readFileSync(
  join(dirname(createRequire(import.meta.url).resolve('@auth0/auth0-spa-js/package.json')), 'dist/auth0-spa-js.production.js'),
);

async function flow(config, run) {
  const blocked = config.blockThirdPartyCookies ?? false;
  const tenant = new URL(config.issuer);
  const origin = `http://localhost:${config.redirectPort}`;

  run.step('app');
  const app = await serve(config.redirectPort, serveApp);
  run.onClose(() => app.close());

  run.step('browser');
  const { context, page } = await openBrowser(run, config);
  const routes = [];
  context.on('request', (request) => routes.push(...route(request)));

  // Clients live as long as the page. The SDK's cache knows a token by client, audience and scope but not by organization, so each
  // purpose gets its own client and no token comes out of a cache.
  const options = (changes) => ({
    domain: tenant.host,
    clientId: config.clientId,
    authorizationParams: {
      redirect_uri: `${origin}/callback`,
      ...(config.scope && { scope: config.scope }),
      ...(config.audience && { audience: config.audience }),
    },
    cacheLocation: 'memory',
    authorizeTimeoutInSeconds: run.limit / 1000,
    httpTimeoutInSeconds: run.limit / 1000,
    ...changes,
  });
  const iframes = { name: 'iframes', options: options({ useRefreshTokens: false }) };
  const refreshes = { name: 'refreshes', options: options({ useRefreshTokens: true, useRefreshTokensFallback: true }) };
  const usual = blocked ? refreshes : iframes;

  const call = (client, method, argument) =>
    run.within(
      page.evaluate(
        async ({ client, method, argument }) => {
          window.clients ??= {};
          const sdk = (window.clients[client.name] ??= new window.auth0.Auth0Client(client.options));
          try {
            return { value: await sdk[method](argument) };
          } catch (error) {
            return { refused: { error: error.error ?? error.name, errorDescription: error.error_description ?? error.message } };
          }
        },
        { client, method, argument },
      ),
      method,
    );

  // Calls that leave the page: the next document arrives, or the call says why not.
  const leave = async (client, method, argument) => {
    const arrived = page.waitForEvent('domcontentloaded').then(() => ({}));
    const refused = call(client, method, argument).then(
      ({ refused }) => (refused ? { refused } : arrived),
      (error) => (/context was destroyed|navigation/i.test(error.message) ? arrived : Promise.reject(error)),
    );
    const outcome = await Promise.race([arrived, refused]);
    if (outcome.refused) throw outcome.refused;
    await mustBeOpen(page);
  };

  const login = async (client, authorizationParams) => {
    await leave(client, 'loginWithRedirect', { authorizationParams });
    const screens = await signIn(page, tenant.origin, config);
    if (!page.url().startsWith(`${origin}/callback?`)) throw new Error(`arrived at ${page.url()}, not at the callback`);
    const { refused } = await call(client, 'handleRedirectCallback');
    if (refused) return { screens, refused };
    const { value } = await call(client, 'getTokenSilently', { cacheMode: 'cache-only', detailedResponse: true, authorizationParams });
    if (!value) throw new Error('the SDK has no token after the callback');
    return { screens, tokens: report(value) };
  };

  // A token from the server, by the route that is under test.
  const silently = async (client, want, organization) => {
    routes.length = 0;
    const authorizationParams = organization ? { organization } : {};
    const outcome = await call(client, 'getTokenSilently', { cacheMode: 'off', detailedResponse: true, authorizationParams });
    const took = [...new Set(routes)].join(', ');
    if (took !== want) throw new Error(`the token was asked for by ${took || 'nothing'}, want ${want}${outcome.refused ? `; ${text(outcome.refused)}` : ''}`);
    return outcome;
  };
  const granted = (outcome) => {
    if (outcome.refused) throw outcome.refused;
    return report(outcome.value);
  };
  const refused = (outcome, error) => {
    if (!outcome.refused) throw new Error(`got ${JSON.stringify(report(outcome.value).accessTokenClaims)}, want ${error}`);
    if (outcome.refused.error !== error) throw outcome.refused;
    return outcome.refused;
  };

  run.step('open');
  await page.goto(origin);
  run.step('login');
  const first = await login(usual, config.organization ? { organization: config.organization } : {});
  if (first.refused) throw first.refused;
  const result = { screens: first.screens, login: first.tokens, switched: {} };

  const way = blocked ? 'refresh_token' : 'iframe';
  if (blocked) {
    run.step('refresh');
    result.refreshed = granted(await silently(refreshes, way, config.organization));
  }
  // With cookies between the first switch and the second, because being refused must not end the session. With refresh tokens at the end,
  // because the SDK forgets its refresh token with every answer that brings no new one.
  const forbiddenAfter = blocked ? config.organizations.length - 1 : 0;
  for (const [i, organization] of config.organizations.entries()) {
    run.step(`switch to ${organization}`);
    result.switched[organization] = granted(await silently(usual, way, organization));
    if (i === forbiddenAfter && config.forbiddenOrganization) {
      run.step(`forbidden ${config.forbiddenOrganization}`);
      result.forbidden = refused(await silently(usual, way, config.forbiddenOrganization), 'access_denied');
    }
  }

  if (blocked) {
    run.step('iframe without cookies');
    result.iframe = refused(await silently(iframes, 'iframe'), 'login_required');
    run.step('redirect');
    const again = await login(refreshes, config.organization ? { organization: config.organization } : {});
    if (again.refused) throw again.refused;
    if (again.screens.length) throw new Error(`the session was gone: login was asked for at ${again.screens}`);
    result.redirect = again.tokens;
  }

  run.step('fallback after reload');
  await page.goto(origin); // memory is empty now, and with it the refresh token
  const reloaded = await silently(refreshes, 'iframe', config.organizations[0]);
  result.fallback = blocked ? refused(reloaded, 'login_required') : granted(reloaded);

  run.step('logout');
  await leave(usual, 'logout', { logoutParams: { returnTo: `${origin}/logged-out` } });
  if (page.url() !== `${origin}/logged-out`) throw new Error(`logout ended at ${page.url()}`);

  run.step('after logout');
  // By redirect, because a blocked iframe would be refused with or without a session.
  const after = await login(iframes, { prompt: 'none' });
  if (!after.refused) throw new Error('silent login after logout was accepted');
  if (after.refused.error !== 'login_required') throw after.refused;
  result.afterLogout = after.refused;
  return result;
}

const text = ({ error, errorDescription }) => `${error}: ${errorDescription}`;

function serveApp(request, response) {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/auth0-spa-js.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(sdk);
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end('<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><script src="/auth0-spa-js.js"></script><p>The app');
}

await main(members, flow);
