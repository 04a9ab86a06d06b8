package oauth

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Screens a login is sent to, beside the login page itself; they are its
// siblings (contract C4.66).
const (
	screenOrganization = "organization"        // which organization, before the login
	screenPicker       = "organization-picker" // which of one's own, after it
)

// beginLogin keeps the request until a person has logged in, and sends the
// browser to the first page. known is the live session of a person who only has
// to choose an organization, or nil.
func (s *Server) beginLogin(w http.ResponseWriter, r *http.Request, a *authorization, known *tenancy.Session) error {
	ctx := r.Context()
	state, browser := tenancy.NewToken(), readCookie(r, flowCookie)
	if browser == "" {
		browser = tenancy.NewToken()
	}
	now := tenancy.At(s.now())
	l := &tenancy.LoginSession{
		Row: tenancy.Row{ID: tenancy.HashToken(state), CreatedAt: now}, BrowserHash: tenancy.HashToken(browser),
		ClientID: a.client.ID, Request: a.params, ExpiresAt: now.Add(flowLifetime),
	}
	if a.org != nil {
		l.OrgID = a.org.ID
	}
	if known != nil {
		l.UserID, l.Connection, l.AuthenticatedAt, l.Methods = known.UserID, known.Connection, known.AuthenticatedAt, known.Methods
		l.Request = knownRequest(a.params, l)
	}
	_, screen, err := s.chooseOrganization(ctx, a, l.UserID, "")
	if err != nil {
		return err
	}
	if err := tenancy.LoginSessions.Create(ctx, l); err != nil {
		return err
	}
	setFlowCookie(ctx, w, browser)
	if known != nil && screen == "" { // something is left to approve: the dispatcher knows what
		redirect(w, r, "/authorize/resume?state="+url.QueryEscape(state))
		return nil
	}
	s.toScreen(w, r, screen, state)
	return nil
}

// knownLogin is the member of a kept request that tells a login which the browser
// already had from one that was made for this request. It is no parameter.
const knownLogin = " known"

// loginStamp names who logged in and when.
func loginStamp(l *tenancy.LoginSession) string {
	return l.UserID + " " + strconv.FormatInt(int64(l.AuthenticatedAt), 10)
}

// toScreen sends the browser to a hosted page; "" is the login page.
func (s *Server) toScreen(w http.ResponseWriter, r *http.Request, screen, state string) {
	page := s.login
	if screen != "" {
		page = path.Join(path.Dir(s.login), screen)
	}
	redirect(w, r, page+"?state="+url.QueryEscape(state))
}

// The failures of a browser that comes back with a state (contract C3.27,
// C4.67). They do not say whether the state exists for somebody else.
func errFlowGone() error {
	return refuse(fosite.ErrInvalidRequest, "This login has expired or was begun in another browser. Go back to the application and log in again.")
}

func errFlowDone() error {
	return refusal(http.StatusConflict, "conflict", "This login was completed before. Go back to the application to continue.")
}

// resume answers GET /authorize/resume: the one dispatcher of logins under way.
// The hosted pages come here after every step, and here alone is decided what is
// next (contract C4.67).
func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query["state"]) != 1 {
		return errFlowGone()
	}
	return again(func() error { return s.resumeOnce(w, r, query.Get("state")) })
}

func (s *Server) resumeOnce(w http.ResponseWriter, r *http.Request, state string) error {
	ctx := r.Context()
	l, err := s.loginUnderWay(r, state)
	if err != nil {
		return err
	}
	a, l, err := s.requestOf(r, l)
	switch {
	case err != nil:
		return s.abandon(w, r, a, l, err)
	case l.Denied && a.device != nil:
		return s.denyDevice(w, r, a, l)
	case l.Denied:
		return s.abandon(w, r, a, l, refuse(fosite.ErrAccessDenied, "%s", cmp.Or(l.DeniedReason, "The resource owner denied the request")))
	}
	proof, err := s.proven(ctx, r, a, l)
	if err != nil {
		return s.abandon(w, r, a, l, err)
	}
	var userID string
	if proof != nil {
		userID = proof.user.ID
		if a.invitation != nil {
			if err := s.accept(ctx, a, l, proof.user); err != nil {
				return s.finish(w, r, a, l, proof, nil, err)
			}
		}
	}
	organization, screen, err := s.chooseOrganization(ctx, a, userID, l.ChosenOrgID)
	switch {
	case err != nil && proof == nil:
		return s.abandon(w, r, a, l, err)
	case err != nil:
		return s.finish(w, r, a, l, proof, nil, err)
	case screen != "" || proof == nil:
		s.toScreen(w, r, screen, state)
		return nil
	}
	allowance, err := s.allowUser(ctx, a.ask(proof.user, l.Connection, organization))
	if screen := a.approvalScreen(l, proof.user, allowance, err); screen != "" {
		return s.toApproval(w, r, l, proof.user, allowance, screen, state)
	}
	if errors.Is(err, errConsent) { // given just now: it is recorded with the answer
		err = nil
	}
	return s.finish(w, r, a, l, proof, allowance, err)
}

