package sync

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func policies(policy string) func(*Config) {
	return func(c *Config) {
		c.OnConflict = map[string]string{}
		for kind, list := range Kinds {
			for _, p := range list {
				if p == policy {
					c.OnConflict[kind] = policy
				}
			}
		}
	}
}

func connection(id, name string) *tenancy.Connection {
	return &tenancy.Connection{
		Row: tenancy.Row{ID: id}, Name: name, DisplayName: "Log in with " + name, Strategy: "oidc", Realms: []string{name},
		Options: map[string]any{"issuer": "https://idp.test", "client_id": "abc"}, Secrets: map[string]string{"client_secret": "hush"},
		ShowAsButton: true, Metadata: map[string]any{"sync": "true"},
	}
}

// SC-084: with policy adopt the tenant's row becomes the copy. It keeps its id and
// whoever has it, gets what the control plane says, and is logged with before and
// after (contract C6.23).
func TestAdopt(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.Roles.Create(ctx, role("own", "SUPPORT")))
		must(t, tenancy.ResourceServers.Create(ctx, server("ownrs", "https://api.test", "read", "local")))
		must(t, tenancy.Connections.Create(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_own"}, Name: "corp", Strategy: "saml", Secrets: map[string]string{"x": "kept"}}))
		must(t, tenancy.UserRoles.Create(ctx, tenancy.NewUserRole("auth0|ann", tenancy.Global, "own")))
		must(t, tenancy.RolePermissions.Create(ctx, perm("own", "ownrs", "local")))
	})
	h.use("acme", "ownrs", "https://api.test", "read", "local")
	events := &recorder{}
	l := h.loop(policies(PolicyAdopt), func(c *Config) { c.Recorder = events })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "write"))
	h.onCP(func(ctx context.Context) { must(t, tenancy.Connections.Create(ctx, connection("con_1", "corp"))) })
	settle(t, l)
	rs, rol, con := find(h, tenancy.ResourceServers, "acme", "ownrs"), find(h, tenancy.Roles, "acme", "own"), find(h, tenancy.Connections, "acme", "con_own")
	equal(t, "resource server", []any{rs.Origin, rs.IsSystem, rs.Name, len(rs.Scopes)}, []any{"rs1", true, "API rs1", 2})
	equal(t, "role", []any{rol.Origin, rol.IsSystem, rol.Name}, []any{"rol1", true, "Support"})
	equal(t, "connection", []any{con.Origin, con.IsSystem, con.Strategy, con.Secrets}, []any{"con_1", true, "oidc", map[string]string{"x": "kept"}})
	equal(t, "permissions are the control plane's", h.permissionsOf("acme", "own"), []string{"https://api.test write"})
	if find(h, tenancy.UserRoles, "acme", tenancy.Join("auth0|ann", tenancy.Global, "own")) == nil {
		t.Error("the assignment did not stay")
	}
	user, own, grant := h.used("acme")
	equal(t, "what was granted of scopes there are", []any{user, own, grant}, []any{[]string{"ownrs read"}, []string{"https://api.test read"}, []string{"read"}})
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.Roles, "widgets", "rol1") == nil {
		t.Error("a second copy was made, or none where there was no conflict")
	}
	var logged []string
	for i, e := range events.list() {
		var a struct {
			Entity, LocalID string
			Before, After   struct{ Name, Origin string }
		}
		if events.where[i] == "acme" && e.Type == "gh_sync" && json.Unmarshal(e.Details, &a) == nil && a.Entity == "role" {
			logged = append(logged, a.Before.Name, a.After.Name)
		}
	}
	equal(t, "logged before and after", logged, []string{"SUPPORT", "Support"})

	// From now on it is a copy like any other.
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "Desk", "desk" })
	h.onCP(func(ctx context.Context) { must(t, tenancy.RolePermissions.Create(ctx, perm("rol1", "rs1", "read"))) })
	s := settle(t, l)
	equal(t, "conflicts", s.Tenants[0].Conflicts, 0)
	equal(t, "follows", []any{find(h, tenancy.Roles, "acme", "own").Name, h.permissionsOf("acme", "own")},
		[]any{"Desk", []string{"https://api.test read", "https://api.test write"}})
	h.removeRole("rol1")
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "own") != nil {
		t.Error("the adopted copy of a deleted row is still there")
	}
}

