package libsql

import (
	"context"
	"net"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// Dial has the provider reach every address through dial.
func (p *Provider) Dial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	p.dial = dial
}

// Know replaces the migrations the provider knows.
func (p *Provider) Know(l migrations.List) { p.known = l }

// Clock replaces the provider's clock.
func (p *Provider) Clock(now func() time.Time) { p.now = now }

// Limit replaces the provider's limits.
func (p *Provider) Limit(l remote.Limits) { p.limits = l }

// NameOf returns what the services call the database.
func NameOf(prefix, name string) (string, error) { return naming{prefix: prefix}.of(name) }
