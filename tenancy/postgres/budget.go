package postgres

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// budget bounds how many connections a provider has at a time, over all its
// databases. It is safe for concurrent use.
type budget struct {
	limit int

	mu      sync.Mutex
	used    int
	waiting list.List // of chan struct{}, who waited longest first
	members map[*database]struct{}
}

func newBudget(limit int) *budget {
	return &budget{limit: limit, members: make(map[*database]struct{})}
}

// patience is how long somebody waits for a connection before the answer is
// that there is none.
const patience = 10 * time.Second

var errNoConnection = errors.New("no connection became free")

const hintConns = "raise max_connections of this placement"

// take waits for the right to one more connection. Where all are given out, idle
// connections of databases are closed, those of the longest unused first.
func (b *budget) take(ctx context.Context) error {
	b.mu.Lock()
	if b.used < b.limit && b.waiting.Len() == 0 {
		b.used++
		b.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	place := b.waiting.PushBack(turn)
	b.mu.Unlock()
	b.shed()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-turn:
		return nil
	case <-timer.C:
		err = tenancy.Unavailable(fmt.Errorf("%w of %d", errNoConnection, b.limit), hintConns)
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-turn: // given after all
		b.pass()
	default:
		b.waiting.Remove(place)
	}
	return err
}

// give returns the right to a connection that was closed.
func (b *budget) give() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass()
}

// pass hands one connection to whoever waits longest, or back; b is locked.
func (b *budget) pass() {
	if first := b.waiting.Front(); first != nil {
		close(b.waiting.Remove(first).(chan struct{}))
		return
	}
	b.used--
}

// wanted reports whether somebody waits. Connections that come back meanwhile
// are closed instead of kept, see conn.IsValid.
func (b *budget) wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting.Len() > 0
}

// shed closes idle connections, database by database, until nobody waits or
// none is idle.
func (b *budget) shed() {
	tried := make(map[*database]bool)
	for b.wanted() {
		oldest := b.longestUnused(tried)
		if oldest == nil {
			return
		}
		tried[oldest] = true
		oldest.db.SetMaxIdleConns(-1) // closes them
		oldest.db.SetMaxIdleConns(tenantConns)
	}
}

func (b *budget) longestUnused(tried map[*database]bool) *database {
	b.mu.Lock()
	defer b.mu.Unlock()
	var oldest *database
	for d := range b.members {
		if !tried[d] && (oldest == nil || d.used.Load() < oldest.used.Load()) && d.db.Stats().Idle > 0 {
			oldest = d
		}
	}
	return oldest
}

func (b *budget) join(d *database) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[d] = struct{}{}
}

func (b *budget) quit(d *database) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, d)
}
