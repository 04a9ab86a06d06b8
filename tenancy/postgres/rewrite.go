package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	rewriteTime = 30 * time.Second // for all tables
	rewriteMost = 64 << 20         // bytes of a table whose readers may be kept waiting
)

// Rewrite implements tenancy.Rewriter. A tenant's own tables get new files, which
// hold living rows only; the server removes the old ones. Each is locked while it is
// copied, for milliseconds: one that somebody is reading is tried again, and nobody
// waits behind the attempt. Tables that tenants share, and those that are very big,
// are vacuumed only: what was there before is then overwritten by and by.
//
// It runs outside of transactions, as it must; PostgreSQL before version 12, and
// other engines, may not know how.
func (d *database) Rewrite(ctx context.Context, tables []string) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, rewriteTime)
	defer cancel()
	return translate(withConn(ctx, d.db, func(c *pgx.Conn) error {
		for _, t := range tables {
			if err := d.rewrite(ctx, c, d.schema+t); err != nil {
				return fmt.Errorf("rewriting %s: %w", t, err)
			}
		}
		return nil
	}))
}

func (d *database) rewrite(ctx context.Context, c *pgx.Conn, table string) error {
	before, size, err := fileOf(ctx, c, table)
	if err != nil {
		return err
	}
	if d.tenant != "" || size > rewriteMost {
		_, err := c.Exec(ctx, `VACUUM `+table, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	for {
		if _, err := c.Exec(ctx, `VACUUM (FULL, SKIP_LOCKED) `+table, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if now, _, err := fileOf(ctx, c, table); err != nil || now != before {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("somebody reads it all the time: %w", ctx.Err())
		}
	}
}

// fileOf returns the number of a table's file and how big the table is.
func fileOf(ctx context.Context, c *pgx.Conn, table string) (file uint32, size int64, err error) {
	err = c.QueryRow(ctx, `SELECT relfilenode, pg_total_relation_size(oid) FROM pg_class WHERE oid = to_regclass($1)`, table).Scan(&file, &size)
	return file, size, err
}

// Interface guards
var _ tenancy.Rewriter = (*database)(nil)
