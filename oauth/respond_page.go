package oauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// page is what the plain pages of this package show. They appear where there is
// no client to send the browser back to, so they need neither script nor look.
type page struct {
	Title   string
	Message string
	Code    string        // error code, for developers; may be empty
	Confirm *confirmation // nil on pages without a question
}

// confirmation is the form on a page that asks a question.
type confirmation struct {
	Action string      // where the form is posted to
	Fields [][2]string // hidden fields, name and value
	Button string
	Target string // where the answer to the post redirects; "" for nowhere else
}

// pageStyle is the one style sheet of plain pages; the policy names its hash.
const pageStyle = `body{font:1rem/1.5 system-ui,sans-serif;margin:0;color:#1f2328;background:#fff}` +
	`main{max-width:34rem;margin:15vh auto 0;padding:0 1.25rem}h1{font-size:1.375rem}p{overflow-wrap:anywhere}` +
	`small{color:#57606a}button{font:inherit;padding:.6rem 1.2rem}`

var (
	pageStyleHash = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()

	pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Page.Title}}</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
<h1>{{.Page.Title}}</h1>
<p>{{.Page.Message}}</p>
{{- with .Page.Confirm}}
<form method="post" action="{{.Action}}">
{{- range .Fields}}
<input type="hidden" name="{{index . 0}}" value="{{index . 1}}">
{{- end}}
<button type="submit">{{.Button}}</button>
</form>
{{- end}}
{{- if or .Page.Code .RequestID}}
<p><small>{{with .Page.Code}}{{.}} {{end}}{{with .RequestID}}(request {{.}}){{end}}</small></p>
{{- end}}
</main>
</body>
</html>
`))
)

// writePage answers with a plain page that no other site can frame (C3.18).
func writePage(ctx context.Context, w http.ResponseWriter, status int, p page) {
	policy := "default-src 'none'; style-src " + pageStyleHash + "; base-uri 'none'; frame-ancestors 'none'"
	if p.Confirm != nil {
		policy += "; form-action 'self'" + formTarget(p.Confirm.Target)
	}
	secureHTML(w.Header(), policy)
	w.Header().Set("X-Frame-Options", "DENY")
	writeHTML(w, status, pageTemplate, map[string]any{
		"Page": p, "Style": template.CSS(pageStyle), "RequestID": tenancy.VisitOf(ctx).RequestID,
	})
}

// formTarget is the source expression of where a form's answer redirects, which
// browsers hold against form-action too.
func formTarget(uri string) string {
	if origin := tenancy.OriginOf(uri); origin != "" {
		return " " + origin
	}
	if u, err := url.Parse(uri); err == nil && u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return " " + u.Scheme + ":"
	}
	return ""
}

// pageTitles are the headings of error pages.
var pageTitles = map[int]string{
	http.StatusForbidden:          "Not available",
	http.StatusMethodNotAllowed:   "This page cannot be called this way",
	http.StatusConflict:           "Already done",
	http.StatusServiceUnavailable: "Temporarily unavailable",
}

// failPage shows an error to the person, where there is no client to tell
// (contract C3.1). It is the one place where an error becomes a page and, where
// it is a fault, a log line.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	e := told(r.Context(), err)
	s.logFault(r.Context(), e, err)
	title := cmp.Or(pageTitles[e.Status], "This did not work")
	if e.Status == http.StatusServiceUnavailable {
		after := retryAfter
		if shown := (*tenancy.Error)(nil); errors.As(err, &shown) {
			after = cmp.Or(shown.Header["Retry-After"], after)
		}
		w.Header().Set("Retry-After", after)
	}
	writePage(r.Context(), w, e.Status, page{Title: title, Message: e.Description, Code: e.Code})
}

// secureHTML sets the headers of every HTML answer of this package.
func secureHTML(h http.Header, policy string) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", policy)
}

// writeHTML renders a template whole before anything is sent.
func writeHTML(w http.ResponseWriter, status int, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		// The templates are constants and are given values of fixed types: an
		// error here is a fault of the program, which the first test finds.
		panic(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser may be gone; there is nobody left to tell
}
