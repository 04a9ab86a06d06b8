package sync

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// States of a tenant in [Status].
const (
	StateInSync  = "in_sync" // has everything, or everything but conflicts
	StatePending = "pending" // behind, to be visited
	StateFailed  = "failed"  // failed several times; still being tried
)

// Filter asks for a [Status]. The zero Filter asks for the first tenants of all.
type Filter struct {
	TenantID string
	State    string // one of the states

	// Revision is what Status.Complete is about; 0 means the newest.
	Revision int64

	// Wait is how long to wait until the revision has arrived everywhere, at
	// most 30 s; 0 asks for how it is now.
	Wait time.Duration

	Start, Limit int // which of the tenants, in the order of their ids; Limit 0 means 50
}

// Status says how far tenants are (contract C5.101).
type Status struct {
	Revision int64          `json:"revision"` // the control plane's newest
	Complete bool           `json:"complete"` // every tenant in question applied the revision asked for
	Tenants  []TenantStatus `json:"tenants"`
	Start    int            `json:"start"`
	Limit    int            `json:"limit"`
	Length   int            `json:"length"`
	Total    int            `json:"total"`
}

// TenantStatus is one tenant in a [Status]. A tenant that no change concerns
// since a while counts as being at the newest revision.
type TenantStatus struct {
	TenantID      string       `json:"tenant_id"`
	State         string       `json:"state"`
	Applied       int64        `json:"applied_revision"`
	Target        int64        `json:"target_revision"`
	Lag           int64        `json:"lag"` // revisions behind
	Attempts      int          `json:"attempts"`
	LastError     *string      `json:"last_error"`
	LastSyncedAt  tenancy.Time `json:"last_synced_at"`
	NextAttemptAt tenancy.Time `json:"next_attempt_at"`
	Conflicts     int          `json:"conflicts"`
	Skipped       int64        `json:"skipped"`

	// Problems counts rows and settings that were left as they were because an
	// expression of the configuration failed; LastError is the first of them.
	Problems int `json:"problems"`

	// ConflictList and ProblemList are read from the tenant itself where one
	// tenant is asked for.
	ConflictList []Conflict `json:"conflict_list,omitempty"`
	ProblemList  []Problem  `json:"problem_list,omitempty"`
}

const (
	waitLimit    = 30 * time.Second
	statusLimit  = 50
	statusPause  = 25 * time.Millisecond  // between answers of the same question
	adoptEvery   = 250 * time.Millisecond // how often to ask what other processes did
	statusLimits = 100
)

// Status answers how far tenants are. It waits at most as long as the filter
// says. Errors are [tenancy.ErrUnavailable] while the control plane cannot be
// read, and ctx's.
func (l *Loop) Status(ctx context.Context, f Filter) (*Status, error) {
	deadline := time.Now().Add(min(f.Wait, waitLimit))
	var adopted time.Time
	for {
		p, err := l.look(ctx)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		progress, listed := l.progress, l.listed
		l.mu.Unlock()
		unlisted, _ := l.source.tenantsSince(listed)
		l.mu.Lock()
		stale := l.picture == nil || l.picture.revision < p.revision
		var status *Status
		if timeIsUp := !time.Now().Before(deadline); timeIsUp || l.complete(p, f, unlisted) {
			status = l.status(p, f, unlisted)
		}
		l.mu.Unlock()
		if status != nil {
			return status, l.addLists(ctx, f, status)
		}
		if stale {
			l.Kick()
		}
		if l.locker != nil && time.Since(adopted) > adoptEvery {
			adopted = time.Now()
			if err := l.adopt(ctx); err != nil {
				return nil, err
			}
		}
		if err := l.await(ctx, progress, deadline); err != nil {
			return nil, err
		}
	}
}

