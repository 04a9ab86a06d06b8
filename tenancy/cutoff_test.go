package tenancy_test

import (
	"bytes"
	"context"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// killed runs work that ends in the middle as with its process: nothing of it that
// would say so runs.
func killed(t *testing.T, work func(progress func(tenancy.Progress))) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		work(func(p tenancy.Progress) {
			if p.Done > 300 {
				runtime.Goexit()
			}
		})
		t.Error("it was not cut off")
	}()
	<-ended
}

// age has the tenant's last operation show no sign of life for a minute.
func (w *world) age(t *testing.T, id string) *tenancy.Operation {
	t.Helper()
	op, cp := w.lastOperation(t, id), w.cp(t)
	if op.Status != tenancy.OperationRunning {
		t.Fatalf("it ended: %+v", op)
	}
	err := tenancy.Commit(cp, tenancy.SQL(cp, `UPDATE operations SET updated_at = updated_at - ? WHERE tenant_id = @tenant AND id = ?`, time.Minute.Microseconds(), op.ID).Once())
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// TestCutOff: of a restore or an import whose process ended nothing is left, once
// it is sure that nobody is at it: a tenant that was not there is absent again, one
// that served goes on as it was. The same command succeeds before and after.
func TestCutOff(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 800)
	path := filepath.Join(t.TempDir(), "acme.backup")
	if _, err := w.Backup(t.Context(), "acme", path, nil); err != nil {
		t.Fatal(err)
	}
	var exported bytes.Buffer
	if _, err := w.Export(t.Context(), "acme", &exported, tenancy.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	restore := func(o tenancy.RestoreOptions) error {
		_, err := w.Restore(t.Context(), path, o)
		return err
	}
	bring := func(progress func(tenancy.Progress)) error {
		_, err := w.Import(t.Context(), bytes.NewReader(exported.Bytes()), tenancy.ImportOptions{Progress: progress})
		return err
	}
	users := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users)

	killed(t, func(progress func(tenancy.Progress)) {
		_ = restore(tenancy.RestoreOptions{Force: true, Progress: progress})
	})
	if err := w.Leftovers(t.Context(), time.Now()); err != nil || len(w.tenant(t, "acme").Copies) != 1 {
		t.Errorf("somebody may be at it, and there is %+v, %v", w.tenant(t, "acme").Copies, err)
	}
	op := w.age(t, "acme")
	if err := w.Leftovers(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	w.isWhole(t, users)
	if op, err := tenancy.Operations.Get(w.cp(t), op.ID); err != nil || op.Status != tenancy.OperationFailed || !strings.Contains(op.Error, "may be run again") {
		t.Errorf("%+v, %v", op, err)
	}

	for name, work := range map[string]func(func(tenancy.Progress)) error{
		"restore": func(progress func(tenancy.Progress)) error {
			return restore(tenancy.RestoreOptions{Progress: progress})
		},
		"import": bring,
	} {
		if err := w.Delete(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		killed(t, func(progress func(tenancy.Progress)) { _ = work(progress) })
		if err := w.Leftovers(t.Context(), time.Now()); err != nil || w.tenant(t, "acme").State == tenancy.StateDeleting {
			t.Errorf("%s: somebody may be at it, and it is %+v, %v", name, w.tenant(t, "acme"), err)
		}
		w.age(t, "acme")
		if err := w.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if x, ok := w.Directory.ByID("acme"); ok {
			t.Errorf("%s: there is %+v", name, x)
		}
		if left, _ := filepath.Glob(filepath.Join(w.dir, "*acme*")); len(left) != 0 {
			t.Errorf("%s left %v", name, left)
		}
		if n, err := tenancy.Organizations.Count(w.cp(t), tenancy.Filter{Where: "name = ?", Args: []any{"acme"}}); n != 0 || err != nil {
			t.Errorf("%s left %d organizations, %v", name, n, err)
		}
		if err := work(nil); err != nil {
			t.Fatalf("%s again: %v", name, err)
		}
		w.isWhole(t, users)
	}

	// Somebody begins anew before the first is given up: that one is left alone.
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	killed(t, func(progress func(tenancy.Progress)) { _ = restore(tenancy.RestoreOptions{Progress: progress}) })
	w.age(t, "acme")
	swept := false
	err := restore(tenancy.RestoreOptions{Progress: func(p tenancy.Progress) {
		if p.Step == "restore" && !swept {
			swept = true
			if err := w.Leftovers(t.Context(), time.Now()); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || !swept {
		t.Fatal(err)
	}
	w.isWhole(t, users)
	if got := idsIn(t, w.Pool, w.tenant(t, "widgets"), tenancy.Users); len(got) != 800 {
		t.Errorf("another tenant has %d users", len(got))
	}
}

// isWhole checks that acme serves with these users, from one file.
func (w *world) isWhole(t *testing.T, users []string) {
	t.Helper()
	x := w.tenant(t, "acme")
	if x.State != tenancy.StateActive || len(x.Copies) != 0 {
		t.Errorf("%+v", x)
	}
	if got := idsIn(t, w.Pool, x, tenancy.Users); !slices.Equal(got, users) {
		t.Errorf("%d users, want %d", len(got), len(users))
	}
	if files, _ := filepath.Glob(filepath.Join(w.dir, "*acme*.db")); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

// TestBeat: a restore that stands in one step for long shows that it goes on.
func TestBeat(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 3)
	path := filepath.Join(t.TempDir(), "acme.backup")
	if _, err := w.Backup(t.Context(), "acme", path, nil); err != nil {
		t.Fatal(err)
	}
	w.Verify = func(context.Context, *tenancy.Tenant) error {
		w.age(t, "acme")
		eventually(t, "there is a sign of life", func() bool { return w.lastOperation(t, "acme").UpdatedAt > tenancy.At(time.Now().Add(-30*time.Second)) })
		return nil
	}
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
}
