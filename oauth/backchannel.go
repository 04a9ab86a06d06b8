package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// How clients are told (contract C3.37).
const (
	logoutPatience = 5 * time.Second // for one answer
	logoutAttempts = 4               // the first and three more
	logoutLease    = time.Minute     // how long a logout is one teller's
	logoutBatch    = 8               // of one tenant at a time

	// logoutTokenLife is the time from iat to exp.
	logoutTokenLife = 120 // seconds
)

// logoutClaims are the claims of a logout token (OpenID Connect Back-Channel
// Logout 1.0 section 2.4). There is no nonce, so that it passes for no ID token.
type logoutClaims struct {
	Issuer    string       `json:"iss"`
	Audience  string       `json:"aud"`
	Subject   string       `json:"sub"`
	SessionID string       `json:"sid"`
	IssuedAt  int64        `json:"iat"`
	ExpiresAt int64        `json:"exp"`
	ID        string       `json:"jti"`
	Events    logoutEvents `json:"events"`
}

type logoutEvents struct {
	Logout struct{} `json:"http://schemas.openid.net/event/backchannel-logout"`
}

// logoutToken signs a logout token as the client's ID tokens are signed. It is
// new at every attempt: what is told again must not look like a replay.
func (s *Server) logoutToken(ctx context.Context, client *tenancy.Client, l *tenancy.Logout) (string, error) {
	key, err := s.idTokenKey(ctx, client)
	if err != nil {
		return "", err
	}
	now := s.now().Unix()
	return key.sign(typeLogoutToken, &logoutClaims{
		Issuer: l.Issuer, Audience: client.ID, Subject: l.UserID, SessionID: l.SessionID,
		IssuedAt: now, ExpiresAt: now + logoutTokenLife, ID: newTokenID(""),
	})
}

// toldAddress is what became of an attempt at one address.
type toldAddress struct {
	url     string
	failure string // "" where the client took the token
}

// telling is one logout under way to its client.
type telling struct {
	logout *tenancy.Logout
	client *tenancy.Client
	token  string
	urls   []string
	done   []toldAddress
}

// dueLogouts takes the logouts of the entered tenant that are due, so that for a while
// they are no other teller's, with a token for each. more reports whether there
// may be others.
func (s *Server) dueLogouts(ctx context.Context) (list []*telling, more bool, err error) {
	now := tenancy.At(s.now())
	rows, err := tenancy.Logouts.Find(ctx, tenancy.Filter{Where: "due_at <= ?", Args: []any{now}, Order: "due_at, id", Limit: logoutBatch})
	if err != nil {
		return nil, false, err
	}
	for i := range rows {
		l := &rows[i]
		client, err := tenancy.CachedClient(ctx, l.ClientID)
		if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
			return nil, false, err
		}
		if err != nil || !client.Logout.Hears(l.Reason) || l.ExpiresAt <= now {
			if err := tenancy.Commit(ctx, tenancy.Logouts.Remove(ctx, l.ID)); err != nil {
				return nil, false, err
			}
			continue
		}
		l.Attempts++
		l.DueAt = now.Add(logoutLease)
		switch err := tenancy.Commit(ctx, tenancy.Logouts.Replace(ctx, l)); {
		case errors.Is(err, tenancy.ErrStale):
			continue // another teller was faster
		case err != nil:
			return nil, false, err
		}
		t := &telling{logout: l, client: client}
		if t.token, err = s.logoutToken(ctx, client, l); err != nil {
			return nil, false, err
		}
		for _, u := range client.Logout.BackchannelURLs {
			if !slices.Contains(l.Told, u) {
				t.urls = append(t.urls, u)
			}
		}
		list = append(list, t)
	}
	return list, len(rows) == logoutBatch, nil
}

// settleLogout keeps what became of an attempt: a client that took the token, or
// that never will, is not told again.
func (s *Server) settleLogout(ctx context.Context, t *telling) error {
	l := t.logout
	final := l.Attempts >= logoutAttempts
	open := false
	for _, d := range t.done {
		if d.failure == "" || final {
			s.recordTold(ctx, t, d)
			l.Told = append(l.Told, d.url)
			continue
		}
		open = true
	}
	if !open {
		return tenancy.Commit(ctx, tenancy.Logouts.Remove(ctx, l.ID))
	}
	l.DueAt = tenancy.At(s.now().Add(logoutBackoff(l.Attempts)))
	return tenancy.Commit(ctx, tenancy.Logouts.Replace(ctx, l))
}

// recordTold notes how it ended with an address, in the words of contract C5.90.
func (s *Server) recordTold(ctx context.Context, t *telling, d toldAddress) {
	e := tenancy.Event{
		Type: "oidc_backchannel_logout_succeeded", Description: "The client was told of the logout",
		ClientID: t.client.ID, ClientName: t.client.Name, UserID: t.logout.UserID,
	}
	details := map[string]any{"url": d.url, "session_id": t.logout.SessionID, "reason": t.logout.Reason, "attempts": t.logout.Attempts}
	if d.failure != "" {
		e.Type, e.Description = "oidc_backchannel_logout_failed", "The client was not told of the logout: "+d.failure
		details["error"] = d.failure
	}
	e.Details, _ = json.Marshal(details) // texts and numbers always encode
	s.record(ctx, e)
}

// tell posts the token to the client's addresses (section 2.5), all at once: one
// that hangs delays no other.
func (t *telling) tell(ctx context.Context, client HTTPClient) {
	t.done = make([]toldAddress, len(t.urls))
	var wg sync.WaitGroup
	for i, to := range t.urls {
		wg.Go(func() { t.done[i] = toldAddress{to, postLogout(ctx, client, to, t.token)} })
	}
	wg.Wait()
}

// postLogout posts a logout token and returns why it was not taken, "" if it was.
// What the client answers beside its status is nobody's business.
func postLogout(ctx context.Context, client HTTPClient, to, token string) (failure string) {
	ctx, cancel := context.WithTimeout(ctx, logoutPatience)
	defer cancel()
	r, err := newPost(ctx, to, url.Values{"logout_token": {token}})
	if err != nil {
		return "the address is not valid"
	}
	answer, err := client.Do(r)
	switch {
	case ctx.Err() != nil:
		return "no answer in time"
	case err != nil:
		return "the address cannot be reached"
	}
	_ = answer.Body.Close()
	// Section 2.8: 200, and 204 because some frameworks make it of an empty answer.
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusNoContent {
		return ""
	}
	return "answered " + strconv.Itoa(answer.StatusCode)
}
