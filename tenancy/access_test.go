package tenancy

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// accessWorld is the world of the truth table: a control plane, acme, widgets, and
// the organizations of the control plane. "ghost" never exists.
type accessWorld map[string]TenantRef

func newAccessWorld() accessWorld {
	return accessWorld{
		"control_plane": {ID: "control_plane", OrganizationID: "org_cp", State: StateActive, ControlPlane: true},
		"acme":          {ID: "acme", OrganizationID: "org_acme", State: StateActive},
		"widgets":       {ID: "widgets", OrganizationID: "org_widgets", State: StateActive},
	}
}

// with returns the world in which tenant id is in state s.
func (w accessWorld) with(id string, s State) accessWorld {
	w = maps.Clone(w)
	x := w[id]
	x.State = s
	w[id] = x
	return w
}

func (w accessWorld) request(c *Credential, host string, header ...string) AccessRequest {
	return AccessRequest{
		Host: w[host], Issuer: "https://" + host + "/", Header: header, Credential: c,
		Lookup: func(id string) (TenantRef, bool) { x, ok := w[id]; return x, ok },
		LinkedTenant: func(org string) (TenantRef, bool) {
			for _, x := range w {
				if x.OrganizationID == org && !x.ControlPlane {
					return x, true
				}
			}
			return TenantRef{}, false
		},
	}
}

// accessMember is the only membership there is: ann in acme's organization.
func accessMember(org, sub string) (bool, error) { return org == "org_acme" && sub == "auth0|ann", nil }

// Credentials of the truth table. cp and own hold the scopes; org binds.
func cpUser(scopes ...string) *Credential {
	return &Credential{TenantID: "control_plane", Subject: "auth0|ann", ClientID: "spa", User: true, Permissions: scopes}
}

func cpMachine(scopes ...string) *Credential {
	return &Credential{TenantID: "control_plane", Subject: "m2m@clients", ClientID: "m2m", Scopes: scopes}
}

func ownUser(tenant string, scopes ...string) *Credential {
	return &Credential{TenantID: tenant, Issuer: "https://" + tenant + "/", Subject: "auth0|zoe", ClientID: "app", User: true, Permissions: scopes}
}

func ownMachine(tenant string, scopes ...string) *Credential {
	return &Credential{TenantID: tenant, Issuer: "https://" + tenant + "/", Subject: "m2m@clients", ClientID: "m2m", Scopes: scopes}
}

func inOrg(c *Credential, name, id string) *Credential {
	c.OrgName, c.OrgID = name, id
	return c
}

func inAcme(c *Credential) *Credential { return inOrg(c, "acme", "org_acme") }

// shown writes a decision as the truth table does: "-> acme", or status, code and
// message of the refusal.
func shown(to string, err error) string {
	if err == nil {
		return "-> " + to
	}
	var e *Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("%d %v", StatusOf(err), err)
	}
	return fmt.Sprintf("%d %s %s", e.Status, e.Code, e.Message)
}

func asked(req AccessRequest, route Route) string {
	x, err := Access(req, route)
	return shown(x.ID, err)
}

func visible(req AccessRequest) string {
	v, err := AccessTenants(req)
	if v.All {
		return shown("all", err)
	}
	return shown("those of "+v.OnlySubject, err)
}

func deleted(req AccessRequest, id string) string {
	x, err := AccessTenant(req, Route{AnyOf: []string{"delete:tenants"}, Write: true, Spares: "delete"}, id, accessMember)
	return shown(x.ID, err)
}

const (
	sayNoAuth       = "401 invalid_token Missing authentication"
	sayNoOrg        = "403 organization_required Access denied to tenant acme: the token has no organization"
	sayOrgToken     = "403 organization_token_not_allowed Organization tokens cannot be used with this tenant's Management API"
	sayCpOnly       = "403 control_plane_only Tenants can only be managed from the control plane"
	sayNoRight      = "403 tenant_access_denied Access denied to this tenant"
	sayNoTenant     = "404 tenant_not_found Tenant not found"
	saySuspended    = "403 tenant_suspended Tenant is suspended"
	sayWrongHost    = "400 tenant_mismatch tenant-id header does not match the host"
	sayNoUsers      = "403 insufficient_scope Insufficient scope, expected any of: read:users"
	sayNotAvailable = "503 tenant_unavailable Tenant is not available"
)

