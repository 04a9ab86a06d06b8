package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// templates is the isolation under which the registry lists template databases.
const templates Isolation = "template"

// dedicate gives d connections of its own, to the database called place.
func (p *Provider) dedicate(d *database, place string) {
	d.db = p.pool(place)
	p.budget.join(d)
	d.close = func() error {
		p.budget.quit(d)
		return d.db.Close()
	}
}

// pool returns a small pool of connections to another database of the server.
func (p *Provider) pool(place string) *sql.DB {
	config := p.config.Copy()
	config.Database = place
	db := sql.OpenDB(&connector{config: config, budget: p.budget, pooler: p.pooler})
	db.SetMaxOpenConns(tenantConns)
	db.SetMaxIdleConns(tenantConns)
	db.SetConnMaxIdleTime(tenantIdleTime)
	db.SetConnMaxLifetime(connLifetime)
	return db
}

// inside runs f with a connection to another database, which has none afterwards.
func (p *Provider) inside(ctx context.Context, place string, f func(*pgx.Conn) error) error {
	db := p.pool(place)
	return errors.Join(withConn(ctx, db, f), db.Close())
}

// buildDatabase makes the tenant's database and ends the lease.
func (p *Provider) buildDatabase(ctx context.Context, l *lease) error {
	place := l.item.place
	if err := p.dropDatabase(ctx, place); err != nil { // left of an earlier try
		return err
	}
	copied, err := p.copyTemplate(ctx, place)
	if err != nil {
		return err
	}
	if !copied {
		if err := p.makeDatabase(ctx, place, l.item.tenant); err != nil {
			return err
		}
	} else if err := p.inside(ctx, place, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, `UPDATE `+p.schema()+`gatehouse SET tenant = $1 WHERE tenant = ''`, l.item.tenant)
		return err
	}); err != nil {
		return err
	}
	return l.finish(ctx, ready)
}

// ways to copy a database, fastest first. The second is for servers before
// version 15; some engines know neither, and run the migrations instead.
var ways = []string{` TEMPLATE %s STRATEGY WAL_LOG`, ` TEMPLATE %s`}

// copyTemplate makes the database as a copy of the template. It reports false on
// an engine that does not copy databases.
func (p *Provider) copyTemplate(ctx context.Context, place string) (bool, error) {
	for int(p.way.Load()) < len(ways) {
		way := p.way.Load()
		template, err := p.template(ctx)
		if err == nil {
			err = p.list.script(ctx, `CREATE DATABASE `+sqltext.Ident(place)+fmt.Sprintf(ways[way], sqltext.Ident(template)))
		}
		switch stateOf(err) {
		case syntaxError, notSupported, invalidParameter:
			p.way.CompareAndSwap(way, way+1)
			continue
		}
		return err == nil, err
	}
	return false, nil
}

// makeDatabase makes an empty database and its tables.
func (p *Provider) makeDatabase(ctx context.Context, place, tenant string) error {
	if err := p.list.script(ctx, `CREATE DATABASE `+sqltext.Ident(place)+` TEMPLATE template0 ENCODING 'UTF8'`); err != nil {
		return err
	}
	return p.inside(ctx, place, func(c *pgx.Conn) error {
		bytewise, err := comparesBytes(ctx, c)
		if err != nil {
			return err
		}
		tables := layout{schema: p.schema(), bytewise: !bytewise}
		return runScript(ctx, c, begin+"; CREATE SCHEMA "+sqltext.Ident(p.schemaName())+";\n"+tables.scripts(p.files(), tenant)+"COMMIT")
	})
}

// template returns the database that tenants' are copied from: made once for
// each state of the migrations, and closed to connections, because one that is
// in use cannot be copied.
func (p *Provider) template(ctx context.Context) (string, error) {
	name := p.templateName()
	for {
		it, err := p.list.get(ctx, templates, name)
		if err == nil && it.state == ready {
			return it.place, nil
		}
		if err != nil && !errors.Is(err, errMissing) {
			return "", err
		}
		l, added, err := p.list.add(ctx, item{templates, name, "", newPlace("gatehouse_template_"), making})
		if err == nil && !added {
			l, err = p.list.hold(ctx, templates, name)
		}
		if err != nil {
			return "", err
		}
		if l.item.state == ready { // made by somebody else while this one waited
			l.release(ctx)
			continue
		}
		err = p.makeTemplate(ctx, l.item.place)
		if err == nil {
			err = l.finish(ctx, ready)
		}
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
			defer cancel()
			if p.dropDatabase(undo, l.item.place) != nil || l.forget(undo) != nil {
				l.release(undo)
			}
			return "", err
		}
	}
}

func (p *Provider) makeTemplate(ctx context.Context, place string) error {
	err := p.dropDatabase(ctx, place) // left of an earlier try
	if err == nil {
		err = p.makeDatabase(ctx, place, "")
	}
	if err == nil {
		err = p.list.script(ctx, `ALTER DATABASE `+sqltext.Ident(place)+` ALLOW_CONNECTIONS false`)
	}
	if err == nil { // a pooler keeps those that were used to make it
		_, err = p.list.exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, place)
	}
	return err
}

// templateName tells the states of the migrations apart.
func (p *Provider) templateName() string {
	sum := sha256.New()
	for _, m := range p.files() {
		fmt.Fprintf(sum, "%d %s\n", m.Version, m.Script)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// dropDatabase removes a database that may not be there, ending connections to it.
func (p *Provider) dropDatabase(ctx context.Context, place string) error {
	drop := `DROP DATABASE IF EXISTS ` + sqltext.Ident(place)
	err := p.list.script(ctx, drop+` WITH (FORCE)`)
	switch stateOf(err) {
	case syntaxError, notSupported: // servers before version 13, and other engines
		return p.list.script(ctx, drop)
	}
	return err
}
