package management

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// teamRoutes are those by which a tenant's administrators manage their own team:
// the members of the control plane's organization that is linked to the tenant
// (contract C5.104 to C5.107). They act inside the control plane, on that
// organization and no other.
var teamRoutes = []route{
	team(get("/tenant-members", ofTeam(listTeam), "read:organization_members")),
	team(write(http.MethodPost, "/tenant-members", http.StatusNoContent, Handle(addToTeam), "create:organization_members")),
	team(write(http.MethodDelete, "/tenant-members", http.StatusNoContent, Handle(removeFromTeam), "delete:organization_members")),
	team(get("/tenant-members/roles", ofTeam(teamRoles), "read:roles")),
	team(get("/tenant-members/invitations", ofTeam(listInvitations), "read:organization_invitations")),
	team(write(http.MethodPost, "/tenant-members/invitations", http.StatusCreated, Handle(inviteToTeam), "create:organization_invitations").once()),
	team(get("/tenant-members/invitations/{invitation}", ofTeam(readInvitation), "read:organization_invitations")),
	team(write(http.MethodDelete, "/tenant-members/invitations/{invitation}", http.StatusNoContent, ofTeam(withdrawInvitation), "delete:organization_invitations")),
	team(get("/tenant-members/{user}/roles", ofTeam(teamMemberRoles), "read:organization_member_roles")),
	team(write(http.MethodPost, "/tenant-members/{user}/roles", http.StatusNoContent, Handle(addTeamRoles), "create:organization_member_roles")),
	team(write(http.MethodDelete, "/tenant-members/{user}/roles", http.StatusNoContent, Handle(removeTeamRoles), "delete:organization_member_roles")),
}

func team(r route) route {
	r.access.TeamRoute, r.admit = true, admitTeam
	return r
}

// admitTeam lets in whoever may manage the target's team, into the control plane.
func admitTeam(c *Call) (tenancy.TenantRef, error) {
	target, err := tenancy.Access(c.request, c.route.access)
	if err != nil {
		return tenancy.TenantRef{}, err
	}
	t, ok := c.api.config.Directory.ByID(target.ID)
	if !ok || t.OrganizationID == "" {
		return tenancy.TenantRef{}, tenancy.Errorf(http.StatusNotFound, "tenant_not_found", "Tenant not found")
	}
	c.team = t
	return ref(c.api.config.Directory.ControlPlane()), nil
}

// teamOrganization is the organization that a team route acts on.
func (c *Call) teamOrganization(ctx context.Context) (*tenancy.Organization, error) {
	return tenancy.Organizations.Get(ctx, c.team.OrganizationID)
}

// ofTeam gives a handler the team's organization.
func ofTeam(f func(context.Context, *Call, *tenancy.Organization) (any, error)) handler {
	return func(ctx context.Context, c *Call) (any, error) {
		org, err := c.teamOrganization(ctx)
		if err != nil {
			return nil, err
		}
		return f(ctx, c, org)
	}
}

type teamBody struct {
	UserIDs []string `json:"user_ids"`
}

func listTeam(ctx context.Context, c *Call, org *tenancy.Organization) (any, error) {
	return c.listMembers(ctx, org, envelope)
}

// teamUsers finds the people of a body by their exact ids; there is no search
// over the control plane's users here.
func (c *Call) teamUsers(ctx context.Context, in *teamBody) error {
	if err := checkIDs("user_ids", in.UserIDs, 100); err != nil {
		return err
	}
	people, err := byID(ctx, tenancy.Users, in.UserIDs)
	if err != nil {
		return err
	}
	if gone := absent(in.UserIDs, people); len(gone) > 0 {
		return inexistent("user", "The user '%s' does not exist.", gone[0])
	}
	return nil
}

