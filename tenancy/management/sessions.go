package management

import (
	"context"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// sessionRoutes are those on logged-in browsers and refresh tokens (contract
// C5.91, C5.92).
var sessionRoutes = []route{
	get("/sessions/{id}", readSession, "read:sessions"),
	write(http.MethodDelete, "/sessions/{id}", http.StatusAccepted, endSession, "delete:sessions"),
	write(http.MethodPost, "/sessions/{id}/revoke", http.StatusAccepted, endSession, "update:sessions", "delete:sessions"),
	get("/refresh-tokens/{id}", readRefreshToken, "read:refresh_tokens"),
	write(http.MethodDelete, "/refresh-tokens/{id}", http.StatusAccepted, endRefreshToken, "delete:refresh_tokens"),
	get("/refresh_tokens/{id}", readRefreshToken, "read:refresh_tokens"),
	write(http.MethodDelete, "/refresh_tokens/{id}", http.StatusAccepted, endRefreshToken, "delete:refresh_tokens"),
}

// sessionView is contract C3.29: never the cookie's value or its hash.
func sessionView(s *tenancy.Session) object {
	o := object{members: []property{{"id", encode(s.ID)}}}
	o.members = append(o.members, render(s).members...)
	clients := []map[string]string{}
	for _, id := range s.Clients {
		clients = append(clients, map[string]string{"client_id": id})
	}
	o.set("clients", clients)
	o.set("authentication", map[string]any{"methods": orEmpty(s.Methods)})
	mode := "non-persistent"
	if s.Persistent {
		mode = "persistent"
	}
	o.set("cookie", map[string]string{"mode": mode})
	return o
}

func (c *Call) session(ctx context.Context) (*tenancy.Session, error) {
	s, err := found(tenancy.Sessions.Get(ctx, c.param("id")))("Session")
	if err == nil && !s.Alive(c.api.config.Now()) {
		return nil, missing("Session")
	}
	return s, err
}

func readSession(ctx context.Context, c *Call) (any, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	return sessionView(s), nil
}

func endSession(ctx context.Context, c *Call) (any, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.EndSessions(ctx, tenancy.SessionRevoked, "id = ?", s.ID)...)
}

func userSessions(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.Session]{
		table: tenancy.Sessions, key: "sessions", form: checkpoint,
		answers: func(_ context.Context, rows []tenancy.Session) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				if rows[i].Alive(c.api.config.Now()) {
					answers[i] = sessionView(&rows[i])
				}
			}
			return answers, nil
		},
	}
	l.filter.and("user_id = ?", u.ID)
	return l.answer(ctx, c)
}

func endUserSessions(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.EndSessions(ctx, tenancy.SessionRevoked, "user_id = ?", u.ID)...)
}

// usable is the condition of refresh tokens that still work, apart from time.
const usable = "kind = ? AND consumed_at = 0 AND revoked_at = 0"

// refreshTokenView holds no hash and nothing by which a token could be found.
func refreshTokenView(g *tenancy.Grant) object {
	var o object
	o.set("id", g.ID)
	o.set("user_id", g.UserID)
	o.set("client_id", g.ClientID)
	o.set("session_id", nullable(g.SessionID))
	o.set("organization_id", nullable(g.OrgID))
	o.set("created_at", g.CreatedAt)
	o.set("expires_at", g.ExpiresAt)
	o.set("idle_expires_at", g.IdleExpires)
	o.set("last_exchanged_at", g.LastUsedAt)
	o.set("resource_servers", []map[string]any{{"audience": g.Audience, "scopes": strings.Fields(g.Scope)}})
	return o
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (c *Call) refreshToken(ctx context.Context) (*tenancy.Grant, error) {
	g, err := found(tenancy.Grants.First(ctx, "id = ? AND "+usable, c.param("id"), tenancy.GrantRefresh))("Refresh token")
	now := tenancy.At(c.api.config.Now())
	if err == nil && (g.ExpiresAt != 0 && now >= g.ExpiresAt || g.IdleExpires != 0 && now >= g.IdleExpires) {
		return nil, missing("Refresh token")
	}
	return g, err
}

func readRefreshToken(ctx context.Context, c *Call) (any, error) {
	g, err := c.refreshToken(ctx)
	if err != nil {
		return nil, err
	}
	return refreshTokenView(g), nil
}

// endRefreshToken ends the token and all that descend from the same
// authorization.
func endRefreshToken(ctx context.Context, c *Call) (any, error) {
	g, err := c.refreshToken(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.Grants.RemoveWhere(ctx, "family = ? AND kind = ?", g.Family, tenancy.GrantRefresh))
}

func userRefreshTokens(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.Grant]{
		table: tenancy.Grants, key: "tokens", form: checkpoint,
		answers: func(_ context.Context, rows []tenancy.Grant) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				answers[i] = refreshTokenView(&rows[i])
			}
			return answers, nil
		},
	}
	l.filter.and("user_id = ? AND "+usable, u.ID, tenancy.GrantRefresh)
	return l.answer(ctx, c)
}

func endUserRefreshTokens(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.Grants.RemoveWhere(ctx, "user_id = ? AND kind = ?", u.ID, tenancy.GrantRefresh))
}
