package postgres_test

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

// versions returns the real migrations with some behind them.
func versions(t *testing.T, more fstest.MapFS) fs.FS {
	t.Helper()
	all := maps.Clone(more)
	files, err := fs.Glob(migrations.FS, "*.sql")
	must(t, err)
	for _, file := range files {
		content, err := fs.ReadFile(migrations.FS, file)
		must(t, err)
		all[file] = &fstest.MapFile{Data: content}
	}
	return all
}

const (
	addsExtras = "-- +goose Up\nCREATE TABLE extras (\n\ttenant_id TEXT NOT NULL,\n\tid TEXT NOT NULL,\n\tPRIMARY KEY (tenant_id, id)\n);\n\n" +
		"ALTER TABLE clients ADD COLUMN extra TEXT NOT NULL DEFAULT 'new';\n-- +goose Down\nDROP TABLE extras;\n"
	breaks = "-- +goose Up\nALTER TABLE clients ADD COLUMN further TEXT NOT NULL DEFAULT '';\nALTER TABLE nothing ADD COLUMN a TEXT;\n"
)

// TestMigrations: nodes of a newer version that start together migrate each
// tenant once, while one of the older version goes on serving.
func TestMigrations(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			before := newHouse(t, over(t, dsn, isolation))
			var list []*tenancy.Tenant
			for _, id := range []string{"acme", "widgets", "third"} {
				x := before.tenant(t, id)
				must(t, tenancy.Clients.Create(before.enter(t, x), client("c", id)))
				list = append(list, x)
			}
			newer := versions(t, fstest.MapFS{"00002_extras.sql": {Data: []byte(addsExtras)}})
			var nodes []*postgres.Provider
			for range 2 {
				p := over(t, dsn, isolation)
				must(t, p.Know(newer))
				nodes = append(nodes, p)
			}
			var wg sync.WaitGroup
			for _, p := range nodes {
				for _, x := range list {
					wg.Go(func() { reads(t, p, x) })
				}
			}
			wg.Wait()
			for _, x := range list { // the older version, side by side
				ctx := before.enter(t, x)
				if _, err := tenancy.Clients.Update(ctx, "c", func(c *tenancy.Client) error { c.Description = "still here"; return nil }); err != nil {
					t.Errorf("%s by the older version: %v", x.ID, err)
				}
			}
			broken := over(t, dsn, isolation)
			must(t, broken.Know(versions(t, fstest.MapFS{"00002_extras.sql": {Data: []byte(addsExtras)}, "00003_breaks.sql": {Data: []byte(breaks)}})))
			if err := opening(broken, "acme"); !errors.Is(err, tenancy.ErrUnavailable) {
				t.Errorf("a migration that fails: %v", err)
			}
			reads(t, nodes[0], list[0])
			must(t, nodes[0].Drop(t.Context(), list[0].Location()))
			must(t, nodes[0].Create(t.Context(), list[0].Location()))
			must(t, opening(nodes[0], "acme"))
		})
	}
}

// reads opens the tenant and reads what the second version added.
func reads(t *testing.T, p *postgres.Provider, x *tenancy.Tenant) {
	db, err := p.Open(context.Background(), x.Location())
	if err != nil {
		t.Errorf("%s: %v", x.ID, err)
		return
	}
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), `SELECT name, extra FROM clients WHERE tenant_id = $1`, x.ID)
	if err != nil {
		t.Errorf("%s: %v", x.ID, err)
		return
	}
	defer rows.Close()
	var name, extra string
	for rows.Next() {
		if err := rows.Scan(&name, &extra); err != nil {
			t.Error(err)
		}
	}
	if err := rows.Err(); err != nil || name != x.ID || extra != "new" {
		t.Errorf("%s reads %q %q %v", x.ID, name, extra, err)
	}
	if _, err := db.Batch(context.Background(), []tenancy.Stmt{{SQL: `DELETE FROM extras WHERE tenant_id = $1`, Args: []any{x.ID}}}); err != nil {
		t.Errorf("%s: the new table: %v", x.ID, err)
	}
}

// TestDeadMaker: what a process that died left half made is finished by the next
// that creates, and removed by the next that drops.
func TestDeadMaker(t *testing.T) {
	for _, isolation := range []postgres.Isolation{postgres.Schema, postgres.Database} {
		for _, state := range []string{"making", "dropping"} {
			t.Run(string(isolation)+" "+state, func(t *testing.T) {
				dsn := postgrestest.DSN(t)
				p := over(t, dsn, isolation)
				acme := tenancy.Location{Tenant: "acme"}
				must(t, p.Create(t.Context(), acme))
				s := connect(t, dsn)
				s.exec(`UPDATE gatehouse.gatehouse_databases SET state = $1, lease_owner = 'dead', lease_until = 0 WHERE name = 'acme'`, state)
				if err := opening(p, "acme"); !errors.Is(err, tenancy.ErrUnavailable) {
					t.Errorf("it was opened: %v", err)
				}
				if err := p.Create(t.Context(), tenancy.Location{Tenant: "thief", Name: "acme"}); err == nil {
					t.Error("another tenant took it over")
				}
				must(t, p.Create(t.Context(), acme))
				must(t, opening(p, "acme"))
				s.exec(`UPDATE gatehouse.gatehouse_databases SET state = $1, lease_owner = 'dead' WHERE name = 'acme'`, state)
				must(t, p.Drop(t.Context(), acme))
				left := s.count(`SELECT COUNT(*) FROM pg_namespace WHERE nspname LIKE 't\_%'`) +
					s.count(`SELECT COUNT(*) FROM pg_database WHERE datname LIKE 't\_%' AND datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)`)
				if left != 0 {
					t.Errorf("%d schemas or databases are left", left)
				}
			})
		}
	}
}

// TestUpgrades: in tables that all tenants share they are upgraded together, so
// that none can fail alone.
func TestUpgrades(t *testing.T) {
	for _, isolation := range []postgres.Isolation{postgres.Schema, postgres.Database} {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			tenancytest.Upgrades(t, func(next bool) tenancy.Provider {
				p := over(t, dsn, isolation)
				if next {
					must(t, p.Know(tenancytest.NextVersion(t)))
				}
				return p
			})
		})
	}
}
