package sync

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// byPlan excludes what names a plan other than the tenant's, and fails for
// tenants that name none.
func byPlan(e Entity, t *tenancy.Tenant) (bool, error) {
	plan, ok := e.Metadata["plan"]
	if !ok {
		return false, nil
	}
	if t.Metadata["plan"] == "" {
		return false, errors.New("no such key: plan")
	}
	return plan != t.Metadata["plan"], nil
}

func (h *house) plan(tenant, plan string) {
	h.t.Helper()
	h.alter(tenant, func(r *tenancy.Tenant) { r.Metadata = map[string]string{"plan": plan} })
}

// An expression of the configuration decides for each tenant and row, and again
// when either changes.
func TestExclude(t *testing.T) {
	h := newHouse(t, "free", "pro")
	h.plan("free", "free")
	h.plan("pro", "pro")
	l := h.loop(func(c *Config) { c.Exclude = byPlan })
	start(t, l)
	rs := server("rs1", "https://api.test", "read")
	rs.Metadata = map[string]any{"plan": "pro"}
	h.addServer(rs)
	reader := role("rol1", "Reader")
	reader.Metadata = map[string]any{"plan": "free"}
	h.addRole(reader, perm("rol1", "rs1", "read"))
	h.addRole(role("rol2", "Everybody"), perm("rol2", "rs1", "read"))
	check := func(what string, want ...bool) {
		t.Helper()
		settle(t, l)
		var got []bool
		for _, id := range []string{"free", "pro"} {
			got = append(got, find(h, tenancy.ResourceServers, id, "rs1") != nil, find(h, tenancy.Roles, id, "rol1") != nil, find(h, tenancy.Roles, id, "rol2") != nil)
		}
		equal(t, what+": rs1, rol1, rol2 in free and pro", got, want)
	}
	check("made", false, true, true, true, false, true)
	equal(t, "permissions without their resource server", h.permissionsOf("free", "rol2"), []string{})
	equal(t, "permissions", h.permissionsOf("pro", "rol2"), []string{"https://api.test read"})

	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Metadata["plan"] = "pro" })
	check("the row changed", false, false, true, true, true, true)
	h.plan("free", "pro")
	check("the tenant changed", true, true, true, true, true, true)
	equal(t, "permissions follow", h.permissionsOf("free", "rol2"), []string{"https://api.test read"})
	h.plan("pro", "free")
	check("the other one too", true, true, true, false, false, true)
	h.alter("pro", func(r *tenancy.Tenant) { r.FriendlyName = "Another name" })
	check("nothing of interest", true, true, true, false, false, true)
}

// Where the expression fails the copy is left as it was: not made, not changed,
// not removed. The rest of the tenant goes on, and the status says why.
func TestExcludeFails(t *testing.T) {
	h := newHouse(t, "acme", "fresh")
	h.plan("acme", "pro")
	events := &recorder{}
	l := h.loop(func(c *Config) { c.Exclude, c.Recorder = byPlan, events })
	start(t, l)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	reader := role("rol1", "Reader")
	reader.Metadata = map[string]any{"plan": "pro"}
	h.addRole(reader, perm("rol1", "rs1", "read"))
	settle(t, l)
	if find(h, tenancy.Roles, "fresh", "rol1") != nil {
		t.Error("a copy was made although the expression did not say so")
	}

	h.plan("acme", "")
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "Changed", "changed" })
	h.onCP(func(ctx context.Context) { must(t, tenancy.RolePermissions.Create(ctx, perm("rol1", "rs1", "write"))) })
	h.addRole(role("rol2", "Other"), perm("rol2", "rs1", "write"))
	settle(t, l)
	equal(t, "name", find(h, tenancy.Roles, "acme", "rol1").Name, "Reader")
	equal(t, "permissions", h.permissionsOf("acme", "rol1"), []string{"https://api.test read"})
	equal(t, "permissions of another role", h.permissionsOf("acme", "rol2"), []string{"https://api.test write"})
	s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	got := s.Tenants[0]
	equal(t, "status", []any{got.State, got.Problems, got.LastError, got.ProblemList},
		[]any{StateInSync, 1, "left as it was: role rol1: no such key: plan", []Problem{{"role", "rol1", "no such key: plan"}}})
	equal(t, "all problems", l.Stats().Problems, 2)
	told := map[string]int{}
	for _, e := range events.list() {
		var details struct {
			Tenant string `json:"tenant_id"`
			Error  string `json:"error"`
		}
		must(t, json.Unmarshal(e.Details, &details))
		if e.Type == "gh_sync" && details.Error == "left as it was: role rol1: no such key: plan" {
			told[details.Tenant]++
		}
	}
	equal(t, "told once for each tenant", told, map[string]int{"acme": 1, "fresh": 1})

	// What a restarted process reads has it too.
	again := h.loop(func(c *Config) { c.Exclude = byPlan })
	eventually(t, "the note is written", func() bool {
		again = h.loop(func(c *Config) { c.Exclude = byPlan })
		s, err := again.Status(t.Context(), Filter{TenantID: "acme"})
		must(t, err)
		return len(s.Tenants) == 1 && s.Tenants[0].Problems == 1 && s.Tenants[0].LastError != nil
	})

	h.plan("acme", "pro")
	settle(t, l)
	equal(t, "mended", []any{find(h, tenancy.Roles, "acme", "rol1").Name, h.permissionsOf("acme", "rol1")},
		[]any{"Changed", []string{"https://api.test read", "https://api.test write"}})
	h.removeRole("rol1") // a row that is gone is nobody's to judge
	settle(t, l)
	if find(h, tenancy.Roles, "acme", "rol1") != nil {
		t.Error("the copy of a deleted row is still there")
	}
}

