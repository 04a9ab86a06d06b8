package management

import (
	"context"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// audit takes note of a request in the tenant ctx is inside of (contract C5.15):
// every write, and what was refused to a caller who is known. Of the body only
// the names of members are kept.
func (a *API) audit(ctx context.Context, c *Call, refusal error) {
	if a.config.Recorder == nil || c.credential == nil || c.route == nil {
		return
	}
	status := c.status
	if status == 0 {
		status = c.route.status
	}
	kind := "sapi"
	if status >= http.StatusBadRequest { // one that was kept, answered again
		kind = "fapi"
	}
	if refusal != nil {
		status, kind = tenancy.StatusOf(refusal), "fapi"
		if !c.route.access.Write && status != http.StatusForbidden {
			return
		}
	}
	details := map[string]any{
		"request":  map[string]any{"method": c.route.method, "path": prefix + c.route.path, "parameters": c.params},
		"response": map[string]any{"statusCode": status},
		"actor":    map[string]any{"tenant_id": c.credential.TenantID},
	}
	if c.tenant != nil {
		details["tenant_id"] = c.tenant.ID
	}
	if len(c.changed) > 0 {
		details["members"] = c.changed
	}
	if refusal != nil && status < http.StatusInternalServerError {
		details["error"] = refusal.Error()
	}
	visit := tenancy.VisitOf(ctx)
	a.config.Recorder.Record(ctx, tenancy.Event{
		Date: tenancy.At(a.config.Now()), Type: kind, Description: c.route.method + " " + prefix + c.route.path,
		IP: visit.ClientIP, UserAgent: visit.UserAgent, Hostname: visit.Host,
		ClientID: c.credential.ClientID, UserID: c.credential.Subject,
		OrgID: c.credential.OrgID, OrgName: c.credential.OrgName, Details: encode(details),
	})
}
