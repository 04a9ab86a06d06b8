package tenancy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// Cancellation is the wish that an operation ends before it is done.
type Cancellation struct {
	By string `json:"by"` // subject; "" for the platform itself
	At Time   `json:"at"`
}

// errCancelled is what work ends with that was cancelled.
var errCancelled = Errorf(http.StatusConflict, "operation_cancelled", "The operation was cancelled")

// Cancel has an operation end before it is done (contract C5.28), and returns it.
// The wish is written into the operation's record, which takes the record away from
// whoever is at it: they notice when they write it the next time, within about a
// second, and nothing they would have brought about then is. So an operation whose
// cancellation was accepted does not make a tenant active, or switch it to another
// database; until they noticed it is running still. Where nobody is at it any more
// it is cancelled at once. Asking twice changes nothing.
//
// A tenant that was being made or imported is failed afterwards, and the same wish
// again goes on making it; one that moved or was restored over is where it was. A
// repair leaves what it did. An upgrade that cannot stop any more succeeds.
//
// Errors: [ErrNotFound], and 409 for what cannot be cancelled, with the reason.
func (l *Lifecycle) Cancel(ctx context.Context, operationID string) (*Operation, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		op, err := Operations.Get(inside, operationID)
		if err != nil {
			return nil, err
		}
		if err := op.mayCancel(); err != nil {
			return nil, err
		}
		j, attended := &journal{op: op, written: time.Now()}, op.attended(time.Now())
		if op.Params.Cancel == nil {
			op.Params.Cancel = &Cancellation{actor(ctx), At(time.Now())}
			j.aside("cancel", "started")
			err = j.commit(inside)
		}
		if err == nil && !attended {
			err = l.endCancelled(inside, j)
		}
		if !errors.Is(err, ErrStale) { // else it went on meanwhile
			return op, err
		}
	}
}

func (o *Operation) mayCancel() error {
	refused := func(why string) error {
		return Errorf(http.StatusConflict, "operation_conflict", "Operations of kind %q cannot be cancelled: %s", o.Kind, why)
	}
	switch o.Kind {
	case OperationProvision, OperationMove, OperationImport, OperationRepair, OperationUpgrade:
	case OperationDeprovision:
		return refused("what was removed is gone, and the rest has to go, too")
	default:
		return refused("they do not take long")
	}
	if o.Status != OperationRunning {
		return Errorf(http.StatusConflict, "operation_conflict", "Operation is %s and cannot be cancelled", o.Status)
	}
	return nil
}

// attended reports whether somebody may be at the operation, who will notice that
// it is to be cancelled.
func (o *Operation) attended(now time.Time) bool {
	switch o.Kind {
	case OperationProvision:
		return o.busy(now)
	case OperationRepair:
		return o.Status == OperationRunning && o.CurrentStep != "" && At(now) < o.UpdatedAt.Add(repairLease)
	}
	return o.alive(now)
}

// cancelled reports whether the operation was to be cancelled but nobody did.
func (o *Operation) cancelled() bool {
	return o.Status == OperationRunning && o.Params.Cancel != nil
}

// asked looks why the journal could not be written: nil, where another run took the
// operation up, and [errCancelled] where it is to be cancelled. Then the journal
// goes on from there.
func (j *journal) asked(inside context.Context) error {
	if j == nil {
		return nil
	}
	now, err := Operations.Get(inside, j.op.ID)
	if err != nil || now.Attempt != j.op.Attempt || !now.cancelled() {
		return ignoreMissing(err)
	}
	j.op.Revision, j.op.Params.Cancel = now.Revision, now.Params.Cancel
	return errCancelled
}

// stale is the error of a run whose journal could not be written because it had
// changed.
func (j *journal) stale(inside context.Context) error {
	if err := j.asked(inside); err != nil {
		return err
	}
	return errMoveEnded
}

// aside notes what is no step of the work.
func (j *journal) aside(step, outcome string) {
	at := j.op.CurrentStep
	j.note(step, outcome, nil)
	j.op.CurrentStep = at
}

// withdraw forgets that steps succeeded, where the batch that said so was not
// written.
func (j *journal) withdraw(steps ...string) {
	j.entries = slices.DeleteFunc(j.entries, func(e *OperationEvent) bool {
		return e.Outcome == "succeeded" && slices.Contains(steps, e.Step)
	})
}

// endCancelled records that the operation is cancelled, and removes the copy that
// it filled. It is for whoever is at the operation, and for anybody where nobody is.
func (l *Lifecycle) endCancelled(inside context.Context, j *journal) error {
	j.aside("cancel", "succeeded")
	j.finish(OperationCancelled, "")
	id := j.op.Subject
	if j.op.Kind == OperationProvision {
		_, err := l.setState(inside, id, StateFailed, "cancelled", j)
		return err
	}
	if err := j.commit(inside); err != nil {
		return err
	}
	if j.op.Kind != OperationMove && j.op.Kind != OperationImport {
		return nil
	}
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return ignoreMissing(err)
	}
	if j.op.Kind == OperationImport && t.State == StateProvisioning {
		err = l.halfImported(inside, t)
	}
	if c, ok := t.incoming(); ok && c.Operation == j.op.ID {
		err = errors.Join(err, l.dropCopy(inside, t, c))
	}
	return errors.Join(err, l.Directory.Refresh(inside))
}

// cancelProvision ends the making of a tenant.
func (l *Lifecycle) cancelProvision(ctx context.Context, j *journal) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	j.withdraw("activate")
	return errors.Join(errCancelled, l.endCancelled(inside, j))
}

// watched returns a context that ends when the operation is to be cancelled or was
// taken up by another run, for work that writes no journal itself. stop ends the
// watch and returns the reason; nil for none. Until then the journal is the watch's.
func (l *Lifecycle) watched(ctx context.Context, j *journal) (_ context.Context, stop func() error) {
	ctx, cancel := context.WithCancelCause(ctx)
	pulse, gone, enough := j.pulse(l.Directory), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(pulseEvery)
		defer tick.Stop()
		for {
			select {
			case <-enough:
				return
			case <-tick.C:
			}
			if err := pulse(ctx); err != nil {
				cancel(err)
				return
			}
		}
	}()
	return ctx, func() error {
		close(enough)
		<-gone
		defer cancel(nil)
		return context.Cause(ctx)
	}
}
