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
