package tenancy_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// settingsHouse is a pool with two tenants whose rows have equal ids.
type settingsHouse struct {
	t    *testing.T
	pool *tenancy.Pool
	ring *tenancy.Ring
	all  map[string]*tenancy.Tenant
}

func newSettingsHouse(t *testing.T) *settingsHouse {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: t.TempDir()}}, Master: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.Background()) })
	h := &settingsHouse{t: t, pool: pool, ring: ring, all: map[string]*tenancy.Tenant{}}
	for _, id := range []string{"control_plane", "acme", "widgets"} {
		row := &tenancy.Tenant{
			Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive,
			FriendlyName: "The " + id, DataKey: ring.NewDataKey(id),
		}
		if err := pool.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		h.all[id] = row
		h.in(id, func(ctx context.Context) error {
			return errors.Join(
				tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: "spa"}, AppType: "spa"}),
				tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: "m2m"}, AppType: "non_interactive"}),
				tenancy.ResourceServers.Create(ctx, &tenancy.ResourceServer{Row: tenancy.Row{ID: "rs"}, Identifier: "https://api." + id}))
		})
	}
	return h
}

func (h *settingsHouse) in(id string, f func(ctx context.Context) error) {
	h.t.Helper()
	if err := h.pool.Do(context.Background(), h.all[id], f); err != nil {
		h.t.Fatal(err)
	}
}

// inherit writes what a tenant inherits, as sync does.
func (h *settingsHouse) inherit(id, values string, choice tenancy.Inheritance) {
	h.t.Helper()
	h.in(id, func(ctx context.Context) error {
		err := tenancy.SettingsRows.Delete(ctx, tenancy.SettingsInherited)
		if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
			return err
		}
		row := &tenancy.SettingsRow{Row: tenancy.Row{ID: tenancy.SettingsInherited}, Choice: choice}
		if err := json.Unmarshal([]byte(values), &row.Values); err != nil {
			return err
		}
		return tenancy.SettingsRows.Create(ctx, row)
	})
}

func (h *settingsHouse) patch(id, patch string, pin bool) error {
	h.t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(patch), &members); err != nil {
		h.t.Fatal(err)
	}
	return h.pool.Do(context.Background(), h.all[id], func(ctx context.Context) error { return tenancy.WriteSettings(ctx, members, pin) })
}

func (h *settingsHouse) settings(id string) (s *tenancy.Settings) {
	h.t.Helper()
	h.in(id, func(ctx context.Context) (err error) {
		s, err = tenancy.EffectiveSettings(ctx)
		return err
	})
	return s
}

