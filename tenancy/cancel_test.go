package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// cancel asks for the cancellation of a tenant's last operation.
func (w *world) cancel(t *testing.T, id string) *tenancy.Operation {
	t.Helper()
	op, err := w.Cancel(tenancy.WithActor(context.WithoutCancel(t.Context()), "auth0|root"), w.lastOperation(t, id).ID)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// gone fails the test where something of a tenant is left beside its home.
func (w *world) gone(t *testing.T, pattern string) {
	t.Helper()
	if left, _ := filepath.Glob(pattern); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCancelProvision is C5.28: a creation that is cancelled, from another node,
// does not make its tenant active; it can be deleted at once, without a trace, or
// be wished for again.
func TestCancelProvision(t *testing.T) {
	w := openWorld(t)
	slow := slowKeys{w.keys, make(chan struct{}), make(chan struct{})}
	w.Keys = slow
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients"}
	make1 := func() chan error {
		made := make(chan error, 1)
		go func() {
			_, err := w.Create(context.WithoutCancel(t.Context()), wish)
			made <- err
		}()
		<-slow.reached
		return made
	}
	other := newWorld(t, w.dir, masterSecret)
	if err := other.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	made := make1()
	for range 2 { // asking twice changes nothing
		if op := other.cancel(t, "acme"); op.Status != tenancy.OperationRunning || op.Params.Cancel.By != "auth0|root" {
			t.Errorf("while somebody is at it: %+v", op)
		}
	}
	if err := other.Delete(t.Context(), "acme"); status(err) != http.StatusConflict {
		t.Errorf("deleted under the hands of who makes it: %v", err)
	}
	slow.goOn <- struct{}{}
	var shown *tenancy.Error
	if err := <-made; !errors.As(err, &shown) || shown.Code != "operation_cancelled" || shown.Status != http.StatusConflict {
		t.Errorf("its caller is told %v", err)
	}
	op, acme := w.lastOperation(t, "acme"), w.tenant(t, "acme")
	if op.Status != tenancy.OperationCancelled || op.FinishedAt == 0 || acme.State != tenancy.StateFailed || acme.ProvisioningError != "cancelled" {
		t.Errorf("%+v\n%+v", op, acme)
	}
	if got := w.history(t, op); !strings.HasSuffix(got, "1 cancel succeeded") || strings.Count(got, "1 cancel started") != 1 || strings.Contains(got, "activate") {
		t.Errorf("history: %s", got)
	}
	for name, err := range map[string]error{
		"cancel again": func() error { _, err := w.Cancel(t.Context(), op.ID); return err }(),
		"retry":        func() error { _, err := w.Retry(t.Context(), op.ID); return err }(),
	} {
		if status(err) != http.StatusConflict || !strings.Contains(err.Error(), "cancelled") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := other.Delete(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
	w.gone(t, filepath.Join(w.dir, "acme*"))

	made = make1()
	w.cancel(t, "acme")
	slow.goOn <- struct{}{}
	<-made
	close(slow.goOn)
	go func() { <-slow.reached }()
	if acme, err := w.Create(t.Context(), wish); err != nil || acme.State != tenancy.StateActive {
		t.Errorf("wished for again: %+v, %v", acme, err)
	}
	if op := w.lastOperation(t, "acme"); op.Status != tenancy.OperationSucceeded || op.Attempt != 2 {
		t.Errorf("%+v", op)
	}
	if _, err := w.Cancel(t.Context(), w.lastOperation(t, "acme").ID); status(err) != http.StatusConflict {
		t.Errorf("what has succeeded: %v", err)
	}
	if _, err := w.Cancel(t.Context(), "op_none"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

// TestCancelAfterDeath: a creation whose process was killed is cancelled by the next
// start, or at once when it is known that nobody is at it.
func TestCancelAfterDeath(t *testing.T) {
	for _, restart := range []bool{true, false} {
		w := openWorld(t)
		w.Keys = killedKeys{}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = w.Create(context.WithoutCancel(t.Context()), tenancy.NewTenant{ID: "acme", FriendlyName: "acme"})
		}()
		<-ended
		w.Keys = w.keys
		op := w.lastOperation(t, "acme")
		if restart {
			w.cancel(t, "acme")
			if err := w.Directory.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := w.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			long := tenancy.At(time.Now().Add(-10 * time.Minute))
			if err := tenancy.Commit(w.cp(t), tenancy.SQL(w.cp(t), `UPDATE operations SET updated_at = ? WHERE tenant_id = @tenant AND id = ?`, long, op.ID).Once()); err != nil {
				t.Fatal(err)
			}
			if now := w.cancel(t, "acme"); now.Status != tenancy.OperationCancelled {
				t.Errorf("%+v", now)
			}
		}
		if now, x := w.lastOperation(t, "acme"), w.tenant(t, "acme"); now.ID != op.ID || now.Status != tenancy.OperationCancelled || now.Attempt != 1 || x.State != tenancy.StateFailed {
			t.Errorf("restart %v: %+v\n%+v", restart, now, x)
		}
	}
}

// TestCancelMove is C5.28 and C8.17: a move that is cancelled before the switch
// leaves the tenant where it was, writable and without a copy elsewhere; nobody
// resumes it, and the tenant can move again.
func TestCancelMove(t *testing.T) {
	for _, step := range []string{"copy", "fence"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			w.makeTwo(t, 50)
			var once sync.Once
			err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other", Progress: func(p tenancy.Progress) {
				if p.Step == step {
					once.Do(func() { w.cancel(t, "acme") })
				}
			}})
			var shown *tenancy.Error
			if !errors.As(err, &shown) || shown.Code != "operation_cancelled" {
				t.Errorf("its caller is told %v", err)
			}
			if err := w.Directory.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			op, acme := w.lastOperation(t, "acme"), w.tenant(t, "acme")
			if op.Status != tenancy.OperationCancelled || acme.Placement != "" || len(acme.Copies) != 0 || acme.FenceUntil != 0 {
				t.Errorf("%+v\n%+v", op, acme)
			}
			if got := w.history(t, op); strings.Contains(got, "switch succeeded") || !strings.HasSuffix(got, "cancel succeeded") {
				t.Errorf("history: %s", got)
			}
			w.gone(t, filepath.Join(w.dir+"-other", "acme*"))
			within(t, w.Pool, acme, func(ctx context.Context) error { return addUser(ctx, "auth0|after", "acme") })
			if err := w.Resume(t.Context()); err != nil {
				t.Error(err)
			}
			if err := w.Move(t.Context(), "acme", tenancy.MoveOptions{Placement: "other"}); err != nil {
				t.Error(err)
			}
			if n := len(idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users)); n != 51 || w.tenant(t, "acme").Placement != "other" {
				t.Errorf("%d users in %q", n, w.tenant(t, "acme").Placement)
			}
		})
	}
}

