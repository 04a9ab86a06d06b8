package tenancy

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Upgrade begins an operation that brings one tenant's database up to date now,
// whether or not it failed before, and returns it as it began. The work goes on
// behind the caller, and records how it ends (contract C5.27).
//
// Errors: [ErrNotFound], and an [Error] 409 for a tenant that is neither active
// nor suspended, 501 where there is no [Upgrader].
func (l *Lifecycle) Upgrade(ctx context.Context, id string) (*Operation, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return nil, err
	}
	return l.beginUpgrade(ctx, inside, t, newOperation(OperationUpgrade, t, actor(ctx), OperationParams{}))
}

// upgradeAgain runs an operation once more that failed or was cut off.
func (l *Lifecycle) upgradeAgain(ctx, inside context.Context, t *Tenant, op *Operation) (*Operation, error) {
	op.again()
	return l.beginUpgrade(ctx, inside, t, &journal{op: op, written: time.Now()})
}

func (l *Lifecycle) beginUpgrade(ctx, inside context.Context, t *Tenant, j *journal) (*Operation, error) {
	switch {
	case l.Upgrader == nil:
		return nil, Errorf(http.StatusNotImplemented, "not_supported", "Operations of kind %q are not supported", OperationUpgrade)
	case t.State != StateActive && t.State != StateSuspended:
		return nil, Errorf(http.StatusConflict, "tenant_conflict", "Tenant is %s and cannot be upgraded", t.State)
	}
	j.note("upgrade", "started", nil)
	if err := j.commit(inside); err != nil {
		return nil, err
	}
	began := *j.op
	go l.runUpgrade(context.WithoutCancel(ctx), t.ID, j)
	return &began, nil
}

func (l *Lifecycle) runUpgrade(ctx context.Context, id string, j *journal) {
	watched, stop := l.watched(ctx, j)
	failure := l.Upgrader.One(watched, id)
	asked := errors.Is(stop(), errCancelled)
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return // it is taken up again at the next start
	}
	defer leave()
	if failure == nil {
		j.note("upgrade", "succeeded", nil)
		j.finish(OperationSucceeded, "")
	} else if !asked {
		j.note("upgrade", "failed", failure)
		j.finish(OperationFailed, "upgrade: "+failure.Error())
	} else {
		_ = l.endCancelled(inside, j)
		return
	}
	if err := j.commit(inside); errors.Is(err, ErrStale) && errors.Is(j.asked(inside), errCancelled) {
		_ = j.commit(inside) // it had ended before anybody asked
	}
}

// resumeUpgrades takes up the operations that an end of the process cut off.
func (l *Lifecycle) resumeUpgrades(ctx context.Context) error {
	if l.Upgrader == nil {
		return nil
	}
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	list, err := Operations.Find(inside, Filter{Where: "kind = ? AND status = ?", Args: []any{OperationUpgrade, OperationRunning}})
	errs := []error{err}
	for i := range list {
		op := &list[i]
		if op.cancelled() {
			errs = append(errs, l.endCancelled(inside, &journal{op: op, written: time.Now()}))
			continue
		}
		t, err := Tenants.Get(inside, op.Subject)
		if err == nil {
			_, err = l.upgradeAgain(ctx, inside, t, op)
		}
		var refused *Error
		if errors.Is(err, ErrNotFound) || errors.As(err, &refused) { // there is nothing to upgrade any more
			j := &journal{op: op}
			j.finish(OperationFailed, "upgrade: the tenant is gone")
			err = j.commit(inside)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
