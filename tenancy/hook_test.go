package tenancy_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// hookFunc is a hook that is a function.
type hookFunc func(ctx context.Context, p *tenancy.Proposal) error

func (f hookFunc) Before(ctx context.Context, p *tenancy.Proposal) error { return f(ctx, p) }

// C8.16: hooks refuse with their words, and nothing is done then.
func TestHooksRefuse(t *testing.T) {
	w := openWorld(t)
	refuse := map[string]bool{}
	var asked []string
	w.Hooks = []tenancy.Hook{hookFunc(func(_ context.Context, p *tenancy.Proposal) error {
		asked = append(asked, p.Action+" by "+p.Actor)
		if refuse[p.Action] {
			return tenancy.Veto("not on a Friday")
		}
		return nil
	})}
	ctx := tenancy.WithActor(t.Context(), "auth0|ann")
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}
	vetoed := func(err error) {
		t.Helper()
		var e *tenancy.Error
		if !errors.As(err, &e) || e.Status != http.StatusForbidden || e.Message != "not on a Friday" {
			t.Errorf("got %v", err)
		}
	}
	refuse["create"] = true
	_, err := w.Create(ctx, wish)
	vetoed(err)
	if _, err := tenancy.Tenants.Get(w.cp(t), "acme"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("a tenant that was refused is there: %v", err)
	}
	if n, err := tenancy.Operations.Count(w.cp(t), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d operations, %v", n, err)
	}
	refuse = map[string]bool{"update": true, "delete": true}
	if _, err := w.Create(ctx, wish); err != nil {
		t.Fatal(err)
	}
	_, err = w.Update(ctx, "acme", func(t *tenancy.Tenant) error { t.FriendlyName = "Other"; return nil })
	vetoed(err)
	vetoed(w.Delete(ctx, "acme"))
	row, err := tenancy.Tenants.Get(w.cp(t), "acme")
	if err != nil || row.FriendlyName != "Acme" || row.State != tenancy.StateActive {
		t.Errorf("%+v, %v", row, err)
	}
	refuse = map[string]bool{}
	if err := w.Delete(ctx, "acme"); err != nil {
		t.Error(err)
	}
	if len(asked) != 5 || asked[0] != "create by auth0|ann" {
		t.Errorf("asked %q", asked)
	}
}

// C8.16: before a creation hooks fill what is absent, and change nothing else.
func TestHooksFillIn(t *testing.T) {
	w := openWorld(t)
	w.Hooks = []tenancy.Hook{hookFunc(func(_ context.Context, p *tenancy.Proposal) error {
		p.New.ID, p.New.FriendlyName, p.New.CreatedBy = "other", "Other", "somebody"
		p.New.Audience = "urn:filled"
		p.New.Metadata = map[string]string{"plan": "free", "region": "eu"}
		return nil
	})}
	made, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "ann", Metadata: map[string]string{"plan": "pro"}})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID != "acme" || made.FriendlyName != "Acme" || made.CreatedBy != "ann" || made.Audience != "urn:filled" ||
		!maps.Equal(made.Metadata, map[string]string{"plan": "pro", "region": "eu"}) {
		t.Errorf("%+v", made)
	}
}

// A hook that hangs, breaks or panics is answered 503 in bounded time, and
// nothing is done.
func TestHooksThatFail(t *testing.T) {
	w := openWorld(t)
	w.SetHookPatience(50 * time.Millisecond)
	release := make(chan struct{})
	var left sync.WaitGroup
	left.Add(1)
	for name, hook := range map[string]hookFunc{
		"hangs":  func(context.Context, *tenancy.Proposal) error { defer left.Done(); <-release; return nil },
		"breaks": func(context.Context, *tenancy.Proposal) error { return errors.New("no database") },
		"panics": func(context.Context, *tenancy.Proposal) error { panic("nil map") },
	} {
		w.Hooks = []tenancy.Hook{hook}
		begun := time.Now()
		_, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
		var e *tenancy.Error
		if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.Code != "hook_unavailable" {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		if _, err := tenancy.Tenants.Get(w.cp(t), "acme"); !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("%s: something was made: %v", name, err)
		}
	}
	close(release)
	left.Wait()
}
