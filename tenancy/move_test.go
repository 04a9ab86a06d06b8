package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// makeTwo makes two tenants with users of equal ids.
func (w *world) makeTwo(t *testing.T, users int) {
	t.Helper()
	for _, id := range []string{"acme", "widgets"} {
		x, err := w.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id})
		if err != nil {
			t.Fatal(err)
		}
		within(t, w.Pool, x, func(ctx context.Context) error {
			for i := range users {
				if err := addUser(ctx, fmt.Sprintf("auth0|%d", i), id); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func addUser(ctx context.Context, id, where string) error {
	return tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: id}, Connection: "db", Email: id + "@" + where})
}

// tenant returns what the directory knows.
func (w *world) tenant(t *testing.T, id string) *tenancy.Tenant {
	t.Helper()
	x, ok := w.Directory.ByID(id)
	if !ok {
		t.Fatalf("there is no tenant %s", id)
	}
	return x
}

// writers write users into a tenant from several goroutines, each over one node,
// until they are stopped.
type writers struct {
	name string
	stop func()
	wg   sync.WaitGroup

	mu      sync.Mutex
	written []string // ids whose write succeeded
	refused []time.Time
	failed  []error // other failures
}

func (w *writers) start(t *testing.T, id string, nodes ...*world) {
	ctx, cancel := context.WithCancel(t.Context())
	w.stop = func() { cancel(); w.wg.Wait() }
	for n, node := range nodes {
		w.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				user := fmt.Sprintf("%s|%d|%d", w.name, n, i)
				x, _ := node.Directory.ByID(id)
				err := node.Pool.Do(t.Context(), x, func(ctx context.Context) error { return addUser(ctx, user, "") })
				w.note(user, err)
				time.Sleep(time.Millisecond)
			}
		})
	}
}

func (w *writers) note(user string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var shown *tenancy.Error
	switch {
	case err == nil:
		w.written = append(w.written, user)
	case errors.As(err, &shown) && shown.Status == 503 && shown.Header["Retry-After"] == "1" && errors.Is(err, tenancy.ErrUnavailable):
		w.refused = append(w.refused, time.Now())
	default:
		w.failed = append(w.failed, err)
	}
}

// check says what became of the writes: none failed but at the fence, and every
// one that succeeded is in the tenant.
func (w *writers) check(t *testing.T, in *world, id string) {
	t.Helper()
	w.stop()
	if len(w.failed) > 0 {
		t.Errorf("%d writes failed otherwise than at the fence: %v", len(w.failed), w.failed[0])
	}
	has := map[string]bool{}
	for _, id := range idsIn(t, in.Pool, in.tenant(t, id), tenancy.Users) {
		has[id] = true
	}
	for _, user := range w.written {
		if !has[user] {
			t.Errorf("the write of %s was acknowledged and is lost", user)
		}
	}
	if len(w.written) == 0 {
		t.Error("nothing was written")
	}
}

