package tenancy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// LogBook keeps events in the log of the tenant they happened in. It writes them
// in the background, many at a time, so that whoever records one does not wait
// and no request fails for it. Its methods are safe for concurrent use.
//
// Where events come faster than they can be written, or a tenant's database
// cannot be used, events are dropped and counted.
type LogBook struct {
	Pool *Pool // required

	// MachineTokens keeps an entry of each token that a machine got (seccft). By
	// default there is none: getting such a token writes nothing to a database,
	// and a busy service asks for many a second. Failures are kept always.
	MachineTokens bool

	// Log gets why events could not be written; nil drops it.
	Log *slog.Logger

	writing sync.Mutex // one write at a time: ids are given out in order

	mu      sync.Mutex
	waiting map[string]*notes // by entry of the pool
	count   int               // events in waiting
	stats   LogBookStats
	kick    chan struct{} // holds one when waiting got long; nil before Run
}

// LogBookStats counts what a [LogBook] did since it was made.
type LogBookStats struct {
	Written int64 // events kept
	Dropped int64 // events lost
	Waiting int64 // events to be written
}

// notes are the events of one tenant that wait.
type notes struct {
	tenant *Tenant
	events []Event
}

const (
	logEvery   = 250 * time.Millisecond
	logTenant  = 1000   // events of one tenant that may wait
	logAll     = 20_000 // events that may wait
	logBatch   = 250    // events written in one transaction
	logWriters = 4      // tenants written to at a time
	logPatient = 10 * time.Second
)

// machineToken is the type of the event that a machine got a token.
const machineToken = "seccft"

// Record implements [Recorder]. An event outside of any tenant is nobody's and
// not kept.
func (b *LogBook) Record(ctx context.Context, e Event) {
	t, err := Current(ctx)
	if err != nil || e.Type == machineToken && !b.MachineTokens {
		return
	}
	bound(&e)
	b.mu.Lock()
	defer b.mu.Unlock()
	key := entryKey(t)
	n := b.waiting[key]
	if n != nil && len(n.events) >= logTenant || b.count >= logAll {
		b.stats.Dropped++
		return
	}
	if n == nil {
		if b.waiting == nil {
			b.waiting = make(map[string]*notes)
		}
		n = &notes{tenant: t}
		b.waiting[key] = n
	}
	n.events = append(n.events, e)
	b.count++
	if len(n.events) == logTenant/2 && b.kick != nil {
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
}

// bound cuts what callers choose to a length that a log can bear.
func bound(e *Event) {
	e.Date = cmp.Or(e.Date, At(time.Now()))
	cut(&e.Type, 64)
	cut(&e.Description, 1000)
	cut(&e.IP, 64)
	cut(&e.UserAgent, 500)
	cut(&e.ClientID, 255)
	cut(&e.ClientName, 255)
	cut(&e.Connection, 255)
	cut(&e.UserID, 255)
	cut(&e.UserName, 255)
	cut(&e.Audience, 600)
	cut(&e.Scope, 1000)
	cut(&e.OrgID, 255)
	cut(&e.OrgName, 255)
	cut(&e.Hostname, 255)
	if len(e.Details) > 8<<10 {
		e.Details = nil
	}
}

func cut(text *string, most int) {
	*text = strings.ToValidUTF8((*text)[:min(len(*text), most)], "")
}

// Stats returns the counts of now.
func (b *LogBook) Stats() LogBookStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Waiting = int64(b.count)
	return s
}

// Run writes what is recorded until ctx ends. What is recorded after that is
// written by [LogBook.Flush].
func (b *LogBook) Run(ctx context.Context) {
	kick := make(chan struct{}, 1)
	b.mu.Lock()
	b.kick = kick
	b.mu.Unlock()
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-kick:
		}
		b.Flush(ctx)
	}
}

// Flush writes everything that was recorded before, and returns when it is
// written or given up. Where ctx ends before, the rest is given up.
func (b *LogBook) Flush(ctx context.Context) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.mu.Lock()
	all := b.waiting
	b.waiting, b.count = nil, 0
	b.mu.Unlock()
	var wg sync.WaitGroup
	room := make(chan struct{}, logWriters)
	for _, n := range all {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			b.write(ctx, n)
		})
	}
	wg.Wait()
}

// write keeps the events of a tenant. That ctx ends does not end it: at a stop
// the last events are written like all others.
func (b *LogBook) write(ctx context.Context, n *notes) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logPatient)
	defer cancel()
	written := 0
	err := b.Pool.Do(ctx, n.tenant, func(ctx context.Context) error {
		now := time.Now().UnixMicro()
		for from := 0; from < len(n.events); from += logBatch {
			batch := n.events[from:min(from+logBatch, len(n.events))]
			stmts := make([]Stmt, len(batch))
			for i := range batch {
				batch[i].ID = logID(now, from+i)
				stmts[i] = Events.Insert(ctx, &batch[i])
			}
			if err := Commit(ctx, stmts...); err != nil {
				return err
			}
			written += len(batch)
		}
		return nil
	})
	lost := len(n.events) - written
	b.mu.Lock()
	b.stats.Written += int64(written)
	b.stats.Dropped += int64(lost)
	b.mu.Unlock()
	if err != nil && b.Log != nil {
		b.Log.WarnContext(ctx, "events could not be kept", "tenant", n.tenant.ID, "lost", lost, "error", err)
	}
}

// logID is the id of an entry written at a time, in microseconds, as the nth of
// its batch. Ids go up in the order in which entries are written, so that whoever
// reads from the last id seen misses none. The end keeps nodes apart.
func logID(written int64, n int) string {
	return fmt.Sprintf("%016d%04d%s", written, n, randomText("0123456789", 8))
}

// IsLogID reports whether a text has the form of an entry's id.
func IsLogID(id string) bool {
	return len(id) == 28 && strings.Trim(id, "0123456789") == ""
}

// Interface guards
var _ Recorder = (*LogBook)(nil)
