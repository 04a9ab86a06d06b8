package libsql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// TestUnreachable: each reason why the server cannot be used is a 503 with its
// remedy, in good time, and without the secrets.
func TestUnreachable(t *testing.T) {
	s := sqldtest.Start(t)
	guarded := newPlatform(t).sqld
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	const secret = "eyJhbGciOiJFZERTQSJ9.e30.c2VjcmV0"
	for _, c := range []struct {
		name               string
		p                  *libsql.Provider
		open, create, drop string
	}{
		{"nobody listens", &libsql.Provider{URL: "http://127.0.0.1:1", Admin: "http://127.0.0.1:1"}, "server is up", "server is up", "server is up"},
		{"another server", &libsql.Provider{URL: page.URL, Admin: s.Admin}, "no libSQL server answers", "no libSQL server answers", "no libSQL server answers"},
		{"another admin API", &libsql.Provider{URL: s.URL, Admin: page.URL}, "none is made", "--enable-namespaces", ""},
		{"no token", &libsql.Provider{URL: guarded.URL, Admin: guarded.Admin, AdminKey: "sesame"}, "does not take the token", "does not take the token", "does not take the token"},
		{"wrong token", &libsql.Provider{URL: guarded.URL, Admin: guarded.Admin, AdminKey: "sesame", Token: secret}, "does not take the token", "does not take the token", "does not take the token"},
		{"wrong key", &libsql.Provider{URL: guarded.URL, Admin: guarded.Admin, AdminKey: secret}, "none is made", "does not take the key", ""},
		{"wrong configuration", &libsql.Provider{URL: s.URL}, "correct the database option", "correct the database option", "correct the database option"},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			c.p.Prefix = fmt.Sprint("i", installations.Add(1))
			create := c.p.Create(t.Context(), acme)
			unavailable(t, "creating", create, c.create)
			unavailable(t, "opening", opening(c.p, "acme"), c.open)
			drop := c.p.Drop(t.Context(), acme)
			if c.drop != "" || drop != nil {
				unavailable(t, "dropping", drop, c.drop)
			}
			if contains(errors.Join(create, drop), secret) {
				t.Errorf("the errors hold the secret: %v; %v", create, drop)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			must(t, c.p.Close())
			unavailable(t, "after closing", opening(c.p, "acme"), "closed")
		})
	}
}

// TestServerGone: while the server is away its tenants get 503 at once; when it is
// back, everything that was committed is there, through the same handle.
func TestServerGone(t *testing.T) {
	s := sqldtest.Start(t)
	ctx := newHouse(t, over(t, s)).tenant(t, "acme")
	must(t, tenancy.Clients.Create(ctx, client("before", "kept")))
	s.Stop()
	began := time.Now()
	_, err := tenancy.Clients.Get(ctx, "before")
	unavailable(t, "reading", err, "see whether the server is up")
	unavailable(t, "writing", tenancy.Clients.Create(ctx, client("during", "lost")), "see whether the server is up")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	s.Restart(t)
	c, err := tenancy.Clients.Get(ctx, "before")
	must(t, err)
	if c.Name != "kept" {
		t.Errorf("read %q", c.Name)
	}
	if _, err := tenancy.Clients.Get(ctx, "during"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
	must(t, tenancy.Clients.Create(ctx, client("after", "new")))
}

// TestCutAnswers: a read whose answer is cut off is done again; a batch is not,
// because it was applied.
func TestCutAnswers(t *testing.T) {
	s := sqldtest.Start(t)
	way := newProxy(t, s)
	ctx := newHouse(t, way.over(t, s)).tenant(t, "acme")
	must(t, tenancy.Clients.Create(ctx, client("c", "name")))
	var left atomic.Int32
	var asked atomic.Int32
	way.set(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		asked.Add(1)
		if left.Add(-1) >= 0 {
			cut(w, r, forward)
		}
		forward.ServeHTTP(w, r)
	})
	left.Store(1)
	_, err := tenancy.Clients.Get(ctx, "c")
	must(t, err)
	left.Store(1000)
	_, err = tenancy.Clients.Get(ctx, "c")
	unavailable(t, "reading", err, "answer was lost")
	asked.Store(0)
	unavailable(t, "writing", tenancy.Clients.Create(ctx, client("d", "name")), "not known whether the batch was applied")
	if n := asked.Load(); n != 1 {
		t.Errorf("the batch was sent %d times", n)
	}
	left.Store(0)
	_, err = tenancy.Clients.Get(ctx, "d")
	must(t, err)
}

