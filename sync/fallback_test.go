package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const hushed = "GOCSPX-rotating-secret-Zq7w"

// google is a connection of the control plane's to Google.
func google(id, secret string) *tenancy.Connection {
	return &tenancy.Connection{
		Row: tenancy.Row{ID: id}, Name: "google-" + strings.ReplaceAll(id, "_", "-"), Strategy: "google-oauth2",
		Options: map[string]any{"client_id": "of " + id, "scope": "email"}, Secrets: map[string]string{"client_secret": secret},
	}
}

// options are a tenant's connection's in effect: the secret, where it inherits from
// anybody, and the names of what it inherits.
func (h *house) options(tenant, connection string) string {
	h.t.Helper()
	var text string
	h.in(tenant, func(ctx context.Context) {
		c, err := tenancy.Connections.Get(ctx, connection)
		must(h.t, err)
		o, err := c.EffectiveOptions(ctx)
		must(h.t, err)
		text = fmt.Sprint(o.Value("client_secret"), " of ", o.Value("client_id"), " ", o.Inherited())
	})
	return text
}

func (h *house) addConnection(tenant string, c *tenancy.Connection) {
	h.t.Helper()
	h.in(tenant, func(ctx context.Context) { must(h.t, tenancy.Connections.Create(ctx, c)) })
}

// empty is a tenant's connection that has nothing of its own.
func empty() *tenancy.Connection {
	return &tenancy.Connection{Row: tenancy.Row{ID: "con_same"}, Name: "google", Strategy: "google-oauth2", Options: map[string]any{}}
}

// SC-096: a tenant's connection with nothing of its own gets what the oldest of the
// control plane's has, and follows it (contract C7.15, C7.21). C7.20: whoever opts
// out has no copy of a secret.
func TestFallbackFollows(t *testing.T) {
	h := newHouse(t, "acme", "widgets", "alone")
	h.addConnection("acme", empty())
	h.addConnection("widgets", empty())
	l := h.loop()
	start(t, l)
	h.addConnection(platform, google("con_1", hushed))
	h.addConnection(platform, google("con_2", "younger"))
	settle(t, l)
	all := " [client_id client_secret scope]"
	for _, id := range []string{"acme", "widgets"} {
		equal(t, id, h.options(id, "con_same"), hushed+" of of con_1"+all)
	}
	equal(t, "the control plane", h.options(platform, "con_2"), "younger of of con_2 []")
	h.in("alone", func(ctx context.Context) {
		n, err := tenancy.Connections.Count(ctx, tenancy.Filter{})
		must(t, err)
		equal(t, "connections in a tenant that has none", n, 0)
	})

	update(h, tenancy.Connections, platform, "con_1", func(c *tenancy.Connection) { c.Secrets = map[string]string{"client_secret": "rotated"} })
	settle(t, l)
	equal(t, "rotated", h.options("acme", "con_same"), "rotated of of con_1"+all)
	h.alter("widgets", func(r *tenancy.Tenant) { r.Inheritance.ExcludedKeys = []string{"connections.google-oauth2"} })
	settle(t, l)
	equal(t, "excluded", h.options("widgets", "con_same"), "<nil> of <nil> []")
	h.in("widgets", func(ctx context.Context) {
		n, err := tenancy.Fallbacks.Count(ctx, tenancy.Filter{})
		must(t, err)
		equal(t, "copies of secrets where it is excluded", n, 0)
	})
	for _, step := range []struct {
		choice tenancy.Inheritance
		want   string
	}{
		{tenancy.Inheritance{Mode: "none"}, "<nil> of <nil> []"},
		{tenancy.Inheritance{Mode: "selected", Keys: []string{"session_lifetime"}}, "<nil> of <nil> []"},
		{tenancy.Inheritance{Mode: "selected", Keys: []string{"connections"}}, "rotated of of con_1" + all},
	} {
		h.alter("widgets", func(r *tenancy.Tenant) { r.Inheritance = step.choice })
		settle(t, l)
		equal(t, step.choice.Mode, h.options("widgets", "con_same"), step.want)
	}

	update(h, tenancy.Connections, platform, "con_1", func(c *tenancy.Connection) { c.Metadata = map[string]any{"inherit": false} })
	settle(t, l)
	equal(t, "the next oldest", h.options("acme", "con_same"), "younger of of con_2"+all)
	h.in(platform, func(ctx context.Context) {
		for _, id := range []string{"con_1", "con_2"} {
			must(t, tenancy.Commit(ctx, tenancy.RemoveConnection(ctx, id)...))
		}
	})
	settle(t, l)
	equal(t, "removed", h.options("acme", "con_same"), "<nil> of <nil> []")
}

