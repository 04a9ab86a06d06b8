package tenancy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
)

// A run that fills a database may stand still for so long that it is taken for
// dead, and wake up while another run fills the same database, or has switched the
// tenant to it. What the run believes about itself then does not count: it noted
// itself in the database that it fills, every batch asks for the note, and whoever
// comes later has replaced it, taken it away, or removed the database.

// fillingCounter is the id of the note among the tenant's counters. It holds the
// run's number and is not copied with the other rows.
const fillingCounter = "filling"

// claim notes that the sink's rows are written by this run from now on, and by no
// other. The caller makes sure that it still has the right to, once the note is there.
func (s *rawSink) claim(ctx context.Context) error {
	var random [8]byte
	_, _ = rand.Read(random[:])
	run := int64(binary.BigEndian.Uint64(random[:])>>11) | 1 // engines that answer in JSON have 53 bits
	_, err := s.db.Batch(ctx, []Stmt{s.counter(
		`INSERT INTO counters (value, tenant_id, id) VALUES (?, ?, ?)
			ON CONFLICT (tenant_id, id) DO UPDATE SET value = excluded.value`, Time(run), fillingCounter)})
	if err == nil {
		s.run = run
	}
	return err
}

// release takes the note away; no run writes after that. It fails with
// [errMoveEnded] where the note is another run's.
func (s *rawSink) release(ctx context.Context) error {
	st := s.counter(`DELETE FROM counters WHERE value = ? AND tenant_id = ? AND id = ?`, Time(s.run), fillingCounter).Once()
	_, err := s.db.Batch(ctx, []Stmt{st})
	return ended(err)
}

// batch applies statements if the sink is still this run's. The note is written
// again as it is: so it stays locked until the batch is applied.
func (s *rawSink) batch(ctx context.Context, stmts []Stmt) error {
	if s.run == 0 {
		_, err := s.db.Batch(ctx, stmts)
		return err
	}
	still := s.counter(`UPDATE counters SET value = value WHERE value = ? AND tenant_id = ? AND id = ?`, Time(s.run), fillingCounter).Once()
	_, err := s.db.Batch(ctx, slices.Insert(slices.Clone(stmts), 0, still))
	return ended(err)
}

func ended(err error) error {
	if errors.Is(err, ErrStale) {
		return errors.Join(errMoveEnded, err)
	}
	return err
}

// counter is a statement over one of the tenant's counters: its arguments are the
// value, the tenant and the id, in this order.
func (s *rawSource) counter(text string, value Time, id string) Stmt {
	return Stmt{SQL: s.rebind(text), Args: []any{int64(value), s.tenant, id}, Rows: AnyRows}
}
