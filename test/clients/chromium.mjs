// A headless Chromium with a profile of its own, that knows the tenant hosts and no other machine.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';
import { defaultBaseDomain } from './loopback.mjs';

export const viewports = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/**
 * Starts the browser and opens one page. The browser closes, and its profile goes, with the run; when the run fails, a screenshot and
 * what the page said go into the result.
 *
 * @param {import('./script.mjs').Run} run
 * @param {object} options
 * @param {string} [options.baseDomain] resolves to 127.0.0.1, with everything below it
 * @param {boolean} [options.blockThirdPartyCookies] false allows them. Always written into the profile: the distributions' defaults differ
 * @param {boolean} [options.javaScriptEnabled] default true
 * @param {{width: number, height: number}} [options.viewport] default desktop
 * @returns {Promise<{context: import('playwright-core').BrowserContext, page: import('playwright-core').Page, seen: Seen}>}
 */
export async function openBrowser(run, options) {
  const { baseDomain = defaultBaseDomain, blockThirdPartyCookies = false, javaScriptEnabled = true, viewport = viewports.desktop } = options;
  const profile = mkdtempSync(join(tmpdir(), 'gatehouse-browser-'));
  const removeProfile = () => rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
  run.onClose(removeProfile);
  mkdirSync(join(profile, 'Default'));
  const cookies = blockThirdPartyCookies
    ? { cookie_controls_mode: 1, block_third_party_cookies: true }
    : { cookie_controls_mode: 0, block_third_party_cookies: false };
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify({ profile: cookies }));

  const phone = viewport.width < 600;
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: executable(),
    headless: true,
    args: [
      '--no-sandbox', // CI runs as root, where Chromium's sandbox refuses to start
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // The last rule makes a page that loads anything from elsewhere fail here, as it must.
      `--host-resolver-rules=MAP *.${baseDomain} 127.0.0.1, MAP ${baseDomain} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1`,
    ],
    ignoreHTTPSErrors: true, // the gateway's own CA is in no trust store; code-flow.mjs verifies the chain with caFile
    javaScriptEnabled,
    locale: 'en-US',
    viewport,
    ...(phone && { isMobile: true, hasTouch: true, deviceScaleFactor: 2 }),
    timeout: run.limit,
  });
  // When the time limit ends the run nothing is closed: the driver kills the browser on exit, and after that the profile can go.
  process.once('exit', removeProfile);
  run.onClose(() => context.close());
  context.setDefaultTimeout(run.limit);
  const page = context.pages()[0] ?? (await context.newPage());
  const seen = new Seen(context);
  run.onFailure(async (step) => ({
    url: page.url(),
    text: await visibleText(page),
    console: seen.console,
    cspViolations: seen.cspViolations,
    failedRequests: seen.failedRequests,
    // A page that hangs cannot always be drawn; the rest is still worth having.
    screenshot: await screenshot(page, step).catch(() => undefined),
  }));
  return { context, page, seen };
}

/** What the browser reported: console lines, uncaught errors and requests that failed, of all pages and frames. */
class Seen {
  console = [];
  pageErrors = [];
  failedRequests = [];

  constructor(context) {
    context.on('console', (message) => this.console.push({ type: message.type(), text: message.text() }));
    context.on('weberror', (error) => this.pageErrors.push(String(error.error())));
    context.on('requestfailed', (request) => this.failedRequests.push({ url: request.url(), error: request.failure()?.errorText ?? '' }));
  }

  // Chromium words every blocked load, script, frame and form submission in its own way, but always names the policy.
  get cspViolations() {
    return this.console.filter(({ text }) => text.includes('Content Security Policy')).map(({ text }) => text);
  }
}

function executable() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const paths = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
  const found = process.env.CHROMIUM || paths.find((path) => existsSync(path));
  if (!found) throw new Error('no Chromium in PATH or CHROMIUM; on Debian: apt-get install chromium');
  return found;
}

/** The first lines a person would read, for error messages. */
export async function visibleText(page) {
  const text = await page.locator('body').innerText({ timeout: 2000 }).catch(() => '');
  return text.trim().slice(0, 600);
}

/** Throws when the browser shows its own error page, which has a URL like any other and only later looks like a wrong one. */
export async function mustBeOpen(page) {
  if (page.url().startsWith('chrome-error:')) throw new Error(`the browser got no page: ${await visibleText(page)}`);
}

async function screenshot(page, step) {
  const path = join(tmpdir(), `gatehouse-${step.replace(/[^a-z0-9]+/gi, '-')}-${process.pid}.png`);
  await page.screenshot({ path, timeout: 5000 });
  return path;
}
