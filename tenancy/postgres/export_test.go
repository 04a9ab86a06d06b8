package postgres

import (
	"io/fs"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// Know replaces the migrations the provider knows.
func (p *Provider) Know(from fs.FS) (err error) {
	p.known, err = migrations.Read(from)
	return err
}

// Pooled reports whether a pooler was found before the server.
func (p *Provider) Pooled() bool {
	p.pooler.mu.Lock()
	defer p.pooler.mu.Unlock()
	return p.pooler.pooled
}

// Used returns how many connections there are.
func (p *Provider) Used() int {
	p.budget.mu.Lock()
	defer p.budget.mu.Unlock()
	return p.budget.used
}

// SkipWays has the provider begin with a later one of its ways to copy databases.
func (p *Provider) SkipWays(n int32) { p.way.Store(n) }
