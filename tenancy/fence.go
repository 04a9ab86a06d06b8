package tenancy

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// While a tenant moves from one placement to another there is a short time in
// which nothing may be written: the write fence (contract C8.17). It is announced
// in the registry with its beginning and its end, so that every node knows of it
// before it begins, and ends by time, so that no crash leaves it behind. A node
// waits sureFor beyond the end: by then it has read what became of the move.
//
// A node looks at the registry every second. One that could not do so for longer
// does not know whether there is a fence, or whether the tenant has moved away. It
// then asks the tenant's own database with every batch, where the mover leaves the
// same note, and so does every node while it knows of a move. The question locks
// the note: a batch is written before the mover's note or not at all, however long
// it takes. A note whose time is over was left by a mover that died, before the
// switch or behind it: whoever knows the registry takes it back, and whoever does
// not writes nothing. A batch that was begun before its node knew of the move cannot
// meet the note within clockSkew; one that took longer asks afterwards, and is not
// said to have succeeded if there is a fence by then. So no write is lost silently,
// and a tenant that does not move pays nothing. The clocks of nodes may differ by at
// most clockSkew.

const (
	// sureFor is how long what a node read in the registry is taken for true.
	// The announcement is that much ahead of the fence.
	sureFor = 2 * time.Second

	// clockSkew is by how much the clocks of nodes may differ.
	clockSkew = 250 * time.Millisecond

	// fenceLimit is how long a fence stands at most.
	fenceLimit = 10 * time.Second

	// fenceCounter is the id of the mover's note among the tenant's counters. It
	// holds when the fence ends, and is not copied with the other rows.
	fenceCounter = "fence"

	// movedAway is the end of a fence before a database that was left. It fits
	// into the numbers of JSON.
	movedAway = Time(1<<53 - 1)
)

// errFenced is what a write is answered with that meets the fence. It may be
// tried again a second later.
func errFenced() error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "service_unavailable",
		Message: "The tenant is being moved; try again in a second",
		Header:  map[string]string{"Retry-After": "1"}, Cause: ErrUnavailable,
	}
}

// fence is what a node knows of the fence before one open database. It is safe
// for concurrent use.
type fence struct {
	from, until atomic.Int64 // Time; until 0 for no fence
	moving      atomic.Bool  // the registry says that a copy is being filled
}

func (f *fence) set(from, until Time) {
	f.from.Store(int64(from))
	f.until.Store(int64(until))
}

func (f *fence) stands(now Time) bool {
	until := Time(f.until.Load())
	return until != 0 && int64(now) >= f.from.Load() && now < until.Add(sureFor)
}

// learn takes from the tenant's registry row what it says of this database.
func (e *entry) learn(t *Tenant) {
	_, moving := t.incoming()
	e.fence.moving.Store(moving)
	if t.Placement != e.tenant.Placement || t.Database != e.tenant.Database {
		e.fence.set(0, movedAway)
		return
	}
	e.fence.set(t.FenceFrom, t.FenceUntil)
}

// outlook is what a pool hears of the registry.
type outlook struct {
	current atomic.Pointer[func(id string) (*Tenant, bool)]
	looked  atomic.Int64 // nanoseconds of a monotonic clock; 0 for never
}

// clock is what outlook counts by: it does not jump.
var clock = time.Now()

// saw notes that the registry was read, by a look that began at a time.
func (o *outlook) saw(began time.Time) { o.looked.Store(int64(began.Sub(clock)) + 1) }

func (o *outlook) sure() bool {
	looked := o.looked.Load()
	return looked != 0 && int64(time.Since(clock))-looked < int64(sureFor)
}

// follow has the pool know the registry through a directory.
func (p *Pool) follow(current func(id string) (*Tenant, bool)) { p.outlook.current.Store(&current) }

// learnOf tells the tenant's open databases of its registry row.
func (p *Pool) learnOf(t *Tenant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if e.tenant.ID == t.ID && e.tenant.CreatedAt == t.CreatedAt {
			e.learn(t)
		}
	}
}

// opened tells a database that was just opened what the registry says by now:
// whoever wanted it may have read its row long before. The pool is locked, so
// that no later word is overtaken.
func (p *Pool) opened(e *entry) {
	e.learn(e.tenant)
	if current := p.outlook.current.Load(); current != nil {
		if t, ok := (*current)(e.tenant.ID); ok && t.CreatedAt == e.tenant.CreatedAt {
			e.learn(t)
		}
	}
}

// fenceChanged reports whether databases that are open must hear of the change
// of a registry row.
func fenceChanged(old, t *Tenant) bool {
	if old == nil || t == nil {
		return false
	}
	_, before := old.incoming()
	_, after := t.incoming()
	return before != after || old.Placement != t.Placement || old.Database != t.Database ||
		old.FenceFrom != t.FenceFrom || old.FenceUntil != t.FenceUntil
}

// batch is [Database.Batch] for the entered tenant, unless there is a fence.
func (s *space) batch(ctx context.Context, stmts []Stmt) ([]int64, error) {
	e := s.entry
	if s.tenant.IsControlPlane() { // it never moves (contract C8.2)
		return e.db.Batch(ctx, stmts)
	}
	began := time.Now()
	ignorant := !e.pool.outlook.sure() // before the fence: what is known of it is not older
	if e.fence.stands(At(began)) {
		return nil, errFenced()
	}
	if ignorant || e.fence.moving.Load() {
		var over Time // notes that were left up to this time are no fence
		if !ignorant {
			over = At(began)
		}
		n, err := e.db.Batch(ctx, append([]Stmt{notFenced(ctx, over)}, stmts...))
		if err == nil {
			return n[1:], nil
		}
		return nil, whyStale(ctx, over, err)
	}
	n, err := e.db.Batch(ctx, stmts)
	if err == nil && time.Since(began) > clockSkew {
		ctx := context.WithoutCancel(ctx)
		if _, late := e.db.Batch(ctx, []Stmt{notFenced(ctx, 0)}); late != nil {
			return nil, whyStale(ctx, 0, late)
		}
	}
	return n, err
}

// notFenced misses its row where there is a fence, and otherwise keeps the mover
// from raising one until its batch is written: that takes a write on engines whose
// transactions are READ COMMITTED.
func notFenced(ctx context.Context, over Time) Stmt {
	return SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, '`+fenceCounter+`', 0)
		ON CONFLICT (tenant_id, id) DO UPDATE SET value = 0 WHERE counters.value <= ?`, over).Once()
}

// whyStale tells a batch that met the fence from one that missed a row of its own.
func whyStale(ctx context.Context, over Time, err error) error {
	if !errors.Is(err, ErrStale) {
		return err
	}
	var until Time
	e := QueryRow(ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = '`+fenceCounter+`'`, nil, &until)
	if e == nil && until > over {
		return errFenced()
	}
	return err
}

// noteFence writes the mover's note into the tenant's database. A later one, of
// another run, stays.
func noteFence(ctx context.Context, to *rawSink, until Time) error {
	_, err := to.db.Batch(ctx, []Stmt{to.counter(
		`INSERT INTO counters (value, tenant_id, id) VALUES (?, ?, ?)
			ON CONFLICT (tenant_id, id) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`,
		until, fenceCounter)})
	return err
}

// unnoteFence takes back the note of a fence that ended at until.
func unnoteFence(ctx context.Context, to *rawSink, until Time) error {
	_, err := to.db.Batch(ctx, []Stmt{to.counter(
		`UPDATE counters SET value = 0 WHERE value = ? AND tenant_id = ? AND id = ?`, until, fenceCounter)})
	return err
}
