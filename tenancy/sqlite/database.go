package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// database is one open file. Batches that arrive while another is being written
// are committed together, because what a commit costs is waiting for the disk.
type database struct {
	path string
	db   *sql.DB

	reads    sync.Map // query -> *sql.Stmt
	prepares atomic.Int64

	mu      sync.Mutex
	queue   []*job
	writing bool          // somebody writes, and will see to the queue
	quiet   chan struct{} // closed when nobody writes; nil while nobody waits
	closed  bool
}

// job is a batch that waits to be written.
type job struct {
	ctx   context.Context
	stmts []tenancy.Stmt
	rows  []int64
	err   error
	done  chan struct{} // closed when rows or err are set; or handed the pen
	lead  bool          // set before done is closed: write what is queued
}

const (
	groupLimit    = 64  // batches in one commit
	queueLimit    = 512 // batches waiting; more are refused
	preparedLimit = 500 // queries kept prepared

	closeTime = 10 * time.Second // what Close waits for its last connection
)

func newDatabase(db *sql.DB, path string) *database { return &database{path: path, db: db} }

// QueryContext implements tenancy.Querier. Statements are prepared once: their
// texts are constants of the program, or made by GORM from such.
func (d *database) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := d.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	var rows *sql.Rows
	if stmt != nil {
		rows, err = stmt.QueryContext(ctx, args...)
	} else {
		rows, err = d.db.QueryContext(ctx, query, args...)
	}
	return rows, translate(d.path, err)
}

// prepared returns the query's prepared statement, or nil once there are many:
// searches are put together from what people ask and have endless forms.
func (d *database) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := d.reads.Load(query); ok {
		return stmt.(*sql.Stmt), nil
	}
	if d.prepares.Load() >= preparedLimit {
		return nil, nil
	}
	stmt, err := d.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, translate(d.path, err)
	}
	if first, taken := d.reads.LoadOrStore(query, stmt); taken {
		_ = stmt.Close()
		return first.(*sql.Stmt), nil
	}
	d.prepares.Add(1)
	return stmt, nil
}

// Batch implements tenancy.Database.
func (d *database) Batch(ctx context.Context, stmts []tenancy.Stmt) ([]int64, error) {
	j := &job{ctx: ctx, stmts: stmts, done: make(chan struct{})}
	d.mu.Lock()
	switch {
	case d.closed:
		d.mu.Unlock()
		return nil, tenancy.Unavailable(errors.New("database is closed"), "")
	case len(d.queue) >= queueLimit:
		d.mu.Unlock()
		return nil, tenancy.Unavailable(fmt.Errorf("%s: %d writes are waiting", d.path, queueLimit), "the disk is too slow for this load")
	}
	d.queue = append(d.queue, j)
	if d.writing {
		d.mu.Unlock()
		<-j.done
		if !j.lead {
			return j.rows, j.err
		}
	} else {
		d.writing = true
		d.mu.Unlock()
	}
	d.write(j)
	return j.rows, j.err
}

// write commits one group, which holds j, and hands the pen to whoever is first
// in the queue then.
func (d *database) write(j *job) {
	d.mu.Lock()
	n := min(len(d.queue), groupLimit)
	group := d.queue[:n:n]
	d.queue = d.queue[n:]
	d.mu.Unlock()

	d.commit(group)

	d.mu.Lock()
	if len(d.queue) > 0 {
		d.queue[0].lead = true
		close(d.queue[0].done)
	} else {
		d.writing, d.queue = false, nil
		if d.quiet != nil {
			close(d.quiet)
			d.quiet = nil
		}
	}
	d.mu.Unlock()
	for _, g := range group {
		if g != j {
			close(g.done)
		}
	}
}

// commit writes a group in one transaction. Each job has a savepoint of its own,
// so that one that fails takes nothing of the others with it.
func (d *database) commit(group []*job) {
	ctx := context.Background() // a batch that was begun is finished
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		fail(group, translate(d.path, err))
		return
	}
	for _, j := range group {
		if j.err = j.ctx.Err(); j.err != nil {
			continue // the caller gave up before it was begun
		}
		if j.rows, j.err = d.apply(ctx, tx, j.stmts); j.err != nil && errors.Is(j.err, errTransaction) {
			_ = tx.Rollback()
			fail(group, j.err)
			return
		}
	}
	if err := tx.Commit(); err != nil {
		fail(group, translate(d.path, err))
	}
}

