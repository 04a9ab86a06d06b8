package postgres_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
)

// BenchmarkCreate makes tenants' databases, on a server that syncs to disk.
func BenchmarkCreate(b *testing.B) {
	for _, isolation := range isolations {
		b.Run(string(isolation), func(b *testing.B) {
			p := provide(b, isolation)
			must(b, p.Create(b.Context(), tenancy.Location{Tenant: "first"})) // makes what all need
			n := 0
			for b.Loop() {
				n++
				must(b, p.Create(b.Context(), tenancy.Location{Tenant: fmt.Sprint("t", n)}))
			}
		})
	}
}

// BenchmarkRead reads one row by its key, of 1 and of 20 tenants by turns. Bar:
// isolation schema with 20 tenants at least 0.9 times the rate with one.
func BenchmarkRead(b *testing.B) {
	for _, isolation := range []postgres.Isolation{postgres.Row, postgres.Schema} {
		for _, tenants := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/tenants=%d", isolation, tenants), func(b *testing.B) {
				ctxs := inside(b, isolation, tenants)
				var turn atomic.Int64
				read := func() {
					var name string
					ctx := ctxs[int(turn.Add(1))%len(ctxs)]
					if err := tenancy.QueryRow(ctx, `SELECT name FROM clients WHERE tenant_id = @tenant AND id = ?`, []any{"c"}, &name); err != nil {
						b.Error(err)
					}
				}
				var warm sync.WaitGroup // the first touch of a table by a connection
				for range runtime.GOMAXPROCS(0) {
					warm.Go(func() {
						for range 20 * tenants {
							read()
						}
					})
				}
				warm.Wait()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						read()
					}
				})
			})
		}
	}
}

// BenchmarkCommit consumes one row and inserts another.
func BenchmarkCommit(b *testing.B) {
	for _, isolation := range isolations {
		b.Run(string(isolation), func(b *testing.B) {
			ctx := inside(b, isolation, 1)[0]
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := fmt.Sprint("g", n.Add(1))
					err := tenancy.Commit(ctx,
						tenancy.Grants.Insert(ctx, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantRefresh, Hash: id}),
						tenancy.SQL(ctx, `UPDATE grants SET consumed_at = 1 WHERE tenant_id = @tenant AND id = ? AND consumed_at = 0`, id).Once())
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// inside returns contexts inside new tenants that have a client "c" each.
func inside(b *testing.B, isolation postgres.Isolation, tenants int) []context.Context {
	h := newHouse(b, provide(b, isolation))
	var list []context.Context
	for i := range tenants {
		ctx := h.enter(b, h.tenant(b, fmt.Sprint("t", i)))
		must(b, tenancy.Clients.Create(ctx, client("c", "name")))
		list = append(list, ctx)
	}
	return list
}
