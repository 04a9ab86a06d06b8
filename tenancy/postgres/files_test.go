package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestFilesOfTwoNodes: two nodes store into an empty server together. One control
// plane is made, both can read what either stored, and one at a time has a lock.
func TestFilesOfTwoNodes(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			dsn := postgrestest.DSN(t)
			var stores []*tenancy.FileStore
			var planes [2]*tenancy.Tenant
			for i := range planes {
				h := newHouse(t, over(t, dsn, isolation))
				l := &tenancy.Lifecycle{Pool: h.pool, Master: h.ring}
				stores = append(stores, &tenancy.FileStore{
					Timing: tenancy.LockTiming{Lease: 2 * time.Second, Poll: 20 * time.Millisecond},
					Enter: func(ctx context.Context, create bool) (context.Context, func(), error) {
						cp, err := l.ReachControlPlane(ctx, tenancy.ControlPlaneConfig{}, create)
						if err != nil {
							return nil, nil, err
						}
						planes[i] = cp
						return h.pool.Enter(ctx, cp)
					},
				})
			}
			var wg sync.WaitGroup
			for i, s := range stores {
				wg.Go(func() { must(t, s.Store(t.Context(), fmt.Sprintf("certificates/%d", i), []byte("key"))) })
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			if planes[0].DataKey != planes[1].DataKey {
				t.Error("there are two control planes")
			}
			for i := range stores {
				if got, err := stores[1-i].Load(t.Context(), fmt.Sprintf("certificates/%d", i)); err != nil || string(got) != "key" {
					t.Errorf("what node %d stored is %q %v for the other", i, got, err)
				}
			}
			list, err := stores[0].List(t.Context(), "certificates", false)
			if err != nil || len(list) != 2 {
				t.Errorf("list %v %v", list, err)
			}
			countUnderLock(t, stores)
		})
	}
}

// countUnderLock counts in a file: where two had the lock at a time, counts are
// lost.
func countUnderLock(t *testing.T, stores []*tenancy.FileStore) {
	t.Helper()
	const each = 10
	must(t, stores[0].Store(t.Context(), "count", []byte("0")))
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for range each {
				if err := s.Lock(t.Context(), "counting"); err != nil {
					t.Error(err)
					return
				}
				var n int
				text, err := s.Load(t.Context(), "count")
				if err == nil {
					_, err = fmt.Sscan(string(text), &n)
				}
				if err == nil {
					err = s.Store(t.Context(), "count", fmt.Append(nil, n+1))
				}
				if err != nil {
					t.Error(err)
				}
				if err := s.Unlock(t.Context(), "counting"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := stores[0].Load(t.Context(), "count"); err != nil || string(got) != fmt.Sprint(each*len(stores)) {
		t.Errorf("counted to %s %v, want %d", got, err, each*len(stores))
	}
}
