package sync

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// recorder keeps the events it is told.
type recorder struct {
	mu     sync.Mutex
	events []tenancy.Event
	where  []string
}

func (r *recorder) Record(ctx context.Context, e tenancy.Event) {
	t, err := tenancy.Current(ctx)
	if err != nil {
		panic(err) // events are recorded inside a tenant
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.where = append(r.events, e), append(r.where, t.ID)
}

func (r *recorder) list() []tenancy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]tenancy.Event(nil), r.events...)
}

// places are the tenants inside of which events were recorded, in their order.
func (r *recorder) places() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.where)
}

// use gives things in a tenant that refer to a copy: a permission of a user and
// of the tenant's own role, and a client grant.
func (h *house) use(tenant, serverID, identifier string, scopes ...string) {
	h.t.Helper()
	h.in(tenant, func(ctx context.Context) {
		must(h.t, tenancy.Roles.Create(ctx, role("ownrole", "Own role")))
		for _, s := range scopes {
			must(h.t, tenancy.UserPermissions.Create(ctx, tenancy.NewUserPermission("auth0|ann", "org_1", serverID, s)))
			must(h.t, tenancy.RolePermissions.Create(ctx, perm("ownrole", serverID, s)))
		}
		must(h.t, tenancy.ClientGrants.Create(ctx, &tenancy.ClientGrant{Row: tenancy.Row{ID: "cgr_1"}, ClientID: "c1", Audience: identifier, Scope: scopes}))
	})
}

// used lists what use gave and is still there, checking that ids say what the
// rows do.
func (h *house) used(tenant string) (user []string, own []string, grant []string) {
	h.t.Helper()
	user = []string{}
	h.in(tenant, func(ctx context.Context) {
		list, err := tenancy.UserPermissions.Find(ctx, tenancy.Filter{})
		must(h.t, err)
		for _, p := range list {
			if want := tenancy.Join(p.UserID, p.OrgID, p.ResourceServerID, p.Permission); p.ID != want {
				h.t.Errorf("user permission has id %q, want %q", p.ID, want)
			}
			user = append(user, p.ResourceServerID+" "+p.Permission)
		}
	})
	own = h.permissionsOf(tenant, "ownrole")
	if g := find(h, tenancy.ClientGrants, tenant, "cgr_1"); g != nil {
		grant = g.Scope
	}
	return user, own, grant
}

// A scope that is removed on the control plane goes in tenants with what was
// granted of it; the rest of the references survive (contract C6.17, C6.10).
func TestScopeRemoved(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"), perm("rol1", "rs1", "write"))
	settle(t, l)
	h.use("acme", "rs1", "https://api.test", "read", "write")
	h.onCP(func(ctx context.Context) {
		_, err := tenancy.ResourceServers.Update(ctx, "rs1", func(r *tenancy.ResourceServer) error {
			r.Scopes, r.Name = r.Scopes[1:], "Renamed"
			return nil
		}, tenancy.RemoveScope(ctx, "rs1", "read")...)
		must(t, err)
	})
	settle(t, l)
	user, own, grant := h.used("acme")
	equal(t, "user", user, []string{"rs1 write"})
	equal(t, "own role", own, []string{"https://api.test write"})
	equal(t, "grant", grant, []string{"write"})
	equal(t, "copied role", h.permissionsOf("acme", "rol1"), []string{"https://api.test write"})
	equal(t, "name", find(h, tenancy.ResourceServers, "acme", "rs1").Name, "Renamed")
}