// TestCancelImport is C5.28: an import that is cancelled leaves a failed tenant,
// which the same import, or deleting it, takes from there.
func TestCancelImport(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 20)
	var file bytes.Buffer
	if _, err := w.Export(t.Context(), "acme", &file, tenancy.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	_, err := w.Import(t.Context(), bytes.NewReader(file.Bytes()), tenancy.ImportOptions{Progress: func(tenancy.Progress) {
		once.Do(func() { w.cancel(t, "acme") })
	}})
	var shown *tenancy.Error
	if !errors.As(err, &shown) || shown.Code != "operation_cancelled" {
		t.Errorf("its caller is told %v", err)
	}
	if op, x := w.lastOperation(t, "acme"), w.tenant(t, "acme"); op.Status != tenancy.OperationCancelled || x.State != tenancy.StateFailed {
		t.Errorf("%+v\n%+v", op, x)
	}
	if x, err := w.Import(t.Context(), bytes.NewReader(file.Bytes()), tenancy.ImportOptions{}); err != nil || x.State != tenancy.StateActive {
		t.Errorf("the same import again: %+v, %v", x, err)
	}
}

// TestCancelRepair is C5.28: a repair that nobody is at is cancelled at once, and
// whoever is at one learns of it when they note how far they are.
func TestCancelRepair(t *testing.T) {
	w := openWorld(t)
	cp := w.cp(t)
	begin := func() *tenancy.Operation {
		t.Helper()
		op, err := tenancy.BeginRepair(cp, tenancy.Repair{})
		if err != nil {
			t.Fatal(err)
		}
		return op
	}
	op := begin()
	if now, err := w.Cancel(t.Context(), op.ID); err != nil || now.Status != tenancy.OperationCancelled {
		t.Errorf("%+v, %v", now, err)
	}
	if _, err := tenancy.ClaimRepair(cp); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("it was claimed all the same: %v", err)
	}
	for name, note := range map[string]func(*tenancy.Operation) error{
		"under way":  func(op *tenancy.Operation) error { return tenancy.NoteRepair(cp, op, "", "") },
		"at its end": func(op *tenancy.Operation) error { return tenancy.EndRepair(cp, op) },
	} {
		op = begin()
		claimed, err := tenancy.ClaimRepair(cp)
		if err != nil || claimed.ID != op.ID {
			t.Fatalf("%+v, %v", claimed, err)
		}
		if now, err := w.Cancel(t.Context(), op.ID); err != nil || now.Status != tenancy.OperationRunning {
			t.Errorf("%s: %+v, %v", name, now, err)
		}
		if err := note(claimed); status(err) != http.StatusConflict {
			t.Errorf("%s: whoever is at it is told %v", name, err)
		}
		if now, err := tenancy.Operations.Get(cp, op.ID); err != nil || now.Status != tenancy.OperationCancelled {
			t.Errorf("%s: %+v, %v", name, now, err)
		}
	}
	if _, err := w.Retry(t.Context(), op.ID); status(err) != http.StatusConflict {
		t.Errorf("retry: %v", err)
	}
}

