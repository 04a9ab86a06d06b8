package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// BenchmarkSyncClosedTenants applies one change (a resource server, a role and
// three permissions) to a thousand tenants whose databases are closed. The
// baseline, in the same run, has as many workers open other tenants' databases,
// write the very same statements, and close them: "ratio" is the loop's rate by
// the baseline's. "api-ms" is what the change itself takes on the control plane.
func BenchmarkSyncClosedTenants(b *testing.B) {
	const tenants, workers = 1000, 8
	h := newHouseOf(b, 4*workers)
	l := h.loop(func(c *Config) { c.Workers = workers })
	var raw []*tenancy.Tenant
	for i := range tenants {
		must(b, l.Snapshot(context.Background(), h.tenant(fmt.Sprintf("s%04d", i), nil)))
		row := h.tenant(fmt.Sprintf("r%04d", i), func(t *tenancy.Tenant) { t.State = tenancy.StateProvisioning })
		must(b, l.Snapshot(context.Background(), row))
		raw = append(raw, row)
	}
	start(b, l)
	settle(b, l)
	const model = "s0000"
	var batch atomic.Pointer[[]tenancy.Stmt]
	h.faults.onBatch(func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error) {
		if tenant == model {
			batch.Store(&stmts)
		}
		return stmts, nil
	})
	var api, synced, baseline time.Duration
	round := 0
	for b.Loop() {
		for _, t := range slices.Concat(raw, []*tenancy.Tenant{h.byID(model)}) {
			must(b, h.pool.Forget(context.Background(), t))
		}
		round++
		began := time.Now()
		change(h, round)
		api += time.Since(began)
		settle(b, l)
		synced += time.Since(began)

		began = time.Now()
		must(b, rawApply(h, raw, *batch.Load(), model, workers))
		baseline += time.Since(began)
	}
	n := float64(round)
	b.ReportMetric(baseline.Seconds()/synced.Seconds(), "ratio")
	b.ReportMetric(n*tenants/synced.Seconds(), "tenants/s")
	b.ReportMetric(n*tenants/baseline.Seconds(), "raw-tenants/s")
	b.ReportMetric(api.Seconds()*1000/n, "api-ms")
}

// BenchmarkSyncBacklog has tenants whose databases are closed find a hundred changes
// of ten roles at once, and compares with finding one, by turns: "x-one" is how much
// longer that takes.
func BenchmarkSyncBacklog(b *testing.B) {
	const tenants, changes = 300, 100
	h := newHouseOf(b, 64)
	l := h.loop(func(c *Config) { c.Workers = 4 })
	for i := range tenants {
		must(b, l.Snapshot(context.Background(), h.tenant(fmt.Sprintf("s%04d", i), nil)))
	}
	for i := range 10 {
		h.addRole(role(fmt.Sprint("rol", i), fmt.Sprint("Role ", i)))
	}
	start(b, l)()
	edits := 0
	catchUp := func(n int) time.Duration {
		for range n {
			edits++
			update(h, tenancy.Roles, platform, fmt.Sprint("rol", edits%10), func(r *tenancy.Role) { r.Description = fmt.Sprint("edit ", edits) })
		}
		began := time.Now()
		stop := start(b, l)
		settle(b, l)
		took := time.Since(began)
		stop()
		return took
	}
	catchUp(1)
	var one, many time.Duration
	for b.Loop() {
		one += catchUp(1)
		many += catchUp(changes)
	}
	b.ReportMetric(many.Seconds()/one.Seconds(), "x-one")
}

// change makes one change of several rows in one batch.
func change(h *house, round int) {
	h.onCP(func(ctx context.Context) {
		rs, rol := fmt.Sprintf("rs%d", round), fmt.Sprintf("rol%d", round)
		stmts := []tenancy.Stmt{tenancy.Roles.Insert(ctx, role(rol, "Role "+rol))}
		for _, scope := range []string{"a", "b", "c"} {
			stmts = append(stmts, tenancy.RolePermissions.Insert(ctx, perm(rol, rs, scope)))
		}
		must(h.t, tenancy.ResourceServers.Create(ctx, server(rs, "https://"+rs, "a", "b", "c"), stmts...))
	})
}

// rawApply writes the batch of one tenant into others: open, write, close.
func rawApply(h *house, tenants []*tenancy.Tenant, batch []tenancy.Stmt, model string, workers int) error {
	next := make(chan *tenancy.Tenant)
	errs := make(chan error, workers)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			var failed error
			for t := range next {
				failed = errors.Join(failed, rawVisit(h, t, batch, model))
			}
			errs <- failed
		})
	}
	for _, t := range tenants {
		next <- t
	}
	close(next)
	group.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

func rawVisit(h *house, t *tenancy.Tenant, batch []tenancy.Stmt, model string) error {
	db, err := h.faults.Provider.Open(context.Background(), t.Location())
	if err != nil {
		return err
	}
	stmts := slices.Clone(batch)
	for i := range stmts {
		stmts[i].Args = slices.Clone(stmts[i].Args)
		for j, arg := range stmts[i].Args {
			if arg == any(model) {
				stmts[i].Args[j] = t.ID
			}
		}
	}
	_, err = db.Batch(context.Background(), stmts)
	return errors.Join(err, db.Close())
}
