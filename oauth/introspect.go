package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// introspection is what is told of a live token (RFC 7662 section 2.2; contract
// C4.49). Of all others there is nothing but active, false.
type introspection struct {
	Active      bool     `json:"active"`
	Scope       string   `json:"scope,omitempty"`
	ClientID    string   `json:"client_id,omitempty"`
	Username    string   `json:"username,omitempty"`   // how events call the user
	TokenType   string   `json:"token_type,omitempty"` // of access tokens only: RFC 6749 section 5.1 has none for others
	ExpiresAt   int64    `json:"exp,omitempty"`        // seconds since 1970, as iat; 0 for never
	IssuedAt    int64    `json:"iat,omitempty"`
	Subject     string   `json:"sub,omitempty"`
	Audience    Audience `json:"aud,omitempty"`
	Issuer      string   `json:"iss,omitempty"`
	ID          string   `json:"jti,omitempty"`
	SessionID   string   `json:"sid,omitempty"`
	OrgID       string   `json:"org_id,omitempty"`
	OrgName     string   `json:"org_name,omitempty"`
	TenantID    string   `json:"tenant_id,omitempty"`
	Permissions []string `json:"permissions,omitzero"`
	Actor       *Actor   `json:"act,omitempty"` // RFC 8693 section 4.1
}

// introspect is the introspection endpoint (RFC 7662; contract C4.49). Only
// clients that prove who they are may ask, because the answer tells of people
// (section 2.1); a token that is not theirs to know of is no token.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := parseFormRequest(r)
	if err != nil {
		return err
	}
	client, err := s.authenticateConfidential(ctx, &request.credentials)
	if err != nil {
		return err
	}
	if err := s.countRequest(ctx, w, client); err != nil {
		return err
	}
	token := request.get("token")
	if token == "" {
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: token")
	}
	// token_type_hint would save a look-up and nothing else (RFC 7662 section 2.1).
	answer, err := s.introspectRefreshToken(ctx, client, token)
	if errors.Is(err, tenancy.ErrNotFound) {
		answer, err = s.introspectAccessToken(ctx, client, token)
	}
	if err != nil {
		return err
	}
	if answer == nil {
		answer = &introspection{}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = typeJSON
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	return nil
}

// introspectRefreshToken is what a client may know of a refresh token: of its own,
// while it can be used. nil is nothing; a text that is no refresh token of the
// tenant is [tenancy.ErrNotFound].
func (s *Server) introspectRefreshToken(ctx context.Context, client *tenancy.Client, token string) (*introspection, error) {
	now := tenancy.At(s.now())
	g, data, err := readGrant(ctx, tenancy.GrantRefresh, tenancy.HashToken(token), now)
	if err != nil || g.ClientID != client.ID || !usable(g, client, now) {
		return nil, err
	}
	user, err := activeUser(ctx, g.UserID)
	if err != nil || user == nil {
		return nil, err
	}
	tenant, err := tenancy.Current(ctx)
	if err != nil {
		return nil, err
	}
	answer := &introspection{
		Active: true, Scope: g.Scope, ClientID: g.ClientID, Username: userName(user), Subject: user.ID,
		ExpiresAt: earlier(g.ExpiresAt, g.IdleExpires).Unix(), IssuedAt: g.CreatedAt.Unix(), ID: g.ID,
		Issuer: tenancy.VisitOf(ctx).Issuer, SessionID: data.Session, TenantID: tenant.ID,
	}
	answer.Audience = audienceClaim(answer.Issuer, &Allowance{Audience: g.Audience}, true)
	if g.OrgID != "" {
		org, err := findOrganization(ctx, g.OrgID)
		var refused *oauthError
		switch {
		case errors.As(err, &refused): // its tokens went with it (contract C2.53)
			return nil, nil
		case err != nil:
			return nil, err
		}
		answer.OrgID, answer.OrgName = org.ID, org.Name
	}
	return answer, nil
}

// usable reports whether a refresh token would be accepted from the client now.
func usable(g *tenancy.Grant, client *tenancy.Client, now tenancy.Time) bool {
	return g.RevokedAt == 0 && !expired(g, now) && (g.ConsumedAt == 0 || now < g.ConsumedAt.Add(leeway(client)))
}

// earlier is the earlier of two times of which 0 is never.
func earlier(a, b tenancy.Time) tenancy.Time {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// introspectAccessToken is what a client may know of an access token: of those
// issued to it, or for a resource server that lists it, while they live. nil is
// nothing.
func (s *Server) introspectAccessToken(ctx context.Context, client *tenancy.Client, token string) (*introspection, error) {
	claims, err := s.Verify(ctx, token)
	var refused *tenancy.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return nil, nil // no token, expired, foreign, or revoked
	case err != nil:
		return nil, err
	}
	allowed, err := mayIntrospect(ctx, client, claims)
	if err != nil || !allowed {
		return nil, err
	}
	h, err := s.holder(ctx, claims)
	if err != nil || h == nil {
		return nil, err
	}
	answer := &introspection{
		Active: true, Scope: claims.Scope, ClientID: claims.ClientID, TokenType: "Bearer",
		ExpiresAt: claims.ExpiresAt, IssuedAt: claims.IssuedAt, Subject: claims.Subject, Audience: claims.Audience,
		Issuer: claims.Issuer, ID: claims.ID, SessionID: claims.SessionID, OrgID: claims.OrgID, OrgName: claims.OrgName,
		TenantID: claims.TenantID, Permissions: claims.Permissions, Actor: claims.Actor,
	}
	if h.user != nil {
		answer.Username = userName(h.user)
	}
	return answer, nil
}

// mayIntrospect reports whether a token is the client's to know of: issued to it,
// or for a resource server of the tenant that names it among its
// introspection_clients.
func mayIntrospect(ctx context.Context, client *tenancy.Client, claims *Claims) (bool, error) {
	if claims.ClientID == client.ID {
		return true, nil
	}
	for _, audience := range claims.Audience {
		rs, err := tenancy.CachedResourceServer(ctx, tenancy.IdentifierOf(ctx, audience))
		switch {
		case errors.Is(err, tenancy.ErrNotFound): // userinfo, or removed since
		case err != nil:
			return false, err
		case slices.Contains(rs.IntrospectionClient, client.ID):
			return true, nil
		}
	}
	return false, nil
}

// holder is whom a live access token speaks for.
type holder struct {
	user    *tenancy.User    // nil for a program
	session *tenancy.Session // nil where the token came from none
}

// holder finds whom a verified access token speaks for. A token is over, and the
// result nil, where the client it was issued to is gone, or of a user's the user
// is gone or blocked or the session it came from has ended (contract C3.31).
func (s *Server) holder(ctx context.Context, claims *Claims) (*holder, error) {
	if _, err := tenancy.CachedClient(ctx, claims.ClientID); err != nil {
		return nil, ignoreMissing(err)
	}
	h := &holder{}
	if claims.machine() {
		return h, nil
	}
	var err error
	if claims.SessionID != "" {
		h.session, err = s.sessionByID(ctx, claims.SessionID)
		if err != nil || h.session == nil || h.session.UserID != claims.Subject {
			return nil, err
		}
	}
	if h.user, err = activeUser(ctx, claims.Subject); err != nil || h.user == nil {
		return nil, err
	}
	return h, nil
}

// activeUser is the user, or nil where there is none or they are blocked.
func activeUser(ctx context.Context, id string) (*tenancy.User, error) {
	user, err := tenancy.Users.Get(ctx, id)
	if err != nil || user.Blocked {
		return nil, ignoreMissing(err)
	}
	return user, nil
}
