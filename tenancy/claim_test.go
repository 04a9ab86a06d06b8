package tenancy_test

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// TestMoverWakesUp: a mover stands still in the midst of writing, so long that it is
// taken for dead. When it wakes up, another run has moved the tenant to the same
// database, elsewhere, or the tenant is deleted. It writes nothing and leaves nothing.
func TestMoverWakesUp(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world) error{
		"the same move again": func(w *world) error {
			return w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other"})
		},
		"a move elsewhere": func(w *world) error {
			return w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "third"})
		},
		"deleted": func(w *world) error { return w.Delete(t.Context(), "acme") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			w.makeTwo(t, 3)
			slow := &sluggish{Provider: &sqlite.Provider{Dir: w.dir + "-other"}}
			sleeper := newWorldOf(t, w.dir, masterSecret, map[string]tenancy.Provider{"": &sqlite.Provider{Dir: w.dir}, "other": slow})
			if err := sleeper.OpenControlPlane(t.Context(), admin); err != nil {
				t.Fatal(err)
			}
			h := &held{make(chan struct{}), make(chan struct{})}
			var once sync.Once
			slept := make(chan error, 1)
			go func() {
				slept <- sleeper.Move(context.WithoutCancel(t.Context()), "acme", tenancy.MoveOptions{Placement: "other", Progress: func(p tenancy.Progress) {
					if p.Table == "users" {
						once.Do(func() { slow.held.Store(h) }) // the batch that writes them
					}
				}})
			}()
			<-h.came
			op := w.lastOperation(t, "acme")
			deadline := time.Now().Add(30 * time.Second)
			for status(meanwhile(w)) == 409 { // while the sleeper is not taken for dead
				if time.Now().After(deadline) {
					t.Fatal("nobody may go on")
				}
				time.Sleep(100 * time.Millisecond)
			}
			x, there := w.Directory.ByID("acme")
			var before []string
			if there {
				within(t, w.Pool, x, func(ctx context.Context) error {
					if err := tenancy.Users.Delete(ctx, "auth0|1"); err != nil {
						return err
					}
					return addUser(ctx, "after", "")
				})
				before = idsIn(t, w.Pool, x, tenancy.Users)
			}
			close(h.release)
			if err := <-slept; err == nil {
				t.Error("the mover that slept says that it moved the tenant")
			}
			left, err := filepath.Glob(filepath.Join(w.dir+"-other", "acme*"))
			if err != nil {
				t.Fatal(err)
			}
			if !there || x.Placement != "other" {
				if len(left) != 0 {
					t.Errorf("it left %v", left)
				}
			}
			if there {
				if now := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users); !slices.Equal(now, before) || slices.Contains(now, "auth0|1") {
					t.Errorf("users were %v and are %v", before, now)
				}
				if last := w.lastOperation(t, "acme"); last.Status != tenancy.OperationSucceeded || last.CreatedAt < op.CreatedAt {
					t.Errorf("operation: %+v", last)
				}
			}
			if users := idsIn(t, w.Pool, w.tenant(t, "widgets"), tenancy.Users); len(users) != 3 {
				t.Errorf("widgets has %v", users)
			}
		})
	}
}
