package tenancy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"time"
)

// entry is one tenant's database: waited for, being opened, open, or being closed.
type entry struct {
	pool      *Pool
	key       string
	tenant    *Tenant // as it was when it was opened
	placement *placement
	engine    *engine
	vault     *vault
	db        Database
	fence     fence
	cache     cache

	ready chan struct{} // closed when db or err is set
	err   error
	done  chan struct{} // closed when the database is closed, or could not be opened

	// Guarded by Pool.mu.
	state   state
	rank    rank // who entered it, of those the most important
	refs    int  // who is inside or waits to be
	place   *list.Element
	left    uint64    // when one of its rank left last, by Pool.departures
	since   time.Time // the same by the clock
	began   time.Time // when its opening or closing began
	late    bool      // which takes too long
	dropped bool      // no longer in Pool.entries: close when refs is 0
}

// state is where an entry is in its life. Its place is in a queue while it is
// queued, among the idle while it is open and nobody is inside, else nil.
type state int

const (
	queued state = iota
	opening
	opened
	closing
)

// rank is how important a visitor is.
type rank int

const (
	visitor rank = iota
	background
	passing // one who comes in because the database is open anyway, and leaves no trace
)

// openTime is after what time a provider gives up opening a database.
const openTime = 30 * time.Second

// start has a queued entry opened; the pool is locked.
func (p *Pool) start(e *entry) {
	pl := e.placement
	pl.queue[e.rank].Remove(e.place)
	e.place, e.state, e.began = nil, opening, time.Now()
	pl.slots, p.slots = pl.slots+1, p.slots+1
	p.taken += pl.files
	pl.opening++
	if e.rank == background {
		p.idlers++
	}
	go p.open(e)
}

// open runs on its own, so that a caller who gives up does not spoil it for the
// others who wait for the same database.
func (p *Pool) open(e *entry) {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	watch := time.AfterFunc(p.patience, func() { p.tooSlow(e, opening, &e.placement.opening, &e.placement.lateOpening) })
	defer watch.Stop()
	t := e.tenant
	v, err := p.master.vault(t.ID, t.DataKey)
	var db Database
	if err != nil {
		err = Unavailable(fmt.Errorf("data key of tenant %s: %w", t.ID, err),
			"the master secret is not the one this tenant was created with; set the same secret again")
	} else if db, err = e.engine.provider.Open(ctx, t.Location()); err != nil && !errors.Is(err, ErrUnavailable) && ctx.Err() != nil {
		err = Unavailable(err, "see whether its placement "+t.Placement+" can be reached")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened(e)
	e.vault, e.db, e.err = v, db, err
	p.settle(e)
}

// settle notes what became of an opening; the pool is locked.
func (p *Pool) settle(e *entry) {
	pl := e.placement
	pl.observe(time.Since(e.began))
	if e.late {
		pl.lateOpening--
	} else {
		pl.opening--
	}
	e.late = false
	close(e.ready)
	if e.err != nil {
		pl.failed++
		p.failures.add(e.key, pl.name, e.err, p.now())
		if p.entries[e.key] == e {
			delete(p.entries, e.key)
		}
		e.state, e.dropped = closing, true
		p.free(e)
		return
	}
	delete(p.failures, e.key)
	e.state = opened
	switch {
	case e.refs > 0:
	case e.dropped:
		p.shut(e)
	default:
		p.rest(e)
	}
	p.dispatch()
}

// tooSlow notes that an entry has been in a state for long: what it takes of the
// placement's turns is counted apart from then on.
func (p *Pool) tooSlow(e *entry, in state, from, to *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.state != in || e.late {
		return
	}
	e.late = true
	*from, *to = *from-1, *to+1
	p.dispatch()
}

// free gives back what an entry took; the pool is locked.
func (p *Pool) free(e *entry) {
	pl := e.placement
	pl.slots, p.slots = pl.slots-1, p.slots-1
	p.taken -= pl.files
	if e.rank == background {
		p.idlers--
	}
	close(e.done)
	p.dispatch()
}

// hold adds a reference; the pool is locked.
func (p *Pool) hold(e *entry, who rank) {
	e.refs++
	switch e.state {
	case opened:
		p.wake(e)
	case queued:
		if who < e.rank { // it moves into the queue of those who are waited for
			e.placement.queue[e.rank].Remove(e.place)
			e.rank = who
			e.place = e.placement.queue[who].PushBack(e)
			p.dispatch()
			return
		}
	}
	if who < e.rank {
		e.rank = who
		p.idlers--
	}
}

// leave takes a reference away. The last one to leave closes what was dropped.
func (p *Pool) leave(e *entry, who rank) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.refs--
	if who <= e.rank {
		p.departures++
		e.left, e.since = p.departures, p.now()
	}
	if e.refs > 0 {
		return
	}
	switch {
	case e.state == queued:
		e.placement.queue[e.rank].Remove(e.place)
		e.place, e.dropped = nil, true
		delete(p.entries, e.key)
		close(e.done)
	case e.state != opened:
	case e.dropped:
		p.shut(e)
	default:
		p.rest(e)
		if p.waiting() > 0 {
			p.dispatch()
		}
	}
}

// rest puts an entry among the idle ones of its placement, at the place that its
// last visitor gives it; the pool is locked.
func (p *Pool) rest(e *entry) {
	if e.left == 0 { // nobody waited for it to open
		p.departures++
		e.left, e.since = p.departures, p.now()
	}
	idle := e.placement.idle[e.rank]
	p.sweepIn(p.idleTimeOf(e.rank))
	for at := idle.Back(); at != nil; at = at.Prev() {
		if at.Value.(*entry).left <= e.left {
			e.place = idle.InsertAfter(e, at)
			return
		}
	}
	e.place = idle.PushFront(e)
}

// wake takes an entry from among the idle ones; the pool is locked.
func (p *Pool) wake(e *entry) {
	if e.place != nil {
		e.placement.idle[e.rank].Remove(e.place)
		e.place = nil
	}
}

// discard takes an entry out of the pool, so that nobody enters it any more, and
// closes it once it is left; the pool is locked.
func (p *Pool) discard(e *entry, why error) {
	delete(p.entries, e.key)
	e.dropped = true
	switch e.state {
	case queued:
		e.placement.queue[e.rank].Remove(e.place)
		e.place, e.state = nil, closing
		e.err = Unavailable(why, "")
		close(e.ready)
		close(e.done)
	case opened:
		p.wake(e)
		if e.refs == 0 {
			p.shut(e)
		}
	}
}

// shut closes an open entry that nobody is inside of; the pool is locked. It
// keeps its place in the budget until it is closed.
func (p *Pool) shut(e *entry) {
	p.wake(e)
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	e.dropped, e.state, e.began = true, closing, time.Now()
	p.closing[e] = true
	e.placement.closing++
	go func() {
		watch := time.AfterFunc(p.patience, func() { p.tooSlow(e, closing, &e.placement.closing, &e.placement.lateClosing) })
		_ = e.db.Close() // a database that does not close cleanly recovers when it is opened
		watch.Stop()
		p.mu.Lock()
		defer p.mu.Unlock()
		if e.late {
			e.placement.lateClosing--
		} else {
			e.placement.closing--
		}
		delete(p.closing, e)
		p.free(e)
	}()
}
