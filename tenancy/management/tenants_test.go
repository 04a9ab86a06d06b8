package management

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestPlacement: where a tenant is to be is chosen when it is made, and shown, as
// is the version of its schema (contract 5.2).
func TestPlacement(t *testing.T) {
	k := newAccessKit(t)
	ask := func(id string, placement map[string]any) map[string]any {
		return map[string]any{"id": id, "friendly_name": id, "placement": placement}
	}
	create := func(name, id string, placement map[string]any, s scenario) scenario {
		s.name, s.host, s.method, s.path, s.body = name, cpHost, "POST", "/tenants", ask(id, placement)
		if s.token.Subject == "" {
			s.token = admin()
		}
		return s
	}
	k.inside("control_plane", func(ctx context.Context) {
		_, err := tenancy.SettingsRows.Update(ctx, tenancy.SettingsOwn, func(s *tenancy.SettingsRow) error {
			s.Values["flags"] = json.RawMessage(`{"self_service_tenants":true}`)
			return nil
		})
		k.must(err)
	})
	k.run([]scenario{
		create("chosen", "beta", map[string]any{"provider": "other"}, scenario{status: 201, holds: `"placement":{"provider":"other"}`}),
		{name: "shown", host: cpHost, token: admin(), path: "/tenants/beta", status: 200, holds: `"schema_version":1`},
		create("unknown", "gamma", map[string]any{"provider": "nowhere"}, scenario{status: 400, code: "invalid_body", says: "Payload validation error: 'unknown provider' on property placement.provider"}),
		create("parameters", "gamma", map[string]any{"provider": "other", "params": map[string]any{"a": 1}}, scenario{status: 400, code: "invalid_body"}),
		create("not by a person who helps themselves", "gamma", map[string]any{"provider": "other"}, scenario{token: person(ann), status: 403, code: "insufficient_scope"}),
		{name: "not made", host: cpHost, token: admin(), path: "/tenants/gamma", status: 404},
		{name: "not changed", host: cpHost, token: admin(), method: "PATCH", path: "/tenants/beta", body: map[string]any{"placement": map[string]any{"provider": ""}}, status: 400},
	})
	if beta, ok := k.directory.ByID("beta"); !ok || beta.Placement != "other" {
		t.Errorf("beta is in %+v", beta)
	}
}

