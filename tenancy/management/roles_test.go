package management

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestRoles(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	permission := func(names ...string) map[string]any {
		list := []any{}
		for _, n := range names {
			list = append(list, map[string]any{"resource_server_identifier": apiName, "permission_name": n})
		}
		return map[string]any{"permissions": list}
	}
	role := "/roles/" + sameRole
	k.run([]scenario{
		{name: "created with 200", token: own, method: "POST", path: "/roles", body: `{"name":"Support Desk \"A\" OR B"}`, status: 200, holds: `"is_system":false`},
		{name: "filter is literal (C9.48)", token: own, path: "/roles?name_filter=" + url.QueryEscape(`desk "a" or`), status: 200, holds: "Support Desk"},
		{name: "filter has no wildcards", token: own, path: "/roles?name_filter=%25", status: 200, holds: "[]"},
		{name: "order is the name's", token: own, path: "/roles?include_totals=true", status: 200, check: func(t *testing.T, a answered) {
			if a.text("roles", 0, "name") != "Only acme" || a.member("total") != 4.0 {
				t.Errorf("got %s", a.Body)
			}
		}},
		{name: "name is required", token: own, method: "POST", path: "/roles", body: `{}`, status: 400, says: "Payload validation error: 'Missing required property: name'"},
		{
			name: "name of the wrong type", token: own, method: "POST", path: "/roles", body: `{"name":1}`, status: 400,
			says: "Payload validation error: 'Expected type string but found type integer' on property name",
		},
		{
			name: "name too long", token: own, method: "POST", path: "/roles", body: map[string]any{"name": strings.Repeat("x", 51)}, status: 400,
			says: "Payload validation error: 'String is too long (51 chars), maximum 50' on property name",
		},
		{name: "name with a control character", token: own, method: "POST", path: "/roles", body: `{"name":"a\u0000b"}`, status: 400},
		{name: "name given twice", token: own, method: "POST", path: "/roles", body: `{"name":"a","name":"b"}`, status: 400},
		{name: "null resets", token: own, method: "PATCH", path: role, body: `{"description":"d","metadata":{"a":"1","b":"2"}}`, status: 200, holds: `"description":"d"`},
		{
			name: "metadata merges", token: own, method: "PATCH", path: role, body: `{"description":null,"metadata":{"a":null,"c":"3"}}`, status: 200,
			holds: `"metadata":{"b":"2","c":"3"}`, lacks: "description",
		},
		{name: "name is never null", token: own, method: "PATCH", path: role, body: `{"name":null}`, status: 400},
		{name: "permissions", token: own, method: "POST", path: role + "/permissions", body: permission("read:orders", "write:orders"), status: 201, holds: "{}"},
		{name: "again is the same", token: own, method: "POST", path: role + "/permissions", body: permission("read:orders"), status: 201},
		{name: "undefined", token: own, method: "POST", path: role + "/permissions", body: permission("read:orders", "nope"), status: 400, code: "inexistent_permission"},
		{
			name: "listed", token: own, path: role + "/permissions?include_totals=true", status: 200,
			holds: `"permission_name":"write:orders","description":"write","resource_server_identifier":"https://api.example.com","resource_server_name":"API of acme"`,
		},
		{name: "removed", token: own, method: "DELETE", path: role + "/permissions", body: permission("read:orders", "read:orders"), status: 200, holds: "{}"},
		{name: "one is left", token: own, path: role + "/permissions", status: 200, holds: "write:orders", lacks: "read:orders"},
		{name: "users", token: own, method: "POST", path: role + "/users", body: map[string]any{"users": []string{sameUser}}, status: 200},
		{name: "users with a stranger", token: own, method: "POST", path: role + "/users", body: map[string]any{"users": []string{only("auth0|", "acme"), "auth0|nobody"}}, status: 404},
		{name: "are all or nothing", token: own, path: role + "/users", status: 200, holds: `"user_id":"auth0|same"`, lacks: "only@"},
		{name: "deleted with 200", token: own, method: "DELETE", path: role, status: 200, holds: "{}"},
		{name: "with its assignments", token: own, path: "/users/auth0%7Csame/roles", status: 200, holds: "[]"},
	})
}

