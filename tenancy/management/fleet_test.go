package management

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// register writes n tenants into the registry, without databases.
func (k *kit) register(n int) {
	k.Helper()
	k.inside("control_plane", func(ctx context.Context) {
		for from := 0; from < n; from += 500 {
			var stmts []tenancy.Stmt
			for i := from; i < min(from+500, n); i++ {
				id := fmt.Sprintf("t%05d", i)
				stmts = append(stmts, tenancy.Tenants.Insert(ctx, &tenancy.Tenant{
					Row: tenancy.Row{ID: id}, FriendlyName: "Tenant " + id, State: tenancy.StateActive, OrganizationID: "org_" + id,
				}))
			}
			k.must(tenancy.Commit(ctx, stmts...))
		}
	})
	k.must(k.directory.Refresh(k.Context()))
}

// TestTenThousandTenantsListed: SC-105, the pages of 10,000 tenants are complete and
// exact, both by number and by checkpoint, and the last page costs no more than
// somebody waits for (C5.20).
func TestTenThousandTenantsListed(t *testing.T) {
	const n = 10_000
	k := newKit(t)
	k.register(n)
	token, total := admin().token(), n+3 // acme, widgets and the control plane
	var byPage, byCheckpoint []string
	var slowest time.Duration
	ids := func(a answered) (list []string) {
		for i := range len(a.member("tenants").([]any)) {
			list = append(list, a.text("tenants", i, "id"))
		}
		return list
	}
	get := func(query string) answered {
		t.Helper()
		began := time.Now()
		a := k.do("GET", cpHost, "/tenants?"+query, token, nil)
		slowest = max(slowest, time.Since(began))
		if a.Code != 200 {
			t.Fatalf("%s: %d %s", query, a.Code, a.Body)
		}
		return a
	}
	for page := 0; page*100 < total; page++ {
		a := get(fmt.Sprintf("per_page=100&include_totals=true&page=%d", page))
		if got := a.member("total"); got != float64(total) {
			t.Fatalf("page %d: total %v, want %d", page, got, total)
		}
		byPage = append(byPage, ids(a)...)
	}
	for next := ""; ; {
		a := get("take=100&from=" + url.QueryEscape(next))
		byCheckpoint = append(byCheckpoint, ids(a)...)
		if next = a.text("next"); next == "" {
			break
		}
	}
	for how, list := range map[string][]string{"by page": byPage, "by checkpoint": byCheckpoint} {
		sorted := slices.Sorted(slices.Values(list))
		if len(list) != total || len(slices.Compact(sorted)) != total || !slices.Contains(list, "t09999") {
			t.Errorf("%s: %d tenants, %d different ones, want %d", how, len(list), len(slices.Compact(sorted)), total)
		}
	}
	t.Logf("the slowest of the pages took %v", slowest)
}

// TestRootCreatesTenant: SC-103, whoever administers the platform is made a member of
// no organization by creating a tenant, and can manage and delete it all the same
// (C8.5, C5.24).
func TestRootCreatesTenant(t *testing.T) {
	k := newAccessKit(t)
	asRoot := []string{"tenant-id", "beta"}
	k.run([]scenario{
		{
			name: "SC-103 create", host: cpHost, token: admin(), method: "POST", path: "/tenants",
			body: map[string]any{"id": "beta", "friendly_name": "Beta"}, status: 201, holds: `"state":"active"`,
		},
		{name: "SC-103 manages", host: cpHost, token: admin(), header: asRoot, path: "/clients", status: 200, holds: "Default App"},
		{name: "SC-103 writes", host: cpHost, token: admin(), header: asRoot, method: "POST", path: "/roles", body: `{"name":"Support"}`, status: 200},
	})
	linked, ok := k.directory.ByID("beta")
	if !ok {
		t.Fatal("no tenant beta")
	}
	k.run([]scenario{
		{
			name: "SC-103 members", host: cpHost, token: admin(), path: "/organizations/" + linked.OrganizationID + "/members", status: 200,
			check: func(t *testing.T, a answered) {
				if list, ok := a.json.([]any); !ok || len(list) != 0 {
					t.Errorf("members of the linked organization: %s", a.Body)
				}
			},
		},
		{name: "SC-103 delete", host: cpHost, token: admin(), method: "DELETE", path: "/tenants/beta", status: 204},
		{name: "SC-103 gone", host: cpHost, token: admin(), path: "/tenants/beta", status: 404},
	})
	if _, ok := k.directory.ByHost("beta." + cpHost); ok {
		t.Error("the host is still known")
	}
}
