// Package d1 keeps each tenant in a SQLite database of its own at Cloudflare,
// reached over HTTP. There are two homes for them, with one protocol:
//
//   - D1 databases through Cloudflare's HTTP API. An account has 1,200 requests in
//     five minutes, about 4 a second, for all that it does; a login takes about 20.
//     It is for tenants that are seldom visited, and to try things out.
//   - Durable Objects through the Worker in docs/d1-worker, which the operator
//     deploys: one object per tenant, as many as there are tenants, without that
//     limit. It is for traffic.
//
// A Worker reaches only those D1 databases that its configuration names, and has
// to be deployed anew to know another. That is why the Worker keeps tenants in
// Durable Objects, which is also what D1 is made of, and not in front of D1. The
// two homes do not share anything: a tenant is in one or the other, and a
// database that is missing in one is an error, never an empty one.
//
// # Writing
//
// Neither home has transactions over several requests; package remote does without.
// A batch is one request, and a statement of it that fails takes all of it back.
// The Worker runs a batch in a transaction. Cloudflare documents the same of
// batches within Workers, but of the HTTP API only that there are batches; so each
// process has the API take back a batch whose last statement fails before it uses
// any database, and uses none if a part of it is left.
//
// A batch is sent again only if it was certainly not carried out: the network
// never carried it, or a limit of requests refused it. Where its fate is not
// known, because an answer did not come or could not be read, the caller learns
// [tenancy.ErrUnavailable] with [remote.ErrLost]: it was applied, whole, or not.
//
// # Values
//
// JSON and JavaScript stand between us and SQLite. Whole numbers beyond 2^53
// would come out as others: they are refused in both directions. Text with a NUL
// or that is not UTF-8 is refused. A statement has at most 100 bound arguments;
// what is more is written into its text, which has at most 100,000 bytes. A value
// has at most 2,000,000 bytes.
package d1
