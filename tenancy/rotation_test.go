package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// stored reads a column as it is in the database.
func stored(t *testing.T, ctx context.Context, table, column, id string) string {
	t.Helper()
	var text string
	if err := tenancy.QueryRow(ctx, "SELECT "+column+" FROM "+table+" WHERE tenant_id = @tenant AND id = ?", []any{id}, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

// filled makes a tenant with something sealed in every table that seals.
func (w *world) filled(t *testing.T, id string) *tenancy.Tenant {
	t.Helper()
	made, err := w.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id})
	if err != nil {
		t.Fatal(err)
	}
	w.inside(t, id, func(ctx context.Context) {
		secret := "the secret of " + id
		hash, err := tenancy.HashSecret(ctx, secret)
		if err != nil {
			t.Fatal(err)
		}
		c := &tenancy.Client{Row: tenancy.Row{ID: "machine"}, Name: "Machine", Secret: secret, SecretHash: hash, PreviousSecret: secret, PreviousSecretHash: hash}
		if err := tenancy.Clients.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		x := &tenancy.Connection{Row: tenancy.Row{ID: "con_x"}, Name: "x", Secrets: map[string]string{"client_secret": "upstream of " + id}}
		if err := tenancy.Connections.Create(ctx, x); err != nil {
			t.Fatal(err)
		}
	})
	return made
}

// inside runs f inside a tenant as the directory knows it.
func (w *world) inside(t *testing.T, id string, f func(ctx context.Context)) {
	t.Helper()
	x, ok := w.Directory.ByID(id)
	if !ok {
		t.Fatalf("no tenant %s", id)
	}
	if err := w.Pool.Do(t.Context(), x, func(ctx context.Context) error { f(ctx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// whole demands that everything sealed in a tenant opens, and that a client's
// secret is known by its hash.
func (w *world) whole(t *testing.T, id string) {
	t.Helper()
	w.inside(t, id, func(ctx context.Context) {
		c, err := tenancy.Clients.Get(ctx, "machine")
		if err != nil || c.Secret != "the secret of "+id || c.PreviousSecret != c.Secret {
			t.Errorf("the client of %s: %+v %v", id, c, err)
			return
		}
		hash, err := tenancy.HashSecret(ctx, c.Secret)
		if err != nil || hash != c.SecretHash || hash != c.PreviousSecretHash {
			t.Errorf("%s: hash %s, stored %s and %s (%v)", id, hash, c.SecretHash, c.PreviousSecretHash, err)
		}
		if k, err := tenancy.SigningKeys.Get(ctx, "kid"); err != nil || string(k.Private) != "key" {
			t.Errorf("the key of %s: %v %v", id, k, err)
		}
		if x, err := tenancy.Connections.Get(ctx, "con_x"); err != nil || x.Secrets["client_secret"] != "upstream of "+id {
			t.Errorf("the connection of %s: %v %v", id, x, err)
		}
	})
}

// sealedColumns are all columns that hold something sealed, each with a row.
var sealedColumns = [][3]string{
	{"clients", "secret", "machine"},
	{"clients", "previous_secret", "machine"},
	{"signing_keys", "private", "kid"},
	{"connections", "secrets", "con_x"},
}

// TestRotateDataKey: everything is sealed anew, hashes of client secrets too, and
// the other tenant with the same ids is left alone. Whoever is inside all the while
// stays there, and the old key opens nothing afterwards.
func TestRotateDataKey(t *testing.T) {
	w := openWorld(t)
	w.Settle = -1
	before := w.filled(t, "acme")
	w.filled(t, "widgets")
	read := func(id string) (list []string) {
		w.inside(t, id, func(ctx context.Context) {
			for _, c := range sealedColumns {
				list = append(list, stored(t, ctx, c[0], c[1], c[2]))
			}
			list = append(list, stored(t, ctx, "clients", "secret_hash", "machine"))
		})
		return list
	}
	old, others := read("acme"), read("widgets")
	var steps []string
	if err := w.RotateDataKey(t.Context(), "acme", func(step string, _, _ int64) {
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(steps, ", "); got != "making the new key known, sealing with the new key, rows looked at, dropping the old key, removing old values from files" {
		t.Errorf("steps: %s", got)
	}
	for i, now := range read("acme") {
		if now == old[i] {
			t.Errorf("%v is as it was", append(sealedColumns, [3]string{"clients", "secret_hash", "machine"})[i])
		}
	}
	if now := read("widgets"); fmt.Sprint(now) != fmt.Sprint(others) {
		t.Error("the other tenant's values changed")
	}
	w.whole(t, "acme")
	w.whole(t, "widgets")
	// A row that was read before the rotation leads into the tenant as it is now.
	if err := w.Pool.Do(t.Context(), before, func(ctx context.Context) error {
		_, err := tenancy.Clients.Get(ctx, "machine")
		return err
	}); err != nil {
		t.Errorf("with the row from before: %v", err)
	}
	// In a process that knows nothing of the rotation, the old key opens nothing.
	fresh := newWorld(t, w.dir, masterSecret)
	err := fresh.Pool.Do(t.Context(), before, func(ctx context.Context) error {
		_, err := tenancy.Clients.Get(ctx, "machine")
		return err
	})
	if !errors.Is(err, tenancy.ErrSealed) {
		t.Errorf("the old key still opens: %v", err)
	}
	again := newWorld(t, w.dir, masterSecret)
	if err := again.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	again.whole(t, "acme")
}

// TestRotateWhileWorking: people come and go, and write, during rotations: nobody
// fails, and nothing is left that nobody can open.
func TestRotateWhileWorking(t *testing.T) {
	w := openWorld(t)
	w.Settle = -1
	w.filled(t, "acme")
	stop, failures := make(chan struct{}), atomic.Int32{}
	var working sync.WaitGroup
	for n := range 6 {
		working.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				x, _ := w.Directory.ByID("acme") // and be slow about entering
				err := w.Pool.Do(t.Context(), x, func(ctx context.Context) error {
					if _, err := tenancy.CachedClient(ctx, "machine"); err != nil {
						return fmt.Errorf("reading: %w", err)
					}
					id := fmt.Sprintf("c%d-%d", n, i)
					hash, err := tenancy.HashSecret(ctx, id)
					if err != nil {
						return err
					}
					if err := tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: id}, Name: id, Secret: id, SecretHash: hash}); err != nil {
						return fmt.Errorf("creating: %w", err)
					}
					_, err = tenancy.Clients.Update(ctx, id, func(c *tenancy.Client) error { c.Description = "seen"; return nil })
					return err
				})
				if err != nil {
					failures.Add(1)
					t.Errorf("visitor %d: %v", n, err)
					return
				}
			}
		})
	}
	for range 3 {
		if err := w.RotateDataKey(t.Context(), "acme", nil); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	working.Wait()
	if err := w.RotateDataKey(t.Context(), "acme", nil); err != nil {
		t.Fatal(err)
	}
	w.whole(t, "acme")
	w.inside(t, "acme", func(ctx context.Context) {
		list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Where: "id LIKE 'c%-%'"})
		if err != nil || len(list) < 10 {
			t.Fatalf("%d clients, %v", len(list), err)
		}
		for _, c := range list {
			if hash, _ := tenancy.HashSecret(ctx, c.Secret); c.Secret != c.ID || hash != c.SecretHash || c.Description != "seen" {
				t.Errorf("client %s: secret %q, hash right: %t, %q", c.ID, c.Secret, hash == c.SecretHash, c.Description)
			}
		}
		t.Logf("%d clients written during the rotations", len(list))
	})
}

