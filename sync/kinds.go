package sync

import (
	"context"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Kind is one kind of entity that is synced: a row of this file. The machinery
// that compares and writes exists once, in reconcile.go.
type Kind[T any] struct {
	Name   string            // as in the change log
	Table  *tenancy.Table[T] // the same on both sides
	Column string            // what rows are unique by within a tenant, beside their id

	// Of gives access to what sync itself looks at.
	Of func(*T) Member

	// Copy sets the members of a copy that follow the control plane's row
	// (contract 6.3).
	Copy func(to, from *T)

	// Remove gives the statements that delete a copy with the consequences a
	// deletion has in the tenant (contract C6.26).
	Remove func(context.Context, *T) []tenancy.Stmt

	// Rekey gives the statements that turn a copy into a copy of another row
	// with the same unique value (contract C6.11); nil where that is a deletion
	// and a creation.
	Rekey func(ctx context.Context, from, to *T) []tenancy.Stmt

	// Rename gives a row the name of a copy beside a row of the tenant's own
	// (contract C6.24); nil where the value of Column cannot be another.
	Rename func(*T)

	// OptIn marks a kind of which only rows that ask for it are shared.
	OptIn bool

	// Switch is the tenant's own switch for the kind; nil takes the
	// configuration's.
	Switch func(tenancy.SyncSwitches) *bool
}

// Member is what sync looks at in an entity of any kind.
type Member struct {
	Row      *tenancy.Row
	Unique   *string // the value of Kind.Column
	Title    string  // how people call it
	IsSystem *bool
	Origin   *string // id of the control plane's row; "" for what the tenant owns
	Metadata map[string]any
}

var resourceServers = Kind[tenancy.ResourceServer]{
	Name: tenancy.KindResourceServer, Table: tenancy.ResourceServers, Column: "identifier",
	Of: func(r *tenancy.ResourceServer) Member {
		return Member{&r.Row, &r.Identifier, r.Identifier, &r.IsSystem, &r.Origin, r.Metadata}
	},
	Copy: func(to, from *tenancy.ResourceServer) { // contract C6.12
		to.Identifier, to.Name, to.Scopes, to.SigningAlg = from.Identifier, from.Name, from.Scopes, from.SigningAlg
		to.TokenLifetime, to.TokenLifetimeForWeb = from.TokenLifetime, from.TokenLifetimeForWeb
		to.AllowOfflineAccess, to.SkipConsent = from.AllowOfflineAccess, from.SkipConsent
		to.EnforcePolicies, to.TokenDialect = from.EnforcePolicies, from.TokenDialect
	},
	Remove: tenancy.RemoveResourceServer,
	Rekey:  rekeyResourceServer,
	Switch: func(s tenancy.SyncSwitches) *bool { return s.ResourceServers },
}

var roles = Kind[tenancy.Role]{
	Name: tenancy.KindRole, Table: tenancy.Roles, Column: "name_key",
	Of: func(r *tenancy.Role) Member {
		return Member{&r.Row, &r.NameKey, r.Name, &r.IsSystem, &r.Origin, r.Metadata}
	},
	Copy: func(to, from *tenancy.Role) { // contract C6.13
		to.Name, to.NameKey, to.Description = from.Name, from.NameKey, from.Description
	},
	Rename: func(r *tenancy.Role) {
		r.Name += " (platform)"
		r.NameKey = tenancy.NameKeyOf(r.Name)
	},
	Remove: func(ctx context.Context, r *tenancy.Role) []tenancy.Stmt { return tenancy.RemoveRole(ctx, r.ID) },
	Switch: func(s tenancy.SyncSwitches) *bool { return s.Roles },
}

// connections are copied without their secrets, which stay on the control plane.
var connections = Kind[tenancy.Connection]{
	Name: tenancy.KindConnection, Table: tenancy.Connections, Column: "name", OptIn: true,
	Of: func(c *tenancy.Connection) Member {
		return Member{&c.Row, &c.Name, c.Name, &c.IsSystem, &c.Origin, c.Metadata}
	},
	Copy: func(to, from *tenancy.Connection) { // contract C6.14
		to.Name, to.DisplayName, to.Strategy, to.Options = from.Name, from.DisplayName, from.Strategy, from.Options
		to.ShowAsButton, to.IsDomainConnection, to.Realms = from.ShowAsButton, from.IsDomainConnection, from.Realms
	},
	Remove: func(ctx context.Context, c *tenancy.Connection) []tenancy.Stmt {
		return tenancy.RemoveConnection(ctx, c.ID)
	},
	Rename: func(c *tenancy.Connection) { c.Name += "-platform" },
	Switch: func(s tenancy.SyncSwitches) *bool { return s.Connections },
}

// entity is what an expression sees of a row.
func (k *Kind[T]) entity(row *T) Entity {
	m := k.Of(row)
	e := Entity{Kind: k.Name, ID: m.Row.ID, Name: m.Title, Metadata: m.Metadata}
	if server, ok := any(row).(*tenancy.ResourceServer); ok {
		e.Name, e.Identifier = server.Name, server.Identifier
	}
	return e
}

// shared reports whether a row of the control plane is meant for tenants:
// built-in rows never are (contract C6.7), nor are those whose metadata opts out
// with false or "false"; of an opt-in kind, only those that opt in (C6.18).
func (k *Kind[T]) shared(row *T) bool {
	m := k.Of(row)
	choice := m.Metadata["sync"]
	if k.OptIn {
		return !*m.IsSystem && (choice == true || choice == "true")
	}
	return !*m.IsSystem && choice != false && choice != "false"
}

// rekeyResourceServer gives the copy of a deleted resource server the id of the
// one that took over its identifier. What was granted of it stays granted.
func rekeyResourceServer(ctx context.Context, from, to *tenancy.ResourceServer) []tenancy.Stmt {
	sep := tenancy.Join("", "")
	return []tenancy.Stmt{
		tenancy.ResourceServers.Remove(ctx, from.ID).Once(),
		tenancy.SQL(ctx, `UPDATE role_permissions SET resource_server_id = ?, id = role_id || ? || permission
			WHERE tenant_id = @tenant AND resource_server_id = ?`, to.ID, sep+to.ID+sep, from.ID).Settled(),
		tenancy.SQL(ctx, `UPDATE user_permissions SET resource_server_id = ?, id = user_id || ? || org_id || ? || permission
			WHERE tenant_id = @tenant AND resource_server_id = ?`, to.ID, sep, sep+to.ID+sep, from.ID),
	}
}
