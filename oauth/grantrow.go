package oauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// grantData is what only codes and refresh tokens themselves need of a row. It is
// stored as JSON, some 300 bytes.
type grantData struct {
	Requested   string       `json:"requested,omitempty"` // scopes asked for, whatever was granted
	RedirectURI string       `json:"redirect_uri,omitempty"`
	Challenge   string       `json:"challenge,omitempty"` // S256
	Nonce       string       `json:"nonce,omitempty"`
	AuthTime    tenancy.Time `json:"-"`
	AuthMicros  int64        `json:"auth_time,omitempty"` // AuthTime, unrounded
	Connection  string       `json:"connection,omitempty"`
	Methods     []string     `json:"amr,omitempty"`
	ACR         string       `json:"acr,omitempty"`
	Claims      []string     `json:"claims,omitempty"` // of the first ID token only
	Slower      int64        `json:"slower,omitempty"` // device: how often it polled too soon

	// Session is the session the grant came from, by its public id, while that
	// lives; "" afterwards. It is read together with the row.
	Session string `json:"-"`
}

func (d grantData) text() (string, error) {
	d.AuthMicros = int64(d.AuthTime)
	b, err := json.Marshal(d)
	return string(b), err
}

// readGrant reads the row of a code or refresh token by its hash, without the
// typed table: this statement runs on every exchange. A token that is not of the
// entered tenant is [tenancy.ErrNotFound], whatever other tenants have. Whether
// the session lives is judged at now, in the same statement.
func readGrant(ctx context.Context, kind tenancy.GrantKind, hash string, now tenancy.Time) (*tenancy.Grant, grantData, error) {
	g, data := tenancy.Grant{Kind: kind, Hash: hash}, grantData{}
	err := tenancy.QueryRow(ctx, `SELECT id, created_at, family, client_id, user_id, session_id, org_id, audience, scope, data,
			consumed_at, revoked_at, expires_at, idle_expires, last_used_at,
			COALESCE((SELECT s.id FROM sessions s WHERE s.tenant_id = grants.tenant_id AND s.id = grants.session_id
				AND s.user_id = grants.user_id AND s.expires_at > ? AND s.idle_expires_at > ?), '')
		FROM grants WHERE tenant_id = @tenant AND kind = ? AND hash = ?`, []any{now, now, kind, hash},
		&g.ID, &g.CreatedAt, &g.Family, &g.ClientID, &g.UserID, &g.SessionID, &g.OrgID, &g.Audience, &g.Scope, &g.Data,
		&g.ConsumedAt, &g.RevokedAt, &g.ExpiresAt, &g.IdleExpires, &g.LastUsedAt, &data.Session)
	if err != nil {
		return nil, data, err
	}
	if g.Data != "" {
		if err := json.Unmarshal([]byte(g.Data), &data); err != nil {
			return nil, data, err
		}
	}
	data.AuthTime = tenancy.Time(data.AuthMicros)
	return &g, data, nil
}

// load reads the row that the request presents, once. Rows of another client are
// not found.
func (x *exchange) load(ctx context.Context, kind tenancy.GrantKind, hash string) error {
	if x.grant != nil && x.grant.Hash == hash {
		return nil
	}
	g, data, err := readGrant(ctx, kind, hash, tenancy.At(x.server.now()))
	if errors.Is(err, tenancy.ErrNotFound) || err == nil && g.ClientID != x.client.ID {
		return fosite.ErrNotFound
	}
	if err != nil {
		return err
	}
	x.grant, x.data = g, data
	x.view = &fosite.Request{
		ID: g.Family, Client: x.client, Session: newSession(x), RequestedAt: g.CreatedAt.Time(),
		Form: data.form(), RequestedScope: strings.Fields(g.Scope), GrantedScope: strings.Fields(g.Scope),
	}
	return nil
}

// form is the stored part of the authorization request.
func (d *grantData) form() url.Values {
	form := url.Values{}
	if d.RedirectURI != "" {
		form.Set("redirect_uri", d.RedirectURI)
	}
	if d.Challenge != "" {
		form.Set("code_challenge", d.Challenge)
		form.Set("code_challenge_method", "S256")
	}
	return form
}

