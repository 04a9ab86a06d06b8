package management

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// memberRoutes are those on the people of an organization (contract C5.41 to
// C5.43).
var memberRoutes = []route{
	get("/organizations/{id}/members", orgMembers, "read:organization_members"),
	write(http.MethodPost, "/organizations/{id}/members", http.StatusNoContent, Handle(addMembers), "create:organization_members"),
	write(http.MethodDelete, "/organizations/{id}/members", http.StatusNoContent, Handle(removeMembers), "delete:organization_members"),
	get("/organizations/{id}/members/{user}/roles", memberRoles, "read:organization_member_roles"),
	write(http.MethodPost, "/organizations/{id}/members/{user}/roles", http.StatusNoContent, Handle(addMemberRoles), "create:organization_member_roles"),
	write(http.MethodDelete, "/organizations/{id}/members/{user}/roles", http.StatusNoContent, Handle(removeMemberRoles), "delete:organization_member_roles"),
}

type membersBody struct {
	Members []string `json:"members"`
}

type rolesBody struct {
	Roles []string `json:"roles"`
}

func orgMembers(ctx context.Context, c *Call) (any, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	return c.listMembers(ctx, org, bare)
}

// listMembers lists the people of an organization; as an envelope it comes with
// totals, whether asked for or not.
func (c *Call) listMembers(ctx context.Context, org *tenancy.Organization, as form) (any, error) {
	withRoles := slices.Contains(strings.Split(c.query.Get("fields"), ","), "roles") && c.query.Get("include_fields") != "false"
	if withRoles {
		if err := c.needs("read:organization_member_roles"); err != nil {
			return nil, err
		}
	}
	l := listing[tenancy.Member]{
		table: tenancy.Members, key: "members", form: as, counted: as == envelope,
		answers: func(ctx context.Context, rows []tenancy.Member) ([]object, error) {
			answers, err := personViews(ctx, rows, func(m *tenancy.Member) string { return m.UserID })
			if err != nil || !withRoles {
				return answers, err
			}
			return answers, setMemberRoles(ctx, org.ID, rows, answers)
		},
	}
	l.filter.and("org_id = ?", org.ID)
	return l.answer(ctx, c)
}

// setMemberRoles adds to the answers for members the roles they have in the
// organization.
func setMemberRoles(ctx context.Context, orgID string, rows []tenancy.Member, answers []object) error {
	people := make([]string, len(rows))
	for i := range rows {
		people[i] = rows[i].UserID
	}
	held, err := tenancy.UserRoles.Find(ctx, tenancy.Filter{Where: "org_id = ? AND user_id IN ?", Args: []any{orgID, people}})
	if err != nil {
		return err
	}
	var ids []string
	for _, h := range held {
		ids = append(ids, h.RoleID)
	}
	slices.Sort(ids)
	named, err := byID(ctx, tenancy.Roles, slices.Compact(ids))
	if err != nil {
		return err
	}
	of := map[string][]map[string]string{}
	for _, h := range held {
		if role := named[h.RoleID]; role != nil {
			of[h.UserID] = append(of[h.UserID], map[string]string{"id": role.ID, "name": role.Name})
		}
	}
	for i := range rows {
		if len(answers[i].members) > 0 {
			answers[i].set("roles", orEmpty(of[rows[i].UserID]))
		}
	}
	return nil
}

