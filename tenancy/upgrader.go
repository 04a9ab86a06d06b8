package tenancy

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// Upgrader brings the databases of all tenants to the schema of this program, in
// the background and a few at a time. A tenant that is visited first is upgraded
// then, by its provider, and so is one the upgrader has not come to; both find
// the work done where another process was faster.
//
// What it knows is in the registry: the version each tenant was last seen at.
// Where all are current, a pass is one query and opens no tenant's database
// (contract C8.19). A tenant that fails is answered 503 alone, and tried again
// after a while that grows; the others go on.
//
// Its methods are safe for concurrent use.
type Upgrader struct {
	Pool      *Pool      // required
	Directory *Directory // required

	// Workers is how many tenants are upgraded at a time. Default 4.
	Workers int

	// Every is how often the registry is looked at when nothing is known to be
	// due, for what other processes left. Default 10 minutes.
	Every time.Duration

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Log gets the failures and how a pass ended; nil drops them.
	Log *slog.Logger

	passing sync.Mutex // one pass at a time

	mu     sync.Mutex
	status UpgradeStatus
	done   int64 // since the process began
	failed int64
}

const (
	upgradeTime  = 20 * time.Minute // of one tenant
	upgradeNotes = 64               // written to the registry at a time
	upgradePause = time.Second      // after which what was done is written anyway

	// A pass in which so many fail, and more than succeed, has something wrong
	// with it that the rest had better be spared.
	upgradeStop = 20
)

