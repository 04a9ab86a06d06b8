package oauth

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// meter counts what the fixture's databases are asked, and can have them fail.
type meter struct {
	reads, writes         atomic.Int64
	failReads, failWrites atomic.Bool
}

// sql is how many statements and batches there were so far.
func (m *meter) sql() int64 { return m.reads.Load() + m.writes.Load() }

// meteredProvider opens databases that are counted.
type meteredProvider struct {
	tenancy.Provider
	meter *meter
}

// Open implements tenancy.Provider.
func (p *meteredProvider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	db, err := p.Provider.Open(ctx, loc)
	return &meteredDatabase{db, p.meter}, err
}

type meteredDatabase struct {
	tenancy.Database
	meter *meter
}

var errPulled = errors.New("the disk was pulled")

// QueryContext implements tenancy.Database.
func (d *meteredDatabase) QueryContext(ctx context.Context, query string, args ...any) (tenancy.Rows, error) {
	d.meter.reads.Add(1)
	if d.meter.failReads.Load() {
		return nil, tenancy.Unavailable(errPulled, "")
	}
	return d.Database.QueryContext(ctx, query, args...)
}

// Batch implements tenancy.Database.
func (d *meteredDatabase) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	d.meter.writes.Add(1)
	if d.meter.failWrites.Load() {
		return nil, tenancy.Unavailable(errPulled, "")
	}
	return d.Database.Batch(ctx, stmts)
}

// Interface guards
var (
	_ tenancy.Provider = (*meteredProvider)(nil)
	_ tenancy.Database = (*meteredDatabase)(nil)
)
