package sqlite_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// TestCloseIsTheEnd: a read whose caller has gone is ended beside its caller. Once
// Close has returned nothing of this process touches the file all the same: SQLite's
// last connection brings the log into the file and removes it.
func TestCloseIsTheEnd(t *testing.T) {
	dir := t.TempDir()
	provider := &sqlite.Provider{Dir: dir}
	acme := tenancy.Location{Tenant: "acme"}
	if err := provider.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		db, err := provider.Open(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `DELETE FROM clients WHERE 1 = 0`}}); err != nil {
			t.Fatal(err)
		}
		ctx, giveUp := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		for range 16 {
			readers.Go(func() {
				rows, err := db.QueryContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n`)
				if err == nil {
					rows.Next()
					_ = rows.Close()
				}
			})
		}
		time.Sleep(3 * time.Millisecond)
		giveUp()
		readers.Wait()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "acme.db-wal")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the log is still there after Close (%v): a connection is open", err)
		}
	}
}
