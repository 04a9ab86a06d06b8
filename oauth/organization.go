package oauth

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// What a client does with organizations (contract C2.41).
const (
	organizationDeny    = "deny"
	organizationAllow   = "allow"
	organizationRequire = "require"
)

// How a client that requires an organization gets one (contract C2.41).
const (
	requireNoPrompt   = "no_prompt"
	requirePreLogin   = "pre_login_prompt"
	requireAfterLogin = "post_login_prompt"
)

// resolveOrganization finds the organization that the organization parameter
// names, by id or name, and decides whether the client may name one (contract
// C2.6, C2.24, C2.41). It needs no user, so it serves before login too. For ""
// it returns nil, unless the client requires one and asks nobody for it; silent
// requests without the parameter are judged by [Server.allowUser] instead.
func (s *Server) resolveOrganization(ctx context.Context, client *tenancy.Client, name string) (*tenancy.Organization, error) {
	usage, err := organizationUsage(ctx, client)
	switch {
	case err != nil:
		return nil, err
	case name == "" && usage == organizationRequire && !prompts(client):
		return nil, refuse(fosite.ErrInvalidRequest, "parameter organization is required for this client")
	case name == "":
		return nil, nil
	case usage == organizationDeny:
		return nil, refuse(fosite.ErrInvalidRequest, "parameter organization is not allowed for this client")
	}
	return findOrganization(ctx, name)
}

// findOrganization is the organization with the id or name (contract C2.6).
func findOrganization(ctx context.Context, name string) (*tenancy.Organization, error) {
	column, value := "id = ?", name
	if !tenancy.IsOrganizationID(name) {
		settings, err := tenancy.EffectiveSettings(ctx)
		if err != nil {
			return nil, err
		}
		if !settings.Bool("allow_organization_name_in_authentication_api") {
			return nil, refuse(fosite.ErrInvalidRequest, "authorization request parameter organization must be an organization id")
		}
		column, value = "name = ?", strings.ToLower(name)
	}
	org, err := tenancy.Cached(ctx, "oauth.organization", value, func(ctx context.Context) (*tenancy.Organization, error) {
		return tenancy.Organizations.First(ctx, column, value)
	})
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, refuse(fosite.ErrInvalidRequest, "parameter organization is invalid")
	}
	return org, err
}

// organizationUsage is the client's, or its default: allow on the control plane,
// deny elsewhere. Third-party clients have no organizations (contract C5.65).
func organizationUsage(ctx context.Context, client *tenancy.Client) (string, error) {
	tenant, err := tenancy.Current(ctx)
	switch {
	case err != nil:
		return "", err
	case !client.IsFirstParty:
		return organizationDeny, nil
	case tenant.IsControlPlane():
		return cmp.Or(client.OrganizationUsage, organizationAllow), nil
	}
	return cmp.Or(client.OrganizationUsage, organizationDeny), nil
}

// organizationRequired reports whether the client's requests need an
// organization.
func organizationRequired(ctx context.Context, client *tenancy.Client) (bool, error) {
	usage, err := organizationUsage(ctx, client)
	return usage == organizationRequire, err
}

// prompts reports whether the person is asked for the organization that a client
// requires.
func prompts(client *tenancy.Client) bool {
	return client.OrganizationRequireBehavior == requirePreLogin || client.OrganizationRequireBehavior == requireAfterLogin
}

// isMember reports whether the user belongs to the organization.
func isMember(ctx context.Context, orgID, userID string) (bool, error) {
	return exists(ctx, `SELECT 1 FROM members WHERE tenant_id = @tenant AND id = ?`, tenancy.Join(orgID, userID))
}

// ownOrganizations are the organizations a user belongs to, by name.
func ownOrganizations(ctx context.Context, userID string) ([]tenancy.Organization, error) {
	return tenancy.Organizations.Find(ctx, tenancy.Filter{
		Where: "id IN (SELECT org_id FROM members m WHERE m.tenant_id = organizations.tenant_id AND m.user_id = ?)",
		Args:  []any{userID}, Order: "name, id",
	})
}

// connectionServes reports whether people of the connection, by its name, may
// log in for the organization: one that has no connections of its own takes the
// client's (contract C2.36, C2.37).
func connectionServes(ctx context.Context, orgID, connection string) (bool, error) {
	own, err := organizationConnections(ctx, orgID)
	if err != nil || len(own) == 0 {
		return err == nil, err
	}
	enabled, err := organizationConnection(ctx, orgID, connection)
	return enabled != nil, err
}

// organizationConnection is how the organization has the connection of that
// name, or nil where it does not.
func organizationConnection(ctx context.Context, orgID, connection string) (*tenancy.OrganizationConnection, error) {
	own, err := organizationConnections(ctx, orgID)
	if err != nil || len(own) == 0 || connection == "" {
		return nil, err
	}
	c, err := tenancy.Cached(ctx, "oauth.connection", connection, func(ctx context.Context) (*tenancy.Connection, error) {
		return tenancy.Connections.First(ctx, "name = ?", connection)
	})
	if err != nil {
		return nil, ignoreMissing(err)
	}
	for i := range own {
		if own[i].ConnectionID == c.ID {
			return &own[i], nil
		}
	}
	return nil, nil
}

// organizationConnections are the connections an organization has of its own.
func organizationConnections(ctx context.Context, orgID string) ([]tenancy.OrganizationConnection, error) {
	return tenancy.Cached(ctx, "oauth.organization_connections", orgID, func(ctx context.Context) ([]tenancy.OrganizationConnection, error) {
		return tenancy.OrganizationConnections.Find(ctx, tenancy.Filter{Where: "org_id = ?", Args: []any{orgID}})
	})
}

// exists reports whether the reading statement gives any row.
func exists(ctx context.Context, text string, args ...any) (bool, error) {
	var one int
	err := tenancy.QueryRow(ctx, text, args, &one)
	return err == nil, ignoreMissing(err)
}

// ignoreMissing is err, unless it says that there is no row.
func ignoreMissing(err error) error {
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil
	}
	return err
}
