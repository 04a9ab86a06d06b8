package oauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// revoke is the revocation endpoint (RFC 7009; contract C4.48). Whatever the
// token was, the answer is the same, so that it tells nothing of tokens.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := parseMachineRequest(r)
	if err != nil {
		return err
	}
	client, err := s.authenticate(ctx, &request.credentials)
	if err != nil {
		return err
	}
	narrowOrigin(w, r, client)
	if err := s.countRequest(ctx, w, client); err != nil {
		return err
	}
	token := request.get("token")
	if token == "" {
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: token")
	}
	// token_type_hint would save a look-up and nothing else (RFC 7009 section 2.1).
	if err := s.revokeToken(ctx, client, token); err != nil {
		return err // never 200 for what was not done (defect 13)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeToken ends a token of the client's. Others are left alone.
func (s *Server) revokeToken(ctx context.Context, client *tenancy.Client, token string) error {
	g, _, err := readGrant(ctx, tenancy.GrantRefresh, tenancy.HashToken(token), tenancy.At(s.now()))
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return s.revokeAccessToken(ctx, client, token)
	case err != nil:
		return err
	case g.ClientID != client.ID:
		return nil
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return err
	}
	where, args := "family = ?", []any{g.Family}
	if settings.Bool("flags.revoke_refresh_token_grant") { // all of user, client and audience
		where, args = "user_id = ? AND client_id = ? AND audience = ?", []any{g.UserID, g.ClientID, g.Audience}
	}
	return s.revokeGrants(ctx, where, args)
}

// revokeGrants ends the codes and refresh tokens the condition means, and the
// access tokens of their families (RFC 7009 section 2.1).
func (s *Server) revokeGrants(ctx context.Context, where string, args []any) error {
	now := tenancy.At(s.now())
	defer s.verified.forget()
	return tenancy.Commit(ctx,
		tenancy.SQL(ctx, `INSERT INTO revoked_tokens (tenant_id, id, revision, created_at, updated_at, expires_at)
			SELECT DISTINCT tenant_id, family, 1, CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT) FROM grants
			WHERE tenant_id = @tenant AND `+where+` ON CONFLICT (tenant_id, id) DO NOTHING`,
			append([]any{now, now, now.Add(retention)}, args...)...),
		tenancy.SQL(ctx, `UPDATE grants SET revoked_at = ?, updated_at = ?, revision = revision + 1
			WHERE tenant_id = @tenant AND revoked_at = 0 AND `+where, append([]any{now, now}, args...)...))
}

// revokeAccessToken has a live access token of the client's refused from now on.
func (s *Server) revokeAccessToken(ctx context.Context, client *tenancy.Client, token string) error {
	claims, err := s.Verify(ctx, token)
	var refused *tenancy.Error
	switch {
	case errors.As(err, &refused): // no token, expired, foreign, or revoked already
		return nil
	case err != nil:
		return err
	case claims.ClientID != client.ID:
		return nil
	}
	until := tenancy.Time(claims.ExpiresAt * 1e6)
	if err := tenancy.Commit(ctx, refuseTokensStmt(ctx, claims.ID, until, tenancy.At(s.now()))); err != nil {
		return err
	}
	s.verified.forget()
	return nil
}