// TestTenants is contract 5.2 and TT33 to TT40.
func TestTenants(t *testing.T) {
	k := newAccessKit(t)
	org := k.in("acme", person(ann))
	fewScopes := machine("control_plane", "read:users")
	deletes := k.in("acme", person(ann, "delete:tenants"))
	newTenant := map[string]any{"id": "beta", "friendly_name": "Beta"}
	k.run([]scenario{
		{name: "TT33 without org", host: cpHost, token: person(ann), path: "/tenants", status: 200, holds: `"id":"acme"`, lacks: "widgets"},
		{name: "TT33 with org", host: cpHost, token: org, path: "/tenants", status: 200, holds: `"id":"acme"`, lacks: "widgets"},
		{name: "no membership", host: cpHost, token: person("auth0|cid"), path: "/tenants", status: 200, holds: `{"tenants":[]}`},
		{name: "TT34 admin", host: cpHost, token: admin(), path: "/tenants?include_totals=true", status: 200, holds: `"total":3`},
		{name: "TT34 machine", host: cpHost, token: machine("control_plane", "read:tenants"), path: "/tenants", status: 200, holds: "widgets"},
		{name: "TT35", host: cpHost, token: fewScopes, path: "/tenants", status: 403, code: "insufficient_scope"},
		{
			name: "C9.20 org-scoped admin:organizations", host: cpHost, token: k.in("acme", person(ann, "admin:organizations")), path: "/tenants",
			status: 200, holds: "acme", lacks: "widgets",
		},
		{name: "order is id", host: cpHost, token: admin(), path: "/tenants", status: 200, check: func(t *testing.T, a answered) {
			if a.text("tenants", 0, "id") != "acme" || a.text("tenants", 2, "id") != "widgets" {
				t.Errorf("order: %s", a.Body)
			}
		}},
		{name: "walk", host: cpHost, token: admin(), path: "/tenants?take=2", status: 200, holds: `"next":`},
		{name: "q", host: cpHost, token: admin(), path: "/tenants?q=tenant%20wid", status: 200, holds: "widgets", lacks: "acme"},
		{name: "q is no pattern", host: cpHost, token: admin(), path: "/tenants?q=%25", status: 200, holds: `{"tenants":[]}`},
		{name: "state", host: cpHost, token: admin(), path: "/tenants?state=failed", status: 200, holds: `{"tenants":[]}`},
		{name: "sort by something else", host: cpHost, token: admin(), path: "/tenants?sort=data_key:1", status: 400, code: "invalid_query_string"},
		{name: "no secrets", host: cpHost, token: admin(), path: "/tenants/acme", status: 200, holds: `"issuer":"https://acme.auth.example.com/"`, lacks: "data_key"},
		{name: "C5.22 member", host: cpHost, token: person(ann), path: "/tenants/acme", status: 200},
		{name: "C5.22 other", host: cpHost, token: person(ann), path: "/tenants/widgets", status: 403, says: "Access denied to this tenant"},
		{name: "C5.22 unknown", host: cpHost, token: person(ann), path: "/tenants/ghost", status: 403, says: "Access denied to this tenant"},
		{
			name: "TT38", host: cpHost, token: org, method: "POST", path: "/tenants", body: newTenant, status: 403,
			says: "Tenants can only be created with a control-plane token without organization",
		},
		{name: "C9.10 org token on the registry's children", host: cpHost, token: org, path: "/sync/status", status: 403},
		{
			name: "TT37", host: cpHost, token: person(ann, "create:tenants"), method: "POST", path: "/tenants", body: newTenant, status: 201,
			holds: `"state":"active"`, check: func(t *testing.T, a answered) {
				if !strings.HasPrefix(a.Header().Get("Location"), "/api/v2/operations/op_") {
					t.Errorf("Location %q", a.Header().Get("Location"))
				}
			},
		},
		{name: "creator is a member", host: cpHost, token: person(ann), path: "/tenants", status: 200, holds: `"id":"beta"`},
		{
			name: "SC-100 again", host: cpHost, token: person(ann, "create:tenants"), method: "POST", path: "/tenants", body: newTenant, status: 409,
			code: "tenant_conflict", says: "Tenant with ID 'beta' already exists",
		},
		{
			name: "SC-100 no name", host: cpHost, token: admin(), method: "POST", path: "/tenants", body: map[string]any{"id": "gamma"}, status: 400,
			says: "Payload validation error: 'Missing required property: friendly_name'",
		},
		{
			name: "SC-100 reserved", host: cpHost, token: admin(), method: "POST", path: "/tenants", body: map[string]any{"id": "www", "friendly_name": "x"},
			status: 400, says: "Tenant id 'www' is reserved",
		},
		{
			name: "SC-100 grammar", host: cpHost, token: admin(), method: "POST", path: "/tenants", body: map[string]any{"id": "Bad_Id", "friendly_name": "x"},
			status: 400, code: "invalid_body",
		},
		{
			name: "setting that is invalid", host: cpHost, token: admin(), method: "POST", path: "/tenants",
			body: map[string]any{"id": "gamma", "friendly_name": "x", "session_lifetime": "long"}, status: 400, code: "invalid_body",
		},
		{
			name: "C9.25 state", host: cpHost, token: admin(), method: "POST", path: "/tenants",
			body: map[string]any{"id": "gamma", "friendly_name": "x", "state": "active"}, status: 400,
			says: "Payload validation error: 'Additional properties not allowed: state'",
		},
		{
			name: "id is generated", host: cpHost, token: machine("control_plane", "create:tenants"), method: "POST", path: "/tenants",
			body: map[string]any{"friendly_name": "Generated", "support_email": "a@b.test"}, status: 201, check: func(t *testing.T, a answered) {
				if len(a.text("id")) != 12 {
					t.Errorf("id %q", a.text("id"))
				}
			},
		},
		{
			name: "rename", host: cpHost, token: k.in("acme", person(ann)), method: "PATCH", path: "/tenants/acme",
			body: map[string]any{"friendly_name": "Acme Inc", "metadata": map[string]any{"plan": "pro"}}, status: 200, holds: `"friendly_name":"Acme Inc"`,
		},
		{name: "display name follows (C8.10)", host: cpHost, token: admin(), path: "/organizations/acme", status: 200, holds: `"display_name":"Acme Inc"`},
		{
			name: "inheritance is the platform's", host: cpHost, token: k.in("acme", person(ann)), method: "PATCH", path: "/tenants/acme",
			body: map[string]any{"inheritance": map[string]any{"mode": "none"}}, status: 403, code: "insufficient_scope",
		},
		{
			name: "inheritance", host: cpHost, token: admin(), method: "PATCH", path: "/tenants/acme",
			body: map[string]any{"inheritance": map[string]any{"mode": "none"}}, status: 200, holds: `"mode":"none"`,
		},
		{
			name: "inheritance that is invalid", host: cpHost, token: admin(), method: "PATCH", path: "/tenants/acme",
			body: map[string]any{"inheritance": map[string]any{"mode": "some"}}, status: 400,
		},
		{name: "C9.25 id", host: cpHost, token: admin(), method: "PATCH", path: "/tenants/acme", body: map[string]any{"id": "other"}, status: 400},
		{name: "TT39 other", host: cpHost, token: deletes, method: "DELETE", path: "/tenants/widgets", status: 403, says: "Access denied to this tenant"},
		{name: "TT39 ghost", host: cpHost, token: deletes, method: "DELETE", path: "/tenants/ghost", status: 403, says: "Access denied to this tenant"},
		{
			name: "TT40 control plane", host: cpHost, token: admin(), method: "DELETE", path: "/tenants/control_plane", status: 403,
			says: "Cannot delete the control plane",
		},
		{name: "TT40 ghost", host: cpHost, token: admin(), method: "DELETE", path: "/tenants/ghost", status: 404, says: "Tenant not found"},
		{name: "TT39 own", host: cpHost, token: deletes, method: "DELETE", path: "/tenants/acme", status: 204},
		{name: "gone", host: cpHost, token: admin(), path: "/tenants/acme", status: 404, says: "Tenant not found"},
		{name: "its organization too", host: cpHost, token: admin(), path: "/organizations/acme", status: 404},
		{name: "sync status", host: cpHost, token: admin(), path: "/sync/status", status: 200, holds: `{"revision":1}`},
	})
}

