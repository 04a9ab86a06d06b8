package tenancy_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestSlowTenant: a database that hangs while it opens costs its own visitors
// patience once, later ones not even that, and nobody else anything.
func TestSlowTenant(t *testing.T) {
	m := &moody{}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 4, Patience: 8 * time.Second}, map[string]*moody{"": m})
	list := h.tenants(t, "", "t", 10)
	release := make(chan struct{})
	m.before["t00"] = func(context.Context) error { <-release; return nil }
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := h.visit(list[0]); !errors.Is(err, tenancy.ErrUnavailable) {
				t.Errorf("the slow one: %v", err)
			}
		})
	}
	for range 3 {
		for _, x := range list[1:] {
			wg.Go(func() {
				if err := h.visit(x); err != nil {
					t.Errorf("%s: %v", x.ID, err)
				}
			})
		}
	}
	wg.Wait()
	_ = h.visit(list[0]) // by now the time is up for certain
	began := time.Now()
	if err := h.visit(list[0]); !errors.Is(err, tenancy.ErrUnavailable) || time.Since(began) > 4*time.Second {
		t.Errorf("once it is known to be slow: %v after %v", err, time.Since(began))
	}
	if n := m.times("t00"); n != 1 {
		t.Errorf("it was opened %d times", n)
	}
	close(release)
	h.until(t, "it never opens", func() bool { return h.visit(list[0]) == nil })
}

// TestHangingPlacement: a placement in which nothing opens takes neither the
// budget nor the room to wait of another.
func TestHangingPlacement(t *testing.T) {
	bad := &moody{}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 32, Patience: 5 * time.Second}, map[string]*moody{"good": {}, "bad": bad})
	good, ill := h.tenants(t, "good", "g", 40), h.tenants(t, "bad", "b", 60)
	for _, x := range ill {
		bad.before[x.ID] = hang(t)
	}
	var wg sync.WaitGroup
	for _, x := range ill {
		wg.Go(func() {
			for range 3 {
				if err := h.visit(x); !errors.Is(err, tenancy.ErrUnavailable) {
					t.Errorf("%s: %v", x.ID, err)
				}
			}
		})
	}
	for w := range 8 {
		wg.Go(func() {
			for i := range 40 {
				if err := h.visit(good[(w*7+i)%len(good)]); err != nil {
					t.Errorf("good: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if s := h.of("bad"); s.Open > 24 || s.Refusals["slow"] == 0 {
		t.Errorf("the bad one holds %d of 32: %+v", s.Open, s)
	}
}

// TestHangingClose: databases that do not close are no longer chosen to make
// room, where others can be.
func TestHangingClose(t *testing.T) {
	release := make(chan struct{})
	bad := &moody{close: func() { <-release }}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 16, Patience: 5 * time.Second}, map[string]*moody{"good": {}, "bad": bad})
	defer close(release)
	good, ill := h.tenants(t, "good", "g", 24), h.tenants(t, "bad", "b", 8)
	for _, x := range ill {
		if err := h.visit(x); err != nil {
			t.Fatal(err)
		}
	}
	served := 0
	for range 4 {
		for _, x := range good {
			if h.visit(x) == nil {
				served++
			}
		}
	}
	if served < 4*len(good)-8 { // each of those that hang costs one visitor's patience at most
		t.Errorf("%d of %d were served: %+v", served, 4*len(good), h.Stats())
	}
}

// TestBreaker: a database that cannot be opened is tried again after 1 s, 2 s, 4 s
// up to 30 s; in between its visitors are answered from memory.
func TestBreaker(t *testing.T) {
	m := &moody{}
	h := newHarbour(t, tenancy.PoolConfig{}, map[string]*moody{"": m})
	var mu sync.Mutex
	now := time.Now()
	h.SetClock(func() time.Time { mu.Lock(); defer mu.Unlock(); return now })
	x := h.tenant(t, "", "acme")
	broken := tenancy.Unavailable(errors.New("no such disk"), "")
	m.before["acme"] = func(context.Context) error { return broken }
	var waits []int
	last := 0
	for second := range 100 {
		before := m.times("acme")
		if err := h.visit(x); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		if m.times("acme") > before {
			waits, last = append(waits, second-last), second
		}
		mu.Lock()
		now = now.Add(time.Second)
		mu.Unlock()
	}
	if want := []int{0, 1, 2, 4, 8, 16, 30, 30}; !slices.Equal(waits, want) {
		t.Errorf("tried after %v s, want %v", waits, want)
	}
	if s := h.of(""); s.Failures != 8 || s.Refusals["broken"] != 92 || s.Open != 0 {
		t.Errorf("counted %+v", s)
	}
	m.mu.Lock()
	delete(m.before, "acme")
	m.mu.Unlock()
	if err := h.Create(t.Context(), x); err != nil { // it is made anew: no need to wait
		t.Fatal(err)
	}
	if err := h.visit(x); err != nil {
		t.Error(err)
	}
}
