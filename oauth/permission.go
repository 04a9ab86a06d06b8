package oauth

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Ask is what a client wants to be allowed on behalf of a user. Client and User
// are required.
type Ask struct {
	Client       *tenancy.Client
	User         *tenancy.User
	Audience     string   // "" asks for the tenant's default audience
	Scopes       []string // requested, in their order
	Organization string   // as given: id or name; "" for none
	Connection   string   // name of the connection the session logged in with

	// Silent: nothing can be asked of the person now (prompt=none). Interactive:
	// they are logging in now, so that a membership may be created (contract
	// C2.36, C3.2). Both false is the token endpoint.
	Silent      bool
	Interactive bool

	// Bound: Audience is the one of a grant, where "" means none rather than the
	// tenant's default.
	Bound bool
}

// Allowance is what a token may say. It is shared and must not be changed.
type Allowance struct {
	ResourceServer *tenancy.ResourceServer // nil without an audience
	Audience       string                  // the spelling asked for; "" without one
	Scopes         []string                // granted, in requested order
	Permissions    []string                // sorted; nil where the dialect lists none
	Organization   *tenancy.Organization   // nil for none
	Joined         bool                    // the user became a member just now
}

// Has reports whether the scope was granted. Scopes are case-sensitive
// (RFC 6749 section 3.3).
func (a *Allowance) Has(scope string) bool { return slices.Contains(a.Scopes, scope) }

// lifetime is how long an access token lives; front says it is handed out by the
// authorization endpoint (contract C2.15).
func (a *Allowance) lifetime(front bool) time.Duration {
	seconds := defaultTokenLifetime
	if rs := a.ResourceServer; rs != nil {
		seconds = cmp.Or(rs.TokenLifetime, seconds)
		if rs.Identifier == tenancy.ManagementAudience && a.Organization != nil {
			seconds = min(seconds, organizationManagementLifetime)
		}
		if front {
			seconds = min(seconds, cmp.Or(rs.TokenLifetimeForWeb, defaultWebTokenLifetime))
		}
	} else if front {
		seconds = defaultWebTokenLifetime
	}
	return time.Duration(seconds) * time.Second
}

// Lifetimes of access tokens in seconds (contract C2.15).
const (
	defaultTokenLifetime           = 86400
	defaultWebTokenLifetime        = 7200
	organizationManagementLifetime = 3600
	longestTokenLifetime           = 2592000
)

// allowUser is the one calculation of what a user's token may say, for every
// grant (contract C2.22 to C2.30). Errors are *oauthError for refusals, and
// those of reading, which the caller answers with 503: there is no partial
// answer. With the refusal [errConsent] comes what the person would consent to.
func (s *Server) allowUser(ctx context.Context, ask Ask) (*Allowance, error) {
	if ask.User.Blocked {
		return nil, errBlocked()
	}
	var rs *tenancy.ResourceServer
	audience, err := ask.Audience, error(nil)
	if audience != "" || !ask.Bound {
		if rs, audience, err = resolveAudience(ctx, ask.Audience); err != nil { // C2.22, C2.23
			return nil, err
		}
	}
	a := &Allowance{ResourceServer: rs, Audience: audience}
	if a.Organization, err = s.askedOrganization(ctx, ask); err != nil {
		return nil, err
	}
	global := false
	if a.Organization != nil { // C2.24, with and without an audience
		if global, err = s.admit(ctx, ask, a); err != nil {
			return nil, err
		}
	}
	var allowed []string
	if rs != nil && rs.EnforcePolicies {
		if allowed, err = allowedPermissions(ctx, ask.User.ID, a, global); err != nil {
			return nil, err
		}
		if listsPermissions(rs) {
			a.Permissions = allowed // C2.29: all of them, whatever was requested
		}
	}
	a.Scopes = grantScopes(ask, rs, allowed)
	return a, consented(ctx, ask, a)
}

// askedOrganization is the organization the request is for: nil for none.
func (s *Server) askedOrganization(ctx context.Context, ask Ask) (*tenancy.Organization, error) {
	if ask.Organization == "" {
		required, err := organizationRequired(ctx, ask.Client)
		if err != nil {
			return nil, err
		}
		if required && (ask.Silent || prompts(ask.Client)) { // C2.41, C3.9
			return nil, refuse(fosite.ErrInteractionRequired, "Organization selection required")
		}
	}
	return s.resolveOrganization(ctx, ask.Client, ask.Organization)
}

// admit decides whether the user may take the allowance's organization, and
// reports whether they do so with their global permissions (contract C2.24,
// C2.26, C2.36).
func (s *Server) admit(ctx context.Context, ask Ask, a *Allowance) (global bool, err error) {
	org := a.Organization
	member, err := isMember(ctx, org.ID, ask.User.ID)
	if err != nil || member {
		return false, err
	}
	if ask.Interactive {
		joined, err := s.join(ctx, ask, org)
		if err != nil || joined {
			a.Joined = joined
			return false, err
		}
	}
	if global, err = passesAsPlatformAdmin(ctx, ask.User.ID, org); err != nil || global {
		return global, err
	}
	return false, errNotMember(ask.User.ID, org.ID)
}

