// HTTP that stays on this machine: tenant host names resolve to 127.0.0.1 without DNS, and every other name resolves to nothing.
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';

export const defaultBaseDomain = 'auth.localhost';

/** Whether host is the base domain, below it, or localhost. */
export function isLocal(host, baseDomain = defaultBaseDomain) {
  return host === 'localhost' || host === '127.0.0.1' || host === baseDomain || host.endsWith(`.${baseDomain}`);
}

/**
 * A fetch for openid-client and jose. Node's own cannot be told how to resolve a name without a further package, and glibc does not know
 * that *.localhost is this machine.
 *
 * @param {{baseDomain?: string, caFile?: string, limit: number}} options caFile holds the PEM certificates to trust instead of the
 *   system's; limit is in milliseconds and covers one exchange.
 */
export function loopbackFetch({ baseDomain, caFile, limit }) {
  const ca = caFile ? readFileSync(caFile) : undefined;
  const lookup = (host, options, done) => {
    if (!isLocal(host, baseDomain)) return done(new Error(`${host} is not a name of this machine`));
    return options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
  };
  return async (url, options) => {
    const request = new Request(url, options);
    const body = Buffer.from(await request.arrayBuffer());
    const { protocol } = new URL(request.url);
    return new Promise((resolve, reject) => {
      const late = AbortSignal.timeout(limit);
      const signal = options?.signal ? AbortSignal.any([options.signal, late]) : late;
      const headers = { ...Object.fromEntries(request.headers), ...(body.length && { 'content-length': body.length }) };
      const sent = (protocol === 'https:' ? https : http).request(
        request.url,
        { method: request.method, headers, ca, lookup, signal, agent: false },
        async (answer) => {
          try {
            const chunks = [];
            for await (const chunk of answer) chunks.push(chunk);
            const empty = [204, 205, 304].includes(answer.statusCode);
            resolve(new Response(empty ? null : Buffer.concat(chunks), { status: answer.statusCode, headers: pairs(answer.rawHeaders) }));
          } catch (error) {
            reject(error);
          }
        },
      );
      sent.on('error', (error) => reject(new Error(`${request.method} ${request.url}`, { cause: late.aborted ? late.reason : error })));
      sent.end(body);
    });
  };
}

// Pairs, not an object: Set-Cookie may come more than once.
function pairs(raw) {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i], raw[2 * i + 1]]);
}

/**
 * Serves handler on http://localhost:port, which is a secure context for browsers and another site than any tenant host.
 *
 * @returns {Promise<http.Server>}
 */
export function serve(port, handler) {
  const server = http.createServer(handler);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

/**
 * Has every library in this process resolve the tenants' names to this machine, as a line in a hosts file would, and no other name.
 */
export function resolveHere({ baseDomain }) {
  dns.lookup = (host, options, done) => {
    if (typeof options === 'function') [options, done] = [{}, options];
    if (!isLocal(host, baseDomain)) return process.nextTick(done, new Error(`${host} is not a name of this machine`));
    process.nextTick(done, null, ...(options?.all ? [[{ address: '127.0.0.1', family: 4 }]] : ['127.0.0.1', 4]));
  };
}