// TestMove: a tenant moves while two nodes write, one of which does not hear of
// it by the registry; no acknowledged write is lost, writes are refused for a
// short while, and the other tenant with the same ids is not touched
// (contract C8.17).
func TestMove(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 500)
	lostNode := newWorld(t, w.dir, masterSecret) // its directory is never refreshed
	if err := lostNode.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	watching := newWorld(t, w.dir, masterSecret)
	if err := watching.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	go watching.Directory.Run(t.Context())
	go w.Directory.Run(t.Context())
	before := w.tenant(t, "acme")

	here, there, lost, widgets := writers{name: "here"}, writers{name: "there"}, writers{name: "lost"}, writers{name: "widgets"}
	here.start(t, "acme", w, w)
	there.start(t, "acme", watching)
	lost.start(t, "acme", lostNode)
	widgets.start(t, "widgets", w)
	var steps []string
	err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other", Progress: func(p tenancy.Progress) {
		if !slices.Contains(steps, p.Step) {
			steps = append(steps, p.Step)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(steps, " "); got != "copy catch_up fence switch" {
		t.Errorf("progress: %s", got)
	}
	after := w.tenant(t, "acme")
	if after.Placement != "other" || after.Database == "" || after.DataKey != before.DataKey || after.FenceUntil != 0 {
		t.Errorf("registry row: %+v", after)
	}
	op := w.lastOperation(t, "acme")
	if op.Kind != tenancy.OperationMove || op.Status != tenancy.OperationSucceeded {
		t.Errorf("operation: %+v", op)
	}
	eventually(t, "the other node follows", func() bool { return watching.tenant(t, "acme").Placement == "other" })
	lost.stop()
	here.check(t, w, "acme")
	there.check(t, w, "acme")
	lost.check(t, w, "acme")
	widgets.check(t, w, "widgets")
	if len(widgets.refused) > 0 {
		t.Error("the fence stood before another tenant")
	}
	for name, ws := range map[string]*writers{"the mover": &here, "another node": &there} {
		if n := len(ws.refused); n > 0 {
			stood := ws.refused[n-1].Sub(ws.refused[0])
			t.Logf("%s refused writes for %v", name, stood)
			if stood > 10*time.Second {
				t.Errorf("%s refused writes for %v", name, stood)
			}
		}
	}
	if len(lost.refused) == 0 { // what it wrote behind the switch would be missing above
		t.Error("a node that has lost the registry never met the fence")
	}
	if users := idsIn(t, w.Pool, w.tenant(t, "widgets"), tenancy.Users); len(users) < 500 {
		t.Errorf("widgets has %d users", len(users))
	}

	// The old database stays for a day.
	old := filepath.Join(w.dir, "acme.db")
	if err := w.DropCopies(t.Context(), time.Now().Add(23*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("the old database is gone: %v", err)
	}
	if err := w.DropCopies(t.Context(), time.Now().Add(25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil || len(w.tenant(t, "acme").Copies) != 0 {
		t.Errorf("the old database is still there: %v, %+v", err, w.tenant(t, "acme").Copies)
	}
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other"}); err != nil {
		t.Errorf("a move to where it is: %v", err)
	}
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "", DropOld: true}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(w.dir+"-other", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left at once, but still there: %v, %v", left, err)
	}
	here.check(t, w, "acme")
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestMoveIsCutOff: a move that ends at any point before the switch leaves the
// tenant where it was and writable, and the same move again goes on. A move
// elsewhere gives up what was begun.
func TestMoveIsCutOff(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 1500)
	for try := range 6 {
		ctx, cancel := context.WithCancel(t.Context())
		left := rand.IntN(12 * (try + 1))
		err := w.Move(ctx, "acme", tenancy.MoveOptions{Placement: "other", Progress: func(p tenancy.Progress) {
			if left--; left < 0 && p.Step != "switch" {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			continue
		}
		x := w.tenant(t, "acme")
		if x.Placement != "" || x.Database != "" || x.FenceUntil != 0 {
			t.Fatalf("a move that failed with %v: %+v", err, x)
		}
		within(t, w.Pool, x, func(ctx context.Context) error { return addUser(ctx, fmt.Sprintf("between|%d", try), "") })
		if op := w.lastOperation(t, "acme"); op.Status != tenancy.OperationFailed || op.Error == "" {
			t.Errorf("operation: %+v", op)
		}
	}
	users := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users)
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "third"}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir+"-other", "acme*")); len(left) != 0 && w.tenant(t, "acme").Copies[0].Placement != "other" {
		t.Errorf("a move that was given up left %v", left)
	}
	if now := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users); !slices.Equal(now, users) {
		t.Errorf("%d users, had %d", len(now), len(users))
	}
}

// sluggish is a provider whose databases hold batches back while they are told to.
type sluggish struct {
	tenancy.Provider
	held atomic.Pointer[held]
}

type held struct{ came, release chan struct{} }

func (p *sluggish) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	db, err := p.Provider.Open(ctx, loc)
	if err != nil || loc.Tenant != "acme" {
		return db, err
	}
	return &sluggishDatabase{db, p}, nil
}

type sluggishDatabase struct {
	tenancy.Database
	of *sluggish
}

func (d *sluggishDatabase) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	if h := d.of.held.Swap(nil); h != nil { // the next one goes through
		close(h.came)
		<-h.release
	}
	return d.Database.Batch(ctx, stmts)
}

