package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// refusal is an answer this package gives itself, before anybody else is asked.
// It reads the same to programs of both kinds: code and text go into the
// envelope of the path.
type refusal struct {
	status     int
	code       string // "error" in envelope A, "errorCode" in M
	text       string
	retryAfter int    // seconds; 0 for none
	challenge  string // WWW-Authenticate; "" for none

	managed bool // envelope M on every path
	auth    bool // envelope A on every path
	page    bool // a page for those who look at it

	cookies []*http.Cookie // that the browser is to take
}

// What is answered before a tenant is entered.
var (
	invalidHost = refusal{status: http.StatusBadRequest, code: "invalid_request", text: "Invalid host", auth: true} // C1.3
	unknownHost = refusal{status: http.StatusNotFound, code: "tenant_not_found", text: "Tenant not found", managed: true}

	wrongConnection = refusal{
		status: http.StatusMisdirectedRequest, code: "invalid_request",
		text: "The connection was made for another host",
	}
	tooEarly = refusal{
		status: http.StatusTooEarly, code: "invalid_request",
		text: "The request came before the handshake was finished; send it again",
	}
	unknownPath = refusal{status: http.StatusNotFound, code: "not_found", text: "Not Found"}
	suspended   = refusal{status: http.StatusForbidden, code: "access_denied", text: "Tenant is suspended", page: true} // C1.19
)

// unavailable is the answer while code says why nothing can be done (C0.11).
func unavailable(requestID string) refusal {
	return refusal{
		status: http.StatusServiceUnavailable, retryAfter: 5,
		text: "The service is temporarily unavailable (request " + requestID + ")",
	}
}

// failure is the answer to a fault of ours (C0.8).
func failure(requestID string) refusal {
	return refusal{status: http.StatusInternalServerError, text: "Internal error (request " + requestID + ")"}
}

// envelope is the body: M for the management API, A elsewhere (C0.3, C0.4).
func (a refusal) envelope(r *http.Request) (body any, managed bool) {
	if a.managed || !a.auth && isManagement(r.URL.Path) {
		return struct {
			StatusCode int    `json:"statusCode"`
			Error      string `json:"error"`
			Message    string `json:"message"`
			ErrorCode  string `json:"errorCode"`
		}{a.status, http.StatusText(a.status), a.text, a.codeFor("service_unavailable", "internal_error")}, true
	}
	return struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{a.codeFor("temporarily_unavailable", "server_error"), a.text}, false
}

// codeFor is the code, or that of the envelope where the refusal has none.
func (a refusal) codeFor(unavailable, internal string) string {
	switch {
	case a.code != "":
		return a.code
	case a.status == http.StatusServiceUnavailable:
		return unavailable
	}
	return internal
}

// isManagement reports whether a path is the management API's.
func isManagement(path string) bool {
	return path == "/api/v2" || strings.HasPrefix(path, "/api/v2/")
}

// answer writes the refusal in the form that belongs to the request.
func (a refusal) answer(w http.ResponseWriter, r *http.Request) {
	if a.page && r.Method != http.MethodOptions && strings.Contains(r.Header.Get("Accept"), "text/html") {
		a.answerPage(w, r)
		return
	}
	body, managed := a.envelope(r)
	text, err := json.Marshal(body)
	if err != nil {
		text = []byte(`{"error":"server_error"}`) // texts always encode
	}
	kind := "application/json"
	if managed {
		kind += "; charset=utf-8"
	}
	a.head(w, kind)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text) // the client may be gone; there is nobody left to tell
	}
}

var refusalPage = template.Must(template.New("refusal").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.}}</title>
</head>
<body>
<main>
<h1>{{.}}</h1>
</main>
</body>
</html>
`))

// answerPage writes the refusal for a person to read (C3.18).
func (a refusal) answerPage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	a.head(w, "text/html; charset=utf-8")
	if r.Method != http.MethodHead {
		_ = refusalPage.Execute(w, a.text) // only writing can fail, to a client that is gone
	}
}

func (a refusal) head(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store") // C0.5
	for _, c := range a.cookies {
		http.SetCookie(w, c)
	}
	if a.challenge != "" {
		h.Set("WWW-Authenticate", a.challenge)
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	w.WriteHeader(a.status)
}

// failer answers errors of parts of the management API that are made elsewhere.
func failer(log *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	return func(w http.ResponseWriter, r *http.Request, err error) {
		id := tenancy.VisitOf(r.Context()).RequestID
		a := refusalOf(err, id)
		if a.status >= http.StatusInternalServerError && r.Context().Err() == nil {
			log.Error("request failed", "request", id, "error", err)
		}
		a.managed = true
		a.answer(w, r)
	}
}

// refusalOf is what a request with the id is answered with that failed by err.
func refusalOf(err error, id string) refusal {
	var shown *tenancy.Error
	switch status := tenancy.StatusOf(err); {
	case errors.As(err, &shown) && status < http.StatusInternalServerError:
		return refusal{status: status, code: shown.Code, text: shown.Message}
	case status == http.StatusServiceUnavailable, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unavailable(id)
	}
	return failure(id)
}
