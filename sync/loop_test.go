package sync

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SC-087: a tenant whose database is away delays nobody and catches up by
// itself (contract C6.29).
func TestBrokenTenantDelaysNobody(t *testing.T) {
	h := newHouse(t, "acme", "broken", "widgets")
	events := &recorder{}
	l := h.loop(func(c *Config) { c.Recorder, c.Workers = events, 1 })
	h.faults.away.Store("broken", true)
	must(t, h.pool.Forget(t.Context(), h.byID("broken")))
	start(t, l)
	for i := range 3 {
		h.addRole(role(fmt.Sprintf("rol%d", i), fmt.Sprintf("Role %d", i)))
		eventually(t, "the others have the role", func() bool {
			return find(h, tenancy.Roles, "acme", fmt.Sprintf("rol%d", i)) != nil && find(h, tenancy.Roles, "widgets", fmt.Sprintf("rol%d", i)) != nil
		})
	}
	eventually(t, "the tenant is called failed", func() bool {
		s, err := l.Status(t.Context(), Filter{State: StateFailed})
		must(t, err)
		return s.Total == 1 && s.Tenants[0].TenantID == "broken" && s.Tenants[0].LastError != nil && s.Tenants[0].NextAttemptAt > 0
	})
	eventually(t, "the stats tell", func() bool { // a visit is counted after what it wrote is seen
		s := l.Stats()
		return s.Failed == 1 && s.Behind == 1 && s.Tenants == 3 && s.Failures >= 3
	})
	h.faults.away.Delete("broken")
	settle(t, l)
	equal(t, "caught up", h.dump("broken"), h.dump("acme"))
	failed := 0
	for i, e := range events.list() {
		if e.Description == "sync.failed" && e.Type == "gh_sync" && events.where[i] == platform {
			failed++
		}
	}
	equal(t, "the first failure and the third are told", failed, 2)
}

// A tenant that has everything costs nothing: its database is not opened, not
// when other tenants change and not after a restart.
func TestNothingToDoOpensNothing(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addRole(role("rol1", "Support"))
	l := h.loop(func(c *Config) { c.Every = 20 * time.Millisecond })
	stop := start(t, l)
	settle(t, l)
	count := func() (n int64) {
		for _, id := range []string{"acme", "widgets"} {
			must(t, h.pool.Forget(t.Context(), h.byID(id)))
			n += h.faults.opened(id).Load()
		}
		return n
	}
	before := count()
	h.tenant("late", nil)
	settle(t, l)
	h.alter("late", func(r *tenancy.Tenant) { r.FriendlyName = "Late" })
	time.Sleep(100 * time.Millisecond) // several ticks
	stop()
	equal(t, "opened by changes elsewhere", count(), before)

	// Nor one whose own registry row changed since: it became active, or was renamed.
	must(t, h.pool.Forget(t.Context(), h.byID("late")))
	late := h.faults.opened("late").Load()
	restarted := h.loop(func(c *Config) { c.Every = 20 * time.Millisecond })
	start(t, restarted)
	settle(t, restarted)
	time.Sleep(100 * time.Millisecond)
	equal(t, "opened by a restart", count(), before)
	equal(t, "opened by a restart, of those that changed", h.faults.opened("late").Load(), late)

	h.addRole(role("rol2", "Viewer"))
	settle(t, restarted)
	equal(t, "opened for a change", count(), before+2)
	equal(t, "role", find(h, tenancy.Roles, "acme", "rol2") != nil, true)
}

// What is noted on the control plane about a tenant is not believed of a later
// tenant of the same id.
func TestSameIDAgain(t *testing.T) {
	h := newHouse(t, "acme")
	h.addRole(role("rol1", "Support"))
	l := h.loop()
	stop := start(t, l)
	settle(t, l)
	stop()
	must(t, h.pool.Drop(t.Context(), h.byID("acme")))
	h.onCP(func(ctx context.Context) { must(t, tenancy.Tenants.Delete(ctx, "acme")) })
	h.tenant("acme", nil)
	l = h.loop()
	start(t, l)
	settle(t, l)
	equal(t, "role", find(h, tenancy.Roles, "acme", "rol1") != nil, true)
}