// errTransaction means that not only a job but its whole transaction is lost.
var errTransaction = errors.New("transaction is lost")

// fail gives err to the jobs that have none of their own.
func fail(group []*job, err error) {
	for _, j := range group {
		if j.err == nil {
			j.rows, j.err = nil, err
		}
	}
}

func (d *database) apply(ctx context.Context, tx *sql.Tx, stmts []tenancy.Stmt) ([]int64, error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT job"); err != nil {
		return nil, fmt.Errorf("%w: %w", errTransaction, translate(d.path, err))
	}
	rows := make([]int64, len(stmts))
	var failed error
	for i, st := range stmts {
		if rows[i], failed = d.run(ctx, tx, st); failed != nil {
			break
		}
	}
	end := "RELEASE job"
	if failed != nil {
		end = "ROLLBACK TO job"
	}
	if _, err := tx.ExecContext(ctx, end); err != nil {
		return nil, fmt.Errorf("%w: %w", errTransaction, translate(d.path, errors.Join(failed, err)))
	}
	if failed != nil {
		return nil, failed
	}
	return rows, nil
}

func (d *database) run(ctx context.Context, tx *sql.Tx, st tenancy.Stmt) (int64, error) {
	n, err := d.affected(ctx, tx, st)
	switch {
	case err != nil:
		return 0, translate(d.path, err)
	case st.Rows != tenancy.AnyRows && st.Rows != n:
		return 0, fmt.Errorf("%w (%d rows instead of %d)", tenancy.ErrStale, n, st.Rows)
	}
	return n, nil
}

func (d *database) affected(ctx context.Context, tx *sql.Tx, st tenancy.Stmt) (int64, error) {
	if !st.Guard {
		result, err := tx.ExecContext(ctx, st.SQL, st.Args...)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	}
	rows, err := tx.QueryContext(ctx, st.SQL, st.Args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var n int64
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// Scrub implements tenancy.Scrubber: it brings the log into the file, where what
// was deleted is overwritten, and empties the log. While somebody reads from the
// log it cannot be emptied; it is tried for as long as SQLite waits for locks.
func (d *database) Scrub(ctx context.Context) error {
	var busy, frames, moved int
	err := d.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err == nil && busy != 0 {
		return tenancy.Unavailable(fmt.Errorf("%s: the log is in use", d.path), "")
	}
	return translate(d.path, err)
}

// Close implements tenancy.Database.
func (d *database) Close() error {
	d.mu.Lock()
	d.closed = true
	var quiet chan struct{}
	if d.writing {
		if d.quiet == nil {
			d.quiet = make(chan struct{})
		}
		quiet = d.quiet
	}
	d.mu.Unlock()
	if quiet != nil {
		<-quiet
	}
	var errs []error
	d.reads.Range(func(_, stmt any) bool {
		errs = append(errs, stmt.(*sql.Stmt).Close())
		return true
	})
	return errors.Join(append(errs, d.closeConnections())...)
}

// closeConnections closes them, one of them last and alone: that one brings the log
// into the file and removes it, which of two that close at a time neither does. An
// interrupted connection is replaced in the background, and database/sql does not
// wait for that; but once Close has returned the file may be moved and its directory
// handed on.
func (d *database) closeConnections() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if d.db.Stats().OpenConnections == 0 {
		if _, err := os.Stat(d.path + "-wal"); errors.Is(err, fs.ErrNotExist) {
			return d.db.Close() // idle connections were closed before, one by one
		}
	}
	last, err := d.db.Conn(ctx)
	if err != nil {
		return errors.Join(err, d.db.Close())
	}
	_, err = last.ExecContext(ctx, "PRAGMA schema_version") // a new connection knows of the log only once it has read
	err = errors.Join(err, d.db.Close())
	for d.db.Stats().OpenConnections > 1 && ctx.Err() == nil {
		time.Sleep(100 * time.Microsecond)
	}
	return errors.Join(err, last.Close())
}

// Interface guards
var (
	_ tenancy.Database = (*database)(nil)
	_ tenancy.Scrubber = (*database)(nil)
)
