package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// VerifyLive is [Server.VerifyFor] for those who let somebody in by a token: it
// also refuses one whose session has ended, whose user is gone or blocked, or
// whose user has left the organization it is for. What this process ends is
// refused at once, what another one ends within a second.
func (s *Server) VerifyLive(ctx context.Context, issuers []string, token string) (*Claims, error) {
	known, err := s.verify(ctx, issuers, token)
	if err != nil {
		return nil, err
	}
	if err := s.refuseEnded(ctx, known); err != nil {
		return nil, err
	}
	s.verified.put(token, known)
	return known.claims, nil
}

// refuseEnded refuses a token that speaks for a user who no longer has what it
// says. Tokens of programs speak for nobody else.
func (s *Server) refuseEnded(ctx context.Context, t *verifiedToken) error {
	if client, ok := strings.CutSuffix(t.claims.Subject, "@clients"); ok && client == t.claims.ClientID {
		return nil
	}
	number, err := tenancy.Endings(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	if t.live.recently(number, now) {
		return nil
	}
	ended, err := hasEnded(ctx, t.claims, now)
	if err != nil {
		return err
	}
	if ended {
		return invalidToken("Invalid token")
	}
	t.live = found{now, number}
	return nil
}

// hasEnded reads, in one statement, what has become of the token's user, session
// and membership.
func hasEnded(ctx context.Context, c *Claims, now time.Time) (bool, error) {
	var blocked, session, member bool
	at := tenancy.At(now)
	err := tenancy.QueryRow(ctx, `SELECT blocked,
			EXISTS (SELECT 1 FROM sessions s WHERE s.tenant_id = users.tenant_id AND s.id = ? AND s.user_id = users.id
				AND s.expires_at > ? AND s.idle_expires_at > ?),
			EXISTS (SELECT 1 FROM members m WHERE m.tenant_id = users.tenant_id AND m.id = ?)
		FROM users WHERE tenant_id = @tenant AND id = ?`,
		[]any{c.SessionID, at, at, tenancy.Join(c.OrgID, c.Subject), c.Subject}, &blocked, &session, &member)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case blocked, c.SessionID != "" && !session:
		return true, nil
	case c.OrgID == "", member:
		return false, nil
	}
	passes, err := passesAsPlatformAdmin(ctx, c.Subject, &tenancy.Organization{Row: tenancy.Row{ID: c.OrgID}})
	return !passes, err
}
