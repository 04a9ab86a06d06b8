package tenancy

import (
	"context"
	"encoding/json"
)

// Client is an application that asks for tokens (RFC 6749 section 2). Its Row.ID
// is the client_id.
type Client struct {
	Row
	Name         string `json:"name"`
	Description  string `json:"description"`
	AppType      string `json:"app_type"` // native, spa, regular_web, non_interactive, resource_server
	LogoURI      string `json:"logo_uri"`
	IsFirstParty bool   `json:"is_first_party"`
	IsSystem     bool   `json:"is_system"`

	// SecretHash is the keyed hash a presented secret is compared with; empty
	// for a public client. Secret is the same secret, sealed, because callers
	// holding read:client_keys may see it (contract C5.10).
	SecretHash         string `json:"-"`
	Secret             string `json:"-" gorm:"serializer:sealed"`
	PreviousSecretHash string `json:"-"` // still accepted during a rotation overlap
	PreviousSecret     string `json:"-" gorm:"serializer:sealed"`
	PreviousUntil      Time   `json:"-"`

	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method"`
	GrantTypes              []string `json:"grant_types" gorm:"serializer:jsontext"`
	Callbacks               []string `json:"callbacks" gorm:"serializer:jsontext"`
	AllowedOrigins          []string `json:"allowed_origins" gorm:"serializer:jsontext"`
	WebOrigins              []string `json:"web_origins" gorm:"serializer:jsontext"`
	AllowedLogoutURLs       []string `json:"allowed_logout_urls" gorm:"serializer:jsontext"`
	InitiateLoginURI        string   `json:"initiate_login_uri"`

	JWT          JWTConfiguration    `json:"jwt_configuration" gorm:"serializer:jsontext"`
	RefreshToken RefreshTokenOptions `json:"refresh_token" gorm:"serializer:jsontext"`

	// OrganizationUsage is deny, allow or require; empty means the default of
	// contract C2.41: allow on the control plane, deny elsewhere.
	OrganizationUsage           string               `json:"organization_usage"`
	OrganizationRequireBehavior string               `json:"organization_require_behavior"`
	DefaultOrganization         *DefaultOrganization `json:"default_organization" gorm:"serializer:jsontext"`

	Logout                     *LogoutOptions    `json:"oidc_logout" gorm:"serializer:jsontext;column:oidc_logout"`
	SSODisabled                bool              `json:"sso_disabled"`
	RequirePushedAuthorization bool              `json:"require_pushed_authorization_requests"`
	RevokeRefreshOnLogout      bool              `json:"revoke_refresh_token_on_logout"`
	ClientMetadata             map[string]string `json:"client_metadata" gorm:"serializer:jsontext"`

	// A client that registered itself: the hash of the token it changes itself by,
	// and what it said of itself that has no other place. Nil and empty otherwise.
	RegistrationHash string        `json:"-"`
	Registration     *Registration `json:"-" gorm:"serializer:jsontext"`

	// Other holds members of the API that are stored and returned and have no
	// effect of their own here.
	Other map[string]json.RawMessage `json:"-" gorm:"serializer:jsontext"`
}

// Registration is what a client that registered itself said of itself and what is
// only told again (RFC 7591 section 2).
type Registration struct {
	Scope            string `json:"scope,omitempty"`
	SectorIdentifier string `json:"sector_identifier_uri,omitempty"`
	RegisteredKeys
	ClientInformation
}

// RegisteredKeys is where the keys are that a client which registered itself signs
// its assertions with: in JWKS or at the address JWKSURI, never both. They count
// beside its [ClientCredentials].
type RegisteredKeys struct {
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`
	Alg     string          `json:"token_endpoint_auth_signing_alg,omitempty"` // the only one that counts; empty for any
}

// ClientInformation is for people who look at a client.
type ClientInformation struct {
	Contacts        []string `json:"contacts,omitempty"`
	ClientURI       string   `json:"client_uri,omitempty"`
	PolicyURI       string   `json:"policy_uri,omitempty"`
	TermsURI        string   `json:"tos_uri,omitempty"`
	SoftwareID      string   `json:"software_id,omitempty"`
	SoftwareVersion string   `json:"software_version,omitempty"`
}

// JWTConfiguration sets a client's ID tokens.
type JWTConfiguration struct {
	LifetimeInSeconds int    `json:"lifetime_in_seconds"` // default 36000
	Alg               string `json:"alg"`                 // default RS256
}

// RefreshTokenOptions sets the life of a client's refresh tokens. Lifetimes are
// in seconds.
type RefreshTokenOptions struct {
	RotationType              string            `json:"rotation_type"`       // rotating or non-rotating
	ExpirationType            string            `json:"expiration_type"`     // expiring or non-expiring
	Leeway                    int               `json:"leeway"`              // how long a rotated token may be used again; default 0, at most 600
	TokenLifetime             int               `json:"token_lifetime"`      // absolute; default 2592000
	IdleTokenLifetime         int               `json:"idle_token_lifetime"` // default 1296000
	InfiniteTokenLifetime     bool              `json:"infinite_token_lifetime"`
	InfiniteIdleTokenLifetime bool              `json:"infinite_idle_token_lifetime"`
	Policies                  []json.RawMessage `json:"policies,omitempty"`
}

// DefaultOrganization is the organization of a client that names none.
type DefaultOrganization struct {
	OrganizationID string   `json:"organization_id"`
	Flows          []string `json:"flows"`
}

// Clients is the table of clients.
var Clients = newTable[Client]("clients", configuration())

// IsPublic reports whether the client has nothing to authenticate with
// (RFC 6749 section 2.1).
func (c *Client) IsPublic() bool { return c.TokenEndpointAuthMethod == "none" }

// CachedClient returns the client with the id, from memory when it can. The
// result must not be changed.
func CachedClient(ctx context.Context, id string) (*Client, error) {
	return Cached(ctx, "client", id, func(ctx context.Context) (*Client, error) { return Clients.Get(ctx, id) })
}

// ClientGrant lets a client ask for tokens of a resource server by itself
// (client credentials), with at most these scopes.
type ClientGrant struct {
	Row
	ClientID             string   `json:"client_id"`
	Audience             string   `json:"audience"`
	Scope                []string `json:"scope" gorm:"serializer:jsontext"`
	OrganizationUsage    string   `json:"organization_usage"` // deny (default), allow or require
	AllowAnyOrganization bool     `json:"allow_any_organization"`
	SubjectType          string   `json:"subject_type"`
	AuthorizationDetails []string `json:"authorization_details_types" gorm:"serializer:jsontext;column:authorization_details_types"`
	IsSystem             bool     `json:"is_system"`
}

// ClientGrants is the table of client grants, unique by client and audience.
var ClientGrants = newTable[ClientGrant]("client_grants", configuration())

// GrantOrganization associates a client grant with an organization it may be
// used for. Its id joins the two.
type GrantOrganization struct {
	Row
	GrantID        string
	OrganizationID string
}

// GrantOrganizations is the table of these associations.
var GrantOrganizations = newTable[GrantOrganization]("client_grant_organizations", configuration())
