package login

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// offered is a connection that a person may log in with.
type offered struct {
	tenancy.Connection
	signUp bool // whether they may also make an account in it
	shown  bool // whether a connection to elsewhere gets a button
}

// connectionsOf returns the database connections among [allConnectionsOf].
func connectionsOf(ctx context.Context, clientID, orgID string) ([]offered, error) {
	list, err := allConnectionsOf(ctx, clientID, orgID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(list), func(o offered) bool { return o.Strategy != tenancy.StrategyDatabase }), nil
}

// allConnectionsOf returns the connections enabled for a client, oldest first.
// Inside an organization that has connections of its own they must be enabled for
// it too, and shown (contract C2.36). The result is shared and must not be changed.
func allConnectionsOf(ctx context.Context, clientID, orgID string) ([]offered, error) {
	return tenancy.Cached(ctx, "login connections", tenancy.Join(clientID, orgID), func(ctx context.Context) ([]offered, error) {
		connections, err := tenancy.Connections.Find(ctx, tenancy.Filter{
			Where: `id IN (SELECT connection_id FROM client_connections
				WHERE tenant_id = connections.tenant_id AND client_id = ?)`,
			Args: []any{clientID}, Order: "created_at, id",
		})
		if err != nil {
			return nil, err
		}
		enabled, err := enabledFor(ctx, orgID)
		if err != nil {
			return nil, err
		}
		var list []offered
		for _, c := range connections {
			disabled, _ := c.Options["disable_signup"].(bool)
			o := offered{Connection: c, signUp: !disabled, shown: c.ShowAsButton || slices.Contains(socialStrategies, c.Strategy)}
			if len(enabled) > 0 {
				at := slices.IndexFunc(enabled, func(e tenancy.OrganizationConnection) bool { return e.ConnectionID == c.ID })
				if at < 0 || !enabled[at].ShowAsButton {
					continue
				}
				o.signUp = o.signUp && enabled[at].IsSignupEnabled
				o.shown = true
			}
			list = append(list, o)
		}
		return list, nil
	})
}

func enabledFor(ctx context.Context, orgID string) ([]tenancy.OrganizationConnection, error) {
	if orgID == "" {
		return nil, nil
	}
	return tenancy.OrganizationConnections.Find(ctx, tenancy.Filter{Where: "org_id = ?", Args: []any{orgID}})
}

// connections are those of this login: what [connectionsOf] gives, narrowed by
// the request's connection parameter (contract C4.25). None is an error whose
// page tells the operator what to do.
func (s *step) connections() ([]offered, error) {
	var orgID string
	if s.org != nil {
		orgID = s.org.ID
	}
	list, err := connectionsOf(s.ctx, s.client.ID, orgID)
	if err != nil {
		return nil, err
	}
	if i := s.invitation; i != nil && i.ConnectionID != "" {
		at := slices.IndexFunc(list, func(o offered) bool { return o.ID == i.ConnectionID })
		if at < 0 {
			return nil, s.noConnection("The connection of the invitation cannot be used here.")
		}
		return list[at : at+1], nil
	}
	if name := s.session.Request["connection"]; name != "" {
		at := slices.IndexFunc(list, func(o offered) bool { return o.Name == name })
		if at < 0 {
			return nil, s.noConnection("The connection " + name + " cannot be used here.")
		}
		return list[at : at+1], nil
	}
	if len(list) == 0 {
		return nil, s.noConnection("No way to log in is set up for this application.")
	}
	return list, nil
}

func (s *step) noConnection(message string) error {
	f := &failure{
		Status: http.StatusBadRequest, Title: "Login is not available", Message: message,
		Detail: "For the operator: enable a database connection for client " + s.client.ID +
			" with PATCH /api/v2/connections/{id}/clients",
	}
	if s.org != nil {
		f.Detail += ", and for organization " + s.org.ID +
			" with POST /api/v2/organizations/" + s.org.ID + "/enabled_connections (show_as_button true)"
	}
	f.Detail += "."
	return f
}

// signUpConnection returns the first of the connections that people may make an
// account in.
func signUpConnection(list []offered) (offered, bool) {
	at := slices.IndexFunc(list, func(o offered) bool { return o.signUp })
	if at < 0 {
		return offered{}, false
	}
	return list[at], true
}

// candidate is a user whom an identifier may mean.
type candidate struct {
	connection offered
	user       *tenancy.User // nil where it is nobody's
}

// candidates returns whom an identifier may mean: one user per connection at
// most, and where it is nobody's, that.
func candidates(ctx context.Context, connections []offered, identifier string) ([]candidate, error) {
	var list []candidate
	for _, c := range connections {
		user, err := tenancy.UserByIdentifier(ctx, c.Name, identifier)
		if errors.Is(err, tenancy.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, candidate{c, user})
	}
	if len(list) == 0 {
		list = append(list, candidate{connection: connections[0]})
	}
	return list, nil
}
