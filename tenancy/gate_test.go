package tenancy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

// A storm of one tenant delays another tenant's caller by one turn.
func TestFairGateTakesTurnsByTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newFairGate(1, 100)
		leave, err := g.enter(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		wait := func(tenant string, n int) {
			for range n {
				go func() {
					leave, err := g.enter(t.Context(), tenant)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order = append(order, tenant)
					mu.Unlock()
					leave()
				}()
				synctest.Wait() // arrive in order
			}
		}
		wait("acme", 5)
		wait("widgets", 2)
		leave()
		synctest.Wait()
		want := "[acme widgets acme widgets acme acme acme]"
		if got := fmt.Sprint(order); got != want {
			t.Errorf("order = %s, want %s", got, want)
		}
		if s := g.statsNow(); s != (GateStats{Entered: 8}) {
			t.Errorf("stats = %+v, want 8 entered and nobody left", s)
		}
	})
}

func TestFairGateBoundsTheQueueOfOneTenant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newFairGate(1, 2)
		leave, err := g.enter(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		enterLater := func(tenant string) {
			go func() {
				leave, err := g.enter(t.Context(), tenant)
				if err != nil {
					t.Error(err)
					return
				}
				leave()
			}()
		}
		enterLater("acme")
		enterLater("acme")
		synctest.Wait()
		_, err = g.enter(t.Context(), "acme")
		var busy *Error
		if !errors.As(err, &busy) || busy.Status != 429 || busy.Header["Retry-After"] == "" {
			t.Errorf("third in the queue = %v, want 429 with Retry-After", err)
		}
		enterLater("widgets") // not turned away for acme's queue
		synctest.Wait()
		if s := g.statsNow(); s.Waiting != 3 || s.Refused != 1 {
			t.Errorf("stats = %+v, want 3 waiting and 1 refused", s)
		}
		leave()
		synctest.Wait()
	})
}

func TestFairGateForgetsWhoGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newFairGate(1, 2)
		leave, err := g.enter(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var gaveUp error
		go func() { _, gaveUp = g.enter(ctx, "widgets") }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(gaveUp, context.Canceled) {
			t.Errorf("enter = %v, want context.Canceled", gaveUp)
		}
		if len(g.turns) != 0 || len(g.waiting) != 0 {
			t.Errorf("turns %v, waiting %v, want none", g.turns, g.waiting)
		}
		leave()
		if s := g.statsNow(); s.Working != 0 {
			t.Errorf("working = %d, want 0", s.Working)
		}
	})
}

// Under a storm with callers giving up at any moment no place is ever lost.
func TestFairGateLosesNoPlace(t *testing.T) {
	t.Parallel()
	g := newFairGate(2, 1000)
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			if i%3 == 0 {
				go cancel()
			}
			defer cancel()
			if leave, err := g.enter(ctx, fmt.Sprint("t", i%7)); err == nil {
				leave()
			}
		})
	}
	wg.Wait()
	if s := g.statsNow(); s.Working != 0 || s.Waiting != 0 || len(g.turns) != 0 {
		t.Errorf("stats = %+v, turns %v, want an empty gate", s, g.turns)
	}
}