// await waits until something happened, and a little longer: with thousands of
// tenants much happens at once.
func (l *Loop) await(ctx context.Context, progress <-chan struct{}, deadline time.Time) error {
	poll := time.NewTimer(min(time.Until(deadline), adoptEvery))
	defer poll.Stop()
	select {
	case <-progress:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	rest := time.NewTimer(min(time.Until(deadline), statusPause))
	defer rest.Stop()
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// status is the answer as things are; l.mu is held. What changed in the rows of
// the unlisted tenants is not known yet, so nobody can say that they have it.
func (l *Loop) status(p *picture, f Filter, unlisted map[string]int64) *Status {
	if f.Limit <= 0 {
		f.Limit = statusLimit
	}
	s := &Status{Revision: p.revision, Complete: l.complete(p, f, unlisted), Tenants: []TenantStatus{}, Start: f.Start, Limit: f.Limit}
	var list []*target
	for id, t := range l.targets {
		if inScope(t.tenant) && f.asks(id) && (f.State == "" || f.State == t.state(p)) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *target) int { return compare(a.tenant.ID, b.tenant.ID) })
	s.Total = len(list)
	list = list[min(f.Start, len(list)):min(f.Start+f.Limit, len(list))]
	s.Length = len(list)
	for _, t := range list {
		s.Tenants = append(s.Tenants, t.status(p))
	}
	return s
}

// asks reports whether the filter means the tenant with the id.
func (f *Filter) asks(id string) bool { return f.TenantID == "" || f.TenantID == id }

// complete reports whether the revision in question has arrived everywhere; l.mu is
// held. Who waits asks often, and mostly the first tenant behind answers.
func (l *Loop) complete(p *picture, f Filter, unlisted map[string]int64) bool {
	revision := f.Revision
	if revision == 0 {
		revision = p.revision
	}
	if revision > p.revision {
		return false
	}
	for id, changed := range unlisted {
		if changed <= revision && f.asks(id) {
			return false
		}
	}
	for id, t := range l.targets {
		if inScope(t.tenant) && f.asks(id) && (t.position(p) < revision || !t.ruled(p)) {
			return false
		}
	}
	return true
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// state is what the tenant is called.
func (t *target) state(p *picture) string {
	switch {
	case t.attempts >= failedAfter:
		return StateFailed
	case t.attempts > 0 || t.behind(p):
		return StatePending
	}
	return StateInSync
}

func (t *target) status(p *picture) TenantStatus {
	s := TenantStatus{
		TenantID: t.tenant.ID, State: t.state(p), Applied: t.position(p), Target: p.revision,
		Attempts: t.attempts, LastSyncedAt: tenancy.At(t.lastSynced), NextAttemptAt: tenancy.At(t.nextAttempt),
		Conflicts: t.conflicts, Skipped: t.skipped, Problems: t.problems,
	}
	s.Lag = max(s.Target-s.Applied, 0)
	if t.lastError != "" {
		s.LastError = &t.lastError
	}
	return s
}

// addLists reads the conflicts and problems of the one tenant that was asked for, with
// both ids (contract C6.22). Lists of many tenants carry only their number.
func (l *Loop) addLists(ctx context.Context, f Filter, s *Status) error {
	if f.TenantID == "" || len(s.Tenants) != 1 || s.Tenants[0].Conflicts+s.Tenants[0].Problems == 0 {
		return nil
	}
	t, ok := l.directory.ByID(f.TenantID)
	if !ok {
		return nil
	}
	inside, leave, err := l.pool.Enter(ctx, t)
	if err != nil {
		return nil // the tenant's trouble is in the answer already
	}
	defer leave()
	state, err := syncState(inside)
	if err == nil {
		s.Tenants[0].ConflictList, s.Tenants[0].ProblemList = conflictsOf(state), problemsOf(state)
	}
	return nil
}

// Stats counts what a loop did and what it has before it, for metrics.
type Stats struct {
	Revision  int64 // the control plane's, as last seen
	Tenants   int   // in scope
	Behind    int   // of these, with changes to apply
	Failed    int   // of these, failed several times
	Conflicts int   // rows that are not copied, in all tenants
	Problems  int   // rows and settings that an expression failed for, in all tenants
	Lag       int64 // revisions the tenant furthest behind lacks
	Visits    int64 // made and gone well, since New
	Failures  int64 // made and gone wrong, since New
	Trouble   error // why the control plane could not be read; nil when it could

	// Since New: tenants compared by Drift and Plan and differences found in them,
	// tenants that a repair wrote something in, and those it could not repair.
	Compared, Differing, Repaired, RepairFailures int64
}

// Stats returns the counts of now, from memory.
func (l *Loop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Visits: l.visits, Failures: l.failures, Trouble: l.trouble, Compared: l.compared.Load(), Differing: l.differing.Load(),
		Repaired: l.repairedOnes.Load(), RepairFailures: l.repairsFailed.Load(),
	}
	if l.picture == nil {
		return s
	}
	s.Revision = l.picture.revision
	for _, t := range l.targets {
		if !inScope(t.tenant) {
			continue
		}
		s.Tenants++
		s.Conflicts += t.conflicts
		s.Problems += t.problems
		if t.behind(l.picture) {
			s.Behind++
			s.Lag = max(s.Lag, l.picture.revision-t.applied)
		}
		if t.attempts >= failedAfter {
			s.Failed++
		}
	}
	return s
}
