package sync

import (
	"context"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	// notesAtOnce is how many notes one statement writes: few enough that the
	// control plane's other writers do not wait.
	notesAtOnce = 50

	// notesEvery is how far apart notes are written.
	notesEvery = 500 * time.Millisecond
)

// notes is the writing down, on the control plane, of what was learned about
// tenants. It is done behind the work, in batches; what is lost of it costs a
// visit after the next start.
type notes struct {
	at      time.Time // when the last ones were given to be written
	written chan error
	pending []*target // being written
}

// noted makes a target of what was noted on the control plane about a tenant.
func (t *target) noted(row *tenancy.SyncTarget) {
	if row.Born != t.tenant.CreatedAt {
		return // about an earlier tenant of this id
	}
	t.known, t.applied = row.Applied > 0 || row.Attempts == 0, row.Applied
	t.attempts, t.lastError = row.Attempts, row.LastError
	t.lastSynced, t.nextAttempt = row.LastSyncedAt.Time(), row.NextAttemptAt.Time()
	t.conflicts, t.skipped, t.pending = row.Conflicts, row.Skipped, row.Pending
	t.problems, t.rules, t.choice = row.Problems, row.Rules, row.Choice
}

// note is the row that keeps what is known of the target.
func (t *target) note() tenancy.SyncTarget {
	return tenancy.SyncTarget{
		Row: tenancy.Row{ID: t.tenant.ID}, Born: t.tenant.CreatedAt, Applied: t.applied,
		Attempts: t.attempts, LastError: t.lastError, LastSyncedAt: tenancy.At(t.lastSynced), NextAttemptAt: tenancy.At(t.nextAttempt),
		Conflicts: t.conflicts, Skipped: t.skipped, Pending: t.pending, Problems: t.problems, Rules: t.rules, Choice: t.choice,
	}
}

// store writes notes. Of two processes the last one wins: a note that is too old
// costs a visit that finds nothing to do.
func store(inside context.Context, notes []tenancy.SyncTarget) error {
	for len(notes) >= notesAtOnce {
		if err := tenancy.Commit(inside, storeStatement(inside, notes[:notesAtOnce])); err != nil {
			return err
		}
		notes = notes[notesAtOnce:]
	}
	if len(notes) == 0 {
		return nil
	}
	var stmts []tenancy.Stmt
	for i := range notes {
		stmts = append(stmts, storeStatement(inside, notes[i:i+1]))
	}
	return tenancy.Commit(inside, stmts...)
}

func storeStatement(inside context.Context, notes []tenancy.SyncTarget) tenancy.Stmt {
	const tuple = `(@tenant, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	now := tenancy.At(time.Now())
	args := make([]any, 0, 15*len(notes))
	for _, n := range notes {
		args = append(args, n.ID, now, now, n.Born, n.Applied, n.Attempts, n.LastError, n.LastSyncedAt,
			n.NextAttemptAt, n.Conflicts, n.Skipped, n.Pending, n.Problems, n.Rules, n.Choice)
	}
	return tenancy.SQL(inside, `INSERT INTO sync_targets (tenant_id, id, revision, created_at, updated_at, born, applied,
			attempts, last_error, last_synced_at, next_attempt_at, conflicts, skipped, pending, problems, rules, choice)
		VALUES `+tuple+strings.Repeat(", "+tuple, len(notes)-1)+`
		ON CONFLICT (tenant_id, id) DO UPDATE SET revision = sync_targets.revision + 1, updated_at = excluded.updated_at,
			born = excluded.born, applied = excluded.applied, attempts = excluded.attempts, last_error = excluded.last_error,
			last_synced_at = excluded.last_synced_at, next_attempt_at = excluded.next_attempt_at,
			conflicts = excluded.conflicts, skipped = excluded.skipped, pending = excluded.pending,
			problems = excluded.problems, rules = excluded.rules, choice = excluded.choice`, args...)
}

// notesDue is when notes are to be written; zero for never.
func (r *run) notesDue() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unnoted) == 0 || r.notes.written != nil {
		return time.Time{}
	}
	return r.notes.at.Add(notesEvery)
}

// writeNotes begins to write notes where it is time.
func (r *run) writeNotes(ctx context.Context) {
	due := r.notesDue()
	if due.IsZero() || time.Now().Before(due) {
		return
	}
	list := r.takeNotes()
	written := make(chan error, 1)
	r.notes.written = written
	r.group.Go(func() { written <- r.store(ctx, list) })
}

func (r *run) takeNotes() []tenancy.SyncTarget {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]tenancy.SyncTarget, 0, len(r.unnoted))
	r.notes.pending = nil
	for t := range r.unnoted {
		if r.targets[t.tenant.ID] == t {
			list = append(list, t.note())
			r.notes.pending = append(r.notes.pending, t)
		}
	}
	clear(r.unnoted)
	r.notes.at = time.Now()
	return list
}

// wroteNotes keeps notes that could not be written for the next time.
func (r *run) wroteNotes(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes.written = nil
	if err == nil {
		return
	}
	for _, t := range r.notes.pending {
		r.unnoted[t] = true
	}
	r.notes.at = time.Now().Add(time.Second)
}

// lastNotes writes what is left when the loop ends.
func (r *run) lastNotes(ctx context.Context) {
	if r.notes.written != nil {
		r.wroteNotes(<-r.notes.written)
	}
	list := r.takeNotes()
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = r.store(ctx, list) // else the next start asks these tenants
}

func (r *run) store(ctx context.Context, list []tenancy.SyncTarget) error {
	inside, leave, err := r.enterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return store(inside, list)
}
