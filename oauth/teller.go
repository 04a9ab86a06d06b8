package oauth

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// HTTPClient makes requests to addresses that tenants choose. It follows no
// redirect and reaches no network that is not theirs to reach (contract C9.44).
type HTTPClient interface {
	Do(*http.Request) (*http.Response, error)
}

// Tenants finds tenants by their id; see [tenancy.Directory].
type Tenants interface {
	ByID(id string) (*tenancy.Tenant, bool)
}

// Teller tells clients of sessions that ended (OpenID Connect Back-Channel Logout
// 1.0). It learns of those of this process at once, and finds those that another
// process left behind in tenants whose database is open anyway.
//
// A tenant has one turn at a time, of a few logouts; who waits for a client that
// hangs has only their own turn to lose.
type Teller struct {
	Server    *Server       // required
	Pool      *tenancy.Pool // required
	Directory Tenants       // required
	Client    HTTPClient    // required
	Log       *slog.Logger  // nil drops it

	once   sync.Once
	mu     sync.Mutex
	due    map[string]time.Time // tenants with logouts, and when to see to them
	busy   map[string]bool      // those having their turn
	looked map[string]time.Time // when those with an open database were asked
	wake   chan struct{}
}

const (
	tellerTurns = 32               // tenants at a time
	tellerRound = 15 * time.Second // between two looks for what others left
	tellerEvery = 10 * time.Minute // how long a tenant that was asked is left alone
	tellerRetry = 30 * time.Second // after a tenant's database could not be used
	tellerSpan  = 20 * time.Second // how long working in a tenant's database may take
)

func (t *Teller) prepare() {
	t.once.Do(func() {
		t.due, t.busy, t.looked = map[string]time.Time{}, map[string]bool{}, map[string]time.Time{}
		t.wake = make(chan struct{}, 1)
	})
}

// Run tells until ctx ends, and returns when nobody is being told any more.
func (t *Teller) Run(ctx context.Context) {
	t.prepare()
	stop := t.Pool.WatchLogouts(func(tn *tenancy.Tenant) { t.schedule(tn.ID, time.Now()) })
	defer stop()
	var turns sync.WaitGroup
	defer turns.Wait()
	room := make(chan struct{}, tellerTurns)
	look := time.NewTicker(tellerRound)
	defer look.Stop()
	for {
		id, wait := t.next(time.Now())
		if id == "" {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-t.wake:
			case <-timer.C:
			case <-look.C:
				t.look(ctx)
			}
			timer.Stop()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case room <- struct{}{}:
		}
		turns.Go(func() {
			defer func() { <-room }()
			again := t.turn(ctx, id)
			t.mu.Lock()
			delete(t.busy, id)
			t.mu.Unlock()
			t.schedule(id, again)
		})
	}
}

// schedule wants a tenant to have a turn at a time; the zero time wants none, and
// has whoever waits look again.
func (t *Teller) schedule(id string, at time.Time) {
	t.mu.Lock()
	if before, ok := t.due[id]; !at.IsZero() && (!ok || at.Before(before)) {
		t.due[id] = at
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// next takes the tenant whose turn it is, or returns "" and how long to wait.
func (t *Teller) next(now time.Time) (id string, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := now.Add(time.Hour)
	for candidate, at := range t.due {
		if !t.busy[candidate] && at.Before(first) {
			id, first = candidate, at
		}
	}
	if id == "" || first.After(now) {
		return "", first.Sub(now)
	}
	delete(t.due, id)
	t.busy[id] = true
	return id, 0
}

// turn tells of the first of a tenant's logouts that are due, and returns when to
// see to it again; zero for not at all.
func (t *Teller) turn(ctx context.Context, id string) time.Time {
	tn, ok := t.Directory.ByID(id)
	if !ok || tn.State == tenancy.StateDeleting {
		return time.Time{}
	}
	var list []*telling
	var more bool
	err := t.inside(ctx, tn, func(ctx context.Context) (err error) {
		list, more, err = t.Server.dueLogouts(ctx)
		return err
	})
	var wg sync.WaitGroup
	for _, l := range list {
		wg.Go(func() { l.tell(ctx, t.Client) })
	}
	wg.Wait() // outside of the database, which nobody holds open meanwhile
	var next tenancy.Time
	if err == nil {
		err = t.inside(context.WithoutCancel(ctx), tn, func(ctx context.Context) error {
			for _, l := range list {
				if err := t.Server.settleLogout(ctx, l); err != nil {
					return err // it is due again when the lease is over
				}
			}
			var err error
			next, err = nextLogout(ctx)
			return err
		})
	}
	switch {
	case err != nil:
		if t.Log != nil && ctx.Err() == nil {
			t.Log.WarnContext(ctx, "clients could not be told of logouts; they are tried again", "tenant", id, "error", err)
		}
		return time.Now().Add(tellerRetry)
	case more:
		return time.Now()
	}
	return next.Time()
}

// inside works in a tenant's database behind everybody who waits for it.
func (t *Teller) inside(ctx context.Context, tn *tenancy.Tenant, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tellerSpan)
	defer cancel()
	return t.Pool.DoIdle(ctx, tn, f)
}

// nextLogout is when the first of the entered tenant's logouts is due; zero for
// none.
func nextLogout(ctx context.Context) (at tenancy.Time, err error) {
	err = tenancy.QueryRow(ctx, `SELECT COALESCE(MIN(due_at), 0) FROM logouts WHERE tenant_id = @tenant`, nil, &at)
	return at, err
}

// look asks tenants whose database is open whether another process left logouts
// there, each once in a while.
func (t *Teller) look(ctx context.Context) {
	t.prepare()
	now := time.Now()
	t.mu.Lock()
	for id, at := range t.looked {
		if now.Sub(at) >= tellerEvery {
			delete(t.looked, id)
		}
	}
	t.mu.Unlock()
	wants := func(c tenancy.Chance) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		_, known := t.looked[c.Tenant.ID]
		return !known && c.Tenant.State != tenancy.StateDeleting
	}
	_ = t.Pool.VisitOpen(ctx, wants, func(ctx context.Context, _ func() bool) { // its error is that ctx ended
		tn, err := tenancy.Current(ctx)
		if err != nil {
			return
		}
		t.mu.Lock()
		t.looked[tn.ID] = now
		t.mu.Unlock()
		if at, err := nextLogout(ctx); err == nil && at != 0 { // a database in trouble is asked again
			t.schedule(tn.ID, at.Time())
		}
	})
}

// logoutBackoff is how long to wait after so many attempts: about 5, 20 and 45
// seconds, with jitter.
func logoutBackoff(attempts int64) time.Duration {
	wait := time.Duration(5*attempts*attempts) * time.Second
	return wait/2 + rand.N(wait/2+1)
}

// newPost is a request with a form that nobody keeps.
func newPost(ctx context.Context, to string, form url.Values) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "Gatehouse")
	r.Header.Set("Cache-Control", "no-store")
	return r, nil
}
