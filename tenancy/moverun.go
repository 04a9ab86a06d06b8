package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// move is one run of a move. It is used by one goroutine.
type move struct {
	life     *Lifecycle
	j        *journal
	from     *Tenant // as it was when the run began
	to       Copy
	progress func(Progress)
	until    Time // end of the fence that was announced; 0 for none
}

func (l *Lifecycle) newMove(t *Tenant, j *journal, o MoveOptions) *move {
	return &move{life: l, j: j, from: t, to: j.copy(), progress: o.Progress}
}

// Bounds of the passes in which a move catches up.
const (
	closeEnough = 50 // rows that may differ when the fence is raised
	passLimit   = 12
	switchTime  = time.Second // kept of the fence's time for the switch
)

// run goes through the steps of the move.
func (m *move) run(ctx context.Context) error {
	l := m.life
	target, err := l.Pool.engine(m.to.Placement)
	if err != nil {
		return err
	}
	m.j.note("target", "started", nil)
	loc := Location{Tenant: m.from.ID, Name: m.to.Database}
	if err := target.provider.Create(ctx, loc); err != nil {
		return err
	}
	db, err := target.provider.Open(ctx, loc)
	if err != nil {
		return err
	}
	m.j.note("target", "succeeded", nil)
	err = l.Pool.Do(ctx, m.from, func(inside context.Context) error {
		s, err := spaceOf(inside)
		if err != nil {
			return err
		}
		source, sink := newSink(s.entry.db, s.entry.engine.rebind, m.from.ID), newSink(db, target.rebind, m.from.ID)
		if err := sink.claim(inside); err != nil {
			return err
		}
		if err := m.registry(inside, func(*Tenant) error { return nil }); err != nil {
			return err
		}
		return m.carry(inside, source, sink)
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return m.leaveOld(ctx)
}

// carry copies, catches up, and switches behind the fence.
func (m *move) carry(ctx context.Context, source, target *rawSink) error {
	match := &matcher{from: &source.rawSource, to: target, progress: m.progress, pulse: m.pulse}
	last, err := m.catchUp(ctx, match)
	if err != nil {
		return err
	}
	// Two passes stand behind the fence: one that corrects, and one over the
	// tables it changed.
	if estimate := clockSkew + 2*last + switchTime; estimate > fenceLimit-switchTime {
		return &Error{
			Status: http.StatusConflict, Code: "move_too_long",
			Message: fmt.Sprintf("Tenant '%s' would refuse writes for about %v while it moves; at most %v are allowed", m.from.ID, estimate.Round(time.Second), fenceLimit),
			Hint:    "move it again when there is less load, or shorten the log with \"logs keep\" first",
		}
	}
	if err := m.raise(ctx, source); err != nil {
		return errors.Join(err, m.lower(ctx, source))
	}
	began := time.Now()
	sums, err := match.settle(ctx, "fence")
	if err == nil {
		var rows int64
		for _, sum := range sums {
			rows += sum.Rows
		}
		m.j.tell("verify", "succeeded", map[string]any{"rows": rows, "tables": len(sums), "milliseconds": time.Since(began).Milliseconds()})
		if err = target.release(ctx); err == nil {
			err = m.switchOver(ctx)
		}
	}
	if err != nil {
		return errors.Join(err, m.lower(ctx, source))
	}
	// For nodes that have lost the control plane and still write here.
	_ = noteFence(context.WithoutCancel(ctx), source, movedAway)
	return nil
}

// catchUp copies until little differs, and returns how long the last pass took.
func (m *move) catchUp(ctx context.Context, match *matcher) (time.Duration, error) {
	tables := rawTables()
	if err := match.count(ctx, tables); err != nil {
		return 0, err
	}
	step, before := "copy", int64(-1)
	for pass := 1; ; pass++ {
		m.j.note(step, "started", nil)
		began := time.Now()
		result, err := match.match(ctx, step, tables)
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		m.j.tell(step, "succeeded", map[string]any{"pass": pass, "differences": result.Differences, "milliseconds": took.Milliseconds()})
		shrinking := before < 0 || pass < 3 || result.Differences < before
		if pass > 1 && (result.Differences <= closeEnough || !shrinking || pass == passLimit) {
			return took, nil
		}
		step, before = "catch_up", result.Differences
	}
}

// pulse shows that the run goes on, and ends it where it must.
func (m *move) pulse(ctx context.Context) error {
	l := m.life
	t, ok := l.Directory.ByID(m.from.ID)
	if !ok || !m.fills(t) {
		return errMoveEnded
	}
	return m.j.pulse(l.Directory)(ctx)
}

// raise announces the fence and waits until it stands: once its note is written
// into the source, no batch that is acknowledged comes after it.
func (m *move) raise(ctx context.Context, source *rawSink) error {
	m.j.note("fence", "started", nil)
	if m.progress != nil {
		m.progress(Progress{Step: "fence"})
	}
	from := At(time.Now().Add(sureFor + clockSkew))
	until := from.Add(fenceLimit)
	err := m.registry(ctx, func(t *Tenant) error {
		t.FenceFrom, t.FenceUntil = from, until
		return nil
	})
	if err != nil {
		return err
	}
	m.until = until
	wait := time.NewTimer(sureFor + clockSkew) // by a clock that does not jump
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	// The note in the database stands from now on: it knows no beginning.
	return noteFence(ctx, source, until)
}

// fills reports whether the registry row says that the tenant is where it was, and
// that the run's target is on its way to become the tenant's database.
func (m *move) fills(t *Tenant) bool {
	c, ok := t.incoming()
	return ok && c.same(m.to) && movable(t) == nil &&
		t.Placement == m.from.Placement && t.Database == m.from.Database && t.DataKey == m.from.DataKey
}

// registry changes the tenant's registry row, on condition that this run is still
// the one and the tenant still where it was.
func (m *move) registry(ctx context.Context, alter func(*Tenant) error, told ...*Notice) error {
	inside, leave, err := m.life.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	before, stmts := m.j.revision(), m.j.stmts(inside)
	for _, n := range told {
		stmts = append(stmts, Deliver(inside, m.life.Webhooks, n)...)
	}
	_, err = Tenants.Update(inside, m.from.ID, func(t *Tenant) error {
		if !m.fills(t) {
			return errMoveEnded
		}
		return alter(t)
	}, stmts...)
	if err != nil {
		m.j.undo(before)
		if errors.Is(err, ErrStale) {
			return m.j.stale(inside)
		}
		return err
	}
	m.j.kept()
	return m.life.Directory.Refresh(ctx)
}

// lower takes the fence down after a failure. Where it cannot, the fence ends by
// itself.
func (m *move) lower(ctx context.Context, source *rawSink) error {
	if m.until == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fenceLimit)
	defer cancel()
	err := m.registry(ctx, func(t *Tenant) error {
		t.FenceFrom, t.FenceUntil = 0, 0
		return nil
	})
	if errors.Is(err, errMoveEnded) {
		err = nil
	}
	return errors.Join(err, unnoteFence(ctx, source, m.until))
}

// switchOver has the tenant live in its new database from now on.
func (m *move) switchOver(ctx context.Context) error {
	m.j.note("switch", "started", nil)
	kept := copyKept
	if m.j.op.Params.Move.DropOld {
		kept = 0
	}
	m.j.note("switch", "succeeded", nil)
	m.j.finish(OperationSucceeded, "")
	n := m.life.notice(ctx, m.from, "moved", m.j, map[string]any{"from": m.from.Placement, "to": m.to.Placement})
	err := m.registry(ctx, func(t *Tenant) error {
		if At(time.Now().Add(switchTime)) > t.FenceUntil || t.FenceUntil != m.until {
			return errors.New("the write fence ended before the switch")
		}
		t.Copies = append(t.without(m.to), Copy{Placement: t.Placement, Database: t.Database, DropAt: At(time.Now().Add(kept))})
		t.Placement, t.Database, t.FenceFrom, t.FenceUntil = m.to.Placement, m.to.Database, 0, 0
		return nil
	}, n)
	if err == nil || m.switched(ctx) {
		m.life.announce(n)
		return nil
	}
	m.j.finish(OperationRunning, "")
	m.j.op.FinishedAt = 0
	return err
}

// switched reads whether the registry has switched although an error came back.
func (m *move) switched(ctx context.Context) bool {
	inside, leave, err := m.life.Directory.EnterControlPlane(context.WithoutCancel(ctx))
	if err != nil {
		return false
	}
	defer leave()
	t, err := Tenants.Get(inside, m.from.ID)
	return err == nil && m.to.same(Copy{Placement: t.Placement, Database: t.Database})
}

// leaveOld closes the old database, and drops it where that was asked for. The
// tenant has moved: what fails here is done later by [Lifecycle.DropCopies].
func (m *move) leaveOld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if m.progress != nil {
		m.progress(Progress{Step: "switch"})
	}
	_ = m.life.Directory.Refresh(ctx)
	m.life.record(ctx, m.from, "moved")
	if m.j.op.Params.Move.DropOld {
		return m.life.dropDue(ctx, m.from.ID, At(time.Now()))
	}
	_ = m.life.Pool.Forget(ctx, m.from)
	return nil
}
