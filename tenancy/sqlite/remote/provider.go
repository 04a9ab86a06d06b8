package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// Provider makes and opens tenants' databases at a server. With Server set it is
// ready.
type Provider struct {
	// Server is where the databases are. Required.
	Server Server

	// Limits are what the service and the network allow.
	Limits Limits

	// Known are the migrations, nil for all there are; tests have other ones.
	Known migrations.List
}

// Limits bound what is asked of a service. The zero value is right for SQLite
// itself, over a network within a data center.
type Limits struct {
	// Params is how many arguments a statement may have. What is beyond goes
	// into its text. 0 means no limit.
	Params int

	// Readers and Writers are how many reads and batches may be under way at a
	// time in one database. Default 16 and 4.
	Readers, Writers int

	// ReadTime is how long a read is waited for, over all tries. Default 10s.
	ReadTime time.Duration

	// BatchTime is the same for a batch; ends it, then it is not known whether
	// the batch was applied. Default 30s.
	BatchTime time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Readers <= 0 {
		l.Readers = 16
	}
	if l.Writers <= 0 {
		l.Writers = 4
	}
	if l.ReadTime <= 0 {
		l.ReadTime = 10 * time.Second
	}
	if l.BatchTime <= 0 {
		l.BatchTime = 30 * time.Second
	}
	return l
}

// Dialector implements tenancy.Provider: the language is SQLite's.
func (p *Provider) Dialector() gorm.Dialector { return sqlite.Dialector() }

// Rebind implements tenancy.Provider: SQLite's placeholders are "?".
func (p *Provider) Rebind(sql string) string { return sql }

// nameOf returns what the server is asked for. It was made by us; it is checked
// again because it comes from a row and ends up in an address.
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

// Open implements tenancy.Provider.
func (p *Provider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	name, err := nameOf(loc)
	if err != nil {
		return nil, err
	}
	conn, err := p.Server.Connect(ctx, name)
	if err != nil {
		return nil, of(name, err)
	}
	k := p.keeper(conn)
	m, err := k.marker(ctx)
	switch {
	case errors.Is(err, errBare):
		err = tenancy.Unavailable(err, "it was left half made, or is not ours: create the tenant again, or restore its database from a backup")
	case err == nil:
		if err = m.belongsTo(loc.Tenant); err == nil {
			err = k.upgrade(ctx, m.version)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, of(name, err)
	}
	return newDatabase(conn, k.limits), nil
}

// of says which database an error is of.
func of(name string, err error) error { return fmt.Errorf("database %q: %w", name, translate(err)) }

// Create implements tenancy.Provider. Where it fails after the service has made
// the database, an empty one may be left: it is never opened, and filled when the
// tenant is created again, or removed when it is dropped.
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	name, err := nameOf(loc)
	if err != nil {
		return err
	}
	return p.create(ctx, name, loc.Tenant)
}

// CreateTemplate makes a database with all tables that belongs to nobody, for the
// server to copy new ones from, or brings it up to date. name need not be one a
// location can have.
func (p *Provider) CreateTemplate(ctx context.Context, name string) error {
	return p.create(ctx, name, "")
}

func (p *Provider) create(ctx context.Context, name, tenant string) error {
	if err := p.Server.Create(ctx, name); err != nil {
		return of(name, err)
	}
	conn, err := p.Server.Connect(ctx, name)
	if err != nil {
		return of(name, err)
	}
	defer conn.Close()
	if err := p.keeper(conn).found(ctx, tenant); err != nil {
		return of(name, err)
	}
	return nil
}

// Drop implements tenancy.Provider. It removes what is the tenant's, and what was
// left half made under its name; anything else is an error and stays.
func (p *Provider) Drop(ctx context.Context, loc tenancy.Location) error {
	name, err := nameOf(loc)
	if err != nil {
		return err
	}
	switch err := p.mayDrop(ctx, name, loc.Tenant); {
	case errors.Is(err, ErrMissing):
		return nil
	case err != nil:
		return of(name, err)
	}
	if err := p.Server.Drop(ctx, name); err != nil && !errors.Is(err, ErrMissing) {
		return of(name, err)
	}
	return nil
}

func (p *Provider) mayDrop(ctx context.Context, name, tenant string) error {
	conn, err := p.Server.Connect(ctx, name)
	if err != nil {
		return err
	}
	defer conn.Close()
	k := p.keeper(conn)
	m, err := k.marker(ctx)
	switch {
	case errors.Is(err, errBare):
		return k.empty(ctx)
	case err != nil || m.tenant == "":
		return err
	}
	return m.belongsTo(tenant)
}

// SchemaVersion implements tenancy.Versioned.
func (p *Provider) SchemaVersion() int64 { return p.files().Version() }

func (p *Provider) files() migrations.List {
	if p.Known != nil {
		return p.Known
	}
	return migrations.All()
}

func (p *Provider) keeper(conn Conn) keeper {
	return keeper{conn: conn, limits: p.Limits.withDefaults(), known: p.files()}
}

// Interface guards
var (
	_ tenancy.Provider  = (*Provider)(nil)
	_ tenancy.Versioned = (*Provider)(nil)
)
