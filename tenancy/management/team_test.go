package management

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Rows of the control plane that the team's tests use.
const (
	bossAcme    = "auth0|boss-acme"
	bossWidgets = "auth0|boss-widgets"
	dashboard   = "DASHdashDASHdashDASHdashDASHdash"
	rolSupport  = "rol_support"
	rolSneaky   = "rol_sneaky"
)

func (k *kit) seedDashboard() (tenantAdmin, platformAdmin string) {
	k.inside("control_plane", func(ctx context.Context) {
		api, err := tenancy.ResourceServers.First(ctx, "identifier = ?", tenancy.ManagementAudience)
		k.must(err)
		role := func(id, name string) *tenancy.Role {
			return &tenancy.Role{
				Row: tenancy.Row{ID: id}, Name: name, NameKey: tenancy.NameKeyOf(name), Metadata: map[string]any{tenancy.TenantAssignable: true},
			}
		}
		k.must(tenancy.Commit(ctx,
			tenancy.Clients.Insert(ctx, &tenancy.Client{
				Row: tenancy.Row{ID: dashboard}, Name: "Dashboard", AppType: "spa", IsFirstParty: true, TokenEndpointAuthMethod: "none",
				InitiateLoginURI: "https://dashboard.example.com/login?from=mail",
			}),
			tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: ann}, Connection: "db", Email: "ann@control_plane.test"}),
			tenancy.Roles.Insert(ctx, role(rolSupport, "Support")),
			tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission(rolSupport, api.ID, "read:users")),
			tenancy.Roles.Insert(ctx, role(rolSneaky, "Sneaky")), // marked for teams, and still of the platform
			tenancy.RolePermissions.Insert(ctx, tenancy.NewRolePermission(rolSneaky, api.ID, "suspend:tenants")),
		))
		for name, id := range map[string]*string{tenancy.RoleTenantAdmin: &tenantAdmin, tenancy.RolePlatformAdmin: &platformAdmin} {
			r, err := tenancy.BuiltInRole(ctx, name)
			k.must(err)
			*id = r.ID
		}
	})
	return tenantAdmin, platformAdmin
}

// TestTeam is SC-106 and contract C5.104 to C5.107.
func TestTeam(t *testing.T) {
	k := newKit(t)
	tenantAdmin, platformAdmin := k.seedDashboard()
	boss := k.in("acme", person(bossAcme))
	ids := func(list ...string) map[string]any { return map[string]any{"user_ids": list} }
	roles := func(list ...string) map[string]any { return map[string]any{"roles": list} }
	rolesOf := func(user string) string { return "/tenant-members/" + url.PathEscape(user) + "/roles" }
	widgets := []string{"tenant-id", "widgets"}
	k.run([]scenario{
		{name: "list", host: cpHost, token: boss, path: "/tenant-members", status: 200, holds: `"total":1`, lacks: "widgets"},
		{name: "list at the tenant's host", token: boss, path: "/tenant-members?fields=user_id,roles", status: 200, holds: `"name":"Tenant Admin"`},
		{name: "another's, by header", host: cpHost, token: boss, header: widgets, path: "/tenant-members", status: 403, code: "tenant_access_denied"},
		{name: "the platform names whose", host: cpHost, token: admin(), header: widgets, path: "/tenant-members", status: 200, holds: bossWidgets, lacks: bossAcme},
		{name: "the platform names none", host: cpHost, token: admin(), path: "/tenant-members", status: 403},
		{name: "add", host: cpHost, token: boss, method: "POST", path: "/tenant-members", body: ids(ann), status: 204},
		{name: "add again (C2.52)", host: cpHost, token: boss, method: "POST", path: "/tenant-members", body: ids(ann, bossAcme), status: 204},
		{name: "add nobody", host: cpHost, token: boss, method: "POST", path: "/tenant-members", body: ids(bossAcme, "auth0|nobody"), status: 400, code: "inexistent_user"},
		{name: "two now", host: cpHost, token: boss, path: "/tenant-members", status: 200, holds: `"total":2`},
		{name: "roles to give", host: cpHost, token: boss, path: "/tenant-members/roles", status: 200, holds: "Support", lacks: "Sneaky"},
		{name: "roles of the platform are not among them", host: cpHost, token: boss, path: "/tenant-members/roles", status: 200, holds: "Tenant Admin", lacks: "Platform"},
		{name: "C9.53 Platform Admin", host: cpHost, token: boss, method: "POST", path: rolesOf(ann), body: roles(platformAdmin), status: 403, code: "insufficient_scope"},
		{name: "marked, and of the platform", host: cpHost, token: boss, method: "POST", path: rolesOf(ann), body: roles(rolSneaky), status: 403, code: "insufficient_scope"},
		{name: "C9.53 what the caller lacks", host: cpHost, token: k.in("acme", person(bossAcme, "create:organization_member_roles")), method: "POST", path: rolesOf(ann), body: roles(rolSupport), status: 403, code: "insufficient_scope"},
		{name: "unknown role", host: cpHost, token: boss, method: "POST", path: rolesOf(ann), body: roles("rol_none"), status: 400, code: "inexistent_role"},
		{name: "give", host: cpHost, token: boss, method: "POST", path: rolesOf(ann), body: roles(rolSupport, tenantAdmin), status: 204},
		{name: "given", host: cpHost, token: boss, path: rolesOf(ann), status: 200, holds: "Support"},
		{name: "member of another team", host: cpHost, token: boss, path: rolesOf(bossWidgets), status: 404, says: "Not found"},
		{name: "give to a member of another team", host: cpHost, token: boss, method: "POST", path: rolesOf(bossWidgets), body: roles(rolSupport), status: 404, says: "Not found"},
		{name: "step down", host: cpHost, token: boss, method: "DELETE", path: rolesOf(bossAcme), body: roles(tenantAdmin), status: 204},
		{name: "last admin cannot be demoted", host: cpHost, token: boss, method: "DELETE", path: rolesOf(ann), body: roles(tenantAdmin), status: 409, code: "last_admin"},
		{name: "last admin cannot be removed", host: cpHost, token: boss, method: "DELETE", path: "/tenant-members", body: ids(bossAcme, ann), status: 409, code: "last_admin"},
		{name: "others can", host: cpHost, token: boss, method: "DELETE", path: "/tenant-members", body: ids(bossAcme), status: 204},
		{name: "no member any more", host: cpHost, token: boss, path: rolesOf(bossAcme), status: 404, says: "Not found"},
		{name: "the platform may (C8.14)", host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, method: "DELETE", path: "/tenant-members", body: ids(ann), status: 204},
		{name: "widgets has who it had", host: cpHost, token: k.in("widgets", person(bossWidgets)), path: "/tenant-members", status: 200, holds: bossWidgets, lacks: bossAcme},
	})
}

