package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
)

func init() {
	caddy.RegisterModule(new(Postgres))
}

// Postgres keeps tenants in PostgreSQL, or in a database that speaks its language.
type Postgres struct {
	// The connection string, as a URL or as key=value words. Its role makes
	// schemas, with isolation "database" also databases; with isolation "row" it
	// must be neither a superuser nor exempt from row-level security.
	// Placeholders are replaced; {env.*} keeps the password out of the stored
	// configuration. Required.
	DSN string `json:"dsn"`

	// How tenants are kept apart: "row" in shared tables, "schema" in a schema
	// each, or "database" in a database each. Default: row.
	Isolation string `json:"isolation,omitempty"`

	// The schema that holds our tables, made when the first tenant is. Two
	// installations in one database need two. Default: gatehouse.
	Schema string `json:"schema,omitempty"`

	// How many connections to the server there may be at a time, over all
	// tenants of this placement. Default: 20; at least 4.
	MaxConnections int `json:"max_connections,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: databaseNamespace + ".postgres", New: func() caddy.Module { return new(Postgres) }}
}

// Provision implements [caddy.Provisioner].
func (p *Postgres) Provision(caddy.Context) error {
	dsn, err := caddy.NewReplacer().ReplaceOrErr(p.DSN, true, true)
	if err != nil {
		return fmt.Errorf("dsn: %w", err)
	}
	p.DSN = dsn
	return nil
}

// Validate implements [caddy.Validator]. It reaches no server.
func (p *Postgres) Validate() error { return p.provider().Check() }

// Provider implements [DatabaseModule].
func (p *Postgres) Provider() (tenancy.Provider, error) { return p.provider(), nil }

func (p *Postgres) provider() *postgres.Provider {
	return &postgres.Provider{DSN: p.DSN, Isolation: postgres.Isolation(p.Isolation), Schema: p.Schema, MaxConns: p.MaxConnections}
}

// UnmarshalCaddyfile reads
//
//	postgres <connection string> {
//		isolation       row | schema | database
//		schema          <name>
//		max_connections <number>
//	}
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // postgres
	if err := text(&p.DSN)(d); err != nil {
		return err
	}
	return words{
		"isolation":       p.unmarshalIsolation,
		"schema":          text(&p.Schema),
		"max_connections": number(&p.MaxConnections, 10_000),
	}.block(d, "postgres")
}

func (p *Postgres) unmarshalIsolation(d *caddyfile.Dispenser) error {
	if err := text(&p.Isolation)(d); err != nil {
		return err
	}
	switch postgres.Isolation(p.Isolation) {
	case postgres.Row, postgres.Schema, postgres.Database:
		return nil
	}
	return d.Errf("'isolation' is row, schema or database, not '%s'", p.Isolation)
}

// Interface guards
var (
	_ caddy.Module          = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddy.Validator       = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
	_ DatabaseModule        = (*Postgres)(nil)
)
