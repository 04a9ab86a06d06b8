package login

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// failure is an error that gets a page of its own.
type failure struct {
	Status  int
	Title   string // empty for one that fits the status
	Message string
	Code    string // of the protocol, e.g. invalid_request; may be empty
	Detail  string // for whoever operates the application; may be empty
	Return  string // where the person can go on; may be empty

	RetryAfter string // seconds, for status 503; empty for a few
}

// Error implements error.
func (f *failure) Error() string { return f.Message }

// titles of failures by status.
var titles = map[int]string{
	http.StatusBadRequest:         "This request cannot be completed",
	http.StatusForbidden:          "Access denied",
	http.StatusNotFound:           "Page not found",
	http.StatusConflict:           "This was done before",
	http.StatusTooManyRequests:    "Too many attempts",
	http.StatusServiceUnavailable: "Please try again in a moment",
}

// Error answers with an error page, for whoever cannot send the browser back to
// an application with the error (contract C3.1). code is the protocol's error
// code and may be empty; the message is shown as it is and must hold nothing
// internal.
func (p *Pages) Error(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	p.showFailure(w, r, &failure{Status: status, Code: code, Message: message})
}

// fail answers with an error page. What went wrong inside is logged once, here,
// and shown by the request's id only (contract C0.8).
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	var f *failure
	var shown *tenancy.Error
	requestID := tenancy.VisitOf(r.Context()).RequestID
	switch {
	case errors.As(err, &f):
	case errors.As(err, &shown) && shown.Status != 0 && shown.Status < 500:
		f = &failure{Status: shown.Status, Message: shown.Message}
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		return // nobody waits for the answer
	case errors.Is(err, tenancy.ErrUnavailable):
		p.logger.ErrorContext(r.Context(), "hosted page", slog.Any("error", err), slog.String("request_id", requestID))
		f = &failure{Status: http.StatusServiceUnavailable, Message: "The service is temporarily unavailable (request " + requestID + ")."}
		if shown != nil {
			f.RetryAfter = shown.Header["Retry-After"]
		}
	default:
		p.logger.ErrorContext(r.Context(), "hosted page", slog.Any("error", err), slog.String("request_id", requestID))
		f = &failure{Status: http.StatusInternalServerError, Message: "Internal error (request " + requestID + ")."}
	}
	p.showFailure(w, r, f)
}

func (p *Pages) showFailure(w http.ResponseWriter, r *http.Request, f *failure) {
	pg := page{template: errorTemplate, status: f.Status, Title: f.Title, Look: lookOf(r.Context(), nil), View: f}
	if pg.Title == "" {
		pg.Title = titles[f.Status]
	}
	if pg.Title == "" {
		pg.Title = "Something went wrong"
	}
	if f.Status == http.StatusServiceUnavailable {
		pg.retryAfter = cmp.Or(f.RetryAfter, "5")
	}
	if err := p.render(w, r, pg); err != nil { // a template that cannot be filled is a fault of the program
		p.logger.ErrorContext(r.Context(), "error page", slog.Any("error", err))
		http.Error(w, f.Message, f.Status)
	}
}
