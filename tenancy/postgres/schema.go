package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// buildSchema makes the tenant's schema with everything in it and marks it ready,
// in one transaction and two round trips.
func (p *Provider) buildSchema(ctx context.Context, l *lease) error {
	defer l.stop()
	return withConn(ctx, p.main, func(c *pgx.Conn) error {
		bytewise, err := comparesBytes(ctx, c)
		if err != nil {
			return err
		}
		place := sqltext.Ident(l.item.place)
		tables := layout{schema: place + ".", bytewise: !bytewise}
		text := fmt.Sprintf("%s; UPDATE %s SET state = %s, lease_owner = '', lease_until = 0%s;\n", begin, p.list.table, sqltext.Quote(ready), l.condition())
		// What an engine without transactions over DDL left of an earlier try.
		text += "DROP SCHEMA IF EXISTS " + place + " CASCADE;\nCREATE SCHEMA " + place + ";\n"
		return commitScript(ctx, c, text+tables.scripts(p.files(), l.item.tenant), 1)
	})
}

// dropSchema removes the tenant's schema and its item, in one transaction.
func (p *Provider) dropSchema(ctx context.Context, l *lease) error {
	defer l.stop()
	text := fmt.Sprintf("%s; DELETE FROM %s%s; DROP SCHEMA IF EXISTS %s CASCADE", begin, p.list.table, l.condition(), sqltext.Ident(l.item.place))
	return withConn(ctx, p.main, func(c *pgx.Conn) error { return commitScript(ctx, c, text, 1) })
}