// errNotMember is the refusal of contract C2.24. Callers find it by [errMember].
func errNotMember(userID, orgID string) *oauthError {
	return refuse(fosite.ErrAccessDenied, "user %s is not part of the %s organization", userID, orgID).because(errMember)
}

// errMember is in the chain of refusals because of a missing membership, which
// end the grant that was bound to it (contract C2.51).
var errMember = errors.New("not a member")

// join makes the user a member if the connection they logged in with does that
// (contract C2.36), and reports whether it did.
func (s *Server) join(ctx context.Context, ask Ask, org *tenancy.Organization) (bool, error) {
	enabled, err := organizationConnection(ctx, org.ID, ask.Connection)
	if err != nil || enabled == nil || !enabled.AssignMembership {
		return false, err
	}
	err = tenancy.Members.Create(ctx, tenancy.NewMember(org.ID, ask.User.ID))
	switch {
	case errors.Is(err, tenancy.ErrConflict): // another tab was faster
	case err != nil:
		return false, err
	default:
		s.record(ctx, tenancy.Event{
			Type: "organization_member_added", ClientID: ask.Client.ID, ClientName: ask.Client.Name,
			UserID: ask.User.ID, UserName: userName(ask.User), Connection: ask.Connection, OrgID: org.ID, OrgName: org.Name,
		})
	}
	return true, nil
}

// passesAsPlatformAdmin reports whether the user may take an organization they
// are no member of: on the control plane, a linked one, with admin:organizations
// held globally on the management API itself (contract C2.26). The same name on
// another resource server, or held inside an organization, does not count.
func passesAsPlatformAdmin(ctx context.Context, userID string, org *tenancy.Organization) (bool, error) {
	tenant, err := tenancy.Current(ctx)
	if err != nil || !tenant.IsControlPlane() {
		return false, err
	}
	rs, err := tenancy.CachedResourceServer(ctx, tenancy.ManagementAudience)
	if err != nil {
		return false, ignoreMissing(err)
	}
	linked, err := exists(ctx, `SELECT 1 FROM tenants WHERE tenant_id = @tenant AND organization_id = ?`, org.ID)
	if err != nil || !linked {
		return false, err
	}
	held, err := heldPermissions(ctx, userID, rs.ID, tenancy.Global, tenancy.Global)
	return slices.Contains(held, tenancy.ScopePlatformAdmin) && rs.Defines(tenancy.ScopePlatformAdmin), err
}

// allowedPermissions is what the user holds of the resource server in the
// allowance's organization, as far as the resource server defines it, sorted
// (contract C2.25, C2.27). It is never nil.
func allowedPermissions(ctx context.Context, userID string, a *Allowance, global bool) ([]string, error) {
	org, also := tenancy.Global, tenancy.Global
	if a.Organization != nil && !global {
		settings, err := tenancy.EffectiveSettings(ctx)
		if err != nil {
			return nil, err
		}
		org, also = a.Organization.ID, a.Organization.ID
		if settings.Bool("flags.inherit_global_permissions_in_organizations") {
			also = tenancy.Global
		}
	}
	held, err := heldPermissions(ctx, userID, a.ResourceServer.ID, org, also)
	if err != nil {
		return nil, err
	}
	defined := definedScopes(a.ResourceServer)
	allowed := make([]string, 0, len(held))
	for _, p := range held {
		if defined[p] {
			allowed = append(allowed, p)
		}
	}
	slices.Sort(allowed)
	return allowed, nil
}

// heldPermissions is the union of a user's direct permissions and those of their
// roles, assigned in either of the two organizations (each of which may be
// [tenancy.Global], a value like any other: contract C2.18). It is one statement
// without a limit, complete however many there are.
func heldPermissions(ctx context.Context, userID, resourceServerID, org, also string) ([]string, error) {
	rows, err := tenancy.Query(ctx, `SELECT permission FROM user_permissions
			WHERE tenant_id = @tenant AND user_id = ? AND org_id IN (?, ?) AND resource_server_id = ?
		UNION
		SELECT rp.permission FROM user_roles ur JOIN role_permissions rp ON rp.tenant_id = ur.tenant_id AND rp.role_id = ur.role_id
			WHERE ur.tenant_id = @tenant AND ur.user_id = ? AND ur.org_id IN (?, ?) AND rp.resource_server_id = ?`,
		userID, org, also, resourceServerID, userID, org, also, resourceServerID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var p string
		if err := rows.Scan(&p); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// grantScopes is the requested scopes that are granted, in requested order
// (contract C2.27, C2.29). allowed matters where the resource server enforces
// policies.
func grantScopes(ask Ask, rs *tenancy.ResourceServer, allowed []string) []string {
	grantable := allowed
	if rs != nil && !rs.EnforcePolicies {
		grantable = scopeValues(rs)
	}
	index := make(map[string]bool, len(grantable))
	for _, scope := range grantable {
		index[scope] = true
	}
	granted := make([]string, 0, len(ask.Scopes))
	for _, scope := range ask.Scopes {
		ok := index[scope]
		switch {
		case scope == scopeOffline: // C2.19
			ok = slices.Contains(ask.Client.GrantTypes, grantRefreshToken) && (rs == nil || rs.AllowOfflineAccess)
		case isOIDCScope(scope):
			ok = true
		}
		if ok && !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	return granted
}
