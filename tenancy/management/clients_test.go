package management

import (
	"context"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestClients(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	keyless := machine("acme", "read:clients", "update:clients")
	client := "/clients/" + sameClient
	kind := func(appType, auth, rotation string, grants ...any) scenario {
		return scenario{
			name: "defaults of " + appType, token: machine("acme", "create:clients"), method: "POST", path: "/clients", body: map[string]any{"name": "x", "app_type": appType}, status: 201,
			check: func(t *testing.T, a answered) {
				if a.text("token_endpoint_auth_method") != auth || a.text("refresh_token", "rotation_type") != rotation {
					t.Errorf("auth %v, rotation %v", a.member("token_endpoint_auth_method"), a.member("refresh_token"))
				}
				if got := encode(a.member("grant_types")); !equalJSON(got, encode(grants)) {
					t.Errorf("grant types %s, want %v", got, grants)
				}
				if secret := a.text("client_secret"); (auth == "none") != (secret == "") || secret != "" && len(secret) != 64 {
					t.Errorf("secret %q", secret)
				}
				if len(a.text("client_id")) != 32 {
					t.Errorf("client_id %q", a.text("client_id"))
				}
			},
		}
	}
	k.run([]scenario{
		kind("spa", "none", "rotating", "authorization_code", "refresh_token"),
		kind("native", "none", "rotating", "authorization_code", "refresh_token"),
		kind("regular_web", "client_secret_post", "non-rotating", "authorization_code", "refresh_token"),
		kind("non_interactive", "client_secret_post", "non-rotating", "client_credentials"),
		{
			name: "part of refresh_token", token: own, method: "POST", path: "/clients", body: `{"name":"x","app_type":"spa","refresh_token":{"leeway":3}}`, status: 201,
			holds: `"rotation_type":"rotating","expiration_type":"expiring","leeway":3,"token_lifetime":2592000`,
		},
		{
			name: "third parties have no wildcards", token: own, method: "POST", path: "/clients", body: `{"name":"x","is_first_party":false,"web_origins":["https://*.a.test"]}`, status: 400,
			says: "Payload validation error: 'Third-party clients cannot have wildcards: https://*.a.test' on property web_origins",
		},
		{
			name: "ways to authenticate", token: own, method: "POST", path: "/clients", body: `{"name":"x","client_authentication_methods":{"private_key_jwt":{"credentials":[]}}}`, status: 400,
			says: "Payload validation error: 'Not supported; set token_endpoint_auth_method to private_key_jwt and add the public keys with POST /clients/{client_id}/credentials' on property client_authentication_methods",
		},
		{name: "public machine", token: own, method: "POST", path: "/clients", body: `{"name":"x","token_endpoint_auth_method":"none","grant_types":["client_credentials"]}`, status: 400},
		{name: "tags", token: own, method: "POST", path: "/clients", body: `{"name":"<b>"}`, status: 400},
		{name: "short secret", token: own, method: "POST", path: "/clients", body: `{"name":"x","client_secret":"short"}`, status: 400},
		{
			name: "C5.65", token: own, method: "POST", path: "/clients", body: `{"name":"x","is_first_party":false,"organization_usage":"allow"}`, status: 403,
			says: "Organizations are only available to first party clients on user-based flows.",
		},
		{name: "SC-073", token: keyless, path: client, status: 200, lacks: "secret-of-acme"},
		{name: "with the right to", token: own, path: client, status: 200, holds: `"client_secret":"secret-of-acme"`},
		{name: "no secret in lists either", token: keyless, path: "/clients", status: 200, lacks: "secret-of-acme"},
		{name: "secret needs its scope", token: keyless, method: "PATCH", path: client, body: map[string]any{"client_secret": strings.Repeat("s", 32)}, status: 403, code: "insufficient_scope"},
		{
			name: "stored members come back", token: own, method: "PATCH", path: client, body: `{"sso":true,"oidc_logout":{"backchannel_logout_urls":["https://x"]},"addons":{"a":{"b":1}}}`,
			status: 200, holds: `"addons":{"a":{"b":1}}`,
		},
		{name: "and go with null", token: own, method: "PATCH", path: client, body: `{"addons":null}`, status: 200, lacks: "addons", holds: `"sso":true`},
		{name: "metadata merges", token: own, method: "PATCH", path: client, body: `{"client_metadata":{"a":"1"}}`, status: 200, holds: `"client_metadata":{"a":"1"}`},
		{name: "metadata is text", token: own, method: "PATCH", path: client, body: `{"client_metadata":{"a":1}}`, status: 400},
		{name: "filter", token: own, path: "/clients?app_type=spa,native&is_first_party=true&is_global=false", status: 200, holds: `"app_type":"spa"`, lacks: "regular_web"},
		{name: "filter of the wrong type", token: own, path: "/clients?is_first_party=yes", status: 400, code: "invalid_query_string"},
		{name: "fields", token: own, path: client + "?fields=name,nope", status: 200, holds: `{"name":"Client of acme"}`},
		{name: "fields left out", token: own, path: "/clients?fields=name&include_fields=false", status: 200, lacks: `"name":"Client`},
		{name: "connections", token: own, method: "PATCH", path: client + "/connections", body: []any{map[string]any{"connection_id": sameConn, "status": true}}, status: 204},
		{name: "connections listed", token: own, path: client + "/connections", status: 200, holds: `"connections":[{"id":"con_same"`},
		{name: "default client", token: own, method: "PATCH", path: "/tenants/settings", body: map[string]any{"default_client_id": sameClient}, status: 200},
		{name: "default client stays", token: own, method: "DELETE", path: client, status: 409, code: "client_conflict"},
		{name: "default client cleared", token: own, method: "PATCH", path: "/tenants/settings", body: `{"default_client_id":""}`, status: 200},
		{name: "deleted", token: own, method: "DELETE", path: client, status: 204},
		{name: "with its tokens", token: own, path: "/refresh-tokens/rt_same", status: 404},
		{name: "and its place in connections", token: own, path: "/connections/" + sameConn, status: 200, holds: `"enabled_clients":[]`},
	})
}

// TestCallbacks holds what can be registered at all (C4.19, C3.35).
func TestCallbacks(t *testing.T) {
	for member, urls := range map[string]map[string]bool{
		"callbacks": {
			"https://a.test/cb": true, "http://localhost:3000/cb": true, "http://127.0.0.1/cb": true, "com.example.app://cb": true,
			"https://*.a.test/cb": true, "http://a.test/cb": false, "javascript:alert(1)": false, "data:text/html,x": false,
			"https://a.test/cb#x": false, "https://u@a.test/": false, "https://*.test/": false, "https://a.*.test/": false,
			"https://a.test/*": false, "//a.test": false, "https:///x": false, "https://a.test/\u2028": true, "JavaScript:alert(1)": false, "": false,
		},
		"web_origins": {"https://a.test": true, "https://a.test:8443": true, "https://a.test/path": false, "null": false, "*": false},
		"allowed_origins": {
			"https://*.a.test": true, "https://*.a.test:8443": true, "https://*.a.test/": true, "*": false, "https://*": false, "https://*.test": false,
			"https://*.co.uk": false, "https://*.github.io": false, "http://*.a.test": false, "https://*.*.a.test": false, "https://a*.a.test": false,
			"https://*.localhost": false, "https://*.10.0.0.1": false, "https://*.A.test": false, "https://*.a.test/x": false,
		},
		"allowed_logout_urls": {"https://a.test/out": true, "http://a.test/out": true, "javascript:x": false},
		"initiate_login_uri":  {"https://a.test/login": true, "http://a.test/login": false},
	} {
		for u, ok := range urls {
			check := clients.Members[member].check
			if why := check(u); (why == "") != ok {
				t.Errorf("%s %q: %q", member, u, why)
			}
		}
	}
}

// TestRotateSecret is SC-072, seen from the store: which hashes are accepted.
func TestRotateSecret(t *testing.T) {
	k := newKit(t)
	read := func() (c *tenancy.Client) {
		k.inside("acme", func(ctx context.Context) {
			var err error
			c, err = tenancy.Clients.Get(ctx, sameClient)
			k.must(err)
		})
		return c
	}
	before := read()
	k.play(scenario{
		token: machine("acme", "update:client_keys"), method: "POST", path: "/clients/" + sameClient + "/rotate-secret", body: `{"overlap_sec":60}`, status: 200,
		check: func(t *testing.T, a answered) {
			after := read()
			if a.text("client_secret") != after.Secret || len(after.Secret) != 64 || after.SecretHash == before.SecretHash {
				t.Errorf("secret is not a new one")
			}
			if after.PreviousSecretHash != before.SecretHash || after.PreviousUntil != tenancy.At(k.now.Add(60e9)) {
				t.Errorf("the old one is not accepted for 60 s")
			}
		},
	})
	k.play(scenario{token: machine("acme"), method: "POST", path: "/clients/" + sameClient + "/rotate-secret", status: 200})
	if after := read(); after.PreviousSecretHash != "" {
		t.Error("without an overlap the old secret is still accepted")
	}
	k.play(scenario{token: machine("acme"), method: "POST", path: "/clients/" + sameClient + "/rotate-secret", body: `{"overlap_sec":86401}`, status: 400})
}

func TestClientGrants(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	grant := "/client-grants/" + sameGrant
	management := func(client string, scopes ...string) map[string]any {
		return map[string]any{"client_id": client, "audience": "https://auth.example.com/api/v2/", "scope": scopes}
	}
	k.inside("control_plane", func(ctx context.Context) {
		k.must(tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: "cpclient"}, Name: "x", IsFirstParty: true}))
	})
	k.run([]scenario{
		{name: "unknown client", token: own, method: "POST", path: "/client-grants", body: map[string]any{"client_id": "nope", "audience": apiName}, status: 404, says: "Client not found"},
		{name: "unknown API", token: own, method: "POST", path: "/client-grants", body: map[string]any{"client_id": sameClient, "audience": "https://nope"}, status: 404, says: "Resource server not found"},
		{name: "undefined scope", token: own, method: "PATCH", path: grant, body: `{"scope":["nope"]}`, status: 400},
		{
			name: "platform scope does not exist in a child", token: own, method: "POST", path: "/client-grants",
			body: map[string]any{"client_id": sameClient, "audience": "urn:gatehouse:management", "scope": []string{"admin:organizations"}}, status: 400,
		},
		{
			name: "platform scope that the caller lacks", host: cpHost, token: machine("control_plane", "create:client_grants"), method: "POST", path: "/client-grants",
			body: management("cpclient", "admin:organizations"), status: 403, code: "insufficient_scope",
		},
		{
			name: "platform scope", host: cpHost, token: admin(), method: "POST", path: "/client-grants", body: management("cpclient", "admin:organizations"), status: 201,
			holds: `"audience":"urn:gatehouse:management"`,
		},
		{name: "associate", token: own, method: "POST", path: "/organizations/same/client-grants", body: map[string]any{"grant_id": sameGrant}, status: 201},
		{name: "associate again", token: own, method: "POST", path: "/organizations/same/client-grants", body: map[string]any{"grant_id": sameGrant}, status: 409},
		{name: "organizations", token: own, path: grant + "/organizations", status: 200, holds: sameOrg},
		{name: "grants", token: own, path: "/organizations/same/client-grants?audience=https://api.example.com", status: 200, holds: sameGrant},
		{name: "deny drops them (C5.68)", token: own, method: "PATCH", path: grant, body: `{"organization_usage":"deny"}`, status: 200},
		{name: "dropped", token: own, path: grant + "/organizations", status: 200, holds: "[]"},
		{name: "denied", token: own, method: "POST", path: "/organizations/same/client-grants", body: map[string]any{"grant_id": sameGrant}, status: 400},
		{name: "client is fixed", token: own, method: "PATCH", path: grant, body: `{"client_id":"other"}`, status: 400},
		{name: "filter", token: own, path: "/client-grants?client_id=" + sameClient + "&allow_any_organization=false&subject_type=client", status: 200, holds: sameGrant, lacks: "cgr_acme"},
		{name: "third party", token: own, method: "PATCH", path: "/clients/" + sameClient, body: `{"is_first_party":false}`, status: 200},
		{name: "any organization", token: own, method: "PATCH", path: grant, body: `{"allow_any_organization":true}`, status: 400},
		{name: "deleted", token: own, method: "DELETE", path: grant, status: 204},
		{name: "is gone", token: own, method: "DELETE", path: grant, status: 404, says: "Client grant not found"},
	})
}
