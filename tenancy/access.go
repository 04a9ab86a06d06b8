package tenancy

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Credential is what is known of a verified bearer token. Whoever fills it in has
// checked signature, issuer, times and audience (C2.60, up to "tenant_id equals
// the issuer's tenant"); a token that failed one of them never becomes one. The
// zero value is a token of no tenant and may do nothing.
type Credential struct {
	TenantID          string // the tenant that minted it: claim tenant_id
	Issuer            string // claim iss; used only in the text of an error
	Subject, ClientID string
	OrgID, OrgName    string // both "" for a token without organization
	Permissions       []string
	Scopes            []string
	User              bool // a person's; false for client_credentials
}

// Has reports whether scope is among the permissions or the scopes (C2.66). It
// compares whole strings: no scope implies another (C2.17).
func (c *Credential) Has(scope string) bool {
	return slices.Contains(c.Permissions, scope) || slices.Contains(c.Scopes, scope)
}

// PlatformAdmin reports whether c may act on every tenant (C2.62): a token of the
// control plane cp, without organization, that holds admin:organizations.
func (c *Credential) PlatformAdmin(cp string) bool {
	return c.TenantID != "" && c.TenantID == cp && !c.hasOrg() && c.Has(ScopePlatformAdmin)
}

// hasOrg takes half an organization for one: it can only lose by it.
func (c *Credential) hasOrg() bool { return c.OrgID != "" || c.OrgName != "" }

// isFor reports whether c was issued for the organization linked to x: by id, so
// that an earlier tenant of the same name does not count (TT21), and by name.
func (c *Credential) isFor(x TenantRef) bool {
	return c.OrgID != "" && c.OrgID == x.OrganizationID && c.OrgName == x.ID
}

// holds reports whether c has scope where it acts: an organization token never
// has a scope of the platform class, whatever a role in that organization says
// (C5.16, C9.20).
func (c *Credential) holds(scope string) bool {
	return c.Has(scope) && !(c.hasOrg() && slices.Contains(PlatformScopes, scope))
}

// TenantRef is the little a decision needs to know of a tenant. The directory
// fills it in from memory. The zero value is no tenant.
type TenantRef struct {
	ID string

	// OrganizationID is the id of the linked organization; of the control plane,
	// that of the organization named like it (C2.1). "" while there is none.
	OrganizationID string

	// State decides what is served (C1.17 to C1.21). A state that is empty or
	// unknown serves nothing; the control plane's is always StateActive.
	State State

	ControlPlane bool // for readers; decisions compare ids
}

// Route is what a route asks of its caller. The zero value asks for a token that
// may act on the target, and is a read.
type Route struct {
	AnyOf []string // one of these scopes is enough; empty: none is asked for
	AllOf []string // each of these is needed as well ("+" in the contract)
	Write bool     // changes something; HEAD is a read like GET (C0.7)

	// ControlPlaneOnly is set for /operations*, /sync* and /tenants* without
	// /tenants/settings* (C2.68). Such a route acts on the control plane, so that
	// an organization token is refused; routes that let one in decide by
	// [AccessTenants], [AccessNewTenant], [AccessTenant] or [AccessOperation].
	ControlPlaneOnly bool

	// TeamRoute is set for /tenant-members*: only the target's own organization
	// token, or a platform admin who names the target, gets in (C5.105).
	TeamRoute bool

	// Spares is a verb that no caller can do to the control plane, e.g. "delete":
	// [AccessTenant] answers 403 `Cannot delete the control plane`. "" spares nothing.
	Spares string
}

// AccessRequest is everything a decision may look at. All of it is in memory:
// deciding reads no database (C1.26).
type AccessRequest struct {
	// Host is the tenant the request's host resolved to; the zero value is none.
	Host TenantRef

	// Issuer is the issuer expected on that host; used only in the text of an error.
	Issuer string

	// Header holds the raw values of header tenant-id, XHeader those of its other
	// spelling X-Tenant-ID. They are apart because the same value may come once in
	// each, but not twice in one (C1.14). nil or empty means not sent.
	Header, XHeader []string

	Credential   *Credential // nil means no token was sent
	ControlPlane string      // id of the control plane; "" means DefaultControlPlane

	// Lookup finds a tenant by id, LinkedTenant by the id of its linked
	// organization. nil functions find nothing.
	Lookup, LinkedTenant func(id string) (TenantRef, bool)

	// ValidID is [Hosts.ValidTenantID]. nil means that the grammar alone decides.
	ValidID func(id string) error
}