// expired reports whether the row may no longer be used at now. Zero is never.
func expired(g *tenancy.Grant, now tenancy.Time) bool {
	return g.ExpiresAt != 0 && now >= g.ExpiresAt || g.IdleExpires != 0 && now >= g.IdleExpires
}

// rotates reports whether each use of a refresh token of the client gives a new
// one (contract C2.15).
func rotates(c *tenancy.Client) bool {
	switch c.RefreshToken.RotationType {
	case "rotating":
		return true
	case "non-rotating":
		return false
	}
	return c.IsPublic()
}

// Lives of refresh tokens in seconds, and the longest leeway (contract C2.15,
// C4.39).
const (
	defaultRefreshLifetime     = 2592000
	defaultRefreshIdleLifetime = 1296000
	longestLeeway              = 600
)

// refreshExpiry is when a refresh token that is made now ends for good; 0 for
// never.
func refreshExpiry(c *tenancy.Client, now tenancy.Time) tenancy.Time {
	o := c.RefreshToken
	if o.InfiniteTokenLifetime || o.ExpirationType == "non-expiring" {
		return 0
	}
	return now.Add(time.Duration(cmp.Or(o.TokenLifetime, defaultRefreshLifetime)) * time.Second)
}

// refreshIdleExpiry is when a refresh token that is used now ends unless it is
// used again; 0 for never.
func refreshIdleExpiry(c *tenancy.Client, now tenancy.Time) tenancy.Time {
	o := c.RefreshToken
	if o.InfiniteIdleTokenLifetime || o.ExpirationType == "non-expiring" {
		return 0
	}
	return now.Add(time.Duration(cmp.Or(o.IdleTokenLifetime, defaultRefreshIdleLifetime)) * time.Second)
}

// leeway is how long after its first use a rotated token may be used again.
func leeway(c *tenancy.Client) time.Duration {
	return time.Duration(min(max(c.RefreshToken.Leeway, 0), longestLeeway)) * time.Second
}

// consumeStmt uses the row up. It affects one row or the batch fails, so of any
// number of exchanges at a time one succeeds (RFC 6749 section 4.1.2).
func consumeStmt(ctx context.Context, g *tenancy.Grant, now tenancy.Time) tenancy.Stmt {
	return tenancy.SQL(ctx, `UPDATE grants SET consumed_at = ?, last_used_at = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND kind = ? AND consumed_at = 0 AND revoked_at = 0`,
		now, now, now, g.ID, g.Kind).Once()
}

// touchStmt notes a use that leaves the row as it is: of a token that does not
// rotate, or again within the leeway. It fails if the row was used or revoked
// since it was read.
func touchStmt(ctx context.Context, g *tenancy.Grant, idle, now tenancy.Time) tenancy.Stmt {
	return tenancy.SQL(ctx, `UPDATE grants SET last_used_at = ?, idle_expires = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND kind = ? AND consumed_at = ? AND revoked_at = 0`,
		now, idle, now, g.ID, g.Kind, g.ConsumedAt).Once()
}

// revokeStmt ends one row.
func revokeStmt(ctx context.Context, id string, now tenancy.Time) tenancy.Stmt {
	return tenancy.SQL(ctx, `UPDATE grants SET revoked_at = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND revoked_at = 0`, now, now, id)
}

// revokeFamilyStmt ends all codes and refresh tokens of a family.
func revokeFamilyStmt(ctx context.Context, family string, now tenancy.Time) tenancy.Stmt {
	return tenancy.SQL(ctx, `UPDATE grants SET revoked_at = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND family = ? AND revoked_at = 0`, now, now, family)
}

// refuseTokensStmt has access tokens refused until they have expired: the one with
// the jti, or all of the family.
func refuseTokensStmt(ctx context.Context, id string, until, now tenancy.Time) tenancy.Stmt {
	return tenancy.SQL(ctx, `INSERT INTO revoked_tokens (tenant_id, id, revision, created_at, updated_at, expires_at)
		VALUES (@tenant, ?, 1, ?, ?, ?) ON CONFLICT (tenant_id, id) DO NOTHING`, id, now, now, until)
}
