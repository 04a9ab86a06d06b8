package remote

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// database is one tenant's open database.
type database struct {
	conn   Conn
	limits Limits
	reads  *sql.DB
	writes chan struct{} // holds one for each batch under way

	mu     sync.RWMutex // held for reading while statements run
	closed bool
}

func newDatabase(conn Conn, limits Limits) *database {
	d := &database{conn: conn, limits: limits, writes: make(chan struct{}, limits.Writers)}
	d.reads = sql.OpenDB(reader{d})
	d.reads.SetMaxOpenConns(limits.Readers)
	d.reads.SetMaxIdleConns(limits.Readers)
	return d
}

var errClosed = errors.New("database is closed")

func (d *database) enter() error {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return tenancy.Unavailable(errClosed, "")
	}
	return nil
}

// QueryContext implements tenancy.Querier.
func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	rows, err := d.reads.QueryContext(ctx, query, args...)
	return rows, translate(err)
}

// tries is how often something is sent that was surely not applied.
const tries = 4

// read runs one statement that changes nothing, again where the network failed:
// a connection that was kept may have been closed by the server meanwhile.
func (d *database) read(ctx context.Context, st Statement) ([]Result, error) {
	return readRetrying(ctx, d.conn, d.limits.ReadTime, st)
}

func readRetrying(ctx context.Context, conn Conn, limit time.Duration, st Statement) ([]Result, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for try := 1; ; try++ {
		results, err := conn.Run(bounded, []Statement{st})
		switch {
		case err == nil && len(results) == 1:
			return results, nil
		case err == nil:
			return nil, fmt.Errorf("%w: %d results for one statement", ErrLost, len(results))
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case bounded.Err() != nil:
			return nil, tenancy.Unavailable(fmt.Errorf("no answer within %v: %w", limit, err), hintServer)
		case try == tries || !(errors.Is(err, ErrUnsent) || errors.Is(err, ErrLost) || busy(err)):
			return nil, err
		}
		pause(bounded, try)
	}
}

// pause waits a little longer each time.
func pause(ctx context.Context, try int) {
	timer := time.NewTimer(rand.N(time.Duration(try*try) * 10 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Batch implements tenancy.Database. Where the connection breaks before the
// answer is there nobody knows what became of the batch, and the error says so.
func (d *database) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	b, err := newBatch(stmts, d.limits)
	if err != nil {
		return nil, err
	}
	select {
	case d.writes <- struct{}{}:
		defer func() { <-d.writes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(stmts) == 0 {
		return []int64{}, nil
	}
	results, err := runBatch(ctx, d.conn, d.limits.BatchTime, b.list)
	if err != nil {
		return nil, translate(err)
	}
	return b.affected(results)
}

// runBatch finishes what it began, also when ctx ends meanwhile.
func runBatch(ctx context.Context, conn Conn, limit time.Duration, list []Statement) ([]Result, error) {
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	for try := 1; ; try++ {
		results, err := conn.Run(finish, list)
		switch {
		case err == nil:
			return results, nil
		case errors.Is(err, ErrUnsent) || busy(err):
			if try < tries && finish.Err() == nil {
				pause(finish, try)
				continue
			}
		case finish.Err() != nil:
			err = fmt.Errorf("no answer within %v, and it is not known whether the batch was applied: %w", limit, err)
			return nil, tenancy.Unavailable(err, hintServer)
		case errors.Is(err, ErrLost):
			err = fmt.Errorf("it is not known whether the batch was applied: %w", err)
		}
		return nil, err
	}
}

// Close implements tenancy.Database.
func (d *database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return errors.Join(d.reads.Close(), d.conn.Close())
}

// Interface guards
var _ tenancy.Database = (*database)(nil)