// TestTenantsReadModifyWrite is SC-067 for the registry.
func TestTenantsReadModifyWrite(t *testing.T) {
	k := newAccessKit(t)
	read := k.do("GET", cpHost, "/tenants/acme", admin().token(), nil)
	k.play(scenario{
		host: cpHost, token: admin(), method: "PATCH", path: "/tenants/acme", body: read.Body.String(), status: 200,
		check: func(t *testing.T, a answered) {
			if a.Body.String() != read.Body.String() || a.Header().Get("ETag") != read.Header().Get("ETag") {
				t.Errorf("changed\n from %s\n to   %s", read.Body, a.Body)
			}
		},
	})
}

// TestManyMemberships holds that the list of a person's tenants is complete and
// exact for more memberships than any page has (C5.20).
func TestManyMemberships(t *testing.T) {
	k := newKit(t)
	k.inside("control_plane", func(ctx context.Context) {
		for i := range 150 {
			id := "t" + strings.Repeat("0", 3-len(itoa(i))) + itoa(i)
			k.must(tenancy.Commit(ctx, tenancy.Tenants.Insert(ctx, &tenancy.Tenant{
				Row: tenancy.Row{ID: id}, FriendlyName: id,
				State: tenancy.StateActive, OrganizationID: "org_" + id,
			}), tenancy.Members.Insert(ctx, tenancy.NewMember("org_"+id, ann))))
		}
	})
	seen := map[string]int{}
	path := "/tenants?take=40"
	for path != "" {
		a := k.do("GET", cpHost, path, person(ann).token(), nil)
		rows, _ := a.member("tenants").([]any)
		for i := range rows {
			seen[a.text("tenants", i, "id")]++
		}
		next := a.text("next")
		if path = ""; next != "" {
			path = "/tenants?take=40&from=" + next
		}
	}
	if len(seen) != 150 {
		t.Errorf("saw %d tenants, want 150", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("saw %s %d times", id, n)
		}
	}
	k.play(scenario{host: cpHost, token: person(ann), path: "/tenants?include_totals=true&per_page=100&page=1", status: 200, holds: `"total":150`})
}

