package management

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// clientGrants let clients ask for tokens by themselves (contract 5.8).
var clientGrants = &Resource[tenancy.ClientGrant]{
	Path: "/client-grants", Key: "client_grants", Entity: "Client grant", ID: "id", Table: tenancy.ClientGrants,
	Members: members{
		"id":                          readOnly(),
		"client_id":                   text(1, 255).must().atOnce(),
		"audience":                    text(1, 600).must().atOnce(),
		"scope":                       texts(scopesAtAll).distinct(),
		"organization_usage":          text(0, 0).in("deny", "allow", "require"),
		"allow_any_organization":      flag(),
		"subject_type":                text(0, 0).in("client", "user"),
		"authorization_details_types": texts(100),
		"is_system":                   readOnly(),
		"created_at":                  readOnly(),
		"updated_at":                  readOnly(),
	},
	New: func() *tenancy.ClientGrant {
		return &tenancy.ClientGrant{Row: tenancy.Row{ID: tenancy.NewID("cgr_", 16)}, OrganizationUsage: "deny", SubjectType: "client"}
	},
	Validate: func(ctx context.Context, c *Call, before, row *tenancy.ClientGrant) error {
		row.Audience = c.identifier(row.Audience)
		_, _, err := grantParties(ctx, c, before, row)
		return err
	},
	Also: alsoClientGrant,
	List: func(_ context.Context, c *Call, f *filter) error { return grantFilter(c, f) },
	Taken: func(row *tenancy.ClientGrant) error {
		return conflict("Client grant", "A client grant for client '%s' and audience '%s' already exists.", row.ClientID, row.Audience)
	},
}

// grantFilter narrows a list of grants by the query.
func grantFilter(c *Call, f *filter) error {
	if audience := c.query.Get("audience"); audience != "" {
		f.and("audience = ?", c.identifier(audience))
	}
	if client := c.query.Get("client_id"); client != "" {
		f.and("client_id = ?", client)
	}
	if kind := c.query.Get("subject_type"); kind != "" {
		f.and("subject_type = ?", kind)
	}
	on, given, err := flagOf(c.query, "allow_any_organization")
	if given {
		f.and("allow_any_organization = ?", on)
	}
	return err
}

// grantParties finds client and resource server of a grant, and checks the grant
// against them.
func grantParties(ctx context.Context, c *Call, before, row *tenancy.ClientGrant) (*tenancy.Client, *tenancy.ResourceServer, error) {
	client, err := found(tenancy.Clients.Get(ctx, row.ClientID))("Client")
	if err != nil {
		return nil, nil, err
	}
	rs, err := tenancy.ResourceServers.First(ctx, "identifier = ?", row.Audience)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, nil, missing("Resource server")
	}
	if err != nil {
		return nil, nil, err
	}
	if row.AllowAnyOrganization && !client.IsFirstParty {
		return nil, nil, invalid("allow_any_organization", "Third-party clients cannot use any organization")
	}
	for _, scope := range row.Scope {
		if before != nil && slices.Contains(before.Scope, scope) {
			continue // what was granted before may be written back
		}
		if !rs.Defines(scope) {
			return nil, nil, invalid("scope", "The scope '%s' is not defined by '%s'", scope, rs.Identifier)
		}
		if rs.Identifier == tenancy.ManagementAudience {
			if err := c.mayGive(scope); err != nil {
				return nil, nil, err
			}
		}
	}
	return client, rs, nil
}

func alsoClientGrant(ctx context.Context, c *Call, before, row *tenancy.ClientGrant) ([]tenancy.Stmt, error) {
	if row == nil {
		return tenancy.RemoveClientGrant(ctx, before.ID), nil
	}
	if before != nil && slices.Equal(before.Scope, row.Scope) && before.AllowAnyOrganization == row.AllowAnyOrganization &&
		before.OrganizationUsage == row.OrganizationUsage {
		return nil, nil
	}
	client, rs, err := grantParties(ctx, c, before, row)
	if err != nil {
		return nil, err
	}
	stmts := []tenancy.Stmt{unaltered(ctx, tenancy.Clients, client), unaltered(ctx, tenancy.ResourceServers, rs)}
	if before != nil && row.OrganizationUsage == "deny" {
		stmts = append(stmts, tenancy.GrantOrganizations.RemoveWhere(ctx, "grant_id = ?", row.ID))
	}
	return stmts, nil
}