func addToTeam(ctx context.Context, c *Call, in *teamBody) (any, error) {
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		org, err := c.teamOrganization(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.teamUsers(ctx, in); err != nil {
			return nil, err
		}
		return joining(ctx, org, in.UserIDs)
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

func removeFromTeam(ctx context.Context, c *Call, in *teamBody) (any, error) {
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		org, err := c.teamOrganization(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.teamUsers(ctx, in); err != nil {
			return nil, err
		}
		stmts, err := c.keepsAdmin(ctx, org, in.UserIDs)
		if err != nil {
			return nil, err
		}
		for _, u := range in.UserIDs {
			stmts = append(stmts, tenancy.RemoveMember(ctx, org.ID, u)...)
		}
		return stmts, nil
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

// keepsAdmin refuses to take the last Tenant Admin from a team, unless it is the
// platform who does (contract C5.107). The statement it returns has two who
// remove each other at the same time meet at one row, so that one of them looks
// again.
func (c *Call) keepsAdmin(ctx context.Context, org *tenancy.Organization, leaving []string) ([]tenancy.Stmt, error) {
	if c.credential.PlatformAdmin(c.request.ControlPlane) {
		return nil, nil
	}
	role, err := tenancy.BuiltInRole(ctx, tenancy.RoleTenantAdmin)
	if err != nil {
		return nil, err
	}
	holders, err := tenancy.UserRoles.Find(ctx, tenancy.Filter{
		Where: "org_id = ? AND role_id = ? AND user_id IN (SELECT user_id FROM members m WHERE m.tenant_id = user_roles.tenant_id AND m.org_id = ?)",
		Args:  []any{org.ID, role.ID, org.ID},
	})
	if err != nil {
		return nil, err
	}
	stay := 0
	for _, h := range holders {
		if !slices.Contains(leaving, h.UserID) {
			stay++
		}
	}
	switch stay {
	case len(holders):
		return nil, nil
	case 0:
		return nil, tenancy.Errorf(http.StatusConflict, "last_admin", "The last member with the role %s cannot be removed", tenancy.RoleTenantAdmin)
	}
	return []tenancy.Stmt{tenancy.Organizations.Replace(ctx, org)}, nil
}

// teamRoles lists the roles that the caller may give (contract C5.106).
func teamRoles(ctx context.Context, c *Call, _ *tenancy.Organization) (any, error) {
	all, err := tenancy.Roles.Find(ctx, tenancy.Filter{Order: "name_key, id"})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r tenancy.Role) bool { return !isAssignable(&r) })
	ids := idsOf(all)
	lacking, err := c.lacks(ctx, ids)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r tenancy.Role) bool { return lacking[r.ID] != "" })
	answers, err := roles.views(ctx, c, all)
	if err != nil {
		return nil, err
	}
	return pick(c, "roles", answers)
}

func isAssignable(r *tenancy.Role) bool { return r.Metadata[tenancy.TenantAssignable] == true }

// mayAssignInTeam refuses roles that are not for teams, hold a scope of the
// platform class, or hold something the caller lacks in this organization.
func (c *Call) mayAssignInTeam(ctx context.Context, ids []string) error {
	named, err := byID(ctx, tenancy.Roles, ids)
	if err != nil {
		return err
	}
	lacking, err := c.lacks(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r := named[id]
		switch {
		case r == nil || !isAssignable(r):
			return tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "The role '%s' cannot be assigned by a tenant's administrators", id)
		case lacking[id] != "":
			return tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "The role '%s' holds %s, which you cannot give", id, lacking[id])
		}
	}
	return nil
}

// lacks returns for each of the roles one permission that keeps the caller from
// giving it, where there is one. What a person holds of other APIs than the
// management API is what they hold in this organization; a machine holds
// nothing there.
func (c *Call) lacks(ctx context.Context, roleIDs []string) (map[string]string, error) {
	lacking := map[string]string{}
	if len(roleIDs) == 0 {
		return lacking, nil
	}
	held, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{Where: "role_id IN ?", Args: []any{roleIDs}})
	if err != nil {
		return nil, err
	}
	api, err := tenancy.ResourceServers.First(ctx, "identifier = ?", tenancy.ManagementAudience)
	if err != nil {
		return nil, err
	}
	admin := c.credential.PlatformAdmin(c.request.ControlPlane)
	own := map[string]bool{}
	if !admin {
		if own, err = c.heldInTeam(ctx); err != nil {
			return nil, err
		}
	}
	for _, p := range held {
		management := p.ResourceServerID == api.ID
		switch {
		case management && slices.Contains(tenancy.PlatformScopes, p.Permission),
			!admin && management && !c.credential.Has(p.Permission),
			!admin && !management && !own[tenancy.Join(p.ResourceServerID, p.Permission)]:
			lacking[p.RoleID] = p.Permission
		}
	}
	return lacking, nil
}

