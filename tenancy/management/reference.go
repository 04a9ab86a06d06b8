package management

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// identifier is the resource server's identifier that an audience names: itself,
// or that of the management API for any of its spellings in the tenant acted on
// (contract C2.20).
func (c *Call) identifier(audience string) string {
	issuers := c.api.config.Issuers(c.tenant)
	if len(issuers) == 0 {
		issuers = []string{""}
	}
	for _, issuer := range issuers {
		if tenancy.IsManagementAudience(audience, issuer) {
			return tenancy.ManagementAudience
		}
	}
	return audience
}

// checkIDs checks a list of ids in a body.
func checkIDs(path string, ids []string, max int) error {
	m := member{min: 1, max: max, each: 2048, unique: true}
	return m.accept(valueOf(ids), path)
}

// byID reads the rows with the ids, by id.
func byID[T any](ctx context.Context, t *tenancy.Table[T], ids []string) (map[string]*T, error) {
	rows := make(map[string]*T, len(ids))
	for chunk := range slices.Chunk(ids, 100) {
		list, err := t.Find(ctx, tenancy.Filter{Where: "id IN ?", Args: []any{chunk}})
		if err != nil {
			return nil, err
		}
		for i := range list {
			rows[meta(&list[i]).ID] = &list[i]
		}
	}
	return rows, nil
}

// absent are the ids that are not among the rows, in order.
func absent[T any](ids []string, rows map[string]*T) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return rows[id] != nil })
}

// permission names a permission in a body.
type permission struct {
	ResourceServer string `json:"resource_server_identifier"`
	Name           string `json:"permission_name"`
}

type permissionBody struct {
	Permissions []permission `json:"permissions"`
}

// resolved is a permission whose resource server was found.
type resolved struct {
	server *tenancy.ResourceServer
	name   string
}

// resolve finds the permissions of a body (contract C5.51). Where they are to be
// given, they have to be defined, and the caller has to hold those that are of
// the platform class.
func (c *Call) resolve(ctx context.Context, body []permission, give bool) ([]resolved, error) {
	if len(body) == 0 || len(body) > 1000 {
		return nil, invalid("permissions", "Array must have 1 to 1000 items")
	}
	servers := map[string]*tenancy.ResourceServer{}
	seen := map[resolved]bool{}
	var list []resolved
	for _, p := range body {
		identifier := c.identifier(p.ResourceServer)
		rs := servers[identifier]
		if rs == nil {
			var err error
			rs, err = tenancy.ResourceServers.First(ctx, "identifier = ?", identifier)
			if errors.Is(err, tenancy.ErrNotFound) {
				return nil, inexistent("permission", "Resource server with identifier '%s' not found", p.ResourceServer)
			}
			if err != nil {
				return nil, err
			}
			servers[identifier] = rs
		}
		if give && !rs.Defines(p.Name) {
			return nil, inexistent("permission", "Permission '%s' is not defined by '%s'", p.Name, p.ResourceServer)
		}
		if give && identifier == tenancy.ManagementAudience {
			if err := c.mayGive(p.Name); err != nil {
				return nil, err
			}
		}
		if r := (resolved{rs, p.Name}); !seen[r] {
			seen[r] = true
			list = append(list, r)
		}
	}
	return list, nil
}

// unalteredServers are guards that the permissions are still defined when the
// batch is written.
func unalteredServers(ctx context.Context, list []resolved) []tenancy.Stmt {
	servers := map[string]*tenancy.ResourceServer{}
	for _, p := range list {
		servers[p.server.ID] = p.server
	}
	var guards []tenancy.Stmt
	for _, id := range slices.Sorted(maps.Keys(servers)) {
		guards = append(guards, unaltered(ctx, tenancy.ResourceServers, servers[id]))
	}
	return guards
}

// mayGive refuses scopes of the platform class to callers who do not hold them
// outside of any organization: nobody can give away what they lack (contract
// C5.68 says so for client grants; roles and users are no way around it).
func (c *Call) mayGive(scopes ...string) error {
	if !c.tenant.IsControlPlane() {
		return nil
	}
	var lacking []string
	for _, s := range scopes {
		if slices.Contains(tenancy.PlatformScopes, s) && !c.holdsPlatform(s) {
			lacking = append(lacking, s)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	err := tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: %s", strings.Join(lacking, ", "))
	err.Header = map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(lacking, " "))}
	return err
}

func (c *Call) holdsPlatform(scope string) bool {
	return c.credential.OrgID == "" && c.credential.OrgName == "" && c.credential.Has(scope)
}

// mayAssign is [Call.mayGive] for what roles hold.
func (c *Call) mayAssign(ctx context.Context, roleIDs []string) error {
	if !c.tenant.IsControlPlane() {
		return nil
	}
	api, err := tenancy.ResourceServers.First(ctx, "identifier = ?", tenancy.ManagementAudience)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := tenancy.RolePermissions.Find(ctx, tenancy.Filter{
		Where: "role_id IN ? AND resource_server_id = ? AND permission IN ?", Args: []any{roleIDs, api.ID, tenancy.PlatformScopes},
	})
	if err != nil {
		return err
	}
	for _, p := range held {
		if err := c.mayGive(p.Permission); err != nil {
			return err
		}
	}
	return nil
}

// permissionViews are the answers for permissions: of which resource server, by
// its id, and which name.
func permissionViews[T any](ctx context.Context, rows []T, of func(*T) (serverID, name string)) ([]object, error) {
	var ids []string
	for i := range rows {
		id, _ := of(&rows[i])
		ids = append(ids, id)
	}
	slices.Sort(ids)
	servers, err := byID(ctx, tenancy.ResourceServers, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	answers := make([]object, len(rows))
	for i := range rows {
		id, name := of(&rows[i])
		rs := servers[id]
		if rs == nil {
			continue // removed since the rows were read
		}
		o := &answers[i]
		o.set("permission_name", name)
		o.set("description", describe(rs, name))
		o.set("resource_server_identifier", rs.Identifier)
		o.set("resource_server_name", rs.Name)
	}
	return answers, nil
}

func describe(rs *tenancy.ResourceServer, scope string) string {
	for _, s := range rs.Scopes {
		if s.Value == scope {
			return s.Description
		}
	}
	return ""
}

// ownSetting returns the tenant's own value of a setting that is a text, and a
// guard that it still is that when the batch is written.
func ownSetting(ctx context.Context, key string) (value string, guard tenancy.Stmt, err error) {
	row, err := tenancy.SettingsRows.Get(ctx, tenancy.SettingsOwn)
	if errors.Is(err, tenancy.ErrNotFound) {
		return "", tenancy.Require(ctx, "NOT EXISTS (SELECT 1 FROM settings WHERE tenant_id = @tenant AND id = ?)", tenancy.SettingsOwn), nil
	}
	if err != nil {
		return "", guard, err
	}
	value, _ = textOf(row.Values[key])
	return value, unaltered(ctx, tenancy.SettingsRows, row), nil
}
