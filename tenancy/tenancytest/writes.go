package tenancytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func unique(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	must(t, tenancy.Clients.Create(ctx, client("c", "one")))
	if err := tenancy.Clients.Create(ctx, client("c", "two")); !errors.Is(err, tenancy.ErrConflict) || errors.Is(err, tenancy.ErrStale) {
		t.Errorf("same id: got %v, want ErrConflict", err)
	}
	must(t, tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "Admin", NameKey: "admin"}))
	must(t, tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_2"}, Name: "Other", NameKey: "other"}))
	if err := tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_3"}, Name: "ADMIN", NameKey: "admin"}); !errors.Is(err, tenancy.ErrConflict) {
		t.Errorf("same name: got %v, want ErrConflict", err)
	}
	_, err := tenancy.Roles.Update(ctx, "rol_2", func(r *tenancy.Role) error { r.NameKey = "admin"; return nil })
	if !errors.Is(err, tenancy.ErrConflict) || errors.Is(err, tenancy.ErrStale) {
		t.Errorf("renamed to a taken name: got %v, want ErrConflict", err)
	}
	// E-mail addresses are unique per connection, but many users have none.
	for i := range 2 {
		must(t, tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: fmt.Sprint("u", i)}, Connection: "db"}))
	}
}

// batchIsAtomic: a batch whose last statement fails leaves nothing behind, and
// does not harm batches committed at the same time.
func batchIsAtomic(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	must(t, tenancy.Clients.Create(ctx, client("taken", "first")))
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			good := tenancy.Commit(ctx, tenancy.Clients.Insert(ctx, client(fmt.Sprint("good", i), "good")))
			if good != nil {
				t.Errorf("good batch %d: %v", i, good)
			}
		})
		wg.Go(func() {
			bad := tenancy.Commit(ctx,
				tenancy.Clients.Insert(ctx, client(fmt.Sprint("bad", i), "bad")),
				tenancy.Clients.Insert(ctx, client("taken", "second")),
				tenancy.Clients.Insert(ctx, client(fmt.Sprint("after", i), "bad")))
			if !errors.Is(bad, tenancy.ErrConflict) {
				t.Errorf("bad batch %d: got %v, want ErrConflict", i, bad)
			}
		})
	}
	wg.Wait()
	for name, want := range map[string]int64{"good": 40, "bad": 0, "first": 1, "second": 0} {
		if n, err := tenancy.Clients.Count(ctx, tenancy.Filter{Where: "name = ?", Args: []any{name}}); err != nil || n != want {
			t.Errorf("%s: %d rows, want %d (%v)", name, n, want, err)
		}
	}
}

func guards(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	must(t, tenancy.Clients.Create(ctx, client("c", "old")))
	renamed := func(guard tenancy.Stmt) error {
		return tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE clients SET description = description || 'x' WHERE tenant_id = @tenant AND id = 'c'`).Once(), guard,
			tenancy.SQL(ctx, `UPDATE clients SET logo_uri = 'after' WHERE tenant_id = @tenant AND id = 'c'`))
	}
	must(t, renamed(tenancy.Require(ctx, `EXISTS (SELECT 1 FROM clients WHERE tenant_id = @tenant AND name = ?)`, "old")))
	if err := renamed(tenancy.Require(ctx, `EXISTS (SELECT 1 FROM clients WHERE tenant_id = @tenant AND name = ?)`, "new")); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("guard that fails: got %v, want ErrStale", err)
	}
	if err := tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE clients SET name = 'new' WHERE tenant_id = @tenant AND id = 'none'`).Once()); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("statement that misses its row: got %v, want ErrStale", err)
	}
	c, err := tenancy.Clients.Get(ctx, "c")
	must(t, err)
	if c.Description != "x" || c.LogoURI != "after" || c.Name != "old" {
		t.Errorf("after one batch that held and two that did not: %q %q %q", c.Description, c.LogoURI, c.Name)
	}
}

// conditionalUpsert: a row is made, or changed on a condition, and counted either
// way; where the condition does not hold the batch misses it. Write fences are
// made of this.
func conditionalUpsert(t *testing.T, h *house) {
	ctx, other := h.enter(t, h.acme), h.enter(t, h.widgets)
	upsert := func(ctx context.Context, value, most int) error {
		return tenancy.Commit(ctx, tenancy.SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'upsert', ?)
			ON CONFLICT (tenant_id, id) DO UPDATE SET value = excluded.value WHERE counters.value <= ?`, value, most).Once())
	}
	must(t, upsert(ctx, 1, 0)) // makes it
	must(t, upsert(ctx, 5, 1))
	must(t, upsert(ctx, 5, 5)) // changes nothing, and counts
	if err := upsert(ctx, 9, 4); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("a condition that does not hold: got %v, want ErrStale", err)
	}
	must(t, upsert(other, 2, 0)) // a row of its own
	for _, c := range []struct {
		ctx  context.Context
		want int
	}{{ctx, 5}, {other, 2}} {
		var value int
		must(t, tenancy.QueryRow(c.ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = 'upsert'`, nil, &value))
		if value != c.want {
			t.Errorf("the row holds %d, want %d", value, c.want)
		}
	}
}

