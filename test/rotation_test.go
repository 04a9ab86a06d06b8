package test

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// engines is a lifecycle over every engine there is: the control plane in the
// placement "", and the others by names.
type engines struct {
	*tenancy.Lifecycle
	dir, dsn string
}

func everyEngine(t *testing.T, controlPlane string) *engines {
	t.Helper()
	e := &engines{dir: t.TempDir(), dsn: postgrestest.DSN(t)}
	s, api := sqldtest.Start(t), d1test.NewAPI(t)
	pg := func(schema string, isolation postgres.Isolation) *postgres.Provider {
		p := &postgres.Provider{DSN: e.dsn, Schema: schema, Isolation: isolation}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	placements := map[string]tenancy.Provider{
		"files": &sqlite.Provider{Dir: filepath.Join(e.dir, "files")}, "rows": pg("shared", postgres.Row), "schemas": pg("apart", postgres.Schema),
		"databases": pg("own", postgres.Database), "edge": &libsql.Provider{URL: s.URL, Admin: s.Admin},
		"cloudflare": &d1.Provider{Account: api.Account, Token: api.Token, API: api.URL, Prefix: "everywhere"},
	}
	placements[""] = placements[controlPlane]
	e.Lifecycle = lifecycleOver(t, placements)
	e.Settle = -1
	return e
}

// in runs f inside the tenant with the id.
func (e *engines) in(t *testing.T, id string, f func(ctx context.Context) error) {
	t.Helper()
	x, ok := e.Directory.ByID(id)
	if !ok {
		t.Fatalf("there is no tenant %s", id)
	}
	if err := e.Pool.Do(t.Context(), x, f); err != nil {
		t.Fatalf("inside %s: %v", id, err)
	}
}

// sealed returns a client's secret as it is stored.
func (e *engines) sealed(t *testing.T, id string) (value string) {
	t.Helper()
	e.in(t, id, func(ctx context.Context) error {
		return tenancy.QueryRow(ctx, `SELECT secret FROM clients WHERE tenant_id = @tenant AND id = 'same'`, nil, &value)
	})
	return value
}

// clientsFiles is what the files hold of tables of clients in a server's database:
// all of them, or one tenant's own.
func clientsFiles(t *testing.T, dsn, database string) []byte {
	t.Helper()
	admin, err := url.Parse(postgrestest.Admin(t))
	if err != nil {
		t.Fatal(err)
	}
	if database == "" {
		owner, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		database = owner.Database
	}
	admin.Path = "/" + database
	conn, err := pgx.Connect(t.Context(), admin.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `CHECKPOINT`); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT pg_read_binary_file(pg_relation_filepath(oid)) FROM pg_class WHERE relname = 'clients' AND relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(parts, nil)
}

// TestRotateDataKeyEverywhere: on every engine what a tenant's old data key sealed is
// sealed anew and works, another tenant in the same place keeps its own, and where
// the engine can, the old value is in no file any more.
func TestRotateDataKeyEverywhere(t *testing.T) {
	e := everyEngine(t, "files")
	for _, placement := range []string{"files", "rows", "schemas", "databases", "edge", "cloudflare"} {
		t.Run(placement, func(t *testing.T) {
			id, other := "a-"+placement, "b-"+placement
			for _, x := range []string{id, other} {
				if _, err := e.Create(t.Context(), tenancy.NewTenant{ID: x, FriendlyName: x, Placement: placement}); err != nil {
					t.Fatal(err)
				}
				e.in(t, x, func(ctx context.Context) error {
					hash, err := tenancy.HashSecret(ctx, "the secret of "+x)
					if err != nil {
						return err
					}
					return tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: "same"}, Name: x, Secret: "the secret of " + x, SecretHash: hash})
				})
			}
			before, others := e.sealed(t, id), e.sealed(t, other)
			if err := e.RotateDataKey(t.Context(), id, nil); err != nil {
				t.Fatal(err)
			}
			now := e.sealed(t, id)
			if now == before || now == "" || e.sealed(t, other) != others {
				t.Errorf("the old value stands, or another tenant's changed")
			}
			e.in(t, id, func(ctx context.Context) error {
				c, err := tenancy.Clients.Get(ctx, "same")
				if err != nil {
					return err
				}
				hash, err := tenancy.HashSecret(ctx, "the secret of "+id)
				if c.Secret != "the secret of "+id || c.SecretHash != hash {
					t.Errorf("the client is %+v, want hash %s", c, hash)
				}
				return err
			})
			var files []byte
			switch placement {
			case "files":
				found, err := filepath.Glob(filepath.Join(e.dir, "files", id+"*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range found {
					content, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					files = append(files, content...)
				}
			case "schemas":
				files = clientsFiles(t, e.dsn, "")
			case "databases":
				files = clientsFiles(t, e.dsn, names(t, e.dsn, `SELECT place FROM own.gatehouse_databases WHERE tenant = $1`, id)[0])
			default:
				return // docs/databases.md says what is left there
			}
			if !strings.Contains(string(files), now) {
				t.Error("the value of now is in no file: the test looks at the wrong ones")
			}
			if strings.Contains(string(files), before) {
				t.Error("the old value is still in a file")
			}
		})
	}
}
