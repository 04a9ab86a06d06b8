package d1

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// failure is what went wrong with a request.
type failure struct {
	api     *api
	status  int // HTTP status; 0 if there was no answer
	code    int // Cloudflare's number for it; 0 if there is none
	message string
	garbled bool  // an answer came, but it cannot be read
	unsent  bool  // the other side never saw the request
	cause   error // of the network
}

// Cloudflare's numbers for what is acted on.
const (
	codeStatement = 7500 // a statement failed, and much else
	codeExists    = 7502
	codeMissing   = 7404
	codeFull      = 7406 // as many databases as the account may have
	codeAccount   = 7403
	codeRoute     = 7003
)

// Error implements error. It never holds the token.
func (f *failure) Error() string {
	who := "the D1 API"
	if f.api.worker {
		who = "the Worker"
	}
	switch {
	case f.cause != nil:
		return fmt.Sprintf("%s at %s: %v", who, f.api.base, f.cause)
	case f.message == "":
		return fmt.Sprintf("%s at %s answered %d", who, f.api.base, f.status)
	case f.code != 0:
		return fmt.Sprintf("%s at %s answered %d: %s (code %d)", who, f.api.base, f.status, f.message, f.code)
	}
	return fmt.Sprintf("%s at %s answered %d: %s", who, f.api.base, f.status, f.message)
}

// Unwrap returns the cause, if the network is it.
func (f *failure) Unwrap() error { return f.cause }

// statement reports whether a statement was refused by the database: then nothing
// of its batch was applied. The same number stands for trouble of the service,
// after which nothing is known; SQLite's own name for the error tells them apart.
func (f *failure) statement() bool {
	return f.code == codeStatement && f.status == http.StatusBadRequest && strings.Contains(f.message, "SQLITE_")
}

// known reports whether it is certain that the request had no effect.
func (f *failure) known() bool {
	switch {
	case f.unsent, f.status == http.StatusTooManyRequests, f.statement():
		return true
	case f.status < 400, f.status >= 500, f.status == http.StatusRequestTimeout:
		return false
	}
	return f.code != codeStatement // refused before it was begun: a wrong token, a missing database
}

// hint says what an operator does about it.
func (f *failure) hint() string {
	switch {
	case f.status == 0:
		return "see whether this machine reaches the address"
	case f.status == http.StatusTooManyRequests:
		if f.api.worker {
			return "the Worker is over a limit of its plan: see its metrics at Cloudflare"
		}
		return "an account has 1200 requests in five minutes for its whole API: use a Worker for traffic, see docs/d1.md"
	case f.code == codeRoute, f.code == codeAccount:
		return "check the account's id, and that the token is of this account"
	case f.code == codeMissing:
		return "the database is missing: restore it from a backup; none is made in its place"
	case f.code == codeFull:
		return "delete databases that nobody needs, or ask Cloudflare for a higher limit"
	case f.garbled && f.status < 500 && f.api.worker:
		return "check the URL: it has to be that of the Worker in docs/d1-worker"
	case f.garbled && f.status < 500:
		return "check the API's address, and what stands between"
	case f.status == http.StatusUnauthorized, f.status == http.StatusForbidden:
		if f.api.worker {
			return "the secret is not the Worker's: set the one that \"npx wrangler secret put SECRET\" was given"
		}
		return "check the token: it needs the permission D1 Edit for this account"
	case f.status >= 500:
		return "the service has trouble: see www.cloudflarestatus.com"
	case strings.Contains(f.message, "maximum DB size"):
		return "the database is as large as it may be: remove what is not needed, or move the tenant"
	}
	return "see the tenant's database in Cloudflare's dashboard"
}

// unavailable is the failure as it crosses the storage boundary: with the mark by
// which what was not carried out, or may have been, is told.
func (f *failure) unavailable() error {
	switch {
	case f.unsent:
		return tenancy.Unavailable(fmt.Errorf("%w: %w", remote.ErrUnsent, f), f.hint())
	case !f.known():
		return tenancy.Unavailable(fmt.Errorf("%w: %w", remote.ErrLost, f), f.hint())
	}
	return tenancy.Unavailable(f, f.hint())
}

// translate turns an error of the API into one that crosses the storage boundary.
func translate(err error) error {
	var f *failure
	if errors.As(err, &f) && !errors.Is(err, tenancy.ErrUnavailable) {
		return f.unavailable()
	}
	return err
}
