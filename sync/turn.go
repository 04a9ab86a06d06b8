package sync

import (
	"context"
	"time"
)

// lockName is the lock that processes take turns by.
const lockName = "gatehouse_sync"

// turn is whether this process works now. One lock covers a burst of work in
// all tenants: a lock for each would cost more than the work it saves.
type turn struct {
	state  turnState
	locked bool       // the lock is held
	answer chan error // what the locker said
}

type turnState int

const (
	turnNone turnState = iota
	turnAsked
	turnOurs
)

// takeTurns asks for this process's turn where there is work, and gives it up
// where there is none.
func (r *run) takeTurns(ctx context.Context) {
	work := len(r.queue)+len(r.retries)+r.busy > 0
	switch {
	case work && r.turn.state == turnNone && r.locker == nil:
		r.turn.state = turnOurs
	case work && r.turn.state == turnNone:
		r.turn.state = turnAsked
		r.group.Go(func() { r.turn.answer <- r.locker.Lock(ctx, lockName) })
	case !work && r.turn.state == turnOurs:
		r.giveUpTurn(ctx)
		r.endPass(ctx)
	}
}

// pass is a burst of work: what was done since there was nothing to do.
type pass struct {
	tenants  int // in which something was written
	failed   int // visits
	revision int64
}

// endPass records what a pass did, if it did anything.
func (r *run) endPass(ctx context.Context) {
	done := r.pass
	r.pass = pass{}
	if done.tenants > 0 {
		r.group.Go(func() {
			r.tellApplied(ctx, map[string]any{"revision": done.revision, "tenants": done.tenants, "failed": done.failed})
		})
	}
}

// gotTurn goes on when it is this process's turn, or the lock cannot be had: it
// only saves work. What others did meanwhile need not be done again.
func (r *run) gotTurn(ctx context.Context, err error) {
	r.turn.state, r.turn.locked = turnOurs, err == nil
	_ = r.adopt(ctx) // else tenants are visited that need not be
}

func (r *run) giveUpTurn(ctx context.Context) {
	if r.turn.locked {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = r.locker.Unlock(ctx, lockName) // a lock that is not released expires
	}
	r.turn.state, r.turn.locked = turnNone, false
}

// endTurn gives up the turn for good; nothing that was started runs any more.
func (r *run) endTurn(ctx context.Context) {
	if r.turn.state == turnAsked {
		r.turn.locked = <-r.turn.answer == nil
	}
	r.giveUpTurn(ctx)
}
