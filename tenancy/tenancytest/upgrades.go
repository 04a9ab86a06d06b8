package tenancytest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// NextVersion is the real migrations with one more, which fails for a tenant that
// has two clients of the same description.
func NextVersion(t testing.TB) fs.FS {
	t.Helper()
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	all := fstest.MapFS{fmt.Sprintf("%05d_next.sql", len(files)+1): {Data: []byte(`-- +goose Up
CREATE TABLE descriptions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	PRIMARY KEY (tenant_id, id)
);

INSERT INTO descriptions (tenant_id, id) SELECT tenant_id, description FROM clients WHERE description <> '';

-- +goose Down
DROP TABLE descriptions;
`)}}
	for _, file := range files {
		content, err := fs.ReadFile(migrations.FS, file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = &fstest.MapFile{Data: content}
	}
	return all
}

// Upgrades runs a program's upgrade to [NextVersion] over the databases that
// another one of today's version goes on serving. open returns a provider over
// the same databases each time, of the next version if next is set.
func Upgrades(t *testing.T, open func(next bool) tenancy.Provider) {
	before := newFleet(t, open(false))
	before.start(t)
	for i := range 5 {
		before.create(t, fmt.Sprint("t", i))
	}
	trap := before.create(t, "trap")
	for _, id := range []string{"a", "b"} {
		c := client(id, id)
		c.Description = "the same"
		must(t, tenancy.Clients.Create(before.inside(t, trap), c))
	}
	after := newFleet(t, open(true))
	after.start(t)
	must(t, after.upgrader.Pass(t.Context()))

	s := after.upgrader.Status()
	if s.Total != 7 || s.Done != 6 || s.Failed != 1 || s.Running || len(s.Current) != 0 || s.Rate <= 0 {
		t.Errorf("after the first pass: %+v", s)
	}
	if len(s.Failures) != 1 || s.Failures[0].TenantID != "trap" || s.Failures[0].Attempts != 1 || s.Failures[0].LastError == "" || s.Failures[0].NextAttemptAt == 0 {
		t.Errorf("failures: %+v", s.Failures)
	}
	after.registry(t, "trap", func(x *tenancy.Tenant) bool { return x.UpgradeAttempts == 1 && x.UpgradeError != "" && x.UpgradeAt > 0 })
	after.registry(t, "t0", func(x *tenancy.Tenant) bool { return x.SchemaVersion == 2 && x.UpgradeAttempts == 0 })
	if err := after.pool.Do(t.Context(), trap, func(context.Context) error { return nil }); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("the one that failed is entered: %v", err)
	}
	for i := range 5 { // both versions serve the others
		id := fmt.Sprint("t", i)
		must(t, tenancy.Clients.Create(before.inside(t, before.byID(t, id)), client("of before", id)))
		must(t, tenancy.Clients.Create(after.inside(t, after.byID(t, id)), client("of after", id)))
		if n, err := tenancy.Clients.Count(before.inside(t, before.byID(t, id)), tenancy.Filter{Where: "id LIKE 'of %'"}); n != 2 || err != nil {
			t.Errorf("%s has %d clients, %v", id, n, err)
		}
	}

	// It waits, and nobody else is looked at meanwhile.
	opened := after.opened()
	must(t, after.upgrader.Pass(t.Context()))
	if now := after.opened(); !slices.Equal(now, opened) {
		t.Errorf("a pass with nothing due opened %v", now[len(opened):])
	}
	// Mended by the program that still serves it, it is upgraded when it is due.
	if _, err := tenancy.Clients.Update(before.inside(t, trap), "b", func(c *tenancy.Client) error { c.Description = "another"; return nil }); err != nil {
		t.Fatal(err)
	}
	must(t, after.upgrader.One(t.Context(), "trap"))
	after.registry(t, "trap", func(x *tenancy.Tenant) bool {
		return x.SchemaVersion == 2 && x.UpgradeAttempts == 0 && x.UpgradeError == ""
	})
	if s := after.upgrader.Status(); len(s.Failures) != 0 {
		t.Errorf("failures afterwards: %+v", s.Failures)
	}
	after.inside(t, trap)

	// A start with nothing to do is one query, and opens no tenant (contract C8.19).
	again := newFleet(t, open(true))
	again.start(t)
	_, leave, err := again.directory.EnterControlPlane(t.Context())
	must(t, err)
	defer leave()
	queries := again.queries()
	must(t, again.upgrader.Pass(t.Context()))
	if n := again.queries() - queries; n != 1 {
		t.Errorf("a pass with nothing to do made %d queries", n)
	}
	if i := slices.IndexFunc(again.opened(), func(id string) bool { return id != controlPlane }); i >= 0 {
		t.Errorf("a start with nothing to do opened %v", again.opened())
	}

	// The older program refuses what it has not open already.
	late := newFleet(t, open(false))
	if err := late.pool.Do(t.Context(), before.byID(t, "t0"), func(context.Context) error { return nil }); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("an older program: %v", err)
	}
}

