package postgres

import (
	"database/sql/driver"
	"io"

	"github.com/jackc/pgx/v5"
)

// rows are a query's rows while they arrive.
type rows struct {
	list   pgx.Rows
	batch  pgx.BatchResults // that they are part of; may be nil
	ended  func()           // may be nil
	loaded bool             // the next row was fetched and not yet returned
}

// first fetches the first row, which is where most errors show.
func (r *rows) first() error {
	if r.loaded = r.list.Next(); r.loaded {
		return nil
	}
	if err := r.list.Err(); err != nil {
		r.list.Close()
		if r.batch != nil {
			_ = r.batch.Close()
		}
		return err
	}
	return nil
}

// Columns implements driver.Rows.
func (r *rows) Columns() []string {
	fields := r.list.FieldDescriptions()
	columns := make([]string, len(fields))
	for i, f := range fields {
		columns[i] = f.Name
	}
	return columns
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if !r.loaded && !r.list.Next() {
		if err := r.list.Err(); err != nil {
			return translate(err)
		}
		return io.EOF
	}
	r.loaded = false
	values, err := r.list.Values()
	if err != nil {
		return err
	}
	for i, v := range values {
		if dest[i], err = plain(v); err != nil {
			return err
		}
	}
	return nil
}

// plain is v as one of the types database/sql knows.
func plain(v any) (driver.Value, error) {
	if driver.IsValue(v) {
		return v, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	r.list.Close()
	if r.ended != nil {
		defer r.ended()
	}
	if r.batch != nil {
		return translate(r.batch.Close())
	}
	return nil
}

// Interface guards
var _ driver.Rows = (*rows)(nil)