// What a tenant's connection says itself, and what of that keeps it from
// inheriting anything (contract C7.15, C7.16, C9.26; SC-097).
func TestFallbackYields(t *testing.T) {
	h := newHouse(t, "acme")
	at := func(id, name string) tenancy.Row { return tenancy.Row{ID: "con_" + id + name} }
	l := h.loop()
	start(t, l)
	h.addConnection(platform, &tenancy.Connection{
		Row: at("cp", ""), Name: "cp", Strategy: "oidc", Secrets: map[string]string{"client_secret": hushed},
		Options: map[string]any{"issuer": "https://idp.test", "token_endpoint": "https://idp.test/token", "client_id": "cp"},
	})
	h.addConnection(platform, &tenancy.Connection{Row: at("db", ""), Name: "db", Strategy: tenancy.StrategyDatabase, Options: map[string]any{"import_mode": true}})
	settle(t, l)
	type with = map[string]any
	inherits := hushed + " of cp [client_id client_secret issuer token_endpoint]"
	for i, c := range []struct {
		name    string
		options with
		secrets map[string]string
		want    string
	}{
		{"nothing", with{}, nil, inherits},
		{"nil", nil, nil, inherits},
		{"a client of its own", with{"client_id": "own"}, nil, hushed + " of own [client_secret issuer token_endpoint]"},
		{"a secret of its own", with{}, map[string]string{"client_secret": "own"}, "own of cp [client_id issuer token_endpoint]"},
		{"an empty secret", with{}, map[string]string{"client_secret": ""}, " of cp [client_id issuer token_endpoint]"},
		{"null", with{"client_secret": nil, "client_id": nil}, nil, "<nil> of <nil> [issuer token_endpoint]"},
		{"the same issuer", with{"issuer": "https://idp.test"}, nil, hushed + " of cp [client_id client_secret token_endpoint]"},
		{"another issuer", with{"issuer": "https://evil.test"}, nil, "<nil> of <nil> []"},
		{"another issuer by a slash", with{"issuer": "https://idp.test/"}, nil, "<nil> of <nil> []"},
		{"no issuer", with{"issuer": nil}, nil, "<nil> of <nil> []"},
		{"another token endpoint", with{"token_endpoint": "https://evil.test/token"}, nil, "<nil> of <nil> []"},
		{"an endpoint that the control plane leaves open", with{"userinfo_endpoint": "https://evil.test/me"}, nil, "<nil> of <nil> []"},
	} {
		row := &tenancy.Connection{Row: at("own", fmt.Sprint(i)), Name: fmt.Sprint("own", i), Strategy: "oidc", Options: c.options, Secrets: c.secrets}
		h.addConnection("acme", row)
		equal(t, c.name, h.options("acme", row.ID), c.want)
	}
	for _, name := range tenancy.Destinations {
		row := &tenancy.Connection{Row: at("to", name), Name: strings.ReplaceAll(name, "_", "-"), Strategy: "oidc", Options: with{name: "evil.test"}}
		h.addConnection("acme", row)
		equal(t, name, h.options("acme", row.ID), "<nil> of <nil> []")
	}
	h.addConnection("acme", &tenancy.Connection{Row: at("own", "db"), Name: "owndb", Strategy: tenancy.StrategyDatabase})
	equal(t, "a database", h.options("acme", "con_owndb"), "<nil> of <nil> []")
}

// A copy falls back on the connection it is a copy of, not on the oldest of the
// strategy (contract C6.14).
func TestCopyFallsBackOnItsOriginal(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	start(t, l)
	h.addConnection(platform, google("con_1", "oldest"))
	copied := google("con_2", hushed)
	copied.Metadata = map[string]any{"sync": true}
	h.addConnection(platform, copied)
	settle(t, l)
	equal(t, "copy", h.options("acme", "con_2"), hushed+" of of con_2 [client_secret]")
	update(h, tenancy.Connections, platform, "con_2", func(c *tenancy.Connection) { c.Metadata = map[string]any{"sync": true, "inherit": false} })
	settle(t, l)
	equal(t, "copy of one that shares no secret", h.options("acme", "con_2"), "<nil> of of con_2 []")
}