// TestLateWrite: a batch that another node let in before it knew of a move, and
// whose database is so slow that it comes after the switch, is refused or at least
// not acknowledged, whether that node hears of the move or not, and whether the
// old database is still there (contract C8.17). A batch that is only slow succeeds.
func TestLateWrite(t *testing.T) {
	for name, c := range map[string]struct{ sure, follows, dropped, still bool }{
		"sure of the registry":             {sure: true},
		"hears of the move meanwhile":      {sure: true, follows: true},
		"has long lost the registry":       {},
		"sure, and the database is gone":   {sure: true, dropped: true},
		"unsure, and the database is gone": {dropped: true},
		"nothing moves":                    {sure: true, still: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			w.makeTwo(t, 3)
			slow := &sluggish{Provider: &sqlite.Provider{Dir: w.dir}}
			node := newWorldOf(t, w.dir, masterSecret, map[string]tenancy.Provider{"": slow, "other": &sqlite.Provider{Dir: w.dir + "-other"}})
			if err := node.OpenControlPlane(t.Context(), admin); err != nil {
				t.Fatal(err)
			}
			before := node.tenant(t, "acme")
			within(t, node.Pool, before, func(ctx context.Context) error { return addUser(ctx, "first", "") })
			if !c.sure {
				time.Sleep(2100 * time.Millisecond) // what was read of the registry is too old by then
			}
			h := &held{make(chan struct{}), make(chan struct{})}
			slow.held.Store(h)
			wrote := make(chan error, 1)
			go func() {
				wrote <- node.Pool.Do(context.WithoutCancel(t.Context()), before, func(ctx context.Context) error { return addUser(ctx, "late", "") })
			}()
			<-h.came
			if c.still {
				time.Sleep(300 * time.Millisecond)
			} else if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other", DropOld: c.dropped}); err != nil {
				t.Fatal(err)
			}
			if c.follows {
				if err := node.Directory.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			close(h.release)
			err := <-wrote
			arrived := slices.Contains(idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users), "late")
			switch {
			case c.still && (err != nil || !arrived):
				t.Errorf("a slow write: %v, arrived %v", err, arrived)
			case !c.still && (err == nil || arrived):
				t.Errorf("the late write was answered with %v, arrived %v", err, arrived)
			case !c.still && !errors.Is(err, tenancy.ErrUnavailable):
				t.Errorf("the late write failed with %v", err)
			}
		})
	}
}

func TestMoveRefused(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 1)
	for _, c := range []struct {
		id, placement string
		status        int
		text          string
	}{
		{"acme", "nowhere", 400, "nowhere"},
		{"control_plane", "other", 403, "control plane"},
	} {
		err := w.Move(t.Context(), c.id, tenancy.MoveOptions{Placement: c.placement})
		if status(err) != c.status || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s to %s: got %v, want %d", c.id, c.placement, err, c.status)
		}
	}
	if err := w.Move(t.Context(), "nobody", tenancy.MoveOptions{Placement: "other"}); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("a tenant of nobody's: %v", err)
	}
	// Of two at a time one moves.
	var second error
	var once sync.Once
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other", Progress: func(tenancy.Progress) {
		once.Do(func() { second = w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "third"}) })
	}}); err != nil {
		t.Fatal(err)
	}
	if status(second) != 409 {
		t.Errorf("a second move at the same time: %v", second)
	}
}

// TestDeleteMovedTenant: deleting removes also what moves left (contract C8.12).
// The same id made again is empty.
func TestDeleteMovedTenant(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 3)
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "third"}); err != nil {
		t.Fatal(err)
	}
	key := w.tenant(t, "acme").DataKey
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{w.dir, w.dir + "-other", w.dir + "-third"} {
		if left, _ := filepath.Glob(filepath.Join(dir, "acme*")); len(left) != 0 {
			t.Errorf("deleting left %v", left)
		}
	}
	again, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "again"})
	if err != nil {
		t.Fatal(err)
	}
	if again.DataKey == key || len(again.Copies) != 0 {
		t.Errorf("the same id again: %+v", again)
	}
	if users := idsIn(t, w.Pool, again, tenancy.Users); len(users) != 0 {
		t.Errorf("the same id again has %d users", len(users))
	}
}
