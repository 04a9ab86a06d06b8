// Package login is the hosted pages: what a person sees between an application's
// request for tokens and its answer.
//
// Each page is a [Screen]: one file, one template. A screen stores what a person
// entered in the [tenancy.LoginSession] and sends the browser to
// /authorize/resume, which alone decides what is next (contract C4.67); screens
// do not know each other, nor the protocol they are part of.
//
// The pages need no script, load nothing from elsewhere but a logo, and are
// bound to one browser by the pair of the state in their URL and a cookie
// (contract C3.27).
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// Config is what [Pages] depend on. The zero value works: nothing is recorded
// and no mail is sent.
type Config struct {
	Recorder tenancy.Recorder // told of logins and sign-ups; nil for nobody
	Mailer   mail.Sender      // carries messages to people; nil for none
	Logger   *slog.Logger     // told of internal errors; nil for slog.Default()
	Upstream *Upstream        // logins through providers elsewhere; nil for none
	Now      func() time.Time // nil for time.Now
}

// Pages serves the hosted pages of whatever tenant a request's context is
// inside of. It holds no state of a tenant and is safe for concurrent use.
type Pages struct {
	recorder tenancy.Recorder
	mailer   mail.Sender
	upstream *Upstream
	logger   *slog.Logger
	now      func() time.Time
	nonce    func() string // for inline style; replaced by tests with golden files
}

// New makes Pages.
func New(c Config) *Pages {
	p := &Pages{recorder: c.Recorder, mailer: c.Mailer, upstream: c.Upstream, logger: c.Logger, now: c.Now, nonce: tenancy.NewToken}
	if p.recorder == nil {
		p.recorder = tenancy.Recorders(nil)
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	if p.now == nil {
		p.now = time.Now
	}
	return p
}

// The paths this package links to or answers beside those of [screens].
const (
	pagesPath  = "/u/"
	signupPath = "/dbconnections/signup"
	resumePath = "/authorize/resume"
	loginPath  = pagesPath + "login"
	joinPath   = pagesPath + "signup"
)

// Handles reports whether a path is one of these pages' (contract C4.11, C4.14).
func (p *Pages) Handles(path string) bool {
	return strings.HasPrefix(path, pagesPath) || path == signupPath || path == changePath || path == activatePath || path == callbackPath
}

// ServeHTTP serves the paths that [Pages.Handles] names. The request's context
// is inside a tenant and carries the [tenancy.Visit].
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id := tenancy.VisitOf(r.Context()).RequestID; id != "" {
		w.Header().Set("X-Request-Id", id) // contract C0.8
	}
	path := r.URL.EscapedPath() // exactly, "%2F" is no slash (contract C0.7)
	if path == signupPath {
		p.serveSignup(w, r)
		return
	}
	if path == changePath {
		p.serveChangePassword(w, r)
		return
	}
	if path == stylesheetPath {
		serveStylesheet(w, r)
		return
	}
	if err := serves(r.Context()); err != nil {
		p.fail(w, r, err)
		return
	}
	if err := p.servePage(w, r, path); err != nil {
		p.fail(w, r, err)
	}
}

func (p *Pages) servePage(w http.ResponseWriter, r *http.Request, path string) error {
	switch path {
	case setupPath:
		return p.serveSetup(w, r)
	case activatePath:
		return p.serveActivate(w, r)
	case connectPath:
		return p.serveConnect(w, r)
	case callbackPath:
		return p.serveCallback(w, r)
	}
	if page, ok := ticketPages[path]; ok && !r.URL.Query().Has("state") {
		return p.serveTicket(w, r, page)
	}
	screen, ok := screenAt(path)
	if !ok {
		return &failure{Status: http.StatusNotFound, Message: "There is no page at this address."}
	}
	return p.serveScreen(w, r, screen)
}

// serves refuses for a tenant that does not answer now (contract 1.3).
func serves(ctx context.Context) error {
	t, err := tenancy.Current(ctx)
	switch {
	case err != nil:
		return err
	case t.Serves():
		return nil
	case t.State == tenancy.StateSuspended:
		return tenancy.Errorf(http.StatusForbidden, "access_denied", "Tenant is suspended")
	}
	return tenancy.Unavailable(fmt.Errorf("tenant %s is %s", t.ID, t.State), "")
}

// serveScreen shows a screen, or takes what a person entered into it. Errors are
// shown on a page of their own.
func (p *Pages) serveScreen(w http.ResponseWriter, r *http.Request, screen Screen) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	}
	s, err := p.begin(w, r)
	if err != nil {
		return err
	}
	var problem *Problem
	if r.Method == http.MethodPost {
		err := s.submit(screen)
		if err == nil {
			s.redirect(w, resumePath)
			return nil
		}
		if next := elsewhere(""); errors.As(err, &next) {
			s.redirect(w, string(next))
			return nil
		}
		if problem = problemOf(err); problem == nil {
			return err
		}
	}
	view, err := screen.Show(s, problem)
	if next := elsewhere(""); errors.As(err, &next) {
		s.redirect(w, string(next))
		return nil
	}
	if err != nil {
		return err
	}
	return p.render(w, r, s.page(screen, view, problem))
}

// record notes an event of the login under way.
func (p *Pages) record(ctx context.Context, e tenancy.Event) {
	v := tenancy.VisitOf(ctx)
	e.Date = tenancy.At(p.now())
	e.IP, e.UserAgent, e.Hostname = v.ClientIP, v.UserAgent, v.Host
	p.recorder.Record(ctx, e)
}

// Interface guard
var _ http.Handler = (*Pages)(nil)
