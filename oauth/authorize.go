package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// maxTries is how often a request begins again after another one of the same
// browser changed the same rows. Two tabs need one try more than one.
const maxTries = 8

// authorize answers GET and POST /authorize (contract 4.2). Errors it returns
// are shown to the person on a page; those meant for the client it delivers.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	params, twice, err := readAuthorization(r)
	if err != nil {
		return err
	}
	read := s.parseAuthorization
	if params["request_uri"] != "" {
		read = s.readPushed
	}
	a, err := read(r.Context(), params, twice)
	if err == nil {
		err = again(func() error {
			if a.silent() {
				return s.authorizeSilently(w, r, a)
			}
			return s.authorizeOpenly(w, r, a)
		})
	}
	return s.answerError(w, r, a, err)
}

// again repeats f while it loses races.
func again(f func() error) error {
	for try := 0; ; try++ {
		if err := f(); !errors.Is(err, tenancy.ErrStale) {
			return err
		} else if try == maxTries {
			return refusal(http.StatusConflict, "conflict", "The same login is going on in another window. Try again.").because(err)
		}
	}
}

// answerError delivers an error to the client as soon as it is known where that
// is, in the response mode it asked for (contract C3.1). Faults of ours, and a
// request without an addressee, are returned: a page shows them (C4.31).
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, a *authorization, err error) error {
	if err == nil || a.to == nil {
		return err
	}
	e := told(r.Context(), err)
	if e.internal() || e.Status == http.StatusConflict {
		return err
	}
	s.recordRefusal(r.Context(), a, e)
	a.to.deliverError(w, r, e.Code, e.Description)
	return nil
}

// person is who is logged in to a browser.
type person struct {
	session *tenancy.Session
	user    *tenancy.User
}