func TestResourceServers(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	api := "/resource-servers/" + sameAPI
	k.run([]scenario{
		{name: "defaults", token: own, method: "POST", path: "/resource-servers", body: `{"identifier":"https://new"}`, status: 201, check: func(t *testing.T, a answered) {
			for member, want := range map[string]any{
				"signing_alg": "RS256", "token_lifetime": 86400.0, "token_lifetime_for_web": 7200.0,
				"allow_offline_access": false, "skip_consent_for_verifiable_first_party_clients": true, "enforce_policies": false,
				"token_dialect": "access_token", "is_system": false,
			} {
				if got := a.member(member); got != want {
					t.Errorf("%s = %v, want %v (C5.56)", member, got, want)
				}
			}
			if len(a.text("id")) != 24 {
				t.Errorf("id %q", a.text("id"))
			}
		}},
		{name: "by identifier", token: own, path: "/resource-servers/https%3A%2F%2Fapi.example.com", status: 200, holds: sameAPI},
		{
			name: "management API has aliases", token: own, path: "/resource-servers/urn:gatehouse:management", status: 200,
			holds: `"aliases":["https://acme.auth.example.com/api/v2/"]`,
		},
		{
			name: "by identifiers", token: own, path: "/resource-servers?identifiers=https://api.example.com&identifiers=https://nope", status: 200,
			holds: sameAPI, lacks: systemAPI,
		},
		{name: "identifier is fixed", token: own, method: "PATCH", path: api, body: `{"identifier":"https://other"}`, status: 400},
		{name: "but may be repeated", token: own, method: "PATCH", path: api, body: map[string]any{"identifier": apiName, "name": "Renamed"}, status: 200, holds: "Renamed"},
		{name: "dialect needs policies", token: own, method: "PATCH", path: api, body: `{"token_dialect":"access_token_authz"}`, status: 400},
		{
			name: "options mirror", token: own, method: "PATCH", path: api, body: `{"options":{"enforce_policies":true,"token_dialect":"rfc9068_profile_authz"}}`, status: 200,
			holds: `"token_dialect":"rfc9068_profile_authz"`,
		},
		{name: "options that differ", token: own, method: "PATCH", path: api, body: `{"enforce_policies":false,"options":{"enforce_policies":true}}`, status: 400},
		{name: "lifetime takes the web's along", token: own, method: "PATCH", path: api, body: `{"token_lifetime":3600}`, status: 200, holds: `"token_lifetime_for_web":3600`},
		{name: "lifetime of the web is shorter", token: own, method: "PATCH", path: api, body: `{"token_lifetime_for_web":3601}`, status: 400},
		{name: "HS256 is not offered", token: own, method: "PATCH", path: api, body: `{"signing_alg":"HS256"}`, status: 400},
		{name: "scopes are unique", token: own, method: "PATCH", path: api, body: `{"scopes":[{"value":"a"},{"value":"a"}]}`, status: 400},
		{name: "scopes have no spaces", token: own, method: "PATCH", path: api, body: `{"scopes":[{"value":"a b"}]}`, status: 400},
		{
			name: "scopes have no more members", token: own, method: "PATCH", path: api, body: `{"scopes":[{"value":"a","x":1}]}`, status: 400,
			says: "Payload validation error: 'Additional properties not allowed: scopes[0].x'",
		},
		{
			name: "signing secret has no use (C11.6)", token: own, method: "PATCH", path: api, body: `{"signing_secret":"0123456789abcdef"}`, status: 400, lacks: "0123456789abcdef",
			says: "Payload validation error: 'Access tokens are never signed with a shared secret; choose signing_alg RS256, ES256 or EdDSA' on property signing_secret",
		},
		{name: "nor is one needed", token: own, method: "PATCH", path: api, body: `{"signing_secret":null}`, status: 200},
		{name: "default audience", token: own, method: "PATCH", path: "/tenants/settings", body: map[string]any{"default_audience": apiName}, status: 200},
		{
			name: "SC-076 keeps it", token: own, method: "DELETE", path: api, status: 409,
			says: "Resource server is set as the tenant's default_audience; clear it before deleting",
		},
		{
			name: "SC-076 unknown", token: own, method: "PATCH", path: "/tenants/settings", body: `{"default_audience":"https://nope"}`, status: 400,
			says: "Resource server with identifier 'https://nope' not found",
		},
		{name: "cleared", token: own, method: "PATCH", path: "/tenants/settings", body: `{"default_audience":""}`, status: 200},
		{name: "deleted", token: own, method: "DELETE", path: api, status: 204},
		{name: "with its grants (C5.57)", token: own, path: "/client-grants/" + sameGrant, status: 404},
	})
}

