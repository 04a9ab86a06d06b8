package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// house is a control plane with tenants, each in a SQLite file.
type house struct {
	t         testing.TB
	ring      *tenancy.Ring
	faults    *faults
	pool      *tenancy.Pool
	directory *tenancy.Directory
	cp        *tenancy.Tenant
}

const platform = "control_plane"

func newHouse(t testing.TB, tenants ...string) *house {
	t.Helper()
	return newHouseOf(t, 0, tenants...)
}

// newHouseOf makes a house in which at most limit databases are open at a time;
// 0 means the pool's default.
func newHouseOf(t testing.TB, limit int, tenants ...string) *house {
	t.Helper()
	return newHouseIn(t, t.TempDir(), limit, tenants...)
}

// newHouseIn makes a house in a directory, or moves into the one that is there.
func newHouseIn(t testing.TB, dir string, limit int, tenants ...string) *house {
	t.Helper()
	return newHouseWith(t, &sqlite.Provider{Dir: dir}, dir, limit, tenants...)
}

// newHouseWith makes a house whose databases are the provider's; the directory
// keeps the control plane's key.
func newHouseWith(t testing.TB, provider tenancy.Provider, dir string, limit int, tenants ...string) *house {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	must(t, err)
	h := &house{t: t, ring: ring, faults: &faults{Provider: provider}}
	h.pool, err = tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": h.faults}, Master: ring, Limit: limit})
	must(t, err)
	t.Cleanup(func() { must(t, h.pool.Close(context.Background())) })
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.test"})
	must(t, err)
	h.directory = tenancy.NewDirectory(h.pool, hosts)
	keyFile := filepath.Join(dir, "key-of-control-plane")
	key, err := os.ReadFile(keyFile)
	h.cp = &tenancy.Tenant{Row: tenancy.Row{TenantID: platform, ID: platform}, State: tenancy.StateActive, DataKey: string(key)}
	if err == nil {
		must(t, h.directory.Open(context.Background(), h.cp))
		return h
	}
	h.cp.DataKey = ring.NewDataKey(platform)
	must(t, os.WriteFile(keyFile, []byte(h.cp.DataKey), 0o600))
	must(t, h.pool.Create(context.Background(), h.cp))
	h.inside(h.cp, func(ctx context.Context) {
		must(t, tenancy.Tenants.Create(ctx, h.cp))
		must(t, tenancy.ResourceServers.Create(ctx, management("mgmt-of-cp", true)))
		must(t, tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_admin"}, Name: "Tenant Admin", NameKey: "tenant admin", IsSystem: true}))
	})
	must(t, h.directory.Open(context.Background(), h.cp))
	for _, id := range tenants {
		h.tenant(id, nil)
	}
	return h
}

// management is the management API's own resource server, as seeding makes it:
// its id differs between tenants.
func management(id string, controlPlane bool) *tenancy.ResourceServer {
	rs := &tenancy.ResourceServer{Row: tenancy.Row{ID: id}, Identifier: tenancy.ManagementAudience, IsSystem: true, EnforcePolicies: true}
	for _, scope := range tenancy.ManagementScopes(controlPlane) {
		rs.Scopes = append(rs.Scopes, tenancy.Scope{Value: scope})
	}
	return rs
}

// tenant makes an active tenant, with rows whose ids are the same in each.
func (h *house) tenant(id string, alter func(*tenancy.Tenant)) *tenancy.Tenant {
	h.t.Helper()
	row := &tenancy.Tenant{Row: tenancy.Row{TenantID: platform, ID: id}, State: tenancy.StateActive, DataKey: h.ring.NewDataKey(id)}
	if alter != nil {
		alter(row)
	}
	must(h.t, h.pool.Create(context.Background(), row))
	h.inside(row, func(ctx context.Context) {
		must(h.t, tenancy.ResourceServers.Create(ctx, management("mgmt", false)))
		must(h.t, tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: "auth0|ann"}}))
	})
	h.onCP(func(ctx context.Context) { must(h.t, tenancy.Tenants.Create(ctx, row)) })
	must(h.t, h.directory.Refresh(context.Background()))
	return h.byID(id)
}

