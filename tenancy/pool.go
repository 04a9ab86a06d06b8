package tenancy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Pool opens tenants' databases when they are entered and keeps them open while
// they are used, up to a budget; the longest unused is closed first. It is safe
// for concurrent use.
type Pool struct {
	placements map[string]*engine
	master     *Ring
	limit      int
	now        func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	idle    *list.List // entries nobody is inside of, longest unused first

	departures uint64        // counts those who left, for entry.left
	room       chan struct{} // closed and replaced whenever a handle was closed
	closed     bool

	onChange sync.Map // *func() -> struct{}
	outlook  outlook
}

// PoolConfig is what a [Pool] is made of.
type PoolConfig struct {
	// Placements are the configured databases by name. Required.
	Placements map[string]Provider

	// Master opens the tenants' data keys. Required.
	Master *Ring

	// Limit is how many databases may be open at a time. Default 1000.
	Limit int
}

// refusal is how long a tenant whose database could not be opened is answered
// from memory, so that its visitors cannot keep the disk busy.
const refusal = time.Second

// entry is one tenant's database: being opened, open, or refused.
type entry struct {
	pool   *Pool
	key    string
	tenant *Tenant // as it was when it was opened
	engine *engine
	vault  *vault
	db     Database
	fence  fence
	cache  cache

	ready   chan struct{} // closed when db or err is set
	err     error
	refused time.Time

	refs    int           // who is inside
	waiting *list.Element // place in Pool.idle while refs is 0
	left    uint64        // when the last visitor left, by Pool.departures
	dropped bool          // no longer in Pool.entries: close when refs is 0
	done    chan struct{} // closed when the database is closed
}

// NewPool makes a pool over the placements. It opens nothing.
func NewPool(c PoolConfig) (*Pool, error) {
	if c.Master == nil || len(c.Placements) == 0 {
		return nil, errors.New("a pool needs a master key and a placement")
	}
	if c.Limit <= 0 {
		c.Limit = 1000
	}
	p := &Pool{
		placements: make(map[string]*engine), master: c.Master, limit: c.Limit,
		now: time.Now, entries: make(map[string]*entry), idle: list.New(), room: make(chan struct{}),
	}
	engines := make(map[Provider]*engine)
	for name, provider := range c.Placements {
		e, ok := engines[provider]
		if !ok {
			var err error
			if e, err = newEngine(provider); err != nil {
				return nil, fmt.Errorf("placement %s: %w", name, err)
			}
			engines[provider] = e
		}
		p.placements[name] = e
	}
	return p, nil
}

// Enter returns a context that is inside the tenant, opening its database if it
// must. The caller calls leave when done with the context, exactly once; the
// database stays open at least that long.
//
// Errors are [ErrUnavailable] where the database cannot be used, and ctx's own.
// Entering does not look at the tenant's state: that is the caller's decision.
func (p *Pool) Enter(ctx context.Context, t *Tenant) (inside context.Context, leave func(), err error) {
	for {
		e, open, err := p.take(t)
		switch {
		case err != nil:
			return nil, nil, err
		case e == nil: // no room: wait until a handle was closed
			select {
			case <-open:
				continue
			case <-ctx.Done():
				return nil, nil, Unavailable(ctx.Err(), "all open_databases are in use; raise the limit")
			}
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			p.leave(e)
			return nil, nil, ctx.Err()
		}
		if e.err != nil {
			err := e.err
			p.leave(e)
			return nil, nil, err
		}
		return context.WithValue(ctx, spaceKey{}, &space{tenant: t, entry: e}), sync.OnceFunc(func() { p.leave(e) }), nil
	}
}

// Do runs f inside the tenant.
func (p *Pool) Do(ctx context.Context, t *Tenant, f func(context.Context) error) error {
	inside, leave, err := p.Enter(ctx, t)
	if err != nil {
		return err
	}
	defer leave()
	return f(inside)
}

// take returns the tenant's entry with one more reference, starting to open it
// if it is new. Where the budget is used up it returns a channel to wait on.
func (p *Pool) take(t *Tenant) (*entry, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, Unavailable(errors.New("shutting down"), "")
	}
	key := entryKey(t)
	e, ok := p.entries[key]
	if ok && e.err != nil && p.now().Sub(e.refused) >= refusal {
		p.discard(e)
		ok = false
	}
	if ok {
		p.hold(e)
		return e, nil, nil
	}
	eng, ok := p.placements[t.Placement]
	if !ok {
		return nil, nil, Unavailable(fmt.Errorf("placement %q is not configured", t.Placement),
			`add "database `+t.Placement+` ..." to the gatehouse options`)
	}
	if len(p.entries) >= p.limit && !p.evict() {
		return nil, p.room, nil
	}
	e = &entry{pool: p, key: key, tenant: t, engine: eng, refs: 1, ready: make(chan struct{}), done: make(chan struct{})}
	p.entries[key] = e
	go p.open(e, t)
	return e, nil, nil
}

// entryKey tells a tenant from an earlier one of the same id, and one placement
// from another.
func entryKey(t *Tenant) string {
	return t.ID + "\x00" + t.Placement + "\x00" + t.Database + "\x00" + t.DataKey
}

