package caddymodule

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// runtimes holds what serves requests, by [App.key]. Configurations that ask for
// the same thing share one, so that a reload hands it over and drops no request.
var runtimes = caddy.NewUsagePool()

// runtime is everything that outlives a configuration: it is made once for all
// configurations that are equal, opened when the first of them starts, and
// closed after the last of their requests.
type runtime struct {
	config   App // resolved; only its exported fields and hosts are looked at
	store    *store
	storeKey string
	visitors visitors

	services atomic.Pointer[services] // nil until open
	opened   chan struct{}            // closed once services are there
	going    atomic.Bool              // whether started holds any

	// log is the logger of the newest started configuration: those of older ones
	// may have nowhere to write to any more.
	log atomic.Pointer[zap.Logger]

	// keeps is the shelf of the newest configuration.
	keeps atomic.Pointer[shelf]

	// How many requests came, and how many of these with X-Forwarded-For from an
	// address that is not trusted.
	arrived, forwarded atomic.Int64

	mu      sync.Mutex
	started []*App // configurations that want the loops to go, oldest first
	cancel  context.CancelFunc
	looping sync.WaitGroup
}

func newRuntime(a *App) (*runtime, error) {
	key, err := a.storeKey()
	if err != nil {
		return nil, err
	}
	taken, _, err := stores.LoadOrNew(key, func() (caddy.Destructor, error) { return newStore(a) })
	if err != nil {
		return nil, err
	}
	rt := &runtime{store: taken.(*store), storeKey: key, opened: make(chan struct{})}
	rt.config = App{
		BaseDomain: a.BaseDomain, Admin: a.Admin, Client: a.Client, Database: a.Database, Keys: a.Keys, Sync: a.Sync,
		ControlPlane: a.ControlPlane, Inherit: a.Inherit, Logs: a.Logs, Backups: a.Backups, RateLimit: a.RateLimit, Access: a.Access, ManagementAliases: a.ManagementAliases, Port: a.Port, hosts: a.hosts,
		Hooks: a.Hooks, Email: a.Email, Connections: a.Connections, PrivateNetworks: a.PrivateNetworks,
	}
	rt.log.Store(a.log)
	return rt, nil
}

// start opens the runtime unless it is open, and sees to it that its loops go
// until every configuration that started it has called stop.
func (rt *runtime) start(a *App) error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	s := rt.services.Load()
	kept := a.shelf()
	rt.keeps.Store(&kept)
	if s == nil {
		if err := rt.store.open(newLog(rt)); err != nil {
			return err
		}
		like := a.reachable()
		var err error
		if s, err = openServices(a.ctx, rt, like); err != nil {
			return err
		}
		rt.services.Store(s)
		close(rt.opened)
		s.greet(like[0])
	}
	rt.started = append(rt.started, a)
	rt.log.Store(a.log)
	rt.going.Store(true)
	if len(rt.started) > 1 {
		return nil
	}
	var loops context.Context
	loops, rt.cancel = context.WithCancel(context.Background())
	for _, run := range s.loops {
		rt.looping.Go(func() { run(loops) })
	}
	return nil
}

// stop ends the loops, without waiting for them, once no started configuration
// is left. A process that ends still serves the requests it has.
func (rt *runtime) stop(a *App) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.started = slices.DeleteFunc(rt.started, func(other *App) bool { return other == a })
	if n := len(rt.started); n > 0 {
		rt.log.Store(rt.started[n-1].log)
		kept := rt.started[n-1].shelf()
		rt.keeps.Store(&kept)
	} else if rt.cancel != nil {
		rt.going.Store(false)
		rt.cancel()
		rt.cancel = nil
	}
}

// newest is the configuration that was started last, nil where none is.
func (rt *runtime) newest() *App {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if len(rt.started) == 0 {
		return nil
	}
	return rt.started[len(rt.started)-1]
}

// Destruct implements [caddy.Destructor]: it waits until the last request has
// left, for a while, and closes. Requests of the configuration before may run on
// for long; so that a reload does not wait for them, neither does the caller.
func (rt *runtime) Destruct() error {
	if rt.visitors.none() || caddy.Exiting() {
		return rt.close()
	}
	go func() {
		if err := rt.close(); err != nil {
			rt.log.Load().Error("closing after a reload", zap.Error(err))
		}
	}()
	return nil
}

func (rt *runtime) close() error {
	rt.visitors.drain(drainTime)
	rt.looping.Wait() // each step of a loop is bounded
	if s := rt.services.Load(); s != nil {
		s.logBook.Flush(context.Background()) // bounded as well
	}
	_, err := stores.Delete(rt.storeKey)
	return err
}

// visitors counts the requests that are being served.
type visitors struct {
	mu     sync.Mutex
	inside int
	closed bool
	left   chan struct{} // closed when the last one leaves; nil while nobody waits
}

// enter counts one more, unless it is too late.
func (v *visitors) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.inside++
	return true
}

func (v *visitors) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.inside--; v.inside == 0 && v.left != nil {
		close(v.left)
		v.left = nil
	}
}

func (v *visitors) none() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.inside == 0
}

// drain waits until nobody is inside, at most for d, and lets nobody in then.
func (v *visitors) drain(d time.Duration) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for {
		v.mu.Lock()
		if v.inside == 0 {
			v.closed = true
			v.mu.Unlock()
			return
		}
		if v.left == nil {
			v.left = make(chan struct{})
		}
		left := v.left
		v.mu.Unlock()
		select {
		case <-left:
		case <-deadline.C:
			v.mu.Lock()
			v.closed = true
			v.mu.Unlock()
			return
		}
	}
}

// errNotReady is why a request cannot be served yet, or no longer.
var errNotReady = errors.New("starting or shutting down")

// startPatience is how long a request waits that comes before the start is done.
// Caddy starts its apps in any order: servers may listen for a moment already.
const startPatience = 5 * time.Second

// visit counts a request in and returns what serves it, waiting for a start under
// way. leave must be called unless err is set.
func (rt *runtime) visit(ctx context.Context) (s *services, leave func(), err error) {
	if s = rt.services.Load(); s == nil {
		patience := time.NewTimer(startPatience)
		defer patience.Stop()
		select {
		case <-rt.opened:
			s = rt.services.Load()
		case <-ctx.Done():
		case <-patience.C:
		}
	}
	if s == nil || !rt.visitors.enter() {
		return nil, nil, errNotReady
	}
	return s, rt.visitors.leave, nil
}

// Interface guards
var _ caddy.Destructor = (*runtime)(nil)
