package oauth

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// machineAsk is what a client wants to be allowed for itself.
type machineAsk struct {
	Client       *tenancy.Client
	Audience     string // "" asks for the tenant's default audience
	Scope        string // as given; "" asks for all the client has
	Organization string // id or name; "" for none
}

// allowClient is the calculation for client credentials (contract C2.31 to
// C2.35, C2.46 to C2.50). What it allowed once it knows from memory until the
// tenant's configuration changes, so a warm request reads no database.
func (s *Server) allowClient(ctx context.Context, ask machineAsk) (*Allowance, error) {
	audience, err := audienceOrDefault(ctx, ask.Audience)
	if err != nil {
		return nil, err
	}
	if audience == "" {
		return nil, refuse(fosite.ErrInvalidRequest, "audience is required") // C2.31
	}
	ask.Audience = audience
	identifier := tenancy.IdentifierOf(ctx, audience) // depends on the host, so it is part of the key
	key := tenancy.Join(ask.Client.ID, audience, identifier, ask.Organization, ask.Scope)
	return tenancy.Cached(ctx, "oauth.machine", key, func(ctx context.Context) (*Allowance, error) {
		return calculateMachine(ctx, ask, identifier)
	})
}

func calculateMachine(ctx context.Context, ask machineAsk, identifier string) (*Allowance, error) {
	rs, err := tenancy.CachedResourceServer(ctx, identifier)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, refuse(fosite.ErrAccessDenied, "Service not enabled within domain: %s", ask.Audience) // C2.32
	}
	if err != nil {
		return nil, err
	}
	grant, err := tenancy.ClientGrants.First(ctx, "client_id = ? AND audience = ?", ask.Client.ID, rs.Identifier)
	if errors.Is(err, tenancy.ErrNotFound) { // C2.33
		return nil, refuse(fosite.ErrAccessDenied,
			`Client is not authorized to access "%s". You need to create a "client-grant" associated to this API.`, ask.Audience)
	}
	if err != nil {
		return nil, err
	}
	a := &Allowance{ResourceServer: rs, Audience: ask.Audience}
	if a.Organization, err = machineOrganization(ctx, ask, grant); err != nil {
		return nil, err
	}
	if a.Scopes, err = machineScopes(ask.Scope, grant, rs); err != nil {
		return nil, err
	}
	if listsPermissions(rs) {
		a.Permissions = slices.Sorted(slices.Values(a.Scopes))
		if a.Permissions == nil {
			a.Permissions = []string{}
		}
	}
	return a, nil
}

// machineScopes is what is granted of the requested scopes (contract C2.34,
// C2.35). Scopes of OpenID Connect are like any other here: a program is no
// person.
func machineScopes(requested string, grant *tenancy.ClientGrant, rs *tenancy.ResourceServer) ([]string, error) {
	defined := definedScopes(rs)
	own := make(map[string]bool, len(grant.Scope))
	all := make([]string, 0, len(grant.Scope))
	for _, scope := range grant.Scope {
		if defined[scope] && !own[scope] {
			own[scope] = true
			all = append(all, scope)
		}
	}
	list, err := parseScope(requested)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return all, nil
	}
	var missing []string
	for _, scope := range list {
		if !own[scope] {
			missing = append(missing, scope)
		}
	}
	if missing != nil {
		return nil, refuse(fosite.ErrAccessDenied, "Client has not been granted scopes: %s", strings.Join(missing, ", "))
	}
	return list, nil
}

// machineOrganization is the organization a program's token is for: the one
// named, else the client's default one (contract C2.46 to C2.50).
func machineOrganization(ctx context.Context, ask machineAsk, grant *tenancy.ClientGrant) (*tenancy.Organization, error) {
	name, usage := ask.Organization, cmp.Or(grant.OrganizationUsage, organizationDeny)
	if d := ask.Client.DefaultOrganization; name == "" && d != nil && usage != organizationDeny && slices.Contains(d.Flows, grantClientCredentials) {
		name = d.OrganizationID
	}
	if name == "" {
		if usage == organizationRequire {
			return nil, refuse(fosite.ErrAccessDenied, "Client grant requires an organization") // C2.48
		}
		return nil, nil
	}
	org, err := findOrganization(ctx, name) // C2.46
	if err != nil {
		return nil, err
	}
	if usage == organizationDeny {
		return nil, refuse(fosite.ErrAccessDenied, "Client grant does not allow organizations") // C2.47
	}
	if grant.AllowAnyOrganization && ask.Client.IsFirstParty { // C2.50
		return org, nil
	}
	_, err = tenancy.GrantOrganizations.Get(ctx, tenancy.Join(grant.ID, org.ID))
	if errors.Is(err, tenancy.ErrNotFound) { // C2.49
		return nil, refuse(fosite.ErrAccessDenied, "Client is not authorized to access organization %s", org.ID)
	}
	return org, err
}
