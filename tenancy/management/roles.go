package management

import (
	"context"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// roles are named sets of permissions (contract 5.5).
var roles = &Resource[tenancy.Role]{
	Path: "/roles", Quota: "roles", Key: "roles", Entity: "Role", ID: "id", Table: tenancy.Roles,
	Created: http.StatusOK, Deleted: http.StatusOK,
	Members: members{
		"id":          readOnly(),
		"name":        text(1, 50).must(),
		"description": text(0, 255),
		"is_system":   readOnly(),
		"metadata":    dict(25, 255),
		"created_at":  readOnly(),
		"updated_at":  readOnly(),
	},
	New: func() *tenancy.Role { return &tenancy.Role{Row: tenancy.Row{ID: tenancy.NewID("rol_", 16)}} },
	Validate: func(_ context.Context, _ *Call, _, row *tenancy.Role) error {
		row.NameKey = tenancy.NameKeyOf(row.Name)
		if strings.TrimSpace(row.Name) == "" {
			return invalid("name", "String is blank")
		}
		return nil
	},
	Also: func(ctx context.Context, _ *Call, before, row *tenancy.Role) ([]tenancy.Stmt, error) {
		switch {
		case row == nil:
			return tenancy.RemoveRole(ctx, before.ID), nil
		case before == nil:
			return []tenancy.Stmt{tenancy.Require(ctx, "(SELECT COUNT(*) FROM roles WHERE tenant_id = @tenant) <= ?", maxRoles)}, nil
		}
		return nil, nil
	},
	List: func(_ context.Context, c *Call, f *filter) error {
		if name := c.query.Get("name_filter"); name != "" {
			f.contains("name_key", tenancy.NameKeyOf(name))
		}
		return nil
	},
	Order: "name", Sort: []string{"name", "created_at"},
	Taken: func(*tenancy.Role) error {
		return conflict("Role", "Another role already exists with the same name")
	},
	Synced: true,
}

// maxRoles is how many roles a tenant may have (contract C5.18).
const maxRoles = 1000

// roleRoutes are those on what a role holds and who holds it.
var roleRoutes = []route{
	get("/roles/{id}/permissions", rolePermissions, "read:roles"),
	write(http.MethodPost, "/roles/{id}/permissions", http.StatusCreated, Handle(addRolePermissions), "update:roles"),
	write(http.MethodDelete, "/roles/{id}/permissions", http.StatusOK, Handle(removeRolePermissions), "update:roles"),
	get("/roles/{id}/users", roleUsers, "read:roles", "read:users").all(),
	write(http.MethodPost, "/roles/{id}/users", http.StatusOK, Handle(addRoleUsers), "update:roles"),
}

func rolePermissions(ctx context.Context, c *Call) (any, error) {
	role, err := roles.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.RolePermission]{
		table: tenancy.RolePermissions, key: "permissions", order: "id",
		answers: func(ctx context.Context, rows []tenancy.RolePermission) ([]object, error) {
			return permissionViews(ctx, rows, func(p *tenancy.RolePermission) (string, string) { return p.ResourceServerID, p.Permission })
		},
	}
	l.filter.and("role_id = ?", role.ID)
	return l.answer(ctx, c)
}

// changeable finds a role whose permissions are to be changed; those of system
// roles are not (contract C6.30).
func changeableRole(ctx context.Context, c *Call) (*tenancy.Role, error) {
	role, err := roles.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	return role, roles.unguarded(ctx, c, role)
}

