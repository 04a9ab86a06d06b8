package management

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// settingsRoutes are those on the settings of the tenant acted on (contract 5.3).
var settingsRoutes = []route{
	get("/tenants/settings", readSettings, "read:tenant_settings"),
	write(http.MethodPatch, "/tenants/settings", http.StatusOK, changeSettings, "update:tenant_settings"),
	get("/tenants/settings/effective", explainSettings, "read:tenant_settings"),
}

func readSettings(ctx context.Context, c *Call) (any, error) {
	s, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return nil, err
	}
	flat, err := s.View(c.query.Get("view"))
	if err != nil {
		return nil, err
	}
	o := objectOf(flat)
	c.shape(&o)
	return o, nil
}

func changeSettings(ctx context.Context, c *Call) (any, error) {
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	pin, _, err := flagOf(c.query, "pin")
	if err != nil {
		return nil, err
	}
	patch := make(map[string]json.RawMessage, len(doc))
	for _, p := range doc {
		patch[p.name] = p.value
	}
	if err := tenancy.WriteSettings(ctx, patch, pin); err != nil {
		return nil, err
	}
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	s, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return nil, err
	}
	flat, err := s.View("effective")
	if err != nil {
		return nil, err
	}
	return objectOf(flat), nil
}

func explainSettings(ctx context.Context, c *Call) (any, error) {
	return tenancy.ExplainSettings(ctx, c.query.Get("key"))
}
