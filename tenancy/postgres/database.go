package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// database is one tenant's open database: its rows in shared tables, its schema,
// or a database of the server's.
type database struct {
	db     *sql.DB
	texts  *texts
	schema string  // where the tables are: `"name".`
	tenant string  // whom row-level security is told of; "" where there is none
	listed *listed // what a batch finds in the list; nil where a dropped database cannot be written
	close  func() error

	used atomic.Int64 // when it was last used, in nanoseconds since 1970

	mu     sync.RWMutex // held for reading while statements run
	closed bool
}

var errClosed = errors.New("database is closed")

func (d *database) enter() error {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return tenancy.Unavailable(errClosed, "")
	}
	d.used.Store(time.Now().UnixNano())
	return nil
}

// readTime bounds how long a read may take until its rows are closed. It is far
// beyond what one needs; a server that does not answer must not hold its callers.
const readTime = 30 * time.Second

var errSlow = errors.New("the server did not answer in time")

// QueryContext implements tenancy.Querier.
func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	// The context ends with the caller's or when time is up, and is let go of
	// when the rows are closed: they outlive this call.
	bounded, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	follow := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	timer := time.AfterFunc(readTime, func() { cancel(errSlow) })
	ended := func() {
		follow()
		timer.Stop()
	}
	all := append([]any{&read{d.tenant, ended}}, args...)
	rows, err := d.db.QueryContext(bounded, d.texts.pieces(query).in(d.schema), all...)
	if err == nil {
		return rows, nil
	}
	ended()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case context.Cause(bounded) == errSlow:
		return nil, tenancy.Unavailable(errSlow, hints["08"])
	}
	return nil, translate(err)
}

// finishTime bounds how long a batch that was begun may take. It is far beyond
// what one needs; a server that does not answer must not hold its caller forever.
const finishTime = 30 * time.Second

// Batch implements tenancy.Database. The statements of a batch are one
// transaction in two round trips: all of them, and its end. Its isolation is
// READ COMMITTED: of two who change a row under a condition the second waits for
// the first and then finds the condition as the first left it.
func (d *database) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := d.transaction(stmts)
	if err != nil {
		return nil, err
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	for try := 1; ; try++ {
		var affected []int64
		err := withConn(ctx, d.db, func(c *pgx.Conn) error {
			var err error
			affected, err = t.run(finish, c)
			return err
		})
		switch {
		case err == nil:
			return affected, nil
		case finish.Err() != nil:
			return nil, tenancy.Unavailable(fmt.Errorf("a batch was not finished after %v: %w", finishTime, err), hints["08"])
		case try == tries || !again(err):
			return nil, translate(err)
		}
		ctx = finish // it was begun
		time.Sleep(rand.N(time.Duration(try*try) * 2 * time.Millisecond))
	}
}

// tries is how often a transaction is run that the server or the network ended
// for reasons that lie outside of it.
const tries = 8

// again reports whether a transaction was surely not applied, and may succeed
// when it is run once more.
func again(err error) bool {
	switch stateOf(err) {
	case serializationFailed, deadlockDetected:
		return true
	}
	return errors.Is(err, errLost)
}

// errLost means that the connection broke before the transaction's end was asked
// for: the server undid it.
var errLost = errors.New("connection lost")

// transaction is a batch ready to be sent, any number of times.
type transaction struct {
	stmts  []tenancy.Stmt
	texts  []string
	args   [][]any
	tenant string
	listed *listed
}

// listed is the row of the list that says that a tenant has rows in shared tables.
// The tables stay when a tenant is dropped; whoever still has it open finds the row
// gone. Who drops the tenant removes it first, and so waits for batches that found it.
type listed struct {
	query string
	args  []any
}

func (p *Provider) listed(tenant, name string) *listed {
	return &listed{
		`SELECT 1 FROM ` + p.list.table + ` WHERE isolation = $1 AND name = $2 AND tenant = $3 FOR SHARE`,
		[]any{string(Row), name, tenant},
	}
}

func (d *database) transaction(stmts []tenancy.Stmt) (*transaction, error) {
	t := &transaction{stmts: stmts, tenant: d.tenant, listed: d.listed}
	for _, st := range stmts {
		args := make([]any, len(st.Args))
		for i, a := range st.Args {
			value, err := driver.DefaultParameterConverter.ConvertValue(a)
			if err != nil {
				return nil, fmt.Errorf("argument %d of %q: %w", i+1, st.SQL, err)
			}
			args[i] = value
		}
		t.texts = append(t.texts, d.texts.pieces(st.SQL).in(d.schema))
		t.args = append(t.args, args)
	}
	return t, nil
}

const begin = `BEGIN ISOLATION LEVEL READ COMMITTED`

// run sends the statements, judges their results in order, and ends the
// transaction.
func (t *transaction) run(ctx context.Context, c *pgx.Conn) (affected []int64, err error) {
	b := new(pgx.Batch)
	b.Queue(begin)
	if t.tenant != "" {
		b.Queue(setTenant, t.tenant)
	}
	before := b.Len()
	if t.listed != nil {
		b.Queue(t.listed.query, t.listed.args...)
	}
	for i, text := range t.texts {
		b.Queue(text, t.args[i]...)
	}
	results := c.SendBatch(ctx, b)
	affected, err = t.results(results, before)
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err != nil {
		if c.IsClosed() {
			return nil, fmt.Errorf("%w: %w", errLost, err)
		}
		if _, undo := c.Exec(ctx, `ROLLBACK`); undo != nil {
			_ = c.Close(ctx)
		}
		return nil, err
	}
	if _, err := c.Exec(ctx, `COMMIT`); err != nil {
		return nil, err
	}
	return affected, nil
}

func (t *transaction) results(results pgx.BatchResults, before int) ([]int64, error) {
	for range before {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	if t.listed != nil {
		switch tag, err := results.Exec(); {
		case err != nil:
			return nil, err
		case tag.RowsAffected() != 1:
			return nil, errMissing
		}
	}
	affected := make([]int64, len(t.stmts))
	for i, st := range t.stmts {
		tag, err := results.Exec()
		if err != nil {
			return nil, err
		}
		affected[i] = tag.RowsAffected() // of a guard, the rows it returned
		if st.Rows != tenancy.AnyRows && st.Rows != affected[i] {
			return nil, fmt.Errorf("%w (%d rows instead of %d)", tenancy.ErrStale, affected[i], st.Rows)
		}
	}
	return affected, nil
}

// Close implements tenancy.Database.
func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.close == nil {
		return nil
	}
	return d.close()
}

// Interface guards
var _ tenancy.Database = (*database)(nil)