// TestRemovedScope is C5.57: it is gone everywhere, in one step, and does not
// come back by itself.
func TestRemovedScope(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	permission := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": apiName, "permission_name": "read:orders"}}}
	scopes := func(names ...string) map[string]any {
		list := []any{}
		for _, n := range names {
			list = append(list, map[string]string{"value": n})
		}
		return map[string]any{"scopes": list}
	}
	k.run([]scenario{
		{name: "role", token: own, method: "POST", path: "/roles/" + sameRole + "/permissions", body: permission, status: 201},
		{name: "user", token: own, method: "POST", path: "/users/auth0%7Csame/permissions", body: permission, status: 201},
		{name: "removed", token: own, method: "PATCH", path: "/resource-servers/" + sameAPI, body: scopes("write:orders"), status: 200},
		{name: "defined again", token: own, method: "PATCH", path: "/resource-servers/" + sameAPI, body: scopes("write:orders", "read:orders"), status: 200},
		{name: "not in the role", token: own, path: "/roles/" + sameRole + "/permissions", status: 200, holds: "[]"},
		{name: "not of the user", token: own, path: "/users/auth0%7Csame/permissions", status: 200, holds: "[]"},
		{name: "not in the grant", token: own, path: "/client-grants/" + sameGrant, status: 200, holds: `"scope":[]`},
	})
}

// TestPlatformScopes holds that nobody gives away scopes of the platform class
// that they lack, on whichever way.
func TestPlatformScopes(t *testing.T) {
	k := newKit(t)
	var adminRole string
	k.inside("control_plane", func(ctx context.Context) {
		r, err := tenancy.BuiltInRole(ctx, tenancy.RolePlatformAdmin)
		k.must(err)
		adminRole = r.ID
		k.must(tenancy.Commit(ctx, tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: ann}, Connection: "db"}),
			tenancy.Roles.Insert(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_x"}, Name: "X", NameKey: "x"}),
			tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: "org_x"}, Name: "x"}),
			tenancy.Members.Insert(ctx, tenancy.NewMember("org_x", ann))))
	})
	permission := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": tenancy.ManagementAudience, "permission_name": "admin:organizations"}}}
	ways := map[string]any{
		"/roles/rol_x/permissions":                   permission,
		"/users/auth0%7Cann/permissions":             permission,
		"/users/auth0%7Cann/roles":                   map[string]any{"roles": []string{adminRole}},
		"/organizations/x/members/auth0%7Cann/roles": map[string]any{"roles": []string{adminRole}},
		"/roles/" + adminRole + "/users":             map[string]any{"users": []string{ann}},
	}
	for path, body := range ways {
		t.Run(path, func(t *testing.T) {
			inner := k.with(t)
			inner.play(scenario{host: cpHost, token: person("auth0|eve"), method: "POST", path: path, body: body, status: 403, code: "insufficient_scope"})
			a := inner.do("POST", cpHost, path, admin().token(), body)
			if a.Code >= 300 {
				t.Errorf("admin: status %d: %s", a.Code, a.Body)
			}
		})
	}
}