func (h *settingsHouse) view(id, view string) string {
	h.t.Helper()
	v, err := h.settings(id).View(view)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// The getters give own over inherited over default, by type (contract C7.1).
func TestEffectiveSettings(t *testing.T) {
	h := newSettingsHouse(t)
	h.inherit("acme", `{"session_lifetime":1.5,"support_email":"cp@x.test","flags.enable_sso":true}`, tenancy.Inheritance{Mode: tenancy.InheritAll})
	if err := h.patch("acme", `{"support_email":"","enabled_locales":["de","fr"]}`, false); err != nil {
		t.Fatal(err)
	}
	s := h.settings("acme")
	check(t, "inherited hours", s.Hours("session_lifetime"), 90*time.Minute)
	check(t, "default hours", s.Hours("idle_session_lifetime"), 72*time.Hour)
	check(t, "default number", s.Int("idle_session_lifetime"), 72)
	check(t, "own empty text", s.String("support_email"), "")
	check(t, "own list", s.Strings("enabled_locales"), []string{"de", "fr"})
	check(t, "inherited flag", s.Bool("flags.enable_sso"), true)
	check(t, "default flag", s.Bool("flags.inherit_global_permissions_in_organizations"), false)
	check(t, "default switch", s.Bool("allow_organization_name_in_authentication_api"), true)
	check(t, "name of the registry", s.String("friendly_name"), "The acme")
	check(t, "audience", s.String("audience"), "urn:gatehouse:tenant:acme")
	check(t, "unset", []any{s.String("default_client_id"), s.Raw("default_client_id"), s.Strings("no_such_key")}, []any{"", nil, nil})
	check(t, "sources", []string{s.Source("support_email"), s.Source("session_lifetime"), s.Source("idle_session_lifetime")},
		[]string{"own", "control_plane", "default"})
	check(t, "other tenant", h.settings("widgets").Hours("session_lifetime"), 168*time.Hour)
}

// The three views have the flat form with flags as an object (contract C7.22).
func TestSettingsViews(t *testing.T) {
	h := newSettingsHouse(t)
	h.inherit("acme", `{"session_lifetime":72,"sender_name":"CP","flags.enable_sso":true,"flags.enable_pipeline2":true}`, tenancy.Inheritance{Mode: tenancy.InheritAll})
	if err := h.patch("acme", `{"session_lifetime":24,"flags":{"enable_pipeline2":false}}`, false); err != nil {
		t.Fatal(err)
	}
	check(t, "own", h.view("acme", "own"), `{"flags":{"enable_pipeline2":false},"session_lifetime":24}`)
	check(t, "inherited", h.view("acme", "inherited"), `{"flags":{"enable_sso":true},"sender_name":"CP"}`)
	for _, part := range []string{
		`"session_lifetime":24`, `"sender_name":"CP"`, `"enable_sso":true`, `"idle_session_lifetime":72`,
		`"authorization_response_iss_parameter_supported":true`, `"friendly_name":"The acme"`,
	} {
		if all := h.view("acme", "effective"); !strings.Contains(all, part) || strings.Contains(all, "flags.") {
			t.Errorf("effective has no %s: %s", part, all)
		}
	}
	if _, err := h.settings("acme").View("odd"); tenancy.StatusOf(err) != 400 {
		t.Errorf("odd view: %v", err)
	}
}

// What patching does to a tenant's own values (contract C7.13, C7.14).
func TestWriteSettings(t *testing.T) {
	all := tenancy.Inheritance{Mode: tenancy.InheritAll}
	for _, c := range []struct {
		name   string
		choice tenancy.Inheritance
		before string
		patch  string
		pin    bool
		own    string
	}{
		{"a value is own", all, `{}`, `{"session_lifetime":24}`, false, `{"session_lifetime":24}`},
		{
			"empty values are own", all, `{}`, `{"support_email":"","enabled_locales":[],"default_token_quota":{}}`, false,
			`{"default_token_quota":{},"enabled_locales":[],"support_email":""}`,
		},
		{"absent stays, null goes", all, `{"sender_name":"A","support_url":"https://a.test"}`, `{"sender_name":null}`, false, `{"support_url":"https://a.test"}`},
		{"the default is own where another value is inherited", all, `{}`, `{"session_lifetime":168}`, false, `{"session_lifetime":168}`},
		{"the inherited value stays inherited", all, `{}`, `{"session_lifetime":72,"session_cookie":{ "mode": "persistent" }}`, false, `{}`},
		{"a default in effect stays", all, `{}`, `{"idle_session_lifetime":72.0,"friendly_name":"The acme"}`, false, `{}`},
		{"pinned", all, `{}`, `{"session_lifetime":72}`, true, `{"session_lifetime":72}`},
		{"overridden stays overridden", all, `{"session_lifetime":24}`, `{"session_lifetime":72}`, false, `{"session_lifetime":72}`},
		{"a key that is not inherited is own, also as the default", tenancy.Inheritance{Mode: tenancy.InheritNone}, `{}`, `{"session_lifetime":168}`, false, `{"session_lifetime":168}`},
		{"flags are merged", all, `{"flags":{"enable_sso":false,"enable_pipeline2":true}}`, `{"flags":{"enable_sso":null,"dcr_open":true}}`, false, `{"flags":{"dcr_open":true,"enable_pipeline2":true}}`},
		{"flags null", all, `{"flags":{"enable_pipeline2":true},"sender_name":"A"}`, `{"flags":null}`, false, `{"sender_name":"A"}`},
		{"objects are replaced whole", all, `{"error_page":{"html":"x","show_log_link":true}}`, `{"error_page":{"html":"y"}}`, false, `{"error_page":{"html":"y"}}`},
		{
			"cleared reference", all, `{"default_client_id":"spa","default_audience":"https://api.acme"}`, `{"default_client_id":"","default_audience":""}`, false,
			`{"default_audience":"","default_client_id":""}`,
		},
		{"the management API as audience", all, `{}`, `{"default_audience":"urn:gatehouse:management"}`, false, ``},
		{"the fixed member", all, `{}`, `{"authorization_response_iss_parameter_supported":true}`, false, `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newSettingsHouse(t)
			h.inherit("acme", `{"session_lifetime":72,"session_cookie":{"mode":"persistent"},"flags.enable_sso":true}`, c.choice)
			if err := h.patch("acme", c.before, true); err != nil {
				t.Fatal(err)
			}
			err := h.patch("acme", c.patch, c.pin)
			if c.own == "" {
				check(t, "error", err.Error(), "Resource server with identifier 'urn:gatehouse:management' not found") // none is seeded here
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			check(t, "own", h.view("acme", "own"), c.own)
			check(t, "own in the other tenant", h.view("widgets", "own"), `{}`)
		})
	}
}

// Bad input is refused with the contract's text and changes nothing (contract
// C5.8, C5.37, C5.38).
func TestWriteSettingsRefuses(t *testing.T) {
	h := newSettingsHouse(t)
	if err := h.patch("acme", `{"sender_name":"A"}`, false); err != nil {
		t.Fatal(err)
	}
	for patch, want := range map[string]string{
		`{"sender_name":"B","default_client_id":"nobody"}`:             "Client with id 'nobody' not found",
		`{"sender_name":"B","default_client_id":"m2m"}`:                "Client 'm2m' is not an interactive client and cannot be used as the default client",
		`{"sender_name":"B","default_audience":"https://api.widgets"}`: "Resource server with identifier 'https://api.widgets' not found",
		`{"sender_name":"B","state":"suspended"}`:                      "Payload validation error: 'Additional properties not allowed: state'",
		`{"sender_name":"B","quotas":{}}`:                              "Payload validation error: 'Additional properties not allowed: quotas'",
		`{"flags.enable_sso":true}`:                                    "Payload validation error: 'Additional properties not allowed: flags.enable_sso'",
		`{"flags":{"odd":true}}`:                                       "Payload validation error: 'Additional properties not allowed: flags.odd'",
		`{"flags":[]}`:                                                 "Payload validation error: 'Expected type object but found type array' on property flags",
		`{"flags":{"enable_sso":1}}`:                                   "Payload validation error: 'Expected type boolean but found type number' on property flags.enable_sso",
		`{"session_lifetime":"72"}`:                                    "Payload validation error: 'Expected type number but found type string' on property session_lifetime",
		`{"session_lifetime":0}`:                                       "Payload validation error: 'Value must be greater than 0 and at most 87600 hours' on property session_lifetime",
		`{"enabled_locales":[1]}`:                                      "Payload validation error: 'Expected type string but found type number' on property enabled_locales[0]",
		`{"session_cookie":{"mode":"odd"}}`:                            "Payload validation error: 'No enum match for: odd' on property session_cookie.mode",
		`{"session_cookie":{"odd":1}}`:                                 "Payload validation error: 'Additional properties not allowed: session_cookie.odd'",
		`{"support_email":"no address"}`:                               "Payload validation error: 'Object didn't pass validation for format email: no address' on property support_email",
		`{"default_redirection_uri":"http://x.test"}`:                  "Payload validation error: 'Object didn't pass validation for format absolute-https-uri: http://x.test' on property default_redirection_uri",
		`{"authorization_response_iss_parameter_supported":false}`:     "Payload validation error: 'Value is fixed to true' on property authorization_response_iss_parameter_supported",
	} {
		err := h.patch("acme", patch, false)
		if tenancy.StatusOf(err) != 400 || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", patch, err, want)
		}
	}
	check(t, "own", h.view("acme", "own"), `{"sender_name":"A"}`)
}

// Writers at the same time lose nothing of each other's.
func TestWriteSettingsRace(t *testing.T) {
	h := newSettingsHouse(t)
	errs := make(chan error, 3)
	for _, patch := range []string{`{"sender_name":"A"}`, `{"support_url":"https://a.test"}`, `{"session_lifetime":1}`} {
		go func() { errs <- h.patch("acme", patch, false) }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	check(t, "own", h.view("acme", "own"), `{"sender_name":"A","session_lifetime":1,"support_url":"https://a.test"}`)
}

// SC-098: every value can be explained, and no secret is (contract C7.24).
func TestExplainSettings(t *testing.T) {
	h := newSettingsHouse(t)
	h.inherit("acme", `{"session_lifetime":168}`, tenancy.Inheritance{Mode: tenancy.InheritAll, ExcludedKeys: []string{"flags", "support_url"}})
	if err := h.patch("acme", `{"session_lifetime":72}`, false); err != nil {
		t.Fatal(err)
	}
	explain := func(key string) (x *tenancy.Explanation) {
		h.in("acme", func(ctx context.Context) (err error) {
			x, err = tenancy.ExplainSettings(ctx, key)
			return err
		})
		return x
	}
	x := explain("session_lifetime")
	if x.Mode != "all" || x.TenantID != "acme" || len(x.Settings) != 1 || x.Settings[0].ChangedAt == nil {
		t.Fatalf("got %+v", x)
	}
	x.Settings[0].ChangedAt = nil
	check(t, "own over inherited", x.Settings[0], json.RawMessage(`{"key":"session_lifetime","value":72,"source":"own","own":72,"inherited":168,`+
		`"default":168,"if_own_removed":168,"inheritable":true,"excluded_by":null,"transformed_by":null,"error":null,"changed_at":null}`))
	all := explain("").Settings
	by := map[string]*string{}
	for _, s := range all {
		by[s.Key] = s.ExcludedBy
	}
	check(t, "excluded by", []any{by["flags.enable_sso"], by["flags.dcr_open"], by["support_url"], by["sender_name"]}, []any{"flags", nil, "support_url", nil})
	if !slices.IsSortedFunc(all, func(a, b tenancy.Explained) int { return strings.Compare(a.Key, b.Key) }) || len(all) < 60 {
		t.Errorf("%d settings explained, or not in order", len(all))
	}
	err := h.pool.Do(t.Context(), h.all["acme"], func(ctx context.Context) error {
		_, err := tenancy.ExplainSettings(ctx, "odd")
		return err
	})
	if tenancy.StatusOf(err) != 400 {
		t.Errorf("odd key: %v", err)
	}
}
