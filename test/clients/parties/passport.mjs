// passport-openidconnect in an Express application: login, the profile it reads, a callback nobody asked for, logout. It keeps to the
// authorization code flow; refresh and revocation are not its business.
import express from 'express';
import session from 'express-session';
import { randomUUID } from 'node:crypto';
import passport from 'passport';
import OpenIDConnectStrategy from 'passport-openidconnect';
import { refused, visit } from './party.mjs';

export default async function (config, run, browser) {
  run.step('app');
  const server = application(config).listen(config.redirectPort, '127.0.0.1');
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
  run.onClose(() => server.close());
  const { page } = browser;
  const shown = async () => JSON.parse(await page.locator('body').innerText());

  run.step('login');
  const { screens } = await visit(browser, `${config.origin}/login`, config);
  const user = await shown();
  if (!user.idToken) throw new Error(`the application knows ${JSON.stringify(user)}`);

  run.step('again, with the session');
  const again = await visit(browser, `${config.origin}/login`, config);
  if (again.screens.length) throw new Error(`login was asked for at ${again.screens}`);

  run.step('a callback nobody asked for');
  const answer = await page.goto(`${config.origin}/callback?code=x&state=y`);
  if (answer.status() !== 403) throw new Error(`status ${answer.status()}: ${await answer.text()}`);

  run.step('logout');
  await page.goto(`${config.origin}/logout`);
  if (page.url() !== `${config.origin}/logged-out`) throw new Error(`logout ended at ${page.url()}`);
  const before = await shown();
  await page.goto(`${config.origin}/login?prompt=none`);
  const after = await refused(shown().then((body) => (body.error ? Promise.reject(body) : body)), 'login_required', 'silent login after logout');
  return { screens, id: user.id, email: user.email, name: user.displayName, before, after };
}

function application(config) {
  const strategy = new OpenIDConnectStrategy(
    {
      issuer: config.issuer,
      authorizationURL: `${config.issuer}authorize`,
      tokenURL: `${config.issuer}oauth/token`,
      userInfoURL: `${config.issuer}userinfo`,
      clientID: config.clientId,
      clientSecret: config.clientSecret,
      callbackURL: `${config.origin}/callback`,
      scope: ['profile', 'email'],
    },
    (issuer, uiProfile, idProfile, context, idToken, accessToken, refreshToken, params, done) =>
      done(null, { id: idProfile.id, email: uiProfile.emails?.[0]?.value, displayName: uiProfile.displayName, idToken }),
  );
  const authenticator = new passport.Passport();
  authenticator.use(strategy);
  authenticator.serializeUser((user, done) => done(null, user));
  authenticator.deserializeUser((user, done) => done(null, user));
  const app = express();
  app.use(session({ secret: randomUUID(), resave: false, saveUninitialized: false }), authenticator.session());
  app.get('/login', (request, response, next) => authenticator.authenticate('openidconnect', { prompt: request.query.prompt })(request, response, next));
  app.get('/callback', authenticator.authenticate('openidconnect'), (_, response) => response.redirect('/'));
  app.get('/logout', (request, response, next) => {
    const { idToken } = request.user;
    request.logout((error) => {
      if (error) return next(error);
      const query = new URLSearchParams({ id_token_hint: idToken, post_logout_redirect_uri: `${config.origin}/logged-out` });
      response.redirect(`${config.issuer}oidc/logout?${query}`);
    });
  });
  app.get(['/', '/logged-out'], (request, response) => response.json(request.user ?? null));
  app.use((error, _request, response, _next) => response.status(error.status ?? 500).json({ error: error.code, error_description: error.message }));
  return app;
}