// A configuration that decides otherwise has every tenant compared in full after
// the restart, without any change on the control plane; the same one visits
// nobody.
func TestConfigurationChanges(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Support"))
	h.set(platform, `{"sender_name":"CP"}`)
	run := func(want int64, alter func(*Config)) {
		t.Helper()
		l := h.loop(alter)
		stop := start(t, l)
		settle(t, l)
		stop() // writes what it noted
		if got := l.Stats().Visits; got != want {
			t.Errorf("got %d visits, want %d", got, want)
		}
	}
	none := func(*Config) {}
	run(2, none)
	run(0, none)
	noSupport := func(c *Config) {
		c.Expressions = `exclude entity.name == "Support"`
		c.Exclude = func(e Entity, _ *tenancy.Tenant) (bool, error) { return e.Name == "Support", nil }
	}
	run(2, noSupport)
	if find(h, tenancy.Roles, "acme", "rol1") != nil || find(h, tenancy.ResourceServers, "acme", "rs1") == nil {
		t.Error("the new expression was not applied")
	}
	run(0, noSupport)
	run(2, func(c *Config) {
		c.Expressions = `exclude entity.name == "support"`
		c.Exclude = func(e Entity, _ *tenancy.Tenant) (bool, error) { return e.Name == "support", nil }
	})
	if find(h, tenancy.Roles, "widgets", "rol1") == nil {
		t.Error("the changed expression was not applied")
	}
	shout := func(c *Config) {
		c.Expressions = "transform sender_name"
		c.Transforms = tenancy.Transforms{"sender_name": func(json.RawMessage, *tenancy.Tenant) (json.RawMessage, error) {
			return json.RawMessage(`"LOUD"`), nil
		}}
	}
	run(2, shout)
	equal(t, "transformed", h.effective("acme", "sender_name"), `"LOUD" control_plane`)
	run(2, func(c *Config) { c.RolesOff = true })
	if find(h, tenancy.Roles, "acme", "rol1") != nil {
		t.Error("the kind that was turned off is still there")
	}
	run(2, func(c *Config) { c.Inherit.Mode = "none" })
	equal(t, "not inherited", h.effective("acme", "sender_name"), ` default`)
}

// Two processes with different configurations, as while they are replaced one by
// one, do not go on undoing each other's work.
func TestConfigurationsDiffer(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addRole(role("rol1", "Support"))
	locker := &turns{held: make(chan struct{}, 1)}
	old := h.loop(func(c *Config) { c.Every, c.Locker = 20e6, locker })
	other := h.loop(func(c *Config) {
		c.Every, c.Locker, c.Expressions = 20e6, locker, "other"
		c.Exclude = func(Entity, *tenancy.Tenant) (bool, error) { return true, nil }
	})
	start(t, old)
	start(t, other)
	settle(t, old)
	settle(t, other)
	h.addRole(role("rol2", "More"))
	settle(t, old)
	settle(t, other)
	visits := func() int64 { return old.Stats().Visits + other.Stats().Visits }
	for before := visits(); ; before = visits() {
		<-time.After(500 * time.Millisecond) // 25 looks at all tenants by each
		switch now := visits(); {
		case now == before:
			return
		case now > 40:
			t.Fatalf("%d visits, and no end of them", now)
		}
	}
}