// Built-in rows of a tenant are nobody's to adopt, whatever the policy.
func TestAdoptNothingBuiltIn(t *testing.T) {
	h := newHouse(t, "acme")
	h.in("acme", func(ctx context.Context) {
		r := role("built-in", "Support")
		r.IsSystem = true
		must(t, tenancy.Roles.Create(ctx, r))
	})
	l := h.loop(policies(PolicyAdopt))
	start(t, l)
	h.addRole(role("rol1", "Support"))
	s := settle(t, l)
	equal(t, "conflicts, origin", []any{s.Tenants[0].Conflicts, find(h, tenancy.Roles, "acme", "built-in").Origin}, []any{1, ""})
}

// With policy rename the copy is made beside the tenant's row, follows the control
// plane under its other name, and takes its own name once that is free (contract
// C6.24, C6.25).
func TestRename(t *testing.T) {
	h := newHouse(t, "acme")
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.Roles.Create(ctx, role("own", "support")))
		must(t, tenancy.Connections.Create(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_own"}, Name: "corp", Strategy: "saml"}))
	})
	before := find(h, tenancy.Roles, "acme", "own")
	l := h.loop(policies(PolicyRename), func(c *Config) { c.Every = 20e6 })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"))
	h.onCP(func(ctx context.Context) { must(t, tenancy.Connections.Create(ctx, connection("con_1", "corp"))) })
	s := settle(t, l)
	equal(t, "names", []any{find(h, tenancy.Roles, "acme", "rol1").Name, find(h, tenancy.Connections, "acme", "con_1").Name}, []any{"Support (platform)", "corp-platform"})
	equal(t, "permissions", h.permissionsOf("acme", "rol1"), []string{"https://api.test read"})
	equal(t, "own", find(h, tenancy.Roles, "acme", "own"), before)
	equal(t, "conflicts", s.Tenants[0].Conflicts, 0)
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Description = "Helps" })
	settle(t, l)
	equal(t, "follows", find(h, tenancy.Roles, "acme", "rol1").Description, "Helps")
	revision := find(h, tenancy.Roles, "acme", "rol1").Revision
	must(t, l.Snapshot(t.Context(), h.byID("acme")))
	equal(t, "nothing is written twice", find(h, tenancy.Roles, "acme", "rol1").Revision, revision)

	update(h, tenancy.Roles, "acme", "own", func(r *tenancy.Role) { r.Name, r.NameKey = "Ours", "ours" })
	eventually(t, "the copy takes its own name", func() bool { return find(h, tenancy.Roles, "acme", "rol1").Name == "Support" })

	// Where the other name is taken too, it is a conflict after all.
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.Roles.Create(ctx, role("a", "Viewer")))
		must(t, tenancy.Roles.Create(ctx, role("b", "Viewer (platform)")))
	})
	h.addRole(role("rol2", "Viewer"))
	s = settle(t, l)
	equal(t, "conflicts", s.Tenants[0].Conflicts, 1)
}

