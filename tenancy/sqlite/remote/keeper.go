package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// keeper makes a database's tables and keeps them up to date.
type keeper struct {
	conn   Conn
	limits Limits
	known  migrations.List
}

// marker is the row that says whose a database is. A copy of a template that
// nobody has claimed yet is "" 's.
type marker struct {
	tenant  string
	version int64
}

// errBare means that the database has no marker.
var errBare = errors.New("the database has no table \"gatehouse\"")

func (k keeper) marker(ctx context.Context) (marker, error) {
	results, err := readRetrying(ctx, k.conn, k.limits.ReadTime, Statement{SQL: `SELECT tenant, version FROM gatehouse`})
	switch {
	case says(err, "no such table"):
		return marker{}, errBare
	case err != nil:
		return marker{}, err
	case len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 2:
		return marker{}, tenancy.Unavailable(errors.New("the table \"gatehouse\" is not ours"), hintDamaged)
	}
	tenant, isText := results[0].Rows[0][0].(string)
	version, isNumber := results[0].Rows[0][1].(int64)
	if !isText || !isNumber {
		return marker{}, tenancy.Unavailable(errors.New("the table \"gatehouse\" is not ours"), hintDamaged)
	}
	return marker{tenant, version}, nil
}

func (m marker) belongsTo(tenant string) error {
	if m.tenant == tenant {
		return nil
	}
	return tenancy.Unavailable(fmt.Errorf("it belongs to tenant %q, not %q", m.tenant, tenant),
		"correct the tenant's database name in the registry, or give each installation a prefix of its own")
}

// empty refuses a database that has tables of somebody else. What begins with
// sqlite_, libsql_ and _cf_ is the service's own.
func (k keeper) empty(ctx context.Context) error {
	results, err := readRetrying(ctx, k.conn, k.limits.ReadTime, Statement{SQL: `SELECT name FROM sqlite_master
		WHERE substr(name, 1, 7) NOT IN ('sqlite_', 'libsql_') AND substr(name, 1, 4) <> '_cf_' LIMIT 1`})
	if err != nil {
		return err
	}
	if len(results[0].Rows) > 0 {
		return tenancy.Unavailable(fmt.Errorf("it holds somebody else's tables, such as %v", results[0].Rows[0]...),
			"give this installation another prefix, or remove that database; it was not changed")
	}
	return nil
}

// found makes the database the tenant's, with the current schema: it may be
// empty, a copy of a template, the tenant's own already, or being made by
// somebody else at the same time.
func (k keeper) found(ctx context.Context, tenant string) error {
	for try := 1; ; try++ {
		m, err := k.marker(ctx)
		switch {
		case errors.Is(err, errBare):
			if err = k.empty(ctx); err == nil {
				err = k.build(ctx, tenant)
			}
		case err == nil && m.tenant == "":
			if err = k.claim(ctx, tenant); err == nil {
				err = k.upgrade(ctx, m.version)
			}
		case err == nil:
			if err := m.belongsTo(tenant); err != nil {
				return err
			}
			return k.upgrade(ctx, m.version)
		}
		// Somebody else was faster, or the service has yet to hear of what it made.
		again := says(err, "already exists") || errors.Is(err, tenancy.ErrStale) || errors.Is(err, ErrMissing) || errors.Is(err, ErrUnready)
		if err == nil || !again || try == 3*tries || ctx.Err() != nil {
			return err
		}
		pause(ctx, try)
	}
}

// build makes all tables, in one batch.
func (k keeper) build(ctx context.Context, tenant string) error {
	list := []Statement{
		{SQL: `CREATE TABLE gatehouse (tenant TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)`},
		{SQL: `INSERT INTO gatehouse (tenant, version) VALUES (?, ?)`, Args: []any{tenant, k.known.Version()}},
		{SQL: `CREATE TABLE gatehouse_guard (ok INTEGER NOT NULL CONSTRAINT ` + guardConstraint + ` CHECK (ok = 1))`},
	}
	for _, m := range k.known {
		list = appendScript(list, m)
	}
	_, err := runBatch(ctx, k.conn, k.limits.BatchTime, list)
	return err
}

func appendScript(list []Statement, m migrations.Migration) []Statement {
	for _, text := range m.Statements() {
		list = append(list, Statement{SQL: text})
	}
	return list
}

// claim makes a copy of a template the tenant's; of two who claim it one is late.
func (k keeper) claim(ctx context.Context, tenant string) error {
	_, err := runBatch(ctx, k.conn, k.limits.BatchTime, []Statement{
		{SQL: `UPDATE gatehouse SET tenant = ? WHERE tenant = ''`, Args: []any{tenant}},
		{SQL: condition("changes() <> 1")},
	})
	return translate(err)
}

// upgrade runs the migrations that are missing, each in one batch with the
// version: of two who migrate, one does it and the other finds it done.
func (k keeper) upgrade(ctx context.Context, version int64) error {
	current := k.known.Version()
	if version > current {
		return tenancy.Unavailable(fmt.Errorf("it has schema version %d; this program knows %d", version, current), "run the newer program that made it")
	}
	for _, m := range k.known[max(version, 0):] {
		list := appendScript([]Statement{
			{SQL: `UPDATE gatehouse SET version = ? WHERE version = ?`, Args: []any{m.Version, m.Version - 1}},
			{SQL: condition("changes() <> 1")},
		}, m)
		_, err := runBatch(ctx, k.conn, k.limits.BatchTime, list)
		if err = translate(err); err == nil || errors.Is(err, tenancy.ErrStale) {
			continue // a later condition refuses if it was not done after all
		}
		return tenancy.Unavailable(fmt.Errorf("migrating to version %d: %w", m.Version, err),
			"nothing of that version was applied; it is tried again when the tenant is visited")
	}
	return nil
}