// Access decides who may act on which tenant: it returns the target of a request
// to /api/v2, or the [*Error] it is answered with. The order of checks is that of
// C2.60, and the first failure answers:
//
//   - the host names a tenant (404), a token was sent and is one of this host's
//     tenant or of the control plane (401; C2.61);
//   - the target: the header's tenant, else the token's, else the host's (C2.63);
//     a header the host or its own other spelling contradicts is 400 (C1.14);
//   - the right to act on it (403; C2.64, C2.65, C2.67). Who has none learns
//     nothing about the target, not even whether it exists (C1.16);
//   - that it exists (404), and its state (403, 404 or 503; C1.17 to C1.21);
//   - the scopes (403; C2.66).
func Access(req AccessRequest, route Route) (TenantRef, error) {
	if err := req.admit(); err != nil {
		return TenantRef{}, err
	}
	find := req.target
	if route.ControlPlaneOnly {
		find = req.registry
	}
	target, err := find()
	if err != nil {
		return TenantRef{}, err
	}
	if route.TeamRoute {
		err = req.teamRight(target)
	} else {
		err = req.right(target)
	}
	if err != nil {
		return TenantRef{}, err
	}
	admin := req.Credential.PlatformAdmin(req.cp())
	if err := stateError(target.State, admin && !route.Write); err != nil {
		return TenantRef{}, err
	}
	if err := scopeError(req.Credential, route); err != nil {
		return TenantRef{}, err
	}
	return target, nil
}

func (r *AccessRequest) cp() string { return cmp.Or(r.ControlPlane, DefaultControlPlane) }

// admit checks what comes before the target: host, token, issuer.
func (r *AccessRequest) admit() error {
	c := r.Credential
	switch {
	case r.Host.ID == "" || r.Host.State == StateDeleting:
		return tenantNotFound()
	case c == nil:
		return unauthorized("Missing authentication", "Bearer")
	case c.TenantID != r.Host.ID && c.TenantID != r.cp():
		return unauthorized(fmt.Sprintf("Unexpected issuer %q; expected %q", c.Issuer, r.Issuer), `Bearer error="invalid_token"`)
	}
	return nil
}

// target finds the tenant an ordinary route acts on (C2.63). A tenant that is
// unknown comes back as one being deleted: from outside they are alike (C1.21).
func (r *AccessRequest) target() (TenantRef, error) {
	name, err := r.named()
	switch {
	case err != nil:
		return TenantRef{}, err
	case r.Host.ID != r.cp() && name != "" && name != r.Host.ID:
		return TenantRef{}, mismatch("tenant-id header does not match the host")
	case r.Host.ID != r.cp():
		return r.Host, nil
	case name != "":
		x, found := r.tenant(name)
		if !found {
			x.State = StateDeleting
		}
		return x, nil
	case !r.Credential.hasOrg() || r.Credential.isFor(r.Host):
		return r.Host, nil
	}
	if x, ok := r.linked(); ok {
		return x, nil
	}
	return TenantRef{}, orgTokenNotAllowed()
}

// registry is the target of a route that works on the control plane only, where
// the header has no effect but must not contradict (C2.68).
func (r *AccessRequest) registry() (TenantRef, error) {
	if r.Host.ID != r.cp() { // and on it, admit lets no token in but its own
		return TenantRef{}, forbidden("control_plane_only", "Tenants can only be managed from the control plane")
	}
	name, err := r.named()
	if err != nil {
		return TenantRef{}, err
	}
	if own, ok := r.linked(); name != "" && name != r.cp() && !(ok && own.ID == name && r.Credential.isFor(own)) {
		return TenantRef{}, mismatch("tenant-id header does not match the token")
	}
	return r.Host, nil
}

// named returns the tenant id in the header, "" where there is none (C1.14).
func (r *AccessRequest) named() (string, error) {
	values := slices.Concat(r.Header, r.XHeader)
	for i, value := range values {
		values[i] = lowerASCII(value)
	}
	switch {
	case len(values) == 0:
		return "", nil
	case len(r.Header) > 1 || len(r.XHeader) > 1 || values[0] != values[len(values)-1]:
		return "", mismatch("tenant-id header is given more than once")
	}
	name := values[0]
	valid := isTenantID(name)
	if r.ValidID != nil {
		valid = valid && r.ValidID(name) == nil
	}
	if !valid && name != r.cp() {
		return "", mismatch("tenant-id header is not a tenant id")
	}
	return name, nil
}

