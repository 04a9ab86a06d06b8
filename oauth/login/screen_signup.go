package login

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// signupScreen makes an account and logs its owner in.
var signupScreen = Screen{
	Name:   "signup",
	Title:  "Create your account",
	Show:   showSignup,
	Submit: submitSignup,
}

// signupView is what the template of the sign-up screen shows.
type signupView struct {
	Email          string
	Fixed          bool // the address is that of an invitation
	Username       string
	AskUsername    bool
	Rules          []tenancy.PasswordRule
	Login          string // address of the login screen
	FocusSomething bool   // no error summary has the focus
}

// errSignUp does not say what is taken (contract C4.58).
var errSignUp = &Problem{
	Status:  http.StatusBadRequest,
	Message: "We could not create this account. If you already have one, log in instead.",
}

func showSignup(s *step, problem *Problem) (any, error) {
	c, err := s.signUpConnection()
	if err != nil {
		return nil, err
	}
	v := signupView{
		Email: cmp.Or(s.invitedEmail(), s.field("email")), Fixed: s.invitation != nil, Username: s.field("username"), AskUsername: requiresUsername(c),
		Rules: tenancy.PasswordPolicy(c.Options).Rules(), Login: s.login(),
		FocusSomething: problem == nil,
	}
	if s.form == nil && !v.Fixed {
		if hint := s.session.Request["login_hint"]; validEmail(hint) {
			v.Email = hint
		}
	}
	if problem != nil && len(problem.Rules) > 0 {
		v.Rules = problem.Rules
	}
	return v, nil
}

// signUpConnection returns the connection that new accounts of this login are
// made in.
func (s *step) signUpConnection() (offered, error) {
	connections, err := s.connections()
	if err != nil {
		return offered{}, err
	}
	c, ok := signUpConnection(connections)
	if !ok {
		return offered{}, &failure{
			Status: http.StatusForbidden, Title: "Sign-up is closed",
			Message: "New accounts cannot be made here. If you already have one, log in instead.",
			Return:  s.login(),
		}
	}
	return c, nil
}

func submitSignup(s *step) error {
	c, err := s.signUpConnection()
	if err != nil {
		return err
	}
	a := &account{Email: cmp.Or(s.invitedEmail(), s.field("email")), Password: s.form.Get("password")}
	if requiresUsername(c) {
		a.Username = s.field("username")
	}
	if problem := a.problem(c); problem != nil {
		if problem.Message == weakMessage {
			s.recordSignup(a, "", "fs", weakMessage, c)
		}
		return problem
	}
	user, hash, err := a.create(s.ctx, c)
	if err != nil {
		return err
	}
	guards := s.welcome(user)
	now := tenancy.At(s.pages.now())
	user.LastLogin, user.LastIP, user.LoginsCount = now, tenancy.VisitOf(s.ctx).ClientIP, 1
	err = s.pages.oneMore(s.ctx, func(within []tenancy.Stmt) error {
		return s.store(func(ls *tenancy.LoginSession) { authenticated(ls, user.ID, c.Name, now) }, slices.Concat(within, guards, insert(s.ctx, user, hash))...)
	})
	if errors.Is(err, tenancy.ErrStale) && s.invitation != nil {
		return errInvitation
	}
	if errors.Is(err, tenancy.ErrConflict) {
		s.recordSignup(a, "", "fs", "Invalid sign up", c)
		return errSignUp
	}
	if err != nil {
		return orFull(err)
	}
	s.recordSignup(a, user.ID, "ss", "Success Signup", c)
	s.pages.verifyByMail(s.ctx, user)
	s.recordLogin(user, c.Name)
	return nil
}

const weakMessage = "Password is too weak"

// problem is everything that is wrong with a new account at once, or nil.
func (a *account) problem(c offered) *Problem {
	p := missing("Some of what you entered needs another look", a.check(c))
	if weak := a.weakness(c); weak != nil && a.Password != "" {
		if len(p.Fields) == 0 {
			p.Message = weakMessage
		}
		p.Fields["password"], p.Rules = "Choose a password that keeps all the rules", weak.Rules
	}
	if len(p.Fields) == 0 {
		return nil
	}
	return p
}

func (s *step) recordSignup(a *account, userID, kind, description string, c offered) {
	e := s.event(kind, description, c.Name)
	e.UserID, e.UserName = userID, a.Email
	s.pages.record(s.ctx, e)
}
