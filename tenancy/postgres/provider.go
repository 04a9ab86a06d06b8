package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// Isolation is how tenants are kept apart.
type Isolation string

// The isolations.
const (
	// Row keeps all tenants in the same tables. Every key begins with the
	// tenant, and row-level security is a second wall behind that. A tenant
	// costs nothing but its rows.
	Row Isolation = "row"

	// Schema gives each tenant a schema of its own, over shared connections.
	// It fits up to about a thousand tenants per database.
	Schema Isolation = "schema"

	// Database gives each tenant a database of its own, copied from a template,
	// over few connections each. It fits few, large or regulated tenants.
	Database Isolation = "database"
)

// Provider makes and opens tenants' databases on one PostgreSQL server. With DSN
// set it is ready; it must not be copied. It reaches the server when the first
// tenant is created or opened, not before. Close it when it is no longer used.
type Provider struct {
	// DSN is the connection string, as a URL or as "key=value" words. Its
	// database holds the list of tenants, and the tenants of isolations Row and
	// Schema. It may lead to a pooler in transaction mode.
	DSN string

	// Isolation is how tenants are kept apart. Default Row.
	Isolation Isolation

	// Schema holds our tables: the list of tenants and the shared tables in the
	// DSN's database, the tenant's tables in a database of its own. It is made
	// when the first tenant is. Default "gatehouse".
	Schema string

	// MaxConns is how many connections to the server there may be at a time,
	// over all tenants. Default 20; at least 4.
	MaxConns int

	flight singleflight.Group
	texts  texts
	way    atomic.Int32    // the first of ways that may work
	known  migrations.List // nil means all there are

	mu      sync.Mutex
	main    *sql.DB
	config  *pgx.ConnConfig
	pooler  *pooler
	budget  *budget
	started bool
	closed  bool
	list    registry
}

// Defaults, and what connections may cost.
const (
	defaultSchema   = "gatehouse"
	defaultMaxConns = 20
	tenantConns     = 4                // per database of its own
	tenantIdleTime  = 30 * time.Second // likewise
	sharedIdleTime  = 5 * time.Minute
	connLifetime    = 30 * time.Minute // a server process never forgets a table it has touched
	connectTimeout  = 5 * time.Second
	startTime       = 2 * time.Minute
)

// Check returns what is wrong with the configuration, without reaching a server.
func (p *Provider) Check() error {
	_, err := p.parse()
	return err
}

func (p *Provider) parse() (*pgx.ConnConfig, error) {
	switch p.isolation() {
	case Row, Schema, Database:
	default:
		return nil, fmt.Errorf("isolation is row, schema or database, not %q", p.Isolation)
	}
	if p.DSN == "" {
		return nil, errors.New("the connection string is missing, for instance postgres://user:password@host:5432/database")
	}
	if s := p.Schema; s != "" && (strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || len(s) > 40 || strings.HasPrefix(s, "pg_")) {
		return nil, fmt.Errorf("schema %q: use up to 40 lower-case letters, digits and _, not beginning with pg_", s)
	}
	config, err := pgx.ParseConfig(p.DSN)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err) // pgx takes the password out of it
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatehouse"
	}
	return config, nil
}

func (p *Provider) isolation() Isolation {
	if p.Isolation == "" {
		return Row
	}
	return p.Isolation
}

func (p *Provider) schemaName() string {
	if p.Schema == "" {
		return defaultSchema
	}
	return p.Schema
}

// schema returns the quoted name of our schema with a dot behind it.
func (p *Provider) schema() string { return sqltext.Ident(p.schemaName()) + "." }

// connect makes the pool of the DSN's database, once. It reaches nothing.
func (p *Provider) connect() (*sql.DB, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, tenancy.Unavailable(errClosed, "")
	case p.main != nil:
		return p.main, nil
	}
	config, err := p.parse()
	if err != nil {
		return nil, tenancy.Unavailable(err, "correct the database option")
	}
	limit := p.MaxConns
	if limit <= 0 {
		limit = defaultMaxConns
	}
	limit = max(limit, 4)
	p.texts.tables = p.files().Tables()
	p.config, p.pooler, p.budget = config, newPooler(p.DSN), newBudget(limit)
	p.main = sql.OpenDB(&connector{config: config, budget: p.budget, pooler: p.pooler})
	if p.isolation() == Database {
		limit = 2 // it only looks tenants up
	}
	p.main.SetMaxOpenConns(limit)
	p.main.SetMaxIdleConns(limit)
	p.main.SetConnMaxIdleTime(sharedIdleTime)
	p.main.SetConnMaxLifetime(connLifetime)
	p.list = registry{db: p.main, table: p.schema() + "gatehouse_databases", isolation: p.isolation()}
	return p.main, nil
}

// start makes sure, once, that the server is as this provider needs it. With
// make set it creates what is missing; otherwise what is missing is errMissing.
func (p *Provider) start(ctx context.Context, make bool) error {
	if _, err := p.connect(); err != nil {
		return err
	}
	p.mu.Lock()
	started := p.started
	p.mu.Unlock()
	if started {
		return nil
	}
	// One at a time, and for as long as it takes: a caller who gives up does not
	// spoil it for the others.
	result := p.flight.DoChan(fmt.Sprint("start ", make), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
		defer cancel()
		if err := p.prepare(ctx, make); err != nil {
			return nil, translate(err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.started = true
		return nil, nil
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Provider) prepare(ctx context.Context, make bool) error {
	if err := p.list.prepare(ctx, p.schema(), make); err != nil {
		return err
	}
	if p.isolation() == Row {
		if err := p.checkWall(ctx); err != nil {
			return err
		}
		return p.prepareShared(ctx, make)
	}
	return nil
}

// Close closes all connections. The provider's databases have been closed before.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.main == nil {
		return nil
	}
	return p.main.Close()
}

// nameOf returns the location's name in the list of tenants. It was made by us;
// it is checked again because it comes from a row.
func nameOf(loc tenancy.Location) (string, error) {
	name := loc.Name
	if name == "" {
		name = loc.Tenant
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || loc.Tenant == "" {
		return "", fmt.Errorf("%q cannot be a database's name", name)
	}
	return name, nil
}

// dialector is GORM's PostgreSQL dialect without connections of its own.
type dialector struct{ gorm.Dialector }

// Dialector implements tenancy.Provider.
func (p *Provider) Dialector() gorm.Dialector {
	return dialector{gormpostgres.New(gormpostgres.Config{Conn: noPool{}})}
}

// Translate implements gorm.ErrorTranslator.
func (dialector) Translate(err error) error { return translate(err) }

// noPool stands where GORM wants connections while it is set up.
type noPool struct{}

// PrepareContext implements gorm.ConnPool.
func (noPool) PrepareContext(context.Context, string) (*sql.Stmt, error) { return nil, errClosed }

// ExecContext implements gorm.ConnPool.
func (noPool) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errClosed
}

// QueryContext implements gorm.ConnPool.
func (noPool) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errClosed
}

// QueryRowContext implements gorm.ConnPool.
func (noPool) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

// Interface guards
var (
	_ tenancy.Provider     = (*Provider)(nil)
	_ tenancy.Versioned    = (*Provider)(nil)
	_ gorm.Dialector       = dialector{}
	_ gorm.ErrorTranslator = dialector{}
	_ gorm.ConnPool        = noPool{}
)
