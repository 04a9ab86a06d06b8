// What the relying parties have in common: an app on loopback, a browser that is sent to log in, and refusals that are meant.
import { build } from 'esbuild';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { signIn } from '../hosted.mjs';
import { serve } from '../loopback.mjs';

/** Serves one page at every path; page() is its HTML, and script what /app.js is. */
export async function app(config, run, page, script) {
  const server = await serve(config.redirectPort, (request, response) => {
    if (request.url === '/app.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' }).end(page());
  });
  run.onClose(() => server.close());
}

/** Bundles apps/<name> with the library it imports, as an application would be shipped. */
export async function bundle(name) {
  const { outputFiles } = await build({
    entryPoints: [join(dirname(fileURLToPath(import.meta.url)), '..', 'apps', name)],
    bundle: true,
    write: false,
    format: 'iife',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'silent',
  });
  return outputFiles[0].contents;
}

/** Options for the page's script; an application's come from its build. */
export const html = (options) =>
  `<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><div id="root"></div>` +
  `<script>window.options = ${JSON.stringify(options)}</script><script src="/app.js"></script>`;

/** Opens an authorization request, logs in where that is asked for, and returns the callback's address and the screens. */
export async function visit({ page }, url, config) {
  await page.goto(String(url));
  const screens = await signIn(page, config.tenant.origin, config);
  const callback = new URL(page.url());
  if (callback.origin !== config.origin) throw new Error(`arrived at ${callback.href}, not at the application`);
  return { callback, screens };
}

/** The OAuth error that an attempt must end in; where(error) finds it in the library's own. */
export async function refused(attempt, code, what, where = (error) => error) {
  const error = await attempt.then(
    () => {
      throw new Error(`${what} was accepted`);
    },
    (error) => where(error) ?? error,
  );
  if (error.error !== code) throw error;
  return { error: error.error, errorDescription: error.error_description ?? '' };
}
