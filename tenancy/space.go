package tenancy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// space is a tenant that a context is inside of: who it is and its open
// database. It is the only place where the two meet.
type space struct {
	tenant *Tenant
	entry  *entry
}

type spaceKey struct{}

func spaceOf(ctx context.Context) (*space, error) {
	if s, ok := ctx.Value(spaceKey{}).(*space); ok {
		return s, nil
	}
	return nil, ErrNoTenant
}

// Current returns the tenant that ctx is inside of. The value must not be
// changed.
func Current(ctx context.Context) (*Tenant, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.tenant, nil
}

// engine is one kind of database: the GORM handle shared by all databases of a
// provider, whose connections are routed by context.
type engine struct {
	provider  Provider
	exclusive bool // nobody else writes its databases
	gorm      *gorm.DB
	bound     sync.Map // statement text -> text in the engine's placeholder form
	bounds    atomic.Int64
}

func (e *engine) rebind(sql string) string {
	if b, ok := e.bound.Load(sql); ok {
		return b.(string)
	}
	b := e.provider.Rebind(sql)
	if e.bounds.Add(1) <= textLimit {
		e.bound.Store(sql, b)
	}
	return b
}

// cache holds what was read of one tenant's configuration, until any of it
// changes. It lives and dies with the open database.
type cache struct {
	generation atomic.Uint64
	values     sync.Map // cacheKey -> cacheValue
	size       atomic.Int64

	endings atomic.Uint64 // see [Endings]

	// Where other nodes write too, see cache.trust.
	checked atomic.Int64 // when they were last heard of, in unix nanoseconds
	seen    atomic.Int64 // how many changes there had been
}

type cacheKey struct{ kind, id string }

type cacheValue struct {
	generation uint64
	value      any
}

func (c *cache) forget() {
	c.generation.Add(1)
	c.size.Store(0)
	c.values.Clear()
}

// Cached returns what load gives for (kind, id) in the entered tenant, from
// memory while the tenant's configuration is unchanged. Errors are not
// remembered, except that a load returning [ErrNotFound] is. The value is
// shared: callers must not change it. What another node changed is noticed within
// a second.
//
// load runs with the context given. It may run more than once at a time.
func Cached[T any](ctx context.Context, kind, id string, load func(context.Context) (T, error)) (T, error) {
	var zero T
	s, err := spaceOf(ctx)
	if err != nil {
		return zero, err
	}
	c := &s.entry.cache
	if !s.entry.engine.exclusive {
		if err := c.trust(ctx, time.Now()); err != nil {
			return zero, err
		}
	}
	key := cacheKey{kind, id}
	generation := c.generation.Load()
	if v, ok := c.values.Load(key); ok && v.(cacheValue).generation == generation {
		if err, missing := v.(cacheValue).value.(error); missing {
			return zero, err
		}
		return v.(cacheValue).value.(T), nil
	}
	value, err := load(ctx)
	switch {
	case err == nil:
		c.keep(key, generation, value)
	case err == ErrNotFound:
		c.keep(key, generation, err)
	}
	return value, err
}

// Forget drops what [Cached] remembers of the entered tenant, for whoever learns
// that another process changed its configuration.
func Forget(ctx context.Context) error {
	s, err := spaceOf(ctx)
	if err != nil {
		return err
	}
	s.entry.cache.forget()
	return nil
}

// Endings returns a number that is another one after access may have ended in
// the entered tenant: after a session, a user or a membership was removed
// through this process. What was found out about them under the same number
// still holds, as far as this process knows; other processes write too.
func Endings(ctx context.Context) (uint64, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return 0, err
	}
	return s.entry.cache.endings.Load(), nil
}

// keep stores a value unless the configuration changed while it was loaded, in
// which case it may be of before the change. The map is emptied when it grows
// past its bound, because a caller can ask for endless names that do not exist.
func (c *cache) keep(key cacheKey, generation uint64, value any) {
	if c.generation.Load() != generation {
		return
	}
	if c.size.Add(1) > cacheEntries {
		c.size.Store(1)
		c.values.Clear()
	}
	c.values.Store(key, cacheValue{generation, value})
}

// cacheEntries bounds the memory one tenant's cache can take.
const cacheEntries = 10_000
