package tenancy

import (
	"context"
	"fmt"
)

// rowLoader collects rows and writes them in batches.
type rowLoader struct {
	sink     *rawSink
	step     string
	progress func(Progress)
	pulse    func(context.Context) error
	table    *rawTable
	rows     []rawRow
	done     int64
	bytes    int64
}

func (l *rowLoader) add(ctx context.Context, t *rawTable, r rawRow) error {
	if l.table != t || len(l.rows) == rawPage {
		if err := l.flush(ctx); err != nil {
			return err
		}
	}
	l.table, l.rows = t, append(l.rows, r)
	l.bytes += r.size()
	return nil
}

func (l *rowLoader) flush(ctx context.Context) error {
	if len(l.rows) == 0 {
		return ctx.Err()
	}
	if err := l.pulse(ctx); err != nil {
		return err
	}
	if err := l.sink.write(ctx, l.sink.insertion(l.table, l.rows)); err != nil {
		return fmt.Errorf("writing %s: %w", l.table.Name, err)
	}
	l.done += int64(len(l.rows))
	l.rows = nil
	if l.progress != nil {
		l.progress(Progress{Step: l.step, Table: l.table.Name, Done: l.done, Bytes: l.bytes})
	}
	return nil
}
