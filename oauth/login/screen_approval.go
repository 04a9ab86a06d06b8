package login

import (
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// consentScreen asks a person what a client may have (contract C2.28, C4.66).
var consentScreen = Screen{
	Name:   "consent",
	Title:  "Allow access",
	Show:   showApproval,
	Submit: submitApproval,
}

// deviceScreen asks a person whether to let in the device that shows the code they
// entered (RFC 8628 section 3.3; contract C4.52).
var deviceScreen = Screen{
	Name:   "device",
	Title:  "Connect this device?",
	Show:   showApproval,
	Submit: submitApproval,
}

// approvalView is what the templates of both screens show.
type approvalView struct {
	Account  string   // who is logged in
	UserCode string   // as typed; empty for consent
	Asks     []string // what the client would get, in words
}

func showApproval(s *step, _ *Problem) (any, error) {
	if s.session.AskedOf == "" || s.session.UserID == "" {
		return nil, elsewhere(resumePath) // nothing to approve yet: the dispatcher knows what is next
	}
	user, err := tenancy.Users.Get(s.ctx, s.session.UserID)
	if err != nil {
		return nil, orGone(err)
	}
	return approvalView{
		Account: userName(user), UserCode: s.session.Request[tenancy.RequestUserCode],
		Asks: inWords(strings.Fields(s.session.AskedScope)),
	}, nil
}

// submitApproval stores that the person approved exactly what they were asked.
// Every other answer than "accept" is none.
func submitApproval(s *step) error {
	if s.session.AskedOf == "" {
		return nil // as in showApproval
	}
	if s.form.Get("action") != "accept" {
		return errMalformed
	}
	of, scope := s.session.AskedOf, s.session.AskedScope
	return s.store(func(ls *tenancy.LoginSession) {
		ls.Approved = ls.AskedOf == of && ls.AskedScope == scope
	})
}

// scopeWords are the scopes with a meaning of their own, in words for people. One
// that is not here is shown as it is.
var scopeWords = map[string]string{
	"openid":         "", // who they are: the page says so by itself
	"profile":        "Your name and picture",
	"email":          "Your email address",
	"phone":          "Your phone number",
	"address":        "Your postal address",
	"offline_access": "Access while you are not using it",
}

func inWords(scopes []string) []string {
	var list []string
	for _, scope := range scopes {
		words, known := scopeWords[scope]
		if !known {
			words = scope
		}
		if words != "" {
			list = append(list, words)
		}
	}
	return list
}