func (h *house) byID(id string) *tenancy.Tenant {
	h.t.Helper()
	if id == platform {
		return h.cp
	}
	t, ok := h.directory.ByID(id)
	if !ok {
		h.t.Fatalf("no tenant %s", id)
	}
	return t
}

func (h *house) inside(t *tenancy.Tenant, f func(ctx context.Context)) {
	h.t.Helper()
	ctx, leave, err := h.pool.Enter(context.Background(), t)
	must(h.t, err)
	defer leave()
	f(ctx)
}

// in runs f inside the tenant with the id.
func (h *house) in(id string, f func(ctx context.Context)) {
	h.t.Helper()
	h.inside(h.byID(id), f)
}

// onCP runs f inside the control plane.
func (h *house) onCP(f func(ctx context.Context)) {
	h.t.Helper()
	h.inside(h.cp, f)
}

// alter changes a tenant's registry row.
func (h *house) alter(id string, f func(*tenancy.Tenant)) {
	h.t.Helper()
	update(h, tenancy.Tenants, platform, id, f)
	must(h.t, h.directory.Refresh(context.Background()))
}

func (h *house) loop(alter ...func(*Config)) *Loop {
	c := Config{Directory: h.directory, Pool: h.pool, Every: time.Hour}
	for _, f := range alter {
		f(&c)
	}
	l := New(c)
	l.backoff = func(int) time.Duration { return 20 * time.Millisecond }
	return l
}

// start runs the loop until the returned function is called, which the test's
// end does too.
func start(t testing.TB, l *Loop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// settle waits until every tenant has what is on the control plane now.
func settle(t testing.TB, l *Loop) *Status {
	t.Helper()
	s, err := l.Status(context.Background(), Filter{Wait: 20 * time.Second})
	must(t, err)
	if !s.Complete {
		b, _ := json.MarshalIndent(s, "", " ")
		t.Fatalf("not complete in time: %s", b)
	}
	return s
}

// eventually waits for something that comes by itself.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("does not happen: %s", what)
		}
	}
}

// Rows of the control plane, made short.

func server(id, identifier string, scopes ...string) *tenancy.ResourceServer {
	rs := &tenancy.ResourceServer{
		Row: tenancy.Row{ID: id}, Identifier: identifier, Name: "API " + id, SigningAlg: "RS256",
		TokenLifetime: 86400, TokenLifetimeForWeb: 7200, EnforcePolicies: true, TokenDialect: tenancy.DialectAccessAuthz,
	}
	for _, s := range scopes {
		rs.Scopes = append(rs.Scopes, tenancy.Scope{Value: s, Description: "may " + s})
	}
	return rs
}

func role(id, name string) *tenancy.Role {
	return &tenancy.Role{Row: tenancy.Row{ID: id}, Name: name, NameKey: tenancy.NameKeyOf(name), Description: "role " + name}
}

func perm(role, server, scope string) *tenancy.RolePermission {
	return tenancy.NewRolePermission(role, server, scope)
}

func (h *house) addServer(rs *tenancy.ResourceServer) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) { must(h.t, tenancy.ResourceServers.Create(ctx, rs)) })
}

func (h *house) addRole(r *tenancy.Role, permissions ...*tenancy.RolePermission) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) {
		var stmts []tenancy.Stmt
		for _, p := range permissions {
			stmts = append(stmts, tenancy.RolePermissions.Insert(ctx, p))
		}
		must(h.t, tenancy.Roles.Create(ctx, r, stmts...))
	})
}

func (h *house) removeServer(id string) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) {
		rs, err := tenancy.ResourceServers.Get(ctx, id)
		must(h.t, err)
		must(h.t, tenancy.Commit(ctx, tenancy.RemoveResourceServer(ctx, rs)...))
	})
}

func (h *house) removeRole(id string) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) { must(h.t, tenancy.Commit(ctx, tenancy.RemoveRole(ctx, id)...)) })
}

