package sync

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SC-087: a change is in every one of many tenants within the bound, with no more
// visits at a time than there are workers, and never two in one tenant (contract
// C6.5, C6.6).
func TestBoundAndParallelism(t *testing.T) {
	const workers = 3
	var ids []string
	for i := range 40 {
		ids = append(ids, fmt.Sprintf("t%02d", i))
	}
	h := newHouse(t, ids...)
	l := h.loop(func(c *Config) { c.Workers = workers })
	start(t, l)
	settle(t, l)
	var busy, most atomic.Int64
	inside := map[string]*atomic.Int64{platform: new(atomic.Int64)}
	for _, id := range ids {
		inside[id] = new(atomic.Int64)
	}
	h.faults.onBatch(func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error) {
		if tenant == platform {
			return stmts, nil
		}
		defer busy.Add(-1)
		defer inside[tenant].Add(-1)
		if n := busy.Add(1); n > most.Load() {
			most.Store(n)
		}
		if inside[tenant].Add(1) > 1 {
			t.Errorf("two batches at a time in %s", tenant)
		}
		<-time.After(2 * time.Millisecond) // so that visits overlap if they can
		return stmts, nil
	})
	defer h.faults.onBatch(nil)
	h.addRole(role("rol1", "Support"))
	began := time.Now()
	settle(t, l)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the change took %s, want 5 s at most", took)
	}
	if n := most.Load(); n < 2 || n > workers {
		t.Errorf("%d visits at a time, want 2 to %d", n, workers)
	}
	for _, id := range ids {
		if find(h, tenancy.Roles, id, "rol1") == nil {
			t.Errorf("%s has no copy", id)
		}
	}
}

// Whoever writes a row of the control plane, sync sees it: a statement of its own
// batch, a removal by condition, rows of several tables at once (contract C6.2,
// C6.3).
func TestEveryWriteIsSeen(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	for _, step := range []struct {
		what  string
		stmts func(ctx context.Context) []tenancy.Stmt
		want  string // roles and their permissions in acme
	}{
		{"an import in one batch", func(ctx context.Context) []tenancy.Stmt {
			return []tenancy.Stmt{
				tenancy.ResourceServers.Insert(ctx, server("rs1", "https://api.test", "read", "write")), tenancy.Roles.Insert(ctx, role("rol1", "A")),
				tenancy.Roles.Insert(ctx, role("rol2", "B")), tenancy.RolePermissions.Insert(ctx, perm("rol1", "rs1", "read")),
			}
		}, "A [https://api.test read] B []"},
		{"a permission alone", func(ctx context.Context) []tenancy.Stmt {
			return []tenancy.Stmt{tenancy.RolePermissions.Insert(ctx, perm("rol2", "rs1", "write"))}
		}, "A [https://api.test read] B [https://api.test write]"},
		{"permissions by condition", func(ctx context.Context) []tenancy.Stmt {
			return []tenancy.Stmt{tenancy.RolePermissions.RemoveWhere(ctx, "resource_server_id = ?", "rs1")}
		}, "A [] B []"},
		{"roles by condition", func(ctx context.Context) []tenancy.Stmt {
			return []tenancy.Stmt{tenancy.Roles.RemoveWhere(ctx, "name_key = ?", "a")}
		}, "B []"},
	} {
		before := h.head()
		h.onCP(func(ctx context.Context) { must(t, tenancy.Commit(ctx, step.stmts(ctx)...)) })
		if h.head() <= before {
			t.Errorf("%s: the revision did not go up", step.what)
		}
		settle(t, l)
		got := ""
		for _, id := range []string{"rol1", "rol2"} {
			if r := find(h, tenancy.Roles, "acme", id); r != nil {
				got += fmt.Sprint(" ", r.Name, " ", h.permissionsOf("acme", id))
			}
		}
		equal(t, step.what, got, " "+step.want)
	}
}

// What is in the way, by kind: the same identifier exactly, the same role name in
// any case, the same connection name; anything else is not (contract C6.21).
func TestWhatConflicts(t *testing.T) {
	h := newHouse(t, "acme")
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.ResourceServers.Create(ctx, server("own1", "https://api.test", "read")))
		must(t, tenancy.ResourceServers.Create(ctx, server("own2", "https://API.test/other", "read")))
		must(t, tenancy.Roles.Create(ctx, role("own3", "SUPPORT desk")))
		must(t, tenancy.Roles.Create(ctx, role("own4", "Viewers")))
		must(t, tenancy.Connections.Create(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "own5"}, Name: "corp", Strategy: "oidc"}))
	})
	l := h.loop()
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addServer(server("rs2", "https://api.test/other", "read"))
	h.addRole(role("rol1", "Support Desk"))
	h.addRole(role("rol2", "Viewer"))
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.Connections.Create(ctx, connection("con_1", "corp")))
		must(t, tenancy.Connections.Create(ctx, connection("con_2", "Corp")))
	})
	settle(t, l)
	s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	equal(t, "conflicts", s.Tenants[0].ConflictList, []Conflict{
		{Entity: "resource_server", OriginID: "rs1", LocalID: "own1", Value: "https://api.test"},
		{Entity: "role", OriginID: "rol1", LocalID: "own3", Value: "Support Desk"},
		{Entity: "connection", OriginID: "con_1", LocalID: "own5", Value: "corp"},
	})
	if find(h, tenancy.ResourceServers, "acme", "rs2") == nil || find(h, tenancy.Roles, "acme", "rol2") == nil || find(h, tenancy.Connections, "acme", "con_2") == nil {
		t.Error("what is not in the way kept a copy from being made")
	}
}
