package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// sharedName is the registry's name of the shared tables; no tenant has it.
const sharedName = "*"

// checkWall refuses a role that row-level security does not hold for: a wall
// that is not there must not be taken for one.
func (p *Provider) checkWall(ctx context.Context) error {
	var exempt bool
	err := p.list.scan(ctx, `SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user`, nil, &exempt)
	if err == nil && exempt {
		err = tenancy.Unavailable(errors.New("row-level security does not hold for the role of the connection string"),
			"with isolation row connect as a role that is neither SUPERUSER nor BYPASSRLS, for instance CREATE ROLE gatehouse LOGIN PASSWORD '...'")
	}
	return err
}

// prepareShared makes sure that the shared tables are there and up to date.
func (p *Provider) prepareShared(ctx context.Context, make bool) error {
	d := &database{db: p.main, texts: &p.texts, schema: p.schema()}
	var old bool
	err := withConn(ctx, p.main, func(c *pgx.Conn) (err error) {
		old, err = p.check(ctx, c, d.schema, "")
		return err
	})
	switch {
	case errors.Is(err, errMissing) && make:
		return p.makeShared(ctx)
	case err == nil && old:
		return p.upgradeUnderLease(ctx, d, Row, sharedName, "")
	}
	return err
}

func (p *Provider) makeShared(ctx context.Context) error {
	l, added, err := p.list.add(ctx, item{Row, sharedName, "", sharedName, making})
	if err == nil && !added {
		l, err = p.list.hold(ctx, Row, sharedName)
	}
	if err != nil {
		return err
	}
	defer l.release(ctx)
	return withConn(ctx, p.main, func(c *pgx.Conn) error {
		switch _, _, err := readMarker(ctx, c, p.schema()); {
		case err == nil:
			return nil // made by somebody else while this one waited
		case !errors.Is(err, errMissing):
			return err
		}
		bytewise, err := comparesBytes(ctx, c)
		if err != nil {
			return err
		}
		tables := layout{schema: p.schema(), bytewise: !bytewise, walled: true}
		text := fmt.Sprintf("%s; UPDATE %s SET state = %s%s;\n", begin, p.list.table, sqltext.Quote(ready), l.condition())
		return commitScript(ctx, c, text+tables.scripts(p.files(), ""), 1)
	})
}

// createRows enters the tenant in the list. In the same transaction it removes
// rows of the same id that stand there without being listed: an operator may have
// put them back.
func (p *Provider) createRows(ctx context.Context, loc tenancy.Location, name string) error {
	d := &database{db: p.main, texts: &p.texts, schema: p.schema(), tenant: loc.Tenant}
	add := tenancy.Stmt{Rows: 1, SQL: `INSERT INTO ` + p.list.table + ` (isolation, name, tenant, place, state)
		VALUES ($1, $2, $3, $3, $4) ON CONFLICT DO NOTHING`, Args: []any{string(Row), name, loc.Tenant, ready}}
	_, err := d.Batch(ctx, append([]tenancy.Stmt{add}, p.removeRows(loc.Tenant)...))
	if !errors.Is(err, tenancy.ErrStale) {
		return err
	}
	err = p.verify(ctx, loc)
	if errors.Is(err, errMissing) {
		return tenancy.Unavailable(errTaken, "a tenant can be in shared tables once only")
	}
	return err
}

// removeRows are the statements that remove all rows of a tenant.
func (p *Provider) removeRows(tenant string) []tenancy.Stmt {
	var list []tenancy.Stmt
	for _, m := range p.files() {
		for _, t := range m.Tables {
			list = append(list, tenancy.Stmt{SQL: `DELETE FROM ` + t + ` WHERE tenant_id = $1`, Args: []any{tenant}, Rows: tenancy.AnyRows})
		}
	}
	return list
}

// dropRows removes the tenant from the list and all its rows, in one transaction:
// the list first, see [listed].
func (p *Provider) dropRows(ctx context.Context, it item) error {
	d := &database{db: p.main, texts: &p.texts, schema: p.schema(), tenant: it.tenant}
	gone := tenancy.Stmt{
		Rows: tenancy.AnyRows, SQL: `DELETE FROM ` + p.list.table + ` WHERE isolation = $1 AND name = $2 AND tenant = $3`,
		Args: []any{string(it.isolation), it.name, it.tenant},
	}
	_, err := d.Batch(ctx, append([]tenancy.Stmt{gone}, p.removeRows(it.tenant)...))
	return err
}
