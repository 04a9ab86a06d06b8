package caddymodule

import (
	"context"
	"time"

	tenantsync "github.com/gatehouse-id/gatehouse/sync"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/sync", syncStatus},
		operation{"POST /gatehouse/sync/wait", awaitSync},
	)
}

// syncView is how far tenants are with the control plane's changes.
type syncView struct {
	Head      int64 `json:"head"`      // the control plane's newest revision
	Complete  bool  `json:"complete"`  // everything is everywhere
	InScope   int   `json:"in_scope"`  // tenants that get changes
	Behind    int   `json:"behind"`    // of these, with changes to apply
	Failed    int   `json:"failed"`    // of these, failed several times in a row
	Lag       int64 `json:"lag"`       // revisions the tenant furthest behind lacks
	Conflicts int   `json:"conflicts"` // rows not copied because a tenant has one like it

	Tenants []tenantsync.TenantStatus `json:"tenants"`
	page
}

func syncStatus(ctx context.Context, s *services, q *question) (any, error) {
	f, err := tenantsync.ParseFilter(q.URL.Query())
	if err != nil {
		return nil, err
	}
	return s.syncView(ctx, f)
}

func (s *services) syncView(ctx context.Context, f tenantsync.Filter) (*syncView, error) {
	status, err := s.sync.Status(ctx, f)
	if err != nil {
		return nil, err
	}
	stats := s.sync.Stats()
	return &syncView{
		Head: status.Revision, Complete: status.Complete, InScope: stats.Tenants, Behind: stats.Behind, Failed: stats.Failed,
		Lag: stats.Lag, Conflicts: stats.Conflicts, Tenants: status.Tenants,
		page: page{Start: status.Start, Limit: status.Limit, Length: status.Length, Total: status.Total},
	}, nil
}

// awaitSync waits until everything that is on the control plane now has arrived
// in every tenant, or in one. It ends with whoever asked.
func awaitSync(ctx context.Context, s *services, q *question) (any, error) {
	f, err := tenantsync.ParseFilter(q.URL.Query())
	if err != nil {
		return nil, err
	}
	f.Wait = 0
	v, err := s.syncView(ctx, f)
	if err != nil {
		return nil, err
	}
	f.Revision, f.Wait = v.Head, 250*time.Millisecond
	for !v.Complete {
		q.report(progress{Step: "tenants in sync", Done: int64(v.InScope - v.Behind), Total: int64(v.InScope)})
		if v, err = s.syncView(ctx, f); err != nil {
			return nil, err
		}
	}
	q.report(progress{Step: "tenants in sync", Done: int64(v.InScope), Total: int64(v.InScope)})
	return v, nil
}
