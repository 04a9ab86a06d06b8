package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/client/rs"
	zoidc "github.com/zitadel/oidc/v3/pkg/oidc"
)

// An API whose tokens are those of RFC 9068, which libraries for APIs insist on.
const profileAPI = "https://profile.acme.example.com"

// party registers a client for a relying party on a port of its own.
func (a api) party(t *testing.T, kind string, more map[string]any) map[string]any {
	t.Helper()
	port := clientPort(t)
	origin := fmt.Sprintf("http://localhost:%d", port)
	body := map[string]any{
		"name": "Party of " + kind, "app_type": kind, "callbacks": []string{origin + "/callback"}, "web_origins": []string{origin},
		"allowed_logout_urls": []string{origin + "/logged-out"}, "grant_types": []string{"authorization_code", "refresh_token"},
	}
	for k, v := range more {
		body[k] = v
	}
	c := a.create(t, "/clients", body)
	id := c["client_id"].(string)
	a.enableConnection(t, id)
	party := map[string]any{"clientId": id, "redirectPort": port}
	if kind != "spa" {
		party["clientSecret"] = c["client_secret"]
	}
	return party
}

// partyResult is what any of the parties tells; see clients/parties.
type partyResult struct {
	Subject, Scope, Email, ID string
	Active, ActiveAfter       *bool
	Revoked, Mistaken         *clientRefusal
	After                     any
	Profile                   map[string]any
	Access, Iframe, Refreshed map[string]any
	Password                  map[string]any

	Plan            string
	Members, Listed int
	Roles           []string
	Gone            int
}

