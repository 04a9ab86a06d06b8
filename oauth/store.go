package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
	"github.com/ory/fosite/storage"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// store is fosite's storage. It holds nothing: every method works on the exchange
// of its context. Reads come from the one row that was read; writes are noted in
// the exchange's batch, which is committed after everything was signed. So there
// is no transaction to begin, nothing is consumed without an answer, and no
// connection is held while anything is computed (defect 22).
//
// Access tokens have no rows. PKCE and OpenID Connect "sessions" are views of the
// code's row: making and deleting them does nothing.
type store struct{}

// GetClient implements fosite.ClientManager.
func (*store) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	if c := exchangeOf(ctx).client; c != nil && c.ID == id {
		return c, nil
	}
	return nil, fosite.ErrNotFound
}

// ClientAssertionJWTValid implements fosite.ClientManager. Assertions are not
// checked by fosite, whose check and record of a jti are two steps (defect 21).
func (*store) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT implements fosite.ClientManager.
func (*store) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// CreateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage.
func (*store) CreateAuthorizeCodeSession(ctx context.Context, signature string, request fosite.Requester) error {
	x := exchangeOf(ctx)
	row, err := x.code.row(request.GetID(), signature, tenancy.At(x.server.now()))
	if err != nil {
		return err
	}
	x.ops = append(x.ops, tenancy.Grants.Insert(ctx, row))
	return nil
}

// row is the code's.
func (g *codeGrant) row(family, hash string, now tenancy.Time) (*tenancy.Grant, error) {
	data, err := grantData{
		Requested: strings.Join(g.Requested, " "), RedirectURI: g.RedirectURI, Challenge: g.Challenge, Nonce: g.Nonce, ACR: g.ACR, Claims: g.Claims,
		AuthTime: g.Session.AuthenticatedAt, Connection: g.Session.Connection, Methods: methodNames(g.Session.Methods),
	}.text()
	row := &tenancy.Grant{
		Row: tenancy.Row{ID: tenancy.NewID("ac_", 24)}, Kind: tenancy.GrantCode, Hash: hash, Family: family,
		ClientID: g.Client.ID, UserID: g.User.ID, SessionID: g.Session.ID, Audience: g.Allowance.Audience,
		Scope: strings.Join(g.Allowance.Scopes, " "), Data: data, ExpiresAt: now.Add(codeLifetime),
	}
	if org := g.Allowance.Organization; org != nil {
		row.OrgID = org.ID
	}
	return row, err
}

// GetAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage. A code that was
// used before is returned with fosite.ErrInvalidatedAuthorizeCode, upon which
// fosite revokes what descends from it.
func (*store) GetAuthorizeCodeSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	x := exchangeOf(ctx)
	if err := x.load(ctx, tenancy.GrantCode, signature); err != nil {
		return nil, err
	}
	switch {
	case x.grant.ConsumedAt != 0:
		x.reused = true
		return x.view, fosite.ErrInvalidatedAuthorizeCode
	case x.grant.RevokedAt != 0, expired(x.grant, tenancy.At(x.server.now())):
		return nil, fosite.ErrNotFound
	}
	return x.view, nil
}

// InvalidateAuthorizeCodeSession implements oauth2.AuthorizeCodeStorage. fosite
// calls it before it creates anything, so it is the first of the batch.
func (*store) InvalidateAuthorizeCodeSession(ctx context.Context, _ string) error {
	x := exchangeOf(ctx)
	x.ops = append(x.ops, consumeStmt(ctx, x.grant, tenancy.At(x.server.now())))
	return nil
}

// CreateRefreshTokenSession implements oauth2.RefreshTokenStorage. A token that
// follows another keeps what that one was granted (RFC 6749 section 6: the scope
// of the new token is identical) and when it ends for good.
func (*store) CreateRefreshTokenSession(ctx context.Context, signature string, _ fosite.Requester) error {
	x := exchangeOf(ctx)
	if signature == "" { // refresh tokens of this client do not rotate
		return nil
	}
	now := tenancy.At(x.server.now())
	row := &tenancy.Grant{
		Row: tenancy.Row{ID: tenancy.NewID("rt_", 24)}, Kind: tenancy.GrantRefresh, Hash: signature, Family: x.grant.Family,
		ClientID: x.grant.ClientID, UserID: x.grant.UserID, SessionID: x.grant.SessionID, OrgID: x.grant.OrgID,
		Audience: x.grant.Audience, Scope: x.grant.Scope, ExpiresAt: x.grant.ExpiresAt,
		IdleExpires: refreshIdleExpiry(x.client.Client, now), LastUsedAt: now,
	}
	if x.grant.Kind != tenancy.GrantRefresh {
		row.Scope = strings.Join(x.allowance.Scopes, " ")
		row.ExpiresAt = refreshExpiry(x.client.Client, now)
	}
	data := x.data
	data.RedirectURI, data.Challenge, data.Nonce, data.Slower = "", "", "", 0
	var err error
	if row.Data, err = data.text(); err != nil {
		return err
	}
	x.ops = append(x.ops, tenancy.Grants.Insert(ctx, row))
	return nil
}

