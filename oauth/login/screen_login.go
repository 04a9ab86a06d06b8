package login

import (
	"cmp"
	"slices"
)

// loginScreen asks for identifier and password on one page (contract C4.65).
var loginScreen = Screen{
	Name:   "login",
	Title:  "Log in",
	Show:   showLogin,
	Submit: submitLogin,
}

// loginView is what the template of the login screen shows.
type loginView struct {
	Username       string // as typed, or the request's login_hint
	Fixed          bool   // it cannot be another
	UsernameLabel  string
	SignUp         string // address of the sign-up screen; empty where there is none
	Reset          string // address where a new password is asked for; empty where there is none
	FocusPassword  bool   // the name is known: go on with the password
	FocusSomething bool   // no error summary has the focus

	Providers []providerView // buttons to log in elsewhere
	Elsewhere bool           // there is no other way
}

// providerView is a button.
type providerView struct{ Name, URL string }

func showLogin(s *step, problem *Problem) (any, error) {
	providers, only, err := s.providers()
	if err != nil {
		return nil, err
	}
	if only && problem == nil && s.request.URL.Query().Get("screen") == "" {
		return nil, elsewhere(connectPath)
	}
	connections, err := s.connections()
	if err != nil && len(providers) > 0 {
		return loginView{Providers: providers, Elsewhere: true}, nil
	}
	if err != nil {
		return nil, err
	}
	_, signUp := signUpConnection(connections)
	if signUp && s.form == nil && s.session.Request["screen_hint"] == "signup" && s.request.URL.Query().Get("screen") == "" {
		return nil, elsewhere(joinPath)
	}
	v := loginView{
		Username:       cmp.Or(s.invitedEmail(), s.field("username"), s.session.Request["login_hint"]),
		Fixed:          s.invitation != nil,
		UsernameLabel:  "Email address",
		FocusSomething: problem == nil,
		Providers:      providers,
	}
	if slices.ContainsFunc(connections, requiresUsername) {
		v.UsernameLabel = "Email address or username"
	}
	v.FocusPassword = v.Username != ""
	if signUp {
		v.SignUp = s.url(joinPath)
	}
	if reset, err := s.resets(); err != nil {
		return nil, err
	} else if reset {
		v.Reset = s.url(forgotPath)
	}
	return v, nil
}

func requiresUsername(c offered) bool {
	required, _ := c.Options["requires_username"].(bool)
	return required
}

func submitLogin(s *step) error {
	connections, err := s.connections()
	if err != nil {
		return err
	}
	username, password := cmp.Or(s.invitedEmail(), s.field("username")), s.form.Get("password")
	empty := make(map[string]string)
	if username == "" {
		empty["username"] = "Enter your email address"
	}
	if password == "" {
		empty["password"] = "Enter your password"
	}
	if len(empty) > 0 {
		return missing("Enter your email address and password", empty)
	}
	pr, err := s.authenticate(connections, username, password)
	if err != nil {
		return err
	}
	return s.logIn(pr)
}
