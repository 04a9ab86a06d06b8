package postgres_test

import (
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
)

// TestWaysToCopy: servers and engines that cannot copy a database the fast way,
// or not at all, get the same one.
func TestWaysToCopy(t *testing.T) {
	for way, name := range []string{"write-ahead log", "files", "migrations"} {
		t.Run(name, func(t *testing.T) {
			p := provide(t, postgres.Database)
			p.SkipWays(int32(way))
			h := newHouse(t, p)
			for _, id := range []string{"acme", "widgets"} {
				ctx := h.enter(t, h.tenant(t, id))
				must(t, tenancy.Clients.Create(ctx, client("c", id)))
			}
		})
	}
}
