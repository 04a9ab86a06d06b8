package tenancy

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A restore or an import that ends with its process, by a kill or a power cut,
// leaves rows that nobody wants: of a tenant that is not there yet, or beside those
// of one that serves. They are not served, and what follows removes them, so that
// the tenant is whole or absent and the same command begins anew. What failed, and
// could say so, stays failed with its reason instead, for whoever asked for it.

// Leftovers removes what work that ended has left of tenants: copies whose time is
// over, see [Lifecycle.DropCopies], half of what was restored or imported, and
// backups of those that were deleted on another node. Backups that were cut off are
// done anew. What fails is tried again the next time.
func (l *Lifecycle) Leftovers(ctx context.Context, now time.Time) error {
	return errors.Join(l.DropCopies(ctx, now), l.endCutOff(ctx), l.forsaken(ctx, ""), l.resumeBackups(ctx))
}

// errCutOff is why an operation failed whose process ended.
var errCutOff = errors.New("cut off by the end of the process; what there was of it is removed, and it may be run again")

// endCutOff ends the restores and imports that nobody is at any more.
func (l *Lifecycle) endCutOff(ctx context.Context) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	list, err := Operations.Find(inside, Filter{Where: "kind = ? AND status = ?", Args: []any{OperationImport, OperationRunning}})
	errs := []error{err}
	for i := range list {
		if op := &list[i]; !op.alive(time.Now()) {
			errs = append(errs, l.endOne(ctx, inside, op))
		}
	}
	return errors.Join(errs...)
}

// endOne records that the operation failed, and removes what it left.
func (l *Lifecycle) endOne(ctx, inside context.Context, op *Operation) error {
	j := &journal{op: op, written: time.Now()}
	j.note(op.CurrentStep, "failed", errCutOff)
	j.finish(OperationFailed, op.CurrentStep+": "+errCutOff.Error())
	t, err := Tenants.Get(inside, op.Subject)
	if errors.Is(err, ErrNotFound) {
		return ignoreStale(j.commit(inside))
	}
	if err != nil {
		return err
	}
	if c, ok := t.incoming(); ok && c.Operation == op.ID {
		if err := errors.Join(l.dropCopy(inside, t, c), l.Directory.Refresh(ctx)); err != nil {
			return err
		}
	}
	half, err := l.isHalf(inside, t, op)
	if err != nil {
		return err
	}
	if !half {
		return ignoreStale(j.commit(inside))
	}
	gone := false
	_, err = Tenants.Update(inside, t.ID, func(now *Tenant) error {
		if now.Revision != t.Revision {
			return ErrUnchanged // somebody took it up
		}
		gone, now.State = true, StateDeleting
		return nil
	}, j.stmts(inside)...)
	if err != nil || !gone {
		return ignoreStale(ignoreMissing(err))
	}
	if err := l.Directory.Refresh(ctx); err != nil {
		return err
	}
	return l.Delete(ctx, t.ID) // goes on where it cannot be finished now
}

// isHalf reports whether the tenant's rows are what the operation left, and nobody
// has begun anew since.
func (l *Lifecycle) isHalf(inside context.Context, t *Tenant, op *Operation) (bool, error) {
	if t.ProvisioningStep == "" || t.State != StateFailed && t.State != StateProvisioning {
		return false, nil
	}
	later, err := Operations.Count(inside, Filter{
		Where: "subject = ? AND kind = ? AND id <> ? AND created_at >= ?", Args: []any{t.ID, OperationImport, op.ID, op.CreatedAt},
	})
	return later == 0, err
}

// beat shows that the operation goes on until stop is called, also in steps that
// write nothing for long.
func (l *Lifecycle) beat(ctx context.Context, j *journal) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	id := j.id()
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(pulseEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			inside, leave, err := l.Directory.EnterControlPlane(ctx)
			if err != nil {
				continue // the next may arrive
			}
			// The revision stays: this is beside what the operation writes itself.
			_, _ = CommitCount(inside, SQL(inside, `UPDATE operations SET updated_at = ? WHERE tenant_id = @tenant AND id = ? AND status = ?`,
				At(time.Now()), id, OperationRunning))
			leave()
		}
	})
	return func() { cancel(); beating.Wait() }
}
