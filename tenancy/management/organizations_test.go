package management

import (
	"context"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestConnections(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	var id string
	k.play(scenario{
		token: own, method: "POST", path: "/connections", status: 201, lacks: "topsecretvalue",
		body:  `{"name":"corp","strategy":"oidc","options":{"client_id":"abc","client_secret":"topsecretvalue"},"enabled_clients":["` + sameClient + `"]}`,
		holds: `"client_secret_hint":"••••alue"`, check: func(_ *testing.T, a answered) { id = a.text("id") },
	})
	path := "/connections/" + id
	secret := func() (s map[string]string) {
		k.inside("acme", func(ctx context.Context) {
			c, err := tenancy.Connections.Get(ctx, id)
			k.must(err)
			s = c.Secrets
		})
		return s
	}
	k.run([]scenario{
		{name: "SC-074 hidden", token: own, path: path, status: 200, lacks: "topsecretvalue", holds: `"enabled_clients":["` + sameClient},
		{
			name: "SC-074 kept", token: own, method: "PATCH", path: path, body: `{"options":{"client_id":"def"}}`, status: 200, holds: `"client_id":"def"`,
			check: func(t *testing.T, _ answered) {
				if secret()["client_secret"] != "topsecretvalue" {
					t.Error("the secret is lost")
				}
			},
		},
		{name: "hint may be written back", token: own, method: "PATCH", path: path, body: `{"options":{"client_id":"def","client_secret_hint":"••••alue"}}`, status: 200, holds: "••••alue"},
		{name: "hint cannot be changed", token: own, method: "PATCH", path: path, body: `{"options":{"client_secret_hint":"••••xxxx"}}`, status: 400},
		{
			name: "null removes", token: own, method: "PATCH", path: path, body: `{"options":{"client_secret":null}}`, status: 200, lacks: "hint",
			check: func(t *testing.T, _ answered) {
				if len(secret()) > 0 {
					t.Error("the secret is kept")
				}
			},
		},
		{name: "name is fixed", token: own, method: "PATCH", path: path, body: `{"name":"other"}`, status: 400},
		{name: "strategy is fixed", token: own, method: "PATCH", path: path, body: `{"strategy":"auth0"}`, status: 400},
		{name: "unknown strategy", token: own, method: "POST", path: "/connections", body: `{"name":"x","strategy":"telepathy"}`, status: 400},
		{name: "name with a space", token: own, method: "POST", path: "/connections", body: `{"name":"a b","strategy":"auth0"}`, status: 400},
		{name: "policy", token: own, method: "POST", path: "/connections", body: `{"name":"p","strategy":"auth0","options":{"password_policy":"strong"}}`, status: 400},
		{
			name: "clients is all or nothing", token: own, method: "PATCH", path: path + "/clients",
			body: []any{map[string]any{"client_id": only("only", "acme"), "status": true}, map[string]any{"client_id": "nope", "status": true}}, status: 400, code: "inexistent_client",
		},
		{name: "clients", token: own, path: path + "/clients", status: 200, holds: `{"clients":[{"client_id":"` + sameClient + `"}]}`},
		{name: "switched off", token: own, method: "PATCH", path: path + "/clients", body: []any{map[string]any{"client_id": sameClient, "status": false}}, status: 204},
		{name: "none", token: own, path: path + "/clients", status: 200, holds: `{"clients":[]}`},
		{name: "filter", token: own, path: "/connections?strategy=oidc&name=corp", status: 200, holds: "corp", lacks: "con_same"},
		{name: "user by e-mail", token: own, method: "DELETE", path: "/connections/" + sameConn + "/users?email=ONLY@acme.test", status: 204},
		{name: "user is gone", token: own, path: "/users/auth0%7Cacme", status: 404},
		{name: "deleted", token: own, method: "DELETE", path: path, status: 204},
	})
}

func TestOrganizations(t *testing.T) {
	k := newAccessKit(t)
	own := machine("acme")
	k.run([]scenario{
		{name: "by name in any case", token: own, path: "/organizations/SAME", status: 200, holds: sameOrg},
		{name: "by the name's own path", token: own, path: "/organizations/name/Same", status: 200, holds: sameOrg},
		{
			name: "upper case", token: own, method: "POST", path: "/organizations", body: `{"name":"Acme"}`, status: 400,
			says: "Organization name must be lowercase and can only contain letters, numbers, hyphens, and underscores",
		},
		{name: "like an id", token: own, method: "POST", path: "/organizations", body: `{"name":"org_x"}`, status: 400},
		{
			name: "with connections", token: own, method: "POST", path: "/organizations", status: 201, holds: `"name":"b2b"`,
			body: map[string]any{
				"name": "b2b", "display_name": "B2B", "branding": map[string]any{"logo_url": "https://x.test/l.png", "colors": map[string]any{"primary": "#ff0000"}},
				"metadata": map[string]any{"k": "v"}, "enabled_connections": []any{map[string]any{"connection_id": sameConn, "assign_membership_on_login": true}},
			},
		},
		{
			name: "its connections", token: own, path: "/organizations/b2b/enabled_connections", status: 200,
			holds: `[{"connection_id":"con_same","assign_membership_on_login":true,"show_as_button":true,"is_signup_enabled":false,"connection":{"name":"db","strategy":"auth0"}}]`,
		},
		{name: "branding is strict", token: own, method: "PATCH", path: "/organizations/b2b", body: `{"branding":{"colour":"red"}}`, status: 400},
		{name: "unknown connection", token: own, method: "POST", path: "/organizations", body: `{"name":"c","enabled_connections":[{"connection_id":"nope"}]}`, status: 400, code: "inexistent_connection"},
		{name: "which made nothing", token: own, path: "/organizations/c", status: 404, says: "Organization not found"},
		{name: "order is the name's", token: own, path: "/organizations", status: 200, check: func(t *testing.T, a answered) {
			if a.text(0, "name") != "b2b" || a.text(2, "name") != "same" {
				t.Errorf("order: %s", a.Body)
			}
		}},
		{name: "sorted", token: own, path: "/organizations?sort=name:-1", status: 200, check: func(t *testing.T, a answered) {
			if a.text(0, "name") != "same" {
				t.Errorf("order: %s", a.Body)
			}
		}},
		{name: "connection changed", token: own, method: "PATCH", path: "/organizations/b2b/enabled_connections/" + sameConn, body: `{"show_as_button":false}`, status: 200, holds: `"show_as_button":false`},
		{name: "connection removed", token: own, method: "DELETE", path: "/organizations/b2b/enabled_connections/" + sameConn, status: 204},
		{name: "connection is gone", token: own, path: "/organizations/b2b/enabled_connections/" + sameConn, status: 404},
		{name: "members", token: own, method: "POST", path: "/organizations/b2b/members", body: map[string]any{"members": []string{sameUser, only("auth0|", "acme")}}, status: 204},
		{name: "again (C2.52)", token: own, method: "POST", path: "/organizations/b2b/members", body: map[string]any{"members": []string{sameUser}}, status: 204},
		{
			name: "with a stranger", token: own, method: "POST", path: "/organizations/same/members", body: map[string]any{"members": []string{only("auth0|", "acme"), "auth0|nobody"}},
			status: 400, code: "inexistent_user",
		},
		{name: "nobody was added", token: own, path: "/organizations/same/members?include_totals=true", status: 200, holds: `"total":1`},
		{name: "roles", token: own, method: "POST", path: "/organizations/b2b/members/auth0%7Csame/roles", body: map[string]any{"roles": []string{sameRole}}, status: 204},
		{name: "unknown role", token: own, method: "POST", path: "/organizations/b2b/members/auth0%7Csame/roles", body: `{"roles":["nope"]}`, status: 400, code: "inexistent_role"},
		{
			name: "not a member (C2.54)", token: own, method: "POST", path: "/organizations/same/members/auth0%7Cacme/roles", body: map[string]any{"roles": []string{sameRole}}, status: 400,
			says: "The user is not a member of the organization",
		},
		{name: "roles listed", token: own, path: "/organizations/b2b/members/auth0%7Csame/roles", status: 200, holds: sameRole},
		{name: "roles in the list", token: own, path: "/organizations/b2b/members?fields=user_id,roles", status: 200, holds: `{"user_id":"auth0|same","roles":[{"id":"rol_same","name":"Same of acme"}]}`},
		{name: "which needs a scope", token: machine("acme", "read:organization_members"), path: "/organizations/b2b/members?fields=roles", status: 403, code: "insufficient_scope"},
		{name: "not global (C2.18)", token: own, path: "/users/auth0%7Csame/roles", status: 200, holds: "[]"},
		{name: "organizations of a user", token: own, path: "/users/auth0%7Csame/organizations?include_totals=true", status: 200, holds: `"total":2`},
		{name: "removed with non-members", token: own, method: "DELETE", path: "/organizations/b2b/members", body: map[string]any{"members": []string{sameUser, "auth0|nobody"}}, status: 204},
		{name: "joins again", token: own, method: "POST", path: "/organizations/b2b/members", body: map[string]any{"members": []string{sameUser}}, status: 204},
		{name: "without the old roles (C2.51)", token: own, path: "/organizations/b2b/members/auth0%7Csame/roles", status: 200, holds: "[]"},
		{name: "deleted", token: own, method: "DELETE", path: "/organizations/b2b", status: 204},
		{
			name: "linked: not renamed (C2.3)", host: cpHost, token: admin(), method: "PATCH", path: "/organizations/acme", body: `{"name":"other"}`, status: 403, code: "system_resource",
			says: "This organization is linked to tenant 'acme' and cannot be modified",
		},
		{name: "linked: not deleted", host: cpHost, token: admin(), method: "DELETE", path: "/organizations/acme", status: 403, code: "system_resource"},
		{name: "linked: display name", host: cpHost, token: admin(), method: "PATCH", path: "/organizations/acme", body: `{"display_name":"A"}`, status: 200, holds: `"tenant_id":"acme"`},
		{name: "linked: written back", host: cpHost, token: admin(), method: "PATCH", path: "/organizations/acme", body: `{"name":"acme","tenant_id":"acme"}`, status: 200},
	})
}
