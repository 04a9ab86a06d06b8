package sync

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// scopesOf remembers the scopes of resource servers before they are changed.
func scopesOf(servers []tenancy.ResourceServer) map[string][]tenancy.Scope {
	scopes := make(map[string][]tenancy.Scope, len(servers))
	for i := range servers {
		scopes[servers[i].ID] = servers[i].Scopes
	}
	return scopes
}

// consequences adds what follows in the tenant from changes of resource servers:
// whatever was granted of a scope that is gone goes with it (contract C6.17,
// C5.57), and a default audience that is gone is cleared (C6.27).
func (p *plan) consequences(d delta[tenancy.ResourceServer], before map[string][]tenancy.Scope) error {
	for _, server := range d.updated {
		if err := p.dropScopes(server, before[server.ID]); err != nil {
			return err
		}
	}
	for _, pair := range d.rekeyed {
		if err := p.dropScopes(pair[1], before[pair[0].ID]); err != nil {
			return err
		}
	}
	if len(d.removed) == 0 {
		return nil
	}
	row, err := tenancy.SettingsRows.Get(p.inside, tenancy.SettingsOwn)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	for _, server := range d.removed {
		var audience string
		if json.Unmarshal(row.Values["default_audience"], &audience) == nil && audience == server.Identifier {
			delete(row.Values, "default_audience")
			p.stmts = append(p.stmts, tenancy.SettingsRows.Replace(p.inside, row))
			p.cleared = server.Identifier
			return nil
		}
	}
	return nil
}

