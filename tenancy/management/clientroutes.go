package management

import (
	"context"
	"net/http"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// clientRoutes are those on a client beside the five verbs (contract C5.60, C5.62).
var clientRoutes = []route{
	write(http.MethodPost, "/clients/{id}/rotate-secret", http.StatusOK, Handle(rotateSecret), "update:client_keys"),
	get("/clients/{id}/connections", clientConnections, "read:connections", "read:clients").all(),
	write(http.MethodPatch, "/clients/{id}/connections", http.StatusNoContent, Handle(enableConnections), "update:clients"),
}

type rotation struct {
	Overlap *int `json:"overlap_sec"`
}

// rotateSecret gives a client a new secret; the old one goes on being accepted
// for the overlap, in seconds.
func rotateSecret(ctx context.Context, c *Call, in *rotation) (any, error) {
	overlap := 0
	if in.Overlap != nil {
		if err := number(0, 86400).accept(valueOf(*in.Overlap), "overlap_sec"); err != nil {
			return nil, err
		}
		overlap = *in.Overlap
	}
	var row *tenancy.Client
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		before, err := clients.writable(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		if before.IsPublic() || before.TokenEndpointAuthMethod == "private_key_jwt" {
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The client does not authenticate with a secret")
		}
		changed := *before
		row = &changed
		row.PreviousSecretHash, row.PreviousSecret, row.PreviousUntil = "", "", 0
		if overlap > 0 {
			row.PreviousSecretHash, row.PreviousSecret = before.SecretHash, before.Secret
			row.PreviousUntil = tenancy.At(c.api.config.Now().Add(time.Duration(overlap) * time.Second))
		}
		row.Secret = tenancy.NewID("", 64)
		if row.SecretHash, err = tenancy.HashSecret(ctx, row.Secret); err != nil {
			return nil, err
		}
		return []tenancy.Stmt{tenancy.Clients.Replace(ctx, row)}, nil
	})
	if err != nil {
		return nil, err
	}
	return clients.one(ctx, c, row)
}

// clientConnections lists the connections that are enabled for a client.
func clientConnections(ctx context.Context, c *Call) (any, error) {
	client, err := clients.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.ClientConnection]{
		table: tenancy.ClientConnections, key: "connections", form: checkpoint,
		answers: func(ctx context.Context, rows []tenancy.ClientConnection) ([]object, error) {
			return linked(ctx, c, connections, rows, func(r *tenancy.ClientConnection) string { return r.ConnectionID })
		},
	}
	l.filter.and("client_id = ?", client.ID)
	return l.answer(ctx, c)
}

// linked are the answers for the entities that linking rows lead to, in their
// order; one that was removed meanwhile has none.
func linked[L, T any](ctx context.Context, c *Call, r *Resource[T], rows []L, of func(*L) string) ([]object, error) {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = of(&rows[i])
	}
	targets, err := byID(ctx, r.Table, ids)
	if err != nil {
		return nil, err
	}
	var there []T
	for _, id := range ids {
		if t := targets[id]; t != nil {
			there = append(there, *t)
		}
	}
	return r.views(ctx, c, there)
}

// enablement switches a connection on or off for a client.
type enablement struct {
	ClientID     string `json:"client_id"`
	ConnectionID string `json:"connection_id"`
	Status       *bool  `json:"status"`
}

// enableConnections switches connections for the client of the path.
func enableConnections(ctx context.Context, c *Call, in *[]enablement) (any, error) {
	return enable(ctx, *in, func() error {
		client, err := clients.get(ctx, c, c.param("id"))
		if err != nil {
			return err
		}
		if err := clients.unguarded(ctx, c, client); err != nil {
			return err
		}
		for i := range *in {
			if e := &(*in)[i]; e.ConnectionID == "" || e.ClientID != "" && e.ClientID != client.ID {
				return invalid("", "Missing required property: connection_id")
			}
			(*in)[i].ClientID = client.ID
		}
		return nil
	})
}

// enable writes switches, all of them or none. complete fills in the side that
// the path names.
func enable(ctx context.Context, in []enablement, complete func() error) (any, error) {
	if len(in) < 1 || len(in) > 50 {
		return nil, invalid("", "Array must have 1 to 50 items")
	}
	err := link(ctx, func() ([]tenancy.Stmt, error) {
		if err := complete(); err != nil {
			return nil, err
		}
		var clientIDs, connectionIDs, ids []string
		for _, e := range in {
			if e.Status == nil {
				return nil, invalid("", "Missing required property: status")
			}
			clientIDs, connectionIDs = append(clientIDs, e.ClientID), append(connectionIDs, e.ConnectionID)
			ids = append(ids, tenancy.Join(e.ClientID, e.ConnectionID))
		}
		if err := mustExist(ctx, tenancy.Clients, "client", clientIDs); err != nil {
			return nil, err
		}
		if err := mustExist(ctx, tenancy.Connections, "connection", connectionIDs); err != nil {
			return nil, err
		}
		there, err := byID(ctx, tenancy.ClientConnections, ids)
		if err != nil {
			return nil, err
		}
		return switches(ctx, in, there), nil
	})
	if err != nil {
		return nil, err
	}
	return none{}, nil
}

// switches are the statements for what is not yet as it should be. Of several
// for the same pair the last one counts.
func switches(ctx context.Context, in []enablement, there map[string]*tenancy.ClientConnection) []tenancy.Stmt {
	last := map[string]enablement{}
	for _, e := range in {
		last[tenancy.Join(e.ClientID, e.ConnectionID)] = e
	}
	var stmts []tenancy.Stmt
	for id, e := range last {
		switch {
		case *e.Status && there[id] == nil:
			stmts = append(stmts, exists(ctx, tenancy.Clients, e.ClientID), exists(ctx, tenancy.Connections, e.ConnectionID),
				tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(e.ClientID, e.ConnectionID)))
		case !*e.Status && there[id] != nil:
			stmts = append(stmts, tenancy.ClientConnections.Remove(ctx, id))
		}
	}
	return stmts
}

// mustExist refuses a body that names rows which are not there.
func mustExist[T any](ctx context.Context, t *tenancy.Table[T], entity string, ids []string) error {
	rows, err := byID(ctx, t, ids)
	if err != nil {
		return err
	}
	if gone := absent(ids, rows); len(gone) > 0 {
		return inexistent(entity, "The %s '%s' does not exist.", entity, gone[0])
	}
	return nil
}
