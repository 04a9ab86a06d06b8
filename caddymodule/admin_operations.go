package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/operations/{id}", showOperation},
		operation{"POST /gatehouse/operations/{id}/cancel", cancelOperation},
		operation{"POST /gatehouse/operations/{id}/retry", retryOperation},
	)
}

// operationView is work on a tenant as operators see it.
type operationView struct {
	ID string `json:"id"`
	*tenancy.Operation
	Events []tenancy.OperationEvent `json:"events"` // oldest first
}

func showOperation(ctx context.Context, s *services, q *question) (any, error) {
	return s.operation(ctx, q.id())
}

func cancelOperation(ctx context.Context, s *services, q *question) (any, error) {
	_, err := s.lifecycle.Cancel(tenancy.WithActor(ctx, adminActor), q.id())
	return s.handled(ctx, q.id(), err)
}

func retryOperation(ctx context.Context, s *services, q *question) (any, error) {
	_, err := s.lifecycle.Retry(tenancy.WithActor(ctx, adminActor), q.id())
	return s.handled(ctx, q.id(), err)
}

func (s *services) handled(ctx context.Context, id string, err error) (any, error) {
	if err != nil {
		return nil, noOperation(id, err)
	}
	return s.operation(ctx, id)
}

func (s *services) operation(ctx context.Context, id string) (any, error) {
	inside, leave, err := s.directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	op, err := tenancy.Operations.Get(inside, id)
	if err != nil {
		return nil, noOperation(id, err)
	}
	events, err := tenancy.OperationEvents.Find(inside, tenancy.Filter{Where: "operation_id = ?", Args: []any{id}})
	return operationView{id, op, events}, err
}

func noOperation(id string, err error) error {
	if !errors.Is(err, tenancy.ErrNotFound) {
		return err
	}
	return &tenancy.Error{
		Status: http.StatusNotFound, Code: "not_found", Message: "There is no operation '" + id + "'",
		Hint: "a tenant's last one: caddy gatehouse tenants show TENANT",
	}
}
