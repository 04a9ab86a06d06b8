package oauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// idClaims are the claims of an ID token (OpenID Connect Core 2; contract
// C2.13). Values that are missing are left out (contract C2.14).
type idClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"` // the client
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
	SessionID string   `json:"sid,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	Nonce     string   `json:"nonce,omitempty"`
	Azp       string   `json:"azp,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	ATHash    string   `json:"at_hash,omitempty"`
	CHash     string   `json:"c_hash,omitempty"`
	OrgID     string   `json:"org_id,omitempty"`
	OrgName   string   `json:"org_name,omitempty"`
	profile
}

// profile is what scopes tell of a person, in ID tokens and at /userinfo alike
// (OpenID Connect Core 5.1, 5.4).
type profile struct {
	Name                string `json:"name,omitempty"`
	GivenName           string `json:"given_name,omitempty"`
	FamilyName          string `json:"family_name,omitempty"`
	Nickname            string `json:"nickname,omitempty"`
	PreferredUsername   string `json:"preferred_username,omitempty"`
	Picture             string `json:"picture,omitempty"`
	UpdatedAt           int64  `json:"updated_at,omitempty"` // seconds since 1970
	Email               string `json:"email,omitempty"`
	EmailVerified       *bool  `json:"email_verified,omitempty"` // nil without an address
	PhoneNumber         string `json:"phone_number,omitempty"`
	PhoneNumberVerified *bool  `json:"phone_number_verified,omitempty"`
}

// profileOf is what the granted scopes tell of the user.
func profileOf(u *tenancy.User, scopes []string) profile {
	var p profile
	if slices.Contains(scopes, scopeProfile) {
		p.Name, p.GivenName, p.FamilyName, p.Nickname = u.Name, u.GivenName, u.FamilyName, u.Nickname
		p.PreferredUsername, p.Picture, p.UpdatedAt = u.Username, u.Picture, u.UpdatedAt.Unix()
	}
	if slices.Contains(scopes, scopeEmail) && u.Email != "" {
		p.Email, p.EmailVerified = u.Email, &u.EmailVerified
	}
	if slices.Contains(scopes, scopePhone) && u.PhoneNumber != "" {
		p.PhoneNumber, p.PhoneNumberVerified = u.PhoneNumber, &u.PhoneVerified
	}
	return p
}

// userName is how events call a user.
func userName(u *tenancy.User) string { return cmp.Or(u.Email, u.Username, u.Name, u.ID) }

// idInput is what an ID token is made of. Client, User and Allowance are
// required.
type idInput struct {
	Client    *tenancy.Client
	User      *tenancy.User
	Allowance *Allowance
	SessionID string
	AuthTime  tenancy.Time
	Methods   []string // amr (RFC 8176)
	ACR       string
	Nonce     string   // "" on refresh (contract C2.13)
	Claims    []string // asked for by the claims parameter (contract C4.26)

	AccessToken string // issued beside it: at_hash; "" without
	Code        string // issued beside it: c_hash; "" without
}

// defaultIDTokenLifetime is in seconds (contract C2.15).
const defaultIDTokenLifetime = 36000

// idToken mints an ID token (contract C2.12 to C2.14).
func (s *Server) idToken(ctx context.Context, in idInput) (string, error) {
	now := s.now().Unix()
	claims := &idClaims{
		Issuer: tenancy.VisitOf(ctx).Issuer, Subject: in.User.ID, Audience: Audience{in.Client.ID}, Azp: in.Client.ID,
		IssuedAt: now, ExpiresAt: now + int64(cmp.Or(in.Client.JWT.LifetimeInSeconds, defaultIDTokenLifetime)),
		SessionID: in.SessionID, AuthTime: in.AuthTime.Unix(), Nonce: in.Nonce, ACR: in.ACR, AMR: in.Methods,
		profile: profileOf(in.User, in.Allowance.Scopes),
	}
	claims.add(in.User, in.Claims)
	if org := in.Allowance.Organization; org != nil {
		claims.OrgID, claims.OrgName = org.ID, org.Name
	}
	key, err := s.idTokenKey(ctx, in.Client)
	if err != nil {
		return "", err
	}
	claims.ATHash, claims.CHash = halfHash(key.alg, in.AccessToken), halfHash(key.alg, in.Code)
	return key.sign(typeJWT, claims)
}

// idTokenKey is the key of the client's ID tokens: RS256, which every relying
// party knows, unless the client asks for another that the tenant has (contract
// C2.12).
func (s *Server) idTokenKey(ctx context.Context, c *tenancy.Client) (*signingKey, error) {
	alg := cmp.Or(c.JWT.Alg, "RS256")
	ok, err := s.keys.signs(ctx, alg)
	if err != nil {
		return nil, err
	}
	if !ok {
		alg = "RS256"
	}
	return s.keys.key(ctx, alg)
}

// halfHash is the left half of the hash of a token issued beside an ID token
// (OpenID Connect Core 3.1.3.6, 3.3.2.11): with the hash of the ID token's alg,
// which for Ed25519 is SHA-512.
func halfHash(alg, token string) string {
	if token == "" {
		return ""
	}
	if alg == "EdDSA" {
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// methodNames are the amr values of a session's logins (RFC 8176).
func methodNames(methods []tenancy.AuthMethod) []string {
	var names []string
	for _, m := range methods {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}