// requestOf is what the login is for: a client's request, or a device. One for a
// device begins with whoever is logged in.
func (s *Server) requestOf(r *http.Request, l *tenancy.LoginSession) (*authorization, *tenancy.LoginSession, error) {
	if l.Request[tenancy.RequestDevice] == "" {
		a, err := s.parseAuthorization(r.Context(), takenUp(l), nil)
		return a, l, err
	}
	a, err := s.readDevice(r.Context(), l)
	if err != nil || l.UserID != "" || l.Denied {
		return a, l, err
	}
	known, err := s.adoptSession(r.Context(), r, l)
	if err != nil {
		return a, l, err
	}
	return a, known, nil
}

// loginUnderWay finds the login that the browser comes back from.
func (s *Server) loginUnderWay(r *http.Request, state string) (*tenancy.LoginSession, error) {
	browser := readCookie(r, flowCookie)
	if browser == "" || len(state) != tokenLength {
		return nil, errFlowGone()
	}
	l, err := tenancy.LoginSessions.Get(r.Context(), tenancy.HashToken(state))
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return nil, errFlowGone()
	case err != nil:
		return nil, err
	case l.BrowserHash != tenancy.HashToken(browser): // both are hashes of 256 random bits: nothing to time
		return nil, errFlowGone()
	case l.CompletedAt != 0:
		return nil, errFlowDone()
	case l.ExpiresAt <= tenancy.At(s.now()):
		return nil, errFlowGone()
	}
	return l, nil
}

// proof is who logged in, and how: fresh where they did so for this login, with
// the session that is in the browser otherwise.
type proof struct {
	user  *tenancy.User
	fresh bool
	// session is the live one of the browser, whoever's it is; nil for none. A
	// fresh login replaces it.
	session *tenancy.Session
}

// proven decides who the login is by. It returns nil while that is open, and an
// error where it is somebody who cannot log in here.
func (s *Server) proven(ctx context.Context, r *http.Request, a *authorization, l *tenancy.LoginSession) (*proof, error) {
	if l.UserID == "" {
		return nil, nil
	}
	session, err := s.browserSession(ctx, r)
	if err != nil {
		return nil, err
	}
	p := &proof{session: session, fresh: l.Request[knownLogin] != loginStamp(l)}
	if !p.fresh && (session == nil || session.UserID != l.UserID || session.AuthenticatedAt != l.AuthenticatedAt ||
		a.client.SSODisabled || a.fresh() || s.outdated(a, session.AuthenticatedAt)) {
		return nil, nil // the session the login began with has ended, or does not serve it
	}
	p.user, err = tenancy.Users.Get(ctx, l.UserID)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return nil, nil // deleted while logging in
	case err != nil:
		return nil, err
	case p.user.Blocked:
		return nil, errBlocked()
	}
	a.user = p.user
	org, err := s.organizationOf(ctx, a, l)
	if err != nil {
		return nil, err
	}
	allowed, err := connectionAllowed(ctx, a.client, org, l.Connection)
	switch {
	case err != nil:
		return nil, err
	case allowed:
	case p.fresh:
		return nil, refuse(fosite.ErrAccessDenied, "the connection is not enabled for this login")
	default: // contract C2.37: as if there were no session
		return nil, nil
	}
	if a.subject != "" && a.subject != p.user.ID { // OpenID Connect Core section 3.1.2.1
		return nil, errLoginRequired()
	}
	return p, nil
}

// organizationOf is the organization named by the request or chosen by the
// person so far, or nil.
func (s *Server) organizationOf(ctx context.Context, a *authorization, l *tenancy.LoginSession) (*tenancy.Organization, error) {
	if a.org != nil || l.ChosenOrgID == "" {
		return a.org, nil
	}
	return findOrganization(ctx, l.ChosenOrgID)
}

// chooseOrganization decides which organization a login is for: the one the
// request names, or, where the client requires one, that of the person (contract
// C2.41). It returns "" for none, or the screen where the person chooses.
// Whether they belong to it is for allowUser to decide.
func (s *Server) chooseOrganization(ctx context.Context, a *authorization, userID, chosen string) (organization, screen string, err error) {
	if a.org != nil {
		return a.org.ID, "", nil
	}
	required, err := organizationRequired(ctx, a.client)
	if err != nil || !required {
		return "", "", err
	}
	switch a.client.OrganizationRequireBehavior {
	case requirePreLogin:
		if chosen == "" {
			return "", screenOrganization, nil
		}
		return chosen, "", nil
	case requireAfterLogin:
		if userID == "" || chosen != "" {
			return chosen, "", nil
		}
		return ownChoice(ctx, userID)
	}
	return "", "", nil // no_prompt: the request was refused, or allowUser does
}

// ownChoice is the only organization of a user, or where they choose among many.
func ownChoice(ctx context.Context, userID string) (organization, screen string, err error) {
	own, err := ownOrganizations(ctx, userID)
	switch {
	case err != nil:
		return "", "", err
	case len(own) == 0:
		return "", "", refuse(fosite.ErrAccessDenied, "client requires organization membership, but user does not belong to any organization")
	case len(own) == 1:
		return own[0].ID, "", nil
	}
	return "", screenPicker, nil
}