// open runs on its own, so that a caller who gives up does not spoil it for the
// others who wait for the same database.
func (p *Pool) open(e *entry, t *Tenant) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	v, err := p.master.vault(t.ID, t.DataKey)
	if err != nil {
		err = Unavailable(fmt.Errorf("data key of tenant %s: %w", t.ID, err),
			"the master secret is not the one this tenant was created with; set the same secret again")
	} else {
		e.db, err = e.engine.provider.Open(ctx, t.Location())
	}
	p.mu.Lock()
	p.opened(e)
	e.vault, e.err = v, err
	if err != nil {
		e.refused = p.now()
	}
	close(e.ready)
	p.mu.Unlock()
}

// discard takes an entry out of the pool, so that nobody enters it any more, and
// closes it once it is left; the pool is locked.
func (p *Pool) discard(e *entry) {
	delete(p.entries, e.key)
	e.dropped = true
	if e.waiting != nil {
		p.idle.Remove(e.waiting)
		e.waiting = nil
	}
	if e.refs == 0 {
		go p.close(e)
	}
}

// hold adds a reference; the pool is locked.
func (p *Pool) hold(e *entry) {
	e.refs++
	if e.waiting != nil {
		p.idle.Remove(e.waiting)
		e.waiting = nil
	}
}

func (p *Pool) leave(e *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.refs--
	if e.refs > 0 {
		return
	}
	if e.dropped {
		go p.close(e)
		return
	}
	p.departures++
	e.left = p.departures
	e.waiting = p.idle.PushBack(e)
}

// evict drops the longest unused entry; the pool is locked. It reports whether
// there is room now: closing takes a moment, during which the handle counts.
func (p *Pool) evict() bool {
	oldest := p.idle.Front()
	if oldest == nil {
		return false
	}
	e := oldest.Value.(*entry)
	p.idle.Remove(oldest)
	e.waiting, e.dropped = nil, true
	if e.err != nil { // a refusal holds nothing
		delete(p.entries, e.key)
		close(e.done)
		return true
	}
	// The entry keeps its place in the budget until it is closed, under a key
	// nobody asks for.
	delete(p.entries, e.key)
	e.key = fmt.Sprintf("%s\x00closing %p", e.key, e)
	p.entries[e.key] = e
	go p.close(e)
	return false
}

func (p *Pool) close(e *entry) {
	<-e.ready
	if e.db != nil {
		_ = e.db.Close() // a database that does not close cleanly recovers when it is opened
	}
	p.mu.Lock()
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	close(p.room)
	p.room = make(chan struct{})
	close(e.done)
	p.mu.Unlock()
}

// Forget closes the tenant's database once nobody is inside any more, and waits
// for it. New visitors open it anew. Deleting and moving a tenant begin so.
func (p *Pool) Forget(ctx context.Context, t *Tenant) error {
	p.mu.Lock()
	e, ok := p.entries[entryKey(t)]
	if !ok {
		p.mu.Unlock()
		return nil
	}
	p.discard(e)
	p.mu.Unlock()
	select {
	case <-e.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Create makes the tenant's database, see [Provider.Create].
func (p *Pool) Create(ctx context.Context, t *Tenant) error {
	e, ok := p.placements[t.Placement]
	if !ok {
		return Errorf(400, "invalid_body", "unknown placement '%s'", t.Placement)
	}
	return e.provider.Create(ctx, t.Location())
}

// Drop closes and removes the tenant's database with everything in it.
func (p *Pool) Drop(ctx context.Context, t *Tenant) error {
	if err := p.Forget(ctx, t); err != nil {
		return err
	}
	e, ok := p.placements[t.Placement]
	if !ok {
		return Unavailable(fmt.Errorf("placement %q is not configured", t.Placement), "")
	}
	return e.provider.Drop(ctx, t.Location())
}

// dataKeyOf reads a tenant's sealed data key out of its own database, without
// being inside: the control plane keeps its registry row there. It is "" for a
// database that has none yet.
func (p *Pool) dataKeyOf(ctx context.Context, t *Tenant) (key string, err error) {
	e, ok := p.placements[t.Placement]
	if !ok {
		return "", Unavailable(fmt.Errorf("placement %q is not configured", t.Placement), "")
	}
	db, err := e.provider.Open(ctx, t.Location())
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, e.rebind(`SELECT data_key FROM tenants WHERE tenant_id = ? AND id = ?`), t.ID, t.ID)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&key)
	}
	return key, errors.Join(err, rows.Err())
}

// Location is where the tenant's database is, for its provider.
func (t *Tenant) Location() Location { return Location{Tenant: t.ID, Name: t.Database} }

// PoolStats counts what a pool holds.
type PoolStats struct {
	Open  int // databases open, being opened or being closed
	InUse int // of these, entered by somebody
	Limit int
}

// Stats returns the counts of now.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{Open: len(p.entries), InUse: len(p.entries) - p.idle.Len(), Limit: p.limit}
}

// Watch has f called after changes were written to a control plane's change
// log. f must not block. The returned function ends it. A call is a hint that
// may be missed, by other processes' changes for instance; the log is the truth.
func (p *Pool) Watch(f func()) (stop func()) {
	p.onChange.Store(&f, struct{}{})
	return func() { p.onChange.Delete(&f) }
}

func (p *Pool) changed() {
	p.onChange.Range(func(f, _ any) bool {
		(*f.(*func()))()
		return true
	})
}

// Close refuses new visitors, waits until those inside have left, and closes
// every database. Where ctx ends first it returns ctx's error, and databases
// still in use are closed when they are left.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	var open []*entry
	for _, e := range p.entries {
		open = append(open, e)
		if !e.dropped {
			p.discard(e)
		}
	}
	p.mu.Unlock()
	for _, e := range open {
		select {
		case <-e.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
