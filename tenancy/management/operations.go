package management

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// operationRoutes show the work on tenants (contract C5.26 to C5.28). They answer
// on the control plane only.
var operationRoutes = []route{
	get("/tenants/{id}/operations", listOperations, "read:tenant_operations").on(admitOne("")),
	write(http.MethodPost, "/tenants/{id}/operations", http.StatusAccepted, Handle(enqueueOperation), "create:tenant_operations").on(admitOne("")).once(),
	get("/operations/{id}", readOperation, "read:tenant_operations").on(admitOperation),
	onControlPlane(get("/migrations", readMigrations, "read:sync")),
	write(http.MethodPost, "/operations/{id}/retry", http.StatusAccepted, Handle(retryOperation), "create:tenant_operations").on(admitOperation),
	write(http.MethodPost, "/operations/{id}/cancel", http.StatusAccepted, Handle(cancelOperation), "create:tenant_operations").on(admitOperation),
}

// admitOperation lets in whoever has a right to the operation's tenant.
func admitOperation(c *Call) (tenancy.TenantRef, error) {
	subject := ""
	if c.credential != nil && c.request.Host.ControlPlane {
		op, err := tenancy.Operations.Get(c.host, c.param("id"))
		if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
			return tenancy.TenantRef{}, err
		}
		if err == nil {
			subject = op.Subject
		}
	}
	return c.request.Host, tenancy.AccessOperation(c.request, c.route.access, subject, c.isMember)
}

// isMember is a [tenancy.MemberFunc].
func (c *Call) isMember(orgID, sub string) (bool, error) {
	_, err := tenancy.Members.Get(c.host, tenancy.Join(orgID, sub))
	if errors.Is(err, tenancy.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func listOperations(ctx context.Context, c *Call) (any, error) {
	l := listing[tenancy.Operation]{
		table: tenancy.Operations, key: "operations", form: envelope, sort: []string{"created_at"},
		answers: func(_ context.Context, rows []tenancy.Operation) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				answers[i] = operationView(c, &rows[i])
			}
			return answers, nil
		},
	}
	l.filter.and("subject = ?", c.param("id"))
	for _, name := range []string{"kind", "status"} {
		if value := c.query.Get(name); value != "" {
			l.filter.and(name+" = ?", value)
		}
	}
	return l.answer(ctx, c)
}

// operationView is contract C8.9 without the events. Reasons may name files and
// machines of the platform, so that only its administrators see more than a step.
func operationView(c *Call, op *tenancy.Operation) object {
	o := object{members: []property{{"id", encode(op.ID)}}}
	o.members = append(o.members, render(op).members...)
	open := c.credential.PlatformAdmin(c.request.ControlPlane)
	if op.Error != "" && !open {
		step, _, _ := strings.Cut(op.Error, ":")
		o.set("error", step)
	}
	if op.Params.Repair != nil {
		progress := *op.Params.Repair
		if !open {
			progress.Failure = ""
		}
		o.set("progress", progress)
	}
	if op.Params.Backup != nil {
		o.set("progress", *op.Params.Backup)
	}
	return o
}

func readOperation(ctx context.Context, c *Call) (any, error) {
	op, err := c.operation(ctx)
	if err != nil {
		return nil, err
	}
	events, err := tenancy.OperationEvents.Find(ctx, tenancy.Filter{Where: "operation_id = ?", Args: []any{op.ID}})
	if err != nil {
		return nil, err
	}
	views := make([]object, len(events))
	for i := range events {
		e := &events[i]
		views[i].set("id", e.ID)
		views[i].members = append(views[i].members, render(e).members...)
		views[i].drop("updated_at")
		if len(e.Detail) == 0 || string(e.Detail) == "null" || !c.credential.PlatformAdmin(c.request.ControlPlane) {
			views[i].set("detail", struct{}{})
		}
	}
	o := operationView(c, op)
	o.set("events", views)
	c.shape(&o)
	return o, nil
}

