package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// MoveOptions says where a tenant goes.
type MoveOptions struct {
	Placement string // required: name of the placement
	DropOld   bool   // the database that is left is dropped at once, and not after a day

	// Progress is told how far the move is; nil for nobody. It must not block.
	Progress func(Progress)
}

// MoveParams are what another run of a move needs.
type MoveParams struct {
	Placement string `json:"placement"`
	Database  string `json:"database"`
	DropOld   bool   `json:"drop_old,omitempty"`
}

// Move takes a tenant to another placement while it serves (contract C8.17). The
// rows are copied, then compared and corrected until little differs; then writes
// are fenced for a moment, what is left is corrected, every row is compared once
// more, and the registry row switches to the new database. Issuer, keys, sessions
// and tokens stay as they are, because every row does.
//
// A failure or a crash before the switch leaves the tenant where it was. The same
// move again goes on from there; a move elsewhere gives up what was begun. A
// tenant that is there already is left as it is.
//
// Errors: an [Error] 400 for a placement that is not configured, 403 for the
// control plane, 409 for a state that cannot move and while another run is at it,
// and 409 move_too_long where the fence would have to stand too long.
func (l *Lifecycle) Move(ctx context.Context, id string, o MoveOptions) error {
	m, err := l.beginMove(ctx, id, o)
	if err != nil || m == nil {
		return err
	}
	return m.finish(ctx, m.run(ctx))
}

// StartMove is [Lifecycle.Move] behind the caller: it returns the operation as it
// began, or nil where the tenant is there already.
func (l *Lifecycle) StartMove(ctx context.Context, id string, o MoveOptions) (*Operation, error) {
	m, err := l.beginMove(ctx, id, o)
	if err != nil || m == nil {
		return nil, err
	}
	began := *m.j.op
	go func() {
		ctx := context.WithoutCancel(ctx)
		_ = m.finish(ctx, m.run(ctx)) // the operation records how it ends
	}()
	return &began, nil
}

// beginMove enters the move in the registry, or takes up one that was cut off. It
// returns nil where there is nothing to do.
func (l *Lifecycle) beginMove(ctx context.Context, id string, o MoveOptions) (*move, error) {
	if _, err := l.Pool.engine(o.Placement); err != nil {
		return nil, Errorf(http.StatusBadRequest, "invalid_body", "unknown placement '%s'", o.Placement)
	}
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return nil, err
	}
	if err := movable(t); err != nil {
		return nil, err
	}
	if begun, ok := t.incoming(); ok {
		j, err := l.takeMove(inside, t, begun, o)
		if err != nil {
			return nil, err
		}
		if j != nil {
			return l.newMove(t, j, o), l.Directory.Refresh(ctx)
		}
	}
	if t.Placement == o.Placement {
		return nil, nil
	}
	if err := l.clearTarget(inside, t, o.Placement); err != nil {
		return nil, err
	}
	j := newOperation(OperationMove, t, actor(ctx), OperationParams{Move: &MoveParams{o.Placement, newDatabaseName(id), o.DropOld}})
	j.note("reserve", "succeeded", nil)
	stmts := j.stmts(inside)
	t, err = Tenants.Update(inside, id, func(t *Tenant) error {
		if err := movable(t); err != nil {
			return err
		}
		if _, ok := t.incoming(); ok || t.Placement == o.Placement {
			return errMoving(id) // somebody else was faster
		}
		t.Copies = append(slices.Clone(t.Copies), j.copy())
		return nil
	}, stmts...)
	if err != nil {
		return nil, err
	}
	j.kept()
	return l.newMove(t, j, o), l.Directory.Refresh(ctx)
}

func movable(t *Tenant) error {
	switch {
	case t.IsControlPlane():
		return Errorf(http.StatusForbidden, "system_resource", "The control plane cannot be moved")
	case t.State != StateActive && t.State != StateSuspended:
		return Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is %s and cannot be moved", t.ID, t.State)
	}
	return nil
}

// copy is where the move goes, as the registry lists it.
func (j *journal) copy() Copy {
	return Copy{j.op.Params.Move.Placement, j.op.Params.Move.Database, j.op.ID, At(time.Now().Add(copyKept))}
}

