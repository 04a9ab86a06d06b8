package tenancy_test

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// killedKeys ends whoever asks for keys, as the end of a process would.
type killedKeys struct{}

func (killedKeys) EnsureKeys(context.Context) error { runtime.Goexit(); return nil }

// TestDeleteWhileProvisioning: a tenant that somebody is making cannot be deleted
// (contract C8.1, C8.2); one whose making was cut off can, without a start in
// between, and the same id made again is new (C8.4, C8.13).
func TestDeleteWhileProvisioning(t *testing.T) {
	w := openWorld(t)
	keys := w.Keys
	w.Keys = killedKeys{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.Create(context.WithoutCancel(t.Context()), tenancy.NewTenant{ID: "acme", FriendlyName: "acme"})
		t.Error("it was not cut off")
	}()
	<-ended
	w.Keys = keys
	cp := w.cp(t)
	stuck, err := tenancy.Tenants.Get(cp, "acme")
	if err != nil || stuck.State != tenancy.StateProvisioning {
		t.Fatalf("%+v, %v", stuck, err)
	}
	if err := w.Delete(t.Context(), "acme"); status(err) != 409 || !strings.Contains(err.Error(), "provisioning") || !strings.Contains(err.Error(), "deleting") {
		t.Errorf("deleting what is being made: %v", err)
	}
	if x, err := tenancy.Tenants.Get(cp, "acme"); err != nil || x.State != tenancy.StateProvisioning {
		t.Errorf("%+v, %v", x, err)
	}
	begun := w.lastOperation(t, "acme")
	age := func(by time.Duration) {
		t.Helper()
		err := tenancy.Commit(cp, tenancy.SQL(cp, `UPDATE operations SET updated_at = updated_at - ? WHERE tenant_id = @tenant AND id = ?`, by.Microseconds(), begun.ID).Once())
		if err != nil {
			t.Fatal(err)
		}
	}
	age(50 * time.Second) // a step may take as long
	if err := w.Delete(t.Context(), "acme"); status(err) != 409 {
		t.Errorf("deleting what may still be made: %v", err)
	}
	age(20 * time.Second)
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.Directory.ByID("acme"); ok {
		t.Error("it is still there")
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "acme*")); len(left) != 0 {
		t.Errorf("deleting left %v", left)
	}
	op, err := tenancy.Operations.Get(cp, begun.ID)
	if err != nil || op.Status != tenancy.OperationFailed || op.FinishedAt == 0 {
		t.Errorf("the operation that made it: %+v, %v", op, err)
	}
	again, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "acme"})
	if err != nil || again.State != tenancy.StateActive || again.DataKey == stuck.DataKey || again.OrganizationID == stuck.OrganizationID {
		t.Errorf("made again: %+v, %v", again, err)
	}
}
