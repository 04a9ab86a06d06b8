package tenancy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pool opens tenants' databases when they are entered and keeps them open while
// they are used, up to a budget over all placements; the longest unused is closed
// first. It is safe for concurrent use.
//
// What ails one tenant, or one placement, stays with it. Who waits for room waits
// in the order of arrival, and the placements take turns. A placement can neither
// fill the budget alone nor keep others waiting while it opens or closes slowly,
// and a database that fails is asked again only now and then. So a visitor of a
// tenant in trouble gets [ErrUnavailable] soon, and the others notice nothing.
type Pool struct {
	placements map[string]*placement
	order      []*placement // in the order of their names
	master     *Ring
	limit      int // databases open at a time
	files      int // file descriptors they may take; 0 for any number
	patience   time.Duration
	idleTime   time.Duration
	now        func() time.Time

	mu          sync.Mutex
	entries     map[string]*entry      // those that can be entered, or waited for
	closing     map[*entry]bool        // those on their way out
	successions map[string]*succession // by the key of the old row
	failures    failures
	slots       int // taken by databases that are opened, open or being closed
	taken       int // file descriptors of these
	idlers      int // slots of entries nobody but the background has entered
	turn        int // whose turn it is, in order

	departures uint64 // counts those who left, for entry.left
	sweeping   bool   // a look at the idle ones is due
	closed     bool

	making sync.Mutex // the control plane is made by one at a time

	onChange sync.Map // *func() -> struct{}
	onLogout sync.Map // *func(*Tenant) -> struct{}
	outlook  outlook
}

// PoolConfig is what a [Pool] is made of.
type PoolConfig struct {
	// Placements are the configured databases by name. Required.
	Placements map[string]Provider

	// Master opens the tenants' data keys. Required.
	Master *Ring

	// Limit is how many databases may be open at a time. Default 1000. Fewer are
	// where the process may not open files enough; see [Filed].
	Limit int

	// Limits are of how many databases may be open in a placement, by its name.
	// One that has none may have nearly all of them.
	Limits map[string]int

	// Patience is how long a visitor waits for a database. Default 5 s.
	Patience time.Duration

	// IdleTime is how long a database stays open that nobody enters. Default 5
	// minutes.
	IdleTime time.Duration

	// Files is how many file descriptors the databases may take. Default 0.6 of
	// what the process may have.
	Files int

	// Log is told where the limits are lower than they were set. Nil for nobody.
	Log *slog.Logger
}

// NewPool makes a pool over the placements. It opens nothing.
func NewPool(c PoolConfig) (*Pool, error) {
	if c.Master == nil || len(c.Placements) == 0 {
		return nil, errors.New("a pool needs a master key and a placement")
	}
	if c.Limit <= 0 {
		c.Limit = 1000
	}
	if c.Patience <= 0 {
		c.Patience = 5 * time.Second
	}
	if c.IdleTime <= 0 {
		c.IdleTime = 5 * time.Minute
	}
	if c.Files <= 0 {
		c.Files = fileLimit() / 10 * 6
	}
	p := &Pool{
		placements: make(map[string]*placement), master: c.Master, limit: c.Limit, files: c.Files, patience: c.Patience, idleTime: c.IdleTime,
		now: time.Now, entries: make(map[string]*entry), successions: make(map[string]*succession), closing: make(map[*entry]bool), failures: make(failures),
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
		p.placements[name] = newPlacement(name, e)
		p.order = append(p.order, p.placements[name])
	}
	slices.SortFunc(p.order, func(a, b *placement) int { return strings.Compare(a.name, b.name) })
	p.setLimits(c.Limits, c.Log)
	return p, nil
}

// Enter returns a context that is inside the tenant, opening its database if it
// must. The caller calls leave when done with the context, exactly once; the
// database stays open at least that long.
//
// Errors are [ErrUnavailable] where the database cannot be used, or not within
// the time that visitors wait, and ctx's own. Entering does not look at the
// tenant's state: that is the caller's decision.
func (p *Pool) Enter(ctx context.Context, t *Tenant) (inside context.Context, leave func(), err error) {
	return p.enter(ctx, t, visitor)
}

// EnterIdle is Enter for work that nobody waits for. It stands behind all
// visitors, waits as long as ctx lasts, and leaves the databases as it found
// them: those it opened are closed first, and but for a few of them none is
// closed for it that visitors have used.
func (p *Pool) EnterIdle(ctx context.Context, t *Tenant) (inside context.Context, leave func(), err error) {
	return p.enter(ctx, t, background)
}

