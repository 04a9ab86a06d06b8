package tenancy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
)

// Housekeeper removes rows that have no effect any more. It works in small
// batches, in tenants whose database is open and idle: it never opens one for
// this, and a tenant nobody visits keeps its rows until somebody does. Only a
// tenant that is never found idle is swept, in the end, while it is busy.
//
// Its methods are safe for concurrent use. Two nodes that share a database may
// sweep at the same time: a row is removed once and both are content.
type Housekeeper struct {
	Pool *Pool // required

	// LogRetention is how long a tenant's log keeps its entries. Zero keeps them
	// for ever.
	LogRetention time.Duration

	// Every is how long a swept tenant is left alone. Default 1 hour.
	Every time.Duration

	// Leftovers removes what work that ended left, see [Lifecycle.Leftovers]; nil
	// removes nothing.
	Leftovers func(ctx context.Context, now time.Time) error

	// Now is the clock rows expire by; nil is time.Now.
	Now func() time.Time

	// Log gets the failures; nil drops them. They are counted either way.
	Log *slog.Logger

	sweeping sync.Mutex // one sweep at a time

	mu     sync.Mutex
	swept  map[string]*sweep // by tenant id
	counts HousekeeperStats
}

// HousekeeperStats counts what a [Housekeeper] did since it was made.
type HousekeeperStats struct {
	Removed map[string]int64 // rows, by table
	Visits  int64            // tenants swept, each as often as it was
	Errors  int64            // visits that failed
}

// sweep is how far the sweep of a tenant is.
type sweep struct {
	done  time.Time // when everything was last looked at; zero before
	begun time.Time // when the sweep under way was first wanted
	chore int       // which table is next
	after string    // id of the last row looked at in it
}

const (
	sweepRound  = 15 * time.Second       // between two looks at what is open
	sweepBatch  = 500                    // rows looked at by a statement
	sweepBudget = 250 * time.Millisecond // in one tenant at a time
	sweepPause  = 5 * time.Millisecond   // between batches, in which others write

	// overdue is after how many times Every a busy tenant is swept all the same.
	overdue = 6

	// bygone is how long rows stay after they lost their effect: the clocks of
	// nodes differ, a page can still say that a login has expired, and a code
	// that is used again still ends what came of it (RFC 6749 section 4.1.2).
	bygone = 24 * time.Hour
)

// chore is one table to sweep. condition holds for rows that can go; each "?" in
// it is the time before which they lost their effect.
type chore struct {
	table     string
	condition string
	before    Time
}

// familyIsOver says of a code or refresh token that nothing of its family can be
// used any more. Until then also the tokens that were consumed stay: by them a
// stolen one is noticed when it is used again (RFC 9700 section 4.14.2).
const familyIsOver = `(consumed_at > 0 AND consumed_at <= ? OR revoked_at > 0 AND revoked_at <= ?
		OR expires_at > 0 AND expires_at <= ? OR idle_expires > 0 AND idle_expires <= ?)
	AND NOT EXISTS (SELECT 1 FROM grants AS kin WHERE kin.tenant_id = grants.tenant_id AND kin.family = grants.family
		AND kin.consumed_at = 0 AND kin.revoked_at = 0
		AND (kin.expires_at = 0 OR kin.expires_at > ?) AND (kin.idle_expires = 0 OR kin.idle_expires > ?))`

func (h *Housekeeper) chores() []chore {
	now := h.now()
	gone := At(now.Add(-bygone))
	list := []chore{
		{"login_sessions", "expires_at <= ?", gone},
		{"sessions", "expires_at <= ? OR idle_expires_at <= ?", gone},
		{"grants", familyIsOver, gone},
		{"revoked_tokens", "expires_at > 0 AND expires_at <= ?", gone},
		{"login_attempts", "expires_at <= ?", gone},
		{"invitations", "expires_at <= ?", gone},
		{"deliveries", "expires_at <= ?", gone},
		{"upstream_logins", "expires_at <= ?", gone},
		{"request_keys", "expires_at <= ?", At(now)}, // it has a day already
		{"logouts", "expires_at <= ?", gone},
		{"outgoing_mails", "expires_at <= ?", gone},
		{"tickets", "expires_at <= ?", gone},
	}
	if h.LogRetention > 0 {
		list = append(list, chore{"logs", "date <= ?", At(now.Add(-h.LogRetention))})
	}
	return list
}

func (h *Housekeeper) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now()
}

func (h *Housekeeper) every() time.Duration {
	if h.Every > 0 {
		return h.Every
	}
	return time.Hour
}

// Stats returns the counts of now.
func (h *Housekeeper) Stats() HousekeeperStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := h.counts
	counts.Removed = maps.Clone(counts.Removed)
	return counts
}

// Run sweeps whatever is open and due, until ctx ends.
func (h *Housekeeper) Run(ctx context.Context) {
	tick := time.NewTicker(sweepRound)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.Sweep(ctx)
		if n%leftoverRounds == 0 {
			h.leftovers(ctx)
		}
	}
}

