package sync

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// set patches a tenant's settings with JSON.
func (h *house) set(tenant, patch string) {
	h.t.Helper()
	var members map[string]json.RawMessage
	must(h.t, json.Unmarshal([]byte(patch), &members))
	h.in(tenant, func(ctx context.Context) { must(h.t, tenancy.WriteSettings(ctx, members, false)) })
}

// effective returns a tenant's value of a key and where it comes from.
func (h *house) effective(tenant, key string) string {
	h.t.Helper()
	var text string
	h.in(tenant, func(ctx context.Context) {
		s, err := tenancy.EffectiveSettings(ctx)
		must(h.t, err)
		text = string(s.Raw(key)) + " " + s.Source(key)
	})
	return text
}

// SC-090: inheriting tenants follow the control plane (contract C7.4).
// SC-091: a tenant's own value wins until it is taken back (C7.13).
// SC-092: an empty text is a value (C7.13).
func TestSettingsFollow(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	start(t, l)
	h.set(platform, `{"session_lifetime":72,"support_email":"help@cp.test","flags":{"enable_sso":true,"dcr_open":true},"default_audience":""}`)
	settle(t, l)
	equal(t, "inherited", h.effective("acme", "session_lifetime"), "72 control_plane")
	equal(t, "inherited flag", h.effective("acme", "flags.enable_sso"), "true control_plane")
	equal(t, "flag that is never inherited", h.effective("acme", "flags.dcr_open"), "false default")
	h.set(platform, `{"session_lifetime":48}`)
	settle(t, l)
	equal(t, "changed", h.effective("acme", "session_lifetime"), "48 control_plane")

	h.set("acme", `{"session_lifetime":24,"support_email":""}`)
	h.set(platform, `{"session_lifetime":36,"support_email":"new@cp.test"}`)
	settle(t, l)
	equal(t, "own", h.effective("acme", "session_lifetime"), "24 own")
	equal(t, "own empty", h.effective("acme", "support_email"), `"" own`)
	equal(t, "other tenant", h.effective("widgets", "session_lifetime"), "36 control_plane")
	h.set("acme", `{"session_lifetime":null}`)
	equal(t, "taken back", h.effective("acme", "session_lifetime"), "36 control_plane")
	h.set(platform, `{"session_lifetime":null}`)
	settle(t, l)
	equal(t, "unset on the control plane", h.effective("acme", "session_lifetime"), "168 default")
}

// SC-093: reading all settings and writing them back freezes nothing, neither
// inherited values nor defaults (contract C7.14).
func TestReadModifyWriteFreezesNothing(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.set(platform, `{"session_lifetime":72}`)
	settle(t, l)
	h.in("acme", func(ctx context.Context) {
		s, err := tenancy.EffectiveSettings(ctx)
		must(t, err)
		all, err := s.View(tenancy.ViewEffective)
		must(t, err)
		must(t, tenancy.WriteSettings(ctx, all, false))
	})
	h.set(platform, `{"session_lifetime":48,"idle_session_lifetime":12,"flags":{"enable_client_connections":true}}`)
	settle(t, l)
	equal(t, "was inherited", h.effective("acme", "session_lifetime"), "48 control_plane")
	equal(t, "was default", h.effective("acme", "idle_session_lifetime"), "12 control_plane")
	equal(t, "flag", h.effective("acme", "flags.enable_client_connections"), "true control_plane")
}

