package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
)

// errHint means that a text is no ID token of the entered tenant.
var errHint = errors.New("not an ID token of this tenant")

// verifyHint returns the claims of an id_token_hint: an authentic ID token of
// the entered tenant, which may have expired (OpenID Connect RP-Initiated Logout
// 1.0 section 2; contract C3.33). Errors are errHint and those of reading.
func (s *Server) verifyHint(ctx context.Context, token string) (*idClaims, error) {
	set, err := s.keys.set(ctx)
	if err != nil {
		return nil, err
	}
	t, err := parseToken(token)
	if err != nil {
		return nil, errHint
	}
	key := set.byKid[t.header.Kid]
	if key == nil || !t.signedBy(key) || t.header.Typ != string(typeJWT) {
		return nil, errHint
	}
	var claims struct {
		idClaims
		ClientID string `json:"client_id"` // access tokens have it, ID tokens never
	}
	if err := json.Unmarshal(t.payload, &claims); err != nil {
		return nil, errHint
	}
	if claims.ClientID != "" || len(claims.Audience) != 1 || claims.Subject == "" || !slices.Contains(s.activeIssuers(ctx), claims.Issuer) {
		return nil, errHint
	}
	return &claims.idClaims, nil
}
