package management

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// aPublicKey is one of curve P-256.
const aPublicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkxnsLkFrdkJNpl6R1lC45HK/XI1s
QVUizgBBYZHuYf5LkpoYzS76lB6ZpYzxPCa9Ol8DeiPsd9ON5Qod5EBA5w==
-----END PUBLIC KEY-----
`

// bodies are valid bodies of the routes that need one to get as far as looking
// an entity up. The rows they name exist in the tenant called tenant.
func bodies(tenant string) map[string]any {
	api := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": "https://only." + tenant, "permission_name": "read:orders"}}}
	return map[string]any{
		"POST /roles":                                                map[string]any{"name": "New"},
		"POST /resource-servers":                                     map[string]any{"identifier": "https://new.example.com"},
		"POST /clients":                                              map[string]any{"name": "New"},
		"POST /clients/{id}/credentials":                             map[string]any{"credential_type": "public_key", "pem": aPublicKey},
		"POST /client-grants":                                        map[string]any{"client_id": only("only", tenant), "audience": "https://only." + tenant, "scope": []string{}},
		"POST /connections":                                          map[string]any{"name": "new", "strategy": "auth0"},
		"POST /emails/provider":                                      map[string]any{"name": "sendgrid", "credentials": map[string]any{"api_key": "k"}},
		"POST /email-templates":                                      map[string]any{"template": "verify_email", "subject": "S", "body": "B"},
		"PUT /email-templates/{template}":                            map[string]any{"subject": "S", "body": "B"},
		"POST /tickets/email-verification":                           map[string]any{"user_id": only("auth0|", tenant)},
		"POST /tickets/password-change":                              map[string]any{"user_id": only("auth0|", tenant)},
		"POST /organizations":                                        map[string]any{"name": "new"},
		"POST /users":                                                map[string]any{"connection": "only-" + tenant, "email": "new@example.com"},
		"POST /custom-domains":                                       map[string]any{"domain": "new.example.org", "type": "auth0_managed_certs"},
		"POST /tenants":                                              map[string]any{"friendly_name": "New"},
		"PATCH /tenants/settings":                                    map[string]any{},
		"POST /roles/{id}/permissions":                               api,
		"DELETE /roles/{id}/permissions":                             api,
		"POST /roles/{id}/users":                                     map[string]any{"users": []string{only("auth0|", tenant)}},
		"POST /users/{id}/roles":                                     map[string]any{"roles": []string{only("rol_", tenant)}},
		"DELETE /users/{id}/roles":                                   map[string]any{"roles": []string{only("rol_", tenant)}},
		"POST /sync/repair":                                          map[string]any{"dry_run": true},
		"POST /tenants/{id}/operations":                              map[string]any{"kind": "sync"},
		"POST /tenants/{id}/suspend":                                 map[string]any{"reason": "x"},
		"POST /tenants/{id}/move":                                    map[string]any{"provider": "elsewhere"},
		"POST /users/{id}/permissions":                               api,
		"DELETE /users/{id}/permissions":                             api,
		"POST /organizations/{id}/members":                           map[string]any{"members": []string{only("auth0|", tenant)}},
		"DELETE /organizations/{id}/members":                         map[string]any{"members": []string{only("auth0|", tenant)}},
		"POST /organizations/{id}/members/{user}/roles":              map[string]any{"roles": []string{only("rol_", tenant)}},
		"DELETE /organizations/{id}/members/{user}/roles":            map[string]any{"roles": []string{only("rol_", tenant)}},
		"POST /organizations/{id}/enabled_connections":               map[string]any{"connection_id": only("con_", tenant)},
		"POST /organizations/{id}/client-grants":                     map[string]any{"grant_id": only("cgr_", tenant)},
		"POST /organizations/{id}/invitations":                       invitationOf(only("only", tenant)),
		"POST /tenant-members":                                       map[string]any{"user_ids": []string{only("auth0|boss-", tenant)}},
		"DELETE /tenant-members":                                     map[string]any{"user_ids": []string{only("auth0|boss-", tenant)}},
		"POST /tenant-members/{user}/roles":                          map[string]any{"roles": []string{only("rol_", tenant)}},
		"DELETE /tenant-members/{user}/roles":                        map[string]any{"roles": []string{only("rol_", tenant)}},
		"POST /tenant-members/invitations":                           invitationOf(only("only", tenant)),
		"PATCH /connections/{id}/clients":                            []any{map[string]any{"client_id": only("only", tenant), "status": true}},
		"PATCH /clients/{id}/connections":                            []any{map[string]any{"connection_id": only("con_", tenant), "status": true}},
		"PATCH /organizations/{id}/enabled_connections/{connection}": map[string]any{"show_as_button": false},
	}
}

// invitationOf is an invitation to log in at the client.
func invitationOf(client string) map[string]any {
	return map[string]any{"inviter": map[string]any{"name": "Ann"}, "invitee": map[string]any{"email": "new@example.com"}, "client_id": client}
}

// callerOf is a tenant's own caller of a route: on team routes one of the control
// plane with a token for the tenant's organization, elsewhere the tenant's machine.
func (k *kit) callerOf(r RouteInfo, tenant string, scopes ...string) claims {
	if r.Team {
		return k.in(tenant, person(only("auth0|boss-", tenant), scopes...))
	}
	return machine(tenant, scopes...)
}

// bodyOf is the body for a route; PATCH without a special one is {}.
func bodyOf(r RouteInfo, tenant string) any {
	if b, ok := bodies(tenant)[r.Method+" "+strings.TrimPrefix(r.Path, prefix)]; ok {
		return b
	}
	if r.Method == http.MethodPatch {
		return map[string]any{}
	}
	return nil
}

// pathOf fills a route's parameters with ids of the rows that only tenant has.
// Parameters beside {id} name rows of the same tenant.
func pathOf(r RouteInfo, tenant string) string {
	path := strings.TrimPrefix(r.Path, prefix)
	ids := map[string]string{
		"/roles": only("rol_", tenant), "/resource-servers": only("0000000000000000000", tenant), "/clients": only("only", tenant),
		"/client-grants": only("cgr_", tenant), "/connections": only("con_", tenant), "/organizations": only("org_", tenant),
		"/users": only("auth0%7C", tenant), "/user-blocks": only("auth0%7C", tenant), "/sessions": only("ses_", tenant), "/refresh-tokens": only("rt_", tenant),
		"/refresh_tokens": only("rt_", tenant), "/grants": only("grt_", tenant), "/tenants": tenant, "/operations": only("op_", tenant), "/logs": only("-log_", tenant),
		"/custom-domains": only("cd_", tenant),
	}
	kind, user := "/"+strings.Split(path, "/")[1], only("auth0%7C", tenant)
	if r.Team {
		user = only("auth0%7Cboss-", tenant)
	}
	return strings.NewReplacer("{id}", ids[kind], "{template}", templateOf(tenant), "{name}", "only-"+tenant, "{user}", user, "{invitation}", only("uinv_", tenant),
		"{connection}", only("con_", tenant), "{grant}", only("cgr_", tenant), "{kid}", only("kid_", tenant), "{credential}", only("cred_", tenant)).Replace(path)
}

// TestForeignRows is generated from the route table: whatever an acme caller
// asks of a row that only widgets has, acme does not have it (C5.3, C9.4), and
// nothing of widgets is answered or changed.
func TestForeignRows(t *testing.T) {
	k := newKit(t)
	before := snapshot(k, "widgets") + snapshot(k, "control_plane")
	for _, r := range Routes() {
		if !strings.Contains(r.Path, "{") || r.ControlPlaneOnly {
			continue
		}
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			a := k.do(r.Method, acmeHost, pathOf(r, "widgets"), k.callerOf(r, "acme").token(), bodyOf(r, "widgets"))
			if a.Code != http.StatusNotFound {
				t.Errorf("status %d, want 404: %s", a.Code, a.Body)
			}
			if strings.Contains(a.Body.String(), "widgets") {
				t.Errorf("answer tells of widgets: %s", a.Body)
			}
		})
	}
	if after := snapshot(k, "widgets") + snapshot(k, "control_plane"); after != before {
		t.Errorf("widgets was changed\nbefore %s\n after %s", before, after)
	}
}

// TestOwnParentForeignBody is the other half: an entity of acme's own, and a body
// that names rows of widgets only. All of it is refused and nothing is written.
func TestOwnParentForeignBody(t *testing.T) {
	k := newKit(t)
	before := snapshot(k, "acme")
	for _, r := range Routes() {
		body := bodies("widgets")[r.Method+" "+strings.TrimPrefix(r.Path, prefix)]
		if body == nil || r.ControlPlaneOnly || !strings.Contains(string(encode(body)), "widgets") || strings.Contains(r.Path, "/members/{user}") || r.Team { // the team's is in TestTeam
			continue
		}
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			path := pathOf(r, "acme")
			a := k.do(r.Method, acmeHost, path, machine("acme").token(), body)
			if r.Method == http.MethodDelete && strings.HasSuffix(path, "/members") {
				if a.Code != http.StatusNoContent { // non-members are ignored (C5.42)
					t.Errorf("status %d, want 204: %s", a.Code, a.Body)
				}
				return
			}
			if a.Code != http.StatusBadRequest && a.Code != http.StatusNotFound {
				t.Errorf("status %d, want 400 or 404: %s", a.Code, a.Body)
			}
		})
	}
	if after := snapshot(k, "acme"); after != before {
		t.Errorf("acme was changed\nbefore %s\n after %s", before, after)
	}
}

// TestEveryRouteAsksForAToken is generated from the route table: no token is
// 401 (TT1), another tenant's token is 401 (TT28), and a token without the scope
// is 403 with the route's scopes (C2.66), before anything is looked up.
func TestEveryRouteAsksForAToken(t *testing.T) {
	k := newKit(t)
	for _, r := range Routes() {
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			inner := k.with(t)
			host, own, foreign := acmeHost, "acme", machine("widgets")
			if r.ControlPlaneOnly {
				host, own, foreign = cpHost, "control_plane", machine("acme")
			}
			path := pathOf(r, "widgets")
			inner.play(scenario{
				method: r.Method, host: host, path: path, status: 401, code: "invalid_token", says: "Missing authentication",
				check: func(t *testing.T, a answered) {
					if got := a.Header().Get("WWW-Authenticate"); got != "Bearer" {
						t.Errorf("WWW-Authenticate %q, want Bearer alone (C2.69)", got)
					}
				},
			})
			inner.play(scenario{method: r.Method, host: host, path: path, token: foreign, status: 401, holds: "Unexpected issuer"})
			if r.Team { // C5.105: neither the tenant's own token nor another team's
				for _, token := range []claims{machine("acme"), k.in("widgets", person(ann)), person(ann)} {
					inner.play(scenario{
						method: r.Method, host: host, path: path, token: token, body: bodyOf(r, "acme"), status: 403,
						says: "Managing this tenant's team requires an organization token whose org_name matches the tenant.",
					})
				}
			}
			if r.ControlPlaneOnly { // TT36, C9.12
				inner.play(scenario{
					method: r.Method, host: acmeHost, path: path, token: machine("acme"), status: 403, code: "control_plane_only",
					says: "Tenants can only be managed from the control plane",
				})
			}
			want := append(slices.Clone(r.AnyOf), r.AllOf...)
			if len(want) == 0 {
				return // judged by membership, see TestTenants
			}
			inner.play(scenario{
				method: r.Method, host: host, path: path, token: k.callerOf(r, own, "read:nothing"), body: bodyOf(r, "widgets"),
				status: 403, code: "insufficient_scope", says: "Insufficient scope, expected any of: " + strings.Join(want, ", "),
			})
			for _, scope := range want { // every other scope together is not enough
				others := slices.DeleteFunc(slices.Clone(tenancy.ManagementScopes(r.ControlPlaneOnly)), func(s string) bool {
					return s == scope || slices.Contains(r.AnyOf, s) || s == tenancy.ScopePlatformAdmin
				})
				inner.play(scenario{
					method: r.Method, host: host, path: path, token: k.callerOf(r, own, others...), body: bodyOf(r, "widgets"),
					status: 403, code: "insufficient_scope",
				})
			}
		})
	}
}

// TestEveryCreationIsStrict is generated from the route table: a body with a
// member that nobody knows, of the wrong type, or that is no JSON is 400.
func TestEveryCreationIsStrict(t *testing.T) {
	k := newKit(t)
	for _, r := range Routes() {
		if r.Method == http.MethodGet || strings.HasSuffix(r.Path, "/revoke") || r.ControlPlaneOnly && r.Method != http.MethodPost {
			continue
		}
		_, takesBody := bodyOf(r, "acme").(map[string]any)
		if !takesBody {
			continue
		}
		t.Run(r.Method+" "+r.Path, func(t *testing.T) {
			inner := k.with(t)
			host, token := acmeHost, k.callerOf(r, "acme")
			if r.ControlPlaneOnly {
				host, token = cpHost, machine("control_plane")
			}
			path := pathOf(r, "acme")
			if strings.Contains(path, "enabled_connections/") || strings.Contains(path, "/members/") {
				path = strings.NewReplacer(only("org_", "acme"), sameOrg, only("con_", "acme"), sameConn, only("auth0%7C", "acme"), "auth0%7Csame").Replace(path)
			}
			inner.play(scenario{
				method: r.Method, host: host, path: path, token: token, body: `{"foo":1}`, status: 400, code: "invalid_body",
				says: "Payload validation error: 'Additional properties not allowed: foo'",
			})
			inner.play(scenario{
				method: r.Method, host: host, path: path, token: token, body: `[1]`, status: 400, code: "invalid_body",
				says: "Payload validation error: 'Expected type object but found type array'",
			})
			inner.play(scenario{method: r.Method, host: host, path: path, token: token, body: `{"foo":`, status: 400, code: "invalid_body"})
			inner.play(scenario{method: r.Method, host: host, path: path, token: token, body: `{} {}`, status: 400, code: "invalid_body"})
		})
	}
}

// snapshot is the content of a tenant's tables.
func snapshot(k *kit, tenant string) string {
	k.Helper()
	var b strings.Builder
	k.inside(tenant, func(ctx context.Context) {
		dump(ctx, k, &b, tenancy.Roles)
		dump(ctx, k, &b, tenancy.RolePermissions)
		dump(ctx, k, &b, tenancy.ResourceServers)
		dump(ctx, k, &b, tenancy.Clients)
		dump(ctx, k, &b, tenancy.ClientCredentials)
		dump(ctx, k, &b, tenancy.ClientGrants)
		dump(ctx, k, &b, tenancy.GrantOrganizations)
		dump(ctx, k, &b, tenancy.Connections)
		dump(ctx, k, &b, tenancy.EmailProviders)
		dump(ctx, k, &b, tenancy.ClientConnections)
		dump(ctx, k, &b, tenancy.Organizations)
		dump(ctx, k, &b, tenancy.OrganizationConnections)
		dump(ctx, k, &b, tenancy.Members)
		dump(ctx, k, &b, tenancy.Invitations)
		dump(ctx, k, &b, tenancy.Users)
		dump(ctx, k, &b, tenancy.UserRoles)
		dump(ctx, k, &b, tenancy.UserPermissions)
		dump(ctx, k, &b, tenancy.Sessions)
		dump(ctx, k, &b, tenancy.Grants)
		dump(ctx, k, &b, tenancy.Consents)
		dump(ctx, k, &b, tenancy.SigningKeys)
		dump(ctx, k, &b, tenancy.SettingsRows)
		dump(ctx, k, &b, tenancy.Events)
	})
	k.inside("control_plane", func(ctx context.Context) {
		rows, err := tenancy.CustomDomains.Find(ctx, tenancy.Filter{Where: "subject = ?", Args: []any{tenant}})
		k.must(err)
		fmt.Fprintf(&b, "domains: %+v\n", rows)
	})
	return b.String()
}

func dump[T any](ctx context.Context, k *kit, b *strings.Builder, table *tenancy.Table[T]) {
	rows, err := table.Find(ctx, tenancy.Filter{})
	k.must(err)
	fmt.Fprintf(b, "%s: %+v\n", table.Name(), rows)
}