// heldInTeam are the caller's permissions in the team's organization, as they
// are now.
func (c *Call) heldInTeam(ctx context.Context) (map[string]bool, error) {
	own := map[string]bool{}
	if !c.credential.User {
		return own, nil
	}
	args := []any{c.team.OrganizationID, c.credential.Subject}
	viaRoles, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{
		Where: "role_id IN (SELECT role_id FROM user_roles u WHERE u.tenant_id = role_permissions.tenant_id AND u.org_id = ? AND u.user_id = ?)", Args: args,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range viaRoles {
		own[tenancy.Join(p.ResourceServerID, p.Permission)] = true
	}
	direct, err := tenancy.UserPermissions.Find(ctx, tenancy.Filter{Where: "org_id = ? AND user_id = ?", Args: args})
	for _, p := range direct {
		own[tenancy.Join(p.ResourceServerID, p.Permission)] = true
	}
	return own, err
}

// teamMember finds the member that the path names. A user of the control plane
// who is none is as unknown as one who does not exist.
func (c *Call) teamMember(ctx context.Context, org *tenancy.Organization) (*tenancy.Member, error) {
	return tenancy.Members.Get(ctx, tenancy.Join(org.ID, c.param("user")))
}

func teamMemberRoles(ctx context.Context, c *Call, org *tenancy.Organization) (any, error) {
	m, err := c.teamMember(ctx, org)
	if err != nil {
		return nil, err
	}
	return listRoles(ctx, c, m.UserID, m.OrgID)
}

func addTeamRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	return c.changeTeamRoles(ctx, in, func(m *tenancy.Member, _ *tenancy.Organization) ([]tenancy.Stmt, error) {
		stmts, err := assignments(ctx, []string{m.UserID}, m.OrgID, in.Roles)
		if err != nil || len(stmts) == 0 {
			return nil, err
		}
		return append([]tenancy.Stmt{exists(ctx, tenancy.Members, m.ID)}, stmts...), nil
	})
}

func removeTeamRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	return c.changeTeamRoles(ctx, in, func(m *tenancy.Member, org *tenancy.Organization) ([]tenancy.Stmt, error) {
		role, err := tenancy.BuiltInRole(ctx, tenancy.RoleTenantAdmin)
		if err != nil {
			return nil, err
		}
		var stmts []tenancy.Stmt
		if slices.Contains(in.Roles, role.ID) {
			if stmts, err = c.keepsAdmin(ctx, org, []string{m.UserID}); err != nil {
				return nil, err
			}
		}
		for _, id := range in.Roles {
			stmts = append(stmts, tenancy.UserRoles.Remove(ctx, tenancy.Join(m.UserID, m.OrgID, id)))
		}
		return stmts, nil
	})
}

// changeTeamRoles checks who and which roles a request is about, and writes what
// build says of it.
func (c *Call) changeTeamRoles(ctx context.Context, in *rolesBody, build func(*tenancy.Member, *tenancy.Organization) ([]tenancy.Stmt, error)) (any, error) {
	if err := checkIDs("roles", in.Roles, 50); err != nil {
		return nil, err
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		org, err := c.teamOrganization(ctx)
		if err != nil {
			return nil, err
		}
		m, err := c.teamMember(ctx, org)
		if err != nil {
			return nil, err
		}
		named, err := byID(ctx, tenancy.Roles, in.Roles)
		if err != nil {
			return nil, err
		}
		if gone := absent(in.Roles, named); len(gone) > 0 {
			return nil, inexistent("role", "One or more of the specified roles do not exist: %s", strings.Join(gone, ", "))
		}
		if err := c.mayAssignInTeam(ctx, in.Roles); err != nil {
			return nil, err
		}
		return build(m, org)
	})
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, tenancy.Errorf(http.StatusNotFound, "not_found", "Not found")
	}
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

func inviteToTeam(ctx context.Context, c *Call, in *invitationBody) (any, error) {
	org, err := c.teamOrganization(ctx)
	if err != nil {
		return nil, err
	}
	return c.invite(ctx, org, in, c.mayAssignInTeam)
}