// dropScopes removes what was granted of the scopes a resource server no longer
// has: from roles, users and client grants.
func (p *plan) dropScopes(server *tenancy.ResourceServer, before []tenancy.Scope) error {
	var gone []string
	for _, scope := range before {
		if !server.Defines(scope.Value) {
			gone = append(gone, scope.Value)
			p.stmts = append(p.stmts, tenancy.RemoveScope(p.inside, server.ID, scope.Value)...)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	grants, err := tenancy.ClientGrants.Find(p.inside, tenancy.Filter{Where: "audience = ?", Args: []any{server.Identifier}})
	if err != nil {
		return err
	}
	for i := range grants {
		grant := &grants[i]
		had := len(grant.Scope)
		grant.Scope = slices.DeleteFunc(grant.Scope, func(s string) bool { return slices.Contains(gone, s) })
		if len(grant.Scope) != had {
			p.stmts = append(p.stmts, tenancy.ClientGrants.Replace(p.inside, grant))
		}
	}
	return nil
}

// permissions gives each copied role exactly those of the control plane's
// permissions whose resource server and scope exist in the tenant, and counts
// the others (contract C6.13).
func (p *plan) permissions(servers delta[tenancy.ResourceServer], d delta[tenancy.Role], want *wish[tenancy.Role]) error {
	have, err := p.permissionRows(servers, d, want)
	if err != nil {
		return err
	}
	defined := definitions(servers.present)
	guarded, lacks := map[string]bool{}, map[string][]string{}
	for _, role := range d.present {
		if role.Origin == "" || want.of(role.Origin) == nil || !p.work.roles.has(role.Origin) {
			continue
		}
		for _, perm := range p.picture.permissions[role.Origin] {
			server := defined[perm.identifier]
			if server == nil || !server.scopes[perm.scope] {
				p.skip(perm)
				continue
			}
			own := server.Origin == "" && !server.IsSystem
			if own {
				p.pending++ // the tenant can change it
			}
			row := tenancy.NewRolePermission(role.ID, server.ID, perm.scope)
			if _, ok := have[row.ID]; ok {
				delete(have, row.ID)
				continue
			}
			lacks[role.ID] = append(lacks[role.ID], perm.identifier+" "+perm.scope)
			if own && !guarded[server.ID] {
				guarded[server.ID] = true
				p.stmts = append(p.stmts, tenancy.Require(p.inside,
					`EXISTS (SELECT 1 FROM resource_servers WHERE tenant_id = @tenant AND id = ? AND revision = ?)`,
					server.ID, server.Revision))
			}
			p.stmts = append(p.stmts, tenancy.RolePermissions.Insert(p.inside, row))
		}
	}
	for _, id := range sortedKeys(have) {
		p.stmts = append(p.stmts, tenancy.RolePermissions.Remove(p.inside, id))
	}
	if p.explain {
		p.explainPermissions(servers, d, lacks, have)
	}
	return nil
}

// explainPermissions adds what roles lack of their permissions and have too many
// to the drift. Of a role that is missing itself that goes without saying.
func (p *plan) explainPermissions(servers delta[tenancy.ResourceServer], d delta[tenancy.Role], lacks map[string][]string, extra map[string]*tenancy.RolePermission) {
	identifiers := map[string]string{}
	for _, server := range servers.present {
		identifiers[server.ID] = server.Identifier
	}
	surplus := map[string][]string{}
	for _, id := range sortedKeys(extra) {
		row := extra[id]
		surplus[row.RoleID] = append(surplus[row.RoleID], identifiers[row.ResourceServerID]+" "+row.Permission)
	}
	for _, role := range d.present {
		if slices.Contains(d.inserted, role) || len(lacks[role.ID])+len(surplus[role.ID]) == 0 {
			continue
		}
		p.drift = append(p.drift, Drift{
			Entity: roles.Name, OriginID: role.Origin, LocalID: role.ID, Kind: DriftModified, Action: "update",
			Fields: []Difference{{"permissions", append([]string{}, lacks[role.ID]...), append([]string{}, surplus[role.ID]...)}},
		})
	}
}

// skip counts a permission that the tenant cannot have now. Those of the
// platform class exist on the control plane only and never follow (C6.16).
func (p *plan) skip(perm permission) {
	p.skipped++
	if perm.identifier != tenancy.ManagementAudience || !slices.Contains(tenancy.PlatformScopes, perm.scope) {
		p.pending++
	}
}

// definition is a resource server of the tenant with its scopes as a set.
type definition struct {
	*tenancy.ResourceServer
	scopes map[string]bool
}

func definitions(servers []*tenancy.ResourceServer) map[string]*definition {
	byIdentifier := make(map[string]*definition, len(servers))
	for _, server := range servers {
		d := &definition{server, make(map[string]bool, len(server.Scopes))}
		for _, scope := range server.Scopes {
			d.scopes[scope.Value] = true
		}
		byIdentifier[server.Identifier] = d
	}
	return byIdentifier
}

// permissionRows returns, by id, the permission rows of the selected copies
// of roles, as they are once resource servers have been changed.
func (p *plan) permissionRows(servers delta[tenancy.ResourceServer], d delta[tenancy.Role], want *wish[tenancy.Role]) (map[string]*tenancy.RolePermission, error) {
	have := map[string]*tenancy.RolePermission{}
	var ids []any
	for _, role := range d.present {
		if role.Origin != "" && p.work.roles.has(role.Origin) && want.of(role.Origin) != nil && !slices.Contains(d.inserted, role) {
			ids = append(ids, role.ID)
		}
	}
	if len(ids) == 0 {
		return have, nil
	}
	text, args := `SELECT role_id, resource_server_id, permission FROM role_permissions WHERE tenant_id = @tenant AND role_id IN (?`, ids
	if len(ids) > selectionLimit {
		text, args = `SELECT role_id, resource_server_id, permission FROM role_permissions WHERE tenant_id = @tenant
			AND role_id IN (SELECT id FROM roles WHERE tenant_id = @tenant AND origin <> ''`, nil
	} else {
		for range ids[1:] {
			text += `, ?`
		}
	}
	rows, err := tenancy.Query(p.inside, text+`)`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	renamed, removed := map[string]string{}, map[string]bool{}
	for _, pair := range servers.rekeyed {
		renamed[pair[0].ID] = pair[1].ID
	}
	for _, server := range servers.removed {
		removed[server.ID] = true
	}
	for rows.Next() {
		var role, server, scope string
		if err := rows.Scan(&role, &server, &scope); err != nil {
			return nil, err
		}
		if id, ok := renamed[server]; ok {
			server = id
		}
		if !removed[server] && slices.Contains(ids, any(role)) { // else they go with it
			row := tenancy.NewRolePermission(role, server, scope)
			have[row.ID] = row
		}
	}
	return have, errors.Join(rows.Err(), rows.Close())
}
