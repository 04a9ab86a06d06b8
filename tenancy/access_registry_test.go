package tenancy

import (
	"errors"
	"net/http"
	"testing"
)

// TestAccessRegistry: C5.20 to C5.28 where the truth table is silent.
func TestAccessRegistry(t *testing.T) {
	t.Parallel()
	const cp = "control_plane"
	const noOperation = "404 not_found Operation not found"
	w := newAccessWorld()
	tenant := func(c *Credential, id string, scopes ...string) string {
		x, err := AccessTenant(w.request(c, cp), Route{AnyOf: scopes}, id, accessMember)
		return shown(x.ID, err)
	}
	operation := func(c *Credential, id string, scopes ...string) string {
		return shown("operation", AccessOperation(w.request(c, cp), Route{AnyOf: scopes}, id, accessMember))
	}
	create := func(c *Credential, selfService bool) string {
		return shown("created", AccessNewTenant(w.request(c, cp), selfService))
	}
	bob := func(scopes ...string) *Credential { c := cpUser(scopes...); c.Subject = "auth0|bob"; return c }
	partners := inOrg(cpUser("update:tenants"), "partners", "org_partners")
	former := inOrg(cpUser("update:tenants"), "acme", "org_former_acme")
	noScope := func(s string) string { return "403 insufficient_scope Insufficient scope, expected any of: " + s }
	halted := w.with("acme", StateSuspended)
	haltedOrg, haltedErr := AccessTenant(halted.request(inAcme(cpUser("update:tenants")), cp), Route{AnyOf: []string{"update:tenants"}}, "acme", accessMember)
	haltedView, viewErr := AccessTenant(halted.request(inAcme(cpUser()), cp), Route{}, "acme", accessMember)
	haltedAdmin, adminErr := AccessTenant(w.with("acme", StateDeleting).request(cpUser("admin:organizations"), cp), Route{Write: true}, "acme", accessMember)

	for _, row := range []struct{ name, got, want string }{
		{"GET member", tenant(cpUser(), "acme"), "-> acme"},
		{"GET member, other org", tenant(inOrg(cpUser(), "widgets", "org_widgets"), "acme"), "-> acme"},
		{"GET stranger", tenant(bob(), "acme"), sayNoRight},
		{"GET stranger, ghost", tenant(bob(), "ghost"), sayNoRight},
		{"GET org", tenant(inAcme(bob()), "acme"), "-> acme"},
		{"GET machine", tenant(cpMachine("read:tenants"), "acme"), "-> acme"},
		{"GET machine, ghost", tenant(cpMachine("read:tenants"), "ghost"), sayNoTenant},
		{"GET machine without scope", tenant(cpMachine(), "acme"), sayNoRight},
		{"GET machine, org", tenant(inAcme(cpMachine("read:tenants")), "acme"), "-> acme"},
		{"GET machine, other org", tenant(inAcme(cpMachine("read:tenants")), "widgets"), sayNoRight},
		{"GET control plane", tenant(cpUser(), cp), sayNoRight},
		{"GET control plane, its org", tenant(inOrg(cpUser(), cp, "org_cp"), cp), "-> control_plane"},
		{"GET admin", tenant(cpUser("admin:organizations"), "widgets"), "-> widgets"},
		{"GET linked to none", tenant(partners, "acme"), sayOrgToken},
		{"PATCH member", tenant(cpUser("update:tenants"), "acme", "update:tenants"), "-> acme"},
		{"PATCH member, other org", tenant(inOrg(cpUser("update:tenants"), "widgets", "org_widgets"), "acme", "update:tenants"), sayNoRight},
		{"PATCH no scope", tenant(inAcme(cpUser()), "acme", "update:tenants"), noScope("update:tenants")},
		{"PATCH machine", tenant(cpMachine("update:tenants"), "acme", "update:tenants"), "-> acme"},
		{"PATCH former org", tenant(former, "acme", "update:tenants"), sayNoRight},
		{"PATCH former org elsewhere", tenant(former, "ghost", "update:tenants"), sayOrgToken},
		{"platform scope in an org", tenant(inAcme(cpUser("suspend:tenants")), "acme", "suspend:tenants"), noScope("suspend:tenants")},
		{"suspended, org", shown(haltedOrg.ID, haltedErr), saySuspended},
		{"suspended, org looks", shown(haltedView.ID, viewErr), "-> acme"},
		{"deleting, admin", shown(string(haltedAdmin.State), adminErr), "-> deleting"},
		{"DELETE control plane, no right", deleted(w.request(inAcme(cpUser("delete:tenants")), cp), cp), "403 system_resource Cannot delete the control plane"},
		{"DELETE at a tenant's host", deleted(w.request(inAcme(cpUser("delete:tenants")), "acme"), "acme"), sayCpOnly},
		{"DELETE no token", deleted(w.request(nil, cp), "acme"), sayNoAuth},
		{"list, machine with org", visible(w.request(inAcme(cpMachine("read:tenants")), cp)), "403 tenant_access_denied Access denied to tenant control_plane"},
		{"list, half an organization", visible(w.request(inOrg(cpUser(), "", "org_partners"), cp)), sayOrgToken},
		{"list, linked to none", visible(w.request(partners, cp)), sayOrgToken},
		{"POST self service", create(cpUser(), true), "-> created"},
		{"POST self service off", create(cpUser(), false), noScope("create:tenants")},
		{"POST self service, machine", create(cpMachine(), true), noScope("create:tenants")},
		{"operation own", operation(inAcme(cpUser("s")), "acme", "s"), "-> operation"},
		{"operation foreign", operation(inAcme(cpUser("s")), "widgets", "s"), noOperation},
		{"operation unknown", operation(inAcme(cpUser("s")), "", "s"), noOperation},
		{"operation unknown, admin", operation(cpUser("s", "admin:organizations"), "", "s"), noOperation},
		{"operation of a deleted tenant", operation(cpUser("s", "admin:organizations"), "ghost", "s"), "-> operation"},
		{"operation of a deleted tenant, org", operation(inAcme(cpUser("s")), "ghost", "s"), noOperation},
		{"operation without scope", operation(inAcme(cpUser()), "acme", "s"), noScope("s")},
	} {
		if row.got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.name, row.got, row.want)
		}
	}
	everywhere := func(string, string) (bool, error) { return true, nil }
	young := w.with("acme", StateProvisioning)
	young["acme"] = TenantRef{ID: "acme", State: StateProvisioning}
	for _, id := range []string{"acme", "ghost"} { // without an organization there are no members
		x, err := AccessTenant(young.request(cpUser(), cp), Route{}, id, everywhere)
		if got := shown(x.ID, err); got != sayNoRight {
			t.Errorf("%s: got %s, want %s", id, got, sayNoRight)
		}
	}
	broken := func(string, string) (bool, error) { return true, errors.New("disk on fire") }
	for _, id := range []string{"widgets", "ghost"} { // C0.11
		if _, err := AccessTenant(w.request(cpUser(), cp), Route{}, id, broken); StatusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("a store that fails answers %v, want 503", err)
		}
	}
}