// tenant finds a tenant by id; what comes back has that id in any case.
func (r *AccessRequest) tenant(id string) (TenantRef, bool) {
	if id == r.Host.ID {
		return r.Host, true
	}
	if r.Lookup != nil {
		if x, ok := r.Lookup(id); ok && x.ID == id {
			return x, true
		}
	}
	return TenantRef{ID: id}, false
}

// linked finds the tenant whose linked organization the token is for.
func (r *AccessRequest) linked() (TenantRef, bool) {
	if r.LinkedTenant == nil || r.Credential.OrgID == "" {
		return TenantRef{}, false
	}
	x, ok := r.LinkedTenant(r.Credential.OrgID)
	return x, ok && x.ID != ""
}

// right decides whether the caller may act on x, which may not exist.
func (r *AccessRequest) right(x TenantRef) error {
	c := r.Credential
	switch {
	case c.TenantID != r.cp() && c.hasOrg():
		return orgTokenNotAllowed()
	case c.TenantID != r.cp() && c.TenantID == x.ID: // C2.65
		return nil
	case c.TenantID != r.cp():
		return forbidden("tenant_access_denied", "Access denied to tenant "+x.ID)
	case c.PlatformAdmin(r.cp()), c.isFor(x), x.ID == r.cp() && !c.hasOrg():
		return nil
	case !c.hasOrg():
		return forbidden("organization_required", "Access denied to tenant "+x.ID+": the token has no organization")
	}
	if err := r.unlinked(x.ID); err != nil {
		return err
	}
	return forbidden("tenant_access_denied", "Access denied to tenant "+x.ID)
}

// unlinked refuses a control-plane token whose organization is linked to no tenant
// (C2.67). It leaves two to be judged as any other tenant's: the organization named
// like the control plane, and one named like the tenant id in question, which was
// linked to a former tenant of that id (TT21).
func (r *AccessRequest) unlinked(id string) error {
	c := r.Credential
	if _, ok := r.linked(); ok || !c.hasOrg() || c.OrgName != "" && (c.OrgName == r.cp() || c.OrgName == id) {
		return nil
	}
	return orgTokenNotAllowed()
}

// teamRight is right for the routes on the target's team (C5.105).
func (r *AccessRequest) teamRight(x TenantRef) error {
	c := r.Credential
	named := r.Host.ID != r.cp() || len(r.Header)+len(r.XHeader) > 0
	if c.TenantID == r.cp() && (c.isFor(x) || named && c.PlatformAdmin(r.cp())) {
		return nil
	}
	return forbidden("tenant_access_denied",
		"Managing this tenant's team requires an organization token whose org_name matches the tenant.")
}

// stateError is what a tenant in state s answers; adminRead is a read by a
// platform admin, who may look into a suspended tenant.
func stateError(s State, adminRead bool) error {
	switch s {
	case StateActive:
		return nil
	case StateDeleting:
		return tenantNotFound()
	case StateSuspended:
		if adminRead {
			return nil
		}
		return forbidden("tenant_suspended", "Tenant is suspended")
	}
	err := Errorf(http.StatusServiceUnavailable, "tenant_unavailable", "Tenant is not available")
	err.Header = map[string]string{"Retry-After": "5"}
	return err
}

// scopeError names the scopes that are missing (C2.66).
func scopeError(c *Credential, route Route) error {
	missing := slices.DeleteFunc(slices.Clone(route.AllOf), c.holds)
	if len(missing) == 0 && len(route.AnyOf) > 0 && !slices.ContainsFunc(route.AnyOf, c.holds) {
		missing = route.AnyOf
	}
	if len(missing) == 0 {
		return nil
	}
	err := Errorf(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: %s", strings.Join(missing, ", "))
	err.Header = map[string]string{
		"WWW-Authenticate": fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(missing, " ")),
	}
	return err
}

func unauthorized(message, challenge string) *Error {
	err := Errorf(http.StatusUnauthorized, "invalid_token", "%s", message)
	err.Header = map[string]string{"WWW-Authenticate": challenge}
	return err
}

func forbidden(code, message string) *Error {
	return Errorf(http.StatusForbidden, code, "%s", message)
}

func orgTokenNotAllowed() *Error {
	return forbidden("organization_token_not_allowed", "Organization tokens cannot be used with this tenant's Management API")
}

func tenantNotFound() *Error {
	return Errorf(http.StatusNotFound, "tenant_not_found", "Tenant not found")
}

func mismatch(message string) *Error {
	return Errorf(http.StatusBadRequest, "tenant_mismatch", "%s", message)
}