// The e-mail provider of the control plane is a tenant's where it has none, also
// one that is switched off (contract C7.17, C7.20).
func TestMailFallback(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	route := func(id string) (text string) {
		h.in(id, func(ctx context.Context) {
			r, err := tenancy.EmailRoute(ctx)
			must(t, err)
			if text = r.Source; r.Provider != nil {
				text = fmt.Sprint(r.Source, " ", r.Provider.Enabled, " ", r.Provider.DefaultFromAddress, " ", r.Provider.Credentials["smtp_pass"])
			}
		})
		return text
	}
	provider := func(from, password string) *tenancy.EmailProvider {
		return &tenancy.EmailProvider{
			Row: tenancy.Row{ID: tenancy.EmailProviderID}, Name: "smtp", Enabled: true, DefaultFromAddress: from,
			Credentials: map[string]any{"smtp_host": "mail.test", "smtp_port": 587.0, "smtp_pass": password},
		}
	}
	add := func(id string, p *tenancy.EmailProvider) {
		h.in(id, func(ctx context.Context) { must(t, tenancy.EmailProviders.Create(ctx, p)) })
	}
	l := h.loop()
	start(t, l)
	settle(t, l)
	equal(t, "nobody's", route("acme"), "default")
	add(platform, provider("cp@mail.test", hushed))
	settle(t, l)
	equal(t, "the control plane's", route("acme"), "control_plane true cp@mail.test "+hushed)
	equal(t, "on the control plane", route(platform), "own true cp@mail.test "+hushed)
	off := provider("own@acme.test", "own")
	off.Enabled = false
	add("acme", off)
	equal(t, "switched off", route("acme"), "own false own@acme.test own")
	update(h, tenancy.EmailProviders, platform, tenancy.EmailProviderID, func(p *tenancy.EmailProvider) { p.Enabled = false })
	settle(t, l)
	equal(t, "switched off above", route("widgets"), "control_plane false cp@mail.test "+hushed)
	h.alter("widgets", func(r *tenancy.Tenant) { r.Inheritance.ExcludedKeys = []string{"emails.provider"} })
	settle(t, l)
	equal(t, "excluded", route("widgets"), "default")
}

// Nothing that explains, compares or prints what is inherited tells of a secret
// (contract C7.18); drift is found, and repaired.
func TestFallbackKeepsQuiet(t *testing.T) {
	h := newHouse(t, "acme")
	h.addConnection("acme", empty())
	l := h.loop()
	start(t, l)
	h.addConnection(platform, google("con_1", hushed))
	settle(t, l)
	var said []string
	say := func(v any) {
		b, err := json.Marshal(v)
		must(t, err)
		said = append(said, string(b))
	}
	h.in("acme", func(ctx context.Context) {
		c, err := tenancy.Connections.Get(ctx, "con_same")
		must(t, err)
		o, err := c.EffectiveOptions(ctx)
		must(t, err)
		if o.Value("client_secret") != hushed || !o.InheritsSecret() {
			t.Fatal("the secret is not inherited")
		}
		say(o)
		said = append(said, fmt.Sprintf("%v %+v %#v %s %q", o, o, o, o, o), slog.AnyValue(o).Resolve().String())
		x, err := tenancy.ExplainSettings(ctx, "")
		must(t, err)
		say(x)
		from := "con_1"
		want := []tenancy.ExplainedOption{
			{ConnectionID: "con_same", Strategy: "google-oauth2", Key: "client_id", Source: "control_plane", FromConnectionID: &from},
			{ConnectionID: "con_same", Strategy: "google-oauth2", Key: "client_secret", Source: "control_plane", Secret: true, FromConnectionID: &from},
			{ConnectionID: "con_same", Strategy: "google-oauth2", Key: "scope", Source: "control_plane", FromConnectionID: &from},
		}
		equal(t, "SC-098", x.Connections, want)
		equal(t, "mail", x.EmailProvider, tenancy.ExplainedMail{Source: "default"})
		for key, n := range map[string]int{"connections": 3, "connections.google-oauth2": 3, "connections.okta": 0, "session_lifetime": 0} {
			x, err := tenancy.ExplainSettings(ctx, key)
			must(t, err)
			equal(t, key, []any{len(x.Connections), x.EmailProvider}, []any{n, nil})
		}
		f, err := tenancy.Fallbacks.Get(ctx, "con_1")
		must(t, err)
		say(f)
		var stored string
		must(t, tenancy.QueryRow(ctx, `SELECT options || secrets FROM fallbacks WHERE tenant_id = @tenant AND id = 'con_1'`, nil, &stored))
		said = append(said, stored)
	})
	update(h, tenancy.Fallbacks, "acme", "con_1", func(f *tenancy.Fallback) { f.Secrets = map[string]any{"client_secret": hushed + "2"} })
	var found []Drift
	must(t, l.Drift(t.Context(), DriftFilter{}, func(d TenantDrift) error { found = append(found, d.Drift...); return d.Err }))
	equal(t, "drift", found, []Drift{{
		TenantID: "acme", Entity: "settings", OriginID: "con_1", LocalID: "con_1", Kind: DriftModified, Action: "update",
		Fields: []Difference{{Name: "connections.google-oauth2"}},
	}})
	say(found)
	p, err := l.look(t.Context())
	must(t, err)
	_, err = l.visit(t.Context(), job{tenant: h.byID("acme"), picture: p, full: true}, l.pool.EnterIdle)
	must(t, err)
	equal(t, "repaired", h.options("acme", "con_same"), hushed+" of of con_1 [client_id client_secret scope]")
	for _, text := range said {
		if strings.Contains(text, hushed[len(hushed)-4:]) || strings.Contains(text, hushed[:6]) || strings.Contains(text, "••") {
			t.Errorf("tells of the secret: %s", text)
		}
	}
}
