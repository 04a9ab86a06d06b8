package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestTwoNodes: nodes that start on an empty server together, create and drop the
// same tenant at a time, leave it whole or not at all, and nothing beside it.
func TestTwoNodes(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			nodes := []*postgres.Provider{over(t, dsn, isolation), over(t, dsn, isolation)}
			acme := tenancy.Location{Tenant: "acme"}
			var wg sync.WaitGroup
			for i := range 4 {
				p := nodes[i%2]
				wg.Go(func() {
					for range 3 {
						if err := p.Create(context.Background(), acme); err != nil && !errors.Is(err, tenancy.ErrUnavailable) {
							t.Errorf("creating: %v", err)
						}
						if i < 2 {
							if err := p.Drop(context.Background(), acme); err != nil {
								t.Errorf("dropping: %v", err)
							}
						}
					}
				})
			}
			wg.Wait()
			must(t, nodes[0].Create(t.Context(), acme))
			must(t, opening(nodes[1], "acme"))
			if n, err := nodes[1].Count(t.Context()); n != 1 || err != nil {
				t.Errorf("%d tenants, %v", n, err)
			}
			want := 1
			if isolation == postgres.Row {
				want = 0
			}
			s := connect(t, dsn)
			left := s.count(`SELECT COUNT(*) FROM pg_namespace WHERE nspname LIKE 't\_%'`) +
				s.count(`SELECT COUNT(*) FROM pg_database WHERE datname LIKE 't\_%' AND datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)`)
			if left != want {
				t.Errorf("%d schemas or databases are there, want %d", left, want)
			}
			must(t, nodes[1].Drop(t.Context(), acme))
		})
	}
}

// TestDeadlock: batches that lock the same rows in opposite order all succeed.
func TestDeadlock(t *testing.T) {
	h := newHouse(t, provide(t, postgres.Row))
	ctx := h.enter(t, h.tenant(t, "acme"))
	for _, id := range []string{"a", "b"} {
		must(t, tenancy.Clients.Create(ctx, client(id, "")))
	}
	add := func(id string) tenancy.Stmt {
		return tenancy.SQL(ctx, `UPDATE clients SET description = description || 'x' WHERE tenant_id = @tenant AND id = ?`, id).Once()
	}
	const times = 40
	var wg sync.WaitGroup
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		wg.Go(func() {
			for range times {
				if err := tenancy.Commit(ctx, add(order[0]), add(order[1])); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"a", "b"} {
		if c, err := tenancy.Clients.Get(ctx, id); err != nil || len(c.Description) != 2*times {
			t.Errorf("%s was changed %d times of %d, %v", id, len(c.Description), 2*times, err)
		}
	}
}

// TestBegunIsFinished: a batch that waits for another transaction when its caller
// gives up is applied, and its caller learns that it was.
func TestBegunIsFinished(t *testing.T) {
	dsn := postgrestest.DSN(t)
	h := newHouse(t, over(t, dsn, postgres.Row))
	ctx := h.enter(t, h.tenant(t, "acme"))
	must(t, tenancy.Clients.Create(ctx, client("c", "old")))
	s := connect(t, dsn)
	s.exec(`BEGIN`)
	s.exec(`SELECT set_config('gatehouse.tenant', 'acme', true)`)
	s.exec(`UPDATE gatehouse.clients SET description = 'held' WHERE id = 'c'`)
	impatient, giveUp := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- tenancy.Commit(impatient, tenancy.SQL(impatient, `UPDATE clients SET name = 'new' WHERE tenant_id = @tenant AND id = 'c'`).Once())
	}()
	watch := connect(t, postgrestest.Admin(t))
	for began := time.Now(); watch.count(`SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = (SELECT datname FROM pg_database WHERE datname = $1)`, s.c.Config().Database) == 0; {
		if time.Since(began) > time.Minute {
			t.Fatal("the batch does not wait")
		}
		time.Sleep(5 * time.Millisecond)
	}
	giveUp()
	select {
	case err := <-done:
		t.Fatalf("the batch was given up: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	s.exec(`COMMIT`)
	if err := <-done; err != nil {
		t.Errorf("the batch: %v", err)
	}
	if c, err := tenancy.Clients.Get(ctx, "c"); err != nil || c.Name != "new" {
		t.Errorf("%+v %v", c, err)
	}
}

// TestRowsAreClosed: reads whose rows are left half read, or whose context ends
// meanwhile, give their connections back.
func TestRowsAreClosed(t *testing.T) {
	h := newHouse(t, provide(t, postgres.Row))
	ctx := h.enter(t, h.tenant(t, "acme"))
	for i := range 30 {
		must(t, tenancy.Clients.Create(ctx, client(fmt.Sprint("c", i), "name")))
	}
	for i := range 60 {
		reading, cancel := context.WithCancel(ctx)
		rows, err := tenancy.Query(reading, `SELECT id FROM clients WHERE tenant_id = @tenant`)
		must(t, err)
		rows.Next()
		if i%2 == 0 {
			cancel()
		}
		must(t, rows.Close())
		cancel()
	}
	if n, err := tenancy.Clients.Count(ctx, tenancy.Filter{}); n != 30 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}
