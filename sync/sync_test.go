package sync

import (
	"context"
	"fmt"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SC-079: a resource server made on the control plane is in every tenant, with
// the same id, as a system row (contract C6.8, C6.12, C6.15).
func TestResourceServerArrives(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	start(t, l)
	rs := server("rs1", "https://api.test", "read:orders", "write:orders")
	rs.IntrospectionClient, rs.Metadata = []string{"c1"}, map[string]any{"team": "x"}
	h.addServer(rs)
	s := settle(t, l)
	for _, id := range []string{"acme", "widgets"} {
		got := find(h, tenancy.ResourceServers, id, "rs1")
		if got == nil {
			t.Fatalf("%s has no copy", id)
		}
		equal(t, "scopes in "+id, got.Scopes, rs.Scopes)
		equal(t, "members in "+id,
			[]any{got.Identifier, got.Name, got.SigningAlg, got.TokenLifetime, got.TokenLifetimeForWeb, got.EnforcePolicies, got.TokenDialect, got.IsSystem, got.Origin},
			[]any{rs.Identifier, rs.Name, rs.SigningAlg, rs.TokenLifetime, rs.TokenLifetimeForWeb, true, rs.TokenDialect, true, "rs1"})
		if got.Metadata != nil || got.IntrospectionClient != nil {
			t.Errorf("%s: metadata %v and introspection clients %v were copied", id, got.Metadata, got.IntrospectionClient)
		}
	}
	if s.Total != 2 || s.Tenants[0].State != StateInSync || s.Tenants[0].Lag != 0 {
		t.Errorf("status %+v", s)
	}
	if cp := find(h, tenancy.ResourceServers, platform, "rs1"); cp.IsSystem {
		t.Error("the control plane's own row became a system row")
	}
}

// SC-080: a role follows creation, permissions, renaming and deletion under one
// id, whatever characters its name has (contract C6.9, C6.13, C6.26).
func TestRoleFollows(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	start(t, l)
	name := `Support Desk "A" OR B'; --`
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", name))
	settle(t, l)
	equal(t, "name", find(h, tenancy.Roles, "acme", "rol1").Name, name)
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.UserRoles.Create(ctx, tenancy.NewUserRole("auth0|ann", tenancy.Global, "rol1")))
	})

	h.onCP(func(ctx context.Context) { must(t, tenancy.RolePermissions.Create(ctx, perm("rol1", "rs1", "read"))) })
	settle(t, l)
	equal(t, "permissions", h.permissionsOf("widgets", "rol1"), []string{"https://api.test read"})

	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "Desk", "desk" })
	settle(t, l)
	got := find(h, tenancy.Roles, "acme", "rol1")
	equal(t, "renamed", []any{got.Name, got.NameKey, got.IsSystem}, []any{"Desk", "desk", true})
	if find(h, tenancy.UserRoles, "acme", tenancy.Join("auth0|ann", tenancy.Global, "rol1")) == nil {
		t.Error("the assignment did not survive the renaming")
	}

	h.removeRole("rol1")
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.Roles, "widgets", "rol1") != nil {
		t.Error("the copy is still there")
	}
	if find(h, tenancy.UserRoles, "acme", tenancy.Join("auth0|ann", tenancy.Global, "rol1")) != nil {
		t.Error("the assignment of the deleted role is still there")
	}
}

// Names that move between roles in one pass break no uniqueness on the way.
func TestNamesSwap(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	h.addRole(role("rol1", "A"))
	h.addRole(role("rol2", "B"))
	h.addRole(role("rol3", "C"))
	must(t, l.Snapshot(t.Context(), h.byID("acme")))
	h.onCP(func(ctx context.Context) {
		rename := func(id, name string) {
			_, err := tenancy.Roles.Update(ctx, id, func(r *tenancy.Role) error {
				r.Name, r.NameKey = name, tenancy.NameKeyOf(name)
				return nil
			})
			must(t, err)
		}
		rename("rol1", "X")
		rename("rol2", "A")
		rename("rol3", "B")
		rename("rol1", "C")
		must(t, tenancy.Roles.Create(ctx, role("rol4", "D")))
	})
	start(t, l)
	settle(t, l)
	for id, want := range map[string]string{"rol1": "C", "rol2": "A", "rol3": "B", "rol4": "D"} {
		equal(t, id, find(h, tenancy.Roles, "acme", id).Name, want)
	}
}