// hanging is a provider whose databases of one tenant do not open.
type hanging struct {
	tenancy.Provider
	tenant string
	asked  chan struct{}
	free   chan struct{}
}

func (h *hanging) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	if loc.Tenant == h.tenant {
		select {
		case h.asked <- struct{}{}:
		default:
		}
		select {
		case <-h.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return h.Provider.Open(ctx, loc)
}

// TestCancelUpgrade is C5.28: an upgrade that hangs is cancelled; a deletion never
// is, with the reason.
func TestCancelUpgrade(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 0)
	h := &hanging{Provider: &sqlite.Provider{Dir: w.dir}, tenant: "acme", asked: make(chan struct{}, 1), free: make(chan struct{})}
	node := newWorldOf(t, w.dir, masterSecret, map[string]tenancy.Provider{"": h})
	t.Cleanup(func() { close(h.free) })
	node.Upgrader = &tenancy.Upgrader{Pool: node.Pool, Directory: node.Directory}
	if err := node.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	op, err := node.Upgrade(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	<-h.asked
	w.cancel(t, "acme")
	deadline := time.Now().Add(30 * time.Second)
	for w.lastOperation(t, "acme").Status == tenancy.OperationRunning && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if now := w.lastOperation(t, "acme"); now.ID != op.ID || now.Status != tenancy.OperationCancelled {
		t.Errorf("%+v", now)
	}

	if err := w.Delete(t.Context(), "widgets"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Cancel(t.Context(), w.lastOperation(t, "widgets").ID); status(err) != http.StatusConflict || !strings.Contains(err.Error(), "what was removed is gone") {
		t.Errorf("a deletion: %v", err)
	}
}
