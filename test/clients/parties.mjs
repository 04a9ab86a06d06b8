// Relying parties nobody here wrote, one after the other in one browser, each as its own manual says: log in, get tokens anew by every way
// the library has, revoke, log out. What goes wrong in any of them ends the run.
//
// stdin:  see members below. Each of parties is {clientId, clientSecret?, redirectPort, ...} of a client with the callback
//         http://localhost:<redirectPort>/callback, the logout URL http://localhost:<redirectPort>/logged-out and that web origin.
//         NODE_EXTRA_CA_CERTS must name the gateway's root, because libraries verify by what Node.js trusts.
// stdout: {ok:true, parties:{<name>:{...}}}, see parties/*.mjs
import { openBrowser } from './chromium.mjs';
import { resolveHere } from './loopback.mjs';
import auth0React from './parties/auth0-react.mjs';
import nodeAuth0 from './parties/node-auth0.mjs';
import oauth4webapi from './parties/oauth4webapi.mjs';
import oidcClientTS from './parties/oidc-client-ts.mjs';
import passport from './parties/passport.mjs';
import { watch } from './routes.mjs';
import { main } from './script.mjs';

const members = { required: ['issuer', 'username', 'password', 'audience', 'parties'], optional: ['caFile'] };

const known = { oauth4webapi, 'auth0-react': auth0React, 'oidc-client-ts': oidcClientTS, passport, 'node-auth0': nodeAuth0 };

async function flow(config, run) {
  resolveHere(config);
  run.step('browser');
  const { context, page } = await openBrowser(run, config);
  const browser = { context, page, routes: watch(context) };
  const parties = {};
  for (const [name, own] of Object.entries(config.parties)) {
    if (!known[name]) throw new Error(`no party ${name}`);
    await context.clearCookies(); // somebody new
    const step = (what) => run.step(`${name}: ${what}`);
    const party = { ...config, ...own, origin: `http://localhost:${own.redirectPort}`, tenant: new URL(config.issuer) };
    parties[name] = await known[name](party, { step, onClose: (f) => run.onClose(f), limit: run.limit }, browser);
  }
  return { parties };
}

await main(members, flow);
