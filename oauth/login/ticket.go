package login

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The pages that links in mails lead to. They are no [Screen]: nobody is logging in to
// anything, and what lets the person in is the ticket. To look at one uses nothing
// up, for mail programs look at links before people do.

const (
	verifyTemplate    = "email-verification"
	resetTemplate     = "choose-password"
	ticketDone        = "ticket-done"
	verifiedMessage   = "Your email address is confirmed."
	passwordIsChanged = "Your password is changed."
)

// ticketView is what the templates of these pages show.
type ticketView struct {
	Ticket         string
	Email          string
	Message        string // of the last page
	Rules          []tenancy.PasswordRule
	FocusSomething bool // no error summary has the focus
}

// ticketPage is one of the pages: a row of what differs.
type ticketPage struct {
	kind, template, title, done, message string

	// use does what the ticket is for.
	use func(p *Pages, ctx context.Context, t *tenancy.Ticket, password string) error

	// success and failure are the types of events.
	success, failure string
}

var ticketPages = map[string]ticketPage{
	tenancy.VerifyEmailPath: {
		kind: tenancy.TicketVerifyEmail, template: verifyTemplate, title: "Confirm your email address", done: "Address confirmed",
		message: verifiedMessage, success: "sv", failure: "fv",
		use: func(p *Pages, ctx context.Context, t *tenancy.Ticket, _ string) error {
			return t.VerifyEmail(ctx, tenancy.At(p.now()))
		},
	},
	tenancy.ResetPasswordPath: {
		kind: tenancy.TicketChangePassword, template: resetTemplate, title: "Choose a new password", done: "Password changed",
		message: passwordIsChanged, success: "scp", failure: "fcp", use: (*Pages).changePassword,
	},
}

// serveTicket shows the page to whoever holds a ticket that still works, and does
// what it is for when they say so. Any other ticket is an unknown page.
func (p *Pages) serveTicket(w http.ResponseWriter, r *http.Request, page ticketPage) (err error) {
	form := r.URL.Query()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if form, err = readForm(w, r); err != nil {
			return err
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return &failure{Status: http.StatusMethodNotAllowed, Message: "This page cannot be called this way."}
	}
	token, err := single(form, "ticket")
	if err != nil {
		return err
	}
	t, user, err := tenancy.TicketOf(r.Context(), token, page.kind, tenancy.At(p.now()))
	if err != nil {
		return setupError(err)
	}
	view := ticketView{Ticket: token, Email: user.Email, FocusSomething: true}
	pg := p.ticketLook(r, page, t)
	if page.kind == tenancy.TicketChangePassword {
		if view.Rules, err = rulesFor(r.Context(), user); err != nil {
			return err
		}
	}
	if r.Method == http.MethodPost {
		err := page.use(p, r.Context(), t, form.Get("password"))
		p.recordTicket(r.Context(), page, user, err)
		if err == nil {
			return p.ticketUsed(w, r, page, t, view)
		}
		if pg.Problem = setupProblem(err); pg.Problem == nil {
			return setupError(err)
		}
		pg.status, view.FocusSomething = pg.Problem.Status, false
		if pg.Problem.Rules != nil {
			view.Rules = pg.Problem.Rules
		}
	}
	pg.View = view
	return p.render(w, r, pg)
}

func (p *Pages) ticketLook(r *http.Request, of ticketPage, t *tenancy.Ticket) page {
	pg := page{template: of.template, status: http.StatusOK, Title: of.title, Look: lookOf(r.Context(), nil), Action: r.URL.Path}
	if source := cspSource(t.ResultURL); source != "" {
		pg.formTargets = []string{source}
	}
	return pg
}

// ticketUsed sends the person on, or says that it is done.
func (p *Pages) ticketUsed(w http.ResponseWriter, r *http.Request, of ticketPage, t *tenancy.Ticket, view ticketView) error {
	address, err := t.Result(r.Context(), of.message)
	if err != nil {
		return err
	}
	if address != "" {
		seeOther(w, address)
		return nil
	}
	pg := p.ticketLook(r, of, t)
	pg.template, pg.Title = ticketDone, of.done
	view.Message = of.message
	pg.View = view
	return p.render(w, r, pg)
}

func (p *Pages) recordTicket(ctx context.Context, of ticketPage, user *tenancy.User, err error) {
	e := tenancy.Event{Type: of.success, Description: of.message, Connection: user.Connection, UserID: user.ID, UserName: userName(user)}
	if err != nil {
		var weak *tenancy.PasswordStrengthError
		if !errors.As(err, &weak) && !errors.Is(err, tenancy.ErrNotFound) {
			return // the answer's own error is in the log
		}
		e.Type, e.Description = of.failure, "The ticket was used before"
		if weak != nil {
			e.Description = weakMessage
		}
	}
	p.record(ctx, e)
}

// connectionOf is the connection of a user who has a password.
func connectionOf(ctx context.Context, u *tenancy.User) (*tenancy.Connection, error) {
	c, err := tenancy.Connections.First(ctx, "name = ?", u.Connection)
	if err == nil && c.Strategy != tenancy.StrategyDatabase {
		err = tenancy.ErrNotFound
	}
	return c, err
}

func rulesFor(ctx context.Context, u *tenancy.User) ([]tenancy.PasswordRule, error) {
	c, err := connectionOf(ctx, u)
	if err != nil {
		return nil, setupError(err)
	}
	return tenancy.PasswordPolicy(c.Options).Rules(), nil
}

func (p *Pages) changePassword(ctx context.Context, t *tenancy.Ticket, password string) error {
	u, err := tenancy.Users.Get(ctx, t.UserID)
	if err != nil {
		return err
	}
	c, err := connectionOf(ctx, u)
	if err != nil {
		return err
	}
	if err := tenancy.PasswordPolicy(c.Options).Check(password); err != nil {
		return err
	}
	hash, err := tenancy.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	return t.ChangePassword(ctx, hash, tenancy.At(p.now()))
}
