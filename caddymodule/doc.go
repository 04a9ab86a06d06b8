// Package caddymodule is everything that knows Caddy: it turns Caddy's
// configuration into the plain Go of the other packages and hands them requests
// that are already inside their tenant. It adapts; it decides nothing.
//
// The modules, one file each:
//
//	gatehouse                    app.go              what is served, and where it is kept
//	http.handlers.gatehouse      idp.go              answers the requests of tenants' hosts
//	http.handlers.tenant_auth    tenant_auth.go      lets tokens of the request's tenant through
//	http.matchers.tenant         matcher.go          true where the host is a tenant's
//	tls.permission.gatehouse     permission.go       certificates for tenants' hosts only
//	caddy.storage.gatehouse      storage.go          certificates and locks in the control plane
//	gatehouse.databases.sqlite   database_sqlite.go  tenants as SQLite files
//	gatehouse.databases.postgres database_postgres.go  tenants in PostgreSQL, three ways
//	gatehouse.resolvers.*        resolver.go         whose host a host is
//
// # State and reloads
//
// Caddy makes every module anew with every configuration, runs the old and the
// new ones side by side for a moment, and cleans the old ones up while their
// last requests still run. So nothing that a request needs lives in a module:
// it lives in a [runtime], which configurations that ask for the same thing hand
// on to each other through a [caddy.UsagePool], and which is closed only when
// the last request has left it.
//
// Provision writes nothing, because `caddy validate` runs it; Start opens, and
// at the first start makes, the control plane. Until it has, and Caddy starts
// apps in no particular order, requests are answered with 503.
package caddymodule
