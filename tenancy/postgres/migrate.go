package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// migrationTime is how long tables may take to be brought up to date. Their
// tenant's visitors do not wait that long, see [tenancy.Pool].
const migrationTime = 15 * time.Minute

// files are the migrations this provider knows; tests have other ones.
func (p *Provider) files() migrations.List {
	if p.known != nil {
		return p.known
	}
	return migrations.All()
}

// SchemaVersion implements tenancy.Versioned.
func (p *Provider) SchemaVersion() int64 { return p.files().Version() }

// comparesBytes asks the server whether it compares text by its bytes.
func comparesBytes(ctx context.Context, c *pgx.Conn) (bool, error) {
	var other bool
	err := c.QueryRow(ctx, `SELECT 'a' < 'B' OR 'aa' < 'a-b'`).Scan(&other)
	return !other, err
}

// readMarker returns whose tables those of the schema are and their version.
// Without them it is errMissing.
func readMarker(ctx context.Context, c *pgx.Conn, schema string) (tenant string, version int64, err error) {
	err = c.QueryRow(ctx, `SELECT tenant, version FROM `+schema+`gatehouse`).Scan(&tenant, &version)
	switch code := stateOf(err); {
	case code == undefinedTable, code == undefinedSchema, errors.Is(err, pgx.ErrNoRows):
		err = errMissing
	}
	return tenant, version, err
}

// check refuses tables that are not this tenant's or are newer than this
// program, and reports whether they are older.
func (p *Provider) check(ctx context.Context, c *pgx.Conn, schema, tenant string) (old bool, err error) {
	owner, version, err := readMarker(ctx, c, schema)
	switch current := p.files().Version(); {
	case err != nil:
		return false, err
	case owner != tenant:
		return false, tenancy.Unavailable(fmt.Errorf("the tables of schema %s belong to tenant %q, not %q", strings.TrimSuffix(schema, "."), owner, tenant),
			"correct the list of databases, or restore the tenant's own")
	case version > current:
		return false, tenancy.Unavailable(fmt.Errorf("the tables have schema version %d; this program knows %d", version, current),
			"run the newer program that made them")
	default:
		return version < current, nil
	}
}

// upgrade runs the migrations that are missing, each in a transaction of its own.
// The caller holds the lease; where it lost it meanwhile, the condition on the
// version makes one of the two undo what it did.
func (p *Provider) upgrade(ctx context.Context, c *pgx.Conn, l layout, tenant string) error {
	owner, version, err := readMarker(ctx, c, l.schema)
	if err != nil {
		return err
	}
	if owner != tenant {
		return errMissing
	}
	bytewise, err := comparesBytes(ctx, c)
	if err != nil {
		return err
	}
	l.bytewise = !bytewise
	tables := p.files().Tables()
	for _, m := range p.files() {
		if m.Version <= version {
			continue
		}
		text := fmt.Sprintf("%s; UPDATE %sgatehouse SET version = %d WHERE version = %d;\n", begin, l.schema, m.Version, m.Version-1)
		if err := commitScript(ctx, c, text+l.script(m, tables), 1); err != nil {
			return tenancy.Unavailable(fmt.Errorf("migrating to version %d: %w", m.Version, err), "nothing of that version was applied; it is tried again when the tenant is visited")
		}
	}
	return nil
}

// commitScript runs a script that begins with BEGIN, and commits it if its
// statement at the index affected one row.
func commitScript(ctx context.Context, c *pgx.Conn, text string, index int) error {
	results, err := c.PgConn().Exec(ctx, text).ReadAll()
	if err == nil && (index >= len(results) || results[index].CommandTag.RowsAffected() != 1) {
		err = errLeaseLost
	}
	end := `COMMIT`
	if err != nil {
		end = `ROLLBACK`
	}
	if _, ending := c.Exec(ctx, end); err == nil {
		err = ending
	}
	return err
}

// upgradeUnderLease brings the tables of an item up to date; db reaches them.
func (p *Provider) upgradeUnderLease(ctx context.Context, d *database, isolation Isolation, name, tenant string) error {
	l, err := p.list.hold(ctx, isolation, name)
	if err != nil {
		return err
	}
	defer l.release(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrationTime)
	defer cancel()
	return withConn(ctx, d.db, func(c *pgx.Conn) error {
		return p.upgrade(ctx, c, layout{schema: d.schema, walled: isolation == Row}, tenant)
	})
}