// fleet is an installation over a provider.
type fleet struct {
	*counted
	pool      *tenancy.Pool
	directory *tenancy.Directory
	lifecycle *tenancy.Lifecycle
	upgrader  *tenancy.Upgrader
}

func newFleet(t *testing.T, p tenancy.Provider) *fleet {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	must(t, err)
	f := &fleet{counted: &counted{Provider: p}}
	h := &house{provider: f.counted, ring: ring}
	f.pool = h.newPool(t, 32)
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	must(t, err)
	f.directory = tenancy.NewDirectory(f.pool, hosts)
	f.lifecycle = &tenancy.Lifecycle{Pool: f.pool, Directory: f.directory, Master: ring, Keys: noKeys{}}
	f.upgrader = &tenancy.Upgrader{Pool: f.pool, Directory: f.directory}
	return f
}

func (f *fleet) start(t *testing.T) {
	t.Helper()
	must(t, f.lifecycle.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{}))
}

func (f *fleet) create(t *testing.T, id string) *tenancy.Tenant {
	t.Helper()
	x, err := f.lifecycle.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id})
	must(t, err)
	return x
}

func (f *fleet) byID(t *testing.T, id string) *tenancy.Tenant {
	t.Helper()
	x, ok := f.directory.ByID(id)
	if !ok {
		t.Fatalf("there is no tenant %s", id)
	}
	return x
}

// inside returns a context inside the tenant until the test ends.
func (f *fleet) inside(t *testing.T, x *tenancy.Tenant) context.Context {
	t.Helper()
	var ctx context.Context
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) { // a refusal is remembered for a while
		inside, leave, err := f.pool.Enter(t.Context(), x)
		if err == nil {
			t.Cleanup(leave)
			ctx = inside
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("entering %s: %v", x.ID, err)
		}
	}
	return ctx
}

// registry fails the test unless the tenant's row in the registry is as it has to be.
func (f *fleet) registry(t *testing.T, id string, holds func(*tenancy.Tenant) bool) {
	t.Helper()
	ctx, leave, err := f.directory.EnterControlPlane(t.Context())
	must(t, err)
	defer leave()
	x, err := tenancy.Tenants.Get(ctx, id)
	must(t, err)
	if !holds(x) {
		t.Errorf("%s is registered with version %d, attempts %d, error %q, next %v", id, x.SchemaVersion, x.UpgradeAttempts, x.UpgradeError, x.UpgradeAt.Time())
	}
}

type noKeys struct{}

func (noKeys) EnsureKeys(context.Context) error { return nil }

// counted is a provider that notes what is done with its databases.
type counted struct {
	tenancy.Provider
	mu    sync.Mutex
	ids   []string // of those opened, in order
	asked int      // queries
}

// SchemaVersion implements tenancy.Versioned.
func (c *counted) SchemaVersion() int64 { return c.Provider.(tenancy.Versioned).SchemaVersion() }

// Open implements tenancy.Provider.
func (c *counted) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	c.mu.Lock()
	c.ids = append(c.ids, loc.Tenant)
	c.mu.Unlock()
	db, err := c.Provider.Open(ctx, loc)
	if err != nil {
		return nil, err
	}
	return countedDatabase{db, c}, nil
}

func (c *counted) opened() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ids)
}

func (c *counted) queries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

type countedDatabase struct {
	tenancy.Database
	by *counted
}

// QueryContext implements tenancy.Querier.
func (d countedDatabase) QueryContext(ctx context.Context, query string, args ...any) (tenancy.Rows, error) {
	d.by.mu.Lock()
	d.by.asked++
	d.by.mu.Unlock()
	return d.Database.QueryContext(ctx, query, args...)
}