// recognize finds the person of the request's browser, if their session serves
// the request: contract C3.5. Otherwise it returns nil, and whether the browser
// holds a cookie that will never serve again.
func (s *Server) recognize(ctx context.Context, r *http.Request, a *authorization) (p *person, dead bool, err error) {
	session, err := s.browserSession(ctx, r)
	if err != nil || session == nil {
		return nil, offersCookie(r, sessionCookie), err
	}
	user, err := tenancy.Users.Get(ctx, session.UserID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	a.user = user
	if a.client.SSODisabled || s.outdated(a, session.AuthenticatedAt) {
		return nil, false, nil
	}
	allowed, err := connectionAllowed(ctx, a.client, a.org, session.Connection)
	if err != nil || !allowed {
		return nil, false, err
	}
	return &person{session, user}, false, nil
}

// outdated reports whether a login is older than the request's max_age.
func (s *Server) outdated(a *authorization, authenticatedAt tenancy.Time) bool {
	return a.maxAge >= 0 && tenancy.At(s.now()) >= authenticatedAt.Add(a.maxAge)
}

// authorizeSilently answers prompt=none by the table of contract 3.1, in its
// order. What is wrong with the parameters themselves (C3.4) was found before.
func (s *Server) authorizeSilently(w http.ResponseWriter, r *http.Request, a *authorization) error {
	ctx := r.Context()
	if a.invitation != nil {
		return refuse(fosite.ErrInteractionRequired, "An invitation cannot be accepted silently")
	}
	p, dead, err := s.recognize(ctx, r, a)
	switch {
	case err != nil:
		return err
	case p == nil: // C3.5
		if dead {
			clearSessionCookie(ctx, w)
		}
		return errLoginRequired()
	case a.subject != "" && a.subject != p.user.ID: // C3.6
		return errLoginRequired()
	case p.user.Blocked: // C3.7
		return s.expel(ctx, w, p)
	}
	allowance, err := s.allowUser(ctx, a.ask(p.user, p.session.Connection, a.params["organization"])) // C3.8 to C3.10
	if err != nil {
		return err
	}
	return s.complete(w, r, a, p, allowance)
}

// errLoginRequired is the answer of OpenID Connect Core section 3.1.2.6 to a
// request that may show nothing and finds nobody.
func errLoginRequired() *oauthError { return refuse(fosite.ErrLoginRequired, "Login required") }

// expel ends the session of a user who was blocked (contract C2.10, C3.7).
func (s *Server) expel(ctx context.Context, w http.ResponseWriter, p *person) error {
	if err := s.EndSession(ctx, p.session.ID, tenancy.AccountDeactivated); err != nil {
		return err
	}
	clearSessionCookie(ctx, w)
	return errBlocked()
}

// authorizeOpenly answers a request that may show pages. A person who is logged
// in and has nothing to be asked goes straight back to the client; for everybody
// else a login begins, which /authorize/resume finishes.
func (s *Server) authorizeOpenly(w http.ResponseWriter, r *http.Request, a *authorization) error {
	ctx := r.Context()
	if a.fresh() || a.invitation != nil { // who follows an invitation says who they are (contract C2.57)
		return s.beginLogin(w, r, a, nil)
	}
	p, _, err := s.recognize(ctx, r, a)
	switch {
	case err != nil:
		return err
	case p == nil, a.subject != "" && a.subject != p.user.ID,
		a.params["connection"] != "" && a.params["connection"] != p.session.Connection:
		return s.beginLogin(w, r, a, nil)
	case p.user.Blocked:
		return s.expel(ctx, w, p)
	}
	organization, screen, err := s.chooseOrganization(ctx, a, p.user.ID, "")
	switch {
	case err != nil:
		return err
	case screen != "":
		return s.beginLogin(w, r, a, p.session)
	}
	allowance, err := s.allowUser(ctx, a.ask(p.user, p.session.Connection, organization))
	if a.approvalScreen(nil, p.user, allowance, err) != "" {
		return s.beginLogin(w, r, a, p.session)
	}
	if err != nil {
		return err
	}
	return s.complete(w, r, a, p, allowance)
}

// ask is the request's question to the one rule of permissions.
func (a *authorization) ask(user *tenancy.User, connection, organization string) Ask {
	return Ask{
		Client: a.client, User: user, Audience: a.params["audience"], Scopes: a.scope,
		Organization: organization, Connection: connection, Silent: a.silent(), Interactive: !a.silent(),
	}
}

// recordSuccess notes what a session was used for: "s" where the person was there,
// "ssa" where nothing was to be shown (contract C3.13, C5.90). A login on the
// hosted pages has been noted by them.
func (s *Server) recordSuccess(ctx context.Context, a *authorization, p *person, allowance *Allowance) {
	e := tenancy.Event{
		Type: "s", ClientID: a.client.ID, ClientName: a.client.Name, Connection: p.session.Connection,
		UserID: p.user.ID, UserName: userName(p.user), Audience: allowance.Audience, Scope: a.params["scope"],
	}
	if a.silent() {
		e.Type = "ssa"
	}
	if org := allowance.Organization; org != nil {
		e.OrgID, e.OrgName = org.ID, org.Name
	}
	s.record(ctx, e)
}

// recordRefusal notes a login that was refused: "f", or "fsa" where nothing was
// to be shown.
func (s *Server) recordRefusal(ctx context.Context, a *authorization, e *oauthError) {
	event := tenancy.Event{
		Type: "f", Description: e.Description, ClientID: a.client.ID, ClientName: a.client.Name,
		Audience: truncate(a.params["audience"], 200), Scope: truncate(a.params["scope"], 1000),
	}
	if a.silent() {
		event.Type = "fsa"
	}
	if a.org != nil {
		event.OrgID, event.OrgName = a.org.ID, a.org.Name
	}
	if a.user != nil {
		event.UserID, event.UserName = a.user.ID, userName(a.user)
	}
	event.Details, _ = json.Marshal(map[string]string{"error": e.Code}) // two strings always encode
	s.record(ctx, event)
}
