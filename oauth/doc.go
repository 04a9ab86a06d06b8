// Package oauth is the OAuth 2.0 and OpenID Connect side of a tenant: the
// authorization and token endpoints, tokens and the keys they are signed with,
// sessions, and the one rule by which a person or program gets permissions in an
// organization.
//
// One [Server] serves all tenants. Whatever differs between them (issuer, keys,
// lifetimes, secrets, rows) comes from the context, which is inside exactly one
// tenant: see package tenancy.
//
// # The engine
//
// fosite is the state machine of the authorization-code, refresh-token and
// client-credentials grants. It is kept behind thin code of ours: requests are
// parsed and refused, clients authenticated, tokens minted and answers written
// here, and its stores are views of one row per grant whose changes are written
// in one batch (provider.go, store.go). Handlers never call its Write functions.
//
// # Tokens
//
// Access tokens are JWTs (RFC 9068) and leave no row. Codes and refresh tokens
// are 256 random bits, known by their hash, and consumed by a conditional update
// that must affect exactly one row. All tokens that descend from one
// authorization are a family; the jti of its access tokens begins with the
// family's id, so that one row revokes them all.
package oauth
