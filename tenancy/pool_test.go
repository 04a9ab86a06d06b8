package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// moody is a provider whose databases open when the test lets them.
type moody struct {
	*sqlite.Provider

	mu     sync.Mutex
	opened []string // ids, in order
	before map[string]func(ctx context.Context) error
	close  func() // before a database is closed; nil for nothing
}

func (m *moody) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	m.mu.Lock()
	before := m.before[loc.Tenant]
	m.opened = append(m.opened, loc.Tenant)
	m.mu.Unlock()
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	db, err := m.Provider.Open(ctx, loc)
	if err == nil && m.close != nil {
		db = slowlyClosed{db, m.close}
	}
	return db, err
}

func (m *moody) times(id string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.opened {
		if other == id {
			n++
		}
	}
	return n
}

type slowlyClosed struct {
	tenancy.Database
	before func()
}

func (s slowlyClosed) Close() error {
	s.before()
	return s.Database.Close()
}

// hang waits for the end of the test, or of the caller's patience.
func hang(t *testing.T) func(context.Context) error {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	return func(ctx context.Context) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return errors.New("hung")
	}
}

type harbour struct {
	*tenancy.Pool
	ring *tenancy.Ring
}

// newHarbour is a pool over moody placements.
func newHarbour(t testing.TB, c tenancy.PoolConfig, placements map[string]*moody) *harbour {
	t.Helper()
	ring, err := tenancy.NewRing([]byte(masterSecret))
	if err != nil {
		t.Fatal(err)
	}
	c.Master, c.Placements = ring, map[string]tenancy.Provider{}
	for name, m := range placements {
		if m.Provider == nil {
			m.Provider = &sqlite.Provider{Dir: t.TempDir()}
		}
		if m.before == nil {
			m.before = map[string]func(context.Context) error{}
		}
		c.Placements[name] = m
	}
	pool, err := tenancy.NewPool(c)
	if err != nil {
		t.Fatal(err)
	}
	h := &harbour{pool, ring}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = pool.Close(ctx) // a test that lets closing hang does not wait for it
	})
	return h
}

func (h *harbour) tenant(t testing.TB, placement, id string) *tenancy.Tenant {
	t.Helper()
	x := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, Placement: placement, DataKey: h.ring.NewDataKey(id)}
	if err := h.Create(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	return x
}

func (h *harbour) tenants(t testing.TB, placement, prefix string, n int) (list []*tenancy.Tenant) {
	for i := range n {
		list = append(list, h.tenant(t, placement, fmt.Sprintf("%s%02d", prefix, i)))
	}
	return list
}

func (h *harbour) visit(x *tenancy.Tenant) error {
	return h.Do(context.Background(), x, func(ctx context.Context) error {
		_, err := tenancy.Clients.Count(ctx, tenancy.Filter{})
		return err
	})
}

func (h *harbour) of(placement string) tenancy.PlacementStats {
	list := h.Stats().Placements
	return list[slices.IndexFunc(list, func(s tenancy.PlacementStats) bool { return s.Name == placement })]
}

// until waits until a count of the pool is as it has to be.
func (h *harbour) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", what, h.Stats())
		}
	}
}

