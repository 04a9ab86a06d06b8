package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// nodesOf are file stores of several nodes over one control plane, which is not
// made yet.
func nodesOf(t *testing.T, w *world, n int) []*tenancy.FileStore {
	t.Helper()
	var nodes []*tenancy.FileStore
	for range n {
		nodes = append(nodes, &tenancy.FileStore{
			Timing: tenancy.LockTiming{Lease: 500 * time.Millisecond, Poll: 20 * time.Millisecond},
			Enter: func(ctx context.Context, create bool) (context.Context, func(), error) {
				cp, err := w.ReachControlPlane(ctx, tenancy.ControlPlaneConfig{}, create)
				if err != nil {
					return nil, nil, err
				}
				return w.Pool.Enter(ctx, cp)
			},
		})
	}
	return nodes
}

// TestFileStore is what Caddy expects of its storage, from before there is a
// control plane to after the app has opened it.
func TestFileStore(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, dir, "0123456789abcdef0123456789abcdef")
	nodes := nodesOf(t, w, 2)
	s, other, ctx := nodes[0], nodes[1], t.Context()

	_, err := s.Load(ctx, "a/b")
	_, err2 := s.List(ctx, "a", true)
	_, err3 := s.Stat(ctx, "a/b")
	for i, err := range []error{err, err2, err3} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before anything is stored, call %d: %v", i, err)
		}
	}
	if err := s.Delete(ctx, "a"); err != nil || s.Exists(ctx, "a") {
		t.Errorf("deleting what is not there: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.db")); len(files) > 0 {
		t.Errorf("looking made %v", files)
	}
	secret := []byte("-----BEGIN PRIVATE KEY-----\x00\xff")
	for path, value := range map[string][]byte{
		"a/b": secret, "a/b.json": []byte("1"), "a/c/d": []byte("2"), "a/c/e/f": nil, "A/b": []byte("3"), "ab/c": []byte("4"), "a_/x": []byte("5"), "wildcard_.é.test/x": []byte("6"),
	} {
		if err := s.Store(ctx, path, value); err != nil {
			t.Fatal(err)
		}
		if got, err := other.Load(ctx, path); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: got %q %v, want %q", path, got, err, value)
		}
	}
	for _, tc := range []struct {
		path      string
		recursive bool
		want      string // "" for none such
	}{
		{"a", false, "a/b a/b.json a/c"},
		{"a/", false, "a/b a/b.json a/c"},
		{"a", true, "a/b a/b.json a/c a/c/d a/c/e a/c/e/f"},
		{"a/c", false, "a/c/d a/c/e"},
		{"A", true, "A/b"},
		{"a_", true, "a_/x"},
		{"wildcard_.é.test", true, "wildcard_.é.test/x"},
		{"", false, "A a a_ ab wildcard_.é.test"},
		{"a/b", false, ""},
		{"nothing", true, ""},
		{"%", true, ""},
	} {
		got, err := other.List(ctx, tc.path, tc.recursive)
		if strings.Join(got, " ") != tc.want || (tc.want == "") != errors.Is(err, fs.ErrNotExist) || tc.want != "" && err != nil {
			t.Errorf("list %q, recursive %t: %q %v, want %q", tc.path, tc.recursive, got, err, tc.want)
		}
	}
	began := time.Now().Add(-time.Minute)
	if i, err := other.Stat(ctx, "a/b"); err != nil || !i.IsFile || i.Size != int64(len(secret)) || i.Path != "a/b" || i.Modified.Time().Before(began) {
		t.Errorf("stat of a file: %+v %v", i, err)
	}
	if i, err := other.Stat(ctx, "a/c"); err != nil || i.IsFile {
		t.Errorf("stat of a directory: %+v %v", i, err)
	}
	if err := s.Store(ctx, "a/b", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Load(ctx, "a/b"); err != nil || string(got) != "new" {
		t.Errorf("overwritten: %q %v", got, err)
	}
	if err := other.Delete(ctx, "a"); err != nil || s.Exists(ctx, "a/b") || s.Exists(ctx, "a/c/e/f") || s.Exists(ctx, "a") || !s.Exists(ctx, "ab/c") || !s.Exists(ctx, "A/b") {
		t.Errorf("deleting a directory: %v", err)
	}
	if err := s.Store(ctx, "a\x00b", nil); err == nil {
		t.Error("a path that no database can keep was stored")
	}

	// The app opens what the storage made, and both go on.
	if err := w.OpenControlPlane(ctx, admin); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(ctx, "ab/c"); err != nil || string(got) != "4" {
		t.Errorf("after the app's start: %q %v", got, err)
	}
	if err := s.Store(ctx, "sealed", secret); err != nil {
		t.Fatal(err)
	}
	var stored string
	err = w.Pool.Do(ctx, w.Directory.ControlPlane(), func(inside context.Context) error {
		return tenancy.QueryRow(inside, `SELECT value FROM files WHERE tenant_id = @tenant AND id = 'sealed'`, nil, &stored)
	})
	if err != nil || stored == "" || strings.Contains(stored, "PRIVATE") || strings.Contains(stored, "LS0tLS1CRUdJTi") {
		t.Errorf("stored as %q %v", stored, err)
	}
	// A data key that is replaced takes the files with it.
	if err := w.RotateDataKey(ctx, "control_plane", nil); err != nil {
		t.Logf("the control plane's key: %v", err)
	} else if got, err := s.Load(ctx, "sealed"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("after a rotation: %q %v", got, err)
	}
}