// clientGrantRoutes are those on the organizations a grant is for.
var clientGrantRoutes = []route{
	get("/client-grants/{id}/organizations", grantOrganizations, "read:organization_client_grants"),
}

func grantOrganizations(ctx context.Context, c *Call) (any, error) {
	grant, err := clientGrants.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.GrantOrganization]{
		table: tenancy.GrantOrganizations, key: "organizations",
		answers: func(ctx context.Context, rows []tenancy.GrantOrganization) ([]object, error) {
			return linked(ctx, c, organizations, rows, func(r *tenancy.GrantOrganization) string { return r.OrganizationID })
		},
	}
	l.filter.and("grant_id = ?", grant.ID)
	return l.answer(ctx, c)
}

// organizationGrantRoutes associate grants with organizations (contract C5.46).
var organizationGrantRoutes = []route{
	get("/organizations/{id}/client-grants", organizationGrants, "read:organization_client_grants"),
	write(http.MethodPost, "/organizations/{id}/client-grants", http.StatusCreated, Handle(associateGrant), "create:organization_client_grants"),
	write(http.MethodDelete, "/organizations/{id}/client-grants/{grant}", http.StatusNoContent, dissociateGrant, "delete:organization_client_grants"),
}

func organizationGrants(ctx context.Context, c *Call) (any, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.ClientGrant]{
		table: tenancy.ClientGrants, key: "client_grants",
		answers: func(ctx context.Context, rows []tenancy.ClientGrant) ([]object, error) {
			return clientGrants.views(ctx, c, rows)
		},
	}
	l.filter.and(`id IN (SELECT grant_id FROM client_grant_organizations
		WHERE tenant_id = client_grants.tenant_id AND organization_id = ?)`, org.ID)
	if ids := slices.Concat(c.query["grant_ids"], c.query["grant_ids[]"]); len(ids) > 0 {
		if len(ids) > 100 {
			return nil, badQuery("'grant_ids' has more than 100 values")
		}
		l.filter.and("id IN ?", ids)
	}
	if err := grantFilter(c, &l.filter); err != nil {
		return nil, err
	}
	return l.answer(ctx, c)
}

type grantBody struct {
	GrantID string `json:"grant_id"`
}

func associateGrant(ctx context.Context, c *Call, in *grantBody) (any, error) {
	var grant *tenancy.ClientGrant
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		org, err := organizations.get(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		grant, err = tenancy.ClientGrants.Get(ctx, in.GrantID)
		if errors.Is(err, tenancy.ErrNotFound) {
			return nil, inexistent("client_grant", "The client grant '%s' does not exist.", in.GrantID)
		}
		if err != nil {
			return nil, err
		}
		if grant.OrganizationUsage == "deny" || grant.OrganizationUsage == "" {
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Client grant does not allow organizations")
		}
		row := &tenancy.GrantOrganization{Row: tenancy.Row{ID: tenancy.Join(grant.ID, org.ID)}, GrantID: grant.ID, OrganizationID: org.ID}
		return []tenancy.Stmt{
			exists(ctx, tenancy.Organizations, org.ID), unaltered(ctx, tenancy.ClientGrants, grant),
			tenancy.GrantOrganizations.Insert(ctx, row),
		}, nil
	})
	if errors.Is(err, tenancy.ErrConflict) && !errors.Is(err, tenancy.ErrStale) {
		return nil, conflict("organization_client_grant", "The client grant is already associated with the organization")
	}
	if err != nil {
		return nil, err
	}
	return clientGrants.view(ctx, c, grant)
}

func dissociateGrant(ctx context.Context, c *Call) (any, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	if _, err := found(tenancy.GrantOrganizations.Get(ctx, tenancy.Join(c.param("grant"), org.ID)))("Client grant"); err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.GrantOrganizations.Remove(ctx, tenancy.Join(c.param("grant"), org.ID)))
}
