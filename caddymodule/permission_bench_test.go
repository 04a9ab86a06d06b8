package caddymodule

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// permissionTenants is how many tenants the benchmark has.
const permissionTenants = 10_000

// fleet starts the server with a registry of so many tenants. Their databases are
// not there: nobody comes for them.
func (s *server) fleet(b *testing.B, n int) {
	b.Helper()
	s.start()
	like := s.tenant("acme")
	err := s.services().pool.Do(b.Context(), s.services().directory.ControlPlane(), func(inside context.Context) error {
		for first := 0; first < n; first += 500 {
			var stmts []tenancy.Stmt
			for i := first; i < min(first+500, n); i++ {
				row := *like
				row.Row, row.OrganizationID = tenancy.Row{ID: fmt.Sprintf("t%05d", i)}, fmt.Sprintf("org_%05d", i)
				row.Database = row.ID
				stmts = append(stmts, tenancy.Tenants.Insert(inside, &row))
			}
			if err := tenancy.Commit(inside, stmts...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		b.Fatal(err)
	}
	if err := s.load(); err != nil {
		b.Fatal(err)
	}
	if got := s.services().directory.Len(); got < n {
		b.Fatalf("%d tenants are known, want %d", got, n)
	}
}

// BenchmarkPermission is how long the permission takes to answer with 10,000
// tenants, for names of tenants and of nobody's. The bar is 100 µs at p99.
//
//	go test ./caddymodule -run '^$' -bench Permission -benchtime 5x
func BenchmarkPermission(b *testing.B) {
	s := newServer(b)
	s.fleet(b, permissionTenants)
	p := &Permission{runtime: runningRuntime(b)}
	for kind, form := range map[string]string{"tenants": "t%05d.auth.example.com", "nobody's": "nobody%d.auth.example.com", "foreign": "%d.example.net"} {
		b.Run(kind, func(b *testing.B) {
			const n = 100_000
			took := make([]time.Duration, n)
			for b.Loop() {
				for i := range took {
					name := fmt.Sprintf(form, i%permissionTenants)
					began := time.Now()
					err := p.CertificateAllowed(b.Context(), name)
					took[i] = time.Since(began)
					if (err == nil) != (kind == "tenants") {
						b.Fatalf("%s: %v", name, err)
					}
				}
			}
			slices.Sort(took)
			p99 := took[n*99/100]
			b.ReportMetric(float64(p99.Nanoseconds())/1000, "p99-µs")
			if p99 > 100*time.Microsecond {
				b.Errorf("p99 is %v, want at most 100 µs", p99)
			}
		})
	}
}
