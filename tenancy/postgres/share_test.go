package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// visit reads and writes in all tenants at a time, and demands that each sees its
// own rows only.
func visit(t *testing.T, h *house, list []*tenancy.Tenant, workers, times int) {
	t.Helper()
	for _, x := range list {
		must(t, tenancy.Clients.Create(h.enter(t, x), client("c", x.ID)))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range times {
				x := list[(w+i*7)%len(list)]
				err := h.pool.Do(context.Background(), x, func(ctx context.Context) error {
					c, err := tenancy.Clients.Get(ctx, "c")
					if err != nil {
						return err
					}
					if c.Name != x.ID || c.TenantID != x.ID {
						return fmt.Errorf("read the client of %s", c.Name)
					}
					org := fmt.Sprint("org", w, "-", i)
					return tenancy.Commit(ctx,
						tenancy.Require(ctx, `EXISTS (SELECT 1 FROM clients WHERE tenant_id = @tenant AND name = ?)`, x.ID),
						tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: org}, Name: org}))
				})
				if err != nil {
					t.Errorf("%s: %v", x.ID, err)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, x := range list {
		n, err := tenancy.Organizations.Count(h.enter(t, x), tenancy.Filter{})
		must(t, err)
		total += n
	}
	if want := int64(workers * times); total != want {
		t.Errorf("%d of %d writes are there", total, want)
	}
}

// TestBudget: more tenants than connections, all of them served, and never more
// connections than allowed.
func TestBudget(t *testing.T) {
	const limit = 6
	p := &postgres.Provider{DSN: postgrestest.DSN(t), Isolation: postgres.Database, MaxConns: limit}
	t.Cleanup(func() { must(t, p.Close()) })
	h := newHouse(t, p)
	var list []*tenancy.Tenant
	for i := range 9 {
		list = append(list, h.tenant(t, fmt.Sprint("t", i)))
	}
	stop, most := make(chan struct{}), 0
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				most = max(most, p.Used())
			}
		}
	})
	visit(t, h, list, 12, 20)
	close(stop)
	watch.Wait()
	if most > limit || most < limit-1 {
		t.Errorf("there were up to %d connections; the limit is %d", most, limit)
	}
}

// TestPooler runs every isolation through a pooler in transaction mode with two
// connections, of a version that knows nothing of prepared statements.
func TestPooler(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			p := over(t, postgrestest.Pooler(t, postgrestest.DSN(t)), isolation)
			h := newHouse(t, p)
			visit(t, h, []*tenancy.Tenant{h.tenant(t, "acme"), h.tenant(t, "widgets"), h.tenant(t, "third")}, 6, 15)
			if !p.Pooled() {
				t.Error("the pooler was not noticed")
			}
		})
	}
}

// TestNoPooler: without one, statements are prepared.
func TestNoPooler(t *testing.T) {
	p := provide(t, postgres.Row)
	must(t, p.Create(t.Context(), tenancy.Location{Tenant: "acme"}))
	if p.Pooled() {
		t.Error("a pooler was seen where there is none")
	}
}
