package login

import (
	"cmp"
	"context"
	"errors"
	"slices"
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
	Account  string // who is logged in
	UserCode string // as typed; empty for consent
	Asks     []asks // what the client would get
}

// asks is what the client would get of one place: the account, or an API.
type asks struct {
	Title string
	Items []string // in words
}

func showApproval(s *step, _ *Problem) (any, error) {
	if s.session.AskedOf == "" || s.session.UserID == "" {
		return nil, elsewhere(resumePath) // nothing to approve yet: the dispatcher knows what is next
	}
	user, err := tenancy.Users.Get(s.ctx, s.session.UserID)
	if err != nil {
		return nil, orGone(err)
	}
	list, err := inWords(s.ctx, s.session.AskedAudience, strings.Fields(s.session.AskedScope))
	if err != nil {
		return nil, err
	}
	return approvalView{Account: userName(user), UserCode: s.session.Request[tenancy.RequestUserCode], Asks: list}, nil
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
	of, audience, scope := s.session.AskedOf, s.session.AskedAudience, s.session.AskedScope
	return s.store(func(ls *tenancy.LoginSession) {
		ls.Approved = ls.AskedOf == of && ls.AskedAudience == audience && ls.AskedScope == scope
	})
}

// scopeWords are the scopes with a meaning of their own, in words for people.
var scopeWords = map[string]string{
	"openid":         "", // who they are: the page says so by itself
	"profile":        "Your name and picture",
	"email":          "Your email address",
	"phone":          "Your phone number",
	"address":        "Your postal address",
	"offline_access": "Access while you are not using it",
}

// inWords is what scopes mean to people, grouped by where they are for: in our own
// words what concerns the account, in the API's those that it defines. One that
// nobody described is shown as it is, as is one of an API that is gone, which the
// dispatcher will refuse.
func inWords(ctx context.Context, audience string, scopes []string) ([]asks, error) {
	account, api := asks{Title: "Your account"}, asks{Title: audience}
	described := map[string]string{}
	rs, err := tenancy.CachedResourceServer(ctx, audience)
	switch {
	case err == nil:
		api.Title = cmp.Or(rs.Name, rs.Identifier)
		for _, scope := range rs.Scopes {
			described[scope.Value] = scope.Description
		}
	case !errors.Is(err, tenancy.ErrNotFound):
		return nil, err
	}
	for _, scope := range scopes {
		if words, known := scopeWords[scope]; !known {
			api.Items = append(api.Items, cmp.Or(strings.TrimSpace(described[scope]), scope))
		} else if words != "" {
			account.Items = append(account.Items, words)
		}
	}
	return slices.DeleteFunc([]asks{account, api}, func(a asks) bool { return len(a.Items) == 0 }), nil
}
