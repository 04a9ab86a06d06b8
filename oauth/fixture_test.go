package oauth

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// The ids of the fixture's rows. Every tenant of a fixture has all of them, so
// that whatever crosses from one tenant to another meets a row there (style
// rule: every store test has two tenants with equal ids).
const (
	spaID        = "spa"         // public, PKCE, organizations allowed
	webID        = "web"         // confidential, organizations allowed
	nativeID     = "native"      // public, loopback callback, organizations not allowed
	m2mID        = "m2m"         // client_credentials, grant cgr_1
	thirdPartyID = "third_party" // public, not first-party

	webSecret = "web-secret-web-secret-web-secret-web-secret"
	m2mSecret = "m2m-secret-m2m-secret-m2m-secret-m2m-secret"

	callback       = "https://app.example.com/callback"
	nativeCallback = "http://127.0.0.1/callback"
	loggedOut      = "https://app.example.com/bye"

	ada = "auth0|ada" // member of org_1 (role reader) and org_2 (write:orders directly)
	bob = "auth0|bob" // member of nothing; holds write:orders globally
	eve = "auth0|eve" // blocked

	connectionName  = "Username-Password-Authentication" // con_1
	otherConnection = "partners"                         // con_2, enabled for no client

	orders  = "https://orders.example.com/"  // RBAC on, access_token_authz
	catalog = "https://catalog.example.com/" // RBAC off
)

// tenantIDs are the tenants of every fixture; the first is the control plane.
var tenantIDs = []string{"control_plane", "acme", "widgets"}

// fixture is a server over three tenants whose rows have equal ids.
type fixture struct {
	t       testing.TB
	pool    *tenancy.Pool
	meter   *meter
	tenants map[string]*tenancy.Tenant
	inside  map[string]context.Context
	server  *Server
	events  *eventLog
	clock   *testClock
	web     *web
}

// newFixture makes a fixture in the test's temporary directory.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	var m meter
	pool, err := tenancy.NewPool(tenancy.PoolConfig{
		Placements: map[string]tenancy.Provider{"": &meteredProvider{&sqlite.Provider{Dir: t.TempDir()}, &m}}, Master: ring,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		t: t, pool: pool, meter: &m, tenants: map[string]*tenancy.Tenant{}, inside: map[string]context.Context{},
		events: &eventLog{}, clock: &testClock{}, web: &web{},
	}
	var leave []func()
	t.Cleanup(func() {
		for _, l := range leave {
			l()
		}
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, id := range tenantIDs {
		tn := &tenancy.Tenant{
			Row:   tenancy.Row{TenantID: tenantIDs[0], ID: id},
			State: tenancy.StateActive, DataKey: ring.NewDataKey(id),
		}
		if err := pool.Create(t.Context(), tn); err != nil {
			t.Fatal(err)
		}
		ctx, l, err := pool.Enter(context.Background(), tn)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, l)
		f.tenants[id] = tn
		f.inside[id] = tenancy.WithVisit(ctx, &tenancy.Visit{
			Issuer: issuerOf(id), Host: hostOf(id),
			ClientIP: "192.0.2.1", UserAgent: "test", RequestID: "req_1",
		})
		f.fill(id)
	}
	f.server, err = New(Config{Recorder: f.events, Now: f.clock.now, Keys: &Keyring{Now: f.clock.now}, Client: f.web, Log: slog.New(slog.DiscardHandler)})
	f.must(err)
	for _, id := range tenantIDs {
		f.giveKeys(id)
	}
	return f
}

// madeKeys are the signing keys of each tenant id, made by the first fixture:
// RSA keys take too long to make them for every test.
var madeKeys struct {
	sync.Mutex
	of map[string][]tenancy.SigningKey
}

// giveKeys gives a tenant signing keys of its own.
func (f *fixture) giveKeys(tenant string) {
	f.t.Helper()
	madeKeys.Lock()
	defer madeKeys.Unlock()
	ctx := f.in(tenant)
	if rows, ok := madeKeys.of[tenant]; ok {
		var stmts []tenancy.Stmt
		for _, row := range rows {
			stmts = append(stmts, tenancy.SigningKeys.Insert(ctx, &row))
		}
		f.must(tenancy.Commit(ctx, stmts...))
		return
	}
	f.must(f.server.keys.EnsureKeys(ctx))
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{})
	f.must(err)
	if madeKeys.of == nil {
		madeKeys.of = map[string][]tenancy.SigningKey{}
	}
	madeKeys.of[tenant] = rows
}

