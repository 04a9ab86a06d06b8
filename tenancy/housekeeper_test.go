package tenancy_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// poolOfTwo is a pool with the tenants acme and widgets, of which at most open
// databases are open at a time.
func poolOfTwo(t *testing.T, open int, more ...string) (*tenancy.Pool, map[string]*tenancy.Tenant) {
	t.Helper()
	ring, err := tenancy.NewRing([]byte(masterSecret))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{
		Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: filepath.Join(t.TempDir(), "db")}}, Master: ring, Limit: open,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.WithoutCancel(t.Context())) })
	tenants := map[string]*tenancy.Tenant{}
	for _, id := range append([]string{"acme", "widgets"}, more...) {
		tenants[id] = &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: ring.NewDataKey(id)}
		if err := pool.Create(t.Context(), tenants[id]); err != nil {
			t.Fatal(err)
		}
	}
	return pool, tenants
}

func within(t *testing.T, pool *tenancy.Pool, tenant *tenancy.Tenant, f func(ctx context.Context) error) {
	t.Helper()
	if err := pool.Do(t.Context(), tenant, f); err != nil {
		t.Fatal(err)
	}
}

// idsIn lists the ids of a table's rows.
func idsIn[T any](t *testing.T, pool *tenancy.Pool, tenant *tenancy.Tenant, table *tenancy.Table[T]) (ids []string) {
	t.Helper()
	within(t, pool, tenant, func(ctx context.Context) error {
		rows, err := table.Find(ctx, tenancy.Filter{})
		for i := range rows {
			ids = append(ids, any(&rows[i]).(tenancy.Entity).Meta().ID)
		}
		return err
	})
	return ids
}

// TestHousekeeperRemovesOnlyWhatIsOver: of every table the rows that have no
// effect any more go, and of a family of tokens nothing goes while one of them
// works (RFC 9700 section 4.14.2).
func TestHousekeeperRemovesOnlyWhatIsOver(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	now := time.Now()
	old, soon := tenancy.At(now.Add(-48*time.Hour)), tenancy.At(now.Add(time.Hour))
	just := tenancy.At(now.Add(-time.Hour)) // over, but not for a day
	grant := func(id, family string, kind tenancy.GrantKind, alter func(*tenancy.Grant)) tenancy.Grant {
		g := tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: kind, Hash: id, Family: family, ExpiresAt: soon}
		alter(&g)
		return g
	}
	used := func(g *tenancy.Grant) { g.ConsumedAt, g.ExpiresAt = old, old }
	revoked := func(g *tenancy.Grant) { g.RevokedAt = old }
	grants := []tenancy.Grant{
		grant("a1 code, used", "alive", tenancy.GrantCode, used),
		grant("a2 consumed", "alive", tenancy.GrantRefresh, used),
		grant("a3 works", "alive", tenancy.GrantRefresh, func(*tenancy.Grant) {}),
		grant("b1 code, used", "over", tenancy.GrantCode, used),
		grant("b2 consumed", "over", tenancy.GrantRefresh, used),
		grant("b3 idle for long", "over", tenancy.GrantRefresh, func(g *tenancy.Grant) { g.IdleExpires = old }),
		grant("c1 consumed", "for ever", tenancy.GrantRefresh, used),
		grant("c2 never expires", "for ever", tenancy.GrantRefresh, func(g *tenancy.Grant) { g.ExpiresAt = 0 }),
		grant("d1 consumed", "revoked", tenancy.GrantRefresh, func(g *tenancy.Grant) { g.ConsumedAt, g.RevokedAt, g.ExpiresAt = old, old, 0 }),
		grant("d2 revoked", "revoked", tenancy.GrantRefresh, revoked),
		grant("e1 just over", "just over", tenancy.GrantRefresh, func(g *tenancy.Grant) { g.ExpiresAt = just }),
		grant("f1 code, unused", "unused", tenancy.GrantCode, func(g *tenancy.Grant) { g.ExpiresAt = old }),
	}
	for _, id := range []string{"acme", "widgets"} {
		within(t, pool, tenants[id], func(ctx context.Context) error {
			var stmts []tenancy.Stmt
			for _, g := range grants {
				stmts = append(stmts, tenancy.Grants.Insert(ctx, &g))
			}
			for end, at := range map[string]tenancy.Time{"old": old, "soon": soon, "just": just} {
				stmts = append(stmts,
					tenancy.Sessions.Insert(ctx, &tenancy.Session{Row: tenancy.Row{ID: "idle " + end}, TokenHash: "i" + end, IdleExpiresAt: at, ExpiresAt: soon}),
					tenancy.Sessions.Insert(ctx, &tenancy.Session{Row: tenancy.Row{ID: end}, TokenHash: end, IdleExpiresAt: soon, ExpiresAt: at}),
					tenancy.LoginSessions.Insert(ctx, &tenancy.LoginSession{Row: tenancy.Row{ID: end}, ExpiresAt: at}),
					tenancy.RevokedTokens.Insert(ctx, &tenancy.RevokedToken{Row: tenancy.Row{ID: end}, ExpiresAt: at}),
					tenancy.Attempts.Insert(ctx, &tenancy.FailedAttempts{Row: tenancy.Row{ID: end}, ExpiresAt: at}),
					tenancy.Events.Insert(ctx, &tenancy.Event{Row: tenancy.Row{ID: end}, Date: at}))
			}
			return tenancy.Commit(ctx, stmts...)
		})
	}
	keeper := &tenancy.Housekeeper{Pool: pool, LogRetention: 36 * time.Hour}
	keeper.Sweep(t.Context())
	kept := []string{"just", "soon"}
	for id, tenant := range tenants {
		for table, pair := range map[string][2][]string{
			"grants":         {idsIn(t, pool, tenant, tenancy.Grants), {"a1 code, used", "a2 consumed", "a3 works", "c1 consumed", "c2 never expires", "e1 just over"}},
			"sessions":       {idsIn(t, pool, tenant, tenancy.Sessions), {"idle just", "idle soon", "just", "soon"}},
			"login_sessions": {idsIn(t, pool, tenant, tenancy.LoginSessions), kept},
			"revoked_tokens": {idsIn(t, pool, tenant, tenancy.RevokedTokens), kept},
			"login_attempts": {idsIn(t, pool, tenant, tenancy.Attempts), kept},
			"logs":           {idsIn(t, pool, tenant, tenancy.Events), kept},
		} {
			if !slices.Equal(pair[0], pair[1]) {
				t.Errorf("%s of %s\n got %q\nwant %q", table, id, pair[0], pair[1])
			}
		}
	}
	got := keeper.Stats()
	for table, n := range map[string]int64{"grants": 12, "sessions": 4, "login_sessions": 2, "revoked_tokens": 2, "login_attempts": 2, "logs": 2} {
		if got.Removed[table] != n {
			t.Errorf("%d rows of %s were counted, want %d", got.Removed[table], table, n)
		}
	}
	if got.Visits != 2 || got.Errors != 0 {
		t.Errorf("visits and errors: %+v", got)
	}
}