// GetRefreshTokenSession implements oauth2.RefreshTokenStorage. A token that was
// used before is returned with fosite.ErrInactiveToken, upon which fosite revokes
// its family, unless its client may use it again so soon (contract C4.39).
func (*store) GetRefreshTokenSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	x := exchangeOf(ctx)
	if err := x.load(ctx, tenancy.GrantRefresh, signature); err != nil {
		return nil, err
	}
	now := tenancy.At(x.server.now())
	switch g := x.grant; {
	case g.RevokedAt != 0:
		return nil, fosite.ErrNotFound
	case g.ConsumedAt != 0 && now >= g.ConsumedAt.Add(leeway(x.client.Client)):
		x.reused = true
		return x.view, fosite.ErrInactiveToken
	case expired(g, now):
		return nil, fosite.ErrNotFound
	}
	return x.view, nil
}

// RevokeRefreshTokenMaybeGracePeriod implements oauth2.TokenRevocationStorage: the
// token presented has been used. The leeway counts from the first use and is
// never extended.
func (*store) RevokeRefreshTokenMaybeGracePeriod(ctx context.Context, _, _ string) error {
	x := exchangeOf(ctx)
	now, c := tenancy.At(x.server.now()), x.client.Client
	switch {
	case x.grant.ConsumedAt != 0: // again, within the leeway
		x.ops = append(x.ops, touchStmt(ctx, x.grant, x.grant.IdleExpires, now))
	case rotates(c):
		x.ops = append(x.ops, consumeStmt(ctx, x.grant, now))
	default:
		x.ops = append(x.ops, touchStmt(ctx, x.grant, refreshIdleExpiry(c, now), now))
	}
	return nil
}

// RevokeRefreshToken implements oauth2.TokenRevocationStorage: all of the family.
func (*store) RevokeRefreshToken(ctx context.Context, family string) error {
	x := exchangeOf(ctx)
	x.ops = append(x.ops, revokeFamilyStmt(ctx, family, tenancy.At(x.server.now())))
	return nil
}

// RevokeAccessToken implements oauth2.TokenRevocationStorage: the access tokens of
// the family. fosite asks for it at every refresh too, where the access token in
// use is left to expire.
func (*store) RevokeAccessToken(ctx context.Context, family string) error {
	x := exchangeOf(ctx)
	if x.reused {
		now := tenancy.At(x.server.now())
		x.ops = append(x.ops, refuseTokensStmt(ctx, family, now.Add(longestTokenLifetime*time.Second), now))
	}
	return nil
}

// GetPKCERequestSession implements pkce.PKCERequestStorage.
func (*store) GetPKCERequestSession(ctx context.Context, signature string, _ fosite.Session) (fosite.Requester, error) {
	x := exchangeOf(ctx)
	if err := x.load(ctx, tenancy.GrantCode, signature); err != nil {
		return nil, err
	}
	if x.data.Challenge == "" {
		return nil, fosite.ErrNotFound
	}
	return x.view, nil
}

// GetOpenIDConnectSession implements openid.OpenIDConnectRequestStorage. The code
// is given whole here; the row is known already.
func (*store) GetOpenIDConnectSession(ctx context.Context, _ string, _ fosite.Requester) (fosite.Requester, error) {
	x := exchangeOf(ctx)
	if x.view == nil || !x.allowance.Has(scopeOpenID) {
		return nil, openid.ErrNoSessionFound
	}
	return x.view, nil
}

// BeginTX implements storage.Transactional: the batch is begun with the exchange.
func (*store) BeginTX(ctx context.Context) (context.Context, error) { return ctx, nil }

// Commit implements storage.Transactional: [exchange.run] does, after signing.
func (*store) Commit(context.Context) error { return nil }

// Rollback implements storage.Transactional.
func (*store) Rollback(ctx context.Context) error {
	exchangeOf(ctx).ops = nil
	return nil
}

// What there is no row for.

func (*store) CreateAccessTokenSession(context.Context, string, fosite.Requester) error { return nil }

func (*store) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, errNoAccessTokens
}

func (*store) DeleteAccessTokenSession(context.Context, string) error { return nil }

func (*store) DeleteRefreshTokenSession(context.Context, string) error { return nil }

func (*store) CreatePKCERequestSession(context.Context, string, fosite.Requester) error { return nil }

func (*store) DeletePKCERequestSession(context.Context, string) error { return nil }

func (*store) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error { return nil }

func (*store) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

var errNoAccessTokens = errors.New("access tokens are not stored")

// Interface guards
var (
	_ fosite.Storage                     = (*store)(nil)
	_ oauth2.CoreStorage                 = (*store)(nil)
	_ oauth2.TokenRevocationStorage      = (*store)(nil)
	_ pkce.PKCERequestStorage            = (*store)(nil)
	_ openid.OpenIDConnectRequestStorage = (*store)(nil)
	_ storage.Transactional              = (*store)(nil)
)