// TestWaitingInOrder: who waits for room is served in the order of arrival.
func TestWaitingInOrder(t *testing.T) {
	m := &moody{}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 1}, map[string]*moody{"": m})
	list := h.tenants(t, "", "t", 6)
	_, leave, err := h.Enter(t.Context(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, x := range list[1:] {
		wg.Go(func() {
			if err := h.visit(x); err != nil {
				t.Error(err)
			}
		})
		h.until(t, "nobody waits", func() bool { return h.of("").Waiting == i+1 })
	}
	leave()
	wg.Wait()
	if want := []string{"t00", "t01", "t02", "t03", "t04", "t05"}; !slices.Equal(m.opened, want) {
		t.Errorf("opened %v, want %v", m.opened, want)
	}
}

// TestPatience: with all databases in use a visitor is refused after a while, and
// leaves no trace in the queue.
func TestPatience(t *testing.T) {
	h := newHarbour(t, tenancy.PoolConfig{Limit: 1, Patience: 2 * time.Second}, map[string]*moody{"": {}})
	list := h.tenants(t, "", "t", 2)
	_, leave, err := h.Enter(t.Context(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := h.visit(list[1]); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "open_databases") {
		t.Errorf("got %v", err)
	}
	if s := h.of(""); s.Waiting != 0 || s.Refusals["budget"] != 1 {
		t.Errorf("afterwards %+v", s)
	}
	leave()
	if err := h.visit(list[1]); err != nil {
		t.Error(err)
	}
}

// TestEnterIdle: a walk over closed tenants pushes out next to none of those that
// visitors use, and what it opened goes first.
func TestEnterIdle(t *testing.T) {
	m := &moody{}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 8}, map[string]*moody{"": m})
	warm, cold := h.tenants(t, "", "w", 8), h.tenants(t, "", "c", 30)
	for _, x := range warm {
		if err := h.visit(x); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range append(cold, warm...) { // it enters warm ones as well
		if err := h.DoIdle(t.Context(), x, func(ctx context.Context) error {
			_, err := tenancy.Current(ctx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	again := 0
	for _, x := range warm {
		if err := h.visit(x); err != nil {
			t.Fatal(err)
		}
		again += m.times(x.ID) - 1
	}
	if again > 2 { // the one that made room, and its own place taken again
		t.Errorf("%d of 8 warm databases were pushed out", again)
	}
	// With room in use by visitors it waits, behind them.
	var leaves []func()
	for _, x := range warm {
		_, leave, err := h.Enter(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	var wg sync.WaitGroup
	var order []string
	var mu sync.Mutex
	note := func(what string) func(context.Context) error {
		return func(context.Context) error { mu.Lock(); defer mu.Unlock(); order = append(order, what); return nil }
	}
	wg.Go(func() { _ = h.DoIdle(context.Background(), cold[0], note("background")) })
	h.until(t, "it does not wait", func() bool { return h.of("").Waiting == 1 })
	wg.Go(func() { _ = h.Do(context.Background(), cold[1], note("visitor")) })
	h.until(t, "it does not wait", func() bool { return h.of("").Waiting == 2 })
	leaves[0]() // room for one at a time
	wg.Wait()
	for _, leave := range leaves[1:] {
		leave()
	}
	if want := []string{"visitor", "background"}; !slices.Equal(order, want) {
		t.Errorf("served %v", order)
	}
}

// TestEnterIdleTogether: where all databases are used by visitors, several workers
// of the background can still be inside at a time, at the expense of as many.
func TestEnterIdleTogether(t *testing.T) {
	const workers = 8
	h := newHarbour(t, tenancy.PoolConfig{Limit: 64}, map[string]*moody{"": {}})
	warm, cold := h.tenants(t, "", "w", 64), h.tenants(t, "", "c", workers)
	for _, x := range warm {
		if err := h.visit(x); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var inside atomic.Int32
	all := make(chan struct{})
	var wg sync.WaitGroup
	for _, x := range cold {
		wg.Go(func() {
			err := h.DoIdle(ctx, x, func(ctx context.Context) error {
				if inside.Add(1) == workers {
					close(all)
				}
				select {
				case <-all:
				case <-ctx.Done():
				}
				return ctx.Err()
			})
			if err != nil {
				t.Errorf("with %d inside: %v", inside.Load(), err)
			}
		})
	}
	wg.Wait()
	if open := h.Stats().Open; open > 64 {
		t.Errorf("%d databases are open", open)
	}
}

// TestIdleTime: what nobody enters for a while is closed.
func TestIdleTime(t *testing.T) {
	h := newHarbour(t, tenancy.PoolConfig{IdleTime: 50 * time.Millisecond}, map[string]*moody{"": {}})
	list := h.tenants(t, "", "t", 40)
	for _, x := range list[1:] {
		if err := h.visit(x); err != nil {
			t.Fatal(err)
		}
	}
	_, leave, err := h.Enter(t.Context(), list[0])
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	h.until(t, "idle ones stay open", func() bool { return h.Stats().Open == 1 })
}

// TestLimits: a placement's own limit holds, and what the process may open at all
// bounds what it is asked to, which is logged.
func TestLimits(t *testing.T) {
	var text bytes.Buffer
	h := newHarbour(t, tenancy.PoolConfig{
		Limit: 100, Limits: map[string]int{"small": 2}, Files: 5 * 9, Log: slog.New(slog.NewTextHandler(&text, nil)), Patience: 2 * time.Second,
	}, map[string]*moody{"small": {}, "large": {}})
	if got := h.of("large").Limit; got != 5 {
		t.Errorf("with 45 file descriptors, of which each database may take 9, %d may be open", got)
	}
	if !strings.Contains(text.String(), "placement=large") || strings.Contains(text.String(), "placement=small") {
		t.Errorf("logged %s", &text)
	}
	enter := func(list []*tenancy.Tenant) (inside int) {
		for _, x := range list {
			if _, leave, err := h.Enter(t.Context(), x); err == nil {
				inside++
				t.Cleanup(leave)
			}
		}
		return inside
	}
	if n := enter(h.tenants(t, "small", "s", 4)); n != 2 {
		t.Errorf("%d of the small placement were open at a time", n)
	}
	if n := enter(h.tenants(t, "large", "l", 8)); n != 3 {
		t.Errorf("%d more were open at a time beside 2, want 3", n)
	}
}

// TestForgetWaits: a database that is being closed to make room is closed before
// Forget returns.
func TestForgetWaits(t *testing.T) {
	closing, release := make(chan struct{}), make(chan struct{})
	m := &moody{close: func() { close(closing); <-release }}
	h := newHarbour(t, tenancy.PoolConfig{Limit: 1}, map[string]*moody{"": m})
	list := h.tenants(t, "", "t", 2)
	if err := h.visit(list[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := h.Enter(ctx, list[1]); !errors.Is(err, tenancy.ErrUnavailable) { // makes room, in vain
		t.Errorf("got %v without room", err)
	}
	<-closing
	if err := h.Forget(ctx, list[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v while it is open", err)
	}
	close(release)
	if err := h.Forget(t.Context(), list[0]); err != nil {
		t.Error(err)
	}
}
