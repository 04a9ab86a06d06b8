package management

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// organizationConnectionRoutes say whose users may log in for an organization
// (contract C5.45).
var organizationConnectionRoutes = []route{
	get("/organizations/{id}/enabled_connections", orgConnections, "read:organization_connections"),
	write(http.MethodPost, "/organizations/{id}/enabled_connections", http.StatusCreated, Handle(addOrgConnection), "create:organization_connections"),
	get("/organizations/{id}/enabled_connections/{connection}", readOrgConnection, "read:organization_connections"),
	write(http.MethodPatch, "/organizations/{id}/enabled_connections/{connection}", http.StatusOK, Handle(changeOrgConnection), "update:organization_connections"),
	write(http.MethodDelete, "/organizations/{id}/enabled_connections/{connection}", http.StatusNoContent, removeOrgConnection, "delete:organization_connections"),
}

// orgConnection is the body that enables a connection.
type orgConnection struct {
	ConnectionID     string `json:"connection_id"`
	AssignMembership *bool  `json:"assign_membership_on_login"`
	ShowAsButton     *bool  `json:"show_as_button"` // default true, see contract C2.36
	IsSignupEnabled  *bool  `json:"is_signup_enabled"`
}

// row is a new row of the body.
func (e orgConnection) row(orgID string) *tenancy.OrganizationConnection {
	row := &tenancy.OrganizationConnection{
		Row:   tenancy.Row{ID: tenancy.Join(orgID, e.ConnectionID)},
		OrgID: orgID, ConnectionID: e.ConnectionID, ShowAsButton: true,
	}
	e.apply(row)
	return row
}

func (e orgConnection) apply(row *tenancy.OrganizationConnection) {
	set(&row.AssignMembership, e.AssignMembership)
	set(&row.ShowAsButton, e.ShowAsButton)
	set(&row.IsSignupEnabled, e.IsSignupEnabled)
}

// set gives a field the value that was given for it, if one was.
func set[T any](field, given *T) {
	if given != nil {
		*field = *given
	}
}

func orgConnections(ctx context.Context, c *Call) (any, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.OrganizationConnection]{table: tenancy.OrganizationConnections, key: "enabled_connections", answers: orgConnectionViews}
	l.filter.and("org_id = ?", org.ID)
	return l.answer(ctx, c)
}

func orgConnectionViews(ctx context.Context, rows []tenancy.OrganizationConnection) ([]object, error) {
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.ConnectionID)
	}
	named, err := byID(ctx, tenancy.Connections, ids)
	if err != nil {
		return nil, err
	}
	answers := make([]object, len(rows))
	for i := range rows {
		connection := named[rows[i].ConnectionID]
		if connection == nil {
			continue // removed since the rows were read
		}
		answers[i] = render(&rows[i])
		answers[i].drop("created_at", "updated_at")
		answers[i].set("connection", map[string]string{"name": connection.Name, "strategy": connection.Strategy})
	}
	return answers, nil
}

// orgConnection finds the row that the path names.
func (c *Call) orgConnection(ctx context.Context) (*tenancy.OrganizationConnection, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	return found(tenancy.OrganizationConnections.Get(ctx, tenancy.Join(org.ID, c.param("connection"))))("Connection")
}

func orgConnectionView(ctx context.Context, row *tenancy.OrganizationConnection) (any, error) {
	answers, err := orgConnectionViews(ctx, []tenancy.OrganizationConnection{*row})
	if err != nil {
		return nil, err
	}
	if len(answers[0].members) == 0 {
		return nil, missing("Connection")
	}
	return answers[0], nil
}

func readOrgConnection(ctx context.Context, c *Call) (any, error) {
	row, err := c.orgConnection(ctx)
	if err != nil {
		return nil, err
	}
	return orgConnectionView(ctx, row)
}

func addOrgConnection(ctx context.Context, c *Call, in *orgConnection) (any, error) {
	if in.ConnectionID == "" {
		return nil, invalid("", "Missing required property: connection_id")
	}
	var row *tenancy.OrganizationConnection
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		org, err := organizations.get(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		if err := mustExist(ctx, tenancy.Connections, "connection", []string{in.ConnectionID}); err != nil {
			return nil, err
		}
		row = in.row(org.ID)
		return []tenancy.Stmt{
			exists(ctx, tenancy.Organizations, org.ID), exists(ctx, tenancy.Connections, in.ConnectionID),
			tenancy.OrganizationConnections.Insert(ctx, row),
		}, nil
	})
	if errors.Is(err, tenancy.ErrConflict) && !errors.Is(err, tenancy.ErrStale) {
		return nil, conflict("organization_connection", "The connection is already enabled for the organization")
	}
	if err != nil {
		return nil, err
	}
	return orgConnectionView(ctx, row)
}

func changeOrgConnection(ctx context.Context, c *Call, in *orgConnection) (any, error) {
	row, err := c.orgConnection(ctx)
	if err != nil {
		return nil, err
	}
	if in.ConnectionID != "" && in.ConnectionID != row.ConnectionID {
		return nil, invalid("connection_id", "Read-only property cannot be changed")
	}
	row, err = found(tenancy.OrganizationConnections.Update(ctx, row.ID, func(row *tenancy.OrganizationConnection) error {
		before := *row
		if in.apply(row); before == *row {
			return tenancy.ErrUnchanged
		}
		return nil
	}))("Connection")
	if err != nil {
		return nil, err
	}
	return orgConnectionView(ctx, row)
}

func removeOrgConnection(ctx context.Context, c *Call) (any, error) {
	row, err := c.orgConnection(ctx)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.OrganizationConnections.Remove(ctx, row.ID))
}
