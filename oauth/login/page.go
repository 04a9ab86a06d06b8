package login

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates has, per screen and for the error page, the layout with that
// screen's blocks.
var templates = func() map[string]*template.Template {
	set := make(map[string]*template.Template)
	names := []string{errorTemplate, setupTemplate, setupDoneTemplate, activateTemplate, activatedResult, verifyTemplate, resetTemplate, ticketDone}
	for _, screen := range screens {
		names = append(names, screen.Name)
	}
	for _, name := range names {
		set[name] = template.Must(template.ParseFS(templateFiles, "templates/layout.html", "templates/"+name+".html"))
	}
	return set
}()

const errorTemplate = "error"

// page is what the layout shows. Every value is escaped by html/template for the
// place it stands in (contract C4.68).
type page struct {
	template   string
	status     int
	Title      string
	Look       look
	Nonce      string
	Stylesheet string
	Action     string // where the form is posted to
	State      string
	ClientName string // who the person logs in to; may be empty
	OrgName    string // for which organization; may be empty
	CanCancel  bool
	ReturnTo   string // the application that cancelling leads back to; empty for a device
	Problem    *Problem
	View       any // the screen's own

	formTargets []string // sources of the policy's form-action beside 'self'
	retryAfter  string
}

// page makes a screen's page.
func (s *step) page(screen Screen, view any, problem *Problem) page {
	pg := page{
		template: screen.Name, status: http.StatusOK, Title: screen.Title, Look: s.look,
		Action: s.url(pagesPath + screen.Name), State: s.state, ClientName: s.client.Name, CanCancel: true,
		Problem: problem, View: view, formTargets: formTargets(s.client, s.session),
	}
	if s.session.Request[tenancy.RequestDevice] == "" {
		pg.ReturnTo = s.client.Name
	}
	if s.org != nil {
		pg.OrgName = organizationName(s.org)
	}
	if problem != nil {
		pg.status, pg.retryAfter = problem.Status, problem.retryAfter
	}
	return pg
}

// Speaker is whose page it is to the person: the organization's, else the
// tenant's.
func (pg page) Speaker() string {
	if pg.OrgName != "" {
		return pg.OrgName
	}
	return pg.Look.Name
}

// FieldError is what is wrong with a field, or "".
func (pg page) FieldError(name string) string {
	if pg.Problem == nil {
		return ""
	}
	return pg.Problem.Fields[name]
}

// render answers with a page. It writes nothing when it fails.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, pg page) error {
	pg.Nonce, pg.Stylesheet = p.nonce(), stylesheetPath
	var body bytes.Buffer
	if err := templates[pg.template].ExecuteTemplate(&body, "layout", pg); err != nil {
		return err
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pg.policy())
	if pg.retryAfter != "" {
		h.Set("Retry-After", pg.retryAfter)
	}
	w.WriteHeader(pg.status)
	_, _ = w.Write(body.Bytes()) // the browser is gone: nobody to tell
	return nil
}

// secure sets the headers every answer of these pages has.
//
// The referrer is kept within the host, not withheld: with no-referrer browsers
// send "Origin: null" with our own forms. There is no opener policy, because an
// application may run the login in a popup and wait for its message.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Robots-Tag", "noindex")
}

// policy is the page's Content-Security-Policy (level 3): nothing but the style
// sheet, the inline style with the nonce, the logo, and the form.
func (pg page) policy() string {
	images := "'none'"
	if source := cspSource(pg.Look.Logo); source != "" {
		images = source
	}
	return strings.Join([]string{
		"default-src 'none'",
		"style-src 'self' 'nonce-" + pg.Nonce + "'",
		"img-src " + images,
		"form-action " + strings.Join(append([]string{"'self'"}, pg.formTargets...), " "),
		"frame-ancestors 'none'",
		"base-uri 'none'",
	}, "; ")
}

// formTargets are the origins that the answer to a form may lead to. Chromium
// and WebKit hold form-action against every redirect that follows a submission:
// ours to /authorize/resume, that one to the application's callback, and the
// application's own from there on. The last is not known here, so all origins
// registered for the client are allowed; its operator chose them.
func formTargets(c *tenancy.Client, session *tenancy.LoginSession) []string {
	var targets []string
	for _, u := range slices.Concat([]string{session.Request["redirect_uri"]}, c.Callbacks, c.WebOrigins, c.AllowedOrigins,
		[]string{c.InitiateLoginURI}) {
		if source := cspSource(u); source != "" && !slices.Contains(targets, source) && len(targets) < maxFormTargets {
			targets = append(targets, source)
		}
	}
	return targets
}

// maxFormTargets keeps the header well below what proxies accept.
const maxFormTargets = 30
