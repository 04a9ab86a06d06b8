package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// Claims are the claims of an access token (contract C2.8; RFC 9068 section
// 2.2). All of them are reserved: nothing but the calculation of a grant sets
// them (contract C2.9).
type Claims struct {
	Issuer      string   `json:"iss"`
	Subject     string   `json:"sub"` // user_id, or <client_id>@clients
	Audience    Audience `json:"aud"`
	Azp         string   `json:"azp"`
	ClientID    string   `json:"client_id"`
	ID          string   `json:"jti"`
	IssuedAt    int64    `json:"iat"` // seconds since 1970, as exp and auth_time
	ExpiresAt   int64    `json:"exp"`
	Scope       string   `json:"scope,omitempty"`      // granted, separated by spaces
	Permissions []string `json:"permissions,omitzero"` // nil where the dialect lists none, else sorted
	OrgID       string   `json:"org_id,omitempty"`
	OrgName     string   `json:"org_name,omitempty"`
	TenantID    string   `json:"tenant_id"`
	SessionID   string   `json:"sid,omitempty"`
	AuthTime    int64    `json:"auth_time,omitempty"`
	GrantType   string   `json:"gty,omitempty"`
	Actor       *Actor   `json:"act,omitempty"`
}

// machine reports whether the token is a program's own, of client credentials.
func (c *Claims) machine() bool { return c.GrantType == gtyClientCredentials }

// gtyClientCredentials is the gty of a program's own token (contract C2.8).
const gtyClientCredentials = "client-credentials"

// Actor is the client that acts on a user's behalf (RFC 8693 section 4.1).
type Actor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
}

// Audience is the aud claim: a string for one, an array for several (RFC 7519
// section 4.1.3).
type Audience []string

// Has reports whether the audience is among those of the token.
func (a Audience) Has(audience string) bool { return slices.Contains(a, audience) }

// MarshalJSON implements json.Marshaler.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Audience) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		*a = make(Audience, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if list == nil {
		return errors.New("no audience")
	}
	*a = list
	return nil
}

// Interface guards
var (
	_ json.Marshaler   = Audience(nil)
	_ json.Unmarshaler = (*Audience)(nil)
)
