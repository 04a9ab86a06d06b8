// Goes through an application with a browser, step by step, and says what a person met at each: the picture, the text, the address.
//
// stdin:  see members below
// stdout: {ok:true, steps:{<name>:{url, status, text, answer}}, console, cspViolations}
import { join } from 'node:path';
import { mustBeOpen, openBrowser } from './chromium.mjs';
import { signIn } from './hosted.mjs';
import { main } from './script.mjs';

const members = {
  // steps are {name, ...} with one of: open (a URL), click (a selector whose click leads to another page), login ({username, password}, on
  // the hosted pages that the browser is at), ask ({path, method, headers}: the page's own script fetches; answer is {status, body}), call
  // (a URL that is posted to from outside of the browser). status is that of the last document; pictures go into the folder screenshots.
  required: ['steps', 'screenshots'],
  optional: ['viewport'],
};

async function journey(config, run) {
  run.step('browser');
  const { page, seen } = await openBrowser(run, config);
  let status = 0;
  page.on('response', (answer) => {
    if (answer.request().isNavigationRequest() && answer.frame() === page.mainFrame()) status = answer.status();
  });
  const steps = {};
  for (const { name, ...step } of config.steps) {
    run.step(name);
    const answer = await take(page, step, run);
    await mustBeOpen(page);
    await page.waitForLoadState('networkidle');
    await page.screenshot({ path: join(config.screenshots, `${name.replace(/[^a-z0-9]+/gi, '-')}.png`) });
    steps[name] = { url: page.url(), status, text: (await page.locator('body').innerText()).trim(), ...(answer && { answer }) };
  }
  return { steps, console: seen.console, cspViolations: seen.cspViolations };
}

async function take(page, step, run) {
  const [kind] = Object.keys(step);
  switch (kind) {
    case 'open':
      await page.goto(step.open);
      return undefined;
    case 'click': {
      const arrived = page.waitForEvent('domcontentloaded');
      await Promise.all([arrived, page.locator(step.click).click()]);
      return undefined;
    }
    case 'login':
      await signIn(page, new URL(page.url()).origin, step.login);
      return undefined;
    case 'ask':
      return page.evaluate(async ({ path, ...options }) => {
        const answer = await fetch(path, options);
        return { status: answer.status, body: await answer.text() };
      }, step.ask);
    case 'call': {
      const answer = await run.within(fetch(step.call, { method: 'POST' }), step.call);
      if (!answer.ok) throw new Error(`${step.call}: ${answer.status} ${await answer.text()}`);
      return undefined;
    }
    default:
      throw new Error(`a step cannot ${kind}`);
  }
}

await main(members, journey);
