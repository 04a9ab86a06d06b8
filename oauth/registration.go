package oauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// registration is a client's metadata (RFC 7591 section 2, OpenID Connect Dynamic
// Client Registration 1.0 section 2). Other members are ignored, as both have it.
type registration struct {
	RedirectURIs    []string `json:"redirect_uris,omitempty"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	GrantTypes      []string `json:"grant_types"`
	ResponseTypes   []string `json:"response_types"`
	Name            string   `json:"client_name,omitempty"`
	ApplicationType string   `json:"application_type"`
	LogoURI         string   `json:"logo_uri,omitempty"`
	InitiateLogin   string   `json:"initiate_login_uri,omitempty"`
	LoggedOutURIs   []string `json:"post_logout_redirect_uris,omitempty"`
	Backchannel     string   `json:"backchannel_logout_uri,omitempty"`
	IDTokenAlg      string   `json:"id_token_signed_response_alg"`
	Scope           string   `json:"scope,omitempty"`

	// With public subjects alone it says nothing but whose callbacks these are.
	SectorIdentifier string `json:"sector_identifier_uri,omitempty"`
	tenancy.RegisteredKeys
	tenancy.ClientInformation

	// What cannot be had here: asking for it is an error, not something to leave
	// out silently.
	Audience          json.RawMessage `json:"audience,omitempty"`
	SoftwareStatement json.RawMessage `json:"software_statement,omitempty"`
}

// registrationGrants are the grant types that a registered client may have
// (contract C4.63).
var registrationGrants = []string{grantAuthorizationCode, grantRefreshToken, grantDevice}

func errMetadata(format string, args ...any) *oauthError { // RFC 7591 section 3.2.2
	return refusal(http.StatusBadRequest, "invalid_client_metadata", format, args...)
}

func errRedirectURI(format string, args ...any) *oauthError {
	return refusal(http.StatusBadRequest, "invalid_redirect_uri", format, args...)
}

// complete fills in the defaults and refuses what a registered client cannot be
// (contract C4.63).
func (m *registration) complete() error {
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{grantAuthorizationCode}
	}
	byCode := slices.Contains(m.GrantTypes, grantAuthorizationCode)
	if len(m.ResponseTypes) == 0 && byCode {
		m.ResponseTypes = []string{responseCode}
	}
	m.AuthMethod, m.ApplicationType = or(m.AuthMethod, authBasic), or(m.ApplicationType, "web")
	m.IDTokenAlg = or(m.IDTokenAlg, "RS256")
	switch {
	case len(m.Audience) > 0 && string(m.Audience) != "null":
		return errMetadata("audience is not supported")
	case len(m.SoftwareStatement) > 0 && string(m.SoftwareStatement) != "null":
		return refusal(http.StatusBadRequest, "invalid_software_statement", "Software statements are not supported")
	case !slices.Contains([]string{authNone, authBasic, authPost, authPrivateKey}, m.AuthMethod):
		return errMetadata("token_endpoint_auth_method %s is not supported", truncate(m.AuthMethod, 60))
	case !slices.Contains([]string{"web", "native"}, m.ApplicationType):
		return errMetadata("application_type is web or native")
	case !slices.Contains([]string{"RS256", "ES256", "EdDSA"}, m.IDTokenAlg):
		return errMetadata("id_token_signed_response_alg %s is not supported", truncate(m.IDTokenAlg, 60))
	case len(m.ResponseTypes) > 1, len(m.ResponseTypes) == 1 && m.ResponseTypes[0] != responseCode:
		return errMetadata("Only the response type code can be registered")
	case byCode != (len(m.ResponseTypes) == 1): // RFC 7591 section 2.1
		return errMetadata("grant_types and response_types do not fit")
	case byCode && len(m.RedirectURIs) == 0:
		return errRedirectURI("redirect_uris is required")
	case len(m.Name) > 255 || strings.ContainsAny(m.Name, "<>"):
		return errMetadata("client_name is at most 255 characters, without < and >")
	case len(m.Contacts) > 10 || slices.ContainsFunc(m.Contacts, func(c string) bool { return len(c) > 255 }):
		return errMetadata("contacts are at most 10, of 255 characters each")
	case len(m.SoftwareID) > 255 || len(m.SoftwareVersion) > 255:
		return errMetadata("software_id and software_version are at most 255 characters")
	}
	for _, g := range m.GrantTypes {
		if !slices.Contains(registrationGrants, g) {
			return errMetadata("Grant type %s cannot be registered", truncate(g, 100))
		}
	}
	for s := range strings.FieldsSeq(m.Scope) { // the person decides about these, and there is no grant of others (C9.39)
		if !isOIDCScope(s) {
			return errMetadata("Scope %s cannot be registered", truncate(s, 100))
		}
	}
	if err := m.checkKeys(); err != nil {
		return err
	}
	return m.checkURIs()
}

// checkKeys holds that there are keys where they are needed, in one place, and
// that those which are sent are good for something.
func (m *registration) checkKeys() (err error) {
	if m.JWKS, err = compactJSON(m.JWKS); err != nil {
		return errMetadata("jwks is not well-formed").because(err)
	}
	switch {
	case m.Alg != "" && (m.AuthMethod != authPrivateKey || assertionMethods[m.Alg] == nil):
		return errMetadata("token_endpoint_auth_signing_alg %s is not supported", truncate(m.Alg, 60))
	case m.JWKS != nil && m.JWKSURI != "": // RFC 7591 section 2
		return errMetadata("jwks and jwks_uri cannot both be given")
	case m.AuthMethod == authPrivateKey && m.JWKS == nil && m.JWKSURI == "":
		return errMetadata("private_key_jwt needs jwks or jwks_uri")
	case len(m.JWKS) > longestJWKS:
		return errMetadata("jwks is longer than %d bytes", longestJWKS)
	case m.JWKS == nil:
		return nil
	}
	if _, err := parseKeySet(m.JWKS, m.Alg); err != nil {
		return errMetadata("jwks: %v", err)
	}
	return nil
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// checkURIs holds that callbacks are neither http nor wildcards (contract C4.63),
// scripts nor fragments (RFC 6749 section 3.1.2), and that what people and
// programs are sent to is HTTPS.
func (m *registration) checkURIs() error {
	if len(m.RedirectURIs) > 100 || len(m.LoggedOutURIs) > 100 {
		return errMetadata("A client has at most 100 URIs of a kind")
	}
	for _, uri := range m.RedirectURIs {
		u, err := url.Parse(uri)
		switch {
		case err != nil || !followable(uri) || strings.Contains(uri, "*"):
			return errRedirectURI("redirect_uris: %s is not allowed", truncate(uri, 200))
		case u.Scheme == "http", u.Scheme != "https" && m.ApplicationType != "native":
			return errRedirectURI("redirect_uris: %s is not https", truncate(uri, 200))
		}
	}
	uris := slices.Concat(m.LoggedOutURIs, []string{m.LogoURI, m.InitiateLogin, m.Backchannel, m.JWKSURI, m.SectorIdentifier, m.ClientURI, m.PolicyURI, m.TermsURI})
	for _, uri := range uris {
		if uri != "" && (!strings.HasPrefix(uri, "https://") || !followable(uri) || strings.Contains(uri, "*") || len(uri) > 2048) {
			return errMetadata("%s is no address beginning with https://", truncate(uri, 200))
		}
	}
	return nil
}

// into makes the client what its metadata says. What it has besides stays.
func (m *registration) into(c *tenancy.Client) {
	c.Name, c.LogoURI, c.InitiateLoginURI = or(m.Name, c.ID), m.LogoURI, m.InitiateLogin
	c.AppType = "regular_web"
	switch {
	case m.ApplicationType == "native":
		c.AppType = "native"
	case m.AuthMethod == authNone:
		c.AppType = "spa"
	}
	c.TokenEndpointAuthMethod, c.GrantTypes = m.AuthMethod, m.GrantTypes
	c.Callbacks, c.AllowedLogoutURLs = m.RedirectURIs, m.LoggedOutURIs
	c.JWT.Alg = m.IDTokenAlg
	c.RefreshToken = tenancy.DefaultRefreshToken(c.IsPublic())
	c.Logout = nil
	if m.Backchannel != "" {
		c.Logout = &tenancy.LogoutOptions{BackchannelURLs: []string{m.Backchannel}}
	}
	*c.Registration = tenancy.Registration{
		Scope: m.Scope, SectorIdentifier: m.SectorIdentifier, RegisteredKeys: m.RegisteredKeys, ClientInformation: m.ClientInformation,
	}
}

// metadataOf is the metadata of a registered client, as it is now: an
// administrator may have changed it.
func metadataOf(c *tenancy.Client) registration {
	m := registration{
		RedirectURIs: c.Callbacks, AuthMethod: c.TokenEndpointAuthMethod, GrantTypes: c.GrantTypes, ResponseTypes: []string{},
		Name: c.Name, ApplicationType: "web", LogoURI: c.LogoURI, InitiateLogin: c.InitiateLoginURI, LoggedOutURIs: c.AllowedLogoutURLs,
		IDTokenAlg: c.JWT.Alg, Scope: c.Registration.Scope, SectorIdentifier: c.Registration.SectorIdentifier,
		RegisteredKeys: c.Registration.RegisteredKeys, ClientInformation: c.Registration.ClientInformation,
	}
	if c.AppType == "native" {
		m.ApplicationType = "native"
	}
	if slices.Contains(c.GrantTypes, grantAuthorizationCode) {
		m.ResponseTypes = []string{responseCode}
	}
	if c.Logout != nil && len(c.Logout.BackchannelURLs) > 0 {
		m.Backchannel = c.Logout.BackchannelURLs[0]
	}
	return m
}
