// Package tenancytest is the suite that every database provider passes. A fault
// found in one of them becomes a case for all.
//
//	func TestConformance(t *testing.T) {
//		tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return &sqlite.Provider{Dir: t.TempDir()} })
//	}
package tenancytest

import (
	"context"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Maker returns an empty provider. Two providers made by one maker are apart.
type Maker func(t *testing.T) tenancy.Provider

// Run runs every case against providers made by the maker.
func Run(t *testing.T, mk Maker) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newHouse(t, mk(t)))
		})
	}
}

var cases = []struct {
	name string
	run  func(*testing.T, *house)
}{
	{"Schema", schema},
	{"Values", values},
	{"ByteOrder", byteOrder},
	{"UnstorableText", unstorableText},
	{"EqualIDs", equalIDs},
	{"WrongTenantOnEveryVerb", wrongTenantOnEveryVerb},
	{"NoTenant", noTenant},
	{"OrIsBracketed", orIsBracketed},
	{"WritesOutsideCommit", writesOutsideCommit},
	{"Unique", unique},
	{"BatchIsAtomic", batchIsAtomic},
	{"Guards", guards},
	{"ConditionalUpsert", conditionalUpsert},
	{"EndedSessions", endedSessions},
	{"RacingUpdates", racingUpdates},
	{"SingleUse", singleUse},
	{"CancelledContext", cancelledContext},
	{"CancelledMidway", cancelledMidway},
	{"ChangeLog", changeLog},
	{"CacheForgets", cacheForgets},
	{"OtherNode", otherNode},
	{"Sealed", sealedValues},
	{"MissingIsNotMade", missingIsNotMade},
	{"CreateTwice", createTwice},
	{"DropLeavesNothing", dropLeavesNothing},
	{"Budget", budget},
	{"ManyOpen", manyOpen},
	{"ThousandVisitors", thousandVisitors},
	{"CopiedRows", copiedRows},
	{"Snapshots", snapshots},
}

// house is a pool over one provider with two tenants, whose rows get equal ids,
// and a control plane.
type house struct {
	pool              *tenancy.Pool
	ring              *tenancy.Ring
	provider          tenancy.Provider
	acme, widgets, cp *tenancy.Tenant
}

func newHouse(t *testing.T, p tenancy.Provider) *house {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{ring: ring, provider: p}
	h.pool = h.newPool(t, 8)
	h.acme, h.widgets, h.cp = h.tenant("acme"), h.tenant("widgets"), h.tenant(controlPlane)
	for _, x := range []*tenancy.Tenant{h.acme, h.widgets, h.cp} {
		if err := h.pool.Create(t.Context(), x); err != nil {
			t.Fatalf("creating %s: %v", x.ID, err)
		}
	}
	return h
}

const controlPlane = "control_plane"

func (h *house) newPool(t *testing.T, limit int) *tenancy.Pool {
	t.Helper()
	pool, err := tenancy.NewPool(tenancy.PoolConfig{
		Placements: map[string]tenancy.Provider{"": h.provider}, Master: h.ring, Limit: limit,
		Patience: time.Minute, // how fast a provider is, is no question of whether it is right
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Errorf("closing the pool: %v", err)
		}
	})
	return pool
}

func (h *house) tenant(id string) *tenancy.Tenant {
	return &tenancy.Tenant{Row: tenancy.Row{TenantID: controlPlane, ID: id}, State: tenancy.StateActive, DataKey: h.ring.NewDataKey(id)}
}

// enter returns a context inside the tenant until the test ends.
func (h *house) enter(t *testing.T, x *tenancy.Tenant) context.Context {
	t.Helper()
	ctx, leave, err := h.pool.Enter(t.Context(), x)
	if err != nil {
		t.Fatalf("entering %s: %v", x.ID, err)
	}
	t.Cleanup(leave)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client returns a client named after its tenant, with an id that both have.
func client(id, name string) *tenancy.Client {
	return &tenancy.Client{Row: tenancy.Row{ID: id}, Name: name, Callbacks: []string{"https://" + name + ".example.com/cb"}}
}
