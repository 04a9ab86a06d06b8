// The frame every client script runs in: one JSON document in, named steps, a hard time limit, one JSON document out.

// How long the whole script may take, and how long one wait inside it. The second is shorter, so that a hanging server is reported with
// the step it hung in rather than as a killed process.
const scriptLimitSeconds = 90;
const stepLimitSeconds = 15;

// Members every script accepts.
const everywhere = ['baseDomain', 'scriptLimitSeconds', 'stepLimitSeconds'];

/**
 * Reads the configuration from stdin, runs body, prints its result and exits: 0 with {ok:true,...}, 1 with {ok:false,step,error,...}.
 *
 * @param {{required: string[], optional?: string[]}} members the configuration's members; a missing one and an unknown one are errors,
 *   because a misspelt member would otherwise test something else than its author meant.
 * @param {(config: object, run: Run) => Promise<object>} body
 */
export async function main(members, body) {
  const run = new Run();
  let config;
  try {
    config = JSON.parse(await readStdin());
    check(config, members);
  } catch (error) {
    return run.fail(error);
  }
  run.limit = (config.stepLimitSeconds ?? stepLimitSeconds) * 1000;
  const seconds = config.scriptLimitSeconds ?? scriptLimitSeconds;
  // An error thrown in an event handler ends the run like any other, still with a document on stdout.
  process.on('uncaughtException', (error) => run.fail(error));
  // No evidence here: what hangs may well be the browser that would have to draw it.
  setTimeout(() => run.finish({ ok: false, step: run.current, error: `no end after ${seconds} s` }), seconds * 1000).unref();
  try {
    const result = await body(config, run);
    await run.close();
    return run.finish({ ok: true, ...result });
  } catch (error) {
    return run.fail(error);
  }
}

export class Run {
  current = 'config';
  limit = stepLimitSeconds * 1000;
  #began = Date.now();
  #closers = [];
  #witness;

  /** Names what is being tried from here on. The trace goes to stderr. */
  step(name) {
    this.current = name;
    process.stderr.write(`${((Date.now() - this.#began) / 1000).toFixed(2)}s ${name}\n`);
  }

  /** Closes run in reverse order at the end, whatever the end is. */
  onClose(close) {
    this.#closers.push(close);
  }

  /** witness(step) describes what could be seen at the moment of a failure; its members join the result. */
  onFailure(witness) {
    this.#witness = witness;
  }

  /** Gives a promise that has no limit of its own the limit of a step. */
  within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: nothing after ${this.limit / 1000} s`)), this.limit);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
  }

  async fail(error) {
    const failure = { ok: false, step: this.current, error: describe(error) };
    const evidence = this.#witness ? await this.within(this.#witness(this.current), 'evidence').catch(() => undefined) : undefined;
    await this.close();
    return this.finish({ ...failure, ...evidence });
  }

  async close() {
    for (const close of this.#closers.splice(0).reverse()) {
      // The verdict stands by now; a browser that will not close is killed when the process exits.
      await this.within(Promise.resolve().then(close), 'close').catch((error) => process.stderr.write(`${describe(error)}\n`));
    }
  }

  finish(result) {
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(result.ok ? 0 : 1));
  }
}

/** One line for any error: OAuth errors with their code and description, network errors with the cause Node hides one level down. */
export function describe(error) {
  if (error?.error && typeof error.error === 'string') {
    const status = error.status ? ` (${error.status})` : '';
    return `${error.error}: ${error.error_description ?? error.message}${status}`;
  }
  const lines = [];
  for (let e = error; e && lines.length < 4; e = e.cause) {
    const text = e.message || e.errors?.map((one) => one.message).join(', ') || (e instanceof Error ? e.code ?? e.name : JSON.stringify(e));
    // The browser driver appends its call log, in colours.
    const plain = String(text).replace(/\u001b\[[0-9;]*m/g, '').split(/\nCall log|\n=====/)[0].trim();
    if (!lines.includes(plain)) lines.push(plain);
  }
  return lines.join(': ');
}

async function readStdin() {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  return text;
}

function check(config, { required, optional = [] }) {
  const missing = required.filter((name) => config[name] === undefined || config[name] === '');
  if (missing.length) throw new Error(`missing in the configuration: ${missing.join(', ')}`);
  const known = new Set([...required, ...optional, ...everywhere]);
  const unknown = Object.keys(config).filter((name) => !known.has(name));
  if (unknown.length) throw new Error(`unknown in the configuration: ${unknown.join(', ')}`);
}
