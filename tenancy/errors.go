package tenancy

import (
	"errors"
	"fmt"
	"net/http"
)

// The errors that cross the storage boundary. Providers translate their own
// errors into these; callers use errors.Is and never look at text.
var (
	// ErrNotFound is returned for a row that is not in the entered tenant,
	// whether or not some other tenant has one with the same id.
	ErrNotFound = errors.New("not found")

	// ErrConflict is returned when a write would break uniqueness. Nothing of
	// its batch was written.
	ErrConflict = errors.New("conflict")

	// ErrStale is returned when a guard did not hold or a statement did not
	// affect the number of rows it had to: somebody else was faster. Nothing of
	// the batch was written. It is also an ErrConflict.
	ErrStale = fmt.Errorf("changed by somebody else: %w", ErrConflict)

	// ErrUnavailable is returned when a tenant's database cannot be used now:
	// missing, locked, full, corrupt, or not answering. The caller answers 503
	// and grants nothing.
	ErrUnavailable = errors.New("database unavailable")

	// ErrUnchanged is returned by a function given to [Table.Update] to say that
	// the row is right as it is.
	ErrUnchanged = errors.New("unchanged")

	// ErrNoTenant is returned when a statement is run with a context that was
	// never entered. It is a fault of the program, never of a caller.
	ErrNoTenant = errors.New("no tenant in this context")
)

// Error is an error that may be shown to the person or program that caused it.
// Everything else is answered as an internal error with a request id.
type Error struct {
	Status  int               // HTTP status; 0 means 500
	Code    string            // errorCode of the management API, e.g. "system_resource"
	Message string            // shown to the caller, word for word
	Hint    string            // for operators: the next command or Caddyfile line; may be empty
	Header  map[string]string // further response headers, e.g. WWW-Authenticate
	More    map[string]string // further members of the answer, e.g. operation_id
	Cause   error             // for the log only; may be nil
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Error returns the message, and the hint behind it where there is one.
func (e *Error) Error() string {
	if e.Hint != "" {
		return e.Message + " (" + e.Hint + ")"
	}
	return e.Message
}

// Errorf builds an [Error] for the caller to see.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Unavailable wraps err so that errors.Is(err, ErrUnavailable) holds while the
// cause stays readable in logs. hint says what an operator does about it.
func Unavailable(err error, hint string) error {
	if hint == "" {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w (%s)", ErrUnavailable, err, hint)
}

// StatusOf returns the HTTP status err is answered with: the status of an
// [Error], 503 for an unavailable store, 404 and 409 for the storage sentinels,
// 500 otherwise.
func StatusOf(err error) int {
	var shown *Error
	switch {
	case errors.As(err, &shown):
		if shown.Status != 0 {
			return shown.Status
		}
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}