// TestRotationIsCutOff: an end after any step leaves a tenant that works, also in
// the next process, and the rotation goes on from there.
func TestRotationIsCutOff(t *testing.T) {
	for _, cut := range []string{"making the new key known", "sealing with the new key", "rows looked at", "dropping the old key"} {
		t.Run(cut, func(t *testing.T) {
			w := openWorld(t)
			w.Settle = 1
			w.filled(t, "acme")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := w.RotateDataKey(ctx, "acme", func(step string, _, _ int64) {
				if step == cut {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("it was not cut off: %v", err)
			}
			w.inside(t, "acme", func(ctx context.Context) {
				if c, err := tenancy.Clients.Get(ctx, "machine"); err != nil || c.Secret != "the secret of acme" {
					t.Errorf("after the cut: %v %v", c, err)
				}
			})
			next := newWorld(t, w.dir, masterSecret)
			next.Settle = -1
			if err := next.OpenControlPlane(t.Context(), admin); err != nil {
				t.Fatal(err)
			}
			if err := next.RotateDataKey(t.Context(), "acme", nil); err != nil {
				t.Fatal(err)
			}
			next.whole(t, "acme")
		})
	}
}

// TestRotateDataKeyOfTheControlPlane: it holds its own registry row.
func TestRotateDataKeyOfTheControlPlane(t *testing.T) {
	w := openWorld(t)
	w.Settle = -1
	if err := w.RotateDataKey(t.Context(), "control_plane", nil); err != nil {
		t.Fatal(err)
	}
	w.filled(t, "acme")
	again := newWorld(t, w.dir, masterSecret)
	if err := again.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if c, err := tenancy.Clients.Get(again.cp(t), "mgmt"); err != nil || c.Secret != admin.ClientSecret {
		t.Errorf("its client: %+v %v", c, err)
	}
	again.whole(t, "acme")
	if err := w.RotateDataKey(t.Context(), "ghost", nil); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

// TestRewrapDataKeys: a second master secret takes over while the first still
// opens, and then the first can go.
func TestRewrapDataKeys(t *testing.T) {
	const newer = "a newer master secret, also 256 bits"
	w := openWorld(t)
	for _, id := range []string{"acme", "widgets"} {
		w.filled(t, id)
	}
	both := newWorld(t, w.dir, newer+"\n"+masterSecret)
	if err := both.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	tenants := func() (list []int64) {
		keys, err := both.MasterKeys(t.Context())
		if err != nil || len(keys) != 2 || keys[0].Position != 1 || keys[1].Position != 2 {
			t.Fatalf("keys: %+v %v", keys, err)
		}
		if keys[1].Removable() != (keys[1].Tenants == 0) || keys[0].Removable() {
			t.Errorf("removable: %+v", keys)
		}
		return []int64{keys[0].Tenants, keys[1].Tenants}
	}
	if got := tenants(); got[0] != 0 || got[1] != 3 {
		t.Errorf("at first: %v", got)
	}
	both.filled(t, "later")
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := both.RewrapDataKeys(ctx, func(_ string, done, _ int64) {
		if done == 2 {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was not cut off: %v", err)
	}
	if got := tenants(); got[0] < 1 || got[1] < 1 || got[0]+got[1] != 4 {
		t.Errorf("cut off: %v", got)
	}
	if n, err := both.RewrapDataKeys(t.Context(), nil); err != nil || n < 1 {
		t.Fatalf("%d rewrapped, %v", n, err)
	}
	if got := tenants(); got[0] != 4 || got[1] != 0 {
		t.Errorf("in the end: %v", got)
	}
	if n, err := both.RewrapDataKeys(t.Context(), nil); err != nil || n != 0 {
		t.Errorf("once more: %d rewrapped, %v", n, err)
	}
	for _, id := range []string{"acme", "widgets", "later"} {
		both.whole(t, id) // as the directory still knows them
	}
	// A change of the row brings the new seal into the directory; the open database
	// stays the one it was.
	inside, leave, err := both.Pool.Enter(t.Context(), must(both.Directory.ByID("acme")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both.Suspend(t.Context(), "acme", ""); err != nil {
		t.Fatal(err)
	}
	open := both.Pool.Stats().Open
	both.whole(t, "acme")
	if now := both.Pool.Stats().Open; now != open {
		t.Errorf("%d databases are open, were %d", now, open)
	}
	if _, err := tenancy.Clients.Get(inside, "machine"); err != nil {
		t.Error(err)
	}
	leave()
	alone := newWorld(t, w.dir, newer)
	if err := alone.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"acme", "widgets", "later"} {
		alone.whole(t, id)
	}
	if err := newWorld(t, w.dir, masterSecret).OpenControlPlane(t.Context(), admin); err == nil {
		t.Error("the old secret alone still opens everything")
	}
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("not there")
	}
	return v
}

// TestErasure: once a tenant is deleted, no key is left that opens a kept copy of
// its database, nor is the wrapped key anywhere in the control plane's files.
func TestErasure(t *testing.T) {
	w := openWorld(t)
	w.Settle = -1
	w.filled(t, "acme")
	if err := w.RotateDataKey(t.Context(), "acme", nil); err != nil {
		t.Fatal(err)
	}
	acme := must(w.Directory.ByID("acme"))
	w.inside(t, "acme", func(ctx context.Context) {
		if err := tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE clients SET description = 'kept' WHERE tenant_id = @tenant AND id = 'machine'`)); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Pool.Forget(t.Context(), acme); err != nil { // so that the file is whole
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(w.dir, "acme.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), acme.DataKey) {
			t.Errorf("%s still holds the wrapped key (%v)", filepath.Base(f), err)
		}
	}
	// The copy takes the place of a new tenant of the same name.
	again, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Pool.Forget(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "acme.db"), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	w.inside(t, "acme", func(ctx context.Context) {
		if text := stored(t, ctx, "clients", "description", "machine"); text != "kept" {
			t.Fatalf("it is not the copy: %q", text)
		}
		if c, err := tenancy.Clients.Get(ctx, "machine"); !errors.Is(err, tenancy.ErrSealed) {
			t.Errorf("the new tenant's ring opens it: %v %v", c, err)
		}
	})
	for _, id := range []string{"control_plane", "acme"} {
		thief := *must(w.Directory.ByID(id))
		thief.ID = "acme" // whose values they are
		err := w.Pool.Do(t.Context(), &thief, func(ctx context.Context) error {
			_, err := tenancy.Clients.Get(ctx, "machine")
			return err
		})
		if !errors.Is(err, tenancy.ErrSealed) {
			t.Errorf("the key of %s opens it: %v", id, err)
		}
	}
}
