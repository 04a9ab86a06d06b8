package oauth

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// authPrivateKey is how a client proves itself with an assertion that it signs
// (RFC 7523 section 2.2, OpenID Connect Core section 9).
const authPrivateKey = "private_key_jwt"

// assertionType is the only client_assertion_type there is (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionMethods are the algorithms clients may sign assertions with (contract
// C4.55). Neither "none" nor any with a shared secret is among them.
var assertionMethods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "PS256": jwt.SigningMethodPS256, "ES256": jwt.SigningMethodES256,
}

// assertionAlgs are their names, sorted.
func assertionAlgs() []string { return slices.Sorted(maps.Keys(assertionMethods)) }

// Limits of assertions (contract C4.32).
const (
	longestAssertion  = 1 << 14         // bytes
	longestJTI        = 1 << 9          // bytes
	assertionLifetime = 5 * time.Minute // how far away exp may be
	assertionLeeway   = time.Minute     // how far the client's clock may be ahead, for iat and nbf
)

// assertionClaims are the claims of a client's assertion (RFC 7523 section 3).
type assertionClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"`
	ID        string   `json:"jti"`
	ExpiresAt *float64 `json:"exp"` // seconds since 1970 (RFC 7519 section 2, NumericDate)
	IssuedAt  *float64 `json:"iat"`
	NotBefore *float64 `json:"nbf"`
}

// assertedClient is whom an assertion claims to be from; "" where it is none.
// Nothing of it is believed yet: it says whose keys to ask.
func assertedClient(assertion string) string {
	_, claims, err := parseAssertion(assertion)
	if err != nil || !isText(claims.Subject) {
		return ""
	}
	return claims.Subject
}

func parseAssertion(assertion string) (*parsedToken, *assertionClaims, error) {
	if len(assertion) > longestAssertion {
		return nil, nil, errMalformed
	}
	t, err := parseToken(assertion)
	if err != nil {
		return nil, nil, err
	}
	claims := &assertionClaims{}
	if err := json.Unmarshal(t.payload, claims); err != nil {
		return nil, nil, errMalformed
	}
	return t, claims, nil
}

// checkAssertion decides whether an assertion is the client's, and uses it up:
// the second of two that are the same is refused, however close they are, because
// its note breaks a uniqueness of the database.
func checkAssertion(ctx context.Context, s *Server, client *tenancy.Client, c *credentials) (bool, error) {
	if c.Assertion == "" {
		return false, nil
	}
	t, claims, err := parseAssertion(c.Assertion)
	if err != nil {
		return false, nil //nolint:nilerr // a malformed assertion is refused like any other
	}
	now := s.now()
	if !claims.goodFor(client.ID, audiencesOf(ctx, c), now) {
		return false, nil
	}
	if signed, err := s.signedByClient(ctx, client, t, tenancy.At(now)); err != nil || !signed {
		return false, err
	}
	return s.useAssertion(ctx, client.ID, claims, now)
}

// signedByClient reports whether a key of the client signed the assertion: one
// that this server has, or one of those that the client publishes, which are read
// again where the one that is needed is not among those known.
func (s *Server) signedByClient(ctx context.Context, client *tenancy.Client, t *parsedToken, now tenancy.Time) (bool, error) {
	signed := func(k clientKey) bool { return k.signed(t, now) }
	keys, err := tenancy.Cached(ctx, "oauth.client_keys", client.ID, func(ctx context.Context) ([]clientKey, error) {
		return loadClientKeys(ctx, client)
	})
	if err != nil || slices.ContainsFunc(keys, signed) {
		return err == nil, err
	}
	if client.Registration == nil || client.Registration.JWKSURI == "" {
		return false, nil
	}
	for _, missing := range []bool{false, true} {
		keys, err := s.web.keysOf(ctx, client.Registration.JWKSURI, client.Registration.Alg, missing)
		if err != nil || slices.ContainsFunc(keys, signed) {
			return err == nil, err
		}
	}
	return false, nil
}

