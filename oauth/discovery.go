package oauth

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// metadata is what a tenant's endpoints can do (RFC 8414, OpenID Connect
// Discovery 1.0 section 3; contract C4.55). Endpoints without a route, and
// features that are off, are left out (contract C4.56).
type metadata struct {
	Issuer               string `json:"issuer"`
	Authorization        string `json:"authorization_endpoint,omitempty"`
	Token                string `json:"token_endpoint,omitempty"`
	DeviceAuthorization  string `json:"device_authorization_endpoint,omitempty"`
	UserInfo             string `json:"userinfo_endpoint,omitempty"`
	JWKS                 string `json:"jwks_uri,omitempty"`
	Revocation           string `json:"revocation_endpoint,omitempty"`
	Introspection        string `json:"introspection_endpoint,omitempty"`
	PushedAuthorization  string `json:"pushed_authorization_request_endpoint,omitempty"`
	EndSession           string `json:"end_session_endpoint,omitempty"`
	Registration         string `json:"registration_endpoint,omitempty"`
	RequirePushed        *bool  `json:"require_pushed_authorization_requests,omitempty"`
	ClaimsParameter      bool   `json:"claims_parameter_supported"`
	RequestParameter     bool   `json:"request_parameter_supported"`
	RequestURIParameter  bool   `json:"request_uri_parameter_supported"`
	IssParameter         bool   `json:"authorization_response_iss_parameter_supported"`
	BackchannelLogout    bool   `json:"backchannel_logout_supported,omitempty"`
	BackchannelSessionID bool   `json:"backchannel_logout_session_supported,omitempty"`

	Scopes            []string `json:"scopes_supported"`
	ResponseTypes     []string `json:"response_types_supported"`
	ResponseModes     []string `json:"response_modes_supported"`
	GrantTypes        []string `json:"grant_types_supported"`
	ChallengeMethods  []string `json:"code_challenge_methods_supported"`
	SubjectTypes      []string `json:"subject_types_supported"`
	IDTokenAlgs       []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth         []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuth    []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuth []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	TokenAlgs         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionAlgs []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	Claims            []string `json:"claims_supported"`
	ACRValues         []string `json:"acr_values_supported,omitempty"`
	UILocales         []string `json:"ui_locales_supported,omitempty"`
}

// discovery answers with the metadata of the visited host, under both names that
// clients ask for it.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) error {
	d, err := tenancy.Cached(r.Context(), "oauth.discovery", tenancy.VisitOf(r.Context()).Issuer, s.discoveryDocument)
	if err != nil {
		return err
	}
	writeDocument(w, r, d)
	return nil
}

func (s *Server) discoveryDocument(ctx context.Context) (document, error) {
	set, err := s.keys.set(ctx)
	if err != nil {
		return document{}, err
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return document{}, err
	}
	issuer := tenancy.VisitOf(ctx).Issuer
	endpoint := func(path string) string {
		if !s.Handles(path) {
			return ""
		}
		return issuer + path[1:]
	}
	m := metadata{
		Issuer:              issuer,
		Authorization:       endpoint("/authorize"),
		Token:               endpoint("/oauth/token"),
		DeviceAuthorization: endpoint("/oauth/device/code"),
		UserInfo:            endpoint("/userinfo"),
		JWKS:                endpoint("/.well-known/jwks.json"),
		Revocation:          endpoint("/oauth/revoke"),
		Introspection:       endpoint("/oauth/introspect"),
		BackchannelLogout:   true, BackchannelSessionID: true,

		ClaimsParameter:  true,
		IssParameter:     true,
		Scopes:           scopesSupported,
		ResponseTypes:    responseTypesSupported,
		ResponseModes:    []string{modeQuery, modeFragment, modeFormPost, modeWebMessage},
		GrantTypes:       slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(s.provider.byGrant)), grantImplicit))),
		ChallengeMethods: []string{"S256"},
		SubjectTypes:     []string{"public"},
		IDTokenAlgs:      slices.Sorted(maps.Keys(set.current)),
		TokenAuth:        slices.Sorted(maps.Keys(authMethods)),
		TokenAlgs:        assertionAlgs(),
		Claims:           claimsSupported,
		ACRValues:        settings.Strings("acr_values_supported"),
		UILocales:        settings.Strings("enabled_locales"),
	}
	if m.Revocation != "" {
		m.RevocationAuth, m.RevocationAlgs = m.TokenAuth, m.TokenAlgs
	}
	if m.Introspection != "" {
		m.IntrospectionAuth, m.IntrospectionAlgs = confidentialMethods(), m.TokenAlgs
	}
	if settings.Switched("oidc_logout", "rp_logout_end_session_endpoint_discovery", true) { // contract C5.35
		m.EndSession = endpoint("/oidc/logout")
	}
	if settings.Bool("flags.enable_dynamic_client_registration") {
		m.Registration = endpoint(pathRegister)
	}
	if settings.Bool("pushed_authorization_requests_supported") {
		m.PushedAuthorization = endpoint(pathPush)
		required := settings.Bool("require_pushed_authorization_requests")
		m.RequirePushed = &required
	}
	body, err := json.Marshal(m)
	return newDocument(body), err
}

// confidentialMethods are the ways to authenticate by which a client proves
// something.
func confidentialMethods() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(authMethods)), func(m string) bool { return m == authNone })
}

var (
	scopesSupported = []string{
		"openid", "profile", "offline_access", "name", "given_name", "family_name", "nickname",
		"email", "email_verified", "picture", "created_at", "identities", "phone", "address",
	}

	responseTypesSupported = []string{"code", "token", "id_token", "id_token token", "code id_token", "code token", "code id_token token"}

	claimsSupported = []string{
		"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "sid", "at_hash", "c_hash",
		"name", "given_name", "family_name", "nickname", "preferred_username", "picture", "updated_at",
		"email", "email_verified", "phone_number", "phone_number_verified", "org_id", "org_name",
	}
)
