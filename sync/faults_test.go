package sync

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// faults is a provider whose databases fail on demand.
type faults struct {
	tenancy.Provider
	away  sync.Map // tenant -> true: cannot be opened or used
	opens sync.Map // tenant -> *atomic.Int64

	// batch, if set, is asked before a batch of a tenant is written. It returns
	// the statements to write instead (nil for none), and an error to return
	// although they were written.
	batch atomic.Pointer[func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error)]

	// query, if set, is told of a query before it is run.
	query atomic.Pointer[func(tenant string)]
}

func (f *faults) onBatch(b func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error)) {
	if b == nil {
		f.batch.Store(nil)
		return
	}
	f.batch.Store(&b)
}

func (f *faults) opened(tenant string) *atomic.Int64 {
	n, _ := f.opens.LoadOrStore(tenant, new(atomic.Int64))
	return n.(*atomic.Int64)
}

func (f *faults) check(tenant string) error {
	if _, away := f.away.Load(tenant); away {
		return tenancy.Unavailable(errors.New("away"), "")
	}
	return nil
}

func (f *faults) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	f.opened(loc.Tenant).Add(1)
	if err := f.check(loc.Tenant); err != nil {
		return nil, err
	}
	db, err := f.Provider.Open(ctx, loc)
	if err != nil {
		return nil, err
	}
	return &faultyDatabase{db, f, loc.Tenant}, nil
}

type faultyDatabase struct {
	tenancy.Database
	faults *faults
	tenant string
}

func (d *faultyDatabase) QueryContext(ctx context.Context, query string, args ...any) (tenancy.Rows, error) {
	if err := d.faults.check(d.tenant); err != nil {
		return nil, err
	}
	if f := d.faults.query.Load(); f != nil {
		(*f)(d.tenant)
	}
	return d.Database.QueryContext(ctx, query, args...)
}

func (d *faultyDatabase) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	if err := d.faults.check(d.tenant); err != nil {
		return nil, err
	}
	var failure error
	if f := d.faults.batch.Load(); f != nil {
		if stmts, failure = (*f)(d.tenant, stmts); stmts == nil {
			return nil, failure
		}
	}
	rows, err := d.Database.Batch(ctx, stmts)
	return rows, errors.Join(err, failure)
}
