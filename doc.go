// Package gatehouse turns Caddy into a multi-tenant identity provider.
//
// Importing it registers the modules, so that Gatehouse is part of any Caddy
// that is built with it:
//
//	xcaddy build --with github.com/gatehouse-id/gatehouse
//
// and two blocks of a Caddyfile are an OAuth 2.0 and OpenID Connect provider for
// as many tenants as there will be:
//
//	{
//		gatehouse {
//			base_domain auth.example.com
//		}
//	}
//
//	auth.example.com, *.auth.example.com {
//		gatehouse
//	}
//
// # Tenants
//
// Every tenant has a host of its own with automatic HTTPS: acme is
// acme.auth.example.com. It has its own issuer and signing keys, its own users,
// clients and sessions, and its own database; a request reads no other. One
// tenant, the control plane at auth.example.com, manages the rest: it creates
// and deletes them through the management API, and what it shares with them
// (resource servers, roles, settings) arrives in every one of them by itself.
// Tenants go on serving while the control plane is away.
//
// # Organizations
//
// Each tenant is an organization of the control plane. Its members manage the
// tenant: they log in once, at the control plane, and ask for a token for one
// organization after the other, silently. A token speaks for exactly one
// organization, and by one rule in every grant.
//
// # The packages
//
//	tenancy             the domain: tenants, what they own, their databases
//	tenancy/sqlite      tenants as SQLite files
//	tenancy/management  the Auth0-compatible API under /api/v2
//	tenancy/mail        messages and who carries them
//	oauth               the protocol: grants, tokens, keys, sessions
//	oauth/login         the hosted pages
//	sync                from the control plane into every tenant
//	caddymodule         everything that knows Caddy
//
// Only caddymodule, this package and the tests import Caddy; the others are
// plain Go. Read package tenancy first: it says how a request comes to be inside
// a tenant, and why it cannot leave it.
package gatehouse
