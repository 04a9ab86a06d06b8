package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// allow asks the permission calculation for a user of the tenant.
func (f *fixture) allow(tenant, clientID, userID string, ask Ask) (*Allowance, error) {
	f.t.Helper()
	ctx := f.in(tenant)
	var err error
	ask.Client, err = tenancy.CachedClient(ctx, clientID)
	f.must(err)
	ask.User, err = tenancy.Users.Get(ctx, userID)
	f.must(err)
	return f.server.allowUser(ctx, ask)
}

// wantRefusal fails the test unless err is this refusal.
func wantRefusal(t testing.TB, err error, status int, code, description string) {
	t.Helper()
	var e *oauthError
	if !errors.As(err, &e) || e.Status != status || e.Code != code || e.Description != description {
		t.Errorf("got %v, want %d %s %q", err, status, code, description)
	}
}

// add stores rows.
func (f *fixture) add(tenant string, stmts ...func(context.Context) tenancy.Stmt) {
	f.t.Helper()
	list := make([]tenancy.Stmt, len(stmts))
	for i, s := range stmts {
		list[i] = s(f.in(tenant))
	}
	f.must(tenancy.Commit(f.in(tenant), list...))
}

func userPermission(user, org, rs, permission string) func(context.Context) tenancy.Stmt {
	return func(ctx context.Context) tenancy.Stmt {
		return tenancy.UserPermissions.Insert(ctx, tenancy.NewUserPermission(user, org, rs, permission))
	}
}

// The calculation of contract C2.22 to C2.29.
func TestAllowUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add("acme",
		userPermission(ada, tenancy.Global, "rs_orders", "audit:orders"),
		userPermission(ada, tenancy.Global, "rs_catalog", "write:items"),
		userPermission(ada, "org_2", "rs_orders", "undefined:orders"))
	all := []string{"write:orders", "openid", "read:orders", "audit:orders", "undefined:orders", "write:items"}
	for _, tt := range []struct {
		name        string
		user        string
		ask         Ask
		scopes      []string
		permissions []string // nil: the token lists none
	}{
		{"C2.22 no audience", ada, Ask{Scopes: all}, []string{"openid"}, nil},
		{"C2.18 global only, never the organization's", ada, Ask{Audience: orders, Scopes: all}, []string{"openid", "audit:orders"}, []string{"audit:orders"}},
		{"C2.25 roles in the organization", ada, Ask{Audience: orders, Scopes: all, Organization: "org_1"}, []string{"openid", "read:orders"}, []string{"read:orders"}},
		{"C2.25 direct in the organization; C2.17 undefined never", ada, Ask{Audience: orders, Scopes: all, Organization: "two"}, []string{"write:orders", "openid"}, []string{"write:orders"}},
		{"C2.29 permissions whatever was requested", ada, Ask{Audience: orders, Organization: "org_1"}, []string{}, []string{"read:orders"}},
		{"C2.27 RBAC off: all that is defined", bob, Ask{Audience: catalog, Scopes: all}, []string{"openid", "write:items"}, nil},
		{"C2.17 case matters", bob, Ask{Audience: catalog, Scopes: []string{"Write:items", "OPENID", "write:items", "*"}}, []string{"write:items"}, nil},
		{"nothing held", bob, Ask{Audience: tenancy.ManagementAudience, Scopes: []string{"read:users"}}, []string{}, []string{}},
	} {
		a, err := f.allow("acme", spaID, tt.user, tt.ask)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if !slices.Equal(a.Scopes, tt.scopes) || !slices.Equal(a.Permissions, tt.permissions) || (a.Permissions == nil) != (tt.permissions == nil) {
			t.Errorf("%s: got scopes %v, permissions %#v; want %v, %#v", tt.name, a.Scopes, a.Permissions, tt.scopes, tt.permissions)
		}
	}
}

func TestAllowUserRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name, client, user string
		ask                Ask
		status             int
		code, text         string
	}{
		{"C2.10", spaID, eve, Ask{}, 403, "access_denied", "user is blocked"},
		{"C2.23", spaID, ada, Ask{Audience: "https://no.example/", Scopes: []string{"openid"}}, 403, "access_denied", "Service not found: https://no.example/"},
		{"C2.23 exactly", spaID, ada, Ask{Audience: strings.TrimSuffix(orders, "/")}, 403, "access_denied", "Service not found: https://orders.example.com"},
		{"C2.24 unknown", spaID, ada, Ask{Organization: "org_9"}, 400, "invalid_request", "parameter organization is invalid"},
		{"C2.24 non-member, C9.22 also without audience", spaID, ada, Ask{Organization: "three"}, 403, "access_denied", "user auth0|ada is not part of the org_3 organization"},
		{"C2.24 non-member with audience", spaID, bob, Ask{Organization: "org_1", Audience: orders}, 403, "access_denied", "user auth0|bob is not part of the org_1 organization"},
		{"C2.41 deny", nativeID, ada, Ask{Organization: "org_1"}, 400, "invalid_request", "parameter organization is not allowed for this client"},
		{"C2.28 third party", thirdPartyID, ada, Ask{Scopes: []string{"openid", "email"}}, 400, "consent_required", "Consent required"},
		{"C5.65 third party and organizations", thirdPartyID, ada, Ask{Organization: "org_1"}, 400, "invalid_request", "parameter organization is not allowed for this client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.allow("acme", tt.client, tt.user, tt.ask)
			wantRefusal(t, err, tt.status, tt.code, tt.text)
		})
	}
	if _, err := f.allow("acme", thirdPartyID, ada, Ask{Scopes: []string{"openid"}}); err != nil {
		t.Errorf("C2.28: openid alone needs no consent: %v", err)
	}
}

func TestDefaultAudience(t *testing.T) { // C2.22
	t.Parallel()
	f := newFixture(t)
	bound := f.refreshToken("acme", codeFor{})
	f.setting("acme", "default_audience", `"`+catalog+`"`)
	a, err := f.allow("acme", spaID, ada, Ask{Scopes: []string{"read:items"}})
	if err != nil || a.Audience != catalog || !slices.Equal(a.Scopes, []string{"read:items"}) {
		t.Errorf("got %+v, %v", a, err)
	}
	// A grant without audience stays without one.
	if aud := f.refresh("acme", bound).ok().claims("access_token")["aud"]; aud != issuerOf("acme")+"userinfo" {
		t.Errorf("refresh: aud %v", aud)
	}
}

func (f *fixture) setting(tenant, key, value string) {
	f.t.Helper()
	ctx := f.in(tenant)
	_, err := tenancy.SettingsRows.Get(ctx, tenancy.SettingsOwn)
	if errors.Is(err, tenancy.ErrNotFound) {
		f.must(tenancy.SettingsRows.Create(ctx, &tenancy.SettingsRow{Row: tenancy.Row{ID: tenancy.SettingsOwn}}))
	} else {
		f.must(err)
	}
	_, err = tenancy.SettingsRows.Update(ctx, tenancy.SettingsOwn, func(r *tenancy.SettingsRow) error {
		if r.Values == nil {
			r.Values = make(map[string]json.RawMessage)
		}
		r.Values[key] = json.RawMessage(value)
		return nil
	})
	f.must(err)
}

func TestInheritGlobalPermissions(t *testing.T) { // C2.25
	t.Parallel()
	f := newFixture(t)
	f.add("acme", userPermission(ada, tenancy.Global, "rs_orders", "audit:orders"))
	ask := Ask{Audience: orders, Organization: "org_1"}
	for _, tt := range []struct {
		flag string
		want []string
	}{{"false", []string{"read:orders"}}, {"true", []string{"audit:orders", "read:orders"}}} {
		f.setting("acme", "flags.inherit_global_permissions_in_organizations", tt.flag)
		if a, err := f.allow("acme", spaID, ada, ask); err != nil || !slices.Equal(a.Permissions, tt.want) {
			t.Errorf("flag %s: got %v, %v, want %v", tt.flag, a, err, tt.want)
		}
	}
}