// Suspended tenants are synced, those in other states are not (contract C6.29).
func TestStates(t *testing.T) {
	h := newHouse(t)
	for _, state := range []tenancy.State{tenancy.StateSuspended, tenancy.StateProvisioning, tenancy.StateFailed, tenancy.StateDeleting} {
		h.tenant(string(state), func(row *tenancy.Tenant) { row.State = state })
	}
	l := h.loop()
	start(t, l)
	h.addRole(role("rol1", "Support"))
	s := settle(t, l)
	equal(t, "in scope", s.Total, 1)
	equal(t, "suspended", find(h, tenancy.Roles, "suspended", "rol1") != nil, true)
	for _, id := range []string{"provisioning", "failed", "deleting"} {
		equal(t, id, find(h, tenancy.Roles, id, "rol1") == nil, true)
	}
}

// A tenant gets what changed between its snapshot and its becoming active.
func TestSnapshotThenActive(t *testing.T) {
	h := newHouse(t)
	l := h.loop()
	start(t, l)
	row := h.tenant("acme", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	h.addRole(role("rol1", "Before"))
	must(t, l.Snapshot(t.Context(), row))
	equal(t, "in the snapshot", find(h, tenancy.Roles, "acme", "rol1") != nil, true)
	h.addRole(role("rol2", "Between"))
	h.alter("acme", func(r *tenancy.Tenant) { r.State = tenancy.StateActive })
	settle(t, l)
	eventually(t, "what came between", func() bool { return find(h, tenancy.Roles, "acme", "rol2") != nil })
}

// A hundred changes of one entity are one write in the tenant (coalesced), and
// one picture is read for all tenants.
func TestBacklogIsCoalesced(t *testing.T) {
	h := newHouse(t, "acme")
	h.addRole(role("rol1", "Support"))
	l := h.loop()
	must(t, l.Snapshot(t.Context(), h.byID("acme")))
	_, before := h.applied("acme")
	for i := range 100 {
		update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Description = fmt.Sprint(i) })
	}
	start(t, l)
	settle(t, l)
	revision, writes := h.applied("acme")
	equal(t, "batches", writes-before, 1)
	equal(t, "revision", revision, h.head())
	got := find(h, tenancy.Roles, "acme", "rol1")
	equal(t, "description", got.Description, "99")
	equal(t, "writes of the role", got.Revision, 2)
}

// Any number of loops over the same databases end in the same state, and the
// tenants' batches hold each change once (contract C6.4).
func TestLoopsCompete(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	var loops []*Loop
	for range 3 {
		l := h.loop(func(c *Config) { c.Every = 5 * time.Millisecond })
		loops = append(loops, l)
		start(t, l)
	}
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	for i := range 15 {
		id := fmt.Sprintf("rol%d", i%5)
		switch {
		case i < 5:
			h.addRole(role(id, "Role "+id), perm(id, "rs1", "read"))
		case i < 10:
			update(h, tenancy.Roles, platform, id, func(r *tenancy.Role) { r.Name, r.NameKey = "Now "+id, "now "+id })
		case i%2 == 0:
			h.removeRole(id)
		}
	}
	for _, l := range loops {
		settle(t, l)
	}
	h.tenant("fresh", nil)
	must(t, loops[0].Snapshot(t.Context(), h.byID("fresh")))
	want := h.dump("fresh")
	for _, id := range []string{"acme", "widgets"} {
		equal(t, id, h.dump(id), want)
	}
	for _, l := range loops {
		if s := l.Stats(); s.Failures > 0 {
			t.Errorf("a loop failed: %+v", s)
		}
	}
}

// turns is a Locker in memory that counts.
type turns struct {
	held  chan struct{}
	mu    sync.Mutex
	taken int
}

