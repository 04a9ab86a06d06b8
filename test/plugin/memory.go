// Package memory keeps tenants in the memory of the process, for demonstrations
// and tests: they are gone when it ends. It is also the example of a database of
// a third party. This file is all there is to one: a provider, its database, and
// the Caddy module that configures it.
//
//	{
//		gatehouse {
//			base_domain localhost
//			database scratch memory
//		}
//	}
package memory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"gorm.io/gorm"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gatehouse-id/gatehouse/caddymodule"
	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	tenantsqlite "github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

func init() {
	caddy.RegisterModule(new(Memory))
}

// Memory is the module: `database <name> memory`. It has no options.
type Memory struct{}

// CaddyModule implements [caddy.Module].
func (*Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse.databases.memory", New: func() caddy.Module { return new(Memory) }}
}

// UnmarshalCaddyfile reads the word "memory".
func (*Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Provider implements [caddymodule.DatabaseModule].
func (*Memory) Provider() (tenancy.Provider, error) { return new(Provider), nil }

// Provider makes and opens databases in memory. The zero value is ready; it must
// not be copied and is safe for concurrent use.
type Provider struct {
	mu   sync.Mutex
	kept map[string]*database // by name
}

// Dialector implements [tenancy.Provider]: the SQL is SQLite's.
func (*Provider) Dialector() gorm.Dialector { return tenantsqlite.Dialector() }

// Rebind implements [tenancy.Provider].
func (*Provider) Rebind(sql string) string { return sql }

// Create implements [tenancy.Provider].
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d, ok := p.kept[name(loc)]; ok {
		return d.belongsTo(loc.Tenant)
	}
	d, err := newDatabase(ctx, loc.Tenant)
	if err != nil {
		return err
	}
	if p.kept == nil {
		p.kept = make(map[string]*database)
	}
	p.kept[name(loc)] = d
	return nil
}

// Open implements [tenancy.Provider].
func (p *Provider) Open(_ context.Context, loc tenancy.Location) (tenancy.Database, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.kept[name(loc)]
	if !ok {
		return nil, tenancy.Unavailable(fmt.Errorf("nothing is kept for tenant %s", loc.Tenant), "tenants in memory end with the process: delete it, or restore a backup")
	}
	return d, d.belongsTo(loc.Tenant)
}

// Drop implements [tenancy.Provider].
func (p *Provider) Drop(_ context.Context, loc tenancy.Location) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.kept[name(loc)]
	if !ok {
		return nil
	}
	if err := d.belongsTo(loc.Tenant); err != nil {
		return err
	}
	delete(p.kept, name(loc))
	return errors.Join(d.anchor.Close(), d.DB.Close())
}

// Close implements [io.Closer]: nothing is left of the tenants.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, d := range p.kept {
		errs = append(errs, d.anchor.Close(), d.DB.Close())
	}
	p.kept = nil
	return errors.Join(errs...)
}

func name(loc tenancy.Location) string {
	if loc.Name != "" {
		return loc.Name
	}
	return loc.Tenant
}

// database is one tenant's. Queries come from [sql.DB]; writing is ours.
type database struct {
	*sql.DB
	tenant string
	anchor *sql.Conn // while it is open, the memory is kept
	writes sync.Mutex
}

var made atomic.Int64 // names for SQLite, which knows all databases in memory by them

func newDatabase(ctx context.Context, tenant string) (*database, error) {
	connector, err := sqlite.NewConnector(fmt.Sprintf("file:/gatehouse-memory-%d?vfs=memdb&_txlock=immediate&_pragma=busy_timeout(5000)", made.Add(1)))
	if err != nil {
		return nil, err
	}
	d := &database{DB: sql.OpenDB(connector), tenant: tenant}
	d.SetMaxOpenConns(8)
	if d.anchor, err = d.Conn(ctx); err != nil {
		return nil, errors.Join(err, d.DB.Close())
	}
	for _, m := range migrations.All() {
		if _, err := d.anchor.ExecContext(ctx, m.Script); err != nil {
			return nil, errors.Join(fmt.Errorf("schema version %d: %w", m.Version, err), d.anchor.Close(), d.DB.Close())
		}
	}
	return d, nil
}

func (d *database) belongsTo(tenant string) error {
	if d.tenant != tenant {
		return tenancy.Unavailable(fmt.Errorf("the database belongs to tenant %s, not %s", d.tenant, tenant), "correct the tenant's database name")
	}
	return nil
}

// Batch implements [tenancy.Database]: a transaction in which every statement has
// to meet its condition.
func (d *database) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	d.writes.Lock()
	defer d.writes.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // what was begun is finished
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return nil, translate(err)
	}
	rows := make([]int64, len(stmts))
	for i, st := range stmts {
		if rows[i], err = affected(ctx, tx, st); err == nil && st.Rows != tenancy.AnyRows && st.Rows != rows[i] {
			err = tenancy.ErrStale
		}
		if err != nil {
			return nil, errors.Join(translate(err), tx.Rollback())
		}
	}
	return rows, translate(tx.Commit())
}

// affected runs a statement. A guard changes nothing; its rows are counted.
func affected(ctx context.Context, tx *sql.Tx, st tenancy.Stmt) (n int64, err error) {
	if !st.Guard {
		result, err := tx.ExecContext(ctx, st.SQL, st.Args...)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	}
	rows, err := tx.QueryContext(ctx, st.SQL, st.Args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// Close implements [tenancy.Database]. What is in memory is closed by Drop.
func (d *database) Close() error { return nil }

// translate turns the driver's errors into those a provider answers with.
func translate(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w: %w", tenancy.ErrConflict, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM:
		return tenancy.Unavailable(err, "")
	}
	return err
}

// Interface guards
var (
	_ tenancy.Provider           = (*Provider)(nil)
	_ tenancy.Database           = (*database)(nil)
	_ caddymodule.DatabaseModule = (*Memory)(nil)
	_ caddyfile.Unmarshaler      = (*Memory)(nil)
)
