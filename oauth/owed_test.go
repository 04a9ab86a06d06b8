package oauth

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// rsaKeys is the uses of a tenant's RS256 keys, notes included, sorted.
func rsaKeys(f *fixture, ctx context.Context) string {
	f.t.Helper()
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "alg = 'RS256'", Order: "use_state, id"})
	f.must(err)
	var uses []string
	for _, r := range rows {
		uses = append(uses, string(r.Use))
	}
	return strings.Join(uses, " ")
}

// TestOwedKeys: where no RSA key is ready, a tenant gets a note for it, and the
// key is made once, by whoever needs it first, before anything lacks it.
func TestOwedKeys(t *testing.T) {
	f := newFixture(t)
	k := &Keyring{Reservoir: new(Reservoir)} // empty: it was never started
	for _, tenant := range []string{"acme", "widgets"} {
		ctx := f.in(tenant)
		f.must(tenancy.Commit(ctx, tenancy.SigningKeys.RemoveWhere(ctx, "1 = 1")))
		f.must(k.EnsureKeys(ctx))
		f.must(k.EnsureKeys(ctx))
		if got := rsaKeys(f, ctx); got != "owed owed" {
			t.Errorf("%s after EnsureKeys: %q", tenant, got)
		}
	}
	for _, tenant := range []string{"acme", "widgets"} {
		if id := <-k.Owing(); id != tenant {
			t.Errorf("owing: %q, want %q", id, tenant)
		}
	}
	acme := f.in("acme")
	var wg sync.WaitGroup
	kids := make([]string, 8)
	for i := range kids {
		wg.Go(func() {
			key, err := k.key(acme, "RS256")
			if err != nil {
				t.Error(err)
				return
			}
			kids[i] = key.kid
		})
	}
	wg.Wait()
	for _, kid := range kids {
		if kid != kids[0] {
			t.Errorf("two current keys: %v", kids)
		}
	}
	if got := rsaKeys(f, acme); got != "current owed" {
		t.Errorf("after the first need: %q", got)
	}
	set, err := k.set(acme)
	f.must(err)
	if !strings.Contains(string(set.jwks.body), kids[0]) || strings.Contains(string(set.jwks.body), "owed") {
		t.Errorf("key set: %s", set.jwks.body)
	}
	if got := rsaKeys(f, f.in("widgets")); got != "owed owed" {
		t.Errorf("the other tenant: %q", got)
	}
	f.must(k.MakeOwed(acme))
	f.must(k.MakeOwed(acme))
	if got := rsaKeys(f, acme); got != "current next" {
		t.Errorf("after MakeOwed: %q", got)
	}
	if _, err := k.Rotate(f.in("widgets"), "RS256"); err != nil { // owed keys are made first
		t.Error(err)
	}
	if got := rsaKeys(f, f.in("widgets")); got != "current next previous" {
		t.Errorf("after a rotation: %q", got)
	}
}
