package tenancy

import "strings"

// Role is a named set of permissions.
type Role struct {
	Row
	Name        string         `json:"name"`
	NameKey     string         `json:"-"` // the name in lower case, by which names are unique
	Description string         `json:"description"`
	IsSystem    bool           `json:"is_system"`
	Origin      string         `json:"-"` // id of the control plane's row that a copy came from
	Metadata    map[string]any `json:"metadata" gorm:"serializer:jsontext"`
}

// NameKeyOf is what a role's NameKey has to be.
func NameKeyOf(name string) string { return strings.ToLower(name) }

// RolePermission is one permission of a role; its id joins role, resource server
// and permission.
type RolePermission struct {
	Row
	RoleID           string
	ResourceServerID string
	Permission       string
}

// UserRole assigns a role to a user, within an organization or, where OrgID is
// [Global], outside of any. Its id joins user, organization and role.
type UserRole struct {
	Row
	UserID string
	OrgID  string
	RoleID string
}

// UserPermission gives a user one permission directly, within an organization
// or globally. Its id joins user, organization, resource server and permission.
type UserPermission struct {
	Row
	UserID           string
	OrgID            string
	ResourceServerID string
	Permission       string
}

// Global as the organization of an assignment means outside of any. It is a
// value like any other, never the absence of a filter (contract C2.18).
const Global = ""

// The tables of roles and assignments.
var (
	Roles           = newTable[Role]("roles", configuration(), logged(KindRole, sameID))
	RolePermissions = newTable[RolePermission]("role_permissions", configuration(), logged(KindRole, firstID))
	UserRoles       = newTable[UserRole]("user_roles")
	UserPermissions = newTable[UserPermission]("user_permissions")
)

// NewRolePermission makes the row for one permission of a role.
func NewRolePermission(roleID, resourceServerID, permission string) *RolePermission {
	return &RolePermission{
		Row:    Row{ID: Join(roleID, resourceServerID, permission)},
		RoleID: roleID, ResourceServerID: resourceServerID, Permission: permission,
	}
}

// NewUserRole makes the row that assigns a role.
func NewUserRole(userID, orgID, roleID string) *UserRole {
	return &UserRole{Row: Row{ID: Join(userID, orgID, roleID)}, UserID: userID, OrgID: orgID, RoleID: roleID}
}

// NewUserPermission makes the row that gives a permission.
func NewUserPermission(userID, orgID, resourceServerID, permission string) *UserPermission {
	return &UserPermission{
		Row:    Row{ID: Join(userID, orgID, resourceServerID, permission)},
		UserID: userID, OrgID: orgID, ResourceServerID: resourceServerID, Permission: permission,
	}
}
