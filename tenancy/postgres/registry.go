package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// registry is the list of what is kept on the server: a row per tenant's
// database, and one each for the shared tables and for templates. A row says
// whose it is, so that a database is never opened for another tenant, and
// carries the lease under which it is made, migrated and dropped. Leases are
// rows, not locks of a session: a pooler may give each statement another session.
type registry struct {
	db        *sql.DB
	table     string
	isolation Isolation
}

// item is a row of the registry.
type item struct {
	isolation Isolation
	name      string // what the tenant's row calls the database
	tenant    string // whose it is; "" for shared tables and templates
	place     string // the schema or database it is in; unique
	state     string
}

// States of an item.
const (
	making   = "making"   // begun; nobody opens it
	ready    = "ready"    // whole
	dropping = "dropping" // on its way out; nobody opens it
)

var (
	// errMissing means that there is no such database.
	errMissing = errors.New("there is no such database")

	// errTaken means that the place is another item's.
	errTaken = errors.New("the tenant has its rows here under another name")

	errLeaseLost = errors.New("the lease was lost")
)

const hintMissing = "restore it from a backup; none is made in its place"

// columns of the registry, for CREATE TABLE.
const columns = `(
	isolation TEXT NOT NULL,
	name TEXT NOT NULL,
	tenant TEXT NOT NULL,
	place TEXT NOT NULL,
	state TEXT NOT NULL,
	lease_owner TEXT NOT NULL DEFAULT '',
	lease_until BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (isolation, name),
	UNIQUE (isolation, place)
)`

// now is the server's clock in seconds since 1970: nodes may disagree about time.
const now = `CAST(EXTRACT(EPOCH FROM CURRENT_TIMESTAMP) AS BIGINT)`

// prepare makes sure that the registry is there.
func (r registry) prepare(ctx context.Context, schema string, make bool) error {
	found, err := r.exists(ctx)
	switch {
	case err != nil || found:
		return err
	case !make:
		return errMissing
	}
	for try := 1; ; try++ {
		err := r.script(ctx, `CREATE SCHEMA IF NOT EXISTS `+strings.TrimSuffix(schema, ".")+`; CREATE TABLE IF NOT EXISTS `+r.table+` `+columns)
		switch stateOf(err) {
		case uniqueViolation, duplicateSchema, duplicateTable: // another node makes it now
		case notPermitted:
			return tenancy.Unavailable(err, "as an administrator run: CREATE SCHEMA "+strings.TrimSuffix(schema, ".")+" AUTHORIZATION <the role of the connection string>")
		default:
			return err
		}
		if try == tries {
			return err
		}
		time.Sleep(time.Duration(try) * 20 * time.Millisecond)
	}
}

func (r registry) exists(ctx context.Context) (bool, error) {
	err := r.scan(ctx, `SELECT COUNT(*) FROM `+r.table+` WHERE 1 = 0`, nil, new(int64))
	switch stateOf(err) {
	case undefinedTable, undefinedSchema:
		return false, nil
	}
	return err == nil, err
}

// scan reads one row; none is errMissing.
func (r registry) scan(ctx context.Context, query string, args []any, dest ...any) error {
	return withConn(ctx, r.db, func(c *pgx.Conn) error {
		err := c.QueryRow(ctx, query, args...).Scan(dest...)
		if errors.Is(err, pgx.ErrNoRows) {
			return errMissing
		}
		return err
	})
}

// exec runs one statement and returns how many rows it affected.
func (r registry) exec(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = withConn(ctx, r.db, func(c *pgx.Conn) error {
		tag, err := c.Exec(ctx, statement, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// script runs several statements that take no arguments.
func (r registry) script(ctx context.Context, text string) error {
	return withConn(ctx, r.db, func(c *pgx.Conn) error { return runScript(ctx, c, text) })
}

func runScript(ctx context.Context, c *pgx.Conn, text string) error {
	return c.PgConn().Exec(ctx, text).Close()
}

// get returns the item of the isolation and name, or errMissing.
func (r registry) get(ctx context.Context, isolation Isolation, name string) (item, error) {
	it := item{isolation: isolation, name: name}
	err := r.scan(ctx, `SELECT tenant, place, state FROM `+r.table+` WHERE isolation = $1 AND name = $2`,
		[]any{string(isolation), name}, &it.tenant, &it.place, &it.state)
	return it, err
}

// of returns the location's item. One of another tenant is an error.
func (r registry) of(ctx context.Context, loc tenancy.Location) (item, error) {
	name, err := nameOf(loc)
	if err != nil {
		return item{}, err
	}
	it, err := r.get(ctx, r.isolation, name)
	if err == nil && it.tenant != loc.Tenant {
		return item{}, tenancy.Unavailable(fmt.Errorf("database %q belongs to tenant %q, not %q", name, it.tenant, loc.Tenant),
			"correct the tenant's database name in the registry")
	}
	return it, err
}

// add stores a new item and reports whether it did: false means that there is
// one of the name or place. Unless the item is ready its lease is held.
func (r registry) add(ctx context.Context, it item) (*lease, bool, error) {
	l := &lease{list: r, item: it}
	if it.state != ready {
		l.owner = rand.Text()
	}
	n, err := r.exec(ctx, `INSERT INTO `+r.table+` (isolation, name, tenant, place, state, lease_owner, lease_until)
		VALUES ($1, $2, $3, $4, $5, $6, `+now+` + $7) ON CONFLICT DO NOTHING`,
		string(it.isolation), it.name, it.tenant, it.place, it.state, l.owner, int64(leaseTime/time.Second))
	if err != nil || n == 0 {
		return nil, false, err
	}
	if it.state != ready {
		l.keep(ctx)
	}
	return l, true, nil
}

// Count returns how many tenants' databases there are.
func (p *Provider) Count(ctx context.Context) (int, error) {
	switch err := p.start(ctx, false); {
	case errors.Is(err, errMissing):
		return 0, nil
	case err != nil:
		return 0, err
	}
	var n int
	err := p.list.scan(ctx, `SELECT COUNT(*) FROM `+p.list.table+` WHERE isolation = $1 AND state = $2 AND tenant <> ''`,
		[]any{string(p.isolation()), ready}, &n)
	return n, translate(err)
}
