package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
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
	set, err := s.keys.known(ctx)
	if err != nil {
		return err
	}
	if set.current["RS256"] == nil && !set.owed {
		return errors.New("there is no current RS256 key, which ID tokens need")
	}
	now := s.now()
	for alg, key := range set.current {
		token, err := key.sign(typeAccessToken, &Claims{
			Issuer: issuers[0], Subject: "selfcheck", ClientID: "selfcheck", Audience: Audience{"urn:gatehouse:selfcheck"}, ID: newTokenID(""),
			IssuedAt: now.Unix(), ExpiresAt: now.Add(time.Minute).Unix(), TenantID: tenant.ID,
		})
		if err != nil {
			return fmt.Errorf("signing with %s: %w", alg, err)
		}
		if set.owed { // verifying it in full would make the keys that may wait
			err = key.verifies(token)
		} else {
			_, err = s.VerifyFor(ctx, issuers, token)
		}
		if err != nil {
			return fmt.Errorf("verifying what was signed with %s: %w", alg, err)
		}
	}
	return nil
}

// verifies returns nil where the token's signature is the key's.
func (k *signingKey) verifies(token string) error {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		return err
	}
	return k.method.Verify(token[:max(dot, 0)], signature, k.public)
}