// TestTeamInvitations is the rest of SC-106, with C5.48 and C2.55.
func TestTeamInvitations(t *testing.T) {
	k := newKit(t)
	tenantAdmin, platformAdmin := k.seedDashboard()
	boss := k.in("acme", person(bossAcme))
	with := func(name string, value any) map[string]any {
		body := invitationOf(dashboard)
		body[name] = value
		return body
	}
	post := func(name string, body any, status int, says string) scenario {
		return scenario{name: name, host: cpHost, token: boss, method: "POST", path: "/tenant-members/invitations", body: body, status: status, says: says}
	}
	const path = "/tenant-members/invitations"
	k.run([]scenario{
		post("unknown client", invitationOf("none"), 400, "The specified client_id does not exist."),
		post("no e-mail", with("invitee", map[string]any{}), 400, "Payload validation error: 'Missing required property: invitee'"),
		post("roles that do not exist", with("roles", []string{"rol_none"}), 400, "One or more of the specified roles do not exist: rol_none"),
		post("connection that is not enabled", with("connection_id", "con_none"), 400, "The specified connection (con_none) is not enabled for the organization"),
		post("too long", with("ttl_sec", maxInvitationTTL+1), 400, ""),
		post("C9.53", with("roles", []string{platformAdmin}), 403, ""),
		{name: "nothing was made", host: cpHost, token: boss, path: path, status: 200, holds: only("uinv_", "acme"), lacks: "new@example.com"},
	})
	a := k.do("POST", cpHost, path, boss.token(), with("roles", []string{tenantAdmin}))
	if a.Code != 201 {
		t.Fatalf("invite: %d %s", a.Code, a.Body)
	}
	u, err := url.Parse(a.text("invitation_url"))
	k.must(err)
	acme, _ := k.directory.ByID("acme")
	ticket := u.Query().Get("invitation")
	if u.Host != "dashboard.example.com" || u.Query().Get("from") != "mail" || u.Query().Get("organization") != acme.OrganizationID ||
		u.Query().Get("organization_name") != "acme" || len(ticket) < 43 || ticket == a.text("id") {
		t.Errorf("C2.55: address %s", u)
	}
	if len(k.mails.list) != 1 || k.mails.list[0].To != "new@example.com" || !strings.Contains(k.mails.list[0].Text, u.String()) {
		t.Errorf("mails: %+v", k.mails.list)
	}
	one := path + "/" + a.text("id")
	other := k.in("widgets", person(bossWidgets))
	k.mails.broken = true
	k.run([]scenario{
		{name: "listed without the ticket", host: cpHost, token: boss, path: path, status: 200, holds: "new@example.com", lacks: ticket},
		{name: "read without the ticket", host: cpHost, token: boss, path: one, status: 200, holds: `"ticket_id"`, lacks: "invitation_url"},
		{name: "not by another team", host: cpHost, token: other, path: one, status: 404, says: "Not found"},
		{name: "not withdrawn by another team", host: cpHost, token: other, method: "DELETE", path: one, status: 404},
		{name: "withdrawn", host: cpHost, token: boss, method: "DELETE", path: one, status: 204},
		{name: "gone", host: cpHost, token: boss, path: one, status: 404, says: "Not found"},
		post("a failing mail server does not fail the call", invitationOf(dashboard), 201, ""),
	})
	if len(k.events.of("fn")) != 1 {
		t.Errorf("log of the mail that failed: %+v", k.events.of("fn"))
	}
	k.inside("control_plane", func(ctx context.Context) {
		_, err := tenancy.Clients.Update(ctx, dashboard, func(c *tenancy.Client) error { c.InitiateLoginURI = ""; return nil })
		k.must(err)
	})
	k.run([]scenario{post("SC-038 no login route", invitationOf(dashboard), 400, "A default login route is required to generate the invitation url.")})
}

