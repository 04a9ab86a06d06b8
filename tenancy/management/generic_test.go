package management

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestReadModifyWrite is SC-067, for every resource: what was read and is written
// back whole is accepted and changes nothing, not even the version.
func TestReadModifyWrite(t *testing.T) {
	k := newKit(t)
	for _, path := range []string{
		"/roles/" + sameRole, "/resource-servers/" + sameAPI, "/clients/" + sameClient, "/client-grants/" + sameGrant,
		"/connections/" + sameConn, "/organizations/" + sameOrg, "/users/auth0%7Csame",
	} {
		t.Run(path, func(t *testing.T) {
			for round := range 2 { // as it was stored, and as this API stores it
				read := k.do("GET", acmeHost, path, machine("acme").token(), nil)
				written := k.do("PATCH", acmeHost, path, machine("acme").token(), read.Body.String(), "If-Match", read.Header().Get("ETag"))
				if written.Code != http.StatusOK {
					t.Fatalf("round %d: status %d: %s\nwriting %s", round, written.Code, written.Body, read.Body)
				}
				if written.Body.String() != read.Body.String() || written.Header().Get("ETag") != read.Header().Get("ETag") {
					t.Errorf("round %d: changed\n from %s\n to   %s", round, read.Body, written.Body)
				}
				name := map[bool]string{true: "nickname", false: "name"}[strings.HasPrefix(path, "/users")]
				if strings.HasPrefix(path, "/client-grants") || strings.HasPrefix(path, "/connections") || strings.HasPrefix(path, "/organizations") {
					continue
				}
				k.play(scenario{token: machine("acme"), method: "PATCH", path: path, body: map[string]any{name: "Renamed"}, status: 200})
			}
		})
	}
}

// TestReadOnly is C9.25 and C5.8: id, is_system and times can be set by nobody.
func TestReadOnly(t *testing.T) {
	k := newKit(t)
	create := map[string]map[string]any{
		"/roles": {"name": "x"}, "/resource-servers": {"identifier": "x"}, "/clients": {"name": "x"},
		"/client-grants": {"client_id": sameClient, "audience": "https://only.acme"}, "/connections": {"name": "x", "strategy": "auth0"},
		"/organizations": {"name": "x"}, "/users": {"connection": "db", "email": "x@y.test"},
	}
	one := map[string]string{
		"/roles": sameRole, "/resource-servers": sameAPI, "/clients": sameClient, "/client-grants": sameGrant,
		"/connections": sameConn, "/organizations": sameOrg, "/users": "auth0%7Csame",
	}
	for path, body := range create {
		for member, value := range map[string]any{"is_system": true, "id": "mine", "created_at": "2020-01-01T00:00:00.000Z", "tenant_id": "widgets", "revision": 1} {
			t.Run(path+" "+member, func(t *testing.T) {
				inner := k.with(t)
				with := map[string]any{member: value}
				for k, v := range body {
					with[k] = v
				}
				inner.play(scenario{token: machine("acme"), method: "POST", path: path, body: with, status: 400, code: "invalid_body"})
				inner.play(scenario{token: machine("acme"), method: "PATCH", path: path + "/" + one[path], body: map[string]any{member: value}, status: 400, code: "invalid_body"})
			})
		}
	}
}

// TestConflicts is SC-069.
func TestConflicts(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	k.run([]scenario{
		{name: "role name in any case", token: own, method: "POST", path: "/roles", body: `{"name":"SAME of Acme"}`, status: 409, code: "role_conflict"},
		{name: "role renamed to another's", token: own, method: "PATCH", path: "/roles/" + sameRole, body: `{"name":"only acme"}`, status: 409, code: "role_conflict"},
		{
			name: "resource server", token: own, method: "POST", path: "/resource-servers", body: map[string]any{"identifier": apiName}, status: 409,
			code: "resource_server_conflict", says: "A resource server with the same identifier already exists.",
		},
		{name: "management API by host", token: own, method: "POST", path: "/resource-servers", body: `{"identifier":"https://acme.auth.example.com/api/v2/"}`, status: 409},
		{name: "organization", token: own, method: "POST", path: "/organizations", body: `{"name":"same"}`, status: 409, code: "organization_conflict"},
		{
			name: "client grant", token: own, method: "POST", path: "/client-grants",
			body: map[string]any{"client_id": sameClient, "audience": apiName, "scope": []string{}}, status: 409, code: "client_grant_conflict",
		},
		{
			name: "SC-078 e-mail in any case", token: own, method: "POST", path: "/users", body: `{"connection":"db","email":"SAME@Acme.test"}`, status: 409,
			code: "auth0_idp_error", says: "The user already exists.",
		},
		{name: "connection", token: own, method: "POST", path: "/connections", body: `{"name":"db","strategy":"auth0"}`, status: 409, code: "connection_conflict"},
		{name: "enabled connection", token: own, method: "POST", path: "/organizations/same/enabled_connections", body: map[string]any{"connection_id": sameConn}, status: 409},
	})
}