func (l *turns) Lock(ctx context.Context, name string) error {
	select {
	case l.held <- struct{}{}:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.taken++
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *turns) Unlock(context.Context, string) error { <-l.held; return nil }

// With a locker processes take turns, and who waited does not do again what was
// done meanwhile. The lock is given back, also by a loop that is stopped.
func TestLocker(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	locker := &turns{held: make(chan struct{}, 1)}
	first, second := h.loop(func(c *Config) { c.Locker = locker }), h.loop(func(c *Config) { c.Locker = locker })
	start(t, first)
	stop := start(t, second)
	h.addRole(role("rol1", "Support"))
	settle(t, first)
	settle(t, second)
	locker.held <- struct{}{} // free again, when there is nothing to do
	h.addRole(role("rol2", "Viewer"))
	eventually(t, "the loop asks for its turn", func() bool {
		s, err := second.Status(t.Context(), Filter{})
		must(t, err)
		return !s.Complete
	})
	stop() // while it waits for the lock
	if find(h, tenancy.Roles, "acme", "rol2") != nil {
		t.Error("a loop worked out of turn")
	}
	<-locker.held
	settle(t, first)
	equal(t, "role", find(h, tenancy.Roles, "acme", "rol2") != nil, true)
}

// Run returns when its context ends and leaves nothing behind.
func TestRunLeavesNothing(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addRole(role("rol1", "Support"))
	l := h.loop()
	warm := start(t, l)
	settle(t, l)
	warm()
	before := runtime.NumGoroutine()
	for i := range 20 {
		stop := start(t, l)
		h.addRole(role(fmt.Sprintf("r%d", i), fmt.Sprintf("R %d", i)))
		if i%2 == 0 {
			settle(t, l)
		}
		stop()
		stop()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	l.Run(ended)
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// The control plane may be away: tenants keep what they have, and the loop goes
// on when it returns.
func TestControlPlaneAway(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.addRole(role("rol1", "Support"))
	settle(t, l)
	h.faults.away.Store(platform, true)
	l.Kick()
	eventually(t, "the trouble shows", func() bool { return l.Stats().Trouble != nil })
	if _, err := l.Status(t.Context(), Filter{}); tenancy.StatusOf(err) != http.StatusServiceUnavailable {
		t.Errorf("status: %v", err)
	}
	h.faults.away.Delete(platform)
	h.addRole(role("rol2", "Viewer"))
	settle(t, l)
	equal(t, "role", find(h, tenancy.Roles, "acme", "rol2") != nil, true)
}

// A control plane that was restored from a backup is older than its tenants:
// they are brought back to it.
func TestControlPlaneRestored(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	stop := start(t, l)
	h.addRole(role("rol1", "Support"))
	settle(t, l)
	for _, running := range []bool{true, false} {
		before := h.head()
		h.addRole(role("lost", "Lost"))
		settle(t, l)
		if !running {
			stop()
		}
		h.onCP(func(ctx context.Context) {
			must(t, tenancy.Commit(ctx,
				tenancy.SQL(ctx, `DELETE FROM roles WHERE tenant_id = @tenant AND id = 'lost'`),
				tenancy.SQL(ctx, `DELETE FROM change_log WHERE tenant_id = @tenant AND revision > ?`, before),
				tenancy.SQL(ctx, `UPDATE counters SET value = ? WHERE tenant_id = @tenant AND id = 'revision'`, before)))
		})
		if running {
			l.Kick()
		} else {
			l = h.loop()
			start(t, l)
		}
		eventually(t, "the tenants forget the lost role", func() bool {
			return find(h, tenancy.Roles, "acme", "lost") == nil && find(h, tenancy.Roles, "widgets", "lost") == nil
		})
		settle(t, l)
		h.addRole(role(fmt.Sprintf("rol-%v", running), fmt.Sprintf("After %v", running))) // under a revision that was used before
		settle(t, l)
		equal(t, "role after it", find(h, tenancy.Roles, "acme", fmt.Sprintf("rol-%v", running)) != nil, true)
	}
}