func addRolePermissions(ctx context.Context, c *Call, in *permissionBody) (any, error) {
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		role, err := changeableRole(ctx, c)
		if err != nil {
			return nil, err
		}
		list, err := c.resolve(ctx, in.Permissions, true)
		if err != nil {
			return nil, err
		}
		held, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{Where: "role_id = ?", Args: []any{role.ID}})
		if err != nil {
			return nil, err
		}
		has := make(map[string]bool, len(held))
		for _, p := range held {
			has[p.ID] = true
		}
		var stmts []tenancy.Stmt
		for _, p := range list {
			if row := tenancy.NewRolePermission(role.ID, p.server.ID, p.name); !has[row.ID] {
				stmts = append(stmts, tenancy.RolePermissions.Insert(ctx, row))
			}
		}
		if len(stmts) == 0 {
			return nil, nil
		}
		return append(append(unalteredServers(ctx, list), exists(ctx, tenancy.Roles, role.ID)), stmts...), nil
	})
	if err != nil {
		return nil, err
	}
	return object{}, c.revision(ctx)
}

func removeRolePermissions(ctx context.Context, c *Call, in *permissionBody) (any, error) {
	role, err := changeableRole(ctx, c)
	if err != nil {
		return nil, err
	}
	list, err := c.resolve(ctx, in.Permissions, false)
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	for _, p := range list {
		stmts = append(stmts, tenancy.RolePermissions.Remove(ctx, tenancy.Join(role.ID, p.server.ID, p.name)))
	}
	if err := tenancy.Commit(ctx, stmts...); err != nil {
		return nil, err
	}
	return object{}, c.revision(ctx)
}

// roleUsers lists who holds a role outside of any organization.
func roleUsers(ctx context.Context, c *Call) (any, error) {
	role, err := roles.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.UserRole]{
		table: tenancy.UserRoles, key: "users",
		answers: func(ctx context.Context, rows []tenancy.UserRole) ([]object, error) {
			return personViews(ctx, rows, func(r *tenancy.UserRole) string { return r.UserID })
		},
	}
	l.filter.and("role_id = ? AND org_id = ?", role.ID, tenancy.Global)
	return l.answer(ctx, c)
}

// personViews are the short answers for users, in the order of rows that name
// them.
func personViews[T any](ctx context.Context, rows []T, of func(*T) string) ([]object, error) {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = of(&rows[i])
	}
	people, err := byID(ctx, tenancy.Users, ids)
	if err != nil {
		return nil, err
	}
	answers := make([]object, len(rows))
	for i, id := range ids {
		u := people[id]
		if u == nil {
			continue // removed since the rows were read
		}
		o := &answers[i]
		o.set("user_id", u.ID)
		o.set("email", u.Email)
		o.set("name", u.Name)
		o.set("picture", u.Picture)
	}
	return answers, nil
}

type usersBody struct {
	Users []string `json:"users"`
}

func addRoleUsers(ctx context.Context, c *Call, in *usersBody) (any, error) {
	if err := checkIDs("users", in.Users, 100); err != nil {
		return nil, err
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		role, err := roles.get(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		if err := c.mayAssign(ctx, []string{role.ID}); err != nil {
			return nil, err
		}
		people, err := byID(ctx, tenancy.Users, in.Users)
		if err != nil {
			return nil, err
		}
		if len(absent(in.Users, people)) > 0 {
			return nil, missing("User")
		}
		return assignments(ctx, in.Users, tenancy.Global, []string{role.ID})
	})
	if err != nil {
		return nil, err
	}
	return object{}, nil
}

// assignments are the statements that give users roles they do not have yet,
// while all of them exist.
func assignments(ctx context.Context, userIDs []string, orgID string, roleIDs []string) ([]tenancy.Stmt, error) {
	var rows []*tenancy.UserRole
	var ids []string
	for _, u := range userIDs {
		for _, r := range roleIDs {
			row := tenancy.NewUserRole(u, orgID, r)
			rows, ids = append(rows, row), append(ids, row.ID)
		}
	}
	there, err := byID(ctx, tenancy.UserRoles, ids)
	if err != nil {
		return nil, err
	}
	var guards, stmts []tenancy.Stmt
	for _, row := range rows {
		if there[row.ID] == nil {
			guards = append(guards, exists(ctx, tenancy.Users, row.UserID), exists(ctx, tenancy.Roles, row.RoleID))
			stmts = append(stmts, tenancy.UserRoles.Insert(ctx, row))
		}
	}
	return append(guards, stmts...), nil
}