// TestHousekeeperWorksInSmallBatches: many rows go over several statements, and
// a busy tenant is left alone between two of them.
func TestHousekeeperWorksInSmallBatches(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	const rows = 2600
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		var stmts []tenancy.Stmt
		for i := range rows {
			stmts = append(stmts, tenancy.LoginSessions.Insert(ctx, &tenancy.LoginSession{Row: tenancy.Row{ID: fmt.Sprintf("%05d", i)}, ExpiresAt: 1}))
		}
		return tenancy.Commit(ctx, stmts...)
	})
	clock := time.Now()
	keeper := &tenancy.Housekeeper{Pool: pool, Now: func() time.Time { return clock }}

	_, leave, err := pool.Enter(t.Context(), tenants["acme"]) // somebody stays inside
	if err != nil {
		t.Fatal(err)
	}
	keeper.Sweep(t.Context())
	if n := len(idsIn(t, pool, tenants["acme"], tenancy.LoginSessions)); n != rows {
		t.Errorf("%d rows are left in a busy tenant, want %d", n, rows)
	}
	leave()
	for range 20 {
		keeper.Sweep(t.Context())
	}
	if n := len(idsIn(t, pool, tenants["acme"], tenancy.LoginSessions)); n != 0 {
		t.Errorf("%d rows are left in an idle tenant", n)
	}
	visits := keeper.Stats().Visits
	if keeper.Sweep(t.Context()); keeper.Stats().Visits != visits {
		t.Error("a tenant that was just swept is swept again")
	}

	// Never idle: in the end it is swept all the same.
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		err := tenancy.LoginSessions.Create(ctx, &tenancy.LoginSession{Row: tenancy.Row{ID: "x"}, ExpiresAt: 1})
		clock = clock.Add(2 * time.Hour)
		keeper.Sweep(ctx)
		clock = clock.Add(6 * time.Hour)
		keeper.Sweep(ctx)
		return err
	})
	if ids := idsIn(t, pool, tenants["acme"], tenancy.LoginSessions); len(ids) != 0 {
		t.Errorf("%q is left in a tenant that is never idle", ids)
	}
}

// TestHousekeeperOpensNothing: a closed database stays closed, and being swept
// does not keep one open.
func TestHousekeeperOpensNothing(t *testing.T) {
	pool, tenants := poolOfTwo(t, 2, "third")
	keeper := &tenancy.Housekeeper{Pool: pool}
	keeper.Sweep(t.Context())
	if s := pool.Stats(); s.Open != 0 {
		t.Fatalf("%d databases are open after a sweep of none", s.Open)
	}
	nothing := func(context.Context) error { return nil }
	within(t, pool, tenants["widgets"], nothing)
	within(t, pool, tenants["acme"], nothing)
	keeper.Sweep(t.Context()) // acme comes before widgets, and yet was used last
	within(t, pool, tenants["third"], nothing)
	var open []string
	err := pool.VisitOpen(t.Context(), func(c tenancy.Chance) bool { open = append(open, c.Tenant.ID); return false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(open)
	if !slices.Equal(open, []string{"acme", "third"}) {
		t.Errorf("open are %q, want acme and third: widgets was unused the longest", open)
	}
}

// TestHousekeeperFailure: a tenant whose database fails is counted, not tried
// all the time, and keeps nobody else from being swept.
func TestHousekeeperFailure(t *testing.T) {
	pool, tenants := poolOfTwo(t, 10)
	within(t, pool, tenants["acme"], func(ctx context.Context) error {
		return tenancy.Commit(ctx, tenancy.SQL(ctx, "ALTER TABLE login_sessions RENAME TO x -- @tenant"))
	})
	within(t, pool, tenants["widgets"], func(ctx context.Context) error {
		return tenancy.LoginSessions.Create(ctx, &tenancy.LoginSession{Row: tenancy.Row{ID: "x"}, ExpiresAt: 1})
	})
	keeper := &tenancy.Housekeeper{Pool: pool}
	for range 3 {
		keeper.Sweep(t.Context())
	}
	if s := keeper.Stats(); s.Errors != 1 || s.Removed["login_sessions"] != 1 {
		t.Errorf("got %+v, want one error and one row", s)
	}
}
