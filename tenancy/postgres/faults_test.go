package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestConfiguration: what is wrong is said before a server is reached, without
// the password.
func TestConfiguration(t *testing.T) {
	for _, c := range []struct {
		name string
		p    *postgres.Provider
		want string
	}{
		{"nothing", &postgres.Provider{}, "connection string is missing"},
		{"isolation", &postgres.Provider{DSN: "postgres://h/d", Isolation: "table"}, "row, schema or database"},
		{"schema", &postgres.Provider{DSN: "postgres://h/d", Schema: `x"; DROP`}, "lower-case letters"},
		{"system schema", &postgres.Provider{DSN: "postgres://h/d", Schema: "pg_x"}, "pg_"},
		{"connection string", &postgres.Provider{DSN: "postgres://u:hunter2@h:port/d"}, "connection string"},
		{"good", &postgres.Provider{DSN: "host=h user=u password=hunter2"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.p.Check()
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestUnreachable: each reason why the server cannot be used is a 503 with its
// remedy, in good time.
func TestUnreachable(t *testing.T) {
	dsn := postgrestest.DSN(t)
	change := func(f func(*url.URL)) string {
		u, err := url.Parse(dsn)
		must(t, err)
		f(u)
		return u.String()
	}
	for _, c := range []struct{ name, dsn, hint string }{
		{"nobody listens", change(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "whether the server is up"},
		{"wrong password", change(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") }), "check the user and password"},
		{"no such database", change(func(u *url.URL) { u.Path = "/nowhere" }), "the database is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := over(t, c.dsn, postgres.Row)
			began := time.Now()
			for what, err := range map[string]error{
				"Create": p.Create(t.Context(), tenancy.Location{Tenant: "acme"}),
				"Open":   opening(p, "acme"),
				"Drop":   p.Drop(t.Context(), tenancy.Location{Tenant: "acme"}),
			} {
				if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), c.hint) || strings.Contains(err.Error(), "wrong@") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func opening(p tenancy.Provider, tenant string) error {
	db, err := p.Open(context.Background(), tenancy.Location{Tenant: tenant})
	if err == nil {
		err = db.Close()
	}
	return err
}

// TestMissingRights: a role that may not make what it has to says so.
func TestMissingRights(t *testing.T) {
	dsn := postgrestest.DSN(t)
	s := connect(t, dsn)
	db := s.strings(`SELECT CAST(current_database() AS TEXT)`)[0]
	admin := connect(t, postgrestest.Admin(t))
	admin.exec(`ALTER DATABASE ` + db + ` OWNER TO CURRENT_USER`)
	err := over(t, dsn, postgres.Schema).Create(t.Context(), tenancy.Location{Tenant: "acme"})
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), `CREATE SCHEMA "gatehouse" AUTHORIZATION`) {
		t.Errorf("schema: %v", err)
	}
	admin.exec(`ALTER DATABASE ` + db + ` OWNER TO ` + db)
	admin.exec(`ALTER ROLE ` + db + ` NOCREATEDB`)
	p := over(t, dsn, postgres.Database)
	err = p.Create(t.Context(), tenancy.Location{Tenant: "acme"})
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "grant the role") {
		t.Errorf("database: %v", err)
	}
	if n, err := p.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d databases are listed after a failure, %v", n, err)
	}
	admin.exec(`ALTER ROLE ` + db + ` CREATEDB`)
	must(t, p.Create(t.Context(), tenancy.Location{Tenant: "acme"}))
}

// TestNothingIsMadeByOpening: an empty database stays empty.
func TestNothingIsMadeByOpening(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			p := over(t, dsn, isolation)
			if err := opening(p, "acme"); !errors.Is(err, tenancy.ErrUnavailable) {
				t.Errorf("Open: %v", err)
			}
			must(t, p.Drop(t.Context(), tenancy.Location{Tenant: "acme"}))
			if n, err := p.Count(t.Context()); n != 0 || err != nil {
				t.Errorf("Count: %d %v", n, err)
			}
			if n := connect(t, dsn).count(`SELECT COUNT(*) FROM pg_namespace WHERE nspname = 'gatehouse'`); n != 0 {
				t.Error("a schema was made")
			}
		})
	}
}

// TestTakenAway: what somebody removed, exchanged or brought to a newer version
// behind our back is not opened, and nothing is made in its place.
func TestTakenAway(t *testing.T) {
	for _, isolation := range []postgres.Isolation{postgres.Schema, postgres.Database} {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			p := over(t, dsn, isolation)
			acme := tenancy.Location{Tenant: "acme"}
			must(t, p.Create(t.Context(), acme))
			s := connect(t, dsn)
			place := s.strings(`SELECT place FROM gatehouse.gatehouse_databases WHERE name = 'acme'`)[0]
			inside, tables := s, place
			if isolation == postgres.Database {
				u, err := url.Parse(dsn)
				must(t, err)
				u.Path = "/" + place
				inside, tables = connect(t, u.String()), "gatehouse"
			}
			refused := func(want string) {
				t.Helper()
				if err := opening(p, "acme"); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				if err := p.Create(t.Context(), acme); err == nil {
					t.Error("creating it again succeeded")
				}
			}
			inside.exec(`UPDATE ` + tables + `.gatehouse SET version = 99`)
			refused("run the newer program")
			inside.exec(`UPDATE ` + tables + `.gatehouse SET version = 1, tenant = 'widgets'`)
			refused(`belong to tenant "widgets"`)
			inside.exec(`DROP TABLE ` + tables + `.gatehouse`)
			refused("from a backup")
			if isolation == postgres.Database {
				must(t, inside.c.Close(t.Context()))
				s.exec(`DROP DATABASE "` + place + `" WITH (FORCE)`)
			} else {
				s.exec(`DROP SCHEMA "` + place + `" CASCADE`)
			}
			refused("from a backup")
			must(t, p.Drop(t.Context(), acme))
			must(t, p.Create(t.Context(), acme))
			must(t, opening(p, "acme"))
		})
	}
}

// TestServerRestarts: connections that the server has closed meanwhile are no
// error for anybody, neither reading nor writing.
func TestServerRestarts(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			h := newHouse(t, over(t, dsn, isolation))
			ctx := h.enter(t, h.tenant(t, "acme"))
			must(t, tenancy.Clients.Create(ctx, client("c", "acme")))
			admin := connect(t, postgrestest.Admin(t))
			role := connect(t, dsn).strings(`SELECT CAST(current_user AS TEXT)`)[0]
			for range 5 {
				admin.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, role)
				if _, err := tenancy.Clients.Get(ctx, "c"); err != nil {
					t.Errorf("reading: %v", err)
				}
				admin.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1`, role)
				if _, err := tenancy.Clients.Update(ctx, "c", func(c *tenancy.Client) error { c.LogoURI += "."; return nil }); err != nil {
					t.Errorf("writing: %v", err)
				}
			}
			if c, err := tenancy.Clients.Get(ctx, "c"); err != nil || c.LogoURI != "....." {
				t.Errorf("%+v %v", c, err)
			}
		})
	}
}

// TestNames: what is no plain name is never looked for.
func TestNames(t *testing.T) {
	p := provide(t, postgres.Schema)
	for _, name := range []string{"../up", "a.b", "a b", "A", `a"b`, "a'b", "*", "a\x00b"} {
		if err := p.Create(t.Context(), tenancy.Location{Tenant: "acme", Name: name}); err == nil {
			t.Errorf("created %q", name)
		}
	}
	if n, err := p.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("%d were created, %v", n, err)
	}
}
