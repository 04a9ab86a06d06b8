package tenancy

import (
	"context"
	"slices"
	"strings"
)

// Chance is an occasion to do work in a tenant whose database is open anyway.
type Chance struct {
	Tenant *Tenant // as it was when its database was opened
	Idle   bool    // nobody is inside at this moment
}

// VisitOpen calls visit inside each tenant whose database is open and that want
// says yes to, one after another. It opens none, and which database is closed
// next to make room stays as if the visit had not been. alone reports whether
// the visit is the only one inside: work that can wait ends when it is not.
//
// visit's error is the visitor's own to handle; VisitOpen returns ctx's only. No
// order of the tenants is promised.
func (p *Pool) VisitOpen(ctx context.Context, want func(Chance) bool, visit func(ctx context.Context, alone func() bool)) error {
	p.mu.Lock()
	keys := make([]string, 0, len(p.entries))
	for key := range p.entries {
		keys = append(keys, key)
	}
	p.mu.Unlock()
	slices.SortFunc(keys, strings.Compare)
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := p.slipIn(key, want)
		if e == nil {
			continue
		}
		func() {
			defer p.leave(e, passing)
			inside := context.WithValue(ctx, spaceKey{}, &space{tenant: e.tenant, entry: e})
			visit(inside, func() bool { return p.alone(e) })
		}()
	}
	return ctx.Err()
}

// slipIn holds the entry if its database is open and want says yes.
func (p *Pool) slipIn(key string, want func(Chance) bool) *entry {
	p.mu.Lock()
	e, ok := p.entries[key]
	if p.closed || !ok || e.dropped {
		p.mu.Unlock()
		return nil
	}
	open, idle := e.state == opened, e.refs == 0
	p.mu.Unlock()
	if !open || !want(Chance{Tenant: e.tenant, Idle: idle}) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || e.dropped || p.entries[key] != e {
		return nil
	}
	p.hold(e, passing)
	return e
}

func (p *Pool) alone(e *entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.refs == 1 && !e.dropped
}
