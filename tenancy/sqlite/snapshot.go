package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// snapshot is a reading transaction on a connection of its own: in WAL mode it
// sees the file as it was when it first read, and keeps no writer waiting.
type snapshot struct {
	path string
	conn *sql.Conn
}

// Snapshot implements tenancy.SnapshotDatabase.
func (d *database) Snapshot(ctx context.Context) (tenancy.Snapshot, error) {
	conn, err := d.db.Conn(ctx)
	if err != nil {
		return nil, translate(d.path, err)
	}
	s := &snapshot{d.path, conn}
	_, err = conn.ExecContext(ctx, `BEGIN DEFERRED`)
	if err == nil { // the moment is that of the first read
		err = conn.QueryRowContext(ctx, `SELECT tenant FROM gatehouse`).Scan(new(string))
	}
	if err != nil {
		return nil, errors.Join(translate(d.path, err), s.Close())
	}
	return s, nil
}

// QueryContext implements tenancy.Querier.
func (s *snapshot) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	return rows, translate(s.path, err)
}

// Close ends the transaction and gives the connection back.
func (s *snapshot) Close() error {
	_, err := s.conn.ExecContext(context.Background(), `ROLLBACK`)
	return errors.Join(err, s.conn.Close())
}

// Interface guards
var _ tenancy.SnapshotDatabase = (*database)(nil)
