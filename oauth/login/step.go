package login

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// step is one request to a screen: a person at a point of a login under way.
type step struct {
	pages   *Pages
	ctx     context.Context
	request *http.Request
	state   string
	form    url.Values // nil but for POST
	session *tenancy.LoginSession
	client  *tenancy.Client
	org     *tenancy.Organization // named by the application or chosen; nil for none
	look    look

	invitation *tenancy.Invitation // that the person follows; nil for none
}

// maxForm is how long a form may be, in bytes: far more than any screen has.
const maxForm = 64 << 10

// The failures of a request that belongs to no login under way. They do not say
// whether the state exists for somebody else.
var (
	errGone = &failure{
		Status: http.StatusBadRequest, Title: "This page has expired",
		Message: "The login this page belongs to is over or was begun in another browser. Go back to the application and log in again.",
	}
	errDone = &failure{
		Status: http.StatusConflict, Title: "You have already logged in here",
		Message: "This login was completed before. Go back to the application to continue.",
	}
	errForeign = &failure{
		Status:  http.StatusForbidden,
		Message: "This form was sent from another site and was not accepted.",
	}
	errMalformed = &failure{
		Status:  http.StatusBadRequest,
		Message: "The form that was sent could not be read.",
	}
)

// begin finds the login under way that a request belongs to.
func (p *Pages) begin(w http.ResponseWriter, r *http.Request) (*step, error) {
	s := &step{pages: p, ctx: r.Context(), request: r}
	state, err := single(r.URL.Query(), "state")
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		if s.form, err = readForm(w, r); err != nil {
			return nil, err
		}
		posted, err := single(s.form, "state")
		if err != nil {
			return nil, err
		}
		if state != "" && posted != "" && state != posted {
			return nil, errMalformed
		}
		if posted != "" {
			state = posted
		}
	}
	s.state = state
	if s.session, err = p.find(r, state); err != nil {
		return nil, err
	}
	s.client, err = tenancy.CachedClient(s.ctx, s.session.ClientID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	if s.org, err = organizationOf(s.ctx, s.session); err != nil {
		return nil, err
	}
	s.look = lookOf(s.ctx, s.org)
	return s, s.findInvitation()
}

// find returns the login under way with the state, if it is this browser's and
// still open (contract C3.27, C4.67).
func (p *Pages) find(r *http.Request, state string) (*tenancy.LoginSession, error) {
	if state == "" || len(state) > 256 {
		return nil, errGone
	}
	session, err := tenancy.LoginSessions.Get(r.Context(), tenancy.HashToken(state))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	return session, p.open(session, browserOf(r))
}

// open returns nil for a login that the browser may go on with now.
func (p *Pages) open(session *tenancy.LoginSession, browser string) error {
	switch {
	case browser == "" || session.BrowserHash != browser:
		return errGone
	case session.CompletedAt != 0:
		return errDone
	case session.ExpiresAt <= tenancy.At(p.now()):
		return errGone
	}
	return nil
}

// flowCookie is the name of the cookie that binds a login to a browser (C3.27).
func flowCookie(v *tenancy.Visit) string {
	if v.Insecure {
		return "gh_flow"
	}
	return "__Host-gh_flow"
}

// browserOf returns the hash of the flow cookie, or "" where there is none. Two
// of the name mean that somebody else set one: then neither is trusted.
func browserOf(r *http.Request) string {
	cookies := r.CookiesNamed(flowCookie(tenancy.VisitOf(r.Context())))
	if len(cookies) != 1 || cookies[0].Value == "" {
		return ""
	}
	return tenancy.HashToken(cookies[0].Value)
}

// readForm returns a posted form, if it was sent from these pages. The state and
// the cookie prove that; the Origin header, where there is one, has to agree
// (contract C4.66).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if origin, sent := r.Header["Origin"]; sent && (len(origin) != 1 || origin[0] != ownOrigin(r.Context())) {
		return nil, errForeign
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, &failure{Status: http.StatusUnsupportedMediaType, Message: errMalformed.Message}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return nil, &failure{Status: http.StatusRequestEntityTooLarge, Message: "The form that was sent is too large."}
		}
		return nil, errMalformed
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			return nil, errMalformed
		}
	}
	return r.PostForm, nil
}

// ownOrigin is the origin of the request's host: the issuer's scheme and port
// with the host that was asked for, which differs from the issuer's where a
// reserved label serves the control plane (contract C1.6).
func ownOrigin(ctx context.Context) string {
	v := tenancy.VisitOf(ctx)
	issuer, err := url.Parse(v.Issuer)
	if err != nil || v.Host == "" {
		return "" // equals no header
	}
	origin := issuer.Scheme + "://" + v.Host
	if port := issuer.Port(); port != "" {
		origin += ":" + port
	}
	return origin
}

// single returns the one value of a name, or ""; twice is malformed (C0.9).
func single(values url.Values, name string) (string, error) {
	if len(values[name]) > 1 {
		return "", errMalformed
	}
	return values.Get(name), nil
}

// field returns what was entered into a field, without the spaces around it.
func (s *step) field(name string) string { return strings.TrimSpace(s.form.Get(name)) }

// submit has the screen store what was entered.
func (s *step) submit(screen Screen) error {
	switch s.form.Get("action") {
	case "cancel", "deny": // "deny" by its name in contract C4.66
		return s.store(func(ls *tenancy.LoginSession) { ls.Denied = true })
	}
	return screen.Submit(s)
}

// store writes the result of the step, together with further statements. A login
// that was completed or taken away meanwhile is left as it is.
func (s *step) store(alter func(*tenancy.LoginSession), also ...tenancy.Stmt) error {
	_, err := tenancy.LoginSessions.Update(s.ctx, s.session.ID, func(ls *tenancy.LoginSession) error {
		if err := s.pages.open(ls, s.session.BrowserHash); err != nil {
			return err
		}
		alter(ls)
		return nil
	}, also...)
	if errors.Is(err, tenancy.ErrNotFound) {
		return errGone
	}
	return err
}

// url is the address of a screen, or of /authorize/resume, for this login.
func (s *step) url(path string) string {
	return path + "?" + url.Values{"state": {s.state}}.Encode()
}

// redirect sends the browser on within this host (contract C4.65: 302).
func (s *step) redirect(w http.ResponseWriter, path string) {
	secure(w.Header())
	w.Header().Set("Location", s.url(path))
	w.WriteHeader(http.StatusFound)
}

// organizationOf returns the organization of a login under way, or nil.
func organizationOf(ctx context.Context, session *tenancy.LoginSession) (*tenancy.Organization, error) {
	id := session.OrgID
	if id == "" {
		id = session.ChosenOrgID
	}
	if id == "" {
		return nil, nil
	}
	org, err := tenancy.Cached(ctx, "login organization", id, func(ctx context.Context) (*tenancy.Organization, error) {
		return tenancy.Organizations.Get(ctx, id)
	})
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, errGone
	}
	return org, err
}

// orGone is err, or that the login is over where a row it needs is not there.
func orGone(err error) error {
	if errors.Is(err, tenancy.ErrNotFound) {
		return errGone
	}
	return err
}
