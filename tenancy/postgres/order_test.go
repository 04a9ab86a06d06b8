package postgres_test

import (
	"slices"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestOrder: text is sorted by its bytes, as on every other engine, whatever the
// server's own order is. Pages of a list depend on it.
func TestOrder(t *testing.T) {
	if connect(t, postgrestest.Admin(t)).count(`SELECT CAST('a' < 'B' AS INT)`) == 0 {
		t.Log("this server compares bytes by itself")
	}
	want := []string{"B-1", "B1", "Z", "_a", "a", "a b", "a-b", "aB", "ab", "ä"}
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			h := newHouse(t, provide(t, isolation))
			ctx := h.enter(t, h.tenant(t, "acme"))
			for i := range want {
				id := want[(i*7)%len(want)]
				must(t, tenancy.Clients.Create(ctx, client(id, id)))
			}
			for _, order := range []string{"", "name, id"} {
				list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Order: order})
				must(t, err)
				var got []string
				for _, c := range list {
					got = append(got, c.ID)
				}
				if !slices.Equal(got, want) {
					t.Errorf("ordered by %q: got %q, want %q", order, got, want)
				}
			}
			list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Where: "id > ?", Args: []any{"a"}, Limit: 2})
			must(t, err)
			if len(list) != 2 || list[0].ID != "a b" || list[1].ID != "a-b" {
				t.Errorf("the page behind a: %d rows", len(list))
			}
		})
	}
}

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
