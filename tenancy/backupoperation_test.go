package tenancy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// storing is a world with a directory for backups.
func storing(t *testing.T, rows int, keep int) *world {
	t.Helper()
	w := openWorld(t)
	w.makeTwo(t, rows)
	w.Backups = &tenancy.BackupStore{Dir: filepath.Join(t.TempDir(), "made", "when needed"), Keep: keep}
	return w
}

// ended waits until an operation is no longer running.
func (w *world) ended(t *testing.T, id string) (op *tenancy.Operation) {
	t.Helper()
	eventually(t, "the operation ends", func() (over bool) {
		var err error
		op, err = tenancy.Operations.Get(w.cp(t), id)
		return err == nil && op.Status != tenancy.OperationRunning
	})
	return op
}

// backedUp runs a backup operation of a tenant that succeeds, and returns it.
func (w *world) backedUp(t *testing.T, id string) *tenancy.Operation {
	t.Helper()
	began, err := w.StartBackup(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	op := w.ended(t, began.ID)
	if op.Status != tenancy.OperationSucceeded {
		t.Fatalf("%+v", op)
	}
	return op
}

// TestBackupOperation: C5.27, C8.9. A backup without a file's name is recorded, lies
// in the configured directory and can be restored; the newest stay, and those of a
// deleted tenant do not (C8.13); what is not ours stays.
func TestBackupOperation(t *testing.T) {
	w := storing(t, 300, 2)
	store := w.Backups
	w.Backups = nil
	if _, err := w.StartBackup(t.Context(), "acme"); status(err) != 501 || !strings.Contains(err.Error(), "backups /var/backups") {
		t.Errorf("without a directory: %v", err)
	}
	w.Backups = store
	first := w.backedUp(t, "acme")
	if p := first.Params.Backup; p.Bytes == 0 || p.Done < 300 || p.Done != p.Total || first.Attempt != 1 || first.Kind != tenancy.OperationBackup {
		t.Errorf("%+v of %+v", p, first)
	}
	foreign := []string{
		"acme.20260102T030405.000Z.op_ofanotherinstallation.backup", "acme.backup", "notes.txt",
		"widgets.20260102T030405.000Z." + first.ID + ".backup", // a name is no proof
	}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(store.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.backedUp(t, "widgets")
	last := w.backedUp(t, "acme")
	w.backedUp(t, "acme")
	if names := strings.Join(namesIn(t, store.Dir), " "); strings.Contains(names, first.Params.Backup.File) || !strings.Contains(names, last.Params.Backup.File) {
		t.Errorf("there are %s", names)
	}
	if _, err := w.Restore(t.Context(), filepath.Join(store.Dir, last.Params.Backup.File), tenancy.RestoreOptions{Force: true}); err != nil {
		t.Error(err)
	}
	for i, id := range []string{"acme", "widgets"} {
		if got := len(namesIn(t, store.Dir)); got != len(foreign)+3-2*i {
			t.Errorf("before %s is deleted, %d files", id, got)
		}
		if err := w.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if names := namesIn(t, store.Dir); len(names) != len(foreign) {
		t.Errorf("there are still %v", names)
	}
	if _, err := w.StartBackup(t.Context(), "control_plane"); status(err) != 403 {
		t.Errorf("the control plane: %v", err)
	}
	if _, err := w.StartBackup(t.Context(), "ghost"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

// TestBackupElsewhere: a node removes what a tenant left there that another node
// deleted, also where the id has been made anew.
func TestBackupElsewhere(t *testing.T) {
	w := storing(t, 3, 0)
	here := w.Backups
	w.backedUp(t, "acme")
	w.backedUp(t, "widgets")
	w.Backups = &tenancy.BackupStore{Dir: t.TempDir()} // of the other node
	for _, id := range []string{"acme", "widgets"} {
		if err := w.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "again"}); err != nil {
		t.Fatal(err)
	}
	w.Backups = here
	fresh := w.backedUp(t, "acme").Params.Backup.File
	if err := w.Leftovers(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if names := namesIn(t, here.Dir); len(names) != 1 || names[0] != fresh {
		t.Errorf("there are %v, want %s", names, fresh)
	}
}

// TestBackupOperationEnds: one at a time of a tenant; one whose process ended is done
// anew, one that failed can be retried, and one whose tenant goes leaves no file.
func TestBackupOperationEnds(t *testing.T) {
	w := storing(t, 400, 0)
	dir := w.Backups.Dir
	killed(t, func(progress func(tenancy.Progress)) {
		_, _, _ = w.BackupNow(t.Context(), "acme", func(p tenancy.Progress) {
			if _, err := w.StartBackup(t.Context(), "acme"); status(err) != 409 {
				t.Errorf("a second one: %v", err)
			}
			progress(p)
		})
	})
	if err := w.Resume(t.Context()); err != nil || w.lastOperation(t, "acme").Attempt != 1 {
		t.Errorf("somebody may be at it: %+v, %v", w.lastOperation(t, "acme"), err)
	}
	begun := w.age(t, "acme")
	if err := w.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if op := w.ended(t, begun.ID); op.Status != tenancy.OperationSucceeded || op.Attempt != 2 || len(namesIn(t, dir)) != 1 {
		t.Errorf("%+v, %v", op, namesIn(t, dir))
	}

	w.Backups = &tenancy.BackupStore{Dir: filepath.Join(dir, namesIn(t, dir)[0])} // a file in its place
	_, _, err := w.BackupNow(t.Context(), "acme", nil)
	failed := w.lastOperation(t, "acme")
	if status(err) != 503 || failed.Status != tenancy.OperationFailed || !strings.HasPrefix(failed.Error, "write: ") || !strings.Contains(failed.Error, `option "backups"`) {
		t.Errorf("into no directory: %v, %+v", err, failed)
	}
	w.Backups = &tenancy.BackupStore{Dir: dir}
	if _, err := w.Retry(t.Context(), failed.ID); err != nil {
		t.Fatal(err)
	}
	if op := w.ended(t, failed.ID); op.Status != tenancy.OperationSucceeded || op.Attempt != 2 || op.Error != "" || len(namesIn(t, dir)) != 2 {
		t.Errorf("retried: %+v, %v", op, namesIn(t, dir))
	}

	killed(t, func(progress func(tenancy.Progress)) { _, _, _ = w.BackupNow(t.Context(), "acme", progress) })
	w.age(t, "acme")
	w.Backups = nil
	if err := w.Resume(t.Context()); err != nil || w.lastOperation(t, "acme").Status != tenancy.OperationFailed {
		t.Errorf("taken up without a directory: %+v, %v", w.lastOperation(t, "acme"), err)
	}
	w.Backups = &tenancy.BackupStore{Dir: dir}

	deleted := make(chan error, 1)
	_, _, err = w.BackupNow(t.Context(), "acme", func(p tenancy.Progress) {
		if p.Done != 250 {
			return
		}
		go func() { deleted <- w.Delete(t.Context(), "acme") }()
		eventually(t, "the tenant is being deleted", func() bool {
			x, ok := w.Directory.ByID("acme")
			return !ok || x.State == tenancy.StateDeleting
		})
	})
	if status(err) != 409 {
		t.Errorf("of a tenant that goes: %v", err)
	}
	if err := <-deleted; err != nil || len(namesIn(t, dir)) != 0 {
		t.Errorf("%v, there are %v", err, namesIn(t, dir))
	}
}
