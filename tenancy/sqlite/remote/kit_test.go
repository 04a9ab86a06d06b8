package remote_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"modernc.org/sqlite"

	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// files is a server whose databases are SQLite files; what goes wrong on the way
// to them is up to the test.
type files struct {
	dir string

	mu    sync.Mutex
	open  map[string]*sql.DB
	fault func(stmts []remote.Statement) (applied bool, err error) // may be nil
	most  int                                                      // arguments of one statement
}

func newFiles(t *testing.T) *files {
	f := &files{dir: t.TempDir(), open: make(map[string]*sql.DB)}
	t.Cleanup(func() {
		for _, db := range f.open {
			_ = db.Close()
		}
	})
	return f
}

func (f *files) Create(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[name] != nil {
		return nil
	}
	connector, err := sqlite.NewConnector("file:" + filepath.Join(f.dir, name+".db") + "?_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4) // each is a file opened and a schema read
	db.SetMaxIdleConns(4)
	f.open[name] = db
	return nil
}

func (f *files) Connect(_ context.Context, name string) (remote.Conn, error) {
	return &fileConn{f, name}, nil
}

func (f *files) Drop(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	db := f.open[name]
	if db == nil {
		return nil
	}
	delete(f.open, name)
	_, err := db.Exec("PRAGMA journal_mode = DELETE")
	return errors.Join(err, db.Close(), removeFile(filepath.Join(f.dir, name+".db")))
}

type fileConn struct {
	f    *files
	name string
}

func (c *fileConn) Close() error { return nil }

func (c *fileConn) Run(ctx context.Context, stmts []remote.Statement) ([]remote.Result, error) {
	c.f.mu.Lock()
	db, fault := c.f.open[c.name], c.f.fault
	for _, st := range stmts {
		c.f.most = max(c.f.most, len(st.Args))
	}
	c.f.mu.Unlock()
	if db == nil {
		return nil, remote.ErrMissing
	}
	var failure error
	if fault != nil {
		var applied bool
		if applied, failure = fault(stmts); failure != nil && !applied {
			return nil, failure
		}
	}
	results, err := run(ctx, db, stmts)
	if failure != nil {
		return nil, failure
	}
	return results, err
}

// run answers a read at once, and applies everything else in a transaction.
func run(ctx context.Context, db *sql.DB, stmts []remote.Statement) ([]remote.Result, error) {
	if len(stmts) == 1 && strings.HasPrefix(stmts[0].SQL, "SELECT") {
		r, err := query(ctx, db.QueryContext, stmts[0])
		return []remote.Result{r}, said(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, said(err)
	}
	defer tx.Rollback()
	var results []remote.Result
	for _, st := range stmts {
		var r remote.Result
		var err error
		if strings.HasPrefix(st.SQL, "SELECT") {
			r, err = query(ctx, tx.QueryContext, st)
		} else {
			var done sql.Result
			if done, err = tx.ExecContext(ctx, st.SQL, st.Args...); err == nil {
				r.Changes, err = done.RowsAffected()
			}
		}
		if err != nil {
			return nil, said(err)
		}
		results = append(results, r)
	}
	return results, said(tx.Commit())
}

func query(ctx context.Context, run func(context.Context, string, ...any) (*sql.Rows, error), st remote.Statement) (r remote.Result, err error) {
	rows, err := run(ctx, st.SQL, st.Args...)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	if r.Columns, err = rows.Columns(); err != nil {
		return r, err
	}
	for rows.Next() {
		values := make([]any, len(r.Columns))
		dest := make([]any, len(values))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return r, err
		}
		for i, v := range values {
			if b, ok := v.(bool); ok { // this driver knows types of columns, the services do not
				values[i] = map[bool]int64{true: 1}[b]
			}
		}
		r.Rows = append(r.Rows, values)
	}
	return r, rows.Err()
}

func said(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return &remote.SQLError{Message: e.Error()}
	}
	return err
}
