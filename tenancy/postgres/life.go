package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// newPlace returns the name of a new schema or database: never derived from what
// somebody chose, and never used twice.
func newPlace(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:])
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Create implements tenancy.Provider.
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	name, err := nameOf(loc)
	if err != nil {
		return err
	}
	if err := p.start(ctx, true); err != nil {
		return err
	}
	if p.isolation() == Row {
		return translate(p.createRows(ctx, loc, name))
	}
	l, err := p.claim(ctx, loc, name)
	if err != nil || l == nil {
		return translate(err)
	}
	err = p.build(ctx, l)
	if err == nil {
		return nil
	}
	// Whole or not at all. What cannot be undone now is not opened by anybody,
	// and undone by the next Create or Drop.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if p.demolish(undo, l) != nil {
		l.release(undo)
	}
	return translate(err)
}

// claim returns the lease of the location's item while it is being made, or nil
// if it is already there.
func (p *Provider) claim(ctx context.Context, loc tenancy.Location, name string) (*lease, error) {
	for {
		l, added, err := p.list.add(ctx, item{p.isolation(), name, loc.Tenant, newPlace("t_"), making})
		if err != nil || added {
			return l, err
		}
		it, err := p.list.of(ctx, loc)
		if err == nil && it.state != ready {
			l, err = p.list.hold(ctx, it.isolation, it.name)
		}
		switch {
		case errors.Is(err, errMissing):
			continue // dropped meanwhile
		case err != nil:
			return nil, err
		case it.state == ready:
			return nil, p.verify(ctx, loc)
		case l.item.tenant != loc.Tenant:
			l.release(ctx)
			continue // of returns the error
		case l.item.state == ready:
			l.release(ctx)
			return nil, p.verify(ctx, loc)
		case l.item.state == making: // left by somebody who died
			return l, nil
		}
		if err := p.demolish(ctx, l); err != nil {
			l.release(ctx)
			return nil, err
		}
	}
}

// verify opens what is already there.
func (p *Provider) verify(ctx context.Context, loc tenancy.Location) error {
	db, err := p.Open(ctx, loc)
	if err != nil {
		return err
	}
	return db.Close()
}

// build makes the item's schema or database and ends the lease.
func (p *Provider) build(ctx context.Context, l *lease) error {
	if p.isolation() == Schema {
		return p.buildSchema(ctx, l)
	}
	return p.buildDatabase(ctx, l)
}

// demolish removes the item's schema or database, and the item with the lease.
func (p *Provider) demolish(ctx context.Context, l *lease) error {
	if err := l.mark(ctx, dropping); err != nil {
		return err
	}
	if p.isolation() == Schema {
		return p.dropSchema(ctx, l)
	}
	if err := p.dropDatabase(ctx, l.item.place); err != nil {
		return err
	}
	return l.forget(ctx)
}

// Open implements tenancy.Provider.
func (p *Provider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	d, err := p.open(ctx, loc)
	switch {
	case errors.Is(err, errMissing):
		return nil, tenancy.Unavailable(fmt.Errorf("tenant %q: %w", loc.Tenant, err), hintMissing)
	case err != nil:
		return nil, translate(err)
	}
	return d, nil
}

func (p *Provider) open(ctx context.Context, loc tenancy.Location) (*database, error) {
	if err := p.start(ctx, false); err != nil {
		return nil, err
	}
	it, err := p.list.of(ctx, loc)
	if err != nil {
		return nil, err
	}
	if it.state != ready {
		return nil, tenancy.Unavailable(fmt.Errorf("database %q is %s", it.name, it.state), "create or delete the tenant again")
	}
	d := &database{db: p.main, texts: &p.texts}
	switch p.isolation() {
	case Row:
		d.schema, d.tenant, d.listed = p.schema(), loc.Tenant, p.listed(loc.Tenant, it.name)
		return d, nil
	case Schema:
		d.schema = sqltext.Ident(it.place) + "."
	case Database:
		d.schema = p.schema()
		p.dedicate(d, it.place)
	}
	var old bool
	err = withConn(ctx, d.db, func(c *pgx.Conn) (err error) {
		old, err = p.check(ctx, c, d.schema, loc.Tenant)
		return err
	})
	if err == nil && old {
		err = p.upgradeUnderLease(ctx, d, it.isolation, it.name, loc.Tenant)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Drop implements tenancy.Provider.
func (p *Provider) Drop(ctx context.Context, loc tenancy.Location) error {
	err := p.start(ctx, false)
	if err == nil {
		err = p.drop(ctx, loc)
	}
	if errors.Is(err, errMissing) {
		return nil
	}
	return translate(err)
}

func (p *Provider) drop(ctx context.Context, loc tenancy.Location) error {
	it, err := p.list.of(ctx, loc)
	if err != nil {
		return err
	}
	if p.isolation() == Row {
		return p.dropRows(ctx, it)
	}
	l, err := p.list.hold(ctx, it.isolation, it.name)
	if err != nil {
		return err
	}
	if l.item.tenant != loc.Tenant {
		err = errMissing
	} else {
		err = p.demolish(ctx, l)
	}
	if err != nil {
		l.release(ctx)
	}
	return err
}
