package tenancy

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Kinds of entities whose changes on the control plane are logged.
const (
	KindTenant         = "tenant"          // a row of the registry
	KindResourceServer = "resource_server" // synced
	KindRole           = "role"            // synced, with its permissions
	KindConnection     = "connection"      // synced where it asks to be
	KindSettings       = "settings"        // inherited
	KindDomain         = "domain"          // a custom domain
	KindEmailProvider  = "email_provider"  // fallen back on
)

// AnyID as the entity of a change means that any entity of the kind may be
// different: readers compare them all.
const AnyID = "*"

// change is a note of what a statement alters.
type change struct{ kind, id string }

// Change is one entry of the control plane's change log. The log says which
// entity is different, never how: whoever acts on it reads the entity as it is
// now, so entries may be skipped over and acted on twice.
type Change struct {
	Revision int64
	Kind     string
	EntityID string
	At       Time
}

func appendChange(list []change, c change) []change {
	if slices.Contains(list, c) {
		return list
	}
	return append(list, c)
}

// statements append the change under the next revision. The counter row is
// written first, so that on engines with concurrent writers revisions become
// visible in the order they were given out.
func (c change) statements(ctx context.Context) []Stmt {
	return []Stmt{
		SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'revision', 1)
			ON CONFLICT (tenant_id, id) DO UPDATE SET value = counters.value + 1`),
		SQL(ctx, `INSERT INTO change_log (tenant_id, revision, kind, entity_id, created_at)
			SELECT tenant_id, value, ?, ?, ? FROM counters WHERE tenant_id = @tenant AND id = 'revision'`,
			c.kind, c.id, At(time.Now())).Once(),
	}
}

// Head returns the newest revision of the entered control plane's change log;
// 0 when nothing was ever changed.
func Head(ctx context.Context) (int64, error) {
	var head int64
	err := QueryRow(ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = 'revision'`, nil, &head)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return head, err
}

// ChangesAfter returns the changes with a revision above since, oldest first,
// at most limit of them.
func ChangesAfter(ctx context.Context, since int64, limit int) ([]Change, error) {
	rows, err := Query(ctx, `SELECT revision, kind, entity_id, created_at FROM change_log
		WHERE tenant_id = @tenant AND revision > ? ORDER BY revision LIMIT ?`, since, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Change
	for rows.Next() {
		var c Change
		if err := rows.Scan(&c.Revision, &c.Kind, &c.EntityID, &c.At); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// Compacted returns the revision up to which changes may be missing from the
// entered control plane's log: who knows less cannot learn from it what changed.
func Compacted(ctx context.Context) (int64, error) {
	var horizon int64
	err := QueryRow(ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = 'compacted'`, nil, &horizon)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return horizon, err
}

// compactStep is how many revisions one statement removes, so that other writers
// hardly wait.
const compactStep = 2000

// Compact removes changes from the entered control plane's log: those of before
// forget, and those of before settled that every reader has applied, which are the
// ones up to a revision.
func Compact(ctx context.Context, applied int64, settled, forget time.Time) error {
	horizon, err := Compacted(ctx)
	if err != nil {
		return err
	}
	old, err := lastBefore(ctx, forget)
	if err != nil {
		return err
	}
	done, err := lastBefore(ctx, settled)
	if err != nil {
		return err
	}
	for end := max(old, min(done, applied)); horizon < end; {
		horizon = min(horizon+compactStep, end)
		err := Commit(ctx,
			// The horizon goes first, on engines where reading does not wait.
			SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'compacted', ?)
				ON CONFLICT (tenant_id, id) DO UPDATE SET value = excluded.value WHERE counters.value < excluded.value`, horizon),
			SQL(ctx, `DELETE FROM change_log WHERE tenant_id = @tenant AND revision <= ?`, horizon))
		if err != nil {
			return err
		}
	}
	return nil
}

// lastBefore returns the newest revision of before a time, 0 for none.
func lastBefore(ctx context.Context, t time.Time) (int64, error) {
	var revision int64
	err := QueryRow(ctx, `SELECT COALESCE(MAX(revision), 0) FROM change_log WHERE tenant_id = @tenant AND created_at < ?`, []any{At(t)}, &revision)
	return revision, err
}
