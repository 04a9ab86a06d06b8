package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func (h *house) logged() (revisions []int64) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) {
		list, err := tenancy.ChangesAfter(ctx, 0, 10_000)
		must(h.t, err)
		for _, c := range list {
			revisions = append(revisions, c.Revision)
		}
	})
	return revisions
}

// The loop removes from the change log what every tenant has applied a while ago,
// and what is very old in any case.
func TestCompaction(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addRole(role("rol1", "Support"))
	h.addRole(role("rol2", "Viewer"))
	run := func(ahead time.Duration, until string, done func() bool) {
		t.Helper()
		l := h.loop(func(c *Config) {
			c.Every = 20 * time.Millisecond
			c.Now = func() time.Time { return time.Now().Add(ahead) }
		})
		stop := start(t, l)
		settle(t, l)
		eventually(t, until, done)
		stop()
	}
	all := h.logged()
	var again int
	run(0, "several looks", func() bool { again++; return again > 20 })
	equal(t, "young changes", h.logged(), all)
	run(2*time.Hour, "what all have is gone", func() bool { return len(h.logged()) == 0 })

	h.faults.away.Store("acme", true)
	h.addRole(role("rol3", "Other"))
	left := h.logged()
	l := h.loop(func(c *Config) {
		c.Every = 20 * time.Millisecond
		c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	})
	stop := start(t, l)
	eventually(t, "the other tenant has it", func() bool { return find(h, tenancy.Roles, "widgets", "rol3") != nil })
	again = 0
	eventually(t, "several looks", func() bool { again++; return again > 20 })
	stop()
	equal(t, "what one tenant lacks", h.logged(), left)

	l = h.loop(func(c *Config) {
		c.Every = 20 * time.Millisecond
		c.Now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	})
	stop = start(t, l)
	eventually(t, "very old changes are gone", func() bool { return len(h.logged()) == 0 })
	stop()

	// The tenant that is older than the log is compared in full after a restart; the
	// other one is not visited.
	h.faults.away.Delete("acme")
	l = h.loop(func(c *Config) { c.Now = func() time.Time { return time.Now().Add(9 * 24 * time.Hour) } })
	stop = start(t, l)
	settle(t, l)
	stop()
	if find(h, tenancy.Roles, "acme", "rol3") == nil {
		t.Error("the tenant that is older than the log did not catch up")
	}
	equal(t, "visits", l.Stats().Visits, 1)
}

// A process that looked last before the log was compacted reads everything anew.
func TestCompactedMeanwhile(t *testing.T) {
	h := newHouse(t, "acme")
	h.addServer(server("rs1", "https://api.test", "read"))
	h.addRole(role("rol1", "Support"))
	slow := h.loop()
	must(t, slow.Snapshot(t.Context(), h.byID("acme")))
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "Desk", "desk" })
	h.removeServer("rs1")
	h.tenant("widgets", nil)
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.Compact(ctx, h.head(), time.Now().Add(time.Hour), time.Time{}))
	})
	h.addRole(role("rol2", "Later"))
	equal(t, "the log", h.logged(), []int64{h.head()})
	start(t, slow)
	settle(t, slow)
	for _, id := range []string{"acme", "widgets"} {
		if find(h, tenancy.Roles, id, "rol1").Name != "Desk" || find(h, tenancy.ResourceServers, id, "rs1") != nil || find(h, tenancy.Roles, id, "rol2") == nil {
			t.Errorf("%s lacks what the log no longer tells", id)
		}
	}
}

// Compacting goes in steps, never back, and never beyond what all have applied.
func TestCompactSteps(t *testing.T) {
	h := newHouse(t)
	h.onCP(func(ctx context.Context) {
		for i := range 4500 {
			must(t, tenancy.Commit(ctx, tenancy.SQL(ctx, `INSERT INTO change_log (tenant_id, revision, kind, entity_id, created_at)
				VALUES (@tenant, ?, 'role', ?, 1)`, 1000+i, fmt.Sprint(i))))
		}
		must(t, tenancy.Compact(ctx, 5400, time.Now(), time.Time{}))
		horizon, err := tenancy.Compacted(ctx)
		must(t, err)
		left, err := tenancy.ChangesAfter(ctx, 0, 1000)
		must(t, err)
		equal(t, "horizon and what is left", []any{horizon, len(left), left[0].Revision}, []any{5400, 99, 5401})
		must(t, tenancy.Compact(ctx, 100, time.Now(), time.Time{}))
		horizon, err = tenancy.Compacted(ctx)
		must(t, err)
		equal(t, "never back", horizon, 5400)
	})
}

// C8.15: one event tells of a pass, and one of a tenant that failed and of the
// same when it has caught up.
func TestEvents(t *testing.T) {
	h := newHouse(t, "acme", "widgets", "other")
	events := &recorder{}
	l := h.loop(func(c *Config) { c.Recorder = events })
	h.faults.away.Store("acme", true)
	start(t, l)
	h.addRole(role("rol1", "Support"))
	told := func() (list []string) {
		where := events.places()
		for i, e := range events.list()[:len(where)] {
			var d struct {
				Tenant   string `json:"tenant_id"`
				Tenants  int
				Attempts int
			}
			must(t, json.Unmarshal(e.Details, &d))
			list = append(list, fmt.Sprintf("%s %s %s %s%d%d", where[i], e.Type, e.Description, d.Tenant, d.Tenants, d.Attempts))
		}
		return list
	}
	has := func(text string) func() bool { return func() bool { return slices.Contains(told(), text) } }
	eventually(t, "a failure is told", has("control_plane gh_sync sync.failed acme01"))
	eventually(t, "that it goes on failing is told", has("control_plane gh_sync sync.failed acme03"))
	eventually(t, "the pass is told", func() bool { // one, or two where the start was a pass of its own
		return slices.ContainsFunc(told(), func(text string) bool {
			visits, ok := strings.CutPrefix(text, "control_plane gh_sync sync.applied ")
			return ok && visits >= "10" && visits <= "90"
		})
	})
	h.faults.away.Delete("acme")
	settle(t, l)
	eventually(t, "that it caught up is told", has("control_plane gh_sync sync.applied acme00"))
}
