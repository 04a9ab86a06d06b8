// Package sync brings what tenants share from the control plane into every
// tenant's own database: resource servers, roles with their permissions, and
// inherited settings (contract sections 6 and 7).
//
// # Level, not edge
//
// The control plane's change log says which entity is different since a
// revision, never how. Each tenant records in its own database up to which
// revision it is applied. The [Loop] looks for tenants that are behind, reads
// the control plane's rows as they are now, compares them with the tenant's, and
// writes the difference together with the new revision in one batch that is
// applied whole or not at all. A hint that is missed, a crash at any point, a
// restart, or two processes at once therefore lose nothing and do nothing twice.
//
// # Cost
//
// The control plane's rows are read once for all tenants, and only when one of
// them changed. A tenant that is up to date costs an entry in memory; its
// database is not opened. What the loop learned about tenants is noted on the
// control plane ([tenancy.SyncTargets]), so that a restart asks nobody again.
package sync
