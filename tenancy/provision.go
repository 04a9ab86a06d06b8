package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// provisionStep is one of the steps from a reserved id to an active tenant.
type provisionStep struct {
	name string
	run  func(ctx context.Context, t *Tenant) error
	also string // another step of the contract that the same batch does; "" for none
}

// steps of contract C8.5, after the reservation. Each may be repeated.
func (l *Lifecycle) steps(settings map[string]json.RawMessage) []provisionStep {
	inside := func(f func(context.Context, *Tenant) error) func(context.Context, *Tenant) error {
		return func(ctx context.Context, t *Tenant) error {
			return l.Pool.Do(ctx, t, func(ctx context.Context) error { return f(ctx, t) })
		}
	}
	return []provisionStep{
		{name: "database", run: l.Pool.Create},
		{name: "migrate", run: inside(func(ctx context.Context, _ *Tenant) error { return Ping(ctx) })}, // opening does it
		{name: "seed", run: inside(func(ctx context.Context, t *Tenant) error { return seedTenant(ctx, t, !l.NoAPIExplorer, settings) }), also: "defaults"},
		{name: "keys", run: inside(func(ctx context.Context, _ *Tenant) error { return l.Keys.EnsureKeys(ctx) })},
		{name: "organization", run: l.link, also: "owner"},
		{name: "sync", run: func(ctx context.Context, t *Tenant) error {
			if l.Sync == nil {
				return nil
			}
			return l.Sync.Snapshot(ctx, t)
		}, also: "settings"},
		{name: "verify", run: l.verify},
	}
}

// provisionTime bounds a run of the steps: one that began longer ago has ended.
const provisionTime = time.Minute

// tries is how often a step is tried before the tenant is failed (C8.7).
const tries = 3

func (l *Lifecycle) provision(ctx context.Context, t *Tenant, j *journal) (*Tenant, error) {
	// A caller who hangs up does not leave a tenant half made.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), provisionTime)
	defer cancel()
	var settings map[string]json.RawMessage
	if j != nil {
		settings = j.op.Params.Settings
	}
	for _, step := range l.steps(settings) {
		j.note(step.name, "started", nil)
		err := step.run(ctx, t)
		for try := 1; err != nil && try < tries; try++ {
			j.note(step.name, "retried", err)
			time.Sleep(time.Duration(try-1) * 50 * time.Millisecond)
			err = step.run(ctx, t)
		}
		if err != nil {
			return nil, l.failed(ctx, t, step.name, err, j)
		}
		j.note(step.name, "succeeded", nil)
		if step.also != "" {
			j.note(step.also, "succeeded", nil)
		}
		if err := j.lasting(ctx, l.Directory); err != nil {
			return nil, l.cancelProvision(ctx, j)
		}
	}
	j.note("activate", "succeeded", nil)
	j.finish(OperationSucceeded, "")
	active, err := l.setState(ctx, t.ID, StateActive, "", j)
	if errors.Is(err, errCancelled) {
		return nil, l.cancelProvision(ctx, j)
	}
	if err != nil {
		return nil, l.failed(ctx, t, "activate", err, j)
	}
	l.record(ctx, active, "created")
	return active, nil
}

// failed notes why a tenant could not be made. The reason may name files and
// hosts, so it is kept for administrators of the platform and not answered.
func (l *Lifecycle) failed(ctx context.Context, t *Tenant, step string, cause error, j *journal) error {
	reason := step + ": " + cause.Error()
	j.note(step, "failed", cause)
	j.finish(OperationFailed, reason)
	_, err := l.setState(ctx, t.ID, StateFailed, reason, j)
	if errors.Is(err, errCancelled) {
		return l.cancelProvision(ctx, j)
	}
	if err == nil {
		l.record(ctx, t, "failed")
	}
	var more map[string]string
	if j != nil {
		more = map[string]string{"operation_id": j.id()}
	}
	return &Error{
		More:   more,
		Status: http.StatusServiceUnavailable, Code: "provisioning_failed",
		Message: fmt.Sprintf("Tenant '%s' could not be provisioned: step %s failed", t.ID, step),
		Cause:   errors.Join(cause, err),
	}
}

// giveUp fails a creation or an import that an end of its process cut off, so that
// the tenant can be deleted (contract C8.1, C8.4). While somebody may still be at
// it the error is a 409. A tenant in another state is left as it is.
func (l *Lifecycle) giveUp(ctx context.Context, id string) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil || t.State != StateProvisioning {
		return ignoreMissing(err) // that it is missing is for the caller to find
	}
	op, err := LastOperation(inside, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	var j *journal
	if err == nil && op.Status == OperationRunning {
		if op.busy(time.Now()) {
			return stateConflict(t, StateDeleting)
		}
		j = &journal{op: op, written: time.Now()}
		j.finish(OperationFailed, "cut off, and given up to delete the tenant")
	}
	before := j.revision()
	_, err = Tenants.Update(inside, id, func(now *Tenant) error {
		if now.State != StateProvisioning {
			return ErrUnchanged // it ended meanwhile
		}
		if now.Revision != t.Revision {
			return stateConflict(now, StateDeleting)
		}
		now.State, now.ProvisioningError = StateFailed, "cut off"
		return nil
	}, j.stmts(inside)...)
	if errors.Is(err, ErrStale) { // somebody took it up
		err = stateConflict(t, StateDeleting)
	}
	if err != nil {
		j.undo(before)
		return err
	}
	return l.Directory.Refresh(ctx)
}

// setState moves a tenant on and writes the journal with it, in one batch.
func (l *Lifecycle) setState(ctx context.Context, id string, next State, reason string, j *journal) (*Tenant, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	alter := func(t *Tenant) error {
		if t.IsControlPlane() {
			return Errorf(http.StatusForbidden, "system_resource", "The control plane is always active")
		}
		if t.State != next && !t.State.MayBecome(next) {
			return stateConflict(t, next)
		}
		t.State, t.ProvisioningError = next, reason
		return nil
	}
	n, err := l.noticeOf(ctx, inside, id, next, j)
	if err != nil {
		return nil, err
	}
	told := Deliver(inside, l.Webhooks, n)
	before := j.revision()
	t, err := Tenants.Update(inside, id, alter, append(told, j.stmts(inside)...)...)
	if errors.Is(err, ErrStale) && j != nil {
		j.undo(before)
		if err := j.asked(inside); err != nil {
			return nil, err
		}
		if j.op.Status == OperationCancelled {
			return nil, err
		}
		// Another process was at the same operation, and its record stands.
		t, err = Tenants.Update(inside, id, alter, told...)
	}
	if err != nil {
		j.undo(before)
		return nil, err
	}
	j.kept()
	l.announce(n)
	return t, l.Directory.Refresh(ctx)
}

func (l *Lifecycle) record(ctx context.Context, t *Tenant, what string) {
	if l.Recorder == nil {
		return
	}
	if inside, leave, err := l.Directory.EnterControlPlane(ctx); err == nil { // whose log it belongs in
		defer leave()
		ctx = inside
	}
	l.Recorder.Record(ctx, Event{
		Date: At(time.Now()), Type: "gh_tenant", Description: "tenant." + what,
		Details: json.RawMessage(fmt.Sprintf(`{"tenant_id":%q,"state":%q}`, t.ID, t.State)),
	})
}
