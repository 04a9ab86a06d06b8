package login

import (
	"cmp"
	"context"
	"net/http"
)

// resetScreen mails a link by which somebody who forgot their password chooses
// another (contract C4.66). It is at the address of that link's page: this one
// belongs to a login under way and has its state, that one has a ticket.
var resetScreen = Screen{
	Name:   "reset-password",
	Title:  "Forgot your password?",
	Show:   showReset,
	Submit: submitReset,
}

// sentScreen says the same whether or not the address was somebody's.
var sentScreen = Screen{
	Name:   "reset-password-sent",
	Title:  "Check your email",
	Show:   func(s *step, _ *Problem) (any, error) { return resetView{Login: s.login()}, nil },
	Submit: func(*step) error { return elsewhere(loginPath) },
}

const (
	forgotPath = pagesPath + "reset-password"
	sentPath   = pagesPath + "reset-password-sent"
)

// resetView is what the templates of both screens show.
type resetView struct {
	Email          string
	Fixed          bool // the address is that of an invitation
	Login          string
	FocusSomething bool // no error summary has the focus
}

// login is the address of the login screen for somebody who went past it.
func (s *step) login() string { return s.url(loginPath) + "&screen=login" }

// resets reports whether people can be mailed such a link. A sender that does not
// know whether it can send is asked to.
func (s *step) resets() (bool, error) {
	if s.pages.mailer == nil {
		return false, nil
	}
	if m, ok := s.pages.mailer.(interface {
		Sends(ctx context.Context) (bool, error)
	}); ok {
		return m.Sends(s.ctx)
	}
	return true, nil
}

func showReset(s *step, problem *Problem) (any, error) {
	if may, err := s.resets(); err != nil {
		return nil, err
	} else if !may {
		return nil, &failure{
			Status: http.StatusNotFound, Title: "Passwords are not reset here",
			Message: "This server sends no mail. Whoever runs it can give you a new password.",
			Return:  s.login(),
		}
	}
	v := resetView{Email: cmp.Or(s.invitedEmail(), s.field("email")), Fixed: s.invitation != nil, Login: s.login(), FocusSomething: problem == nil}
	if hint := s.session.Request["login_hint"]; s.form == nil && !v.Fixed && validEmail(hint) {
		v.Email = hint
	}
	return v, nil
}

func submitReset(s *step) error {
	if may, err := s.resets(); err != nil {
		return err
	} else if !may {
		return elsewhere(forgotPath)
	}
	email := cmp.Or(s.invitedEmail(), s.field("email"))
	if !validEmail(email) {
		return missing("Enter your email address", map[string]string{"email": "Enter an address like name@example.com"})
	}
	connections, err := s.connections()
	if err != nil {
		return err
	}
	err = s.pages.levelled(s.ctx, func() error {
		for _, c := range connections {
			if err := s.pages.mailReset(s.ctx, resetWish{client: s.client, connection: c.Name, email: email, organization: s.session.OrgID}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return elsewhere(sentPath)
}
