package management

import (
	"context"
	"errors"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// destination is the body that moves a tenant. The parameter drop_old drops the
// database that is left at once instead of a day later.
type destination struct {
	Provider string `json:"provider"`
	Params   struct {
		DropOld bool `json:"drop_old"`
	} `json:"params"`
}

// moveTenant takes a tenant to another placement while it serves (contract C5.30,
// C8.17). The work goes on behind the answer, which is the operation.
func moveTenant(ctx context.Context, c *Call, in *destination) (any, error) {
	if in.Provider == "" {
		return nil, invalid("", "Missing required property: provider")
	}
	op, err := c.api.config.Lifecycle.StartMove(tenancy.WithActor(ctx, c.credential.Subject), c.param("id"),
		tenancy.MoveOptions{Placement: in.Provider, DropOld: in.Params.DropOld})
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return nil, noTenant()
	case err != nil:
		return nil, err
	case op == nil:
		return nil, tenancy.Errorf(409, "tenant_conflict", "Tenant '%s' is in placement '%s' already", c.param("id"), in.Provider)
	}
	c.location(op)
	return operationView(c, op), nil
}
