package oauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// tokenHeader is the header of a JWT (RFC 7515 section 4.1). The last five are
// never written, and a token that has one is refused: a verifier must not take
// keys, or rules, from the token it verifies.
type tokenHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`

	Jku  json.RawMessage `json:"jku,omitempty"`
	Jwk  json.RawMessage `json:"jwk,omitempty"`
	X5u  json.RawMessage `json:"x5u,omitempty"`
	X5c  json.RawMessage `json:"x5c,omitempty"`
	Crit json.RawMessage `json:"crit,omitempty"`
}

// buffers holds what tokens are put together in.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// sign makes a JWT of the claims, a pointer to a struct.
func (k *signingKey) sign(typ tokenType, claims any) (string, error) {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	payload, err := encodeClaims(b, claims)
	if err != nil {
		return "", err
	}
	header := k.headers[typ]
	signed := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(payload))+1+400)
	signed = append(signed, header...)
	signed = base64.RawURLEncoding.AppendEncode(signed, payload)
	signature, err := k.method.Sign(string(signed), k.private)
	if err != nil {
		return "", err
	}
	signed = append(signed, '.')
	return string(base64.RawURLEncoding.AppendEncode(signed, signature)), nil
}

// encodeClaims writes claims into the buffer and returns them as they are signed.
func encodeClaims(b *bytes.Buffer, claims any) ([]byte, error) {
	if c, ok := claims.(*Claims); ok {
		_, _ = b.Write(c.appendJSON(b.AvailableBuffer())) // a buffer never fails
		return b.Bytes(), nil
	}
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(claims); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// accessInput is what an access token is made of. Allowance and Client are
// required.
type accessInput struct {
	Client    *tenancy.Client
	User      *tenancy.User // nil for a program's own token
	Allowance *Allowance
	Family    string       // the authorization it descends from; "" for none
	SessionID string       // "" when not issued from a session
	AuthTime  tenancy.Time // when the person logged in; 0 for none
	GrantType string       // gty; "" where it is left out
	Front     bool         // handed out by the authorization endpoint: a shorter life
	Actor     *Actor       // who acts for the user; nil for nobody
	Until     int64        // when it expires at the latest, in seconds since 1970; 0 for no limit
}

// fromSubject makes the token one that was exchanged for another (RFC 8693 section
// 4.1; contract C4.43): the client acts for the user, no longer than that one
// lives (C2.15), and only as long as its family and session do.
func (in *accessInput) fromSubject(subject *Claims) {
	in.GrantType, in.Until = gtyTokenExchange, subject.ExpiresAt
	in.Actor = &Actor{Subject: in.Client.ID + "@clients", ClientID: in.Client.ID}
	in.Family, in.SessionID, in.AuthTime = familyOf(subject.ID), subject.SessionID, tenancy.Time(subject.AuthTime*1e6)
}

// accessToken mints an access token (contract C2.7, C2.8) and returns it with
// its life in seconds.
func (s *Server) accessToken(ctx context.Context, in accessInput) (token string, expiresIn int64, err error) {
	tenant, err := tenancy.Current(ctx)
	if err != nil {
		return "", 0, err
	}
	a, now := in.Allowance, s.now().Unix()
	expiresIn = int64(a.lifetime(in.Front) / time.Second)
	if in.Until != 0 {
		expiresIn = min(expiresIn, in.Until-now)
	}
	claims := &Claims{
		Issuer: tenancy.VisitOf(ctx).Issuer, Azp: in.Client.ID, ClientID: in.Client.ID, ID: newTokenID(in.Family),
		IssuedAt: now, ExpiresAt: now + expiresIn, Scope: strings.Join(a.Scopes, " "), Permissions: a.Permissions,
		TenantID: tenant.ID, SessionID: in.SessionID, AuthTime: in.AuthTime.Unix(), GrantType: in.GrantType, Actor: in.Actor,
	}
	claims.Audience = audienceClaim(claims.Issuer, a, in.User != nil)
	claims.Subject = in.Client.ID + "@clients"
	if in.User != nil {
		claims.Subject = in.User.ID
	}
	if a.Organization != nil {
		claims.OrgID, claims.OrgName = a.Organization.ID, a.Organization.Name
	}
	alg, typ := "RS256", typeJWT
	if rs := a.ResourceServer; rs != nil {
		alg = cmp.Or(rs.SigningAlg, alg)
		if rs.TokenDialect == tenancy.DialectRFC9068 || rs.TokenDialect == tenancy.DialectRFC9068Authz {
			typ = typeAccessToken
		}
	}
	key, err := s.keys.key(ctx, alg)
	if err != nil {
		return "", 0, err
	}
	token, err = key.sign(typ, claims)
	return token, expiresIn, err
}

// audienceClaim is the aud of contract C2.8.
func audienceClaim(issuer string, a *Allowance, user bool) Audience {
	switch {
	case a.Audience == "":
		return Audience{issuer + "userinfo"}
	case user && a.Has(scopeOpenID):
		return Audience{a.Audience, issuer + "userinfo"}
	}
	return Audience{a.Audience}
}

// Tokens of one family have ids that begin with the family's, so that one row
// among the revoked ones ends them all.
const (
	idLength        = 22 // characters of [A-Za-z0-9]: 131 bits
	familySeparator = "."
)

func newFamily() string { return tenancy.NewID("", idLength) }

// newTokenID makes a jti.
func newTokenID(family string) string {
	if family == "" {
		return tenancy.NewID("", idLength)
	}
	return tenancy.NewID(family+familySeparator, idLength)
}

// familyOf is the family of a jti, or "".
func familyOf(jti string) string {
	family, _, found := strings.Cut(jti, familySeparator)
	if !found {
		return ""
	}
	return family
}
