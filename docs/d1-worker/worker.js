// Keeps tenants of Gatehouse at Cloudflare, each in a SQLite database of its own: a Durable Object. It speaks the part of the D1 HTTP API that
// Gatehouse uses, with the same shapes, and has no account-wide limit of requests. docs/d1.md says how to deploy it.
//
//   POST   /accounts/{account}/d1/database            {"name"}                        makes a database
//   GET    /accounts/{account}/d1/database?name=...                                   says whether there is one of exactly this name
//   GET    /accounts/{account}/d1/database?page=1&per_page=100                        lists all
//   POST   /accounts/{account}/d1/database/{id}/raw   {"batch": [{"sql", "params"}]}  runs statements, all or none
//   DELETE /accounts/{account}/d1/database/{id}                                       removes one with all that is in it
//
// A database's id is its name. Whoever knows SECRET may do all of this, so nothing but Gatehouse may know it.
import { DurableObject } from 'cloudflare:workers';

const routes = /^\/accounts\/[0-9a-z-]{1,64}\/d1\/database(?:\/([a-z0-9][a-z0-9_-]{0,126})(\/raw)?)?$/;
const named = (name) => typeof name === 'string' && /^[a-z0-9][a-z0-9_-]{0,126}$/.test(name);

export default {
  async fetch(request, env) {
    if (!env.SECRET || env.SECRET.length < 32) return refuse(500, 7500, 'SECRET has to be set to at least 32 characters: npx wrangler secret put SECRET');
    if (!(await same(request.headers.get('Authorization') ?? '', `Bearer ${env.SECRET}`))) return refuse(401, 10000, 'Authentication error');
    try {
      return await route(request, env);
    } catch (problem) {
      // What was thrown here was not thrown by a statement: whether a batch was applied is not known.
      return refuse(503, 7500, `internal error: ${problem.message}`);
    }
  },
};

// same compares in a time that tells nothing about the secret: digests of equal length, every byte of them.
async function same(given, wanted) {
  const [a, b] = await Promise.all([given, wanted].map((text) => crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))));
  return crypto.subtle.timingSafeEqual(a, b);
}

async function route(request, env) {
  const url = new URL(request.url);
  const [path, id, raw] = url.pathname.match(routes) ?? [];
  if (!path) return refuse(404, 7003, 'Could not route to this path');
  const database = (name) => env.TENANTS.get(env.TENANTS.idFromName(name), env.LOCATION ? { locationHint: env.LOCATION } : {});

  if (id && raw && request.method === 'POST') {
    const body = await json(request);
    if (!Array.isArray(body?.batch)) return refuse(400, 7400, 'batch has to be a list of statements');
    const { missing, problem, result } = await database(id).run(body.batch);
    if (missing) return refuse(404, 7404, `The database ${id} could not be found`);
    return problem ? refuse(400, 7500, problem) : accept(result);
  }
  if (id && !raw && request.method === 'DELETE') {
    const removed = await database(id).remove();
    await list(env).remove(id);
    return removed ? accept(null) : refuse(404, 7404, `The database ${id} could not be found`);
  }
  if (!id && request.method === 'POST') {
    const name = (await json(request))?.name;
    if (!named(name)) return refuse(400, 7400, 'name has to be lower-case letters, digits, dashes and underscores');
    await list(env).add(name); // first, so that no database is ever missing in the list
    return (await database(name).create()) ? accept({ uuid: name, name }) : refuse(400, 7502, 'A database with that name already exists');
  }
  if (!id && request.method === 'GET') {
    const name = url.searchParams.get('name');
    if (named(name)) return accept((await database(name).made()) ? [{ uuid: name, name }] : []);
    const [page, size] = ['page', 'per_page'].map((word) => Number(url.searchParams.get(word)));
    if (name || !(page >= 1 && size >= 1 && size <= 1000)) return refuse(400, 7400, 'name, or page and per_page, have to be given');
    return accept((await list(env).page(page, size)).map((each) => ({ uuid: each, name: each })));
  }
  return refuse(405, 7405, 'Method not allowed');
}

const list = (env) => env.LIST.get(env.LIST.idFromName('list'));
const json = (request) => request.json().catch(() => null);
const accept = (result) => Response.json({ success: true, errors: [], messages: [], result });
const refuse = (status, code, message) => Response.json({ success: false, errors: [{ code, message }], messages: [], result: null }, { status });

// Tenant is one tenant's database. An object that was not created holds nothing and runs nothing, so that no empty database is ever
// taken for one that is missing.
export class Tenant extends DurableObject {
  async made() {
    return (await this.ctx.storage.get('made')) === true;
  }

  async create() {
    if (await this.made()) return false;
    await this.ctx.storage.put('made', true);
    return true;
  }

  async remove() {
    if (!(await this.made())) return false;
    await this.ctx.storage.deleteAll();
    return true;
  }

  // run applies all statements or none. The answer leaves only after what was written is durable.
  async run(batch) {
    if (!(await this.made())) return { missing: true };
    try {
      return { result: this.ctx.storage.transactionSync(() => batch.map((statement) => this.one(statement))) };
    } catch (problem) {
      return { problem: problem.message };
    }
  }

  one({ sql, params = [] }) {
    const before = this.changes();
    const cursor = this.ctx.storage.sql.exec(sql, ...params);
    const rows = [...cursor.raw()];
    const meta = { changes: this.changes() - before, rows_read: cursor.rowsRead, rows_written: cursor.rowsWritten };
    return { success: true, results: { columns: cursor.columnNames, rows }, meta };
  }

  changes() {
    return this.ctx.storage.sql.exec('SELECT total_changes() AS n').one().n;
  }
}

// List has the names of all databases: objects cannot be listed otherwise.
export class List extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY)');
  }

  add(name) {
    this.ctx.storage.sql.exec('INSERT OR IGNORE INTO names VALUES (?)', name);
  }

  remove(name) {
    this.ctx.storage.sql.exec('DELETE FROM names WHERE name = ?', name);
  }

  page(page, size) {
    return [...this.ctx.storage.sql.exec('SELECT name FROM names ORDER BY name LIMIT ? OFFSET ?', size, (page - 1) * size).raw()].flat();
  }
}