// racingUpdates: every one of many concurrent updates is kept.
func racingUpdates(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	other := h.enter(t, h.widgets)
	for _, c := range []context.Context{ctx, other} {
		must(t, tenancy.Clients.Create(c, client("c", "start")))
	}
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				for {
					_, err := tenancy.Clients.Update(ctx, "c", func(c *tenancy.Client) error { c.LogoURI += "."; return nil })
					if errors.Is(err, tenancy.ErrStale) {
						continue // lost ten races in a row
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	c, err := tenancy.Clients.Get(ctx, "c")
	must(t, err)
	if len(c.LogoURI) != workers*each || c.Revision != workers*each+1 {
		t.Errorf("%d of %d updates were kept, revision %d", len(c.LogoURI), workers*each, c.Revision)
	}
	if c, _ := tenancy.Clients.Get(other, "c"); c.Revision != 1 {
		t.Errorf("the other tenant's row has revision %d", c.Revision)
	}
}

// singleUse: of 16 who consume the same row, one succeeds (RFC 6749 4.1.2).
func singleUse(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	other := h.enter(t, h.widgets)
	for i := range 25 {
		id := fmt.Sprint("code", i)
		for _, c := range []context.Context{ctx, other} {
			must(t, tenancy.Grants.Create(c, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantCode, Hash: id}))
		}
		var won, lost atomic.Int32
		var wg sync.WaitGroup
		for n := range 16 {
			wg.Go(func() {
				err := tenancy.Commit(ctx,
					tenancy.SQL(ctx, `UPDATE grants SET consumed_at = ? WHERE tenant_id = @tenant AND id = ? AND consumed_at = 0`, n+1, id).Once(),
					tenancy.Grants.Insert(ctx, &tenancy.Grant{Row: tenancy.Row{ID: fmt.Sprint(id, "-", n)}, Kind: tenancy.GrantRefresh, Hash: fmt.Sprint(id, "-", n), Family: id}))
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, tenancy.ErrStale):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		children, err := tenancy.Grants.Count(ctx, tenancy.Filter{Where: "family = ?", Args: []any{id}})
		if won.Load() != 1 || lost.Load() != 15 || children != 1 || err != nil {
			t.Fatalf("%s: %d won, %d lost, %d tokens (%v)", id, won.Load(), lost.Load(), children, err)
		}
		if g, err := tenancy.Grants.Get(other, id); err != nil || g.ConsumedAt != 0 {
			t.Fatalf("the other tenant's code of the same id: %+v %v", g, err)
		}
	}
}

// cancelledContext: who gives up before a batch is begun has written nothing, and
// the database serves on.
func cancelledContext(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := tenancy.Clients.Create(gone, client("c", "never")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := tenancy.Clients.Get(gone, "c"); !errors.Is(err, context.Canceled) {
		t.Errorf("reading: got %v, want context.Canceled", err)
	}
	must(t, tenancy.Clients.Create(ctx, client("c", "then")))
}

// cancelledMidway: callers give up at any moment of their write. Who is told that
// it was written finds it, and who is told otherwise does not.
func cancelledMidway(t *testing.T, h *house) {
	inside := h.enter(t, h.acme)
	const callers = 80
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(inside, time.Duration(i*i)*time.Microsecond)
			defer cancel()
			errs[i] = tenancy.Commit(ctx,
				tenancy.Clients.Insert(ctx, client(fmt.Sprint("a", i), "first")),
				tenancy.Clients.Insert(ctx, client(fmt.Sprint("b", i), "second")))
		})
	}
	wg.Wait()
	for i, err := range errs {
		n, reading := tenancy.Clients.Count(inside, tenancy.Filter{Where: "id IN (?, ?)", Args: []any{fmt.Sprint("a", i), fmt.Sprint("b", i)}})
		must(t, reading)
		switch {
		case err == nil && n == 2:
		case (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tenancy.ErrUnavailable)) && n == 0:
		default:
			t.Errorf("caller %d: %d of 2 rows, %v", i, n, err)
		}
	}
}