func update[T any](h *house, table *tenancy.Table[T], tenant, id string, f func(*T)) {
	h.t.Helper()
	h.in(tenant, func(ctx context.Context) {
		_, err := table.Update(ctx, id, func(row *T) error { f(row); return nil })
		must(h.t, err)
	})
}

func find[T any](h *house, table *tenancy.Table[T], tenant, id string) *T {
	h.t.Helper()
	var row *T
	h.in(tenant, func(ctx context.Context) {
		r, err := table.Get(ctx, id)
		if !errors.Is(err, tenancy.ErrNotFound) {
			must(h.t, err)
			row = r
		}
	})
	return row
}

// permissionsOf lists a role's permissions in a tenant as "identifier scope".
func (h *house) permissionsOf(tenant, roleID string) []string {
	h.t.Helper()
	list := []string{}
	h.in(tenant, func(ctx context.Context) {
		rows, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{Where: "role_id = ?", Args: []any{roleID}})
		must(h.t, err)
		for _, p := range rows {
			rs, err := tenancy.ResourceServers.Get(ctx, p.ResourceServerID)
			must(h.t, err)
			if want := tenancy.Join(p.RoleID, p.ResourceServerID, p.Permission); p.ID != want {
				h.t.Errorf("permission row has id %q, want %q", p.ID, want)
			}
			list = append(list, rs.Identifier+" "+p.Permission)
		}
	})
	slices.Sort(list)
	return list
}

// dump is what sync is responsible for in a tenant, without times, revisions
// and local bookkeeping: equal tenants have equal dumps.
func (h *house) dump(tenant string) string {
	h.t.Helper()
	var b strings.Builder
	h.in(tenant, func(ctx context.Context) {
		servers, err := tenancy.ResourceServers.Find(ctx, tenancy.Filter{})
		must(h.t, err)
		for _, s := range servers {
			if s.ID != "mgmt" {
				s.Row = tenancy.Row{ID: s.ID}
				fmt.Fprintf(&b, "server %+v\n", s)
			}
		}
		list, err := tenancy.Roles.Find(ctx, tenancy.Filter{})
		must(h.t, err)
		for _, r := range list {
			r.Row = tenancy.Row{ID: r.ID}
			fmt.Fprintf(&b, "role %+v\n", r)
		}
		links, err := tenancy.Connections.Find(ctx, tenancy.Filter{})
		must(h.t, err)
		for _, c := range links {
			c.Row = tenancy.Row{ID: c.ID}
			fmt.Fprintf(&b, "connection %+v\n", c)
		}
		permissions, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{})
		must(h.t, err)
		for _, p := range permissions {
			fmt.Fprintf(&b, "permission %q %s %s %s\n", p.ID, p.RoleID, p.ResourceServerID, p.Permission)
		}
		row, err := tenancy.SettingsRows.Get(ctx, tenancy.SettingsInherited)
		if err == nil {
			values, _ := json.Marshal(row.Values)
			fmt.Fprintf(&b, "inherited %s %+v\n", values, row.Choice)
		} else if !errors.Is(err, tenancy.ErrNotFound) {
			h.t.Fatal(err)
		}
		state, err := tenancy.SyncStates.Get(ctx, tenancy.SyncStateID)
		if err == nil {
			fmt.Fprintf(&b, "conflicts %s skipped %d pending %d\n", state.Conflicts, state.Skipped, state.Pending)
		}
	})
	return b.String()
}

// applied returns the tenant's watermark, and how often it was written.
func (h *house) applied(tenant string) (revision, writes int64) {
	h.t.Helper()
	h.in(tenant, func(ctx context.Context) {
		state, err := syncState(ctx)
		must(h.t, err)
		revision, writes = state.Applied, state.Revision
	})
	return revision, writes
}

func (h *house) head() (head int64) {
	h.t.Helper()
	h.onCP(func(ctx context.Context) {
		var err error
		head, err = tenancy.Head(ctx)
		must(h.t, err)
	})
	return head
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares what two values look like in JSON.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	g, err := json.Marshal(got)
	must(t, err)
	w, err := json.Marshal(want)
	must(t, err)
	if string(g) != string(w) {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}
