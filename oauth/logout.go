package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// logout answers GET /v2/logout (contract C3.32). Where the browser may be sent
// is settled before anything ends.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	query, err := readOnce(r.URL.RawQuery)
	if err != nil {
		return s.logoutRefused(ctx, nil, err)
	}
	client, err := knownClient(ctx, query.Get("client_id"))
	if err != nil {
		return s.logoutRefused(ctx, nil, err)
	}
	returnTo := query.Get("returnTo")
	if err := checkReturnTo(ctx, client, returnTo); err != nil {
		return s.logoutRefused(ctx, client, err)
	}
	session, err := s.browserSession(ctx, r)
	if err != nil {
		return err
	}
	if err := s.logOut(w, r, session, client); err != nil {
		return err
	}
	if returnTo != "" {
		redirect(w, r, returnTo)
		return nil
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte("OK")) // the browser may be gone; there is nobody left to tell
	return nil
}

// checkReturnTo refuses a URL that is not registered: with a client's id among
// the client's, without one among the tenant's.
func checkReturnTo(ctx context.Context, client *tenancy.Client, returnTo string) error {
	if returnTo == "" {
		return nil
	}
	var registered []string
	if client != nil {
		registered = client.AllowedLogoutURLs
	} else {
		settings, err := tenancy.EffectiveSettings(ctx)
		if err != nil {
			return err
		}
		registered = settings.Strings("allowed_logout_urls")
	}
	if !logoutAllowed(registered, returnTo) {
		return refuse(fosite.ErrInvalidRequest, "returnTo is not one of the allowed logout URLs")
	}
	return nil
}

// logoutRequest is a request to end a session by a relying party (OpenID Connect
// RP-Initiated Logout 1.0 section 2) that has been found good.
type logoutRequest struct {
	form   url.Values
	hint   *idClaims       // nil without id_token_hint
	client *tenancy.Client // nil where none is named
	to     string          // registered post_logout_redirect_uri; "" for none
}

// oidcLogout answers GET and POST /oidc/logout (contract C3.33, C3.34).
func (s *Server) oidcLogout(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	q, err := s.parseLogout(r)
	if err != nil {
		return s.logoutRefused(ctx, q.client, err)
	}
	session, err := s.browserSession(ctx, r)
	if err != nil {
		return err
	}
	if session != nil && !q.authenticates(session) && !confirmed(r, q.form) {
		settings, err := tenancy.EffectiveSettings(ctx)
		if err != nil {
			return err
		}
		if settings.Switched("sessions", "oidc_logout_prompt_enabled", true) { // contract C5.35
			writePage(ctx, w, http.StatusOK, q.confirmation(r))
			return nil
		}
	}
	if err := s.logOut(w, r, session, q.client); err != nil {
		return err
	}
	if q.to == "" {
		writePage(ctx, w, http.StatusOK, page{Title: "You are logged out", Message: "You can close this page now."})
		return nil
	}
	if state := q.form.Get("state"); state != "" {
		redirect(w, r, withQuery(q.to, []parameter{{"state", state}}))
		return nil
	}
	redirect(w, r, q.to)
	return nil
}

// parseLogout reads and checks the request. The result is never nil.
func (s *Server) parseLogout(r *http.Request) (*logoutRequest, error) {
	ctx, q := r.Context(), &logoutRequest{}
	var err error
	if r.Method == http.MethodPost {
		q.form, err = authorizationValues(r)
		if err == nil {
			err = checkParameters(q.form)
		}
	} else {
		q.form, err = readOnce(r.URL.RawQuery)
	}
	if err != nil {
		return q, err
	}
	clientID := q.form.Get("client_id")
	if token := q.form.Get("id_token_hint"); token != "" {
		if q.hint, err = s.hinted(ctx, token); err != nil {
			return q, err
		}
		if clientID != "" && clientID != q.hint.Audience[0] {
			return q, refuse(fosite.ErrInvalidRequest, "client_id does not match id_token_hint")
		}
		clientID = q.hint.Audience[0]
	}
	if q.client, err = knownClient(ctx, clientID); err != nil {
		return q, err
	}
	to := q.form.Get("post_logout_redirect_uri")
	switch {
	case to == "":
	case q.client == nil:
		return q, refuse(fosite.ErrInvalidRequest, "post_logout_redirect_uri requires id_token_hint or client_id")
	case !logoutAllowed(q.client.AllowedLogoutURLs, to):
		return q, refuse(fosite.ErrInvalidRequest, "Invalid post_logout_redirect_uri")
	}
	q.to = to
	return q, nil
}