// With detach, what is no longer shared stays as the tenant's own, with what was
// given of it, and is the copy again when it is shared again. What is deleted goes
// (contract C6.19, C6.20, C6.26).
func TestDetach(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop(func(c *Config) { c.Detach = true })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"))
	settle(t, l)
	h.use("acme", "rs1", "https://api.test", "read")
	opt := func(value any) {
		update(h, tenancy.ResourceServers, platform, "rs1", func(r *tenancy.ResourceServer) { r.Metadata = map[string]any{"sync": value} })
		update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Metadata = map[string]any{"sync": value} })
		settle(t, l)
	}
	opt(false)
	for _, id := range []string{"acme", "widgets"} {
		rs, rol := find(h, tenancy.ResourceServers, id, "rs1"), find(h, tenancy.Roles, id, "rol1")
		if rs == nil || rol == nil {
			t.Fatalf("%s: resource server %v, role %v", id, rs, rol)
		}
		equal(t, "detached in "+id, []any{rs.IsSystem, rs.Origin, rol.IsSystem, rol.Origin}, []any{false, "", false, ""})
		equal(t, "permissions in "+id, h.permissionsOf(id, "rol1"), []string{"https://api.test read"})
	}
	user, own, grant := h.used("acme")
	equal(t, "what was granted", []any{user, own, grant}, []any{[]string{"rs1 read"}, []string{"https://api.test read"}, []string{"read"}})
	update(h, tenancy.Roles, "acme", "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "Our own", "our own" })
	h.in("widgets", func(ctx context.Context) { must(t, tenancy.Commit(ctx, tenancy.RemoveRole(ctx, "rol1")...)) })
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Description = "not for tenants" })
	settle(t, l)
	equal(t, "a detached row is left alone", find(h, tenancy.Roles, "acme", "rol1").Name, "Our own")
	opt(true)
	for _, id := range []string{"acme", "widgets"} {
		rs, rol := find(h, tenancy.ResourceServers, id, "rs1"), find(h, tenancy.Roles, id, "rol1")
		equal(t, "attached in "+id, []any{rs.IsSystem, rs.Origin, rol.IsSystem, rol.Origin, rol.Name, rol.Description},
			[]any{true, "rs1", true, "rol1", "Support", "not for tenants"})
	}

	off, on := false, true
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync.Roles = &off })
	settle(t, l)
	equal(t, "switched off for one", []any{find(h, tenancy.Roles, "acme", "rol1").Origin, find(h, tenancy.Roles, "widgets", "rol1").Origin}, []any{"", "rol1"})
	h.removeRole("rol1") // no copy is left of it in acme
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "rol1") == nil || find(h, tenancy.Roles, "widgets", "rol1") != nil {
		t.Error("the tenant's own row went, or the copy stayed")
	}
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync.Roles = &on })
	h.removeServer("rs1")
	settle(t, l)
	if find(h, tenancy.ResourceServers, "acme", "rs1") != nil {
		t.Error("a deleted row was detached")
	}
}

// Connections are copied where their metadata asks for it, without secrets and
// without what tenants decide (contract C6.14, C6.18).
func TestConnections(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	off := false
	h.alter("widgets", func(r *tenancy.Tenant) { r.Sync.Connections = &off })
	l := h.loop()
	start(t, l)
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.Connections.Create(ctx, connection("con_1", "corp")))
		private := connection("con_2", "private")
		private.Metadata = nil
		must(t, tenancy.Connections.Create(ctx, private))
	})
	settle(t, l)
	if find(h, tenancy.Connections, "acme", "con_2") != nil || find(h, tenancy.Connections, "widgets", "con_1") != nil {
		t.Error("a connection was copied that did not ask for it, or into a tenant that has the kind off")
	}
	got := find(h, tenancy.Connections, "acme", "con_1")
	equal(t, "copy", []any{got.Name, got.DisplayName, got.Strategy, got.Options, got.ShowAsButton, got.IsDomainConnection, got.Realms, got.IsSystem, got.Origin},
		[]any{"corp", "Log in with corp", "oidc", map[string]any{"issuer": "https://idp.test", "client_id": "abc"}, true, false, []string{"corp"}, true, "con_1"})
	if got.Secrets != nil || got.Metadata != nil {
		t.Errorf("secrets %v and metadata %v were copied", got.Secrets, got.Metadata)
	}
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.ClientConnections.Create(ctx, tenancy.NewClientConnection("c1", "con_1")))
	})
	update(h, tenancy.Connections, platform, "con_1", func(c *tenancy.Connection) { c.DisplayName = "Log in" })
	settle(t, l)
	equal(t, "follows", find(h, tenancy.Connections, "acme", "con_1").DisplayName, "Log in")
	if find(h, tenancy.ClientConnections, "acme", tenancy.Join("c1", "con_1")) == nil {
		t.Error("where the connection was enabled did not survive the change")
	}
	update(h, tenancy.Connections, platform, "con_1", func(c *tenancy.Connection) { c.Metadata = map[string]any{"sync": true} })
	settle(t, l)
	equal(t, "true and \"true\" are the same", find(h, tenancy.Connections, "acme", "con_1") != nil, true)
	update(h, tenancy.Connections, platform, "con_1", func(c *tenancy.Connection) { c.Metadata = map[string]any{"sync": "yes"} })
	settle(t, l)
	if find(h, tenancy.Connections, "acme", "con_1") != nil || find(h, tenancy.ClientConnections, "acme", tenancy.Join("c1", "con_1")) != nil {
		t.Error("the copy, or where it was enabled, is still there")
	}
}
