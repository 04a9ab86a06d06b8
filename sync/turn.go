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