func (p *Pool) enter(ctx context.Context, t *Tenant, who rank) (inside context.Context, leave func(), err error) {
	e, err := p.take(t, who)
	if err != nil {
		return nil, nil, err
	}
	if err := p.await(ctx, e, who); err != nil {
		p.leave(e, who)
		return nil, nil, err
	}
	return context.WithValue(ctx, spaceKey{}, &space{tenant: t, entry: e}), sync.OnceFunc(func() { p.leave(e, who) }), nil
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

// DoIdle runs f inside the tenant, entered by [Pool.EnterIdle].
func (p *Pool) DoIdle(ctx context.Context, t *Tenant, f func(context.Context) error) error {
	inside, leave, err := p.EnterIdle(ctx, t)
	if err != nil {
		return err
	}
	defer leave()
	return f(inside)
}

// await waits until the entry's database is open, as long as its visitor would.
func (p *Pool) await(ctx context.Context, e *entry, who rank) error {
	select {
	case <-e.ready:
		return e.err
	default:
	}
	var late <-chan time.Time
	if who == visitor {
		timer := time.NewTimer(p.patience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-e.ready:
		return e.err
	case <-ctx.Done():
		if p.isQueued(e) {
			return p.refuse(e.placement, refusedBudget, Unavailable(ctx.Err(), hintBudget))
		}
		return ctx.Err()
	case <-late:
		if p.isQueued(e) {
			return p.refuse(e.placement, refusedBudget, Unavailable(fmt.Errorf("no database could be closed for %s's within %v", e.tenant.ID, p.patience), hintBudget))
		}
		return p.refuse(e.placement, refusedSlow, slow(e.tenant, p.patience))
	}
}

const hintBudget = "all open_databases are in use; raise the limit"

func slow(t *Tenant, patience time.Duration) error {
	return Unavailable(fmt.Errorf("the database of tenant %s has not opened within %v", t.ID, patience), "see whether its placement "+t.Placement+" can be reached")
}

// take returns the tenant's entry with one more reference, having it opened if
// it is new.
func (p *Pool) take(t *Tenant, who rank) (*entry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, Unavailable(errors.New("shutting down"), "")
	}
	if len(p.successions) > 0 {
		t = p.newest(t)
	}
	key := entryKey(t)
	if e, ok := p.entries[key]; ok {
		if e.late && e.state == opening && who == visitor {
			e.placement.refusals[refusedSlow]++
			return nil, slow(t, p.patience)
		}
		p.hold(e, who)
		return e, nil
	}
	pl, ok := p.placements[t.Placement]
	switch {
	case !ok:
		return nil, unconfigured(t.Placement)
	case p.failures.recent(key, p.now()) != nil:
		pl.refusals[refusedBroken]++
		return nil, p.failures[key].err
	case pl.waiting() >= waitingLimit && who == visitor:
		pl.refusals[refusedCrowd]++
		return nil, Unavailable(fmt.Errorf("%d tenants of placement %s wait for a database to open", waitingLimit, pl.name), hintBudget)
	}
	e := &entry{pool: p, key: key, tenant: t, placement: pl, engine: pl.engine, rank: who, refs: 1, ready: make(chan struct{}), done: make(chan struct{})}
	p.entries[key] = e
	e.place = pl.queue[who].PushBack(e)
	p.dispatch()
	return e, nil
}

func unconfigured(placement string) error {
	return Unavailable(fmt.Errorf("placement %q is not configured", placement), `add "database `+placement+` ..." to the gatehouse options`)
}

// entryKey tells a tenant from an earlier one of the same id, and one placement
// from another.
func entryKey(t *Tenant) string {
	return t.ID + "\x00" + t.Placement + "\x00" + t.Database + "\x00" + t.DataKey
}

// Forget closes the tenant's database once nobody is inside any more, and waits
// for it. New visitors open it anew. Deleting and moving a tenant begin so.
func (p *Pool) Forget(ctx context.Context, t *Tenant) error {
	key := entryKey(t)
	var leaving []*entry
	p.mu.Lock()
	for e := range p.closing {
		if e.key == key {
			leaving = append(leaving, e)
		}
	}
	if e, ok := p.entries[key]; ok {
		leaving = append(leaving, e)
		p.discard(e, errors.New("the database is being closed"))
	}
	delete(p.failures, key)
	p.mu.Unlock()
	return allDone(ctx, leaving)
}

func allDone(ctx context.Context, list []*entry) error {
	for _, e := range list {
		select {
		case <-e.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Create makes the tenant's database, see [Provider.Create].
func (p *Pool) Create(ctx context.Context, t *Tenant) error {
	pl, ok := p.placements[t.Placement]
	if !ok {
		return Errorf(400, "invalid_body", "unknown placement '%s'", t.Placement)
	}
	err := pl.engine.provider.Create(ctx, t.Location())
	if err == nil {
		p.mu.Lock()
		delete(p.failures, entryKey(t))
		p.mu.Unlock()
	}
	return err
}

// forgive has the tenant's database tried again by the next visitor.
func (p *Pool) forgive(t *Tenant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failures, entryKey(t))
}

// Drop closes and removes the tenant's database with everything in it.
func (p *Pool) Drop(ctx context.Context, t *Tenant) error {
	if err := p.Forget(ctx, t); err != nil {
		return err
	}
	pl, ok := p.placements[t.Placement]
	if !ok {
		return Unavailable(fmt.Errorf("placement %q is not configured", t.Placement), "")
	}
	return pl.engine.provider.Drop(ctx, t.Location())
}

// dataKeyOf reads a tenant's sealed data key out of its own database, without
// being inside: the control plane keeps its registry row there. It is "" for a
// database that has none yet.
func (p *Pool) dataKeyOf(ctx context.Context, t *Tenant) (key string, err error) {
	pl, ok := p.placements[t.Placement]
	if !ok {
		return "", unconfigured(t.Placement)
	}
	e := pl.engine
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

// Placements returns the names of the configured databases, sorted.
func (p *Pool) Placements() []string { return slices.Sorted(maps.Keys(p.placements)) }

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
	for e := range p.closing {
		open = append(open, e)
	}
	for _, e := range p.entries {
		open = append(open, e)
		p.discard(e, errors.New("shutting down"))
	}
	p.mu.Unlock()
	return allDone(ctx, open)
}
