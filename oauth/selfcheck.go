package oauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SelfCheck proves that the entered tenant can be used before it is (contract
// C8.5 step 11): for each algorithm it has keys for it signs a token of a minute
// and verifies it with the keys it publishes, as any API would. The tokens are
// for nobody and leave this function never.
func (s *Server) SelfCheck(ctx context.Context) error {
	tenant, err := tenancy.Current(ctx)
	if err != nil {
		return err
	}
	var issuers []string
	if s.issuers != nil { // the visit, if any, is one to the control plane
		issuers = s.issuers(ctx)
	}
	if len(issuers) == 0 {
		issuers = []string{"urn:gatehouse:tenant:" + tenant.ID}
	}
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "use_state = ? AND revoked_at = 0", Args: []any{tenancy.KeyCurrent}})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rows, func(k tenancy.SigningKey) bool { return k.Alg == "RS256" }) {
		return errors.New("there is no current RS256 key, which ID tokens need")
	}
	now := s.now()
	for i := range rows {
		key, err := s.keys.key(ctx, rows[i].Alg)
		if err != nil {
			return fmt.Errorf("%s key: %w", rows[i].Alg, err)
		}
		token, err := key.sign(typeAccessToken, &Claims{
			Issuer: issuers[0], Subject: "selfcheck", ClientID: "selfcheck", Audience: Audience{"urn:gatehouse:selfcheck"}, ID: newTokenID(""),
			IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Minute).Unix(), TenantID: tenant.ID,
		})
		if err != nil {
			return fmt.Errorf("signing with %s: %w", rows[i].Alg, err)
		}
		if _, err := s.VerifyFor(ctx, issuers, token); err != nil {
			return fmt.Errorf("verifying what was signed with %s: %w", rows[i].Alg, err)
		}
	}
	return nil
}
