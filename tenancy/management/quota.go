package management

import (
	"context"
	"encoding/json"

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
	u := c.used
	if c.api.config.Recorder == nil || u.most == 0 || u.n != u.most && u.n != (u.most*4+4)/5 {
		return
	}
	details, _ := json.Marshal(map[string]any{"quota": u.kind, "used": u.n, "limit": u.most}) // plain data always has a form in JSON
	c.api.config.Recorder.Record(ctx, tenancy.Event{
		Date: tenancy.At(c.api.config.Now()), Type: "limit_wc", Description: "Quota of " + u.kind, ClientID: c.credential.ClientID, UserID: c.credential.Subject, Details: details,
	})
}
