// Package libsql keeps each tenant in a libSQL database of its own: at Turso, or
// at a server of one's own, sqld. Statements go over Hrana, libSQL's protocol, as
// HTTP requests; databases are made and dropped through Turso's platform API or
// sqld's admin API.
//
// # How tenants are kept apart
//
// Every tenant has a database, whose name is made of the installation's prefix and
// the tenant's id: no two tenants and no two installations have the same. The
// database says itself whose it is; one that says something else, or holds tables
// of somebody else, is neither opened nor filled nor dropped.
//
// # Requests
//
// A read is one request. A batch is one request too: its statements stand between
// BEGIN IMMEDIATE and COMMIT as steps that depend on each other, so that the
// server undoes all of them when one fails, also when the answer finds nobody any
// more. No transaction stays open between requests, where a slow client would
// hold up everybody else who writes.
//
// # Turso
//
// The platform token needs to read, create and delete databases of its group and
// to mint tokens for them. Databases are reached with tokens that are minted when
// a tenant is opened, last a day and are replaced before they end, or when the
// database refuses them. Opening a tenant takes two requests to the platform; the
// requests that follow go to the database alone. A template, a database with
// tables and no tenant, spares new tenants the making of their tables.
//
// The platform API is known from its documentation and has been tested against a
// server with its shapes; statements have been tested against sqld.
package libsql
