// Package postgres keeps tenants in PostgreSQL, or in a database that speaks its
// language: together in shared tables, in a schema each, or in a database each.
//
// # How tenants are kept apart
//
// Every key begins with the tenant in all three isolations, and every statement
// names it. Beyond that:
//
//   - [Row]: all tenants are in the same tables. Each transaction tells the server
//     whose it is, and row-level security shows it no other rows. The role must be
//     neither SUPERUSER nor BYPASSRLS: for these the wall would not stand, so they
//     are refused.
//   - [Schema]: each tenant has its tables in a schema of its own, reached over
//     shared connections by qualified names. Every table a server process has ever
//     touched stays in its memory, so connections are replaced after half an hour,
//     and a thousand tenants per database are a sensible bound.
//   - [Database]: each tenant has a database of its own, copied from a template.
//     Connections are few per tenant and bounded over all; those of the longest
//     unused tenant are closed when another needs one.
//
// # What is on the server
//
// The connection string's database has a schema "gatehouse" with the list of
// tenants, gatehouse_databases: which schema or database is whose, in which state,
// and the lease under which it is made, migrated or dropped. Beside each tenant's
// tables a table "gatehouse" says whose they are and which version they have. A
// place that belongs to somebody else, is missing or is of a newer version is not
// opened, and nothing is made in its place.
//
// # Poolers
//
// Nothing depends on a session: no prepared statement is relied upon, no setting
// outlives its transaction, locks are rows. A pooler in transaction mode before
// the server is noticed, because it answers from another process than it has
// promised; statements are then sent with their text each time. A pooler that
// keeps prepared statements (pgbouncer 1.21 and later) is faster with
// default_query_exec_mode=cache_statement in the connection string.
//
// # Other engines
//
// Statements stay within what CockroachDB, YugabyteDB and Citus document: no
// advisory locks, no LISTEN and NOTIFY, no triggers or procedures, no sequences,
// no foreign keys, no search_path; transactions the server ends for its own
// reasons (SQLSTATE 40001 and 40P01) are run again. A test holds the migrations
// and all statements of the program to that. The engines themselves have not been
// run against; what is known of them:
//
//   - CockroachDB: use [Row]. Its object count bounds it to some hundreds of
//     schemas, and it does not copy databases, so the migrations are run instead.
//     Row-level security needs version 25.2.
//   - YugabyteDB: use [Row] or [Database]. Changes of the schema are not part of
//     a transaction there: one that fails half way is removed when the tenant is
//     created again, but shared tables must then be dropped by hand.
//   - Citus: use [Row] with every table but gatehouse and gatehouse_databases
//     distributed by tenant_id, or [Schema] with
//     citus.enable_schema_based_sharding on.
package postgres
