package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rootCertificate is the root of Caddy's own CA, for clients that verify.
func (g *gateway) rootCertificate(t *testing.T) string {
	t.Helper()
	path := filepath.Join(g.dir, "caddy", "pki", "authorities", "local", "root.crt")
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOpenIDClient: openid-client goes through login, refresh, revocation and
// logout in acme with a real browser, and verifies everything it is given.
func TestOpenIDClient(t *testing.T) {
	requireChromium(t)
	requireClients(t)
	j := startMainJob(t)
	var result codeFlowResult
	runClient(t, "code-flow.mjs", map[string]any{
		"issuer": j.issuer("acme"), "clientId": j.app, "redirectPort": j.ports[1],
		"username": userEmail, "password": password, "audience": ordersAPI, "scope": "openid profile email offline_access read:orders",
		"caFile": j.rootCertificate(t),
	}, &result)
	if alg := result.Tokens.IDTokenHeader["alg"]; alg != "RS256" {
		t.Errorf("ID token signed with %v", alg)
	}
	if alg := result.Tokens.AccessTokenHeader["alg"]; alg != "RS256" {
		t.Errorf("access token signed with %v", alg)
	}
	c := result.Tokens.AccessTokenClaims
	if c["tenant_id"] != "acme" || c["scope"] != "openid profile email offline_access read:orders" {
		t.Errorf("access token: %v", c)
	}
	if result.UserInfo["email"] != userEmail {
		t.Errorf("userinfo: %v", result.UserInfo)
	}
	if result.Refreshed == nil || result.Revoked == nil || result.Revoked.Error != "invalid_grant" || result.AfterLogout.Error != "login_required" {
		t.Errorf("refresh, revocation, logout: %+v %+v %+v", result.Refreshed, result.Revoked, result.AfterLogout)
	}
}

// TestOpenIDClientWithoutScript: the hosted pages need no JavaScript.
func TestOpenIDClientWithoutScript(t *testing.T) {
	requireChromium(t)
	requireClients(t)
	j := startMainJob(t)
	var result codeFlowResult
	runClient(t, "code-flow.mjs", map[string]any{
		"issuer": j.issuer("acme"), "clientId": j.app, "redirectPort": j.ports[1],
		"username": userEmail, "password": password, "scope": "openid", "caFile": j.rootCertificate(t), "javaScriptEnabled": false,
	}, &result)
	if !slices.Contains(result.Screens, "/u/login") {
		t.Errorf("screens: %v", result.Screens)
	}
}

// TestAuth0SPA: auth0-spa-js, unmodified, logs an administrator in to the control
// plane and switches between tenants: silently in an iframe, and where the
// browser blocks third-party cookies by refresh tokens.
func TestAuth0SPA(t *testing.T) {
	requireChromium(t)
	requireClients(t)
	j := startMainJob(t)
	for _, blocked := range []bool{false, true} {
		t.Run(fmt.Sprintf("third-party cookies blocked %v", blocked), func(t *testing.T) {
			var result spaResult
			runClient(t, "spa.mjs", map[string]any{
				"issuer": j.issuer(""), "clientId": j.portal, "redirectPort": j.ports[2],
				"username": annEmail, "password": password, "organizations": []string{"acme", "widgets"}, "forbiddenOrganization": "secret",
				"audience": j.issuer("") + "api/v2/", "scope": "openid profile read:users", "blockThirdPartyCookies": blocked,
			}, &result)
			for _, org := range []string{"acme", "widgets"} {
				c := result.Switched[org].AccessTokenClaims
				if c["org_name"] != org {
					t.Errorf("switched to %s: %v", org, c)
				}
				got := (api{g: j.gateway, host: org, token: result.Switched[org].AccessToken}).call(t, "GET", "/users", nil)
				if got.status != 200 {
					t.Errorf("the token for %s there: %d %s", org, got.status, got.body)
				}
			}
			if result.Forbidden == nil || result.Forbidden.Error != "access_denied" || !strings.Contains(result.Forbidden.ErrorDescription, "is not part of") {
				t.Errorf("forbidden organization: %+v", result.Forbidden)
			}
			if result.AfterLogout.Error != "login_required" {
				t.Errorf("after logout: %+v", result.AfterLogout)
			}
			if blocked && (result.Iframe == nil || result.Iframe.Error != "login_required") {
				t.Errorf("an iframe without cookies: %+v", result.Iframe)
			}
		})
	}
}