func addMembers(ctx context.Context, c *Call, in *membersBody) (any, error) {
	if err := checkIDs("members", in.Members, 100); err != nil {
		return nil, err
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		org, err := organizations.get(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		people, err := byID(ctx, tenancy.Users, in.Members)
		if err != nil {
			return nil, err
		}
		if gone := absent(in.Members, people); len(gone) > 0 {
			return nil, inexistent("user", "The user '%s' does not exist.", gone[0])
		}
		return joining(ctx, org, in.Members)
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

// joining is the statements that make those users members who are none yet.
func joining(ctx context.Context, org *tenancy.Organization, users []string) ([]tenancy.Stmt, error) {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = tenancy.Join(org.ID, u)
	}
	there, err := byID(ctx, tenancy.Members, ids)
	if err != nil {
		return nil, err
	}
	stmts := []tenancy.Stmt{exists(ctx, tenancy.Organizations, org.ID)}
	for i, u := range users {
		if there[ids[i]] == nil {
			stmts = append(stmts, exists(ctx, tenancy.Users, u), tenancy.Members.Insert(ctx, tenancy.NewMember(org.ID, u)))
		}
	}
	return stmts, nil
}

func removeMembers(ctx context.Context, c *Call, in *membersBody) (any, error) {
	if err := checkIDs("members", in.Members, 100); err != nil {
		return nil, err
	}
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	for _, u := range in.Members {
		stmts = append(stmts, tenancy.RemoveMember(ctx, org.ID, u)...)
	}
	return none{}, tenancy.Commit(ctx, stmts...)
}

// membership finds the membership that the path names.
func (c *Call) membership(ctx context.Context) (*tenancy.Member, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	if _, err := found(tenancy.Users.Get(ctx, c.param("user")))("User"); err != nil {
		return nil, err
	}
	m, err := tenancy.Members.Get(ctx, tenancy.Join(org.ID, c.param("user")))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The user is not a member of the organization")
	}
	return m, err
}

func memberRoles(ctx context.Context, c *Call) (any, error) {
	m, err := c.membership(ctx)
	if err != nil {
		return nil, err
	}
	return listRoles(ctx, c, m.UserID, m.OrgID)
}

// listRoles lists the roles a user has in an organization, or outside of any.
func listRoles(ctx context.Context, c *Call, userID, orgID string) (any, error) {
	l := listing[tenancy.UserRole]{
		table: tenancy.UserRoles, key: "roles",
		answers: func(ctx context.Context, rows []tenancy.UserRole) ([]object, error) {
			return linked(ctx, c, roles, rows, func(r *tenancy.UserRole) string { return r.RoleID })
		},
	}
	l.filter.and("user_id = ? AND org_id = ?", userID, orgID)
	return l.answer(ctx, c)
}

func addMemberRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	if err := checkIDs("roles", in.Roles, 50); err != nil {
		return nil, err
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		m, err := c.membership(ctx)
		if err != nil {
			return nil, err
		}
		return c.assign(ctx, m.UserID, m.OrgID, in.Roles, exists(ctx, tenancy.Members, m.ID))
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

// assign gives a user roles, all of which must exist, and which the caller may
// give.
func (c *Call) assign(ctx context.Context, userID, orgID string, roleIDs []string, guards ...tenancy.Stmt) ([]tenancy.Stmt, error) {
	named, err := byID(ctx, tenancy.Roles, roleIDs)
	if err != nil {
		return nil, err
	}
	if gone := absent(roleIDs, named); len(gone) > 0 {
		return nil, inexistent("role", "One or more of the specified roles do not exist: %s", strings.Join(gone, ", "))
	}
	if err := c.mayAssign(ctx, roleIDs); err != nil {
		return nil, err
	}
	stmts, err := assignments(ctx, []string{userID}, orgID, roleIDs)
	if err != nil || len(stmts) == 0 {
		return nil, err
	}
	return append(guards, stmts...), nil
}

func removeMemberRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	if err := checkIDs("roles", in.Roles, 50); err != nil {
		return nil, err
	}
	m, err := c.membership(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, unassign(ctx, m.UserID, m.OrgID, in.Roles)
}

// unassign takes roles from a user; those they do not have are ignored.
func unassign(ctx context.Context, userID, orgID string, roleIDs []string) error {
	named, err := byID(ctx, tenancy.Roles, roleIDs)
	if err != nil {
		return err
	}
	if gone := absent(roleIDs, named); len(gone) > 0 {
		return inexistent("role", "One or more of the specified roles do not exist: %s", strings.Join(gone, ", "))
	}
	var stmts []tenancy.Stmt
	for _, id := range roleIDs {
		stmts = append(stmts, tenancy.UserRoles.Remove(ctx, tenancy.Join(userID, orgID, id)))
	}
	return tenancy.Commit(ctx, stmts...)
}
