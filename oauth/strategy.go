package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// strategy makes the tokens that fosite asks for. Codes and refresh tokens are
// 256 random bits, whose "signature" is the hash of the whole token: a part of
// one is worth nothing (defects 20 and 25), and there is no secret to leak.
type strategy struct{ server *Server }

// AuthorizeCodeSignature implements oauth2.AuthorizeCodeStrategy.
func (*strategy) AuthorizeCodeSignature(_ context.Context, token string) string {
	return tenancy.HashToken(token)
}

// GenerateAuthorizeCode implements oauth2.AuthorizeCodeStrategy.
func (*strategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (token, signature string, err error) {
	token = tenancy.NewToken()
	return token, tenancy.HashToken(token), nil
}

// ValidateAuthorizeCode implements oauth2.AuthorizeCodeStrategy. The row was found
// by the hash of all of the token, and its expiry judged there.
func (*strategy) ValidateAuthorizeCode(ctx context.Context, _ fosite.Requester, token string) error {
	return sameToken(ctx, token)
}

// RefreshTokenSignature implements oauth2.RefreshTokenStrategy.
func (*strategy) RefreshTokenSignature(_ context.Context, token string) string {
	return tenancy.HashToken(token)
}

// GenerateRefreshToken implements oauth2.RefreshTokenStrategy. Where refresh
// tokens do not rotate, there is none to make (contract C4.39).
func (*strategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	x := exchangeOf(ctx)
	if x.request.grant == grantRefreshToken && !rotates(x.client.Client) {
		return "", "", nil
	}
	x.refreshToken = tenancy.NewToken()
	return x.refreshToken, tenancy.HashToken(x.refreshToken), nil
}

// ValidateRefreshToken implements oauth2.RefreshTokenStrategy.
func (*strategy) ValidateRefreshToken(ctx context.Context, _ fosite.Requester, token string) error {
	return sameToken(ctx, token)
}

func sameToken(ctx context.Context, token string) error {
	if g := exchangeOf(ctx).grant; g == nil || g.Hash != tenancy.HashToken(token) {
		return fosite.ErrTokenSignatureMismatch
	}
	return nil
}

// AccessTokenSignature implements oauth2.AccessTokenStrategy. Access tokens leave
// no row, so nothing is found by it.
func (*strategy) AccessTokenSignature(context.Context, string) string { return "" }

// GenerateAccessToken implements oauth2.AccessTokenStrategy.
func (st *strategy) GenerateAccessToken(ctx context.Context, _ fosite.Requester) (token, signature string, err error) {
	x := exchangeOf(ctx)
	if x.allowance == nil {
		return "", "", errors.New("access token asked for before the grant was decided")
	}
	in := accessInput{Client: x.client.Client, User: x.user, Allowance: x.allowance}
	if x.grant != nil {
		in.Family, in.SessionID, in.AuthTime = x.grant.Family, x.sessionID(), x.data.AuthTime
	}
	switch {
	case x.request.grant == grantClientCredentials:
		in.GrantType = gtyClientCredentials
	case x.request.grant == grantPassword, x.request.grant == grantPasswordRealm:
		in.GrantType = gtyPassword
	case x.subject != nil:
		in.fromSubject(x.subject)
	}
	x.accessToken, x.expiresIn, err = st.server.accessToken(ctx, in)
	return x.accessToken, "", err
}

// sessionID is the sid of the tokens (contract C2.8). A code's tokens name the
// session they came from, so that they end with it (contract C3.31), even at once.
// A refresh token outlives its session (contract C3.36): what it gives afterwards
// names none, because a token of a session that has ended is over from the start.
func (x *exchange) sessionID() string {
	if x.request.grant == grantRefreshToken {
		return x.data.Session
	}
	return x.grant.SessionID
}

// ValidateAccessToken implements oauth2.AccessTokenStrategy. Access tokens are
// verified by [Server.Verify] only (defect 14).
func (*strategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrRequestUnauthorized
}

// GenerateIDToken implements openid.OpenIDConnectTokenStrategy.
func (st *strategy) GenerateIDToken(ctx context.Context, _ time.Duration, _ fosite.Requester) (string, error) {
	x := exchangeOf(ctx)
	in := idInput{
		Client: x.client.Client, User: x.user, Allowance: x.allowance, SessionID: x.sessionID(),
		AuthTime: x.data.AuthTime, Methods: x.data.Methods, ACR: x.data.ACR, AccessToken: x.accessToken,
	}
	if x.request.grant == grantAuthorizationCode { // not repeated on refresh (contract C2.13)
		in.Nonce, in.Claims = x.data.Nonce, x.data.Claims
	}
	var err error
	x.idToken, err = st.server.idToken(ctx, in)
	return x.idToken, err
}

// Interface guards
var (
	_ oauth2.CoreStrategy               = (*strategy)(nil)
	_ openid.OpenIDConnectTokenStrategy = (*strategy)(nil)
)
