// Opens one page and says what a person meets there: the picture, the names a screen reader speaks, what the browser complains about, and
// whether all that is the same without script.
//
// stdin:  see members below
// stdout: {ok:true, url, status, headers, title, lang, text, screenshot, aria, form:{count, method, action, labelled, fields:[{tag, type,
//         name, accessibleName, labelled, autocomplete}]}, overflow, console, pageErrors, cspViolations, failedRequests,
//         withoutScript:{same, aria, form}}
import { openBrowser, viewports } from './chromium.mjs';
import { main } from './script.mjs';

const members = {
  required: ['url', 'screenshot'],
  // viewport: desktop (default), phone or {width, height}. fill holds field names and values to type, submit:true sends the form then;
  // both happen before the look. wait is a selector that has to be there first. withoutScript:false leaves out the second look.
  optional: ['viewport', 'fill', 'submit', 'wait', 'javaScriptEnabled', 'blockThirdPartyCookies', 'withoutScript'],
};

async function look(config, run) {
  run.step('browser');
  const viewport = typeof config.viewport === 'object' ? config.viewport : viewports[config.viewport ?? 'desktop'];
  if (!viewport) throw new Error(`viewport is one of ${Object.keys(viewports).join(', ')} or {width, height}`);
  const { context, page, seen } = await openBrowser(run, { ...config, viewport });

  run.step('open');
  const response = await open(page, config);
  run.step('look');
  const result = {
    url: page.url(),
    status: response?.status() ?? 0, // about:blank has no response
    headers: (await response?.allHeaders()) ?? {},
    title: await page.title(),
    lang: (await page.locator('html').getAttribute('lang')) ?? '',
    text: (await page.locator('body').innerText()).trim(),
    ...(await describe(page)),
    // A page that is wider than the screen has to be pushed around with a finger.
    overflow: await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth),
  };
  await page.screenshot({ path: config.screenshot, fullPage: true });
  result.screenshot = config.screenshot;

  if (config.withoutScript !== false && config.javaScriptEnabled !== false) {
    run.step('without script');
    const plain = await context.newPage();
    const devtools = await context.newCDPSession(plain);
    await devtools.send('Emulation.setScriptExecutionDisabled', { value: true });
    await open(plain, config);
    const { aria, form } = await describe(plain);
    result.withoutScript = { same: aria === result.aria, aria, form };
  }
  const { console, pageErrors, cspViolations, failedRequests } = seen;
  return { ...result, console, pageErrors, cspViolations, failedRequests };
}

/** @returns {Promise<import('playwright-core').Response>} of the document that is looked at */
async function open(page, { url, fill = {}, submit, wait }) {
  let response = await page.goto(url);
  for (const [name, value] of Object.entries(fill)) await page.locator(`[name="${name}"]`).fill(value);
  if (submit) {
    const main = (answer) => answer.request().isNavigationRequest() && answer.frame() === page.mainFrame() && answer.status() >= 200;
    const answered = page.waitForResponse((answer) => main(answer) && (answer.status() < 300 || answer.status() >= 400));
    const arrived = page.waitForEvent('domcontentloaded');
    await page.locator('form button[type="submit"], form button:not([type]), form input[type="submit"]').first().click();
    [response] = await Promise.all([answered, arrived]);
  }
  if (wait) await page.locator(wait).first().waitFor();
  return response;
}

async function describe(page) {
  const forms = page.locator('form');
  const fields = [];
  for (const control of await forms.locator('input:not([type="hidden"]), select, textarea, button').all()) {
    if (!(await control.isVisible())) continue;
    const facts = await control.evaluate((element) => ({
      tag: element.localName,
      type: element.type,
      name: element.name,
      autocomplete: element.autocomplete ?? '',
      // A placeholder also gives an accessible name, and is gone with the first letter.
      labelled: element.localName === 'button' || element.type === 'submit' || element.labels?.length > 0 || element.hasAttribute('aria-label') || element.hasAttribute('aria-labelledby'),
    }));
    const accessibleName = /^- \S+ "((?:[^"\\]|\\.)*)"/.exec(await control.ariaSnapshot())?.[1] ?? '';
    fields.push({ ...facts, accessibleName, labelled: facts.labelled && accessibleName !== '' });
  }
  const count = await forms.count();
  return {
    aria: await page.locator('body').ariaSnapshot(),
    form: {
      count,
      ...(count && { method: await forms.first().evaluate((form) => form.method), action: await forms.first().evaluate((form) => form.action) }),
      labelled: fields.every((field) => field.labelled),
      fields,
    },
  };
}

await main(members, look);
