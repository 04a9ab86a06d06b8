package tenancy_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// slowKeys lets a creation wait at its step "keys".
type slowKeys struct {
	tenancy.KeyMaker
	reached, goOn chan struct{}
}

func (k slowKeys) EnsureKeys(ctx context.Context) error {
	k.reached <- struct{}{}
	<-k.goOn
	return k.KeyMaker.EnsureKeys(ctx)
}

// TestSameWishAgain is C8.8: while a tenant is made, the same wish by the same
// caller is shown how it is, and any other is told that the id is taken; once it is
// active, so is the same one.
func TestSameWishAgain(t *testing.T) {
	w := openWorld(t)
	slow := slowKeys{w.keys, make(chan struct{}), make(chan struct{})}
	w.Keys = slow
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients", Metadata: map[string]string{"plan": "pro"}}
	made := make(chan error, 1)
	go func() {
		_, err := w.Create(context.WithoutCancel(t.Context()), wish)
		made <- err
	}()
	<-slow.reached
	other := newWorld(t, w.dir, masterSecret) // another process over the same control plane
	if err := other.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	for _, node := range []*world{w, other} {
		if x, err := node.Create(t.Context(), wish); err != nil || x.State != tenancy.StateProvisioning {
			t.Errorf("the same wish meanwhile: %+v, %v", x, err)
		}
	}
	stranger, differs := wish, wish
	stranger.CreatedBy, differs.Metadata = "other@clients", map[string]string{"plan": "free"}
	for name, x := range map[string]tenancy.NewTenant{"another caller": stranger, "another body": differs} {
		if _, err := other.Create(t.Context(), x); status(err) != http.StatusConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	close(slow.goOn)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	if _, err := other.Create(t.Context(), wish); status(err) != http.StatusConflict {
		t.Errorf("the same wish of an active tenant: %v", err)
	}
	if n, err := tenancy.Operations.Count(w.cp(t), tenancy.Filter{Where: "subject = 'acme'"}); n != 1 || err != nil {
		t.Errorf("%d operations, %v", n, err)
	}
}

// TestSameWishTakesUp is C8.8 where whoever was at it is gone for good: the same
// wish goes on, without a start in between, with the settings of the first one.
func TestSameWishTakesUp(t *testing.T) {
	w := openWorld(t)
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients"}
	w.keys.fail.Store(true)
	if _, err := w.Create(t.Context(), wish); status(err) != http.StatusServiceUnavailable {
		t.Fatal(err)
	}
	w.keys.fail.Store(false)
	op := w.lastOperation(t, "acme")
	long := tenancy.At(time.Now().Add(-10 * time.Minute))
	err := tenancy.Commit(w.cp(t), // as a process leaves it that is killed
		tenancy.SQL(w.cp(t), `UPDATE operations SET status = 'running', updated_at = ? WHERE tenant_id = @tenant AND id = ?`, int64(long), op.ID).Once(),
		tenancy.SQL(w.cp(t), `UPDATE tenants SET state = 'provisioning' WHERE tenant_id = @tenant AND id = 'acme'`).Once())
	if err != nil {
		t.Fatal(err)
	}
	acme, err := w.Create(t.Context(), wish)
	if err != nil || acme.State != tenancy.StateActive {
		t.Fatalf("%+v, %v", acme, err)
	}
	if now := w.lastOperation(t, "acme"); now.ID != op.ID || now.Attempt != 2 || now.Status != tenancy.OperationSucceeded {
		t.Errorf("operation: %+v", now)
	}
}

// TestRequestKeys is C5.14 where the keys are kept: one request of two with the
// same key has an effect, of whichever process; a key stands for one request, in
// one tenant, for a day.
func TestRequestKeys(t *testing.T) {
	w := openWorld(t)
	acme, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	inAcme, leave, err := w.Pool.Enter(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	cp := w.cp(t)
	take := func(ctx context.Context, request string) *tenancy.RequestKey {
		t.Helper()
		k, err := tenancy.TakeRequestKey(ctx, "same", request)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	take(cp, "a")
	if k := take(inAcme, "b"); k.Request != "b" { // an equal key in another tenant is another key
		t.Errorf("%+v", k)
	}
	if _, err := tenancy.TakeRequestKey(cp, "same", "b"); status(err) != http.StatusConflict {
		t.Errorf("another request with the key: %v", err)
	}

	other := newWorld(t, w.dir, masterSecret)
	if err := other.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	wishes := map[*world]string{w: "one", other: "two"} // ids as they are generated
	errs := make(chan error, len(wishes))
	for node, id := range wishes {
		go func() {
			ctx := tenancy.WithRequestKey(context.WithoutCancel(t.Context()), &tenancy.RequestKey{Row: tenancy.Row{ID: "same"}})
			_, err := node.Create(ctx, tenancy.NewTenant{ID: id, FriendlyName: id, CreatedBy: "m@clients"})
			errs <- err
		}()
	}
	first, second := <-errs, <-errs
	if (first == nil) == (second == nil) || status(first)+status(second) != http.StatusConflict {
		t.Errorf("two requests with one key: %v, %v", first, second)
	}
	spent := take(cp, "a")
	if op, err := tenancy.Operations.Get(cp, spent.OperationID); err != nil || op.Subject != "one" && op.Subject != "two" {
		t.Errorf("spent for %q: %+v, %v", spent.OperationID, op, err)
	}
	if n, err := tenancy.Tenants.Count(cp, tenancy.Filter{Where: "id IN ('one', 'two')"}); n != 1 || err != nil {
		t.Errorf("%d tenants, %v", n, err)
	}

	for _, ctx := range []context.Context{cp, inAcme} {
		if err := tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE request_keys SET expires_at = 1 WHERE tenant_id = @tenant`).Once()); err != nil {
			t.Fatal(err)
		}
	}
	if k := take(cp, "c"); k.Request != "c" || k.OperationID != "" || k.ExpiresAt.Time().Before(time.Now().Add(23*time.Hour)) {
		t.Errorf("a key that had expired: %+v", k)
	}
	leave()
	(&tenancy.Housekeeper{Pool: w.Pool}).Sweep(t.Context())
	inside, leaveAgain, err := w.Pool.Enter(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	defer leaveAgain()
	if n, err := tenancy.RequestKeys.Count(inside, tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d keys are left that have expired, %v", n, err)
	}
	if n, err := tenancy.RequestKeys.Count(cp, tenancy.Filter{}); n != 1 || err != nil {
		t.Errorf("%d keys are left that hold, %v", n, err)
	}
}
