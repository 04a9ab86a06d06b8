package tenancy

import (
	"fmt"
	"net/http"
)

// Visible says which tenants a credential may list. The zero value is none.
type Visible struct {
	All         bool   // every tenant
	OnlySubject string // unless All: those whose linked organization has this member
}

// AccessTenants decides whose tenants GET /tenants lists (C5.20, TT33 to TT36):
// all for a platform admin and for a machine without organization that holds
// read:tenants, a person's own for any other person.
func AccessTenants(req AccessRequest) (Visible, error) {
	if err := req.enterRegistry(""); err != nil {
		return Visible{}, err
	}
	c := req.Credential
	if c.PlatformAdmin(req.cp()) {
		return Visible{All: true}, nil
	}
	if c.User {
		return Visible{OnlySubject: c.Subject}, nil
	}
	if err := scopeError(c, Route{AnyOf: []string{"read:tenants"}}); err != nil {
		return Visible{}, err
	}
	if c.hasOrg() {
		return Visible{}, forbidden("tenant_access_denied", "Access denied to tenant "+req.cp())
	}
	return Visible{All: true}, nil
}

// AccessNewTenant decides who may POST /tenants (C5.21, TT37, TT38): a token
// without organization that holds create:tenants or, where the control plane's
// flag self_service_tenants is set, is a person's.
func AccessNewTenant(req AccessRequest, selfService bool) error {
	if err := req.enterRegistry(""); err != nil {
		return err
	}
	if req.Credential.hasOrg() {
		return forbidden("organization_token_not_allowed", "Tenants can only be created with a control-plane token without organization")
	}
	if selfService && req.Credential.User {
		return nil
	}
	return scopeError(req.Credential, Route{AnyOf: []string{"create:tenants"}})
}

// MemberFunc reports whether the control plane's user sub is a member of its
// organization orgID. It reports false for an organization that does not exist,
// also for "", after asking its store as for any other: the answer for an unknown
// tenant must take as long. An error is answered with 503.
type MemberFunc func(orgID, sub string) (bool, error)

// AccessTenant decides who may use a route below /tenants/{id} (C5.22 to C5.32,
// TT39, TT40) and returns that tenant as the directory knows it, in whatever state.
// The order is scope, route.Spares (403), right (403), existence (404). A right to
// the tenant id has
//
//   - a platform admin;
//   - a machine of the control plane without organization;
//   - the tenant's own organization token, while the tenant serves it (C1.17 to C1.21);
//   - a person without organization who is a member of the tenant's;
//   - where the route names no scope, as GET /tenants/{id}: any person who is a
//     member, but a machine only with read:tenants.
//
// For everybody else the answer is one and the same, whether id exists or not.
func AccessTenant(req AccessRequest, route Route, id string, member MemberFunc) (TenantRef, error) {
	if err := req.enterRegistry(id); err != nil {
		return TenantRef{}, err
	}
	if err := scopeError(req.Credential, route); err != nil {
		return TenantRef{}, err
	}
	if route.Spares != "" && id == req.cp() {
		return TenantRef{}, forbidden("system_resource", "Cannot "+route.Spares+" the control plane")
	}
	x, found := req.tenant(id)
	ok, err := req.registryRight(x, found, len(route.AnyOf)+len(route.AllOf) == 0, member)
	switch {
	case err != nil:
		return TenantRef{}, err
	case !ok:
		return TenantRef{}, forbidden("tenant_access_denied", "Access denied to this tenant")
	case !found:
		return TenantRef{}, tenantNotFound()
	}
	return x, nil
}

// AccessOperation decides who may use a route below /operations/{id} (C5.28):
// whoever has a right to the operation's tenant, as in [AccessTenant], which may
// be gone by now. tenantID is "" for an operation that does not exist; its answer
// is the same 404 as for an operation of a foreign tenant.
func AccessOperation(req AccessRequest, route Route, tenantID string, member MemberFunc) error {
	if err := req.enterRegistry(""); err != nil {
		return err
	}
	if err := scopeError(req.Credential, route); err != nil {
		return err
	}
	x, found := req.tenant(tenantID)
	ok, err := req.registryRight(x, found, false, member)
	if err == nil && (!ok || tenantID == "") {
		err = Errorf(http.StatusNotFound, "not_found", "Operation not found")
	}
	return err
}

// registryRight reports whether the caller has a right to x in the registry; view
// is the weaker right to look at it. x.ID is set also when x was not found.
func (r *AccessRequest) registryRight(x TenantRef, found, view bool, member MemberFunc) (bool, error) {
	c := r.Credential
	switch {
	case c.PlatformAdmin(r.cp()):
		return true, nil
	case view && !c.User && !c.Has("read:tenants"):
		return false, nil
	case c.isFor(x) && view:
		return true, nil
	case c.isFor(x):
		err := stateError(x.State, false)
		return err == nil, err
	case !c.User:
		return !c.hasOrg(), nil
	case c.hasOrg() && !view, member == nil:
		return false, nil
	}
	ok, err := member(x.OrganizationID, c.Subject)
	if err != nil {
		return false, Unavailable(fmt.Errorf("membership in the organization of tenant %q: %w", x.ID, err), "")
	}
	return ok && found && x.OrganizationID != "", nil
}

// enterRegistry admits the caller to a route on the registry itself and refuses
// an organization that is linked to no tenant (C2.67). id is the tenant the path
// names, "" for none.
func (r *AccessRequest) enterRegistry(id string) error {
	if err := r.admit(); err != nil {
		return err
	}
	if _, err := r.registry(); err != nil {
		return err
	}
	return r.unlinked(id)
}
