package sync

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	// compactEvery is how often the change log is compacted.
	compactEvery = time.Hour

	// settledAfter is how old a change is that everybody has applied before it is
	// removed: other processes may be about to read it.
	settledAfter = time.Hour

	// forgottenAfter is how old a change is that is removed although a tenant has
	// not applied it. Such a tenant is compared in full when it returns.
	forgottenAfter = 7 * 24 * time.Hour
)

// compaction is the removal of changes nobody needs from the control plane's log.
type compaction struct {
	at   time.Time
	busy atomic.Bool
}

// compact removes, behind the work, what every tenant has applied from the change
// log. When it fails it is tried again an hour later: the log is only longer.
func (r *run) compact(ctx context.Context) {
	now := r.now()
	if now.Sub(r.compaction.at) < compactEvery || r.compaction.busy.Swap(true) {
		return
	}
	r.compaction.at = now
	applied := r.appliedByAll()
	r.group.Go(func() {
		defer r.compaction.busy.Store(false)
		if inside, leave, err := r.enterControlPlane(ctx); err == nil {
			defer leave()
			_ = tenancy.Compact(inside, applied, now.Add(-settledAfter), now.Add(-forgottenAfter))
		}
	})
}

// appliedByAll is the revision that every tenant has applied. Those of which it is
// not known are compared in full in any case.
func (l *Loop) appliedByAll() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.picture == nil {
		return 0
	}
	applied := l.picture.revision
	for _, t := range l.targets {
		if inScope(t.tenant) && t.known {
			applied = min(applied, t.applied)
		}
	}
	return applied
}
