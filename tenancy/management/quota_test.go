package management

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestQuotas is C5.18 and C5.23: the platform sets how many rows of a kind a tenant
// has; four fifths and all of them are logged in it, and one more is refused, of
// every kind. Another tenant's rows do not count.
func TestQuotas(t *testing.T) {
	k := newAccessKit(t)
	counts := map[string]int64{}
	k.inside("acme", func(ctx context.Context) {
		for kind, count := range map[string]func(context.Context, tenancy.Filter) (int64, error){
			"users": tenancy.Users.Count, "clients": tenancy.Clients.Count, "connections": tenancy.Connections.Count,
			"organizations": tenancy.Organizations.Count, "roles": tenancy.Roles.Count,
		} {
			n, err := count(ctx, tenancy.Filter{})
			k.must(err)
			counts[kind] = n
		}
	})
	set := func(quotas any, by claims, s scenario) scenario {
		s.host, s.token, s.method, s.path, s.body = cpHost, by, "PATCH", "/tenants/acme", map[string]any{"quotas": quotas}
		return s
	}
	one := map[string]int64{"scopes": 2, "domains": 1}
	for kind, n := range counts {
		one[kind] = n + 1
	}
	k.run([]scenario{
		set(one, k.in("acme", person(ann)), scenario{name: "C5.23 the platform's", status: 403, code: "insufficient_scope"}),
		set(map[string]any{"cats": 1}, admin(), scenario{name: "unknown kind", status: 400, code: "invalid_body"}),
		set(map[string]any{"roles": -1}, admin(), scenario{name: "negative", status: 400, code: "invalid_body"}),
		set(map[string]any{"roles": "many"}, admin(), scenario{name: "wrong type", status: 400, code: "invalid_body"}),
		set(one, admin(), scenario{name: "set", status: 200, holds: fmt.Sprintf(`"roles":%d`, counts["roles"]+1)}),
		{name: "not when it is made", host: cpHost, token: admin(), method: "POST", path: "/tenants", body: map[string]any{"friendly_name": "x", "quotas": one}, status: 400, code: "invalid_body"},
	})
	bodies := func(n int) map[string]any {
		return map[string]any{
			"users":         map[string]any{"connection": "db", "email": fmt.Sprintf("new%d@example.com", n)},
			"clients":       map[string]any{"name": "New"},
			"connections":   map[string]any{"name": fmt.Sprintf("new%d", n), "strategy": "auth0"},
			"organizations": map[string]any{"name": fmt.Sprintf("new%d", n)},
			"roles":         map[string]any{"name": fmt.Sprintf("New %d", n)},
		}
	}
	for kind := range counts {
		if a := k.do("POST", acmeHost, "/"+kind, machine("acme").token(), bodies(1)[kind]); a.Code/100 != 2 {
			k.Errorf("the last of %s: %d %s", kind, a.Code, a.Body)
		}
		a := k.do("POST", acmeHost, "/"+kind, machine("acme").token(), bodies(2)[kind])
		if want := fmt.Sprintf("The tenant can have at most %d %s", one[kind], kind); a.Code != 403 || a.text("errorCode") != "quota_exceeded" || a.text("message") != want {
			k.Errorf("one too many of %s: %d %s", kind, a.Code, a.Body)
		}
		if a := k.do("POST", widgetsHost, "/"+kind, machine("widgets").token(), bodies(3)[kind]); a.Code/100 != 2 {
			k.Errorf("%s of another tenant: %d %s", kind, a.Code, a.Body)
		}
	}
	scopes := func(n int) []any {
		list := []any{}
		for i := range n {
			list = append(list, map[string]any{"value": fmt.Sprintf("s:%d", i)})
		}
		return list
	}
	k.run([]scenario{
		{name: "scopes", token: machine("acme"), method: "POST", path: "/resource-servers", body: map[string]any{"identifier": "urn:two", "scopes": scopes(2)}, status: 201},
		{name: "too many scopes", token: machine("acme"), method: "POST", path: "/resource-servers", body: map[string]any{"identifier": "urn:three", "scopes": scopes(3)}, status: 403, code: "quota_exceeded"},
		{name: "domains", token: machine("acme"), method: "POST", path: "/custom-domains", body: map[string]any{"domain": "x.example.org", "type": "auth0_managed_certs"}, status: 403, code: "quota_exceeded"},
		{name: "default of scopes", host: widgetsHost, token: machine("widgets"), method: "POST", path: "/resource-servers", body: map[string]any{"identifier": "urn:many", "scopes": scopes(1000)}, status: 201},
		{name: "above it", host: widgetsHost, token: machine("widgets"), method: "POST", path: "/resource-servers", body: map[string]any{"identifier": "urn:more", "scopes": scopes(1001)}, status: 403, code: "quota_exceeded"},
		set(nil, admin(), scenario{name: "back to the defaults", status: 200, holds: `"quotas":{}`}),
		{name: "roles again", token: machine("acme"), method: "POST", path: "/roles", body: map[string]any{"name": "Later"}, status: 200},
	})
	used := map[string]int{}
	for _, e := range k.events.of("limit_wc") {
		if e.tenant != "acme" || !strings.Contains(string(e.Details), `"limit"`) {
			k.Errorf("logged in %s: %s", e.tenant, e.Details)
		}
		used[e.Description]++
	}
	for kind := range counts {
		if used["Quota of "+kind] != 1 {
			k.Errorf("quota of %s was logged %d times", kind, used["Quota of "+kind])
		}
	}
}
