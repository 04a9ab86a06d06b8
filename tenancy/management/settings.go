package management

import (
	"context"
	"encoding/json"
	"errors"
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
	before, err := ownSettings(ctx)
	if err != nil {
		return nil, err
	}
	if err := tenancy.WriteSettings(ctx, patch, pin); err != nil {
		return nil, err
	}
	if now, err := ownSettings(ctx); err == nil && now != before {
		c.tellSettings(ctx)
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

// ownSettings counts the changes of the tenant's own settings.
func ownSettings(ctx context.Context) (int64, error) {
	row, err := tenancy.SettingsRows.Get(ctx, tenancy.SettingsOwn)
	if errors.Is(err, tenancy.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return row.Revision, nil
}

// tellSettings records that the tenant's own settings are different, by the names
// that were sent (contract C8.15): values may be anything.
func (c *Call) tellSettings(ctx context.Context) {
	if c.api.config.Recorder == nil {
		return
	}
	c.api.config.Recorder.Record(ctx, tenancy.Event{
		Date: tenancy.At(c.api.config.Now()), Type: "gh_tenant", Description: "tenant.settings.updated",
		ClientID: c.credential.ClientID, UserID: c.credential.Subject,
		Details: encode(map[string]any{"tenant_id": c.tenant.ID, "actor": c.credential.Subject, "members": c.changed}),
	})
}

func explainSettings(ctx context.Context, c *Call) (any, error) {
	return tenancy.ExplainSettings(ctx, c.query.Get("key"))
}