// SC-083, SC-085: what the tenant owns is not touched; the conflict is listed
// and heals when the tenant's row goes (contract C6.22, C6.25, C6.26).
func TestConflict(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.Roles.Create(ctx, role("own", "ADMIN")))
		must(t, tenancy.ResourceServers.Create(ctx, server("ownrs", "https://api.test", "read")))
	})
	own, ownRS := find(h, tenancy.Roles, "acme", "own"), find(h, tenancy.ResourceServers, "acme", "ownrs")
	l := h.loop(func(c *Config) { c.Every = 30e6 })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Admin"))
	h.addRole(role("rol2", "Viewer"), perm("rol2", "rs1", "read"), perm("rol2", "rs1", "write"))
	settle(t, l)

	equal(t, "own role", find(h, tenancy.Roles, "acme", "own"), own)
	equal(t, "own resource server", find(h, tenancy.ResourceServers, "acme", "ownrs"), ownRS)
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.ResourceServers, "acme", "rs1") != nil {
		t.Error("a copy was made beside the tenant's row")
	}
	if find(h, tenancy.Roles, "widgets", "rol1") == nil || find(h, tenancy.Roles, "acme", "rol2") == nil {
		t.Error("a conflict held up other rows")
	}
	// The resource server and the scope "read" exist in acme, "write" does not.
	equal(t, "permissions", h.permissionsOf("acme", "rol2"), []string{"https://api.test read"})
	s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	got := s.Tenants[0]
	equal(t, "status", []any{got.State, got.Conflicts, got.Skipped}, []any{StateInSync, 2, 1})
	equal(t, "conflicts", got.ConflictList, []Conflict{
		{Entity: "resource_server", OriginID: "rs1", LocalID: "ownrs", Value: "https://api.test"},
		{Entity: "role", OriginID: "rol1", LocalID: "own", Value: "Admin"},
	})

	// The tenant renames its role and deletes its resource server; nothing
	// happens on the control plane.
	update(h, tenancy.Roles, "acme", "own", func(r *tenancy.Role) { r.Name, r.NameKey = "Our admin", "our admin" })
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.Commit(ctx, tenancy.RemoveResourceServer(ctx, ownRS)...))
	})
	eventually(t, "the copies appear", func() bool {
		return find(h, tenancy.Roles, "acme", "rol1") != nil && len(h.permissionsOf("acme", "rol2")) == 2
	})
	eventually(t, "the conflicts go", func() bool {
		s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
		must(t, err)
		return s.Tenants[0].Conflicts == 0 && s.Tenants[0].Skipped == 0
	})

	h.removeRole("rol1")
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "own") == nil {
		t.Error("the tenant's own role was deleted")
	}
}

// A copy that cannot have its new name keeps the old one and whatever else is
// right; a copy that wants the old name waits for it, and nobody is blocked.
func TestRenameIntoConflict(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Old"), perm("rol1", "rs1", "read"))
	must(t, l.Snapshot(t.Context(), h.byID("acme")))
	h.in("acme", func(ctx context.Context) { must(t, tenancy.Roles.Create(ctx, role("own", "New"))) })
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "New", "new" })
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.RolePermissions.Delete(ctx, perm("rol1", "rs1", "read").ID))
	})
	h.addRole(role("rol2", "Old"))
	h.addRole(role("rol3", "Other"))
	start(t, l)
	settle(t, l)
	equal(t, "name kept", find(h, tenancy.Roles, "acme", "rol1").Name, "Old")
	equal(t, "revoked permissions", len(h.permissionsOf("acme", "rol1")), 0)
	equal(t, "others", find(h, tenancy.Roles, "acme", "rol3") != nil, true)
	s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	equal(t, "conflicts", len(s.Tenants[0].ConflictList), 2)
}