// TestFileStoreRace: of values stored at the same time one is there, whole.
func TestFileStoreRace(t *testing.T) {
	nodes := nodesOf(t, newWorld(t, t.TempDir(), "0123456789abcdef0123456789abcdef"), 4)
	var wg sync.WaitGroup
	for i, s := range nodes {
		for range 5 {
			wg.Go(func() {
				if err := s.Store(t.Context(), "certificates/x", bytes.Repeat([]byte{'a' + byte(i)}, 3000)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	got, err := nodes[0].Load(t.Context(), "certificates/x")
	if err != nil || len(got) != 3000 || len(slices.Compact(slices.Clone(got))) != 1 {
		t.Errorf("got %d bytes %v", len(got), err)
	}
}

// TestFileLocks: one node at a time, whoever asks; a lock outlives its lease while
// its owner lives, and not for long after that.
func TestFileLocks(t *testing.T) {
	w := newWorld(t, t.TempDir(), "0123456789abcdef0123456789abcdef")
	nodes := nodesOf(t, w, 3)
	var inside, most, total int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			s := nodes[i%len(nodes)]
			if err := s.Lock(t.Context(), "issue_cert_x"); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside, total = inside+1, total+1
			most = max(most, inside)
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			if err := s.Unlock(t.Context(), "issue_cert_x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most != 1 || total != 12 {
		t.Errorf("%d of 12 had the lock, up to %d at a time", total, most)
	}

	a, b := nodes[0], nodes[1]
	if err := a.Lock(t.Context(), "long"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.TryLock(t.Context(), "long"); got || err != nil {
		t.Errorf("tried a held lock: %t %v", got, err)
	}
	if got, err := b.TryLock(t.Context(), "another"); !got || err != nil {
		t.Errorf("tried a free lock: %t %v", got, err)
	}
	short, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // three leases
	defer cancel()
	if err := b.Lock(short, "long"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lock whose owner lives: %v", err)
	}
	if err := a.Unlock(short, "long"); err != nil { // its context is over: the lock is released all the same
		t.Error(err)
	}
	if err := a.Unlock(t.Context(), "long"); err == nil {
		t.Error("unlocked twice")
	}
	began := time.Now()
	if err := b.Lock(t.Context(), "long"); err != nil || time.Since(began) > 400*time.Millisecond {
		t.Errorf("the lock of who unlocked it: %v after %v", err, time.Since(began))
	}
	if err := b.Unlock(t.Context(), "long"); err != nil {
		t.Error(err)
	}

	// An owner that died gives no more signs of life.
	err := w.Pool.Do(t.Context(), controlPlane(t, w), func(inside context.Context) error {
		return tenancy.Commit(inside, tenancy.SQL(inside, `INSERT INTO file_locks (tenant_id, id, revision, created_at, updated_at, owner) VALUES (@tenant, 'dead', 1, 0, 0, 'nobody')`))
	})
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	var taken []string
	for i, s := range nodes {
		wg.Go(func() {
			if err := s.Lock(t.Context(), "dead"); err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			taken = append(taken, fmt.Sprint(i))
			mu.Unlock()
			if err := s.Unlock(t.Context(), "dead"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(began); len(taken) != 3 || d < 400*time.Millisecond || d > 5*time.Second {
		t.Errorf("the lock of a dead owner was taken by %v after %v, with a lease of 500 ms", taken, d)
	}
}

func controlPlane(t *testing.T, w *world) *tenancy.Tenant {
	t.Helper()
	cp, err := w.ReachControlPlane(t.Context(), tenancy.ControlPlaneConfig{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return cp
}