// TestAccessTruthTable is the table of section 2.9, row by row.
//
// TT02 to TT04 are the verifier's: a token that fails there never becomes a
// Credential; here, even an empty one opens nothing. TT43: HEAD has no decision of
// its own, since Route knows reads and writes only; every row of GET is HEAD's too.
// TT44: OPTIONS is answered by CORS and is not routed to a decision.
func TestAccessTruthTable(t *testing.T) {
	t.Parallel()
	const cp = "control_plane"
	w := newAccessWorld()
	users := Route{AnyOf: []string{"read:users"}}
	get := func(c *Credential, host string, header ...string) string {
		return asked(w.request(c, host, header...), users)
	}
	denied := func(x string) string { return "403 tenant_access_denied Access denied to tenant " + x }
	foreign := func(host string) string {
		return fmt.Sprintf(`401 invalid_token Unexpected issuer "https://acme/"; expected "https://%s/"`, host)
	}
	user, machine := cpUser("read:users"), cpMachine("read:users")
	admin, adminMachine := cpUser("read:users", "admin:organizations"), cpMachine("read:users", "admin:organizations")
	ann, robot := inAcme(cpUser("read:users")), inAcme(cpMachine("read:users"))
	former := inOrg(cpUser("read:users"), "acme", "org_former_acme")
	own := ownMachine("acme", "read:users")
	both := w.request(admin, cp, "acme")
	both.XHeader = []string{"widgets"}
	halted := w.with("acme", StateSuspended)

	for _, row := range []struct{ name, got, want string }{
		{"TT01 acme", get(nil, "acme"), sayNoAuth},
		{"TT01 control plane", get(nil, cp, "acme"), sayNoAuth},
		{"TT02 TT03 TT04", get(&Credential{}, "acme"), `401 invalid_token Unexpected issuer ""; expected "https://acme/"`},
		{"TT05", get(user, cp), "-> control_plane"},
		{"TT06", get(user, cp, "acme"), sayNoOrg},
		{"TT07", get(user, "acme"), sayNoOrg},
		{"TT08", get(admin, cp), "-> control_plane"},
		{"TT09", get(admin, cp, "acme"), "-> acme"},
		{"TT10", get(admin, "acme"), "-> acme"},
		{"TT11", get(admin, cp, "ghost"), sayNoTenant},
		{"TT12", get(user, cp, "ghost"), strings.Replace(sayNoOrg, "acme", "ghost", 1)},
		{"TT13", get(ann, cp), "-> acme"},
		{"TT14 acme", get(ann, cp, "acme"), "-> acme"},
		{"TT14 ACME", get(ann, cp, "ACME"), "-> acme"},
		{"TT15 widgets", get(ann, cp, "widgets"), denied("widgets")},
		{"TT15 ghost", get(ann, cp, "ghost"), denied("ghost")},
		{"TT16", get(ann, cp, cp), denied(cp)},
		{"TT17", get(ann, "acme"), "-> acme"},
		{"TT18", get(ann, "widgets"), denied("widgets")},
		{"TT19", get(ann, "acme", "widgets"), sayWrongHost},
		{"TT20", asked(both, users), "400 tenant_mismatch tenant-id header is given more than once"},
		{"TT21", get(former, cp, "acme"), denied("acme")},
		{"TT21 acme", get(former, "acme"), denied("acme")},
		{"TT22", get(machine, cp), "-> control_plane"},
		{"TT22 acme", get(machine, cp, "acme"), sayNoOrg},
		{"TT23", get(adminMachine, cp, "acme"), "-> acme"},
		{"TT24", get(robot, cp), "-> acme"},
		{"TT24 acme", get(robot, cp, "acme"), "-> acme"},
		{"TT25", get(own, "acme"), "-> acme"},
		{"TT25 acme", get(own, "acme", "acme"), "-> acme"},
		{"TT26", get(own, "acme", "widgets"), sayWrongHost},
		{"TT27", get(own, cp), foreign(cp)},
		{"TT27 acme", get(own, cp, "acme"), foreign(cp)},
		{"TT28", get(own, "widgets"), foreign("widgets")},
		{"TT29", get(ownUser("acme", "read:users"), "acme"), "-> acme"},
		{"TT30", get(inOrg(ownUser("acme", "read:users"), "b2b", "org_b2b"), "acme"), sayOrgToken},
		{"TT31 user", get(cpUser("read:roles"), cp), sayNoUsers},
		{"TT31 admin", get(cpUser("admin:organizations"), cp, "acme"), sayNoUsers},
		{"TT31 org", get(inAcme(cpUser()), "acme"), sayNoUsers},
		{"TT31 own", get(ownMachine("acme", "read:user", "users:read", "read:*", "*"), "acme"), sayNoUsers}, // C9.16
		{"TT32", get(admin, "nope"), sayNoTenant},
		{"TT32 none", get(nil, "nope"), sayNoTenant},
		{"TT33", visible(w.request(cpUser(), cp)), "-> those of auth0|ann"},
		{"TT33 org", visible(w.request(inAcme(cpUser("read:tenants")), cp)), "-> those of auth0|ann"},
		{"TT33 C9.20", visible(w.request(inAcme(cpUser("admin:organizations")), cp)), "-> those of auth0|ann"},
		{"TT34 admin", visible(w.request(cpUser("admin:organizations"), cp)), "-> all"},
		{"TT34 machine", visible(w.request(cpMachine("read:tenants"), cp)), "-> all"},
		{"TT35", visible(w.request(cpMachine("read:users"), cp)), "403 insufficient_scope Insufficient scope, expected any of: read:tenants"},
		{"TT36", visible(w.request(ownMachine("acme", "read:tenants"), "acme")), sayCpOnly},
		{"TT37", shown("created", AccessNewTenant(w.request(cpUser("create:tenants"), cp), false)), "-> created"},
		{
			"TT38", shown("created", AccessNewTenant(w.request(inAcme(cpUser("create:tenants")), cp), true)),
			"403 organization_token_not_allowed Tenants can only be created with a control-plane token without organization",
		},
		{"TT39 acme", deleted(w.request(inAcme(cpUser("delete:tenants")), cp), "acme"), "-> acme"},
		{"TT39 widgets", deleted(w.request(inAcme(cpUser("delete:tenants")), cp), "widgets"), sayNoRight},
		{"TT39 ghost", deleted(w.request(inAcme(cpUser("delete:tenants")), cp), "ghost"), sayNoRight},
		{"TT40", deleted(w.request(cpUser("delete:tenants", "admin:organizations"), cp), cp), "403 system_resource Cannot delete the control plane"},
		{"TT40 ghost", deleted(w.request(cpUser("delete:tenants", "admin:organizations"), cp), "ghost"), sayNoTenant},
		{"TT41", asked(halted.request(ann, cp), users), saySuspended},
		{"TT41 acme", asked(halted.request(ann, "acme"), users), saySuspended},
		{"TT42", asked(halted.request(admin, cp, "acme"), users), "-> acme"},
		{"TT42 write", asked(halted.request(cpUser("update:users", "admin:organizations"), cp, "acme"), Route{AnyOf: []string{"update:users"}, Write: true}), saySuspended},
	} {
		if row.got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, row.got, row.want)
		}
	}
}

