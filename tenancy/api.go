package tenancy

import (
	"context"
	"encoding/json"
	"slices"
)

// ResourceServer is an API that tokens are issued for. Its identifier is the
// audience.
type ResourceServer struct {
	Row
	Name                string   `json:"name"`
	Identifier          string   `json:"identifier"`
	Scopes              []Scope  `json:"scopes" gorm:"serializer:jsontext"`
	SigningAlg          string   `json:"signing_alg"`
	TokenLifetime       int      `json:"token_lifetime"`         // seconds
	TokenLifetimeForWeb int      `json:"token_lifetime_for_web"` // seconds, from the front channel
	AllowOfflineAccess  bool     `json:"allow_offline_access"`
	SkipConsent         bool     `json:"skip_consent_for_verifiable_first_party_clients"`
	EnforcePolicies     bool     `json:"enforce_policies"` // role-based access control
	TokenDialect        string   `json:"token_dialect"`
	IntrospectionClient []string `json:"introspection_clients" gorm:"serializer:jsontext;column:introspection_clients"`

	// IsSystem marks the management API and copies from the control plane;
	// Origin is the id of the control plane's row that a copy came from.
	IsSystem bool                       `json:"is_system"`
	Origin   string                     `json:"-"`
	Metadata map[string]any             `json:"metadata" gorm:"serializer:jsontext"`
	Other    map[string]json.RawMessage `json:"-" gorm:"serializer:jsontext"`
}

// Scope is a permission that a resource server defines.
type Scope struct {
	Value       string `json:"value"`
	Description string `json:"description,omitempty"`
}

// Defines reports whether the resource server has the scope.
func (r *ResourceServer) Defines(scope string) bool {
	return slices.ContainsFunc(r.Scopes, func(s Scope) bool { return s.Value == scope })
}

// Dialects of access tokens. Those with "authz" list permissions.
const (
	DialectAccessToken  = "access_token"
	DialectAccessAuthz  = "access_token_authz"
	DialectRFC9068      = "rfc9068_profile"
	DialectRFC9068Authz = "rfc9068_profile_authz"
)

// ResourceServers is the table of resource servers, unique by identifier.
var ResourceServers = newTable[ResourceServer]("resource_servers", configuration(), logged(KindResourceServer, sameID))

// CachedResourceServer returns the resource server with exactly this
// identifier, from memory when it can. Spellings of the management API are
// resolved by [Audience] before.
func CachedResourceServer(ctx context.Context, identifier string) (*ResourceServer, error) {
	return Cached(ctx, "resource_server", identifier, func(ctx context.Context) (*ResourceServer, error) {
		return ResourceServers.First(ctx, "identifier = ?", identifier)
	})
}