// audiencesOf are what an assertion may name as this server: its issuer and its
// token endpoint (RFC 7523 section 3), and where pushed requests are received also
// that endpoint (RFC 9126 section 2).
func audiencesOf(ctx context.Context, c *credentials) []string {
	issuer := tenancy.VisitOf(ctx).Issuer
	list := []string{issuer, issuer + "oauth/token"}
	if c.Endpoint != "" {
		list = append(list, issuer+c.Endpoint)
	}
	return list
}

// goodFor reports whether the claims are those of an assertion by the client, for
// this server alone, now (RFC 7523 section 3). A further audience is refused: to
// whom else the assertion is good could use it here.
func (a *assertionClaims) goodFor(clientID string, audiences []string, now time.Time) bool {
	seconds := float64(now.UnixMicro()) / 1e6
	ahead := seconds + assertionLeeway.Seconds()
	return clientID != "" && a.Issuer == clientID && a.Subject == clientID &&
		len(a.Audience) > 0 && !slices.ContainsFunc(a.Audience, func(aud string) bool { return !slices.Contains(audiences, aud) }) &&
		a.ID != "" && len(a.ID) <= longestJTI && isText(a.ID) &&
		a.ExpiresAt != nil && seconds < *a.ExpiresAt && *a.ExpiresAt <= seconds+assertionLifetime.Seconds() &&
		(a.IssuedAt == nil || *a.IssuedAt <= ahead) && (a.NotBefore == nil || *a.NotBefore <= ahead)
}

// useAssertion notes that the assertion was used, and reports false where it was
// before. Notes of assertions that have expired go with the same write.
func (s *Server) useAssertion(ctx context.Context, clientID string, claims *assertionClaims, now time.Time) (bool, error) {
	at := tenancy.At(now)
	err := tenancy.Commit(ctx,
		tenancy.ClientAssertions.RemoveWhere(ctx, "expires_at < ?", at.Add(-assertionLeeway)),
		tenancy.ClientAssertions.Insert(ctx, &tenancy.ClientAssertion{
			Row:       tenancy.Row{ID: tenancy.HashToken(tenancy.Join(clientID, claims.ID))},
			ExpiresAt: at.Add(assertionLifetime),
		}))
	if errors.Is(err, tenancy.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// clientKey is a client's key, ready for use.
type clientKey struct {
	kid     string
	key     *signingKey // public side only
	expires tenancy.Time
}

// signed reports whether an assertion is by the key, with the algorithm that the
// key is registered for. A kid in its header has to name the key.
func (k clientKey) signed(t *parsedToken, now tenancy.Time) bool {
	return (t.header.Kid == "" || t.header.Kid == k.kid) && (k.expires == 0 || now < k.expires) && t.signedBy(k.key)
}

func loadClientKeys(ctx context.Context, client *tenancy.Client) ([]clientKey, error) {
	rows, err := tenancy.CachedClientCredentials(ctx, client.ID)
	if err != nil {
		return nil, err
	}
	keys := make([]clientKey, 0, len(rows))
	for _, row := range rows {
		method, ok := assertionMethods[row.Alg]
		if !ok {
			return nil, fmt.Errorf("client credential %s: unknown algorithm %q", row.ID, row.Alg)
		}
		public, err := x509.ParsePKIXPublicKey(row.Public)
		if err != nil {
			return nil, fmt.Errorf("client credential %s: %w", row.ID, err)
		}
		keys = append(keys, clientKey{row.KeyID, &signingKey{alg: row.Alg, method: method, public: public}, row.ExpiresAt})
	}
	if m := client.Registration; m != nil && m.JWKS != nil {
		registered, err := parseKeySet(m.JWKS, m.Alg)
		if err != nil {
			return nil, fmt.Errorf("the keys that client %s registered: %w", client.ID, err)
		}
		keys = append(keys, registered...)
	}
	return keys, nil
}
