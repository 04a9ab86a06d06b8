package tenancy

import (
	"context"

	"gorm.io/gorm"
)

// Provider makes and opens tenants' databases of one kind: SQLite files,
// PostgreSQL schemas, a remote service's databases. All methods are safe for
// concurrent use.
type Provider interface {
	// Dialector returns the GORM dialect of this provider's databases. It must
	// initialize without reaching any of them.
	Dialector() gorm.Dialector

	// Rebind turns "?" placeholders into the engine's own form.
	Rebind(sql string) string

	// Create makes the database at loc with the current schema. Afterwards the
	// database is there whole or, on error, not at all. A database that is
	// already there for the same tenant is success; one of another tenant, or
	// anything else in its place, is an error and stays untouched.
	Create(ctx context.Context, loc Location) error

	// Open opens the database at loc, bringing its schema up to date first.
	// A missing, foreign, damaged or locked database is [ErrUnavailable];
	// nothing is ever created in its place.
	Open(ctx context.Context, loc Location) (Database, error)

	// Drop removes the database at loc with all that belongs to it. A database
	// that is not there is success. The caller has closed it before.
	Drop(ctx context.Context, loc Location) error
}

// Versioned is the optional ability of a [Provider] to say to which version Open
// brings the schema of a database, see [Upgrader].
type Versioned interface{ SchemaVersion() int64 }

// Location says which database is meant.
type Location struct {
	// Tenant is the id of the tenant the database belongs to. The provider
	// writes it into the database and refuses to open one of somebody else.
	Tenant string

	// Name is what the provider calls the database; empty means it derives the
	// name from Tenant. It comes from the registry, never from a request.
	Name string
}

// Database is one tenant's open database. It is safe for concurrent use.
type Database interface {
	// Querier answers statements that change nothing.
	Querier

	// Batch applies all statements in order and atomically, or none of them.
	// It returns, per statement, the rows affected (for a guard: the rows
	// returned). Where a statement misses its Rows, nothing is applied and the
	// error is [ErrStale]; where one breaks uniqueness, [ErrConflict].
	//
	// A batch that was begun is finished even if ctx ends meanwhile, so that
	// the caller always learns what became of it.
	Batch(ctx context.Context, stmts []Stmt) ([]int64, error)

	// Close waits for batches under way and frees all resources.
	Close() error
}

// SnapshotDatabase is the optional ability of a [Database] to be read as it was
// at one moment, while others write.
type SnapshotDatabase interface {
	Database

	// Snapshot returns the moment of the call. The caller closes it.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Snapshot is a database at one moment. It is used by one goroutine at a time.
type Snapshot interface {
	Querier
	Close() error
}

// Querier is the reading half of a database connection.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (Rows, error)
}

// Scrubber is an ability that a [Database] may have.
type Scrubber interface {
	// Scrub makes what was deleted before unreadable in all files there are of
	// the database. A Database without the ability leaves it to its engine, which
	// may take a while, or needs to be told (VACUUM).
	Scrub(ctx context.Context) error
}

// Rewriter is another ability that a [Database] may have, for engines to which
// [Scrubber] would cost too much each time something is deleted.
type Rewriter interface {
	// Rewrite makes what the tables' rows held before unreadable in the tables'
	// files, as far as the engine can; it says where it cannot. It may keep who uses
	// the tables waiting for moments.
	Rewrite(ctx context.Context, tables []string) error
}
