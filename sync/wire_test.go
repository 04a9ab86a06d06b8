package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// caughtUp waits until every tenant has everything, through whatever failures are
// still being retried.
func caughtUp(t *testing.T, l *Loop) {
	t.Helper()
	var s *Status
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if s, err = l.Status(t.Context(), Filter{Wait: 5 * time.Second}); err == nil && s.Complete {
			return
		}
		<-time.After(20 * time.Millisecond) // an error comes at once
	}
	t.Fatalf("not complete in time: %+v, %v", s, err)
}

// A network between a node and PostgreSQL cuts connections, loses answers of what
// was done, delays, holds everything up and is down for a while, as the control plane
// is edited from elsewhere. Afterwards every tenant is like one made now, no copy
// was written more often than its row, and a second pass writes nothing (contract
// C6.4, C6.29).
func TestFaultyNetwork(t *testing.T) {
	const rounds = 36
	dsn, dir := postgrestest.DSN(t), t.TempDir()
	var ids []string
	for i := range 8 {
		ids = append(ids, fmt.Sprintf("t%02d", i))
	}
	h := newHouseWith(t, &postgres.Provider{DSN: dsn}, dir, 0, ids...)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "A"), perm("rol1", "rs1", "read"))
	h.addRole(role("rol2", "B"), perm("rol2", "rs1", "read"))

	wire := postgrestest.NewWire(t, dsn)
	node := newHouseWith(t, &postgres.Provider{DSN: wire.DSN()}, dir, 0)
	l := node.loop(func(c *Config) { c.Every, c.Workers = 20*time.Millisecond, 4 })
	start(t, l)
	caughtUp(t, l)
	faults := []func(){
		wire.Cut, wire.Cut,
		func() { wire.LoseAnswers(3) },
		func() { wire.LoseAnswers(8) },
		func() { wire.Delay(15 * time.Millisecond) },
		wire.Hold,
		wire.Down,
		func() {},
	}
	random := rand.New(rand.NewPCG(29, 4))
	for range rounds {
		h.onCP(func(ctx context.Context) { must(t, edit(ctx)) })
		<-time.After(time.Duration(random.IntN(40)) * time.Millisecond) // a point of the pass
		faults[random.IntN(len(faults))]()
		<-time.After(time.Duration(random.IntN(120)) * time.Millisecond) // how long it lasts
		wire.Up()
	}
	caughtUp(t, l)
	stats := l.Stats()
	t.Logf("%d connections were ended; %d visits failed, %d went well", wire.Ended(), stats.Failures, stats.Visits)
	if wire.Ended() < rounds/4 {
		t.Errorf("next to nothing went wrong: %d connections ended", wire.Ended())
	}

	direct := h.loop()
	h.tenant("fresh", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	must(t, direct.Snapshot(t.Context(), h.byID("fresh")))
	want, source := h.dump("fresh"), find(h, tenancy.Roles, platform, "rol1")
	p, err := direct.look(t.Context())
	must(t, err)
	for _, id := range ids {
		equal(t, id, h.dump(id), want)
		if copied := find(h, tenancy.Roles, id, "rol1"); copied.Revision > source.Revision {
			t.Errorf("%s: the copy was written %d times, its row on the control plane %d times", id, copied.Revision, source.Revision)
		}
		out, err := direct.visit(t.Context(), job{tenant: h.byID(id), picture: p, full: true}, h.pool.Enter)
		must(t, err)
		if out.wrote {
			t.Errorf("%s: a second pass writes", id)
		}
	}
	equal(t, "edits", source.Revision, 1+rounds)
}

// muffled is a pool whose hints about changes get lost, come twice, and come late in
// any order.
type muffled struct {
	Pool
	random *rand.Rand
}

// Watch implements Pool.
func (m *muffled) Watch(f func()) (stop func()) {
	hints := make(chan int, 64)
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case <-ended:
				return
			case n := <-hints:
				for range n {
					time.AfterFunc(time.Duration(n)*7*time.Millisecond, f)
				}
			}
		}
	}()
	unwatch := m.Pool.Watch(func() {
		select {
		case hints <- m.random.IntN(4): // none is lost, two and three come late
		default:
		}
	})
	return func() { unwatch(); close(ended) }
}

// Hints that are lost, doubled, late and in another order change nothing: what a
// tenant gets is read, not told (contract C6.4).
func TestHintsLostDoubledReordered(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "A"), perm("rol1", "rs1", "read"))
	h.addRole(role("rol2", "B"), perm("rol2", "rs1", "read"))
	l := h.loop(func(c *Config) {
		c.Pool, c.Every = &muffled{Pool: h.pool, random: rand.New(rand.NewPCG(3, 5))}, 50*time.Millisecond
	})
	start(t, l)
	for range 40 {
		h.onCP(func(ctx context.Context) { must(t, edit(ctx)) })
	}
	head := h.head()
	eventually(t, "every tenant applied everything, though nobody asks for the status", func() bool {
		acme, _ := h.applied("acme")
		widgets, _ := h.applied("widgets")
		return acme >= head && widgets >= head
	})
	h.tenant("fresh", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	must(t, l.Snapshot(t.Context(), h.byID("fresh")))
	for _, id := range []string{"acme", "widgets"} {
		equal(t, id, h.dump(id), h.dump("fresh"))
	}
}
