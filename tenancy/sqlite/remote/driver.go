package remote

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
)

// reader is a connector and a connection of database/sql in one. Readers of rows
// want its type of rows; that is all it is for. A connection holds nothing.
type reader struct{ db *database }

var (
	errReadsOnly = errors.New("remote databases are written by Batch only")
	errNoDriver  = errors.New("remote databases are opened by a provider")
)

// Connect implements driver.Connector.
func (r reader) Connect(context.Context) (driver.Conn, error) { return r, nil }

// Driver implements driver.Connector.
func (r reader) Driver() driver.Driver { return r }

// Open implements driver.Driver.
func (r reader) Open(string) (driver.Conn, error) { return nil, errNoDriver }

// Prepare implements driver.Conn.
func (r reader) Prepare(string) (driver.Stmt, error) { return nil, errReadsOnly }

// Begin implements driver.Conn.
func (r reader) Begin() (driver.Tx, error) { return nil, errReadsOnly }

// Close implements driver.Conn.
func (r reader) Close() error { return nil }

// CheckNamedValue implements driver.NamedValueChecker: values are converted where
// the statement is made.
func (r reader) CheckNamedValue(*driver.NamedValue) error { return nil }

// QueryContext implements driver.QueryerContext.
func (r reader) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	st, err := r.db.limits.statement(query, values)
	if err != nil {
		return nil, err
	}
	results, err := r.db.read(ctx, st)
	if err != nil {
		return nil, err
	}
	return &rows{result: results[0]}, nil
}

// rows are the rows of an answer, which are all there already.
type rows struct {
	result Result
	next   int
}

// Columns implements driver.Rows.
func (r *rows) Columns() []string { return r.result.Columns }

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if r.next >= len(r.result.Rows) {
		return io.EOF
	}
	for i, v := range r.result.Rows[r.next] {
		dest[i] = v
	}
	r.next++
	return nil
}

// Close implements driver.Rows.
func (r *rows) Close() error { return nil }

// Interface guards
var (
	_ driver.Connector         = reader{}
	_ driver.QueryerContext    = reader{}
	_ driver.NamedValueChecker = reader{}
	_ driver.Rows              = (*rows)(nil)
)
