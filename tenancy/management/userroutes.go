package management

import (
	"context"
	"net/http"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// userRoutes are those on a user beside the five verbs. Roles and permissions
// here are those outside of any organization (contract C5.77).
var userRoutes = []route{
	get("/users-by-email", usersByEmail, "read:users"),
	get("/users/{id}/roles", userRoles, "read:users", "read:roles").all(),
	write(http.MethodPost, "/users/{id}/roles", http.StatusNoContent, Handle(addUserRoles), "update:users"),
	write(http.MethodDelete, "/users/{id}/roles", http.StatusNoContent, Handle(removeUserRoles), "update:users"),
	get("/users/{id}/permissions", userPermissions, "read:users"),
	write(http.MethodPost, "/users/{id}/permissions", http.StatusCreated, Handle(addUserPermissions), "update:users"),
	write(http.MethodDelete, "/users/{id}/permissions", http.StatusNoContent, Handle(removeUserPermissions), "update:users"),
	get("/users/{id}/organizations", userOrganizations, "read:organizations", "read:users"),
	get("/users/{id}/sessions", userSessions, "read:sessions"),
	write(http.MethodDelete, "/users/{id}/sessions", http.StatusAccepted, endUserSessions, "delete:sessions"),
	get("/users/{id}/refresh-tokens", userRefreshTokens, "read:refresh_tokens"),
	write(http.MethodDelete, "/users/{id}/refresh-tokens", http.StatusAccepted, endUserRefreshTokens, "delete:refresh_tokens"),
}

func (c *Call) user(ctx context.Context) (*tenancy.User, error) {
	return users.get(ctx, c, c.param("id"))
}

func usersByEmail(ctx context.Context, c *Call) (any, error) {
	email := c.query.Get("email")
	if email == "" {
		return nil, badQuery("'email' is required")
	}
	rows, err := tenancy.Users.Find(ctx, tenancy.Filter{Where: "email = ?", Args: []any{tenancy.FoldEmail(email)}})
	if err != nil {
		return nil, err
	}
	answers, err := users.views(ctx, c, rows)
	for i := range answers {
		c.shape(&answers[i])
	}
	return answers, err
}

func userRoles(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	return listRoles(ctx, c, u.ID, tenancy.Global)
}

func addUserRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	if err := checkIDs("roles", in.Roles, 50); err != nil {
		return nil, err
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		u, err := c.user(ctx)
		if err != nil {
			return nil, err
		}
		return c.assign(ctx, u.ID, tenancy.Global, in.Roles)
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

func removeUserRoles(ctx context.Context, c *Call, in *rolesBody) (any, error) {
	if err := checkIDs("roles", in.Roles, 50); err != nil {
		return nil, err
	}
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, unassign(ctx, u.ID, tenancy.Global, in.Roles)
}

func addUserPermissions(ctx context.Context, c *Call, in *permissionBody) (any, error) {
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		u, err := c.user(ctx)
		if err != nil {
			return nil, err
		}
		wanted, err := c.resolve(ctx, in.Permissions, true)
		if err != nil {
			return nil, err
		}
		rows := make([]*tenancy.UserPermission, len(wanted))
		ids := make([]string, len(wanted))
		for i, p := range wanted {
			rows[i] = tenancy.NewUserPermission(u.ID, tenancy.Global, p.server.ID, p.name)
			ids[i] = rows[i].ID
		}
		there, err := byID(ctx, tenancy.UserPermissions, ids)
		if err != nil {
			return nil, err
		}
		stmts := append(unalteredServers(ctx, wanted), exists(ctx, tenancy.Users, u.ID))
		for _, row := range rows {
			if there[row.ID] == nil {
				stmts = append(stmts, tenancy.UserPermissions.Insert(ctx, row))
			}
		}
		return stmts, nil
	})
	if err != nil {
		return nil, err
	}
	return object{}, nil
}

func removeUserPermissions(ctx context.Context, c *Call, in *permissionBody) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := c.resolve(ctx, in.Permissions, false)
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	for _, p := range wanted {
		stmts = append(stmts, tenancy.UserPermissions.Remove(ctx, tenancy.Join(u.ID, tenancy.Global, p.server.ID, p.name)))
	}
	return none{}, tenancy.Commit(ctx, stmts...)
}

// held is a permission of a user and where it comes from.
type held struct {
	serverID, name string
	sources        []map[string]string
}

// userPermissions lists what a user may do outside of any organization, directly
// and by roles, each once with its sources.
func userPermissions(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	var all []held
	index := map[string]int{}
	add := func(serverID, name string, source map[string]string) {
		key := tenancy.Join(serverID, name)
		i, ok := index[key]
		if !ok {
			i = len(all)
			index[key] = i
			all = append(all, held{serverID: serverID, name: name})
		}
		all[i].sources = append(all[i].sources, source)
	}
	direct, err := tenancy.UserPermissions.Find(ctx, tenancy.Filter{Where: "user_id = ? AND org_id = ?", Args: []any{u.ID, tenancy.Global}})
	if err != nil {
		return nil, err
	}
	for _, p := range direct {
		add(p.ResourceServerID, p.Permission, map[string]string{"source_id": "", "source_name": "", "source_type": "DIRECT"})
	}
	if err := addRolePermissionsOf(ctx, u.ID, add); err != nil {
		return nil, err
	}
	answers, err := permissionViews(ctx, all, func(h *held) (string, string) { return h.serverID, h.name })
	if err != nil {
		return nil, err
	}
	for i := range answers {
		if len(answers[i].members) > 0 {
			answers[i].set("sources", all[i].sources)
		}
	}
	answers = slices.DeleteFunc(answers, func(o object) bool { return len(o.members) == 0 })
	return pick(c, "permissions", answers)
}

func addRolePermissionsOf(ctx context.Context, userID string, add func(serverID, name string, source map[string]string)) error {
	assigned, err := tenancy.UserRoles.Find(ctx, tenancy.Filter{Where: "user_id = ? AND org_id = ?", Args: []any{userID, tenancy.Global}})
	if err != nil {
		return err
	}
	for _, a := range assigned {
		role, err := tenancy.Roles.Get(ctx, a.RoleID)
		if err != nil {
			if tenancy.StatusOf(err) == http.StatusNotFound {
				continue // removed since the assignments were read
			}
			return err
		}
		holds, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{Where: "role_id = ?", Args: []any{role.ID}})
		if err != nil {
			return err
		}
		for _, p := range holds {
			add(p.ResourceServerID, p.Permission, map[string]string{"source_id": role.ID, "source_name": role.Name, "source_type": "ROLE"})
		}
	}
	return nil
}

func userOrganizations(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.Member]{
		table: tenancy.Members, key: "organizations",
		answers: func(ctx context.Context, rows []tenancy.Member) ([]object, error) {
			return linked(ctx, c, organizations, rows, func(m *tenancy.Member) string { return m.OrgID })
		},
	}
	l.filter.and("user_id = ?", u.ID)
	return l.answer(ctx, c)
}
