package tenancytest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// sealedValues: what is sealed cannot be read with another tenant's key, in
// another tenant, or in the database itself.
func sealedValues(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	c := client("c", "acme")
	c.Secret = "the secret of acme's client"
	must(t, tenancy.Clients.Create(ctx, c))
	var stored string
	must(t, tenancy.QueryRow(ctx, `SELECT secret FROM clients WHERE tenant_id = @tenant AND id = 'c'`, nil, &stored))
	if stored == "" || strings.Contains(stored, "secret") {
		t.Errorf("stored as %q", stored)
	}
	other := h.enter(t, h.widgets)
	must(t, tenancy.Clients.Create(other, client("c", "widgets")))
	must(t, tenancy.Commit(other, tenancy.SQL(other, `UPDATE clients SET secret = ? WHERE tenant_id = @tenant AND id = 'c'`, stored)))
	if got, err := tenancy.Clients.Get(other, "c"); !errors.Is(err, tenancy.ErrSealed) {
		t.Errorf("another tenant opened it: %v %v", got, err)
	}
	must(t, tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE clients SET secret = ? WHERE tenant_id = @tenant AND id = 'c'`, alteredAt(stored, len(stored)/2))))
	if _, err := tenancy.Clients.Get(ctx, "c"); !errors.Is(err, tenancy.ErrSealed) {
		t.Errorf("an altered value was opened: %v", err)
	}
	// Another master key opens no tenant at all.
	ring, err := tenancy.NewRing([]byte("another master secret, also 256 bits"))
	must(t, err)
	thief := *h
	thief.ring = ring
	_, _, err = thief.newPool(t, 2).Enter(t.Context(), h.acme)
	if !errors.Is(err, tenancy.ErrUnavailable) || !errors.Is(err, tenancy.ErrSealed) || !strings.Contains(err.Error(), "master secret") {
		t.Errorf("entering with another master key: %v", err)
	}
}

// alteredAt returns text with another letter at one place.
func alteredAt(text string, at int) string {
	other := "A"
	if text[at] == 'A' {
		other = "B"
	}
	return text[:at] + other + text[at+1:]
}

// missingIsNotMade: a database that is gone is an error for its tenant alone, and
// none is made in its place.
func missingIsNotMade(t *testing.T, h *house) {
	ghost := h.tenant("ghost")
	for range 3 {
		if _, _, err := h.pool.Enter(t.Context(), ghost); !errors.Is(err, tenancy.ErrUnavailable) {
			t.Fatalf("entering a tenant without a database: %v", err)
		}
	}
	must(t, h.provider.Drop(t.Context(), h.widgets.Location()))
	if _, _, err := h.pool.Enter(t.Context(), h.widgets); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Fatalf("entering a tenant whose database was taken away: %v", err)
	}
	h.enter(t, h.acme)
	// When it comes back it is found within the time a refusal is remembered.
	must(t, h.pool.Create(t.Context(), h.widgets))
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, leave, err := h.pool.Enter(t.Context(), h.widgets)
		if err == nil {
			leave()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still refused: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// createTwice: creating again changes nothing; of two at a time both succeed;
// another tenant's database is not taken over.
func createTwice(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	must(t, tenancy.Clients.Create(ctx, client("c", "kept")))
	must(t, h.pool.Create(t.Context(), h.acme))
	if c, err := tenancy.Clients.Get(ctx, "c"); err != nil || c.Name != "kept" {
		t.Errorf("after creating again: %+v %v", c, err)
	}
	late := h.tenant("late")
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = h.pool.Create(context.Background(), late) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		}
	}
	if won == 0 {
		t.Errorf("of 4 that create at a time none succeeds: %v", errs)
	}
	h.enter(t, late)
	thief := h.tenant("thief")
	thief.Database = "acme"
	if err := h.pool.Create(t.Context(), thief); err == nil {
		t.Error("another tenant's database was taken over")
	}
	if _, _, err := h.pool.Enter(t.Context(), thief); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("another tenant's database was entered: %v", err)
	}
}

func dropLeavesNothing(t *testing.T, h *house) {
	ctx, leave, err := h.pool.Enter(t.Context(), h.acme)
	must(t, err)
	must(t, tenancy.Clients.Create(ctx, client("c", "old")))
	leave()
	must(t, h.pool.Drop(t.Context(), h.acme))
	must(t, h.pool.Drop(t.Context(), h.acme))
	if _, _, err := h.pool.Enter(t.Context(), h.acme); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Fatalf("entering a dropped tenant: %v", err)
	}
	again := h.tenant("acme")
	must(t, h.pool.Create(t.Context(), again))
	if n, err := tenancy.Clients.Count(h.enter(t, again), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("the same id again has %d clients, %v", n, err)
	}
}

// budget: however many tenants are visited, no more databases are open than
// allowed, and every visitor is served.
func budget(t *testing.T, h *house) {
	const limit = 3
	pool := h.newPool(t, limit)
	var list []*tenancy.Tenant
	for i := range 9 {
		x := h.tenant(fmt.Sprint("b", i))
		must(t, pool.Create(t.Context(), x))
		list = append(list, x)
	}
	done := make(chan struct{})
	var most int
	go func() {
		defer close(done)
		for range 200 {
			most = max(most, pool.Stats().Open)
			time.Sleep(time.Millisecond)
		}
	}()
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 30 {
				x := list[(w*5+i*7)%len(list)]
				if err := pool.Do(context.Background(), x, func(ctx context.Context) error {
					_, err := tenancy.Clients.Count(ctx, tenancy.Filter{})
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	<-done
	if most > limit {
		t.Errorf("%d databases were open; the limit is %d", most, limit)
	}
	// With all of them in use a visitor waits until their time is up.
	for i := range limit {
		_, leave, err := pool.Enter(t.Context(), list[i])
		must(t, err)
		defer leave()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := pool.Enter(ctx, list[limit]); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("beyond the budget: got %v, want ErrUnavailable", err)
	}
}

// manyOpen: many visitors of one closed tenant open it once and all get in.
func manyOpen(t *testing.T, h *house) {
	pool := h.newPool(t, 2)
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			err := pool.Do(context.Background(), h.acme, func(ctx context.Context) error {
				_, err := tenancy.Clients.Get(ctx, "none")
				return err
			})
			if !errors.Is(err, tenancy.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := pool.Stats().Open; n != 1 {
		t.Errorf("%d databases are open", n)
	}
}

// thousandVisitors come to many closed tenants at a time, through a pool that has
// room for a few: each gets in, and sees its own tenant.
func thousandVisitors(t *testing.T, h *house) {
	pool := h.newPool(t, 4)
	var list []*tenancy.Tenant
	for i := range 12 {
		x := h.tenant(fmt.Sprint("v", i))
		must(t, pool.Create(t.Context(), x))
		must(t, pool.Do(t.Context(), x, func(ctx context.Context) error { return tenancy.Clients.Create(ctx, client("c", x.ID)) }))
		list = append(list, x)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // nobody is forgotten
	defer cancel()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			x := list[i%len(list)]
			err := pool.Do(ctx, x, func(ctx context.Context) error {
				c, err := tenancy.Clients.Get(ctx, "c")
				if err == nil && c.Name != x.ID {
					t.Errorf("a visitor of %s sees a client of %s", x.ID, c.Name)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := pool.Stats().Open; n > 4 {
		t.Errorf("%d databases are open", n)
	}
}
