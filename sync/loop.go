package sync

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Directory knows the tenants there are. [*tenancy.Directory] is one.
type Directory interface {
	// ControlPlane returns the control plane, or nil while it is not open.
	ControlPlane() *tenancy.Tenant

	// ByID returns a tenant; false where there is none.
	ByID(id string) (*tenancy.Tenant, bool)

	// All yields every tenant.
	All() iter.Seq2[string, *tenancy.Tenant]

	// Refresh reads the registry, so that what was written to it before the
	// call is known after it.
	Refresh(ctx context.Context) error
}

// Pool opens tenants' databases. [*tenancy.Pool] is one.
type Pool interface {
	// Enter returns a context inside the tenant, see [tenancy.Pool.Enter].
	Enter(ctx context.Context, t *tenancy.Tenant) (inside context.Context, leave func(), err error)

	// EnterIdle is Enter for work that nobody waits for, see [tenancy.Pool.EnterIdle].
	EnterIdle(ctx context.Context, t *tenancy.Tenant) (inside context.Context, leave func(), err error)

	// Watch has f called after changes on the control plane.
	Watch(f func()) (stop func())
}

// Locker lets processes take turns. It has the form of certmagic's Locker, so
// that any Caddy storage is one.
type Locker interface {
	// Lock waits until the lock is held, or returns an error.
	Lock(ctx context.Context, name string) error

	// Unlock releases it.
	Unlock(ctx context.Context, name string) error
}

