package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// oauthError is an error of the protocol that the caller is told (RFC 6749
// section 5.2). Make one with [refuse] or [refusal].
type oauthError struct {
	Status      int
	Code        string // "error"
	Description string // "error_description", word for word as the contract has it
	Basic       bool   // the client used HTTP Basic: 401 answers with that challenge
	cause       error  // for the log
}

// Error implements error.
func (e *oauthError) Error() string {
	if e.cause != nil {
		return e.Code + ": " + e.Description + ": " + e.cause.Error()
	}
	return e.Code + ": " + e.Description
}

// Unwrap returns what led to the error.
func (e *oauthError) Unwrap() error { return e.cause }

// refuse is one of fosite's errors with our own text: its code and status, and
// the description that clients match on.
func refuse(base *fosite.RFC6749Error, format string, args ...any) *oauthError {
	return refusal(base.CodeField, base.ErrorField, format, args...)
}

// refusal is [refuse] for codes that fosite has no value for.
func refusal(status int, code, format string, args ...any) *oauthError {
	return &oauthError{Status: status, Code: code, Description: fmt.Sprintf(format, args...)}
}

// because adds the cause for the log.
func (e *oauthError) because(err error) *oauthError {
	e.cause = err
	return e
}

// Errors that more than one endpoint answers with. They are functions, because
// an error carries what it was caused by.
func errInvalidClient() *oauthError { // contract C4.33
	return refuse(fosite.ErrInvalidClient, "Client authentication failed")
}

func errBlocked() *oauthError { // contract C2.10; the SDKs match this text
	return refuse(fosite.ErrAccessDenied, "user is blocked")
}

// told is the error as the caller may see it. Faults of our own become a text
// without any detail (contract C0.8).
func told(ctx context.Context, err error) *oauthError {
	var own *oauthError
	var shown *tenancy.Error
	var rfc *fosite.RFC6749Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, tenancy.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		// contract C0.11: before all else, because fosite wraps it
		return refusal(http.StatusServiceUnavailable, fosite.ErrTemporarilyUnavailable.ErrorField,
			"The service is temporarily unavailable (request %s)", tenancy.VisitOf(ctx).RequestID)
	case errors.As(err, &own):
		return own
	case errors.As(err, &shown) && shown.Status != 0 && shown.Status < 500:
		return refusal(shown.Status, shown.Code, "%s", shown.Message)
	case errors.As(err, &tooLarge): // contract C0.6
		return refusal(http.StatusRequestEntityTooLarge, fosite.ErrInvalidRequest.ErrorField, "Request body is too large")
	case errors.As(err, &rfc) && rfc.CodeField < 500 && rfc.ErrorField != fosite.ErrUnknownRequest.ErrorField:
		return refuse(rfc, "%s", rfc.GetDescription())
	}
	return refusal(http.StatusInternalServerError, fosite.ErrServerError.ErrorField,
		"Internal error (request %s)", tenancy.VisitOf(ctx).RequestID)
}

// internal reports whether an error is a fault of ours, which is logged.
func (e *oauthError) internal() bool { return e.Status >= 500 }

// fail answers with envelope A (contract C0.3). It is the one place where an
// error becomes a response and, where it is a fault, a log line.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := told(r.Context(), err)
	s.logFault(r.Context(), e, err)
	h := w.Header()
	var shown *tenancy.Error
	if errors.As(err, &shown) {
		for name, value := range shown.Header {
			h.Set(name, value)
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	switch {
	case e.Basic && e.Status == http.StatusUnauthorized: // RFC 6749 section 5.2
		h.Set("WWW-Authenticate", `Basic realm="oauth", charset="UTF-8"`)
	case e.Status == http.StatusServiceUnavailable && h.Get("Retry-After") == "":
		h.Set("Retry-After", retryAfter)
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{e.Code, e.Description})
	if err != nil {
		body = []byte(`{"error":"server_error"}`) // two strings always encode
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
}

// retryAfter is how many seconds a client waits after 503 (contract C1.17).
const retryAfter = "5"

// logFault writes a fault to the log, under the id the caller was told.
func (s *Server) logFault(ctx context.Context, e *oauthError, err error) {
	if !e.internal() || errors.Is(err, context.Canceled) {
		return
	}
	tenant := ""
	if t, err := tenancy.Current(ctx); err == nil {
		tenant = t.ID
	}
	s.log.ErrorContext(ctx, "request failed", "tenant", tenant, "request", tenancy.VisitOf(ctx).RequestID,
		"status", e.Status, "error", cause(err))
}

// cause is an error's text with what fosite hides behind its codes.
func cause(err error) string {
	var rfc *fosite.RFC6749Error
	if errors.As(err, &rfc) && rfc.DebugField != "" {
		return err.Error() + ": " + rfc.DebugField
	}
	return err.Error()
}

// Interface guards
var _ error = (*oauthError)(nil)
