package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// guardConstraint is the name by which a condition that does not hold is told
// from other errors.
const guardConstraint = "gatehouse_stale"

const (
	hintServer  = "see whether the server is up and can be reached"
	hintMissing = "the database is missing: restore it from a backup; none is made in its place"
	hintDamaged = "the database is damaged: restore it from a backup"
)

// refusals are what engines say, by SQLite's name of the error and by its text:
// not every service passes the name on.
var refusals = []struct{ code, text, hint string }{
	{"SQLITE_BUSY", "database is locked", "another client holds the database: try again"},
	{"SQLITE_LOCKED", "database table is locked", "another client holds the database: try again"},
	{"SQLITE_FULL", "database or disk is full", "the database has reached its size: raise the limit, or free some space"},
	{"SQLITE_READONLY", "attempt to write a readonly database", "the token or the replica allows no writes: use a token with full access to the primary"},
	{"SQLITE_CORRUPT", "database disk image is malformed", hintDamaged},
	{"SQLITE_NOTADB", "file is not a database", hintDamaged},
	{"SQLITE_IOERR", "disk I/O error", "see the server's log: it has trouble with its files"},
	{"SQLITE_NOMEM", "out of memory", "the server is short of memory"},
	{"", "no such table", "tables are missing: restore them from a backup; none are made in their place"},
	{"", "interrupted", "the server gave up: see its limits of time"},
}

// translate turns the errors of connections into those that cross the storage
// boundary. It may be applied twice.
func translate(err error) error {
	var shown *tenancy.Error
	var sql *SQLError
	switch {
	case err == nil, errors.Is(err, tenancy.ErrUnavailable), errors.Is(err, tenancy.ErrConflict), errors.As(err, &shown):
		return err
	case errors.As(err, &sql):
		return translateSQL(sql, err)
	case errors.Is(err, ErrMissing):
		return tenancy.Unavailable(err, hintMissing)
	case errors.Is(err, ErrUnready):
		return tenancy.Unavailable(err, "try again in a moment")
	case errors.Is(err, ErrUnsent), errors.Is(err, ErrLost):
		return tenancy.Unavailable(err, hintServer)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return tenancy.Unavailable(err, hintServer)
}

func translateSQL(e *SQLError, err error) error {
	switch {
	case strings.Contains(e.Message, "CHECK constraint failed: "+guardConstraint):
		return tenancy.ErrStale
	case strings.Contains(e.Message, "UNIQUE constraint failed"), strings.Contains(e.Message, "PRIMARY KEY constraint failed"):
		return fmt.Errorf("%w: %w", tenancy.ErrConflict, err)
	case e.Code == "SQLITE_TOOBIG", strings.Contains(e.Message, "string or blob too big"):
		shown := tenancy.Errorf(400, "invalid_body", "A value is too long to be stored")
		shown.Cause = err
		return shown
	}
	for _, r := range refusals {
		if r.code != "" && strings.HasPrefix(e.Code, r.code) || strings.Contains(e.Message, r.text) {
			return tenancy.Unavailable(err, r.hint)
		}
	}
	return err
}

// busy reports whether the list was not applied because somebody else was
// writing.
func busy(err error) bool {
	var e *SQLError
	return errors.As(err, &e) && (strings.HasPrefix(e.Code, "SQLITE_BUSY") || strings.HasPrefix(e.Code, "SQLITE_LOCKED") ||
		strings.Contains(e.Message, "database is locked") || strings.Contains(e.Message, "database table is locked"))
}

// says reports whether the engine's message holds the text.
func says(err error, text string) bool {
	var e *SQLError
	return errors.As(err, &e) && strings.Contains(e.Message, text)
}
