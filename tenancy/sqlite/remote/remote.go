// Package remote keeps each tenant in a SQLite database of its own that is
// reached by requests: at libSQL's server, at Turso, at Cloudflare D1.
//
// Such a database has no transaction that stays open from one request to the
// next. What it has is a list of statements that is applied whole or not at all,
// and that is all this package asks of it: a [Conn] runs such lists, a [Server]
// makes, finds and drops databases, and [Provider] makes of the two what the
// tenancy package wants of a database.
//
// # Conditions
//
// A batch that depends on how many rows a statement affects cannot look at the
// answer and then decide. So the condition is a statement itself: the table
// gatehouse_guard holds no rows, because its CHECK refuses all; behind a
// statement that has to affect one row stands
//
//	INSERT INTO gatehouse_guard (ok) SELECT 0 WHERE changes() <> 1
//
// which does nothing where the condition holds and fails the batch where it
// does not. The name of the constraint in the error tells it from every other.
//
// # What is in a database
//
// Beside the tenant's tables and gatehouse_guard, a table gatehouse says whose
// they are and which version they have. A database that belongs to somebody else,
// is missing or is of a newer version is not opened, and nothing is made in its
// place. All tables are made by one batch, so a database has all or none of them.
package remote

import (
	"context"
	"errors"
)

// Conn reaches one database. It is safe for concurrent use.
type Conn interface {
	// Run runs the statements in order and atomically: all of them, or none.
	// A single one needs no transaction around it. It returns a result for each.
	//
	// Errors are [*SQLError] for what the engine refuses, [ErrMissing] where
	// there is no such database, [ErrUnready] where it was just made, [ErrUnsent] and [ErrLost] where there was no
	// answer, and tenancy.ErrUnavailable where it is clear what is wrong.
	// ctx bounds how long the answer is waited for.
	Run(ctx context.Context, stmts []Statement) ([]Result, error)

	// Close frees what the connection holds. Nothing runs any more.
	Close() error
}

// Server makes, finds and drops databases. A name consists of a-z, 0-9, "-" and
// "_"; how the service calls the database is the server's to decide, as long as
// two names never mean the same one. It is safe for concurrent use.
type Server interface {
	// Create makes the database: empty, or as an unclaimed copy of a template.
	// One that is already there stays as it is, and is success.
	Create(ctx context.Context, name string) error

	// Connect returns a connection to the database. That there is none may show
	// here or when it is used, as [ErrMissing].
	Connect(ctx context.Context, name string) (Conn, error)

	// Drop removes the database. One that is not there is success.
	Drop(ctx context.Context, name string) error
}

// Statement is one statement of a list. Its arguments are int64, float64, string
// (valid UTF-8), []byte or nil, and stand for "?" in order.
type Statement struct {
	SQL  string
	Args []any
}

// Result is what a statement gave.
type Result struct {
	Columns []string
	Rows    [][]any // values as in Statement.Args
	Changes int64   // rows inserted, updated or deleted by it
}

// SQLError is what the engine said of a statement. None of the list was applied.
type SQLError struct {
	Code    string // SQLite's name of the error, such as SQLITE_BUSY; may be empty
	Message string
}

// Error implements error.
func (e *SQLError) Error() string {
	if e.Code == "" {
		return e.Message
	}
	return e.Message + " (" + e.Code + ")"
}

var (
	// ErrMissing means that there is no such database.
	ErrMissing = errors.New("there is no such database")

	// ErrUnready means that there is such a database, and it cannot be used yet.
	ErrUnready = errors.New("the database is not ready yet")

	// ErrUnsent means that the server was not reached: nothing was applied.
	ErrUnsent = errors.New("the server was not reached")

	// ErrLost means that the server was reached and the answer is not known:
	// the list may have been applied or not.
	ErrLost = errors.New("the answer was lost")
)