func TestManyPermissions(t *testing.T) { // C2.25, C0.10, SC-020: complete however many
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	var want []string
	stmts := []tenancy.Stmt{tenancy.UserRoles.Insert(ctx, tenancy.NewUserRole(bob, tenancy.Global, "rol_reader"))}
	rs, err := tenancy.ResourceServers.Get(ctx, "rs_orders")
	f.must(err)
	rs.Scopes = nil
	for i := range 350 {
		scope := fmt.Sprintf("do:%03d", i)
		want = append(want, scope)
		rs.Scopes = append(rs.Scopes, tenancy.Scope{Value: scope})
		stmts = append(stmts, tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission("rol_reader", "rs_orders", scope)))
	}
	f.must(tenancy.Commit(ctx, append(stmts, tenancy.ResourceServers.Replace(ctx, rs))...))
	a, err := f.allow("acme", spaID, bob, Ask{Audience: orders})
	if err != nil || !slices.Equal(a.Permissions, want) {
		t.Errorf("got %d permissions, %v; want 350", len(a.Permissions), err)
	}
}

// The platform administrator's way into linked organizations (C2.26, C9.20,
// C9.21).
func TestPlatformAdminBypass(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cp := tenantIDs[0]
	linked := &tenancy.Tenant{Row: tenancy.Row{ID: "linked"}, OrganizationID: "org_1", State: tenancy.StateActive, DataKey: "x"}
	f.must(tenancy.Tenants.Create(f.in(cp), linked))
	ask := Ask{Organization: "org_1", Audience: tenancy.ManagementAudience, Scopes: []string{"admin:organizations"}}
	denied := func(when, tenant string, ask Ask) {
		t.Helper()
		_, err := f.allow(tenant, spaID, bob, ask)
		if !errors.Is(err, errMember) {
			t.Errorf("%s: got %v", when, err)
		}
	}
	denied("without the permission", cp, ask)
	f.add(cp, userPermission(bob, "org_2", "rs_management", tenancy.ScopePlatformAdmin),
		userPermission(bob, "org_1", "rs_management", tenancy.ScopePlatformAdmin))
	denied("held inside organizations", cp, ask)
	f.add(cp, userPermission(bob, tenancy.Global, "rs_orders", tenancy.ScopePlatformAdmin))
	denied("held on another resource server", cp, ask)

	f.add(cp, userPermission(bob, tenancy.Global, "rs_management", tenancy.ScopePlatformAdmin),
		userPermission(bob, tenancy.Global, "rs_management", "read:users"),
		userPermission(bob, "org_1", "rs_management", "delete:users"))
	a, err := f.allow(cp, spaID, bob, ask)
	if err != nil || !slices.Equal(a.Permissions, []string{"admin:organizations", "read:users"}) || a.Organization.ID != "org_1" {
		t.Errorf("held globally: got %+v, %v", a, err)
	}
	ask.Organization = "org_2"
	denied("an organization that is linked to no tenant", cp, ask)

	f.add("acme", userPermission(bob, tenancy.Global, "rs_management", tenancy.ScopePlatformAdmin))
	ask.Organization = "org_1"
	denied("in a child", "acme", ask)
}

func TestManagementScopeClasses(t *testing.T) { // C2.21, C9.16
	t.Parallel()
	f := newFixture(t)
	f.add("acme", userPermission(bob, tenancy.Global, "rs_management", tenancy.ScopePlatformAdmin),
		userPermission(bob, tenancy.Global, "rs_management", "read:users"))
	ask := Ask{Scopes: []string{tenancy.ScopePlatformAdmin, "read:users", "users:read", "read:*", "*"}}
	for _, audience := range []string{tenancy.ManagementAudience, issuerOf("acme") + "api/v2/"} { // C2.20
		ask.Audience = audience
		a, err := f.allow("acme", spaID, bob, ask)
		if err != nil || !slices.Equal(a.Scopes, []string{"read:users"}) || !slices.Equal(a.Permissions, []string{"read:users"}) || a.Audience != audience {
			t.Errorf("%s: got %+v, %v", audience, a, err)
		}
	}
	ask.Audience = issuerOf("widgets") + "api/v2/"
	_, err := f.allow("acme", spaID, bob, ask)
	wantRefusal(t, err, 403, "access_denied", "Service not found: "+ask.Audience)
}

