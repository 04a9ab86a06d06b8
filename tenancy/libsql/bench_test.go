package libsql_test

import (
	"fmt"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
)

// BenchmarkCreate makes tenants' databases, tables and all.
func BenchmarkCreate(b *testing.B) {
	for _, template := range []string{"", "template"} {
		b.Run("template="+template, func(b *testing.B) {
			x := over(b, sqldtest.Start(b))
			x.Template = template
			must(b, x.Create(b.Context(), acme))
			for i := 0; b.Loop(); i++ {
				must(b, x.Create(b.Context(), tenancy.Location{Tenant: fmt.Sprint("t", i)}))
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	ctx := newHouse(b, over(b, sqldtest.Start(b))).tenant(b, "acme")
	must(b, tenancy.Clients.Create(ctx, client("c", "name")))
	for b.Loop() {
		_, err := tenancy.Clients.Get(ctx, "c")
		must(b, err)
	}
}

// BenchmarkBatch commits what the exchange of a code does: one row is used up,
// another is made.
func BenchmarkBatch(b *testing.B) {
	ctx := newHouse(b, over(b, sqldtest.Start(b))).tenant(b, "acme")
	must(b, tenancy.Grants.Create(ctx, &tenancy.Grant{Row: tenancy.Row{ID: "code"}, Kind: tenancy.GrantCode, Hash: "code"}))
	for i := 1; b.Loop(); i++ {
		id := fmt.Sprint("g", i)
		must(b, tenancy.Commit(ctx,
			tenancy.SQL(ctx, `UPDATE grants SET used_at = ? WHERE tenant_id = @tenant AND id = 'code' AND used_at = ?`, i, i-1).Once(),
			tenancy.Grants.Insert(ctx, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantRefresh, Hash: id})))
	}
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