// Config is what a [Loop] is made of.
type Config struct {
	Directory Directory // required
	Pool      Pool      // required

	// Locker makes processes take turns at bursts of work. It only saves work:
	// without one, or where it fails, two processes do the same and the slower
	// one finds it done. May be nil.
	Locker Locker

	// Workers is how many tenants are visited at a time. Default 8.
	Workers int

	// Every is how often the loop looks for work by itself. Default 30 s.
	Every time.Duration

	// ResourceServersOff, RolesOff and ConnectionsOff turn a kind off in all
	// tenants. Copies made before are removed, or detached.
	ResourceServersOff, RolesOff, ConnectionsOff bool

	// Inherit is which settings tenants inherit where their own choice does not
	// say. The zero value means all.
	Inherit tenancy.Inheritance

	// Transforms make a tenant's values of inherited settings. May be nil.
	Transforms tenancy.Transforms

	// Exclude reports whether a tenant gets no copy of a row. An error leaves
	// what the tenant has of it as it is, and is shown in [Status]. It has to
	// give the same for the same arguments. May be nil.
	Exclude func(Entity, *tenancy.Tenant) (bool, error)

	// Expressions names what Exclude and Transforms do. When it, or anything else
	// that decides what tenants get, is not what a tenant was last compared by,
	// everything is compared in that tenant.
	Expressions string

	// OnConflict is the policy of kinds, by their names; the default is
	// [PolicyRefuse].
	OnConflict map[string]string

	// Detach has copies of rows that a tenant is no longer to get become its own,
	// instead of removing them. Rows that are deleted on the control plane are
	// removed in any case.
	Detach bool

	// Recorder is told what operators should know. May be nil.
	Recorder tenancy.Recorder

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Loop keeps all tenants up to date with the control plane. Its methods are safe
// for concurrent use, and any number of loops may work on the same databases.
type Loop struct {
	directory Directory
	pool      Pool
	locker    Locker
	workers   int
	every     time.Duration
	rules     rules
	now       func() time.Time
	backoff   func(attempts int) time.Duration
	source    source

	kick    chan struct{} // holds one hint
	repairs chan struct{} // the same, for repairs
	alone   sync.Mutex    // one Run at a time
	loading sync.Mutex

	compared, differing         atomic.Int64 // see [Stats]
	repairedOnes, repairsFailed atomic.Int64

	mu       sync.Mutex // guards all below
	targets  map[string]*target
	loaded   bool // targets holds what was noted
	picture  *picture
	listed   int64 // revision up to which registry changes are in targets
	trouble  error // why the control plane could not be read; nil when it could
	visits   int64
	failures int64
	unnoted  map[*target]bool // differ from what is noted on the control plane
	progress chan struct{}    // closed and replaced when something happened
}

// New makes a loop. It does nothing before Run, but can be asked for a snapshot.
func New(c Config) *Loop {
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.Every <= 0 {
		c.Every = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Loop{
		directory: c.Directory, pool: c.Pool, locker: c.Locker, workers: c.Workers, every: c.Every, now: c.Now,
		rules:   rulesOf(c),
		backoff: backoff, kick: make(chan struct{}, 1), repairs: make(chan struct{}, 1), targets: map[string]*target{}, unnoted: map[*target]bool{},
		progress: make(chan struct{}),
	}
	l.source.rules = &l.rules
	return l
}

// Kick hints that there may be work. It never blocks.
func (l *Loop) Kick() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns when everything it started has ended.
// A second Run waits for the first.
func (l *Loop) Run(ctx context.Context) {
	l.alone.Lock()
	defer l.alone.Unlock()
	stop := l.pool.Watch(l.Kick)
	defer stop()
	newRun(l).run(ctx)
}

// Snapshot brings one tenant, in whatever state, to the control plane's present
// state, comparing everything. Creating a tenant calls it before the tenant
// becomes active (contract C6.28).
func (l *Loop) Snapshot(ctx context.Context, t *tenancy.Tenant) error {
	p, err := l.look(ctx)
	if err != nil {
		return err
	}
	out, err := l.visit(ctx, job{tenant: t, picture: p, full: true}, l.pool.Enter)
	if err == nil {
		l.visited(t, out)
	}
	return err
}

// visited takes note of a visit that Run did not make.
func (l *Loop) visited(t *tenancy.Tenant, out outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.targets[t.ID]
	if known == nil || known.tenant.CreatedAt != t.CreatedAt {
		known = &target{tenant: t}
		l.targets[t.ID] = known
	}
	known.succeeded(out, t, &l.rules, l.now(), l.every)
	l.unnoted[known] = true
	l.changed()
}

// errClosed is returned while there is no control plane yet.
var errClosed = tenancy.Unavailable(errors.New("the control plane is not open yet"), "")

// enterControlPlane is where all reading of the control plane begins.
func (l *Loop) enterControlPlane(ctx context.Context) (context.Context, func(), error) {
	cp := l.directory.ControlPlane()
	if cp == nil {
		return nil, nil, errClosed
	}
	return l.pool.Enter(ctx, cp)
}

// look returns a picture of the control plane as it is now.
func (l *Loop) look(ctx context.Context) (*picture, error) {
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	inside, leave, err := l.enterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return l.source.refresh(inside)
}

// load reads, once, what earlier processes noted about tenants.
func (l *Loop) load(ctx context.Context) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	l.mu.Lock()
	loaded := l.loaded
	l.mu.Unlock()
	if loaded {
		return nil
	}
	inside, leave, err := l.enterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	notes, err := tenancy.SyncTargets.Find(inside, tenancy.Filter{})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listAll()
	since := int64(-1)
	for i := range notes {
		if t := l.targets[notes[i].ID]; t != nil {
			t.noted(&notes[i])
			if t.known && (since < 0 || t.applied < since) {
				since = t.applied
			}
		}
	}
	if since >= 0 {
		l.source.start(since)
	}
	l.loaded = true
	return nil
}

// listAll makes targets the tenants there are; l.mu is held.
func (l *Loop) listAll() {
	there := make(map[string]bool)
	for id, t := range l.directory.All() {
		there[id] = true
		l.list(id, t)
	}
	for id := range l.targets {
		if !there[id] {
			delete(l.targets, id)
		}
	}
}

// list takes note of a tenant as it is now, nil for gone; l.mu is held.
func (l *Loop) list(id string, t *tenancy.Tenant) {
	known := l.targets[id]
	switch {
	case t == nil || t.IsControlPlane():
		delete(l.targets, id)
	case known == nil || known.tenant.CreatedAt != t.CreatedAt: // new, or a later one of the same id
		l.targets[id] = &target{tenant: t}
	default:
		known.tenant = t
	}
}

// adopt takes over what other processes noted lately.
func (l *Loop) adopt(ctx context.Context) error {
	inside, leave, err := l.enterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	// Clocks differ between machines, so a minute is read again.
	after := tenancy.At(l.now().Add(-time.Minute - l.every))
	notes, err := tenancy.SyncTargets.Find(inside, tenancy.Filter{Where: "updated_at > ?", Args: []any{after}})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range notes {
		if t := l.targets[notes[i].ID]; t != nil && !t.busy && (!t.known || notes[i].Applied > t.applied) {
			t.noted(&notes[i])
		}
	}
	return nil
}

// changed wakes those who wait for progress; l.mu is held.
func (l *Loop) changed() {
	close(l.progress)
	l.progress = make(chan struct{})
}