func TestMembershipOnLogin(t *testing.T) { // C2.36, C3.2
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	f.must(tenancy.OrganizationConnections.Create(ctx, &tenancy.OrganizationConnection{
		Row:   tenancy.Row{ID: tenancy.Join("org_1", "con_1")},
		OrgID: "org_1", ConnectionID: "con_1", AssignMembership: true,
	}))
	ask := Ask{Organization: "org_1", Connection: connectionName}
	refused := func(when string, ask Ask) {
		t.Helper()
		if _, err := f.allow("acme", spaID, bob, ask); !errors.Is(err, errMember) {
			t.Errorf("%s: got %v", when, err)
		}
	}
	refused("token endpoint", ask)
	silent := ask
	silent.Silent = true
	refused("silent", silent)
	ask.Interactive = true
	other := ask
	other.Connection = otherConnection
	refused("other connection", other)
	elsewhere := ask
	elsewhere.Organization = "org_2"
	refused("other organization", elsewhere)
	if a, err := f.allow("acme", spaID, bob, ask); err != nil || !a.Joined {
		t.Errorf("interactive: %+v, %v", a, err)
	}
	if e := f.events.last("organization_member_added"); e == nil || e.UserID != bob || e.OrgID != "org_1" {
		t.Errorf("event %+v", e)
	}
	if a, err := f.allow("acme", spaID, bob, silent); err != nil || a.Joined {
		t.Errorf("as a member: %+v, %v", a, err)
	}
	if member, err := isMember(f.in("widgets"), "org_1", bob); err != nil || member {
		t.Errorf("the other tenant: member %v, %v", member, err)
	}
}

func TestConnectionServes(t *testing.T) { // C2.36, C2.37
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	serves := func(connection string, want bool) {
		t.Helper()
		if got, err := connectionServes(ctx, "org_1", connection); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", connection, got, err, want)
		}
	}
	serves(connectionName, true) // an organization without any takes the client's
	f.must(tenancy.OrganizationConnections.Create(ctx, &tenancy.OrganizationConnection{
		Row:   tenancy.Row{ID: tenancy.Join("org_1", "con_2")},
		OrgID: "org_1", ConnectionID: "con_2",
	}))
	serves(connectionName, false)
	serves(otherConnection, true)
	serves("no such", false)
	serves("", false)
}

func TestOrganizationUsage(t *testing.T) { // C2.41, C3.9
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name, tenant, usage, behaviour string
		ask                            Ask
		code, text                     string // "" for success
	}{
		{"unset on a child denies", "acme", "", "", Ask{Organization: "org_1"}, "invalid_request", "parameter organization is not allowed for this client"},
		{"unset on the control plane allows", "control_plane", "", "", Ask{Organization: "org_1"}, "", ""},
		{"unset and none named", "acme", "", "", Ask{}, "", ""},
		{"allow", "acme", "allow", "", Ask{Organization: "org_1"}, "", ""},
		{"allow and none named", "acme", "allow", "", Ask{}, "", ""},
		{"require and named", "acme", "require", "", Ask{Organization: "one"}, "", ""},
		{"require", "acme", "require", "", Ask{}, "invalid_request", "parameter organization is required for this client"},
		{"require no_prompt", "acme", "require", "no_prompt", Ask{Interactive: true}, "invalid_request", "parameter organization is required for this client"},
		{"require, silent", "acme", "require", "", Ask{Silent: true}, "interaction_required", "Organization selection required"},
		{"require, prompt", "acme", "require", "post_login_prompt", Ask{}, "interaction_required", "Organization selection required"},
	} {
		f.updateClient(tt.tenant, spaID, func(c *tenancy.Client) {
			c.OrganizationUsage, c.OrganizationRequireBehavior = tt.usage, tt.behaviour
		})
		_, err := f.allow(tt.tenant, spaID, ada, tt.ask)
		var e *oauthError
		if errors.As(err, &e); tt.code == "" && err != nil || tt.code != "" && (e == nil || e.Code != tt.code || e.Description != tt.text) {
			t.Errorf("%s: got %v, want %s %q", tt.name, err, tt.code, tt.text)
		}
	}
}

func TestOrganizationNames(t *testing.T) { // C2.6
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "allow_organization_name_in_authentication_api", "false")
	_, err := f.allow("acme", spaID, ada, Ask{Organization: "one"})
	wantRefusal(t, err, 400, "invalid_request", "authorization request parameter organization must be an organization id")
	if _, err := f.allow("acme", spaID, ada, Ask{Organization: "org_1"}); err != nil {
		t.Error(err)
	}
	if a, err := f.allow("widgets", spaID, ada, Ask{Organization: "ONE"}); err != nil || a.Organization.ID != "org_1" {
		t.Errorf("the other tenant's setting: %+v, %v", a, err)
	}
}
