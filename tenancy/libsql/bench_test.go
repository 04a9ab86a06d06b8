package libsql_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
)

// each times f, which is told its number, and reports the median beside the mean.
func each(b *testing.B, f func(i int)) {
	var took []time.Duration
	for i := 1; b.Loop(); i++ {
		began := time.Now()
		f(i)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkCreate makes tenants' databases, tables and all.
func BenchmarkCreate(b *testing.B) {
	for _, template := range []string{"", "template"} {
		b.Run("template="+template, func(b *testing.B) {
			x := over(b, sqldtest.Start(b))
			x.Template = template
			must(b, x.Create(b.Context(), acme))
			each(b, func(i int) { must(b, x.Create(b.Context(), tenancy.Location{Tenant: fmt.Sprint("t", i)})) })
		})
	}
}

// BenchmarkOpen opens a tenant and reads one row of it.
func BenchmarkOpen(b *testing.B) {
	x := over(b, sqldtest.Start(b))
	must(b, x.Create(b.Context(), acme))
	each(b, func(int) {
		db, err := x.Open(b.Context(), acme)
		must(b, err)
		rows, err := db.QueryContext(b.Context(), `SELECT id FROM clients WHERE tenant_id = ? AND id = ?`, "acme", "c")
		must(b, err)
		must(b, rows.Close())
		must(b, db.Close())
	})
}

func BenchmarkRead(b *testing.B) {
	ctx := newHouse(b, over(b, sqldtest.Start(b))).tenant(b, "acme")
	must(b, tenancy.Clients.Create(ctx, client("c", "name")))
	each(b, func(int) {
		_, err := tenancy.Clients.Get(ctx, "c")
		must(b, err)
	})
}

// BenchmarkBatch commits what the exchange of a code does: one row is used up,
// another is made.
func BenchmarkBatch(b *testing.B) {
	ctx := newHouse(b, over(b, sqldtest.Start(b))).tenant(b, "acme")
	must(b, tenancy.Grants.Create(ctx, &tenancy.Grant{Row: tenancy.Row{ID: "code"}, Kind: tenancy.GrantCode, Hash: "code"}))
	each(b, func(i int) {
		id := fmt.Sprint("g", i)
		must(b, tenancy.Commit(ctx,
			tenancy.SQL(ctx, `UPDATE grants SET consumed_at = ? WHERE tenant_id = @tenant AND id = 'code' AND consumed_at = ?`, i, i-1).Once(),
			tenancy.Grants.Insert(ctx, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantRefresh, Hash: id})))
	})
}

// BenchmarkWriters has 16 write to one tenant at a time.
func BenchmarkWriters(b *testing.B) {
	ctx := newHouse(b, over(b, sqldtest.Start(b))).tenant(b, "acme")
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := tenancy.NewID("g", 16)
			if err := tenancy.Grants.Create(ctx, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantCode, Hash: id}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