// SC-086: metadata.sync false keeps a row on the control plane, and toggling it
// removes and makes copies (contract C6.18, C6.19).
func TestOptOut(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	for _, no := range []any{false, "false"} {
		t.Run(fmt.Sprintf("%T", no), func(t *testing.T) {
			id := fmt.Sprintf("rs-%T", no)
			rs := server(id, "https://"+id, "read")
			rs.Metadata = map[string]any{"sync": no}
			h.addServer(rs)
			settle(t, l)
			for i, value := range []any{no, true, no, "no", nil, no} {
				update(h, tenancy.ResourceServers, platform, id, func(r *tenancy.ResourceServer) {
					r.Metadata = map[string]any{"sync": value}
				})
				settle(t, l)
				if got, want := find(h, tenancy.ResourceServers, "acme", id) != nil, value != no; got != want {
					t.Errorf("step %d, sync %v: copy is there: %v, want %v", i, value, got, want)
				}
			}
		})
	}
}

// Built-in rows of the control plane stay there (contract C6.7).
func TestBuiltInRowsStay(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.addRole(role("rol1", "Support"))
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "rol_admin") != nil || find(h, tenancy.ResourceServers, "acme", "mgmt-of-cp") != nil {
		t.Error("a built-in row was copied")
	}
}

// The tenant's management API has another id than the control plane's: role
// permissions find it by identifier. Those of the platform class cannot exist
// in a tenant (contract C6.13, C6.16, C2.21).
func TestManagementPermissions(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.addRole(role("rol1", "Helpdesk"), perm("rol1", "mgmt-of-cp", "read:users"), perm("rol1", "mgmt-of-cp", "admin:organizations"))
	settle(t, l)
	equal(t, "permissions", h.permissionsOf("acme", "rol1"), []string{tenancy.ManagementAudience + " read:users"})
	state := func() (skipped, pending int64) {
		h.in("acme", func(ctx context.Context) {
			s, err := syncState(ctx)
			must(t, err)
			skipped, pending = s.Skipped, s.Pending
		})
		return
	}
	skipped, pending := state()
	equal(t, "skipped, pending", []int64{skipped, pending}, []int64{1, 0})
	s := settle(t, l)
	equal(t, "next attempt", int64(s.Tenants[0].NextAttemptAt), 0) // nothing to wait for
}

// A permission whose resource server is not in the tenant follows once it is
// (contract C6.13), and so do more than fifty and three hundred (C6.28).
func TestManyPermissionsFollow(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	var scopes []string
	var permissions []*tenancy.RolePermission
	for i := range 310 {
		scopes = append(scopes, fmt.Sprintf("scope:%03d", i))
		permissions = append(permissions, perm("rol1", "rs1", scopes[i]))
	}
	rs := server("rs1", "https://api.test", scopes...)
	rs.Metadata = map[string]any{"sync": false}
	h.addServer(rs)
	h.addRole(role("rol1", "Everything"), permissions...)
	s := settle(t, l)
	equal(t, "skipped", s.Tenants[0].Skipped, 310)
	update(h, tenancy.ResourceServers, platform, "rs1", func(r *tenancy.ResourceServer) { r.Metadata = nil })
	s = settle(t, l)
	equal(t, "skipped", s.Tenants[0].Skipped, 0)
	equal(t, "permissions", len(h.permissionsOf("acme", "rol1")), 310)

	late := h.tenant("late", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	must(t, l.Snapshot(t.Context(), late))
	equal(t, "permissions in a new tenant", len(h.permissionsOf("late", "rol1")), 310)
}
