package management

import (
	"context"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Sync is the synchronisation, as far as the API shows it. What it is asked is
// asked inside the control plane, once the caller is let in.
type Sync struct {
	Status http.Handler // answers GET /sync/status
	Drift  http.Handler // answers GET /sync/drift

	// Plan writes what a repair would do; an error means that nothing is written
	// yet.
	Plan func(ctx context.Context, w http.ResponseWriter, wish tenancy.Repair) error

	// Repair begins a repair that goes on behind the caller.
	Repair func(ctx context.Context, wish tenancy.Repair) (*tenancy.Operation, error)
}

// syncRoutes are answered by the synchronisation (contract C5.101 to C5.103).
var syncRoutes = []route{
	onControlPlane(get("/sync/status", syncBy(func(s *Sync) http.Handler { return s.Status }), "read:sync")),
	onControlPlane(get("/sync/drift", syncBy(func(s *Sync) http.Handler { return s.Drift }), "read:sync")),
	onControlPlane(write(http.MethodPost, "/sync/repair", http.StatusAccepted, Handle(repairTenants), "update:sync").once()),
}

func noSync() error {
	return tenancy.Errorf(http.StatusNotImplemented, "not_supported", "Synchronisation is not available")
}

func syncBy(of func(*Sync) http.Handler) handler {
	return func(ctx context.Context, c *Call) (any, error) {
		if c.api.config.Sync == nil {
			return nil, noSync()
		}
		c.w.Header().Set("Cache-Control", "no-store")
		of(c.api.config.Sync).ServeHTTP(c.w, c.r.WithContext(ctx))
		c.answered = true
		return nil, nil
	}
}

// repairBody is the body of POST /sync/repair.
type repairBody struct {
	TenantIDs  []string `json:"tenant_ids"`
	Entities   []string `json:"entities"`
	DryRun     bool     `json:"dry_run"`
	OnConflict string   `json:"on_conflict"`
}

// repairTenants begins a repair, or writes its plan.
func repairTenants(ctx context.Context, c *Call, in *repairBody) (any, error) {
	if c.api.config.Sync == nil {
		return nil, noSync()
	}
	if len(in.TenantIDs) > 1000 {
		return nil, invalid("tenant_ids", "Array is too long (%d), maximum 1000", len(in.TenantIDs))
	}
	wish := tenancy.Repair{TenantIDs: in.TenantIDs, Entities: in.Entities, OnConflict: in.OnConflict}
	if in.DryRun {
		if err := c.api.config.Sync.Plan(ctx, c.w, wish); err != nil {
			return nil, err
		}
		c.answered = true
		return nil, nil
	}
	op, err := c.api.config.Sync.Repair(tenancy.WithActor(ctx, c.credential.Subject), wish)
	if err != nil {
		return nil, err
	}
	c.location(op)
	return operationView(c, op), nil
}
