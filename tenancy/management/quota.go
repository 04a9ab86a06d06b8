package management

import (
	"context"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// usage is how much of a quota is used once the request is done.
type usage struct {
	kind    string
	n, most int64
}

// withinQuota refuses one row too many, and returns the guards for the batch that
// adds one (contract C5.18).
func (r *Resource[T]) withinQuota(ctx context.Context, c *Call) ([]tenancy.Stmt, error) {
	limit := c.tenant.Quota(r.Quota)
	if limit == 0 {
		return nil, nil
	}
	n, err := r.Table.Count(ctx, tenancy.Filter{})
	if err != nil {
		return nil, err
	}
	if n >= limit {
		return nil, tenancy.QuotaExceeded(r.Quota, limit)
	}
	c.used = usage{r.Quota, n + 1, limit}
	return tenancy.WithinQuota(ctx, r.Table.Name(), n, limit), nil
}

// near logs that a quota was crossed by four fifths, or used up.
func (c *Call) near(ctx context.Context) {
	e, crossed := tenancy.QuotaCrossed(c.used.kind, c.used.n, c.used.most)
	if c.api.config.Recorder == nil || !crossed {
		return
	}
	e.Date, e.ClientID, e.UserID = tenancy.At(c.api.config.Now()), c.credential.ClientID, c.credential.Subject
	c.api.config.Recorder.Record(ctx, e)
}
