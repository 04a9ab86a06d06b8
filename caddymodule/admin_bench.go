package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations, operation{"POST /gatehouse/bench", bench})
}

// benchWish is what a benchmark may be told.
type benchWish struct {
	Placements []string `json:"placements,omitempty"` // default: all
	Tenants    int      `json:"tenants,omitempty"`    // made in each placement; default 5
	Rounds     int      `json:"rounds,omitempty"`     // of what is short; default 200
}

// benchReport is what a benchmark came to.
type benchReport struct {
	Processors int           `json:"processors"`
	Figures    []benchFigure `json:"figures"`
	Tenants    int           `json:"tenants"` // that were made, and are gone
}

// The bounds of a benchmark. One that runs in a busy server must not take long.
const (
	benchTenants, maxBenchTenants = 5, 100
	benchRounds, maxBenchRounds   = 200, 20_000
	benchPasswords                = 20

	// benchOver is when a benchmark's tenants are nobody's any more: the process
	// that made them was killed.
	benchOver = time.Hour

	benchCreator = "bench"  // noted as who made its tenants
	benchPrefix  = "bench-" // of their ids
)

// benching lets one benchmark at a time go on.
var benching sync.Mutex

// bench measures this server on this machine with tenants of its own, which are
// removed at the end, whatever that is.
func bench(ctx context.Context, s *services, q *question) (any, error) {
	wish := benchWish{Tenants: benchTenants, Rounds: benchRounds}
	if err := q.body(&wish); err != nil {
		return nil, err
	}
	placements, err := wish.check(s.pool.Placements())
	if err != nil {
		return nil, err
	}
	if !benching.TryLock() {
		return nil, &tenancy.Error{Status: http.StatusConflict, Code: "bench_running", Message: "A benchmark is running", Hint: "wait for its end, and ask again"}
	}
	defer benching.Unlock()
	b := &benchMark{services: s, report: q.report, times: benchTimes{tenants: wish.Tenants, rounds: wish.Rounds, passwords: min(wish.Rounds, benchPasswords)}}
	if err := b.removeForgotten(ctx); err != nil {
		return nil, err
	}
	if err := b.hashes(ctx); err != nil {
		return nil, err
	}
	made := 0
	for _, placement := range placements {
		n, err := b.placement(ctx, placement)
		if made += n; err != nil {
			return nil, err
		}
	}
	return &benchReport{Processors: processors(), Figures: b.figures, Tenants: made}, nil
}

// check bounds the wish and returns the placements to measure.
func (w *benchWish) check(known []string) ([]string, error) {
	if w.Tenants < 1 || w.Tenants > maxBenchTenants || w.Rounds < 1 || w.Rounds > maxBenchRounds {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "tenants is from 1 to %d, and rounds from 1 to %d", maxBenchTenants, maxBenchRounds)
	}
	for _, name := range w.Placements {
		if !slices.Contains(known, name) {
			return nil, &tenancy.Error{
				Status: http.StatusBadRequest, Code: "invalid_body", Message: "There is no placement '" + name + "'", Hint: "there are: " + strings.Join(known, ", "),
			}
		}
	}
	if len(w.Placements) > 0 {
		return w.Placements, nil
	}
	slices.Sort(known)
	return known, nil
}

// placement measures one, with tenants in it that are gone afterwards.
func (b *benchMark) placement(ctx context.Context, name string) (made int, err error) {
	var tenants []*tenancy.Tenant
	defer func() {
		if removing := b.remove(ctx, name, tenants); removing != nil && err == nil {
			err = removing
		}
	}()
	var took []time.Duration
	for i := range b.times.tenants {
		if err := ctx.Err(); err != nil {
			return len(tenants), err
		}
		id := benchPrefix + strings.ToLower(strings.TrimPrefix(tenancy.NewID("x_", 12), "x_"))
		began := time.Now()
		// Who stops waiting leaves no tenant half made.
		t, err := b.lifecycle.Create(context.WithoutCancel(ctx), tenancy.NewTenant{ID: id, FriendlyName: "Benchmark", Placement: name, CreatedBy: benchCreator})
		if err != nil {
			tenants = b.adopt(tenants, id)
			return len(tenants), fmt.Errorf("making a tenant in placement %s: %w", name, err)
		}
		took = append(took, time.Since(began))
		tenants = append(tenants, t)
		b.report(progress{"tenants made in " + name, int64(i + 1), int64(b.times.tenants)})
	}
	b.note("make a tenant", name, took)
	return len(tenants), b.tenant(ctx, tenants[0], cmpOr(b.keys.keys.Algs, defaultAlgorithms))
}

// adopt adds the tenant with the id where it is there at all.
func (b *benchMark) adopt(tenants []*tenancy.Tenant, id string) []*tenancy.Tenant {
	if t, ok := b.directory.ByID(id); ok {
		return append(tenants, t)
	}
	return tenants
}

// remove removes tenants, also where nobody waits for it any more.
func (b *benchMark) remove(ctx context.Context, placement string, tenants []*tenancy.Tenant) error {
	var failures []error
	for i, t := range tenants {
		if err := b.lifecycle.Delete(context.WithoutCancel(ctx), t.ID); err != nil {
			failures = append(failures, &tenancy.Error{
				Status: tenancy.StatusOf(err), Message: "The benchmark's tenant " + t.ID + " could not be removed", Cause: err, Hint: "remove it: " + commandLine("tenants delete "+t.ID),
			})
		}
		b.report(progress{"tenants removed from " + placement, int64(i + 1), int64(len(tenants))})
	}
	return errors.Join(failures...)
}

// removeForgotten removes the tenants of benchmarks whose process was killed.
func (b *benchMark) removeForgotten(ctx context.Context) error {
	var old []*tenancy.Tenant
	for id, t := range b.directory.All() {
		if strings.HasPrefix(id, benchPrefix) && t.CreatedBy == benchCreator && time.Since(t.CreatedAt.Time()) > benchOver {
			old = append(old, t)
		}
	}
	return b.remove(ctx, "benchmarks that were killed", old)
}
