package login

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// activatePath is the page where a person enters the code that a device shows
// (RFC 8628 section 3.3; contract C4.52). It is no [Screen]: no login is under way
// before a right code.
const (
	activatePath     = "/activate"
	activateTemplate = "activate"
	activatedResult  = "activated"
)

// activationLifetime is how long a person may take after the code; as a login
// (contract C2.15).
const activationLifetime = time.Hour

// activateView is what the template of the page shows.
type activateView struct {
	UserCode       string // as typed, or as in the link
	FocusSomething bool   // no error summary has the focus
}

// activatedView is what the page shows when all is over.
type activatedView struct{ Message string }

// activated are the last pages, by what the dispatcher says came out.
var activated = map[string]page{
	"connected": {Title: "Your device is connected", View: activatedView{"You can go back to your device now. This page can be closed."}},
	"denied":    {Title: "The device was not connected", View: activatedView{"Your device gets no access. This page can be closed."}},
}

// serveActivate shows the page, or takes a code. A code that came with the link
// still has to be sent by the person (RFC 8628 section 3.3.1).
func (p *Pages) serveActivate(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	result, err := single(query, "result")
	if err != nil {
		return err
	}
	pg, over := activated[result]
	switch {
	case r.Method == http.MethodPost:
		return p.takeUserCode(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	case over:
		pg.template, pg.status, pg.Look = activatedResult, http.StatusOK, lookOf(r.Context(), nil)
		return p.render(w, r, pg)
	}
	code, err := single(query, "user_code")
	if err != nil {
		return err
	}
	if browserOf(r) == "" {
		bindBrowser(w, r, tenancy.NewToken())
	}
	return p.askUserCode(w, r, code, nil)
}

func (p *Pages) askUserCode(w http.ResponseWriter, r *http.Request, code string, problem *Problem) error {
	pg := page{
		template: activateTemplate, status: http.StatusOK, Title: "Connect a device", Look: lookOf(r.Context(), nil), Action: activatePath,
		Problem: problem, View: activateView{UserCode: code[:min(len(code), 40)], FocusSomething: problem == nil},
	}
	if problem != nil {
		pg.status, pg.retryAfter = problem.Status, problem.retryAfter
	}
	return p.render(w, r, pg)
}

var (
	errNoCode    = missing("Enter the code that your device shows", map[string]string{"user_code": "Enter the code"})
	errWrongCode = missing("This code is not right", map[string]string{"user_code": "Check the code on your device. It may have expired."})
	errGuessing  = &Problem{
		Status: http.StatusTooManyRequests, retryAfter: "900",
		Message: "Too many wrong codes were entered. Wait fifteen minutes, then get a new code from your device.",
	}
)

// takeUserCode begins a login for the device with the code, and leaves the rest to
// the dispatcher. Wrong codes are counted before they are looked at (contract
// C4.51).
func (p *Pages) takeUserCode(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	browser, code := browserOf(r), form.Get("user_code")
	if browser == "" { // contract C4.66
		return errGone
	}
	if tenancy.PlainUserCode(code) == "" {
		return p.askUserCode(w, r, code, errNoCode)
	}
	ctx, now := r.Context(), p.now()
	guess := tenancy.Guess{Browser: browser, IP: tenancy.VisitOf(ctx).ClientIP}
	err = guess.Count(ctx, now)
	if errors.Is(err, tenancy.ErrTooManyAttempts) {
		p.record(ctx, tenancy.Event{Type: "limit_wc", Description: "Too many wrong user codes of devices"})
		return p.askUserCode(w, r, code, errGuessing)
	}
	if err != nil {
		return err
	}
	id, err := tenancy.DeviceID(ctx, code)
	if err != nil {
		return err
	}
	device, err := tenancy.PendingDevice(ctx, id, now)
	if errors.Is(err, tenancy.ErrNotFound) {
		return p.askUserCode(w, r, code, errWrongCode)
	}
	if err != nil {
		return err
	}
	state := tenancy.NewToken()
	err = tenancy.Commit(ctx, append(guess.Right(ctx), tenancy.LoginSessions.Insert(ctx, &tenancy.LoginSession{
		Row: tenancy.Row{ID: tenancy.HashToken(state), CreatedAt: tenancy.At(now)}, BrowserHash: browser,
		ClientID: device.ClientID, OrgID: device.OrgID, ExpiresAt: tenancy.At(now.Add(activationLifetime)),
		Request: map[string]string{tenancy.RequestDevice: device.ID, tenancy.RequestUserCode: code},
	}))...)
	if err != nil {
		return err
	}
	secure(w.Header())
	w.Header().Set("Location", resumePath+"?"+url.Values{"state": {state}}.Encode())
	w.WriteHeader(http.StatusFound)
	return nil
}

// bindBrowser sets the cookie that binds what follows to the browser (C3.27).
func bindBrowser(w http.ResponseWriter, r *http.Request, value string) {
	v := tenancy.VisitOf(r.Context())
	http.SetCookie(w, &http.Cookie{
		Name: flowCookie(v), Value: value, Path: "/", Secure: !v.Insecure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(activationLifetime / time.Second),
	})
}
