package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// snapshot is a reading transaction on a connection of its own.
type snapshot struct {
	d    *database
	conn *sql.Conn
}

// Snapshot implements tenancy.SnapshotDatabase.
func (d *database) Snapshot(ctx context.Context) (tenancy.Snapshot, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.db.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			return nil, tenancy.Unavailable(errNoConnection, hintConns)
		}
		return nil, translate(err)
	}
	s := &snapshot{d, conn}
	// The moment is that of the first statement after BEGIN.
	if err := s.exec(ctx, `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1`); err != nil {
		return nil, errors.Join(translate(err), conn.Close())
	}
	return s, nil
}

func (s *snapshot) exec(ctx context.Context, text string) error {
	return s.conn.Raw(func(raw any) error { return runScript(ctx, raw.(*conn).pg, text) })
}

// QueryContext implements tenancy.Querier.
func (s *snapshot) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s.d.used.Store(time.Now().UnixNano())
	all := append([]any{&read{s.d.tenant, func() {}}}, args...)
	rows, err := s.conn.QueryContext(ctx, s.d.texts.pieces(query).in(s.d.schema), all...)
	return rows, translate(err)
}

// Close ends the transaction and gives the connection back. One whose transaction
// cannot be ended is closed: its connection is not taken up again.
func (s *snapshot) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	err := s.exec(ctx, `ROLLBACK`)
	if err != nil {
		_ = s.conn.Raw(func(raw any) error { return raw.(*conn).pg.Close(ctx) })
	}
	return errors.Join(translate(err), s.conn.Close())
}

// Interface guards
var (
	_ tenancy.SnapshotDatabase = (*database)(nil)
	_ tenancy.Snapshot         = (*snapshot)(nil)
)
