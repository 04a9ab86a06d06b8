package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SQLSTATEs that are acted on.
const (
	uniqueViolation     = "23505"
	serializationFailed = "40001"
	deadlockDetected    = "40P01"
	undefinedTable      = "42P01"
	undefinedSchema     = "3F000"
	undefinedDatabase   = "3D000"
	duplicateDatabase   = "42P04"
	duplicateSchema     = "42P06"
	duplicateTable      = "42P07"
	objectInUse         = "55006"
	syntaxError         = "42601"
	notSupported        = "0A000"
	invalidParameter    = "22023"
	notPermitted        = "42501"
)

// stateOf returns err's SQLSTATE, or "".
func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// hints say, per SQLSTATE or its class, what an operator does about a database
// that cannot be used.
var hints = map[string]string{
	undefinedDatabase:   "the database is missing: restore it from a backup; none is made in its place",
	undefinedTable:      "tables are missing: restore them from a backup; none are made in their place",
	undefinedSchema:     "the schema is missing: restore it from a backup; none is made in its place",
	notPermitted:        "grant the role of the connection string what it lacks, or make it the owner",
	serializationFailed: "too many writes to the same rows at a time",
	deadlockDetected:    "too many writes to the same rows at a time",
	objectInUse:         "somebody else is connected to the database: end that connection",
	"25006":             "the server is a read-only standby: connect to the primary",
	"53100":             "the server's disk is full: free some space",
	"53300":             "the server has too few connections: raise its max_connections, or lower max_connections of this placement",
	"55P03":             "another transaction holds the rows: end it",
	"57014":             "the server gave up: raise its statement_timeout",
	"57P03":             "the server is starting or stopping",
	"08":                "see whether the server is up and can be reached",
	"28":                "check the user and password of the connection string, and the server's pg_hba.conf",
	"53":                "the server is short of resources",
	"57":                "see whether the server is up",
	"58":                "see the server's log: it has trouble with its files",
	"XX":                "see the server's log: its data may be damaged",
}

// translate turns the driver's errors into those that cross the storage
// boundary. It may be applied twice.
func translate(err error) error {
	var shown *tenancy.Error
	switch {
	case err == nil, errors.Is(err, tenancy.ErrUnavailable), errors.Is(err, tenancy.ErrConflict), errors.As(err, &shown):
		return err
	}
	if code := stateOf(err); code != "" {
		return translateState(code, err)
	}
	switch {
	case errors.Is(err, errLeaseLost):
		return tenancy.Unavailable(err, "another node went on with it: try again")
	case errors.Is(err, errMissing):
		return tenancy.Unavailable(err, hintMissing)
	}
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &connect):
		return tenancy.Unavailable(oneLine{err}, hints["08"])
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn), errors.Is(err, net.ErrClosed):
		return tenancy.Unavailable(err, hints["08"])
	}
	return err
}

// oneLine is an error of connecting, which lists each attempt on a line of its own,
// on one.
type oneLine struct{ error }

// Error implements error.
func (e oneLine) Error() string {
	return strings.ReplaceAll(strings.ReplaceAll(e.error.Error(), ":\n\t", ": "), "\n\t", "; ")
}

// Unwrap returns the error as it was.
func (e oneLine) Unwrap() error { return e.error }

func translateState(code string, err error) error {
	switch code {
	case uniqueViolation:
		return fmt.Errorf("%w: %w", tenancy.ErrConflict, err)
	case "22021", "22P05": // PostgreSQL stores no NUL and nothing that is not UTF-8
		shown := tenancy.Errorf(400, "invalid_body", "Text holds a character that cannot be stored")
		shown.Cause = err
		return shown
	}
	if hint, ok := hints[code]; ok {
		return tenancy.Unavailable(err, hint)
	}
	if hint, ok := hints[code[:2]]; ok {
		return tenancy.Unavailable(err, hint)
	}
	return err
}