func (c *Call) operation(ctx context.Context) (*tenancy.Operation, error) {
	op, err := tenancy.Operations.Get(ctx, c.param("id"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noOperation()
	}
	return op, err
}

func noOperation() error {
	return tenancy.Errorf(http.StatusNotFound, "not_found", "Operation not found")
}

// enqueued is the body that asks for an operation.
type enqueued struct {
	Kind   string          `json:"kind"`
	Params json.RawMessage `json:"params"`
}

// enqueueOperation begins an upgrade or a backup. It refuses the other kinds: tenants
// are made and removed by their own routes, and the rest is not there yet.
func enqueueOperation(ctx context.Context, c *Call, in *enqueued) (any, error) {
	switch {
	case in.Kind == string(tenancy.OperationUpgrade):
		return c.begin(ctx, in, c.api.config.Lifecycle.Upgrade)
	case in.Kind == string(tenancy.OperationBackup):
		return c.begin(ctx, in, c.api.config.Lifecycle.StartBackup)
	case in.Kind == string(tenancy.OperationProvision), in.Kind == string(tenancy.OperationDeprovision):
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body",
			"Operations of kind %q are managed by the tenant lifecycle (create/delete) and cannot be enqueued directly", in.Kind)
	case in.Kind == string(tenancy.OperationMove):
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body",
			"Operations of kind %q are begun by POST /tenants/{id}/move and cannot be enqueued directly", in.Kind)
	case in.Kind == "":
		return nil, invalid("", "Missing required property: kind")
	case slices.Contains([]string{"sync", "repair", "export", "import"}, in.Kind):
		return nil, tenancy.Errorf(http.StatusNotImplemented, "not_supported", "Operations of kind %q are not supported", in.Kind)
	}
	return nil, invalid("kind", "No enum match for: %s", in.Kind)
}

// begin begins an operation of a kind that takes no parameters.
func (c *Call) begin(ctx context.Context, in *enqueued, start func(ctx context.Context, id string) (*tenancy.Operation, error)) (any, error) {
	if p := string(in.Params); p != "" && p != "null" && p != "{}" {
		return nil, invalid("params", "Operations of kind %q take no parameters", in.Kind)
	}
	op, err := start(tenancy.WithActor(ctx, c.credential.Subject), c.param("id"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noTenant()
	}
	if err != nil {
		return nil, err
	}
	c.location(op)
	return operationView(c, op), nil
}

// readMigrations shows how far the upgrade of all tenants' databases is. Reasons
// may name files and machines: the route is of the platform only (contract C8.19).
func readMigrations(_ context.Context, c *Call) (any, error) {
	if c.api.config.Upgrades == nil {
		return nil, tenancy.Errorf(http.StatusNotImplemented, "not_supported", "Upgrades are not available")
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return c.api.config.Upgrades(), nil
}

func retryOperation(ctx context.Context, c *Call, _ *struct{}) (any, error) {
	op, err := c.api.config.Lifecycle.Retry(tenancy.WithActor(ctx, c.credential.Subject), c.param("id"))
	return c.handled(op, err)
}

// cancelOperation has an operation end before it is done. The answer shows it as
// it is: running, until whoever is at it has noticed.
func cancelOperation(ctx context.Context, c *Call, _ *struct{}) (any, error) {
	op, err := c.api.config.Lifecycle.Cancel(tenancy.WithActor(ctx, c.credential.Subject), c.param("id"))
	return c.handled(op, err)
}

func (c *Call) handled(op *tenancy.Operation, err error) (any, error) {
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noOperation()
	}
	if err != nil {
		return nil, err
	}
	c.location(op)
	return operationView(c, op), nil
}

// location points to an operation.
func (c *Call) location(op *tenancy.Operation) {
	c.w.Header().Set("Location", prefix+"/operations/"+url.PathEscape(op.ID))
}

// locate points to the newest operation on a tenant. That it cannot be read does
// not undo what was done.
func (c *Call) locate(ctx context.Context, tenant string) {
	if op, err := tenancy.LastOperation(ctx, tenant); err == nil {
		c.location(op)
	}
}
