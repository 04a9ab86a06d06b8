// Package tenancy is the domain of Gatehouse: what a tenant is, what it owns,
// and how a request comes to be inside exactly one of them.
//
// # Being inside a tenant
//
// No function in this module takes a tenant id next to a database handle.
// [Pool.Enter] opens a tenant's database and returns a context; whatever reads
// or writes with that context acts on that tenant and cannot name another. A
// context that was never entered reaches no database at all: every statement
// fails with [ErrNoTenant].
//
// # Rows
//
// Each kind of thing a tenant owns is one struct in a file of its own (client.go,
// role.go, ...) that embeds [Row], and one [Table] that reads and writes it. All
// rows carry tenant_id and are keyed (tenant_id, id), wherever they are stored,
// so that isolation is a deployment choice and not a code path.
//
// # Writing
//
// The only write is [Commit]: a batch of statements, some of them guards, that
// is applied whole or not at all. It needs no interactive transaction, so an
// engine without BEGIN fits behind the same interface. Entities change by
// compare-and-swap over their revision; single-use rows are consumed by a
// conditional statement that must affect exactly one row.
package tenancy
