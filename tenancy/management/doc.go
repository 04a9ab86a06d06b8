// Package management is the Auth0-compatible management API under /api/v2
// (contract, section 5).
//
// # Rows, not classes
//
// A kind of thing the API manages is one [Resource]: a row that names its path,
// its table, its members with their limits, and the few rules that are its own.
// The handlers that read these rows exist once, and hold once each what is true
// of all of them: bearer and scope, the tenant acted on, read-only members,
// validation, the guard of system rows, paging, fields, sort, audit, and the
// body of an error. What does not fit the five verbs is a [route] with a handler
// made by [Handle], under the same rules.
//
// # Who acts where
//
// The API is entered inside the tenant of the request's host. The token decides,
// by [tenancy.Access], which tenant the request acts on; the handler then runs
// inside that one, and can name no other.
package management
