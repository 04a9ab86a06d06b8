package oauth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Response modes (contract C4.21).
const (
	modeQuery      = "query"
	modeFragment   = "fragment"
	modeFormPost   = "form_post"
	modeWebMessage = "web_message"
)

// destination is where the answer to an authorization request goes. It exists as
// soon as client and redirect_uri are known to be good (contract C3.1).
type destination struct {
	URI   string // a registered callback
	Mode  string // one of the four modes
	State string // returned unchanged; empty when none was sent
}

// parameter is one member of an authorization response.
type parameter struct{ name, value string }

// deliver sends the parameters to the client through the browser, with state
// and the issuer behind them (RFC 9207; contract C4.28), in the mode that was
// asked for.
func (d *destination) deliver(w http.ResponseWriter, r *http.Request, list ...parameter) {
	if d.State != "" {
		list = append(list, parameter{"state", d.State})
	}
	list = append(list, parameter{"iss", tenancy.VisitOf(r.Context()).Issuer})
	switch d.Mode {
	case modeWebMessage:
		respondWebMessage(w, d.URI, list)
	case modeFormPost:
		respondFormPost(w, d.URI, list)
	case modeFragment:
		redirect(w, r, d.URI+"#"+encode(list))
	default:
		redirect(w, r, withQuery(d.URI, list))
	}
}

// deliverError sends an error to the client. A description with characters that
// RFC 6749 section 4.1.2.1 does not allow loses them.
func (d *destination) deliverError(w http.ResponseWriter, r *http.Request, code, description string) {
	d.deliver(w, r, parameter{"error", code}, parameter{"error_description", descriptionText(description)})
}

// encode writes parameters in their order as application/x-www-form-urlencoded.
func encode(list []parameter) string {
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name)
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(p.value))
	}
	return b.String()
}

// withQuery adds parameters to a URI, whose own query stays as it is
// (RFC 6749 section 3.1.2).
func withQuery(uri string, list []parameter) string {
	separator := "?"
	switch before, query, found := strings.Cut(uri, "?"); {
	case found && query == "":
		uri, separator = before, "?"
	case found:
		separator = "&"
	}
	return uri + separator + encode(list)
}

// redirect sends the browser on: 303 after POST, so that the form is not sent
// again, 302 otherwise (contract C4.29).
func redirect(w http.ResponseWriter, r *http.Request, uri string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", uri)
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	w.WriteHeader(status)
}

// descriptionText keeps the characters an error_description may hold: %x20-21,
// %x23-5B and %x5D-7E (RFC 6749 section 4.1.2.1). Others become "?", and quotes
// single ones.
func descriptionText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r == '\\' || r > 0x7e:
			return '?'
		}
		return r
	}, truncate(s, 512))
}

// truncate cuts s after n bytes.
func truncate(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
