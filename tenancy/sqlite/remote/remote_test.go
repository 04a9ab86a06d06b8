package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func TestConformance(t *testing.T) {
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return &remote.Provider{Server: newFiles(t)} })
}

// TestFewArguments: a service that takes few arguments gets no more, and the
// values beyond them arrive all the same.
func TestFewArguments(t *testing.T) {
	f := newFiles(t)
	p := &remote.Provider{Server: f, Limits: remote.Limits{Params: 5}}
	db := opened(t, p, "acme")
	_, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `CREATE TABLE v (a, b, c, d, e, f, g, h, i, j, k)`, Rows: tenancy.AnyRows}})
	must(t, err)
	text := "it's ? \x00 '' \U0001f600"
	values := []any{int64(1), "two", 3.5, []byte{0, 1}, nil, int64(-9223372036854775808), text, 1e300, []byte{0xff}, nil, true}
	n, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `INSERT INTO v VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, Args: values, Rows: 1}})
	must(t, err)
	if f.most > 5 || n[0] != 1 {
		t.Errorf("%d arguments were sent; %d rows", f.most, n[0])
	}
	rows, err := db.QueryContext(t.Context(), `SELECT * FROM v WHERE f = ? AND g = ? AND a IN (?, ?, ?, ?, ?, ?)`, values[5], text, 9, 8, 7, 6, 5, 1)
	must(t, err)
	defer rows.Close()
	if !rows.Next() {
		t.Fatal("the row was not found again")
	}
	got := make([]any, 11)
	dest := make([]any, 11)
	for i := range got {
		dest[i] = &got[i]
	}
	must(t, rows.Scan(dest...))
	values[10] = int64(1)
	if want := fmt.Sprintf("%#v", values); fmt.Sprintf("%#v", got) != want {
		t.Errorf("got  %#v\nwant %s", got, want)
	}
}

// TestUnfitValues: what JSON would carry as something else is refused.
func TestUnfitValues(t *testing.T) {
	db := opened(t, &remote.Provider{Server: newFiles(t)}, "acme")
	var shown *tenancy.Error
	_, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `UPDATE clients SET name = ?`, Args: []any{"\xff"}, Rows: tenancy.AnyRows}})
	if !errors.As(err, &shown) || shown.Status != 400 {
		t.Errorf("text that is not UTF-8: %v", err)
	}
	if _, err := db.QueryContext(t.Context(), `SELECT ?`, time.Now()); err == nil {
		t.Error("a time was taken")
	}
}

// TestRows: what a batch returns per statement.
func TestRows(t *testing.T) {
	db := opened(t, &remote.Provider{Server: newFiles(t)}, "acme")
	insert := tenancy.Stmt{SQL: `INSERT INTO roles (tenant_id, id, name_key) VALUES ('acme', ?, ?)`, Rows: 1}
	batch := []tenancy.Stmt{}
	for _, id := range []string{"a", "b", "c"} {
		st := insert
		st.Args = []any{id, id}
		batch = append(batch, st)
	}
	n, err := db.Batch(t.Context(), append(batch,
		tenancy.Stmt{SQL: `SELECT id FROM roles WHERE tenant_id = ?`, Args: []any{"acme"}, Guard: true, Rows: 3},
		tenancy.Stmt{SQL: `SELECT id FROM roles WHERE id <> 'a'`, Guard: true, Rows: tenancy.AnyRows},
		tenancy.Stmt{SQL: `UPDATE roles SET name = 'x'`, Rows: tenancy.AnyRows},
		tenancy.Stmt{SQL: `DELETE FROM roles WHERE id = 'none'`, Rows: 0}))
	if fmt.Sprint(n, err) != "[1 1 1 3 2 3 0] <nil>" {
		t.Errorf("got %v, %v", n, err)
	}
	for _, st := range []tenancy.Stmt{
		{SQL: `UPDATE roles SET name = 'y'`, Rows: 2},
		{SQL: `SELECT id FROM roles`, Guard: true, Rows: 1},
		{SQL: `SELECT id FROM roles WHERE id = 'none'`, Guard: true, Rows: 1},
	} {
		if _, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `DELETE FROM roles`, Rows: 3}, st}); !errors.Is(err, tenancy.ErrStale) {
			t.Errorf("%s with %d rows: %v", st.SQL, st.Rows, err)
		}
	}
}

// TestFaults: what was surely not applied is tried again; a batch whose answer is
// lost is not, and the error says that nobody knows.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		applied bool
		times   int    // that it happens
		read    string // in the error; "" for none
		batch   string
	}{
		{"refused once", fmt.Errorf("%w: refused", remote.ErrUnsent), false, 1, "", ""},
		{"refused always", fmt.Errorf("%w: refused", remote.ErrUnsent), false, 99, "can be reached", "can be reached"},
		{"busy once", &remote.SQLError{Code: "SQLITE_BUSY", Message: "x"}, false, 1, "", ""},
		{"busy by text", &remote.SQLError{Message: "SQLite error: database is locked"}, false, 99, "another client", "another client"},
		{"lost once", fmt.Errorf("%w: EOF", remote.ErrLost), true, 1, "", "not known"},
		{"full", &remote.SQLError{Code: "SQLITE_FULL", Message: "full"}, false, 1, "raise the limit", "raise the limit"},
		{"damaged", &remote.SQLError{Message: "database disk image is malformed"}, false, 1, "from a backup", "from a backup"},
		{"gone", remote.ErrMissing, false, 1, "none is made", "none is made"},
		{"something else", errors.New("odd"), false, 1, "can be reached", "can be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFiles(t)
			db := opened(t, &remote.Provider{Server: f}, "acme")
			left := 0
			f.fault = func([]remote.Statement) (bool, error) {
				if left--; left >= 0 {
					return c.applied, c.err
				}
				return true, nil
			}
			check := func(what, want string, err error) {
				t.Helper()
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", what, err)
				case want != "" && (!errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: got %v, want unavailable with %q", what, err, want)
				}
			}
			left = c.times
			rows, err := db.QueryContext(t.Context(), `SELECT 1`)
			if err == nil {
				must(t, rows.Close())
			}
			check("read", c.read, err)
			left = c.times
			_, err = db.Batch(t.Context(), []tenancy.Stmt{{SQL: `INSERT INTO roles (tenant_id, id) VALUES ('acme', 'a')`, Rows: 1}})
			check("batch", c.batch, err)
		})
	}
}

// TestSlow: a server that does not answer holds its callers for so long only.
func TestSlow(t *testing.T) {
	s := slow{newFiles(t), make(chan struct{}, 1)}
	db := opened(t, &remote.Provider{Server: s, Limits: remote.Limits{ReadTime: 50 * time.Millisecond, BatchTime: 50 * time.Millisecond}}, "acme")
	s.stuck <- struct{}{}
	if _, err := db.QueryContext(t.Context(), `SELECT 1`); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "within 50ms") {
		t.Errorf("read: %v", err)
	}
	_, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `DELETE FROM roles`, Rows: tenancy.AnyRows}})
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("batch: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := db.QueryContext(short, `SELECT 1`); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("a caller who gives up: %v", err)
	}
}

// slow answers nothing while stuck holds something.
type slow struct {
	*files
	stuck chan struct{}
}

func (s slow) Connect(ctx context.Context, name string) (remote.Conn, error) {
	c, err := s.files.Connect(ctx, name)
	return slowConn{c, s.stuck}, err
}

type slowConn struct {
	remote.Conn
	stuck chan struct{}
}

func (c slowConn) Run(ctx context.Context, stmts []remote.Statement) ([]remote.Result, error) {
	if len(c.stuck) == 0 {
		return c.Conn.Run(ctx, stmts)
	}
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", remote.ErrLost, ctx.Err())
}

// TestOwners: a database is opened, filled and dropped for its own tenant only.
func TestOwners(t *testing.T) {
	f := newFiles(t)
	p := &remote.Provider{Server: f}
	foreign := func(name string, statements ...string) {
		must(t, f.Create(t.Context(), name))
		for _, s := range statements {
			_, err := f.open[name].Exec(s)
			must(t, err)
		}
	}
	foreign("empty")
	foreign("shop", `CREATE TABLE orders (id)`)
	foreign("odd", `CREATE TABLE gatehouse (tenant, version)`)
	must(t, p.Create(t.Context(), tenancy.Location{Tenant: "owner", Name: "taken"}))
	for _, c := range []struct{ name, open, create, drop string }{
		{"empty", "half made", "", ""},
		{"shop", "not ours", "somebody else's tables", "somebody else's tables"},
		{"odd", "not ours", "not ours", "not ours"},
		{"taken", `belongs to tenant "owner"`, `belongs to tenant "owner"`, `belongs to tenant "owner"`},
		{"none", "none is made", "", ""},
	} {
		loc := tenancy.Location{Tenant: "acme", Name: c.name}
		expect := func(what, want string, err error) {
			t.Helper()
			if want == "" && err != nil || want != "" && (!errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s %s: got %v, want %q", what, c.name, err, want)
			}
		}
		_, err := p.Open(t.Context(), loc)
		expect("opening", c.open, err)
		expect("creating", c.create, p.Create(t.Context(), loc))
		expect("dropping", c.drop, p.Drop(t.Context(), loc))
		if there := f.open[c.name] != nil; there != (c.drop != "") {
			t.Errorf("after dropping %s it is there: %v", c.name, there)
		}
	}
	if _, err := f.open["shop"].Exec(`SELECT id FROM orders`); err != nil {
		t.Error(err)
	}
	for _, loc := range []tenancy.Location{{Tenant: "../up"}, {Tenant: "a", Name: "A"}, {Name: "x"}, {}} {
		if p.Create(t.Context(), loc) == nil || p.Drop(t.Context(), loc) == nil {
			t.Errorf("%+v was taken", loc)
		}
	}
}

// TestTemplate: an unclaimed copy is claimed once, and brought up to date.
func TestTemplate(t *testing.T) {
	f := newFiles(t)
	old := &remote.Provider{Server: f}
	must(t, old.Create(t.Context(), tenancy.Location{Tenant: "first", Name: "copy"}))
	_, err := f.open["copy"].Exec(`UPDATE gatehouse SET tenant = ''`)
	must(t, err)
	if _, err := old.Open(t.Context(), tenancy.Location{Tenant: "acme", Name: "copy"}); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("an unclaimed copy was opened: %v", err)
	}
	p := &remote.Provider{Server: f, Known: newer(t, "ALTER TABLE clients ADD COLUMN extra TEXT NOT NULL DEFAULT 'new';")}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			errs[i] = p.Create(context.Background(), tenancy.Location{Tenant: []string{"acme", "widgets"}[i%2], Name: "copy"})
		})
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || (errs[0] == nil) != (errs[2] == nil) || (errs[1] == nil) != (errs[3] == nil) {
		t.Errorf("acme: %v, %v; widgets: %v, %v", errs[0], errs[2], errs[1], errs[3])
	}
	_, err = f.open["copy"].Exec(`SELECT extra FROM clients`)
	must(t, err)
}

// newer is the real migrations with a second version behind them.
func newer(t *testing.T, script string) migrations.List {
	t.Helper()
	all := fstest.MapFS{"00002_more.sql": {Data: []byte("-- +goose Up\n" + script)}}
	names, err := fs.Glob(migrations.FS, "*.sql")
	must(t, err)
	for _, name := range names {
		content, err := fs.ReadFile(migrations.FS, name)
		must(t, err)
		all[name] = &fstest.MapFile{Data: content}
	}
	l, err := migrations.Read(all)
	must(t, err)
	return l
}

// TestMigrations: nodes that start together migrate once while the older program
// serves on; a version that fails leaves nothing of itself behind.
func TestMigrations(t *testing.T) {
	f := newFiles(t)
	before := opened(t, &remote.Provider{Server: f}, "acme")
	loc := tenancy.Location{Tenant: "acme"}
	broken := &remote.Provider{Server: f, Known: newer(t, "CREATE TABLE extras (id TEXT);\nALTER TABLE nothing ADD COLUMN a TEXT;")}
	if _, err := broken.Open(t.Context(), loc); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "nothing of that version") {
		t.Errorf("a migration that fails: %v", err)
	}
	good := newer(t, "CREATE TABLE extras (id TEXT);\nALTER TABLE clients ADD COLUMN extra TEXT NOT NULL DEFAULT 'new';")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			db, err := (&remote.Provider{Server: f, Known: good}).Open(context.Background(), loc)
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if _, err := db.Batch(context.Background(), []tenancy.Stmt{{SQL: `INSERT INTO extras VALUES ('x')`, Rows: 1}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err := before.Batch(t.Context(), []tenancy.Stmt{{SQL: `INSERT INTO clients (tenant_id, id) VALUES ('acme', 'by the older')`, Rows: 1}})
	must(t, err)
	if _, err := (&remote.Provider{Server: f}).Open(t.Context(), loc); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("the older program opened a newer database: %v", err)
	}
}

func opened(t *testing.T, p *remote.Provider, tenant string) tenancy.Database {
	t.Helper()
	must(t, p.Create(t.Context(), tenancy.Location{Tenant: tenant}))
	db, err := p.Open(t.Context(), tenancy.Location{Tenant: tenant})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}