// TestSystemRows is SC-081, SC-082 and contract 6.8, for every caller and every
// spelling of the id.
func TestSystemRows(t *testing.T) {
	k := newAccessKit(t)
	k.inside("acme", func(ctx context.Context) {
		_, err := tenancy.ClientGrants.Update(ctx, only("cgr_", "acme"), func(g *tenancy.ClientGrant) error { g.IsSystem = true; return nil })
		k.must(err)
		_, err = tenancy.Connections.Update(ctx, only("con_", "acme"), func(g *tenancy.Connection) error { g.IsSystem = true; return nil })
		k.must(err)
		_, err = tenancy.Clients.Update(ctx, only("only", "acme"), func(g *tenancy.Client) error { g.IsSystem = true; return nil })
		k.must(err)
	})
	permissions := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": apiName, "permission_name": "read:orders"}}}
	rows := []struct{ entity, path string }{
		{"resource server", "/resource-servers/" + systemAPI},
		{"resource server", "/resource-servers/https%3A%2F%2Fsystem.example.com"},
		{"resource server", "/resource-servers/urn:gatehouse:management"},
		{"resource server", "/resource-servers/https%3A%2F%2Facme.auth.example.com%2Fapi%2Fv2%2F"},
		{"role", "/roles/" + systemRole},
		{"connection", "/connections/" + only("con_", "acme")},
		{"client grant", "/client-grants/" + only("cgr_", "acme")},
		{"client", "/clients/" + only("only", "acme")},
	}
	callers := map[string]claims{"own": machine("acme"), "org": k.in("acme", person(ann)), "admin": admin()}
	for _, r := range rows {
		for who, token := range callers {
			t.Run(who+" "+r.path, func(t *testing.T) {
				inner := k.with(t)
				refused := scenario{token: token, status: 403, code: "system_resource", says: "This " + r.entity + " is a system resource and cannot be modified"}
				for method, body := range map[string]any{"PATCH": map[string]any{}, "DELETE": nil} { // C6.32: also an empty PATCH
					s := refused
					s.method, s.path, s.body = method, r.path, body
					inner.play(s)
				}
				if r.entity == "role" {
					for _, method := range []string{"POST", "DELETE"} {
						s := refused
						s.method, s.path, s.body = method, r.path+"/permissions", permissions
						inner.play(s)
					}
				}
			})
		}
	}
	own := machine("acme")
	k.run([]scenario{
		{name: "scope comes first (C6.32)", token: machine("acme", "read:roles"), method: "PATCH", path: "/roles/" + systemRole, body: `{}`, status: 403, code: "insufficient_scope"},
		{name: "existence comes first (C6.32)", token: own, method: "PATCH", path: "/roles/nope", body: `{}`, status: 404},
		{name: "rotate", token: own, method: "POST", path: "/clients/" + only("only", "acme") + "/rotate-secret", status: 403, code: "system_resource"},
		// Allowed on copies (C6.34).
		{name: "assign to a user", token: own, method: "POST", path: "/users/auth0%7Csame/roles", body: map[string]any{"roles": []string{systemRole}}, status: 204},
		{name: "assign by the role", token: own, method: "POST", path: "/roles/" + systemRole + "/users", body: map[string]any{"users": []string{only("auth0|", "acme")}}, status: 200},
		{name: "assign to a member", token: own, method: "POST", path: "/organizations/same/members/auth0%7Csame/roles", body: map[string]any{"roles": []string{systemRole}}, status: 204},
		{
			name: "grant", token: own, method: "POST", path: "/client-grants",
			body: map[string]any{"client_id": sameClient, "audience": "https://system.example.com", "scope": []string{"read:orders"}}, status: 201,
		},
		{name: "default audience", token: own, method: "PATCH", path: "/tenants/settings", body: `{"default_audience":"https://system.example.com"}`, status: 200},
		{
			name: "enable for a client", token: own, method: "PATCH", path: "/connections/" + only("con_", "acme") + "/clients",
			body: []any{map[string]any{"client_id": sameClient, "status": true}}, status: 204,
		},
		{
			name: "enable for an organization", token: own, method: "POST", path: "/organizations/same/enabled_connections",
			body: map[string]any{"connection_id": only("con_", "acme")}, status: 201,
		},
		{name: "built-in role on the control plane (C6.31)", host: cpHost, token: admin(), method: "PATCH", path: "/roles/" + builtIn(k), body: `{}`, status: 403, code: "system_resource"},
	})
}

