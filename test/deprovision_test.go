package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// oneKey stands for the token engine.
type oneKey struct{}

func (oneKey) EnsureKeys(ctx context.Context) error {
	err := tenancy.SigningKeys.Create(ctx, &tenancy.SigningKey{Row: tenancy.Row{ID: "kid"}, Alg: "RS256", Use: tenancy.KeyCurrent, Private: []byte("key")})
	if errors.Is(err, tenancy.ErrConflict) {
		return nil
	}
	return err
}

// names are a column of a query on a server of PostgreSQL.
func names(t *testing.T, dsn, query string, args ...any) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestDeprovisionEverywhere: a tenant that lived on every engine, and whose old
// databases are kept for a day, is deleted: no file, row, schema, database or
// namespace of it is left, and another tenant with the same ids has all of its own.
// The same id made again starts empty, with another key (contract C8.12, C8.13).
func TestDeprovisionEverywhere(t *testing.T) {
	dir, dsn, s := t.TempDir(), postgrestest.DSN(t), sqldtest.Start(t)
	pg := func(schema string, isolation postgres.Isolation) *postgres.Provider {
		p := &postgres.Provider{DSN: dsn, Schema: schema, Isolation: isolation}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	edge := &libsql.Provider{URL: s.URL, Admin: s.Admin}
	placements := map[string]tenancy.Provider{
		"": &sqlite.Provider{Dir: filepath.Join(dir, "main")}, "files": &sqlite.Provider{Dir: filepath.Join(dir, "files")},
		"rows": pg("shared", postgres.Row), "schemas": pg("apart", postgres.Schema), "databases": pg("own", postgres.Database), "edge": edge,
	}
	l := lifecycleOver(t, placements)
	users := func(id string) (n int64) {
		t.Helper()
		x, _ := l.Directory.ByID(id)
		if err := l.Pool.Do(t.Context(), x, func(ctx context.Context) (err error) {
			n, err = tenancy.Users.Count(ctx, tenancy.Filter{})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, id := range []string{"goner", "stays"} {
		x, err := l.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id})
		if err != nil {
			t.Fatal(err)
		}
		err = l.Pool.Do(t.Context(), x, func(ctx context.Context) error {
			for i := range 5 {
				if err := tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: fmt.Sprint("auth0|", i)}, Connection: "db", Email: fmt.Sprint(i, "@", id)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Move(t.Context(), "stays", tenancy.MoveOptions{Placement: "rows"}); err != nil {
		t.Fatal(err)
	}
	way := []string{"rows", "schemas", "databases", "edge", "files"}
	for _, to := range way {
		if err := l.Move(t.Context(), "goner", tenancy.MoveOptions{Placement: to}); err != nil {
			t.Fatalf("to %s: %v", to, err)
		}
	}
	goner, _ := l.Directory.ByID("goner")
	if len(goner.Copies) != len(way) || users("goner") != 5 {
		t.Fatalf("%d copies, %d users", len(goner.Copies), users("goner"))
	}
	places := names(t, dsn, `SELECT place FROM apart.gatehouse_databases WHERE tenant = 'goner' UNION ALL SELECT place FROM own.gatehouse_databases WHERE tenant = 'goner'`)
	inServer := func() []string {
		return append(names(t, dsn, `SELECT nspname FROM pg_namespace WHERE nspname = ANY($1)`, places), names(t, dsn, `SELECT datname FROM pg_database WHERE datname = ANY($1)`, places)...)
	}
	if n := len(inServer()); n != 2 || inShared(t, dsn, "goner") == 0 {
		t.Fatalf("before it is deleted: %v, %d rows", inServer(), inShared(t, dsn, "goner"))
	}

	if err := l.Delete(t.Context(), "goner"); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"main", "files"} {
		if left, err := filepath.Glob(filepath.Join(dir, place, "*goner*")); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v, %v", left, err)
		}
	}
	if left := inServer(); len(left) > 0 {
		t.Errorf("on the server are left %v", left)
	}
	if n := inShared(t, dsn, "goner"); n != 0 {
		t.Errorf("%d rows are left in shared tables and lists", n)
	}
	for _, c := range append(goner.Copies, tenancy.Copy{Placement: goner.Placement, Database: goner.Database}) {
		db, err := placements[c.Placement].Open(t.Context(), tenancy.Location{Tenant: "goner", Name: c.Database})
		if !errors.Is(err, tenancy.ErrUnavailable) {
			t.Errorf("its database in %q can be opened: %v", c.Placement, err)
		}
		if err == nil {
			_ = db.Close()
		}
	}
	cp, leave, err := l.Directory.EnterControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	// Entries of what was done stay (C8.12), and have no key in them.
	if ops, err := tenancy.Operations.Find(cp, tenancy.Filter{Where: "subject = ?", Args: []any{"goner"}}); err != nil || len(ops) < len(way)+2 {
		t.Errorf("%d operations, %v", len(ops), err)
	} else {
		for _, op := range ops {
			if text := fmt.Sprintf("%+v", op); strings.Contains(text, goner.DataKey) || op.Status != tenancy.OperationSucceeded {
				t.Errorf("operation %s", text)
			}
		}
	}
	if n, err := tenancy.Organizations.Count(cp, tenancy.Filter{Where: "name = ?", Args: []any{"goner"}}); n != 0 || err != nil {
		t.Errorf("%d organizations, %v", n, err)
	}
	if n := users("stays"); n != 5 {
		t.Errorf("another tenant has %d users", n)
	}

	for _, to := range []string{"rows", "schemas", "databases", "edge", ""} {
		again, err := l.Create(t.Context(), tenancy.NewTenant{ID: "goner", FriendlyName: "again", Placement: to})
		if err != nil {
			t.Fatalf("again in %q: %v", to, err)
		}
		if n := users("goner"); n != 0 || again.DataKey == goner.DataKey || again.OrganizationID == goner.OrganizationID || len(again.Copies) != 0 {
			t.Errorf("again in %q: %d users, %+v", to, n, again)
		}
		if err := l.Delete(t.Context(), "goner"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeprovisionControlPlane: whichever engine the control plane is on, a deleted
// tenant is named there by the record of what was done alone (contract C8.12), though
// it had members, roles, invitations, domains and a backup; and restored, it has its
// people and domains again. Another tenant keeps all of its own.
func TestDeprovisionControlPlane(t *testing.T) {
	for _, engine := range []string{"files", "rows", "schemas", "edge"} {
		t.Run(engine, func(t *testing.T) {
			e := everyEngine(t, engine)
			e.Backups = &tenancy.BackupStore{Dir: filepath.Join(e.dir, "backups")}
			cp := e.Directory.ControlPlane().ID
			for _, id := range []string{"goner", "stays"} {
				x, err := e.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id, Placement: "files"})
				if err != nil {
					t.Fatal(err)
				}
				e.in(t, cp, func(ctx context.Context) error { return befriend(ctx, x) })
				if _, _, err := e.BackupNow(t.Context(), id, nil); err != nil {
					t.Fatal(err)
				}
			}
			goner, _ := e.Directory.ByID("goner")
			kept := filepath.Join(e.dir, "kept")
			if _, err := e.Backup(t.Context(), "goner", kept, nil); err != nil {
				t.Fatal(err)
			}
			named := func(text string) (tables []string) {
				t.Helper()
				e.in(t, cp, func(ctx context.Context) (err error) { tables, err = tablesWith(ctx, text); return err })
				return tables
			}
			before := named("stays")
			if err := e.Delete(t.Context(), "goner"); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"goner", goner.OrganizationID, goner.DataKey} {
				for _, table := range named(text) {
					if text == "goner" && slices.Contains([]string{"operations", "change_log"}, table) {
						continue // what was done, and that a row went
					}
					t.Errorf("%s is still in %s", text, table)
				}
			}
			if now := named("stays"); !slices.Equal(now, before) || len(now) < 5 {
				t.Errorf("the other tenant was in %v, and is in %v", before, now)
			}
			backups, err := os.ReadDir(filepath.Join(e.dir, "backups"))
			if err != nil || len(backups) != 1 || !strings.HasPrefix(backups[0].Name(), "stays.") {
				t.Errorf("backups %v, %v", backups, err)
			}

			back, err := e.Restore(t.Context(), kept, tenancy.RestoreOptions{Placement: "files"})
			if err != nil || back.OrganizationID != goner.OrganizationID {
				t.Fatalf("%+v, %v", back, err)
			}
			e.in(t, cp, func(ctx context.Context) error {
				m, err := tenancy.Members.Count(ctx, tenancy.Filter{Where: "org_id = ?", Args: []any{goner.OrganizationID}})
				d, err2 := tenancy.CustomDomains.First(ctx, "subject = ?", "goner")
				if m != 1 || err2 != nil || d.Status != tenancy.DomainPending {
					t.Errorf("restored with %d members, %+v", m, d)
				}
				return errors.Join(err, err2)
			})
		})
	}
}

// befriend gives a tenant of everything that the control plane can have of one.
func befriend(cp context.Context, x *tenancy.Tenant) error {
	user := "ann-" + x.ID[:1]
	role, err := tenancy.Roles.First(cp, "name_key = ?", tenancy.NameKeyOf(tenancy.RoleTenantAdmin))
	if err != nil {
		return err
	}
	return tenancy.Commit(cp,
		tenancy.Users.Insert(cp, &tenancy.User{Row: tenancy.Row{ID: user}, Connection: "db", Email: user + "@example.com"}),
		tenancy.Members.Insert(cp, tenancy.NewMember(x.OrganizationID, user)),
		tenancy.UserRoles.Insert(cp, tenancy.NewUserRole(user, x.OrganizationID, role.ID)),
		tenancy.Invitations.Insert(cp, &tenancy.Invitation{Row: tenancy.Row{ID: "uinv_" + x.ID[:1]}, OrgID: x.OrganizationID, TicketHash: user}),
		tenancy.CustomDomains.Insert(cp, &tenancy.CustomDomain{
			Row: tenancy.Row{ID: "cd_" + x.ID[:1]}, Subject: x.ID, Domain: "login." + x.ID + ".test", Held: "login." + x.ID + ".test",
			Status: tenancy.DomainReady, Type: tenancy.DomainManaged,
		}),
	)
}

// tablesWith lists the tables of the entered tenant in which some column of text
// holds the text.
func tablesWith(ctx context.Context, text string) (tables []string, err error) {
	for _, table := range migrations.Layout() {
		var conditions []string
		var args []any
		for _, c := range table.Columns {
			if c.Type == migrations.Text {
				conditions, args = append(conditions, `"`+c.Name+`" LIKE ?`), append(args, "%"+text+"%")
			}
		}
		if len(conditions) == 0 {
			continue
		}
		var n int
		err := tenancy.QueryRow(ctx, `SELECT COUNT(*) FROM `+table.Name+` WHERE tenant_id = @tenant AND (`+strings.Join(conditions, " OR ")+`)`, args, &n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", table.Name, err)
		}
		if n > 0 {
			tables = append(tables, table.Name)
		}
	}
	return tables, nil
}

// lifecycleOver is the life of tenants over placements, with an open control plane.
func lifecycleOver(t *testing.T, placements map[string]tenancy.Provider) *tenancy.Lifecycle {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: placements, Master: ring, Patience: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.WithoutCancel(t.Context())) })
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	l := &tenancy.Lifecycle{Pool: pool, Directory: tenancy.NewDirectory(pool, hosts), Master: ring, Keys: oneKey{}}
	if err := l.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{AdminEmail: adminEmail, AdminPassword: adminPassword}); err != nil {
		t.Fatal(err)
	}
	return l
}
