package sync

import (
	"context"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// The change log is compacted on PostgreSQL too, and a repair is recorded there.
func TestCompactInPostgreSQL(t *testing.T) {
	h := newHouseWith(t, &postgres.Provider{DSN: postgrestest.DSN(t)}, t.TempDir(), 0, "acme")
	h.addRole(role("rol1", "A"))
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.Compact(ctx, h.head(), time.Now().Add(time.Hour), time.Time{}))
		must(t, tenancy.Compact(ctx, h.head(), time.Now().Add(time.Hour), time.Time{}))
	})
	equal(t, "the log", len(h.logged()), 0)
	l := h.loop()
	runRepairs(t, l)
	op := h.ask(l, tenancy.Repair{})
	equal(t, "repair", []any{op.Status, op.Params.Repair.Written}, []any{"succeeded", 1})
	equal(t, "copy", find(h, tenancy.Roles, "acme", "rol1") != nil, true)
}