// TestSlow: a server that does not answer holds its callers for a bounded time,
// and who gives up earlier is let go at once.
func TestSlow(t *testing.T) {
	s := sqldtest.Start(t)
	way := newProxy(t, s)
	x := way.over(t, s)
	x.Limit(remote.Limits{ReadTime: 2 * time.Second, BatchTime: 3 * time.Second})
	ctx := newHouse(t, x).tenant(t, "acme")
	way.set(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the end of the caller is noticed
		<-r.Context().Done()
	})
	began := time.Now()
	_, err := tenancy.Clients.Get(ctx, "c")
	unavailable(t, "reading", err, "no answer within 2s")
	unavailable(t, "writing", tenancy.Clients.Create(ctx, client("d", "name")), "no answer within 3s, and it is not known")
	gone, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := tenancy.Clients.Get(gone, "c"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who gave up was told: %v", err)
	}
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestBegunIsFinished: a batch that is under way when its caller gives up is
// finished, and the caller is told that it was.
func TestBegunIsFinished(t *testing.T) {
	s := sqldtest.Start(t)
	way := newProxy(t, s)
	ctx := newHouse(t, way.over(t, s)).tenant(t, "acme")
	caller, giveUp := context.WithCancel(ctx)
	way.set(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		giveUp()
		forward.ServeHTTP(w, r)
	})
	if err := tenancy.Clients.Create(caller, client("c", "name")); err != nil || caller.Err() == nil {
		t.Errorf("got %v; the caller gave up: %v", err, caller.Err())
	}
	if _, err := tenancy.Clients.Get(ctx, "c"); err != nil {
		t.Errorf("reading it: %v", err)
	}
}

// TestBigAnswer: an answer beyond what the server sends is an error, not a part.
func TestBigAnswer(t *testing.T) {
	s := sqldtest.Start(t, "--max-response-size", "1MB")
	ctx := newHouse(t, over(t, s)).tenant(t, "acme")
	for i := range 3 {
		c := client(fmt.Sprint("c", i), "big")
		c.Description = strings.Repeat("x", 500_000)
		must(t, tenancy.Clients.Create(ctx, c))
	}
	if list, err := tenancy.Clients.Find(ctx, tenancy.Filter{}); err == nil {
		t.Errorf("%d rows of 3 arrived without an error", len(list))
	}
	list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Limit: 1})
	if err != nil || len(list) != 1 {
		t.Errorf("after it: %d rows, %v", len(list), err)
	}
}

// TestHalfMade: a database without tables is not opened, and one with somebody
// else's tables is not touched.
func TestHalfMade(t *testing.T) {
	s := sqldtest.Start(t)
	x := over(t, s)
	admin(t, s, x.Prefix+"-acme/create")
	unavailable(t, "opening", opening(x, "acme"), "half made")
	must(t, x.Create(t.Context(), acme))
	must(t, opening(x, "acme"))
	admin(t, s, x.Prefix+"-shop/create")
	execute(t, s, x.Prefix+"-shop", "CREATE TABLE orders (id)")
	shop := tenancy.Location{Tenant: "shop"}
	unavailable(t, "opening", opening(x, "shop"), "not ours")
	unavailable(t, "creating", x.Create(t.Context(), shop), "somebody else's tables")
	unavailable(t, "dropping", x.Drop(t.Context(), shop), "somebody else's tables")
	execute(t, s, x.Prefix+"-shop", "INSERT INTO orders VALUES (1)")
}

