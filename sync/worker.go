package sync

import (
	"context"
	"errors"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// end waits for the workers, keeps what they did, and gives up the turn.
func (r *run) end(ctx context.Context) {
	close(r.jobs)
	close(r.retryJobs)
	r.group.Wait() // results has room for all of them
	for len(r.results) > 0 {
		r.finish(ctx, <-r.results)
	}
	r.lastNotes(ctx)
	r.endTurn(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		t.busy = false
	}
}

// work makes a visit for a worker.
func (r *run) work(ctx context.Context, j job) result {
	bounded, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	out, err := r.visit(bounded, j, r.pool.EnterIdle)
	switch {
	case err != nil && ctx.Err() == nil:
		r.tell(ctx, j, err)
	case err == nil && out.problem != "":
		r.tellProblem(ctx, j, out.problem)
	}
	if err == nil && j.retry {
		r.tellApplied(ctx, map[string]any{"tenant_id": j.tenant.ID, "revision": out.revision})
	}
	return result{j, out, err}
}

// tell records a failure in the control plane's log, where it can be reached.
func (r *run) tell(ctx context.Context, j job, failure error) {
	r.mu.Lock()
	attempts := j.target.attempts + 1
	r.mu.Unlock()
	inside, leave, err := r.enterControlPlane(ctx)
	if err != nil {
		return // the failure itself is in the status
	}
	defer leave()
	r.rules.record(inside, j.tenant.ID, attempts, failure)
}

// tellApplied records that a tenant is up to date that was not for a while, or that
// a pass over tenants is done: an event for each of ten thousand tenants would be
// more work than what it tells of (contract C8.15).
func (r *run) tellApplied(ctx context.Context, details map[string]any) {
	if inside, leave, err := r.enterControlPlane(ctx); err == nil { // else it is in the status
		defer leave()
		r.rules.tell(inside, "sync.applied", details)
	}
}

// tellProblem records that something in a tenant was left as it was, when it is
// not what was left the last time.
func (r *run) tellProblem(ctx context.Context, j job, problem string) {
	r.mu.Lock()
	known := j.target.lastError == problem
	r.mu.Unlock()
	if known {
		return
	}
	inside, leave, err := r.enterControlPlane(ctx)
	if err != nil {
		return // it is in the status
	}
	defer leave()
	r.rules.tell(inside, "an expression of the configuration failed", map[string]any{"tenant_id": j.tenant.ID, "error": problem})
}

// enterer is one of the ways into a tenant.
type enterer = func(ctx context.Context, t *tenancy.Tenant) (inside context.Context, leave func(), err error)

// visit brings a tenant to the picture of its job, or to a newer one.
func (l *Loop) visit(ctx context.Context, j job, enter enterer) (outcome, error) {
	return l.visitBy(ctx, j, &l.rules, nil, enter)
}

// visitBy is visit by other rules, of the part that is not nil.
func (l *Loop) visitBy(ctx context.Context, j job, by *rules, part *work, enter enterer) (outcome, error) {
	inside, leave, err := enter(ctx, j.tenant)
	if err != nil {
		return outcome{}, err
	}
	defer leave()
	v := &visitor{rules: by, tenant: j.tenant, inside: inside}
	out, err := v.visitPart(j.picture, j.full, false, part)
	for try := 0; errors.Is(err, errAhead) && try < visitTries; try++ {
		// Somebody else knew more, or the control plane was restored from a backup.
		fresh, trouble := l.look(ctx)
		if trouble != nil {
			return outcome{}, trouble
		}
		out, err = v.visitPart(fresh, j.full, fresh.revision < out.revision, part)
	}
	return out, err
}