// authenticates reports whether the request comes from a client that has an ID
// token of this very session, so that nobody has to be asked.
func (q *logoutRequest) authenticates(session *tenancy.Session) bool {
	return q.hint != nil && q.hint.SessionID == session.ID && q.hint.Subject == session.UserID
}

// confirmField carries the proof that the form was made for this browser.
const confirmField = "confirm"

// confirmation is the page that asks whether to log out. It needs no script.
func (q *logoutRequest) confirmation(r *http.Request) page {
	form := &confirmation{Action: r.URL.Path, Button: "Log out", Target: q.to}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if value := q.form.Get(name); value != "" {
			form.Fields = append(form.Fields, [2]string{name, value})
		}
	}
	form.Fields = append(form.Fields, [2]string{confirmField, confirmToken(r)})
	message := "You are about to end your session. Applications that you use with it will ask you to log in again."
	if q.client != nil && q.client.Name != "" {
		message = q.client.Name + " asks to log you out. Other applications will ask you to log in again, too."
	}
	return page{Title: "Log out?", Message: message, Confirm: form}
}

// confirmToken is derived from the session cookie, which other sites do not
// know: a form with it can only come from our page in this browser.
func confirmToken(r *http.Request) string {
	return tenancy.HashToken("logout " + readCookie(r, sessionCookie))
}

// confirmed reports whether the person pressed the button.
func confirmed(r *http.Request, form url.Values) bool {
	return r.Method == http.MethodPost &&
		subtle.ConstantTimeCompare([]byte(form.Get(confirmField)), []byte(confirmToken(r))) == 1
}

// logOut ends the session, if there is one, and makes the browser forget it.
func (s *Server) logOut(w http.ResponseWriter, r *http.Request, session *tenancy.Session, client *tenancy.Client) error {
	ctx := r.Context()
	event := tenancy.Event{Type: "slo", Description: "User successfully logged out"}
	if client != nil {
		event.ClientID, event.ClientName = client.ID, client.Name
	}
	if session != nil {
		if err := s.EndSession(ctx, session.ID, tenancy.LogoutByClient); err != nil {
			return err
		}
		event.UserID, event.Connection = session.UserID, session.Connection
		s.record(ctx, event)
	}
	if offersCookie(r, sessionCookie) {
		clearSessionCookie(ctx, w)
	}
	return nil
}

// logoutRefused notes a logout that was refused and returns why, for a page.
func (s *Server) logoutRefused(ctx context.Context, client *tenancy.Client, err error) error {
	e := told(ctx, err)
	if e.internal() {
		return err
	}
	event := tenancy.Event{Type: "flo", Description: e.Description}
	if client != nil {
		event.ClientID, event.ClientName = client.ID, client.Name
	}
	s.record(ctx, event)
	return err
}

// knownClient is the client with the id; nil for "".
func knownClient(ctx context.Context, id string) (*tenancy.Client, error) {
	if id == "" {
		return nil, nil
	}
	client, err := tenancy.CachedClient(ctx, id)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, refuse(fosite.ErrInvalidRequest, "Unknown client: %s", truncate(id, 100))
	}
	return client, err
}

// readOnce parses a query in which nothing is given twice (contract C0.9).
func readOnce(query string) (url.Values, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, refuse(fosite.ErrInvalidRequest, "The query is not well-formed").because(err)
	}
	return values, checkParameters(values)
}
