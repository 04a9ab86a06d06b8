// What a person does on the hosted pages: reads the form, fills it in, sends it. Knows their field names and nothing else.
import { mustBeOpen, visibleText } from './chromium.mjs';

const fields = ['organization', 'username', 'password'];

/**
 * Goes through the hosted login from wherever page is until it leaves origin, at most once through each field.
 *
 * @param {import('playwright-core').Page} page
 * @param {string} origin of the tenant
 * @param {{organization?: string, username: string, password: string}} answers
 * @returns {Promise<string[]>} the paths of the screens that were filled in; empty when the session made login unnecessary
 */
export async function signIn(page, origin, answers) {
  const screens = [];
  const asked = new Set();
  await mustBeOpen(page);
  while (new URL(page.url()).origin === origin) {
    const path = new URL(page.url()).pathname;
    const form = page.locator('form[method="post" i]', { has: page.locator(fields.map((name) => `[name="${name}"]`).join(', ')) });
    if ((await form.count()) !== 1) throw new Error(`${path} is not a login screen with one form: ${await visibleText(page)}`);
    const now = [];
    for (const name of fields) {
      const field = form.locator(`[name="${name}"]`);
      if ((await field.count()) !== 1 || !(await field.isVisible()) || !(await field.isEditable())) continue;
      // A field that is asked for again was refused.
      if (asked.has(name)) throw new Error(`${path} came back: ${await visibleText(page)}`);
      if (answers[name] === undefined) throw new Error(`${path} asks for ${name}, which the configuration does not have`);
      await field.fill(answers[name]);
      now.push(name);
    }
    if (!now.length) throw new Error(`${path} has nothing to fill in: ${await visibleText(page)}`);
    now.forEach((name) => asked.add(name));
    screens.push(path);
    const arrived = page.waitForEvent('domcontentloaded').catch((cause) => {
      throw new Error(`${path} was sent and no page followed`, { cause });
    });
    await Promise.all([arrived, form.locator('button[type="submit"], button:not([type]), input[type="submit"]').first().click()]);
    await mustBeOpen(page);
  }
  return screens;
}