// TestLastAdminsLeaveTogether: two administrators remove each other at the same
// time; one of them stays (C5.107).
func TestLastAdminsLeaveTogether(t *testing.T) {
	k := newKit(t)
	tenantAdmin, _ := k.seedDashboard()
	boss := k.in("acme", person(bossAcme))
	for round := range 10 {
		k.do("POST", cpHost, "/tenant-members", boss.token(), map[string]any{"user_ids": []string{ann, bossAcme}})
		for _, u := range []string{ann, bossAcme} {
			k.do("POST", cpHost, "/tenant-members/"+url.PathEscape(u)+"/roles", boss.token(), map[string]any{"roles": []string{tenantAdmin}})
		}
		var wg sync.WaitGroup
		codes := make([]int, 2)
		for i, u := range []string{ann, bossAcme} {
			wg.Go(func() {
				codes[i] = k.do("DELETE", cpHost, "/tenant-members", boss.token(), map[string]any{"user_ids": []string{u}}).Code
			})
		}
		wg.Wait()
		if codes[0]+codes[1] != http.StatusNoContent+http.StatusConflict {
			t.Fatalf("round %d: %v, want one 204 and one 409", round, codes)
		}
	}
}

// TestInviteOwner: a new tenant's owner who is no user yet gets the invitation by
// mail, to log in at the control plane's default client; where that cannot be, the
// log says why and the tenant is made all the same (contract C8.5 step 7).
func TestInviteOwner(t *testing.T) {
	k := newKit(t)
	k.lifecycle.Invite = k.api.InviteOwner
	k.inside("control_plane", func(ctx context.Context) {
		k.must(tenancy.Clients.Create(ctx, &tenancy.Client{
			Row: tenancy.Row{ID: dashboard}, Name: "Dashboard", AppType: "regular_web", IsFirstParty: true, InitiateLoginURI: "https://dashboard.example.com/login",
		}))
	})
	lastFailed := func() string {
		failed := k.events.of("fn")
		if len(failed) == 0 {
			return ""
		}
		return failed[len(failed)-1].Description
	}
	create := func(id string) string {
		t.Helper()
		made, err := k.lifecycle.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id, Owner: &tenancy.Owner{Email: "Ann@" + id + ".test"}})
		k.must(err)
		return made.OrganizationID
	}
	create("without")
	if len(k.mails.list) != 0 || !strings.Contains(lastFailed(), "default_client_id") {
		t.Errorf("without a default client: mails %v, logged %q", k.mails.list, lastFailed())
	}
	k.inside("control_plane", func(ctx context.Context) {
		_, err := tenancy.SettingsRows.Update(ctx, tenancy.SettingsOwn, func(row *tenancy.SettingsRow) error {
			row.Values["default_client_id"] = json.RawMessage(`"` + dashboard + `"`)
			return nil
		})
		k.must(err)
	})
	org := create("with")
	if len(k.mails.list) != 1 {
		t.Fatalf("%d mails", len(k.mails.list))
	}
	m := k.mails.list[0]
	if m.To != "ann@with.test" || m.Tenant != "control_plane" || !strings.Contains(m.Text, "https://dashboard.example.com/login?invitation=") || !strings.Contains(m.Text, "organization="+org) {
		t.Errorf("mail: %+v", m)
	}
	k.mails.broken = true
	create("broken")
	if got := lastFailed(); !strings.HasPrefix(got, "Failed to send the invitation uinv_") || strings.Contains(got, "default_client_id") {
		t.Errorf("logged: %q", got)
	}
}