// SC-094: a tenant's choice of what it inherits replaces the configuration's
// member by member and takes effect at once (contract C7.10, C7.11).
func TestInheritanceChoice(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop(func(c *Config) { c.Inherit = tenancy.Inheritance{ExcludedKeys: []string{"flags"}} })
	start(t, l)
	h.set(platform, `{"session_lifetime":72,"support_url":"https://cp.test/help","flags":{"enable_sso":true}}`)
	settle(t, l)
	check := func(what string, want ...string) {
		t.Helper()
		got := []string{h.effective("acme", "session_lifetime"), h.effective("acme", "support_url"), h.effective("acme", "flags.enable_sso")}
		equal(t, what, got, want)
	}
	lifetime, url, flag := "72 control_plane", `"https://cp.test/help" control_plane`, "true control_plane"
	check("configuration", lifetime, url, " default")
	for _, step := range []struct {
		what   string
		choice tenancy.Inheritance
		want   []string
	}{
		{"excluded", tenancy.Inheritance{ExcludedKeys: []string{"support_url"}}, []string{lifetime, " default", flag}},
		{"nothing excluded", tenancy.Inheritance{ExcludedKeys: []string{}}, []string{lifetime, url, flag}},
		{"selected", tenancy.Inheritance{Mode: "selected", Keys: []string{"support_url", "flags"}}, []string{"168 default", url, " default"}},
		{"selected parent", tenancy.Inheritance{Mode: "selected", Keys: []string{"flags"}, ExcludedKeys: []string{}}, []string{"168 default", " default", flag}},
		{"none", tenancy.Inheritance{Mode: "none"}, []string{"168 default", " default", " default"}},
		{"configuration again", tenancy.Inheritance{}, []string{lifetime, url, " default"}},
	} {
		h.alter("acme", func(r *tenancy.Tenant) { r.Inheritance = step.choice })
		settle(t, l)
		check(step.what, step.want...)
	}
}

// SC-095: a transform makes the inherited value of each tenant; one that makes something
// invalid leaves the default, and one that fails what was there. Both are in the
// explanation and in the status (contract C7.12, C7.24).
func TestTransform(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	var broken atomic.Bool
	l := h.loop(func(c *Config) {
		c.Transforms = tenancy.Transforms{
			"support_email": func(value json.RawMessage, row *tenancy.Tenant) (json.RawMessage, error) {
				if broken.Load() && row.ID == "acme" {
					return nil, errors.New("no such key: plan")
				}
				return json.RawMessage(`"support+` + row.ID + `-` + row.Metadata["plan"] + `@example.com"`), nil
			},
			"session_lifetime": func(json.RawMessage, *tenancy.Tenant) (json.RawMessage, error) { return json.RawMessage(`"long"`), nil },
		}
	})
	start(t, l)
	h.set(platform, `{"support_email":"support@example.com","sender_name":"CP"}`)
	s := settle(t, l)
	for _, id := range []string{"acme", "widgets"} {
		equal(t, "address", h.effective(id, "support_email"), `"support+`+id+`-@example.com" control_plane`)
		equal(t, "untouched", h.effective(id, "sender_name"), `"CP" control_plane`)
	}
	equal(t, "problems", s.Tenants[0].Problems, 0)

	// What a tenant is called decides, so changing it is a change.
	h.alter("widgets", func(r *tenancy.Tenant) { r.Metadata = map[string]string{"plan": "pro"} })
	settle(t, l)
	equal(t, "address of a plan", h.effective("widgets", "support_email"), `"support+widgets-pro@example.com" control_plane`)

	broken.Store(true)
	h.set(platform, `{"support_email":"help@example.com","session_lifetime":72}`)
	settle(t, l)
	equal(t, "left as it was", h.effective("acme", "support_email"), `"support+acme-@example.com" control_plane`)
	equal(t, "invalid", h.effective("acme", "session_lifetime"), "168 default")
	s, err := l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	got := s.Tenants[0]
	equal(t, "status", []any{got.State, got.Problems, got.Attempts, got.LastError}, []any{
		StateInSync, 2, 0, "left as it was: settings session_lifetime: The transform's result is no value of this setting",
	})
	equal(t, "problems", got.ProblemList, []Problem{
		{"settings", "session_lifetime", "The transform's result is no value of this setting"},
		{"settings", "support_email", "no such key: plan"},
	})
	h.in("acme", func(ctx context.Context) {
		x, err := tenancy.ExplainSettings(ctx, "support_email")
		must(t, err)
		equal(t, "explained", []any{x.Settings[0].TransformedBy, x.Settings[0].Error, x.Settings[0].Source}, []any{"support_email", "no such key: plan", "control_plane"})
	})
	broken.Store(false)
	h.set(platform, `{"support_email":"again@example.com","session_lifetime":null}`)
	settle(t, l)
	s, err = l.Status(t.Context(), Filter{TenantID: "acme"})
	must(t, err)
	equal(t, "mended", []any{s.Tenants[0].Problems, s.Tenants[0].LastError}, []any{0, nil})
}