func hostOf(tenant string) string {
	if tenant == tenantIDs[0] {
		return "auth.example.com"
	}
	return tenant + ".auth.example.com"
}

func issuerOf(tenant string) string { return "https://" + hostOf(tenant) + "/" }

// in returns a context inside the tenant, with a visit to its host.
func (f *fixture) in(tenant string) context.Context { return f.inside[tenant] }

// serve sends a request to the tenant's host.
func (f *fixture) serve(tenant string, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, r.WithContext(f.in(tenant)))
	return w
}

// must fails the test on an error of preparing it.
func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// updateClient changes a client of a tenant.
func (f *fixture) updateClient(tenant, id string, alter func(*tenancy.Client)) {
	f.t.Helper()
	_, err := tenancy.Clients.Update(f.in(tenant), id, func(c *tenancy.Client) error { alter(c); return nil })
	f.must(err)
}

// fill writes the fixture's rows into a tenant.
func (f *fixture) fill(tenant string) {
	ctx := f.in(tenant)
	webHash, err := tenancy.HashSecret(ctx, webSecret)
	f.must(err)
	m2mHash, err := tenancy.HashSecret(ctx, m2mSecret)
	f.must(err)
	row := func(id string) tenancy.Row { return tenancy.Row{ID: id} }
	codeGrants := []string{"authorization_code", "refresh_token"}
	insert := func(list ...tenancy.Stmt) { f.must(tenancy.Commit(ctx, list...)) }
	for _, c := range []tenancy.Client{
		{
			Row: row(spaID), Name: "Single page", AppType: "spa", IsFirstParty: true, TokenEndpointAuthMethod: "none",
			GrantTypes: codeGrants, Callbacks: []string{callback, "https://app.example.com/other?x=1"},
			WebOrigins: []string{"https://app.example.com"}, AllowedLogoutURLs: []string{loggedOut},
			OrganizationUsage: "allow",
		},
		{
			Row: row(webID), Name: "Web", AppType: "regular_web", IsFirstParty: true, TokenEndpointAuthMethod: "client_secret_post",
			SecretHash: webHash, Secret: webSecret, GrantTypes: codeGrants, Callbacks: []string{callback},
			AllowedLogoutURLs: []string{loggedOut}, OrganizationUsage: "allow",
		},
		{
			Row: row(nativeID), Name: "Native", AppType: "native", IsFirstParty: true, TokenEndpointAuthMethod: "none",
			GrantTypes: codeGrants, Callbacks: []string{nativeCallback, "com.example.app:/callback"}, OrganizationUsage: "deny",
		},
		{
			Row: row(thirdPartyID), Name: "Third party", AppType: "spa", TokenEndpointAuthMethod: "none",
			GrantTypes: codeGrants, Callbacks: []string{"https://third.example.net/cb", "https://*.third.example.net/cb"},
			OrganizationUsage: "allow",
		},
		{
			Row: row(m2mID), Name: "Machine", AppType: "non_interactive", IsFirstParty: true,
			TokenEndpointAuthMethod: "client_secret_post", SecretHash: m2mHash, Secret: m2mSecret,
			GrantTypes: []string{"client_credentials"},
		},
	} {
		insert(tenancy.Clients.Insert(ctx, &c))
		if c.ID != m2mID {
			insert(tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(c.ID, "con_1")))
		}
	}
	insert(
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: row("con_1"), Name: connectionName, Strategy: tenancy.StrategyDatabase}),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: row("con_2"), Name: otherConnection, Strategy: tenancy.StrategyDatabase}),
		tenancy.Users.Insert(ctx, &tenancy.User{
			Row: row(ada), Connection: connectionName, Email: "ada@" + tenant + ".example",
			EmailVerified: true, Name: "Ada of " + tenant, GivenName: "Ada", Nickname: "ada",
		}),
		tenancy.Users.Insert(ctx, &tenancy.User{Row: row(bob), Connection: connectionName, Email: "bob@" + tenant + ".example"}),
		tenancy.Users.Insert(ctx, &tenancy.User{Row: row(eve), Connection: connectionName, Email: "eve@" + tenant + ".example", Blocked: true}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: row("org_1"), Name: "one", DisplayName: "One"}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: row("org_2"), Name: "two", DisplayName: "Two"}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: row("org_3"), Name: "three", DisplayName: "Three"}),
		tenancy.Members.Insert(ctx, tenancy.NewMember("org_1", ada)),
		tenancy.Members.Insert(ctx, tenancy.NewMember("org_2", ada)),
		tenancy.ResourceServers.Insert(ctx, &tenancy.ResourceServer{
			Row: row("rs_orders"), Name: "Orders", Identifier: orders,
			Scopes:     []tenancy.Scope{{Value: "read:orders"}, {Value: "write:orders"}, {Value: "audit:orders"}},
			SigningAlg: "RS256", SkipConsent: true, TokenLifetime: 86400, AllowOfflineAccess: true, EnforcePolicies: true, TokenDialect: tenancy.DialectAccessAuthz,
		}),
		tenancy.ResourceServers.Insert(ctx, &tenancy.ResourceServer{
			Row: row("rs_catalog"), Name: "Catalog", Identifier: catalog,
			Scopes:     []tenancy.Scope{{Value: "read:items"}, {Value: "write:items"}},
			SigningAlg: "RS256", SkipConsent: true, TokenLifetime: 3600, TokenDialect: tenancy.DialectRFC9068,
		}),
		tenancy.ResourceServers.Insert(ctx, &tenancy.ResourceServer{
			Row: row("rs_management"), Name: "Management", Identifier: tenancy.ManagementAudience,
			Scopes: scopesOf(tenancy.ManagementScopes(tenant == tenantIDs[0])), IsSystem: true, SkipConsent: true, SigningAlg: "RS256", TokenLifetime: 86400,
			EnforcePolicies: true, TokenDialect: tenancy.DialectAccessAuthz, AllowOfflineAccess: tenant == tenantIDs[0],
		}),
		tenancy.Roles.Insert(ctx, &tenancy.Role{Row: row("rol_reader"), Name: "Reader", NameKey: "reader"}),
		tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission("rol_reader", "rs_orders", "read:orders")),
		tenancy.UserRoles.Insert(ctx, tenancy.NewUserRole(ada, "org_1", "rol_reader")),
		tenancy.UserPermissions.Insert(ctx, tenancy.NewUserPermission(ada, "org_2", "rs_orders", "write:orders")),
		tenancy.UserPermissions.Insert(ctx, tenancy.NewUserPermission(bob, tenancy.Global, "rs_orders", "write:orders")),
		tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{
			Row: row("cgr_1"), ClientID: m2mID, Audience: orders,
			Scope: []string{"read:orders", "write:orders"}, OrganizationUsage: "allow",
		}),
		tenancy.GrantOrganizations.Insert(ctx, &tenancy.GrantOrganization{
			Row:     row(tenancy.Join("cgr_1", "org_1")),
			GrantID: "cgr_1", OrganizationID: "org_1",
		}),
	)
}

func scopesOf(values []string) []tenancy.Scope {
	list := make([]tenancy.Scope, len(values))
	for i, v := range values {
		list[i].Value = v
	}
	return list
}

// eventLog is a recorder that keeps what it is told.
type eventLog struct {
	mu   sync.Mutex
	list []tenancy.Event
}

// Record implements tenancy.Recorder.
func (l *eventLog) Record(_ context.Context, e tenancy.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, e)
}

// types returns the codes of all events so far, oldest first.
func (l *eventLog) types() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]string, len(l.list))
	for i, e := range l.list {
		list[i] = e.Type
	}
	return list
}

// last returns the newest event of the type, or nil.
func (l *eventLog) last(code string) *tenancy.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.list) {
		if e.Type == code {
			return &e
		}
	}
	return nil
}

// testClock is the time, moved ahead by as much as a test likes.
type testClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// advance moves the clock.
func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

var _ tenancy.Recorder = (*eventLog)(nil)