// changeLog: changes of logged rows are recorded on the control plane, in the
// same batch, each under a revision of its own, and nowhere else.
func changeLog(t *testing.T, h *house) {
	cp, acme := h.enter(t, h.cp), h.enter(t, h.acme)
	told := make(chan struct{}, 100)
	defer h.pool.Watch(func() { told <- struct{}{} })()
	for _, ctx := range []context.Context{cp, acme} {
		must(t, tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "R", NameKey: "r"}))
		must(t, tenancy.Commit(ctx, tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission("rol_1", "rs", "p")),
			tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission("rol_1", "rs", "q"))))
		must(t, tenancy.Clients.Create(ctx, client("c", "not logged")))
		if err := tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "again", NameKey: "again"}); !errors.Is(err, tenancy.ErrConflict) {
			t.Fatal(err)
		}
		must(t, tenancy.Roles.Delete(ctx, "rol_1"))
	}
	list, err := tenancy.ChangesAfter(cp, 0, 100)
	must(t, err)
	var got []string
	for _, c := range list {
		got = append(got, fmt.Sprint(c.Revision, c.Kind, c.EntityID))
	}
	if want := "1rolerol_1 2rolerol_1 3rolerol_1"; strings.Join(got, " ") != want {
		t.Errorf("change log: got %v, want %s", got, want)
	}
	if head, err := tenancy.Head(cp); head != 3 || err != nil {
		t.Errorf("head %d, %v", head, err)
	}
	if list, err := tenancy.ChangesAfter(acme, 0, 100); len(list) != 0 || err != nil {
		t.Errorf("a child tenant logged %d changes, %v", len(list), err)
	}
	if len(told) != 3 {
		t.Errorf("watchers were told %d times, want 3", len(told))
	}

	// Concurrent writers get distinct revisions without a gap.
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			id := fmt.Sprint("rol_c", i)
			if err := tenancy.Roles.Create(cp, &tenancy.Role{Row: tenancy.Row{ID: id}, Name: id, NameKey: id}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list, err = tenancy.ChangesAfter(cp, 3, 100)
	must(t, err)
	for i, c := range list {
		if c.Revision != int64(4+i) {
			t.Fatalf("revision %d at place %d", c.Revision, i)
		}
	}
	if len(list) != 30 {
		t.Errorf("%d changes, want 30", len(list))
	}
}

func cacheForgets(t *testing.T, h *house) {
	ctx, other := h.enter(t, h.acme), h.enter(t, h.widgets)
	name := func(c context.Context) string {
		got, err := tenancy.CachedClient(c, "c")
		if errors.Is(err, tenancy.ErrNotFound) {
			return "none"
		}
		must(t, err)
		return got.Name
	}
	if got := name(ctx) + name(other); got != "nonenone" {
		t.Error(got)
	}
	must(t, tenancy.Clients.Create(ctx, client("c", "one")))
	if got := name(ctx) + " " + name(other); got != "one none" {
		t.Error(got)
	}
	_, err := tenancy.Clients.Update(ctx, "c", func(c *tenancy.Client) error { c.Name = "two"; return nil })
	must(t, err)
	if got := name(ctx); got != "two" {
		t.Error(got)
	}
	must(t, tenancy.Clients.Delete(ctx, "c"))
	if got := name(ctx); got != "none" {
		t.Error(got)
	}
}

// shared hides that a provider may be exclusive: for the test two nodes, each
// with a pool of its own, are over its databases.
type shared struct{ tenancy.Provider }

// otherNode: what one node changes the other notices within a second or so, also
// that a client is there now, and of the right tenant.
func otherNode(t *testing.T, h *house) {
	nodes := *h
	nodes.provider = shared{h.provider}
	var inside, elsewhere [2]context.Context // acme and widgets, on each node
	for n, ctxs := range []*[2]context.Context{&inside, &elsewhere} {
		pool := nodes.newPool(t, 4)
		for i, x := range []*tenancy.Tenant{h.acme, h.widgets} {
			ctx, leave, err := pool.Enter(t.Context(), x)
			if err != nil {
				t.Fatalf("node %d: %v", n, err)
			}
			t.Cleanup(leave)
			ctxs[i] = ctx
		}
	}
	name := func(ctx context.Context) string {
		c, err := tenancy.CachedClient(ctx, "c")
		if errors.Is(err, tenancy.ErrNotFound) {
			return "none"
		}
		must(t, err)
		return c.Name
	}
	becomes := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); name(elsewhere[0]) != want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the other node still sees %q instead of %q", name(elsewhere[0]), want)
			}
		}
		if got := name(elsewhere[1]); got != "none" {
			t.Errorf("widgets has acme's client %q", got)
		}
	}
	becomes("none")
	must(t, tenancy.Clients.Create(inside[0], client("c", "one")))
	becomes("one")
	_, err := tenancy.Clients.Update(inside[0], "c", func(c *tenancy.Client) error { c.Name = "two"; return nil })
	must(t, err)
	becomes("two")
	must(t, tenancy.Clients.Delete(inside[0], "c"))
	becomes("none")
}
