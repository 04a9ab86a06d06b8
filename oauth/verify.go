package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Verify returns the claims of an access token of the entered tenant, which was
// issued under the visited host or another of the tenant's active issuers. Its
// audience is the caller's to judge.
//
// Errors are a *[tenancy.Error] with status 401 and the texts of contract TT2,
// TT3 and C2.61, or those of reading, which the caller answers with 503. A token
// that was revoked here is refused at once, one revoked by another process
// within a second.
func (s *Server) Verify(ctx context.Context, token string) (*Claims, error) {
	return s.VerifyFor(ctx, s.activeIssuers(ctx), token)
}

// activeIssuers are the entered tenant's, the visited one first.
func (s *Server) activeIssuers(ctx context.Context) []string {
	var list []string
	if issuer := tenancy.VisitOf(ctx).Issuer; issuer != "" {
		list = append(list, issuer)
	}
	if s.issuers != nil {
		list = append(list, s.issuers(ctx)...)
	}
	return list
}

// VerifyFor is [Server.Verify] for a token that must have one of the issuers,
// which belong to the entered tenant.
func (s *Server) VerifyFor(ctx context.Context, issuers []string, token string) (*Claims, error) {
	known, err := s.verify(ctx, issuers, token)
	if err != nil {
		return nil, err
	}
	s.verified.put(token, known)
	return known.claims, nil
}

// verify finds out all about a token that does not depend on whom it speaks for.
func (s *Server) verify(ctx context.Context, issuers []string, token string) (*verifiedToken, error) {
	tenant, err := tenancy.Current(ctx)
	if err != nil {
		return nil, err
	}
	set, err := s.keys.set(ctx)
	if err != nil {
		return nil, err
	}
	now := s.now()
	known := s.verified.get(token)
	if known == nil {
		if known, err = readAccessToken(set, issuers, token); err != nil {
			return nil, err
		}
	}
	// All but the signature is judged again each time. A kid is the hash of its
	// key, so whoever has a key of that name here has that key.
	key := set.byKid[known.kid]
	switch claims := known.claims; {
	case !slices.Contains(issuers, claims.Issuer):
		return nil, unexpectedIssuer(claims.Issuer, issuers)
	case key == nil || !key.live(tenancy.At(now)):
		return nil, invalidToken(badSignature)
	case now.Unix() >= claims.ExpiresAt: // no leeway (contract C9.50)
		return nil, invalidToken("Expired token received for JSON Web Token validation")
	case claims.TenantID != tenant.ID:
		return nil, invalidToken("Invalid token")
	}
	if err := s.refuseRevoked(ctx, known, now); err != nil {
		return nil, err
	}
	return known, nil
}

// IssuerOf returns the issuer that an access token claims to be of, or "" for
// what is no token. It proves nothing: it tells which tenant's keys to ask.
func IssuerOf(token string) string {
	t, err := parseToken(token)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(t.payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

const badSignature = "Invalid signature received for JSON Web Token validation"

// readAccessToken checks a token's form and signature. A foreign issuer is
// reported before the signature, which only its keys could verify.
func readAccessToken(set *keySet, issuers []string, token string) (*verifiedToken, error) {
	t, err := parseToken(token)
	if err != nil {
		return nil, invalidToken("Invalid token")
	}
	claims := &Claims{}
	if err := json.Unmarshal(t.payload, claims); err != nil {
		return nil, invalidToken("Invalid token")
	}
	if !slices.Contains(issuers, claims.Issuer) {
		return nil, unexpectedIssuer(claims.Issuer, issuers)
	}
	key := set.byKid[t.header.Kid]
	if key == nil || !t.signedBy(key) {
		return nil, invalidToken(badSignature)
	}
	if !isAccessToken(t.header.Typ, claims) {
		return nil, invalidToken("Invalid token")
	}
	return &verifiedToken{claims: claims, kid: key.kid}, nil
}

// isAccessToken tells an access token from the ID and logout tokens that the
// same keys sign (RFC 8725 section 3.11; contract C9.51): those have another
// type, or lack what every access token has.
func isAccessToken(typ string, c *Claims) bool {
	return (typ == string(typeJWT) || typ == string(typeAccessToken)) &&
		c.ID != "" && c.ClientID != "" && c.TenantID != "" && c.Subject != "" && len(c.Audience) > 0 && c.ExpiresAt > 0
}

func unexpectedIssuer(found string, issuers []string) error {
	expected := ""
	if len(issuers) > 0 {
		expected = issuers[0]
	}
	return invalidToken(`Unexpected issuer "` + truncate(found, 200) + `"; expected "` + expected + `"`)
}

// invalidToken is the refusal of a bearer token (RFC 6750 section 3.1; contract
// C2.69).
func invalidToken(message string) error {
	return &tenancy.Error{
		Status: http.StatusUnauthorized, Code: "invalid_token", Message: message,
		Header: map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`},
	}
}

// refuseRevoked refuses a token that was revoked, or whose family was. What is
// known of a token is read again after a second, and after any revocation here.
func (s *Server) refuseRevoked(ctx context.Context, t *verifiedToken, now time.Time) error {
	generation := s.verified.generation.Load()
	if t.unrevoked.recently(generation, now) {
		return nil
	}
	any, err := anyRevoked(ctx, found{now, generation})
	if err != nil {
		return err
	}
	if any {
		family := familyOf(t.claims.ID)
		if family == "" {
			family = t.claims.ID
		}
		revoked, err := exists(ctx, `SELECT 1 FROM revoked_tokens WHERE tenant_id = @tenant AND id IN (?, ?)`, t.claims.ID, family)
		if err != nil {
			return err
		}
		if revoked {
			return invalidToken("Invalid token")
		}
	}
	t.unrevoked = found{now, generation}
	return nil
}

// revocations is whether a tenant has revoked any token, as it was last found. It
// lives as long as the tenant's database is open.
type revocations struct {
	last atomic.Pointer[revocationsFound]
}

type revocationsFound struct {
	found
	any bool
}

// anyRevoked reports whether the entered tenant has revoked any token at all. Most
// have not, and then a token that was never seen before needs no look of its own.
func anyRevoked(ctx context.Context, now found) (bool, error) {
	r, err := tenancy.Cached(ctx, "oauth.revocations", "", func(context.Context) (*revocations, error) { return new(revocations), nil })
	if err != nil {
		return false, err
	}
	if last := r.last.Load(); last != nil && last.recently(now.number, now.at) {
		return last.any, nil
	}
	any, err := exists(ctx, `SELECT 1 FROM revoked_tokens WHERE tenant_id = @tenant LIMIT 1`)
	if err != nil {
		return false, err
	}
	r.last.Store(&revocationsFound{now, any})
	return any, nil
}
