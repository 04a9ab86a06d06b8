package oauth

import (
	"slices"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestDiscovery(t *testing.T) { // C4.55, C4.56, SC-001
	t.Parallel()
	f := newFixture(t)
	answer := f.send("acme", newGet("/.well-known/openid-configuration")).ok()
	issuer := issuerOf("acme")
	for name, want := range map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "authorize", "token_endpoint": issuer + "oauth/token",
		"userinfo_endpoint": issuer + "userinfo", "jwks_uri": issuer + ".well-known/jwks.json", "revocation_endpoint": issuer + "oauth/revoke",
		"end_session_endpoint": issuer + "oidc/logout", "request_uri_parameter_supported": false, "request_parameter_supported": false,
		"authorization_response_iss_parameter_supported": true, "claims_parameter_supported": true,
		"device_authorization_endpoint": issuer + "oauth/device/code", "introspection_endpoint": issuer + "oauth/introspect", "pushed_authorization_request_endpoint": issuer + "oauth/par",
		"registration_endpoint": nil, "require_pushed_authorization_requests": false,
	} {
		if answer.json[name] != want {
			t.Errorf("%s: got %v, want %v", name, answer.json[name], want)
		}
	}
	for name, want := range map[string][]string{
		"grant_types_supported":                                    {"authorization_code", "client_credentials", grantPasswordRealm, "implicit", "password", "refresh_token", grantDevice, grantTokenExchange},
		"code_challenge_methods_supported":                         {"S256"},
		"subject_types_supported":                                  {"public"},
		"id_token_signing_alg_values_supported":                    {"ES256", "EdDSA", "RS256"},
		"token_endpoint_auth_methods_supported":                    {"client_secret_basic", "client_secret_post", "none", "private_key_jwt"},
		"introspection_endpoint_auth_methods_supported":            {"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"revocation_endpoint_auth_methods_supported":               {"client_secret_basic", "client_secret_post", "none", "private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported":         {"ES256", "PS256", "RS256", "RS384"},
		"revocation_endpoint_auth_signing_alg_values_supported":    {"ES256", "PS256", "RS256", "RS384"},
		"introspection_endpoint_auth_signing_alg_values_supported": {"ES256", "PS256", "RS256", "RS384"},
		"response_modes_supported":                                 {"query", "fragment", "form_post", "web_message"},
		"ui_locales_supported":                                     {"en"},
	} {
		if got := list(answer.json[name]); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if answer.header.Get("Cache-Control") != "public, max-age=300" || answer.header.Get("ETag") == "" || answer.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("headers %v", answer.header)
	}
	if other := f.send("acme", newGet("/.well-known/oauth-authorization-server")).ok(); other.body != answer.body {
		t.Error("the two documents differ")
	}
	if other := f.send("widgets", newGet("/.well-known/openid-configuration")).ok(); other.json["issuer"] != issuerOf("widgets") {
		t.Errorf("widgets: %v", other.json["issuer"])
	}
	f.inside["acme"] = tenancy.WithVisit(f.in("acme"), &tenancy.Visit{Issuer: "https://login.acme.test/", RequestID: "req_1"})
	if other := f.send("acme", newGet("/.well-known/openid-configuration")).ok(); other.json["token_endpoint"] != "https://login.acme.test/oauth/token" { // C1.13
		t.Errorf("custom domain: %v", other.json["token_endpoint"])
	}
}

// C5.35: a tenant may leave the logout endpoint out; it answers all the same.
func TestDiscoveryWithoutEndSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "oidc_logout", `{"rp_logout_end_session_endpoint_discovery":false}`)
	f.setting("widgets", "oidc_logout", `{"rp_logout_end_session_endpoint_discovery":true}`)
	if got, there := f.send("acme", newGet("/.well-known/openid-configuration")).ok().json["end_session_endpoint"]; there {
		t.Errorf("advertised: %v", got)
	}
	if got := f.send("widgets", newGet("/.well-known/openid-configuration")).ok().json["end_session_endpoint"]; got != issuerOf("widgets")+"oidc/logout" {
		t.Errorf("widgets: %v", got)
	}
	wantPage(t, f.browser("acme").oidcLogout(), 200, "You are logged out")
}

// All that is advertised as an endpoint has a route.
func TestDiscoveryIsTrue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer := f.send("acme", newGet("/.well-known/openid-configuration")).ok()
	for name, value := range answer.json {
		url, ok := value.(string)
		if !ok || name == "issuer" {
			continue
		}
		if path := url[len(issuerOf("acme"))-1:]; !f.server.Handles(path) {
			t.Errorf("%s: %s has no route", name, path)
		}
	}
}
