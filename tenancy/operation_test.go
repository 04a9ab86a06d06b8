package tenancy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// history is an operation's events in words.
func (w *world) history(t *testing.T, op *tenancy.Operation) string {
	t.Helper()
	list, err := tenancy.OperationEvents.Find(w.cp(t), tenancy.Filter{Where: "operation_id = ?", Args: []any{op.ID}})
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, e := range list {
		words = append(words, fmt.Sprintf("%d %s %s", e.Attempt, e.Step, e.Outcome))
	}
	return strings.Join(words, ", ")
}

func (w *world) lastOperation(t *testing.T, id string) *tenancy.Operation {
	t.Helper()
	op, err := tenancy.LastOperation(w.cp(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// TestOperations: C8.4, C8.7, C8.9. A creation that fails, is retried and works,
// and the deletion, are recorded step by step; the record outlives the tenant.
func TestOperations(t *testing.T) {
	w := openWorld(t)
	w.keys.fail.Store(true)
	wish := tenancy.NewTenant{
		ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients",
		Settings: map[string]json.RawMessage{"support_email": json.RawMessage(`"help@acme.test"`)},
	}
	_, err := w.Create(t.Context(), wish)
	failed := w.lastOperation(t, "acme")
	var shown *tenancy.Error
	if !errors.As(err, &shown) || shown.Status != http.StatusServiceUnavailable || shown.More["operation_id"] != failed.ID {
		t.Errorf("C5.21: got %v with %v, want the operation %s", err, shown.More, failed.ID)
	}
	if failed.Status != tenancy.OperationFailed || failed.CurrentStep != "keys" || !strings.HasPrefix(failed.Error, "keys: no entropy") ||
		failed.InitiatedBy != "m@clients" || failed.FinishedAt == 0 || failed.Kind != tenancy.OperationProvision {
		t.Errorf("operation: %+v", failed)
	}
	first := "1 reserve succeeded, 1 database started, 1 database succeeded, 1 migrate started, 1 migrate succeeded, " +
		"1 seed started, 1 seed succeeded, 1 defaults succeeded, " +
		"1 keys started, 1 keys retried, 1 keys retried, 1 keys failed"
	if got := w.history(t, failed); got != first {
		t.Errorf("C8.7, tried 3 times\n got %s\nwant %s", got, first)
	}

	w.keys.fail.Store(false)
	began, err := w.Retry(t.Context(), failed.ID)
	if err != nil || began.ID != failed.ID || began.Attempt != 2 || began.Status != tenancy.OperationRunning {
		t.Fatalf("retry: %+v %v", began, err)
	}
	for since := time.Now(); w.lastOperation(t, "acme").Status != tenancy.OperationSucceeded; time.Sleep(10 * time.Millisecond) {
		if time.Since(since) > 10*time.Second {
			t.Fatalf("the second attempt does not end: %s", w.history(t, failed))
		}
	}
	if got := w.history(t, failed); !strings.HasPrefix(got, first+", 2 database started") || !strings.HasSuffix(got, "2 verify succeeded, 2 activate succeeded") {
		t.Errorf("history: %s", got)
	}
	if err := w.Directory.Refresh(t.Context()); err != nil { // the record is there a moment before
		t.Fatal(err)
	}
	acme, _ := w.Directory.ByID("acme")
	if acme == nil || acme.State != tenancy.StateActive {
		t.Fatalf("SC-101: %+v", acme)
	}
	if _, err := w.Retry(t.Context(), failed.ID); status(err) != http.StatusConflict {
		t.Errorf("C5.28, retry of what succeeded: %v", err)
	}
	if _, err := w.Retry(t.Context(), "op_nobody"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("retry of what is not there: %v", err)
	}

	if err := w.Delete(tenancy.WithActor(t.Context(), "auth0|root"), "acme"); err != nil {
		t.Fatal(err)
	}
	gone := w.lastOperation(t, "acme")
	if gone.Kind != tenancy.OperationDeprovision || gone.Status != tenancy.OperationSucceeded || gone.InitiatedBy != "auth0|root" {
		t.Errorf("C8.12: %+v", gone)
	}
	want := "1 fence succeeded, 1 database started, 1 database succeeded, 1 organization succeeded, 1 domains succeeded, 1 keys succeeded, 1 registry succeeded"
	if got := w.history(t, gone); got != want {
		t.Errorf("C8.12\n got %s\nwant %s", got, want)
	}
}

// TestOperationIsResumed: C8.7, SC-102. After an end of the process the creation
// goes on with the settings that the caller had asked for, as another attempt.
func TestOperationIsResumed(t *testing.T) {
	w := openWorld(t)
	cut, cancel := context.WithCancel(t.Context())
	w.Verify = func(context.Context, *tenancy.Tenant) error {
		cancel()
		panic("the process ends here")
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = w.Create(cut, tenancy.NewTenant{
			ID: "acme", FriendlyName: "Acme", Settings: map[string]json.RawMessage{"support_email": json.RawMessage(`"help@acme.test"`)},
		})
	}()
	if op := w.lastOperation(t, "acme"); op.Status != tenancy.OperationRunning {
		t.Fatalf("C8.9, the row exists before the first step: %+v", op)
	}
	again := newWorld(t, w.dir, masterSecret)
	if err := again.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if err := again.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	op := again.lastOperation(t, "acme")
	if op.Status != tenancy.OperationSucceeded || op.Attempt != 2 {
		t.Errorf("operation: %+v", op)
	}
	acme, _ := again.Directory.ByID("acme")
	within(t, again.Pool, acme, func(ctx context.Context) error {
		s, err := tenancy.EffectiveSettings(ctx)
		if err == nil && s.String("support_email") != "help@acme.test" {
			t.Errorf("support_email is %q", s.String("support_email"))
		}
		return err
	})
	if n, _ := tenancy.Organizations.Count(again.cp(t), tenancy.Filter{Where: "name = 'acme'"}); n != 1 {
		t.Errorf("%d organizations", n)
	}
}