// Run makes passes until ctx ends: one at once, and then whenever a tenant that
// failed is due again.
func (u *Upgrader) Run(ctx context.Context) {
	for {
		next, err := u.pass(ctx)
		if err != nil && ctx.Err() == nil && u.Log != nil {
			u.Log.WarnContext(ctx, "tenants' schemas could not be looked at", "error", err)
		}
		wait := u.every()
		if err != nil {
			wait = min(wait, 30*time.Second)
		} else if !next.IsZero() {
			wait = min(wait, max(next.Sub(u.now()), 100*time.Millisecond))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Pass upgrades every tenant that is due, and returns when all have been tried.
// Its error is why the registry could not be read, or ctx's; that tenants failed
// is in [Upgrader.Status].
func (u *Upgrader) Pass(ctx context.Context) error {
	_, err := u.pass(ctx)
	return err
}

// pass also returns when the next tenant is due that failed; zero for none.
func (u *Upgrader) pass(ctx context.Context) (next time.Time, err error) {
	u.passing.Lock()
	defer u.passing.Unlock()
	due, later, err := u.list(ctx)
	if err != nil {
		return time.Time{}, err
	}
	u.begin(due, later)
	if len(due) > 0 {
		err = u.upgradeAll(ctx, due)
		u.end(ctx)
	}
	return u.nextAttempt(), err
}

// list returns the tenants that are not at the version of their placement: those
// to be upgraded now, those never tried first, and those that failed and wait.
func (u *Upgrader) list(ctx context.Context) (due, later []Tenant, err error) {
	var where []string
	var args []any
	for _, pl := range u.Pool.order {
		if v := pl.version(); v > 0 {
			where, args = append(where, "placement = ? AND schema_version < ?"), append(args, pl.name, v)
		}
	}
	if len(where) == 0 {
		return nil, nil, nil
	}
	inside, leave, err := u.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	list, err := Tenants.Find(inside, Filter{
		Where: "state IN (?, ?) AND (" + strings.Join(where, " OR ") + ")", Args: append([]any{StateActive, StateSuspended}, args...),
		Order: "upgrade_attempts, id",
	})
	if err != nil {
		return nil, nil, err
	}
	now := At(u.now())
	for i := range list {
		if list[i].UpgradeAt > now {
			later = append(later, list[i])
		} else {
			due = append(due, list[i])
		}
	}
	return due, later, nil
}

// upgraded is what became of one tenant.
type upgraded struct {
	tenant *Tenant
	err    error
	again  Time // when it is tried again, where it failed
}

// upgradeAll has the workers go through the list, and writes what they did.
func (u *Upgrader) upgradeAll(ctx context.Context, due []Tenant) error {
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	jobs, results := make(chan *Tenant), make(chan upgraded)
	var wg sync.WaitGroup
	for range u.workers() {
		wg.Go(func() {
			for t := range jobs {
				results <- u.outcome(t, u.upgrade(ctx, t))
			}
		})
	}
	wg.Go(func() {
		defer close(jobs)
		for i := range due {
			select {
			case jobs <- &due[i]:
			case <-stop.Done():
				return
			}
		}
	})
	go func() { wg.Wait(); close(results) }()
	var notes []upgraded
	flushed := time.Now()
	for r := range results {
		if r.err != nil && ctx.Err() != nil {
			continue // called off
		}
		notes = append(notes, r)
		if u.count(r) {
			cancel()
		}
		if len(notes) >= upgradeNotes || time.Since(flushed) > upgradePause {
			u.write(ctx, notes)
			notes, flushed = nil, time.Now()
		}
	}
	u.write(context.WithoutCancel(ctx), notes)
	return ctx.Err()
}

func (u *Upgrader) outcome(t *Tenant, err error) upgraded {
	r := upgraded{tenant: t, err: err}
	if err != nil {
		r.again = At(u.now().Add(upgradeBackoff(t.UpgradeAttempts)))
	}
	return r
}

// upgrade opens the tenant's database, which brings it up to date.
func (u *Upgrader) upgrade(ctx context.Context, t *Tenant) error {
	u.mu.Lock()
	u.status.Current = append(u.status.Current, t.ID)
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.status.Current = slices.DeleteFunc(u.status.Current, func(id string) bool { return id == t.ID })
	}()
	ctx, cancel := context.WithTimeout(ctx, upgradeTime)
	defer cancel()
	return u.Pool.DoIdle(ctx, t, func(context.Context) error { return nil })
}

// write notes in the registry what was done. What cannot be written is found done
// at the next pass.
func (u *Upgrader) write(ctx context.Context, notes []upgraded) {
	if len(notes) == 0 {
		return
	}
	inside, leave, err := u.Directory.EnterControlPlane(ctx)
	if err == nil {
		defer leave()
		stmts := make([]Stmt, len(notes))
		for i, n := range notes {
			stmts[i] = n.stmt(inside, u.Pool.SchemaVersion(n.tenant))
		}
		err = Commit(inside, stmts...)
	}
	if err != nil && u.Log != nil {
		u.Log.WarnContext(ctx, "which tenants were upgraded could not be noted; they are looked at again", "error", err)
	}
}

// stmt writes past the change log: the registry's readers need not know, and a
// fleet that is upgraded is no reason for each of them to read it all anew. A
// tenant of the same id that was made since is another one.
func (n upgraded) stmt(inside context.Context, version int64) Stmt {
	t := n.tenant
	if n.err == nil {
		return SQL(inside, `UPDATE tenants SET schema_version = ?, upgrade_attempts = 0, upgrade_error = '', upgrade_at = 0
			WHERE tenant_id = @tenant AND id = ? AND created_at = ?`, version, t.ID, t.CreatedAt)
	}
	return SQL(inside, `UPDATE tenants SET upgrade_attempts = ?, upgrade_error = ?, upgrade_at = ?
		WHERE tenant_id = @tenant AND id = ? AND created_at = ? AND schema_version < ?`,
		t.UpgradeAttempts+1, clip(n.err.Error()), n.again, t.ID, t.CreatedAt, version)
}

// upgradeBackoff is how long to wait after one more failure: 1 s, doubled up to
// 10 minutes, a quarter more or less.
func upgradeBackoff(before int64) time.Duration {
	d := min(time.Second<<min(max(before, 0), 20), 10*time.Minute)
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

func (u *Upgrader) workers() int {
	if u.Workers > 0 {
		return u.Workers
	}
	return 4
}

func (u *Upgrader) every() time.Duration {
	if u.Every > 0 {
		return u.Every
	}
	return 10 * time.Minute
}

func (u *Upgrader) now() time.Time {
	if u.Now != nil {
		return u.Now()
	}
	return time.Now()
}

// SchemaVersion is the version that the tenant's placement brings databases to;
// 0 for a placement that has none, or is not configured.
func (p *Pool) SchemaVersion(t *Tenant) int64 {
	if pl, ok := p.placements[t.Placement]; ok {
		return pl.version()
	}
	return 0
}

func (pl *placement) version() int64 {
	if v, ok := pl.engine.provider.(Versioned); ok {
		return v.SchemaVersion()
	}
	return 0
}

// One upgrades a tenant now, also one that failed and waits.
//
// Errors: [ErrNotFound], and why it failed.
func (u *Upgrader) One(ctx context.Context, id string) error {
	inside, leave, err := u.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return err
	}
	u.Pool.forgive(t)
	err = u.upgrade(ctx, t)
	if errors.Is(err, context.Canceled) {
		return err
	}
	r := u.outcome(t, err)
	u.settled(r)
	u.write(context.WithoutCancel(ctx), []upgraded{r})
	return err
}