// A deleted resource server takes with it what was granted of it, and a default
// audience (contract C6.26, C6.27), which is logged in the tenant.
func TestServerDeleted(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	events := &recorder{}
	l := h.loop(func(c *Config) { c.Recorder = events })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addServer(server("rs2", "https://other.test", "read"))
	settle(t, l)
	h.use("acme", "rs1", "https://api.test", "read")
	for tenant, audience := range map[string]string{"acme": "https://api.test", "widgets": "https://other.test"} {
		h.in(tenant, func(ctx context.Context) {
			must(t, tenancy.WriteSettings(ctx, map[string]json.RawMessage{
				"default_audience": json.RawMessage(`"` + audience + `"`), "sender_name": json.RawMessage(`"` + tenant + `"`),
			}, false))
		})
	}
	h.removeServer("rs1")
	settle(t, l)
	user, own, grant := h.used("acme")
	equal(t, "what is left", []int{len(user), len(own), len(grant)}, []int{0, 0, 0})
	for tenant, want := range map[string]string{"acme": "", "widgets": "https://other.test"} {
		h.in(tenant, func(ctx context.Context) {
			s, err := tenancy.EffectiveSettings(ctx)
			must(t, err)
			equal(t, "default_audience of "+tenant, s.String("default_audience"), want)
			equal(t, "sender_name of "+tenant, s.String("sender_name"), tenant)
		})
	}
	var told []string
	where := events.places()
	for i, e := range events.list()[:len(where)] {
		if e.Description != "sync.applied" {
			told = append(told, where[i]+" "+e.Type+" "+e.Audience)
		}
	}
	equal(t, "events", told, []string{"acme gh_sync https://api.test"})
}

// A resource server that is deleted and made again under the same identifier in
// one pass becomes the copy in place of the old one: what was granted of scopes
// that still exist is kept (contract C6.11).
func TestServerReplaced(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"), perm("rol1", "rs1", "write"))
	must(t, l.Snapshot(t.Context(), h.byID("acme")))
	h.use("acme", "rs1", "https://api.test", "read", "write")
	h.in("acme", func(ctx context.Context) {
		must(t, tenancy.WriteSettings(ctx, map[string]json.RawMessage{"default_audience": json.RawMessage(`"https://api.test"`)}, false))
	})
	h.removeServer("rs1")
	h.addServer(server("rs9", "https://api.test", "write", "new"))
	h.onCP(func(ctx context.Context) { must(t, tenancy.RolePermissions.Create(ctx, perm("rol1", "rs9", "write"))) })
	start(t, l)
	settle(t, l)
	user, own, grant := h.used("acme")
	equal(t, "user", user, []string{"rs9 write"})
	equal(t, "own role", own, []string{"https://api.test write"})
	equal(t, "grant", grant, []string{"write"})
	equal(t, "copied role", h.permissionsOf("acme", "rol1"), []string{"https://api.test write"})
	if find(h, tenancy.ResourceServers, "acme", "rs1") != nil {
		t.Error("the old copy is still there")
	}
	equal(t, "origin", find(h, tenancy.ResourceServers, "acme", "rs9").Origin, "rs9")
	h.in("acme", func(ctx context.Context) {
		s, err := tenancy.EffectiveSettings(ctx)
		must(t, err)
		equal(t, "default_audience", s.String("default_audience"), "https://api.test")
	})
}

// A kind that is switched off for one tenant is gone there, and there only
// (contract C6.20), and comes back when it is switched on again.
func TestTenantSwitches(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"))
	settle(t, l)
	off, on := false, true
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync.Roles = &off })
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.ResourceServers, "acme", "rs1") == nil {
		t.Error("roles off in acme: role still there, or resource server gone")
	}
	if find(h, tenancy.Roles, "widgets", "rol1") == nil {
		t.Error("the role went in widgets too")
	}
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync.Roles, r.Sync.ResourceServers = &on, &off })
	s := settle(t, l)
	equal(t, "permissions without their resource server", h.permissionsOf("acme", "rol1"), []string{})
	equal(t, "skipped", s.Tenants[0].Skipped, 1)
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync = tenancy.SyncSwitches{} })
	settle(t, l)
	equal(t, "acme like widgets", h.dump("acme"), h.dump("widgets"))
	equal(t, "permissions", h.permissionsOf("acme", "rol1"), []string{"https://api.test read"})
}

// A kind that the configuration turns off is removed everywhere, whatever a
// tenant says: all conditions must allow (contract C6.1).
func TestConfiguredSwitches(t *testing.T) {
	h := newHouse(t, "acme")
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Support"))
	must(t, h.loop().Snapshot(t.Context(), h.byID("acme")))
	on := true
	h.alter("acme", func(r *tenancy.Tenant) { r.Sync.Roles = &on })
	must(t, h.loop(func(c *Config) { c.RolesOff = true }).Snapshot(t.Context(), h.byID("acme")))
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.ResourceServers, "acme", "rs1") == nil {
		t.Error("roles off: role still there, or resource server gone")
	}
}