// TestSuspendAndResume is C5.25, C8.2, C8.11.
func TestSuspendAndResume(t *testing.T) {
	k := newAccessKit(t)
	may := machine("control_plane", "suspend:tenants")
	conflict := func(name, verb string) scenario {
		return scenario{name: name, host: cpHost, token: may, method: "POST", path: "/tenants/widgets/" + verb, status: 409, code: "tenant_conflict"}
	}
	k.run([]scenario{
		{name: "scope", host: cpHost, token: machine("control_plane", "update:tenants"), method: "POST", path: "/tenants/acme/suspend", status: 403, code: "insufficient_scope"},
		{name: "C9.20 org token", host: cpHost, token: k.in("acme", person(ann, "suspend:tenants")), method: "POST", path: "/tenants/acme/suspend", status: 403, code: "insufficient_scope"},
		{name: "stranger", host: cpHost, token: person("auth0|cid", "suspend:tenants"), method: "POST", path: "/tenants/acme/suspend", status: 403, says: "Access denied to this tenant"},
		{name: "control plane", host: cpHost, token: admin(), method: "POST", path: "/tenants/control_plane/suspend", status: 403, says: "Cannot suspend the control plane"},
		{name: "ghost", host: cpHost, token: admin(), method: "POST", path: "/tenants/ghost/suspend", status: 404, says: "Tenant not found"},
		{name: "reason of another type", host: cpHost, token: may, method: "POST", path: "/tenants/acme/suspend", body: `{"reason":1}`, status: 400, code: "invalid_body"},
		{name: "reason too long", host: cpHost, token: may, method: "POST", path: "/tenants/acme/suspend", body: map[string]any{"reason": strings.Repeat("é", 256)}, status: 400, code: "invalid_body"},
		{name: "resume what is active", host: cpHost, token: may, method: "POST", path: "/tenants/acme/resume", status: 200, holds: `"state":"active"`},
		{
			name: "suspend", host: cpHost, token: may, method: "POST", path: "/tenants/acme/suspend", body: map[string]any{"reason": "unpaid"}, status: 200,
			holds: `"suspended_reason":"unpaid"`, check: func(t *testing.T, a answered) {
				if a.text("state") != "suspended" || a.text("suspended_at") == "" {
					t.Errorf("answer: %s", a.Body)
				}
			},
		},
		{name: "C1.19 at once", token: machine("acme"), path: "/users", status: 403, code: "tenant_suspended"},
		{name: "others go on", host: widgetsHost, token: machine("widgets"), path: "/users", status: 200},
		{
			name: "again changes nothing", host: cpHost, token: may, method: "POST", path: "/tenants/acme/suspend", body: map[string]any{"reason": "other"},
			status: 200, holds: `"suspended_reason":"unpaid"`,
		},
		{name: "the registry still knows it", host: cpHost, token: admin(), path: "/tenants?state=suspended", status: 200, holds: `"id":"acme"`, lacks: "widgets"},
		{name: "resume", host: cpHost, token: may, method: "POST", path: "/tenants/acme/resume", status: 200, holds: `"state":"active"`, lacks: "suspended_"},
		{name: "serves again", token: machine("acme"), path: "/users", status: 200},
	})
	_, err := k.lifecycle.Update(t.Context(), "widgets", func(t *tenancy.Tenant) error { t.State = tenancy.StateFailed; return nil })
	k.must(err)
	k.run([]scenario{conflict("C8.2 failed cannot be suspended", "suspend"), conflict("C8.2 failed cannot be resumed", "resume")})
	var seen []string
	for _, e := range k.events.of("gh_tenant") {
		if strings.Contains(string(e.Details), `"acme"`) {
			seen = append(seen, e.tenant+" "+e.Description)
		}
	}
	if got := strings.Join(seen, ", "); !strings.HasSuffix(got, "control_plane tenant.suspended, control_plane tenant.resumed") {
		t.Errorf("C8.15 events: %s", got)
	}
}