// builtIn is the id of the control plane's Tenant Admin.
func builtIn(k *kit) (id string) {
	k.inside("control_plane", func(ctx context.Context) {
		r, err := tenancy.BuiltInRole(ctx, tenancy.RoleTenantAdmin)
		k.must(err)
		id = r.ID
	})
	return id
}

// revision expects the header of C6.3, or none.
func revision(want bool) func(t *testing.T, a answered) {
	return func(t *testing.T, a answered) {
		if got := a.Header().Get("Gatehouse-Sync-Revision"); (got != "") != want {
			t.Errorf("Gatehouse-Sync-Revision %q", got)
		}
	}
}

func TestSyncRevision(t *testing.T) {
	k := newKit(t)
	permission := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": "https://shared", "permission_name": "a"}}}
	var role string
	k.run([]scenario{
		{name: "resource server", host: cpHost, token: admin(), method: "POST", path: "/resource-servers", body: `{"identifier":"https://shared","scopes":[{"value":"a"}]}`, status: 201, check: revision(true)},
		{
			name: "role", host: cpHost, token: admin(), method: "POST", path: "/roles", body: `{"name":"Shared"}`, status: 200,
			check: func(t *testing.T, a answered) { role = a.text("id"); revision(true)(t, a) },
		},
	})
	k.run([]scenario{
		{name: "permission", host: cpHost, token: admin(), method: "POST", path: "/roles/" + role + "/permissions", body: permission, status: 201, check: revision(true)},
		{name: "deleted", host: cpHost, token: admin(), method: "DELETE", path: "/roles/" + role, status: 200, check: revision(true)},
		{name: "user", host: cpHost, token: admin(), method: "POST", path: "/organizations", body: `{"name":"x"}`, status: 201, check: revision(false)},
		{name: "child", token: machine("acme"), method: "POST", path: "/roles", body: `{"name":"Own"}`, status: 200, check: revision(false)},
	})
}

// TestAudit is C5.15.
func TestAudit(t *testing.T) {
	k := newKit(t)
	k.play(scenario{
		host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, method: "POST", path: "/users",
		body: `{"connection":"db","email":"log@acme.test","password":"Pass-w0rd-123"}`, status: 201,
	})
	list := k.events.of("sapi")
	if len(list) != 1 {
		t.Fatalf("%d events, want 1", len(list))
	}
	e := list[0]
	if e.tenant != "acme" || e.UserID != "auth0|root" || e.IP != "192.0.2.1" || !strings.Contains(string(e.Details), `"password"`) {
		t.Errorf("event %+v %s", e, e.Details)
	}
	if strings.Contains(string(e.Details), "Pass-w0rd") || strings.Contains(string(e.Details), "log@acme") {
		t.Errorf("event holds values: %s", e.Details)
	}
	var details map[string]any
	if err := json.Unmarshal(e.Details, &details); err != nil {
		t.Errorf("details: %v", err)
	}
	k.play(scenario{token: machine("acme", "read:users"), method: "DELETE", path: "/users/x", status: 403})
	k.play(scenario{token: machine("acme"), path: "/users/x", status: 404})
	if refused := k.events.of("fapi"); len(refused) != 1 || refused[0].tenant != "acme" {
		t.Errorf("%d refusals recorded, want the 403 only", len(refused))
	}
}