// TestRacingCreates: nodes that create the same tenants at a time all succeed, and
// make each one once.
func TestRacingCreates(t *testing.T) {
	s := sqldtest.Start(t)
	for _, template := range []string{"", "a-template"} {
		prefix := fmt.Sprint("race", len(template))
		nodes := make([]*libsql.Provider, 3)
		for i := range nodes {
			nodes[i] = over(t, s)
			nodes[i].Prefix, nodes[i].Template = prefix, template
		}
		var wg sync.WaitGroup
		for i := range 8 {
			for _, n := range nodes {
				wg.Go(func() {
					loc := tenancy.Location{Tenant: fmt.Sprint("t", i)}
					if err := n.Create(context.Background(), loc); err != nil {
						t.Errorf("%s: %v", loc.Tenant, err)
						return
					}
					db, err := n.Open(context.Background(), loc)
					if err != nil {
						t.Errorf("%s: %v", loc.Tenant, err)
						return
					}
					defer db.Close()
					if _, err := db.Batch(context.Background(), []tenancy.Stmt{{SQL: `INSERT INTO roles (tenant_id, id, name_key) VALUES (?, lower(hex(randomblob(8))), lower(hex(randomblob(8))))`, Args: []any{loc.Tenant}, Rows: 1}}); err != nil {
						t.Errorf("%s: %v", loc.Tenant, err)
					}
				})
			}
		}
		wg.Wait()
		for i := range 8 {
			db, err := nodes[0].Open(t.Context(), tenancy.Location{Tenant: fmt.Sprint("t", i)})
			must(t, err)
			n, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: `DELETE FROM roles`, Rows: tenancy.AnyRows}})
			if err != nil || n[0] != int64(len(nodes)) {
				t.Errorf("t%d has %v rows of %d: %v", i, n, len(nodes), err)
			}
			must(t, db.Close())
		}
	}
}

// TestInstallations: two installations at one server have the same tenants, and
// neither reaches the other's.
func TestInstallations(t *testing.T) {
	s := sqldtest.Start(t)
	one, two := over(t, s), over(t, s)
	a, b := newHouse(t, one).tenant(t, "acme"), newHouse(t, two).tenant(t, "acme")
	must(t, tenancy.Clients.Create(a, client("c", "one")))
	must(t, tenancy.Clients.Create(b, client("c", "two")))
	must(t, two.Drop(t.Context(), acme))
	if c, err := tenancy.Clients.Get(a, "c"); err != nil || c.Name != "one" {
		t.Errorf("%+v %v", c, err)
	}
	unavailable(t, "opening the dropped one", opening(two, "acme"), "none is made")
}

// TestNames: no two databases of one installation or of two have the same name,
// and each is one that the services take.
func TestNames(t *testing.T) {
	seen := make(map[string]string)
	names := []string{"acme", "a-b", "a--b", "a_b", "a-ub", "a-d-ub", "a-u", "a_", "_a", "-a", "-ua", "control_plane", "control-plane", "control-uplane", "b", "b-c", strings.Repeat("x", 50)}
	for _, prefix := range []string{"gatehouse", "a", "b", "prod1", "exactlythirte"} {
		for _, name := range names {
			full, err := libsql.NameOf(prefix, name)
			if err != nil {
				t.Errorf("%s %s: %v", prefix, name, err)
			}
			if strings.Trim(full, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(full) > 64 || !strings.HasPrefix(full, prefix+"-") {
				t.Errorf("%s %s: %q", prefix, name, full)
			}
			if before, taken := seen[full]; taken {
				t.Errorf("%s %s and %s are both %q", prefix, name, before, full)
			}
			seen[full] = prefix + " " + name
		}
	}
	if full, err := libsql.NameOf("exactlythirte", strings.Repeat("_", 40)); err == nil {
		t.Errorf("%q was taken", full)
	}
}
