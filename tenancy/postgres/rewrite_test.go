package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestRewriteWaits: tables that somebody is reading are not rewritten under them, and
// nobody else waits for that; once they are done the tables get new files. Those
// that tenants share are not locked at all.
func TestRewriteWaits(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			p := over(t, dsn, isolation)
			loc := tenancy.Location{Tenant: "acme"}
			must(t, p.Create(t.Context(), loc))
			db, err := p.Open(t.Context(), loc)
			must(t, err)
			defer db.Close()
			stmt := tenancy.Stmt{SQL: p.Rebind(`INSERT INTO clients (tenant_id, id) VALUES (?, ?)`), Args: []any{"acme", "same"}, Rows: 1}
			_, err = db.Batch(t.Context(), []tenancy.Stmt{stmt})
			must(t, err)
			reading, err := db.(tenancy.SnapshotDatabase).Snapshot(t.Context())
			must(t, err)
			look := func(from tenancy.Querier) {
				t.Helper()
				rows, err := from.QueryContext(t.Context(), p.Rebind(`SELECT id FROM clients WHERE tenant_id = ?`), "acme")
				must(t, err)
				n := 0
				for rows.Next() {
					n++
				}
				must(t, rows.Close())
				if n != 1 {
					t.Errorf("%d rows", n)
				}
			}
			look(reading)
			done := make(chan error, 1)
			go func() { done <- db.(tenancy.Rewriter).Rewrite(t.Context(), []string{"clients", "connections"}) }()
			shared := isolation == postgres.Row
			for range 20 { // while it is tried again and again
				began := time.Now()
				look(db)
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("a reader waited %v", took)
				}
				select {
				case err := <-done:
					if !shared || err != nil {
						t.Fatalf("it did not wait: %v", err)
					}
					done <- nil
				case <-time.After(20 * time.Millisecond):
				}
			}
			must(t, reading.Close())
			if err := <-done; err != nil {
				t.Error(fmt.Errorf("after the reader has left: %w", err))
			}
			look(db)
		})
	}
}