// TestAccessHeader: C1.14, and C2.68 where the header has no effect.
func TestAccessHeader(t *testing.T) {
	t.Parallel()
	w := newAccessWorld()
	admin := cpUser("admin:organizations")
	reserved := func(id string) error {
		if id == "www" {
			return errors.New("reserved")
		}
		return nil
	}
	const (
		twice   = "400 tenant_mismatch tenant-id header is given more than once"
		invalid = "400 tenant_mismatch tenant-id header is not a tenant id"
		against = "400 tenant_mismatch tenant-id header does not match the token"
	)
	for _, tc := range []struct {
		c         *Credential
		host      string
		header, x []string
		registry  bool
		want      string
	}{
		{admin, "control_plane", []string{"acme"}, []string{"ACME"}, false, "-> acme"},
		{admin, "control_plane", nil, []string{"acme"}, false, "-> acme"},
		{admin, "control_plane", []string{"acme", "acme"}, nil, false, twice},
		{admin, "control_plane", nil, []string{"acme", "acme"}, false, twice},
		{admin, "control_plane", []string{"acme"}, []string{"acme", "acme"}, false, twice},
		{admin, "control_plane", []string{"acme"}, []string{""}, false, twice},
		{admin, "control_plane", []string{""}, nil, false, invalid},
		{admin, "control_plane", []string{"acme,widgets"}, nil, false, invalid},
		{admin, "control_plane", []string{"a.b"}, nil, false, invalid},
		{admin, "control_plane", []string{"www"}, nil, false, invalid},
		{admin, "control_plane", []string{"org_acme"}, nil, false, invalid},
		{admin, "control_plane", []string{"Control_Plane"}, nil, false, "-> control_plane"},
		{admin, "acme", []string{"control_plane"}, nil, false, sayWrongHost},
		{cpUser(), "acme", []string{"widgets"}, nil, false, sayWrongHost}, // before the right: C2.60
		{nil, "acme", []string{"widgets"}, nil, false, sayNoAuth},         // after the token
		{admin, "control_plane", []string{"control_plane"}, nil, true, "-> control_plane"},
		{admin, "control_plane", []string{"acme"}, nil, true, against},
		{admin, "control_plane", []string{"acme", "acme"}, nil, true, twice},
		{inAcme(cpUser()), "control_plane", []string{"widgets"}, nil, true, against},
		{inAcme(cpUser()), "control_plane", []string{"ghost"}, nil, true, against},
		{inOrg(cpUser(), "acme", "org_former_acme"), "control_plane", []string{"acme"}, nil, true, against},
		{inAcme(cpUser()), "control_plane", []string{"acme"}, nil, true, "403 tenant_access_denied Access denied to tenant control_plane"}, // C9.10
		{inOrg(cpUser(), "widgets", "org_acme"), "control_plane", []string{"acme"}, nil, true, against},
		{inAcme(cpUser()), "acme", []string{"widgets"}, nil, true, sayCpOnly},
		{ownUser("acme"), "acme", nil, nil, true, sayCpOnly}, // C9.12
	} {
		req := w.request(tc.c, tc.host, tc.header...)
		req.XHeader, req.ValidID = tc.x, reserved
		if got := asked(req, Route{ControlPlaneOnly: tc.registry}); got != tc.want {
			t.Errorf("%+v at %s, tenant-id %q, X-Tenant-ID %q, registry %v:\n got %s\nwant %s", tc.c, tc.host, tc.header, tc.x, tc.registry, got, tc.want)
		}
	}
}

