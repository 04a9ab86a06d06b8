package login

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// setupPath is the page where whoever started the gateway for the first time
// makes its first administrator. It is no [Screen]: nobody is logging in to
// anything, and what lets the person in is the token of the one-time link.
const setupPath = pagesPath + "setup"

const (
	setupTemplate     = "setup"
	setupDoneTemplate = "setup-done"
)

// setupView is what the template of the setup page shows.
type setupView struct {
	Token          string
	Email          string // as typed
	Rules          []tenancy.PasswordRule
	FocusSomething bool // no error summary has the focus
}

// serveSetup shows the page to whoever holds a link that still works, and makes
// the administrator. Any other link is an unknown page, as it is for every
// tenant but the control plane.
func (p *Pages) serveSetup(w http.ResponseWriter, r *http.Request) error {
	t, err := tenancy.Current(r.Context())
	if err != nil {
		return err
	}
	if !t.IsControlPlane() {
		return noSetup()
	}
	form := r.URL.Query()
	if r.Method == http.MethodPost {
		if form, err = readForm(w, r); err != nil {
			return err
		}
	}
	token, err := single(form, "token")
	if err != nil {
		return err
	}
	if err := tenancy.CheckSetup(r.Context(), token); err != nil {
		return setupError(err)
	}
	view := setupView{Token: token, Email: strings.TrimSpace(form.Get("email")), Rules: tenancy.PasswordPolicy(nil).Rules(), FocusSomething: true}
	pg := page{template: setupTemplate, status: http.StatusOK, Title: "Make the first administrator", Look: lookOf(r.Context(), nil), Action: setupPath}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		err := tenancy.CompleteSetup(r.Context(), token, view.Email, form.Get("password"))
		if err == nil {
			pg.template, pg.Title, pg.View = setupDoneTemplate, "The administrator is made", view
			return p.render(w, r, pg)
		}
		if pg.Problem = setupProblem(err); pg.Problem == nil {
			return setupError(err)
		}
		pg.status, view.FocusSomething = pg.Problem.Status, false
		if pg.Problem.Rules != nil {
			view.Rules = pg.Problem.Rules
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	}
	pg.View = view
	return p.render(w, r, pg)
}

func noSetup() error {
	return &failure{Status: http.StatusNotFound, Message: "This link does not work, or it was used before."}
}

func setupError(err error) error {
	if errors.Is(err, tenancy.ErrNotFound) {
		return noSetup()
	}
	return err
}

// setupProblem is what is wrong with what the person entered, if that is it.
func setupProblem(err error) *Problem {
	var weak *tenancy.PasswordStrengthError
	if errors.As(err, &weak) {
		return &Problem{
			Status: http.StatusBadRequest, Message: "Choose a stronger password", Rules: weak.Rules,
			Fields: map[string]string{"password": "This password is too weak"},
		}
	}
	var shown *tenancy.Error
	if errors.As(err, &shown) && shown.Status == http.StatusBadRequest {
		return missing("Check the email address", map[string]string{"email": shown.Message})
	}
	return problemOf(err)
}
