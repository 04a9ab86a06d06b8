package tenancy_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func eventsOf(t *testing.T, pool *tenancy.Pool, tenant *tenancy.Tenant) (list []tenancy.Event) {
	t.Helper()
	within(t, pool, tenant, func(ctx context.Context) (err error) {
		list, err = tenancy.Events.Find(ctx, tenancy.Filter{})
		return err
	})
	return list
}

// TestLogBookKeepsEventsWhereTheyHappened: C5.89, two tenants.
func TestLogBookKeepsEventsWhereTheyHappened(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	book := &tenancy.LogBook{Pool: pool}
	recorders := tenancy.Recorders{book}
	for i := range 600 { // more than a batch
		for id, tenant := range tenants {
			within(t, pool, tenant, func(ctx context.Context) error {
				if i%2 == 0 {
					recorders.Record(ctx, tenancy.Event{Type: "s", UserID: id, Details: json.RawMessage(`{"n":1}`)})
				} else {
					recorders.Record(ctx, tenancy.Event{Type: "seccft", UserID: id}) // no entry: C5.90 by configuration
				}
				return nil
			})
		}
	}
	recorders.Record(t.Context(), tenancy.Event{Type: "s"}) // nobody's
	if s := book.Stats(); s.Waiting != 600 || s.Written != 0 {
		t.Errorf("before: %+v", s)
	}
	book.Flush(t.Context())
	if s := book.Stats(); s.Waiting != 0 || s.Written != 600 || s.Dropped != 0 {
		t.Errorf("after: %+v", s)
	}
	for id, tenant := range tenants {
		list := eventsOf(t, pool, tenant)
		if len(list) != 300 {
			t.Errorf("%s has %d entries, want 300", id, len(list))
		}
		for _, e := range list {
			if e.UserID != id || e.Type != "s" || string(e.Details) != `{"n":1}` || e.Date == 0 || !tenancy.IsLogID(e.ID) {
				t.Fatalf("entry of %s: %+v", id, e)
			}
		}
	}
	// Ids follow the order of writing, over any number of writes.
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		book.Record(ctx, tenancy.Event{Type: "last", Date: 1})
		return nil
	})
	book.Flush(t.Context())
	if list := eventsOf(t, pool, tenants["acme"]); list[len(list)-1].Type != "last" {
		t.Errorf("the entry written last is not the one with the highest id: %+v", list[len(list)-1])
	}
	every := &tenancy.LogBook{Pool: pool, MachineTokens: true}
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		every.Record(ctx, tenancy.Event{Type: "seccft"})
		return nil
	})
	if every.Flush(t.Context()); every.Stats().Written != 1 {
		t.Error("machine_tokens does not keep the token of a machine")
	}
}

// TestLogBookIsBounded: what callers send is cut, a flood is dropped and counted,
// and keeps no room from other tenants.
func TestLogBookIsBounded(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	book := &tenancy.LogBook{Pool: pool}
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		long := strings.Repeat("é", 40_000)
		for range 1500 {
			book.Record(ctx, tenancy.Event{Type: "f", UserAgent: long, Description: "x" + long, UserName: "\xff\xfe", Details: json.RawMessage(`"` + long + `"`)})
		}
		return nil
	})
	within(t, pool, tenants["widgets"], func(ctx context.Context) error {
		book.Record(ctx, tenancy.Event{Type: "s"})
		return nil
	})
	book.Flush(t.Context())
	if s := book.Stats(); s.Written != 1001 || s.Dropped != 500 {
		t.Errorf("got %+v, want 1001 written and 500 dropped", s)
	}
	e := eventsOf(t, pool, tenants["acme"])[0]
	if len(e.UserAgent) != 500 || len(e.Description) != 999 || e.UserName != "" || e.Details != nil {
		t.Errorf("an entry with %d, %d and %d bytes", len(e.UserAgent), len(e.Description), len(e.Details))
	}
	if n := len(eventsOf(t, pool, tenants["widgets"])); n != 1 {
		t.Errorf("widgets has %d entries, want 1", n)
	}
}

// TestLogBookAtTheEnd: a tenant that is gone loses its own entries only, and after
// the loop ended the last ones are still written by Flush.
func TestLogBookAtTheEnd(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	book := &tenancy.LogBook{Pool: pool}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { book.Run(ctx); close(ended) }()
	record := func(id string) {
		within(t, pool, tenants[id], func(ctx context.Context) error {
			book.Record(ctx, tenancy.Event{Type: "s"})
			return nil
		})
	}
	record("acme")
	for began := time.Now(); book.Stats().Written == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the loop writes nothing")
		}
	}
	stop()
	<-ended
	record("widgets")
	record("acme")
	if err := pool.Drop(t.Context(), tenants["widgets"]); err != nil {
		t.Fatal(err)
	}
	book.Flush(ctx) // which has ended
	if s := book.Stats(); s.Written != 2 || s.Dropped != 1 {
		t.Errorf("got %+v, want 2 written and 1 dropped", s)
	}
}

// TestLogIDs: the form by which a walk goes on (C5.89).
func TestLogIDs(t *testing.T) {
	for id, want := range map[string]bool{
		strings.Repeat("0", 28): true, "": false, strings.Repeat("0", 27): false, strings.Repeat("0", 27) + "x": false, "' OR 1=1 --": false,
	} {
		if got := tenancy.IsLogID(id); got != want {
			t.Errorf("IsLogID(%q) = %t, want %t", id, got, want)
		}
	}
}
