package test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// troubled is thirty tenants' SQLite files, of which some can be put in trouble of
// one kind each.
type troubled struct {
	*sqlite.Provider
	pool    *tenancy.Pool
	tenants []*tenancy.Tenant
	ill     map[string]bool
	over    chan struct{} // closed when nobody is interested any more

	mu   sync.Mutex
	slow map[string]bool // hang for slowness before they fail to open
	full map[string]bool // writes find the disk full
}

const slowness = 5 * time.Second

// Open implements tenancy.Provider.
func (f *troubled) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	f.mu.Lock()
	slow, full := f.slow[loc.Tenant], f.full[loc.Tenant]
	f.mu.Unlock()
	if slow {
		select {
		case <-time.After(slowness):
		case <-f.over:
		case <-ctx.Done():
		}
		return nil, tenancy.Unavailable(errors.New("the server does not answer"), "")
	}
	db, err := f.Provider.Open(ctx, loc)
	if err == nil && full {
		db = fullDisk{db}
	}
	return db, err
}

// fullDisk answers writes as the SQLite provider does when the disk is full.
type fullDisk struct{ tenancy.Database }

// Batch implements tenancy.Database.
func (fullDisk) Batch(context.Context, []tenancy.Stmt) ([]int64, error) {
	return nil, tenancy.Unavailable(errors.New("database or disk is full (13)"), "the disk is full: free some space")
}

func newTroubled(t testing.TB, patience time.Duration) *troubled {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	must(t, err)
	f := &troubled{Provider: &sqlite.Provider{Dir: t.TempDir()}, slow: map[string]bool{}, full: map[string]bool{}, ill: map[string]bool{}, over: make(chan struct{})}
	f.pool, err = tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": f}, Master: ring, Patience: patience})
	must(t, err)
	t.Cleanup(func() { close(f.over); _ = f.pool.Close(context.Background()) })
	for i := range 30 {
		id := fmt.Sprintf("t%02d", i)
		x := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: ring.NewDataKey(id)}
		must(t, f.pool.Create(t.Context(), x))
		f.tenants = append(f.tenants, x)
	}
	return f
}

func (f *troubled) path(x *tenancy.Tenant) string { return filepath.Join(f.Dir, x.ID+".db") }

// breakThem puts the first five tenants in trouble, of a kind each.
func (f *troubled) breakThem(t testing.TB) {
	t.Helper()
	missing, locked, full, corrupt, slow := f.tenants[0], f.tenants[1], f.tenants[2], f.tenants[3], f.tenants[4]
	for _, x := range f.tenants[:5] {
		must(t, f.pool.Forget(t.Context(), x))
		f.ill[x.ID] = true
	}
	must(t, os.Remove(f.path(missing)))
	other, err := sql.Open("sqlite", "file:"+f.path(locked)+"?mode=rw&_txlock=immediate") // as another process would
	must(t, err)
	tx, err := other.BeginTx(t.Context(), nil)
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback(); _ = other.Close() })
	must(t, os.WriteFile(f.path(corrupt), bytes.Repeat([]byte("x"), 8192), 0o600))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow[slow.ID], f.full[full.ID] = true, true
}

// request reads and writes a row, as a login does.
func (f *troubled) request(x *tenancy.Tenant) error {
	return f.pool.Do(context.Background(), x, func(ctx context.Context) error {
		if _, err := tenancy.Clients.Get(ctx, "none"); !errors.Is(err, tenancy.ErrNotFound) {
			return err
		}
		id := tenancy.NewID("org_", 16)
		return tenancy.Organizations.Create(ctx, &tenancy.Organization{Row: tenancy.Row{ID: id}, Name: id})
	})
}

// load makes rounds of requests to all tenants at a time, from one visitor each,
// and returns how long those of the ones that are well took. each is told of every
// outcome.
func (f *troubled) load(rounds int, each func(x *tenancy.Tenant, err error)) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var well, ill sync.WaitGroup
	done := make(chan struct{})
	for _, x := range f.tenants {
		if f.ill[x.ID] {
			ill.Go(func() {
				for {
					each(x, f.request(x))
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
					}
				}
			})
			continue
		}
		well.Go(func() {
			var took []time.Duration
			for range rounds {
				began := time.Now()
				err := f.request(x)
				took = append(took, time.Since(began))
				each(x, err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	well.Wait()
	close(done)
	ill.Wait()
	return all
}

// TestTroubleStaysAlone: of thirty tenants under load one each is missing, locked,
// full, corrupt or slow. Each of these is answered 503, the others all are served.
func TestTroubleStaysAlone(t *testing.T) {
	f := newTroubled(t, 4*slowness) // those who are well wait for a slow machine
	f.breakThem(t)
	refused := map[string]int{}
	var mu sync.Mutex
	f.load(40, func(x *tenancy.Tenant, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !f.ill[x.ID] && err != nil:
			t.Errorf("%s, which is well: %v", x.ID, err)
		case f.ill[x.ID] && (!errors.Is(err, tenancy.ErrUnavailable) || tenancy.StatusOf(err) != 503):
			t.Errorf("%s, which is not: %v", x.ID, err)
		case f.ill[x.ID]:
			refused[x.ID]++
		}
	})
	if len(refused) != 5 {
		t.Errorf("refused: %v", refused)
	}
}

// benchTrouble compares the p99 of the well with and without the ill, by turns.
func benchTrouble(b *testing.B) []measurement {
	without, with := newTroubled(b, time.Second), newTroubled(b, time.Second)
	for _, x := range without.tenants[:5] {
		without.ill[x.ID] = true // has a visitor of the same haste, and is well
	}
	with.breakThem(b)
	p99 := func(f *troubled) time.Duration {
		return percentile(f.load(60, func(x *tenancy.Tenant, err error) {
			if !f.ill[x.ID] && err != nil {
				b.Errorf("%s: %v", x.ID, err)
			}
		}), 99)
	}
	p99(without)
	p99(with)
	var ratios []float64
	for range 7 {
		ratios = append(ratios, float64(p99(with))/float64(p99(without)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[3], "x-p99")
	return []measurement{{"p99 of 25 tenants beside 5 in trouble, against none", fmt.Sprintf("%.2f x (%.2f to %.2f)", ratios[3], ratios[0], ratios[6]), "at most 1.1 x"}}
}
