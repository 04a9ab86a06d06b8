package tenancy

import (
	"context"
	"strings"
	"time"
)

// The functions here give the statements that remove an entity with everything
// that refers to it. They are one batch, so nothing is left behind half.

// RemoveRole removes a role, its permissions and its assignments.
func RemoveRole(ctx context.Context, id string) []Stmt {
	return []Stmt{
		Roles.Remove(ctx, id).Once(),
		RolePermissions.RemoveWhere(ctx, "role_id = ?", id).Marked(KindRole, id),
		UserRoles.RemoveWhere(ctx, "role_id = ?", id),
	}
}

// RemoveResourceServer removes a resource server and whatever was granted of it:
// role and user permissions, client grants and their associations.
func RemoveResourceServer(ctx context.Context, rs *ResourceServer) []Stmt {
	return append([]Stmt{
		ResourceServers.Remove(ctx, rs.ID).Once(),
		RolePermissions.RemoveWhere(ctx, "resource_server_id = ?", rs.ID),
		UserPermissions.RemoveWhere(ctx, "resource_server_id = ?", rs.ID),
		Consents.RemoveWhere(ctx, "audience = ?", rs.Identifier),
	}, removeGrantsOf(ctx, "audience = ?", rs.Identifier)...)
}

// RemoveScope removes what was granted of one scope of a resource server, from
// roles and users. Client grants list scopes in one column: they are narrowed
// by whoever reads them, because a scope that is not defined is never granted.
func RemoveScope(ctx context.Context, resourceServerID, scope string) []Stmt {
	return []Stmt{
		RolePermissions.RemoveWhere(ctx, "resource_server_id = ? AND permission = ?", resourceServerID, scope),
		UserPermissions.RemoveWhere(ctx, "resource_server_id = ? AND permission = ?", resourceServerID, scope),
	}
}

// RemoveClient removes a client with its grants, tokens and connections.
func RemoveClient(ctx context.Context, id string) []Stmt {
	return append([]Stmt{
		Clients.Remove(ctx, id).Once(),
		ClientConnections.RemoveWhere(ctx, "client_id = ?", id),
		ClientCredentials.RemoveWhere(ctx, "client_id = ?", id),
		Grants.RemoveWhere(ctx, "client_id = ?", id),
		LoginSessions.RemoveWhere(ctx, "client_id = ?", id),
		PushedRequests.RemoveWhere(ctx, "client_id = ?", id),
		Invitations.RemoveWhere(ctx, "client_id = ?", id),
		Consents.RemoveWhere(ctx, "client_id = ?", id),
		Logouts.RemoveWhere(ctx, "client_id = ?", id),
	}, removeGrantsOf(ctx, "client_id = ?", id)...)
}

// RemoveClientGrant removes a client grant and its associations.
func RemoveClientGrant(ctx context.Context, id string) []Stmt {
	return []Stmt{
		ClientGrants.Remove(ctx, id).Once(),
		GrantOrganizations.RemoveWhere(ctx, "grant_id = ?", id),
	}
}

func removeGrantsOf(ctx context.Context, where, value string) []Stmt {
	return []Stmt{
		GrantOrganizations.RemoveWhere(ctx, "grant_id IN (SELECT id FROM client_grants WHERE tenant_id = client_grant_organizations.tenant_id AND "+where+")", value),
		ClientGrants.RemoveWhere(ctx, where, value),
	}
}

// RemoveConnection removes a connection and where it was enabled. Its users stay.
func RemoveConnection(ctx context.Context, id string) []Stmt {
	return []Stmt{
		Connections.Remove(ctx, id).Once(),
		ClientConnections.RemoveWhere(ctx, "connection_id = ?", id),
		OrganizationConnections.RemoveWhere(ctx, "connection_id = ?", id),
	}
}

// RemoveOrganization removes an organization with memberships, assignments,
// enabled connections, associations, invitations and the refresh tokens bound to
// it (contract C2.53). Clients whose default it was have none then.
func RemoveOrganization(ctx context.Context, id string) []Stmt {
	return []Stmt{
		Organizations.Remove(ctx, id).Once(),
		Members.RemoveWhere(ctx, "org_id = ?", id),
		UserRoles.RemoveWhere(ctx, "org_id = ?", id),
		UserPermissions.RemoveWhere(ctx, "org_id = ?", id),
		OrganizationConnections.RemoveWhere(ctx, "org_id = ?", id),
		GrantOrganizations.RemoveWhere(ctx, "organization_id = ?", id),
		Grants.RemoveWhere(ctx, "org_id = ?", id),
		Invitations.RemoveWhere(ctx, "org_id = ?", id),
		SQL(ctx, `UPDATE clients SET default_organization = 'null', revision = revision + 1, updated_at = ?
			WHERE tenant_id = @tenant AND default_organization LIKE ? ESCAPE '\'`,
			At(time.Now()), `%"organization_id":"`+strings.ReplaceAll(id, "_", `\_`)+`"%`).Settled(),
	}
}

// RemoveMember ends a membership with the roles and permissions held in it
// (contract C2.51). Tokens bound to the organization fail at their next use.
func RemoveMember(ctx context.Context, orgID, userID string) []Stmt {
	return []Stmt{
		Members.Remove(ctx, Join(orgID, userID)),
		UserRoles.RemoveWhere(ctx, "org_id = ? AND user_id = ?", orgID, userID),
		UserPermissions.RemoveWhere(ctx, "org_id = ? AND user_id = ?", orgID, userID),
	}
}

// RemoveUser removes a user with everything that is theirs.
func RemoveUser(ctx context.Context, id string) []Stmt {
	return append([]Stmt{
		Users.Remove(ctx, id).Once(),
		Passwords.Remove(ctx, id),
		Unblock(ctx, id),
		UserRoles.RemoveWhere(ctx, "user_id = ?", id),
		UserPermissions.RemoveWhere(ctx, "user_id = ?", id),
		Members.RemoveWhere(ctx, "user_id = ?", id),
		Consents.RemoveWhere(ctx, "user_id = ?", id),
	}, EndAccess(ctx, id, AccountDeleted)...)
}

// EndAccess ends a user's sessions, logins under way and refresh tokens, as when
// they are blocked or their password changes (contract C3.31, C5.83).
func EndAccess(ctx context.Context, userID string, why LogoutReason) []Stmt {
	return append(EndSessions(ctx, why, "user_id = ?", userID),
		LoginSessions.RemoveWhere(ctx, "user_id = ?", userID),
		Grants.RemoveWhere(ctx, "user_id = ?", userID),
		Tickets.RemoveWhere(ctx, "user_id = ?", userID),
	)
}