// leftoverRounds is how many rounds lie between two looks for left databases.
const leftoverRounds = 20

func (h *Housekeeper) leftovers(ctx context.Context) {
	if h.Leftovers == nil {
		return
	}
	err := h.Leftovers(ctx, h.now())
	if err == nil || ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	h.counts.Errors++
	h.mu.Unlock()
	if h.Log != nil {
		h.Log.WarnContext(ctx, "what moves, restores and imports left could not be removed; it is tried again", "error", err)
	}
}

// Sweep goes once through the tenants whose database is open, and spends a
// moment in each that is idle and due. What is left then is for the next time.
func (h *Housekeeper) Sweep(ctx context.Context) {
	h.sweeping.Lock()
	defer h.sweeping.Unlock()
	h.forget()
	_ = h.Pool.VisitOpen(ctx, h.due, func(ctx context.Context, alone func() bool) { // its error is that ctx ended
		t, err := Current(ctx)
		if err == nil {
			err = h.visit(ctx, h.of(t.ID), alone)
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.counts.Errors++
		h.swept[t.ID] = &sweep{done: h.now()} // whatever ails it, it is not tried all the time
		h.mu.Unlock()
		if h.Log != nil {
			h.Log.WarnContext(ctx, "housekeeping failed", "tenant", t.ID, "error", err)
		}
	})
}

// due reports whether a tenant is to be swept now.
func (h *Housekeeper) due(c Chance) bool {
	if c.Tenant.State == StateDeleting {
		return false
	}
	s, now := h.of(c.Tenant.ID), h.now()
	if now.Sub(s.done) < h.every() {
		return false
	}
	if s.begun.IsZero() {
		s.begun = now
	}
	return c.Idle || now.Sub(s.begun) >= (overdue-1)*h.every()
}

// of returns how far the tenant's sweep is. Only the one sweep under way changes
// what it returns.
func (h *Housekeeper) of(id string) *sweep {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.swept[id]
	if s == nil {
		if h.swept == nil {
			h.swept = make(map[string]*sweep)
		}
		s = new(sweep)
		h.swept[id] = s
	}
	return s
}

// forget drops what is remembered of tenants that are due again and not under
// way, so that memory does not grow with those that were open once.
func (h *Housekeeper) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	maps.DeleteFunc(h.swept, func(_ string, s *sweep) bool {
		return s.begun.IsZero() && now.Sub(s.done) >= h.every() || now.Sub(s.begun) > 24*h.every() && now.Sub(s.done) > 24*h.every()
	})
}

// visit goes on with the tenant's sweep for a moment. It stops between two
// batches when somebody else comes in, unless it began beside somebody.
func (h *Housekeeper) visit(ctx context.Context, s *sweep, alone func() bool) error {
	began, polite, chores := time.Now(), alone(), h.chores()
	h.mu.Lock()
	h.counts.Visits++
	h.mu.Unlock()
	for s.chore < len(chores) {
		more, err := h.batch(ctx, s, chores[s.chore])
		if err != nil {
			return fmt.Errorf("sweeping %s: %w", chores[s.chore].table, err)
		}
		if !more {
			s.chore, s.after = s.chore+1, ""
		}
		if s.chore == len(chores) {
			break
		}
		if time.Since(began) > sweepBudget || polite && !alone() {
			return nil
		}
		if more {
			select {
			case <-time.After(sweepPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	*s = sweep{done: h.now()}
	return nil
}

// batch looks at the next rows of a table, in the order of their ids, and removes
// those that can go. It reports whether there are more behind them.
func (h *Housekeeper) batch(ctx context.Context, s *sweep, c chore) (more bool, err error) {
	last, more := "", true
	err = QueryRow(ctx, `SELECT id FROM `+c.table+` WHERE tenant_id = @tenant AND id > ? ORDER BY id LIMIT 1 OFFSET ?`,
		[]any{s.after, sweepBatch - 1}, &last)
	if errors.Is(err, ErrNotFound) {
		more, err = false, nil
	}
	if err != nil {
		return false, err
	}
	where := "id > ? AND (" + c.condition + ")"
	args := []any{s.after}
	for range strings.Count(c.condition, "?") {
		args = append(args, c.before)
	}
	if more {
		where, args = where+" AND id <= ?", append(args, last)
	}
	// Most batches have nothing to remove, and a read does not keep writers waiting.
	var one int
	err = QueryRow(ctx, `SELECT 1 FROM `+c.table+` WHERE tenant_id = @tenant AND `+where+` LIMIT 1`, args, &one)
	if err == nil {
		var n int64
		n, err = CommitCount(ctx, SQL(ctx, `DELETE FROM `+c.table+` WHERE tenant_id = @tenant AND `+where, args...))
		h.removed(c.table, n)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	s.after = last
	return more, nil
}

func (h *Housekeeper) removed(table string, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.counts.Removed == nil {
		h.counts.Removed = make(map[string]int64)
	}
	h.counts.Removed[table] += n
}
