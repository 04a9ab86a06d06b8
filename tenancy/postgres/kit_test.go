package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// house is a pool over one provider.
type house struct {
	pool *tenancy.Pool
	ring *tenancy.Ring
}

func newHouse(t testing.TB, p tenancy.Provider) *house {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": p}, Master: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Errorf("closing the pool: %v", err)
		}
	})
	return &house{pool, ring}
}

// tenant creates a tenant.
func (h *house) tenant(t testing.TB, id string) *tenancy.Tenant {
	t.Helper()
	x := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: h.ring.NewDataKey(id)}
	must(t, h.pool.Create(t.Context(), x))
	return x
}

// enter returns a context inside the tenant until the test ends.
func (h *house) enter(t testing.TB, x *tenancy.Tenant) context.Context {
	t.Helper()
	ctx, leave, err := h.pool.Enter(t.Context(), x)
	if err != nil {
		t.Fatalf("entering %s: %v", x.ID, err)
	}
	t.Cleanup(leave)
	return ctx
}

func client(id, name string) *tenancy.Client {
	return &tenancy.Client{Row: tenancy.Row{ID: id}, Name: name}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// session is a connection beside the provider's.
type session struct {
	t testing.TB
	c *pgx.Conn
}

func connect(t testing.TB, dsn string) session {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	must(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return session{t, c}
}

func (s session) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.c.Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// strings returns the one column of a query.
func (s session) strings(query string, args ...any) []string {
	s.t.Helper()
	rows, _ := s.c.Query(s.t.Context(), query, args...)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return list
}

func (s session) count(query string, args ...any) (n int) {
	s.t.Helper()
	if err := s.c.QueryRow(s.t.Context(), query, args...).Scan(&n); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return n
}