// TestAccessOrganizations: C2.64 and C2.67 where the truth table is silent.
func TestAccessOrganizations(t *testing.T) {
	t.Parallel()
	w := newAccessWorld()
	partners := inOrg(cpUser("read:users", "admin:organizations"), "partners", "org_partners")
	named := inOrg(cpUser("read:users", "admin:organizations"), "control_plane", "org_cp")
	misnamed := inOrg(cpUser("read:users"), "widgets", "org_acme")
	denied := "403 tenant_access_denied Access denied to tenant "
	confused := w.request(cpUser("read:users", "admin:organizations"), "control_plane", "acme")
	confused.Lookup = func(string) (TenantRef, bool) { return w["widgets"], true }
	empty := w.request(inOrg(cpUser("read:users"), "", "org_x"), "control_plane")
	empty.LinkedTenant = func(string) (TenantRef, bool) { return TenantRef{}, true }
	for _, tc := range []struct {
		name string
		req  AccessRequest
		want string
	}{
		{"directory finds another", confused, sayNoTenant},
		{"directory finds nothing", empty, sayOrgToken},
		{"linked to none", w.request(partners, "control_plane"), sayOrgToken},
		{"linked to none, header", w.request(partners, "control_plane", "acme"), sayOrgToken},
		{"linked to none, ghost", w.request(partners, "control_plane", "ghost"), sayOrgToken},
		{"linked to none, host", w.request(partners, "acme"), sayOrgToken},
		{"named like the control plane", w.request(named, "control_plane"), "-> control_plane"},
		{"named like the control plane, header", w.request(named, "control_plane", "acme"), denied + "acme"},
		{"named like the control plane, host", w.request(named, "acme"), denied + "acme"},
		{"former organization of the control plane", w.request(inOrg(cpUser(), "control_plane", "org_x"), "control_plane"), sayOrgToken},
		{"name of another tenant", w.request(misnamed, "acme"), denied + "acme"},
		{"name of another tenant", w.request(misnamed, "widgets"), denied + "widgets"},
		{"name without id", w.request(inOrg(cpUser("admin:organizations"), "acme", ""), "acme"), denied + "acme"},
		{"id without name", w.request(inOrg(cpUser("admin:organizations"), "", "org_acme"), "acme"), denied + "acme"},
		{"former tenant, no header", w.request(inOrg(cpUser(), "acme", "org_former_acme"), "control_plane"), sayOrgToken},
		{"own token with the linked organization", w.request(inAcme(ownUser("acme", "read:users")), "acme"), sayOrgToken},
		{
			"own token with admin:organizations", w.request(ownUser("acme", "admin:organizations"), "widgets"),
			`401 invalid_token Unexpected issuer "https://acme/"; expected "https://widgets/"`,
		},
		{"no functions", AccessRequest{Host: w["control_plane"], Credential: inAcme(cpUser("read:users"))}, sayOrgToken},
		{"no functions, admin", AccessRequest{Host: w["control_plane"], Credential: cpUser("admin:organizations"), Header: []string{"acme"}}, sayNoTenant},
		{
			"another control plane",
			AccessRequest{Host: w["acme"], Credential: cpUser("admin:organizations"), ControlPlane: "main"},
			`401 invalid_token Unexpected issuer ""; expected ""`,
		},
	} {
		if got := asked(tc.req, Route{AnyOf: []string{"read:users"}}); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// TestAccessState: C1.17 to C1.21, reads and writes, by every kind of caller.
func TestAccessState(t *testing.T) {
	t.Parallel()
	callers := map[string]func(w accessWorld) AccessRequest{
		"own": func(w accessWorld) AccessRequest { return w.request(ownMachine("acme"), "acme") },
		"org": func(w accessWorld) AccessRequest { return w.request(inAcme(cpUser()), "control_plane") },
		"admin": func(w accessWorld) AccessRequest {
			return w.request(cpUser("admin:organizations"), "control_plane", "acme")
		},
		"user": func(w accessWorld) AccessRequest { return w.request(cpUser(), "control_plane", "acme") },
	}
	for _, tc := range []struct {
		state            State
		own, read, write string // write is the platform admin's
	}{
		{StateActive, "-> acme", "-> acme", "-> acme"},
		{StateSuspended, saySuspended, "-> acme", saySuspended},
		{StateProvisioning, sayNotAvailable, sayNotAvailable, sayNotAvailable},
		{StateFailed, sayNotAvailable, sayNotAvailable, sayNotAvailable},
		{StateDeleting, sayNoTenant, sayNoTenant, sayNoTenant},
		{"", sayNotAvailable, sayNotAvailable, sayNotAvailable},
		{"new", sayNotAvailable, sayNotAvailable, sayNotAvailable},
	} {
		w := newAccessWorld().with("acme", tc.state)
		for _, write := range []bool{false, true} {
			want := map[string]string{"own": tc.own, "org": tc.own, "admin": tc.read, "user": sayNoOrg}
			if write {
				want["admin"] = tc.write
			}
			for caller, req := range callers {
				if got := asked(req(w), Route{Write: write}); got != want[caller] {
					t.Errorf("%q, %s, write %v: got %s, want %s", tc.state, caller, write, got, want[caller])
				}
			}
		}
	}
}

// TestAccessAnswer: scopes of every form (C2.66), and the headers of C2.69.
func TestAccessAnswer(t *testing.T) {
	t.Parallel()
	w := newAccessWorld()
	either := Route{AnyOf: []string{"read:users", "read:clients"}}
	every := Route{AllOf: []string{"read:roles", "read:users"}}
	for _, tc := range []struct {
		req    AccessRequest
		route  Route
		want   string
		header string // WWW-Authenticate or Retry-After
	}{
		{w.request(nil, "acme"), either, sayNoAuth, "Bearer"},
		{w.request(ownUser("acme"), "widgets"), either, `401 invalid_token Unexpected issuer "https://acme/"; expected "https://widgets/"`, `Bearer error="invalid_token"`},
		{w.request(ownUser("acme", "read:clients"), "acme"), either, "-> acme", ""},
		{w.request(ownMachine("acme", "read:users"), "acme"), either, "-> acme", ""},
		{
			w.request(ownUser("acme"), "acme"), either, "403 insufficient_scope Insufficient scope, expected any of: read:users, read:clients",
			`Bearer error="insufficient_scope", scope="read:users read:clients"`,
		},
		{w.request(ownUser("acme", "read:roles", "read:users"), "acme"), every, "-> acme", ""},
		{w.request(ownUser("acme", "read:roles"), "acme"), every, sayNoUsers, `Bearer error="insufficient_scope", scope="read:users"`},
		{w.request(ownUser("acme"), "acme"), Route{}, "-> acme", ""},
		{w.request(cpUser("read:sync"), "control_plane"), Route{AnyOf: []string{"read:sync"}, ControlPlaneOnly: true}, "-> control_plane", ""},
		{w.with("acme", StateFailed).request(ownUser("acme"), "acme"), Route{}, sayNotAvailable, "5"},
	} {
		x, err := Access(tc.req, tc.route)
		if got := shown(x.ID, err); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
		var e *Error
		if header := ""; errors.As(err, &e) {
			header = e.Header["WWW-Authenticate"] + e.Header["Retry-After"]
			if header != tc.header {
				t.Errorf("%s: got header %q, want %q", tc.want, header, tc.header)
			}
		}
	}
}

// TestAccessTeam: C5.105.
func TestAccessTeam(t *testing.T) {
	t.Parallel()
	const refused = "403 tenant_access_denied Managing this tenant's team requires an organization token whose org_name matches the tenant."
	w := newAccessWorld()
	admin := cpUser("admin:organizations", "read:organization_members")
	ann := inAcme(cpUser("read:organization_members"))
	for _, tc := range []struct {
		name string
		req  AccessRequest
		want string
	}{
		{"organization", w.request(ann, "control_plane"), "-> acme"},
		{"organization at its host", w.request(ann, "acme"), "-> acme"},
		{"SC-106", w.request(ann, "control_plane", "widgets"), refused},
		{"organization elsewhere", w.request(ann, "widgets"), refused},
		{"admin with header", w.request(admin, "control_plane", "acme"), "-> acme"},
		{"admin at the tenant's host", w.request(admin, "acme"), "-> acme"},
		{"admin without header", w.request(admin, "control_plane"), refused},
		{"admin with an unknown header", w.request(admin, "control_plane", "ghost"), sayNoTenant},
		{"person", w.request(cpUser("read:organization_members"), "control_plane", "acme"), refused},
		{"own", w.request(ownUser("acme", "read:organization_members"), "acme"), refused},
		{"own with the linked organization", w.request(inAcme(ownUser("acme", "read:organization_members")), "acme"), refused},
		{"scope", w.request(inAcme(cpUser()), "acme"), "403 insufficient_scope Insufficient scope, expected any of: read:organization_members"},
	} {
		if got := asked(tc.req, Route{AnyOf: []string{"read:organization_members"}, TeamRoute: true}); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}