// TestRelyingParties: libraries that others wrote, unmodified and configured as
// their manuals say, with one browser for all of them (C0.12).
func TestRelyingParties(t *testing.T) {
	requireChromium(t)
	requireClients(t)
	j := startMainJob(t)
	acme := j.platform(t).on("acme")
	acme.create(t, "/resource-servers", map[string]any{
		"identifier": profileAPI, "name": "Profile", "token_dialect": "rfc9068_profile", "allow_offline_access": true,
		"scopes": []map[string]string{{"value": "read:orders"}},
	})
	parties := map[string]map[string]any{
		"oauth4webapi":   acme.party(t, "regular_web", nil),
		"auth0-react":    acme.party(t, "spa", nil),
		"oidc-client-ts": acme.party(t, "spa", nil),
		"passport":       acme.party(t, "regular_web", map[string]any{"token_endpoint_auth_method": "client_secret_post"}),
		"node-auth0": acme.party(t, "regular_web", map[string]any{"token_endpoint_auth_method": "client_secret_post", "grant_types": []string{
			"authorization_code", "refresh_token", "client_credentials", "http://auth0.com/oauth/grant-type/password-realm",
		}}),
	}
	acme.create(t, "/client-grants", map[string]any{"client_id": parties["node-auth0"]["clientId"], "audience": "urn:gatehouse:management", "scope": []string{
		"read:users", "update:users", "delete:users", "create:organizations", "read:organizations", "delete:organizations",
		"create:organization_members", "read:organization_members", "create:roles", "read:roles", "update:roles", "delete:roles", "read:clients",
	}})
	var result struct{ Parties map[string]partyResult }
	runClient(t, "parties.mjs", map[string]any{
		"issuer": j.issuer("acme"), "username": userEmail, "password": password, "audience": profileAPI, "caFile": j.rootCertificate(t), "parties": parties, "scriptLimitSeconds": 110,
	}, &result)

	const scope = "openid profile email read:orders"
	for name := range parties {
		t.Run(name, func(t *testing.T) {
			p, ok := result.Parties[name]
			if !ok {
				t.Fatal("did not run")
			}
			if p.Revoked != nil && p.Revoked.Error != "invalid_grant" && p.Revoked.Error != "missing_refresh_token" || p.Revoked == nil && name != "passport" {
				t.Errorf("after the revocation: %+v", p.Revoked)
			}
			if after := fmt.Sprint(p.After); name != "node-auth0" && !strings.Contains(after, "login_required") {
				t.Errorf("silently after the logout: %s", after)
			}
			for what, claims := range map[string]map[string]any{"iframe": p.Iframe, "refresh": p.Refreshed, "access": p.Access} {
				if claims != nil && (claims["tenant_id"] != "acme" || !strings.HasPrefix(fmt.Sprint(claims["scope"]), scope)) {
					t.Errorf("token by %s: %v", what, claims)
				}
			}
		})
	}
	if p := result.Parties["oauth4webapi"]; p.Email != userEmail || p.Scope != "openid profile email read:orders offline_access" || p.Active == nil || !*p.Active || p.ActiveAfter == nil || *p.ActiveAfter {
		t.Errorf("oauth4webapi: %+v", p)
	}
	for _, name := range []string{"auth0-react", "oidc-client-ts"} {
		if p := result.Parties[name]; p.Iframe == nil || p.Refreshed == nil || p.Iframe["jti"] == p.Refreshed["jti"] {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if p := result.Parties["oidc-client-ts"]; p.Profile["email"] != userEmail {
		t.Errorf("oidc-client-ts: %v", p.Profile)
	}
	if p := result.Parties["passport"]; p.Email != userEmail || p.ID == "" {
		t.Errorf("passport: %+v", p)
	}
	p := result.Parties["node-auth0"]
	if p.Email != userEmail || p.Mistaken == nil || p.Mistaken.ErrorDescription != "Wrong email or password." || p.Password["gty"] != "password" {
		t.Errorf("AuthenticationClient: %+v", p)
	}
	if p.Plan != "gold" || p.Members != 1 || !slices.Equal(p.Roles, []string{"node-auth0"}) || p.Listed < len(parties) || p.Gone != http.StatusNotFound {
		t.Errorf("ManagementClient: %+v", p)
	}
}

// TestZitadelRS: zitadel/oidc's resource server asks about tokens (RFC 7662): its
// client is told of what is for its API, and nothing of another tenant's.
func TestZitadelRS(t *testing.T) {
	j := startMainJob(t)
	const identifier = "https://rs.example.com"
	tokens, servers := map[string]string{}, map[string]rs.ResourceServer{}
	for _, tenant := range []string{"acme", "widgets"} {
		a := j.platform(t).on(tenant)
		api := a.create(t, "/clients", map[string]any{"name": "Orders' API", "app_type": "non_interactive"})
		robot := a.create(t, "/clients", map[string]any{"name": "Orders' robot", "app_type": "non_interactive"})
		a.create(t, "/resource-servers", map[string]any{
			"identifier": identifier, "name": "Orders", "scopes": []map[string]string{{"value": "read:orders"}}, "introspection_clients": []any{api["client_id"]},
		})
		a.create(t, "/client-grants", map[string]any{"client_id": robot["client_id"], "audience": identifier, "scope": []string{"read:orders"}})
		tokens[tenant] = j.machineToken(t, tenant, robot["client_id"].(string), robot["client_secret"].(string), identifier)
		server, err := rs.NewResourceServerClientCredentials(t.Context(), j.issuer(tenant), api["client_id"].(string), api["client_secret"].(string), rs.WithClient(j.http))
		if err != nil {
			t.Fatal(err)
		}
		servers[tenant] = server
	}
	for _, tenant := range []string{"acme", "widgets"} {
		for of, token := range tokens {
			got, err := rs.Introspect[*zoidc.IntrospectionResponse](t.Context(), servers[tenant], token)
			if err != nil {
				t.Fatal(err)
			}
			if got.Active != (of == tenant) || !got.Active && (got.Subject != "" || len(got.Claims) > 1) {
				t.Errorf("%s is told of a token of %s: %+v", tenant, of, got)
			}
			if got.Active && (got.Issuer != j.issuer(tenant) || !slices.Contains(got.Scope, "read:orders") || got.Claims["tenant_id"] != tenant) {
				t.Errorf("%s: %+v", tenant, got)
			}
		}
	}
}