// takeMove takes up the move that fills the copy. Where that one goes elsewhere
// it is given up, and the result is nil.
func (l *Lifecycle) takeMove(inside context.Context, t *Tenant, begun Copy, o MoveOptions) (*journal, error) {
	op, err := Operations.Get(inside, begun.Operation)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, l.dropCopy(inside, t, begun)
	case err != nil:
		return nil, err
	case op.alive(time.Now()):
		return nil, errMoving(t.ID)
	}
	j := &journal{op: op, written: time.Now()}
	if op.cancelled() {
		return nil, l.endCancelled(inside, j)
	}
	if begun.Placement != o.Placement || op.Params.Move == nil || op.Status == OperationCancelled {
		if err := l.dropCopy(inside, t, begun); err != nil {
			return nil, err
		}
		if op.Status == OperationCancelled {
			return nil, nil
		}
		j.finish(OperationFailed, "given up for another move")
		return nil, ignoreStale(j.commit(inside))
	}
	op.again()
	op.Params.Move.DropOld = o.DropOld
	err = j.commit(inside)
	if errors.Is(err, ErrStale) {
		return nil, errMoving(t.ID)
	}
	return j, err
}

// clearTarget drops what an earlier move left where this one goes: a provider may
// have room for one database of a tenant only.
func (l *Lifecycle) clearTarget(inside context.Context, t *Tenant, placement string) error {
	target, err := l.Pool.engine(placement)
	if err != nil {
		return err
	}
	for _, c := range t.Copies {
		if e, err := l.Pool.engine(c.Placement); err == nil && e == target {
			if err := l.dropCopy(inside, t, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// resumeMoves takes up the moves that an end of the process cut off. Another
// process may still be at one; then it is left alone.
func (l *Lifecycle) resumeMoves(ctx context.Context) error {
	var errs []error
	for id, t := range l.Directory.All() {
		c, ok := t.incoming()
		if !ok || t.State == StateDeleting {
			continue
		}
		err := l.resumeMove(ctx, id, c)
		if StatusOf(err) == http.StatusConflict {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *Lifecycle) resumeMove(ctx context.Context, id string, c Copy) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for {
		op, err := Operations.Get(inside, c.Operation)
		if err != nil || op.Status != OperationRunning || op.Params.Move == nil {
			return ignoreMissing(err) // one that failed waits for whoever asked for it
		}
		if op.cancelled() && !op.alive(time.Now()) {
			return l.endCancelled(inside, &journal{op: op, written: time.Now()})
		}
		if !op.alive(time.Now()) {
			return l.Move(ctx, id, MoveOptions{Placement: c.Placement, DropOld: op.Params.Move.DropOld})
		}
		select {
		case <-time.After(pulseEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func ignoreStale(err error) error {
	if errors.Is(err, ErrStale) {
		return nil
	}
	return err
}

// tell adds an entry with a detail to the journal.
func (j *journal) tell(step, outcome string, detail any) {
	j.note(step, outcome, nil)
	j.entries[len(j.entries)-1].Detail, _ = json.Marshal(detail) // made of numbers and text
}

// errMoveEnded means that this run has no right to go on: the tenant was deleted
// or changed, or another run took the move over.
var errMoveEnded = errors.New("the tenant changed while it was moved, or another run took the move over")

// finish records how the move ended.
func (m *move) finish(ctx context.Context, cause error) error {
	if cause == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	l := m.life
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return errors.Join(cause, err)
	}
	defer leave()
	if errors.Is(cause, errCancelled) {
		m.j.withdraw("switch")
		return errors.Join(errCancelled, l.endCancelled(inside, m.j))
	}
	m.j.note(m.j.op.CurrentStep, "failed", cause)
	m.j.finish(OperationFailed, m.j.op.CurrentStep+": "+cause.Error())
	err = ignoreStale(m.j.commit(inside))
	err = errors.Join(err, m.cleanUp(inside))
	var shown *Error
	if errors.As(cause, &shown) {
		return cause
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "move_failed",
		Message: fmt.Sprintf("Tenant '%s' could not be moved: step %s failed; it stays where it was", m.from.ID, m.j.op.CurrentStep),
		Hint:    "see the operation for the reason; the same move again goes on from here",
		More:    map[string]string{"operation_id": m.j.id()}, Cause: errors.Join(cause, err),
	}
}

// cleanUp removes the target of a run that lost its right, where the registry does
// not name it any more: the run may have made it after it was dropped. Names are
// used once only, so it is nobody else's.
func (m *move) cleanUp(inside context.Context) error {
	t, err := Tenants.Get(inside, m.from.ID)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case slices.ContainsFunc(append(t.Copies, Copy{Placement: t.Placement, Database: t.Database}), m.to.same):
		return nil
	}
	return m.life.Pool.Drop(inside, m.to.at(m.from))
}
