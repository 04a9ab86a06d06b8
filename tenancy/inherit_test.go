package tenancy_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Which keys a choice has inherited (contract C7.10, C7.5, C7.8).
func TestInherit(t *testing.T) {
	parent := map[string]json.RawMessage{
		"session_lifetime": json.RawMessage(`72`), "support_url": json.RawMessage(`"https://x.test"`),
		"flags.enable_sso": json.RawMessage(`true`), "flags.dcr_open": json.RawMessage(`true`),
		"friendly_name": json.RawMessage(`"CP"`), "default_audience": json.RawMessage(`"https://api"`), "allowed_logout_urls": json.RawMessage(`[]`),
	}
	for _, c := range []struct {
		name   string
		global tenancy.Inheritance
		own    tenancy.Inheritance
		want   string
	}{
		{"all by default", tenancy.Inheritance{}, tenancy.Inheritance{}, `{"flags.enable_sso":true,"session_lifetime":72,"support_url":"https://x.test"}`},
		{"none", tenancy.Inheritance{}, tenancy.Inheritance{Mode: "none", Keys: []string{"session_lifetime"}}, `{}`},
		{"selected", tenancy.Inheritance{}, tenancy.Inheritance{Mode: "selected", Keys: []string{"session_lifetime", "friendly_name"}}, `{"session_lifetime":72}`},
		{"selected nothing", tenancy.Inheritance{}, tenancy.Inheritance{Mode: "selected"}, `{}`},
		{"selected parent", tenancy.Inheritance{}, tenancy.Inheritance{Mode: "selected", Keys: []string{"flags"}}, `{"flags.enable_sso":true}`},
		{"a name that only begins alike is no parent", tenancy.Inheritance{}, tenancy.Inheritance{Mode: "selected", Keys: []string{"session"}}, `{}`},
		{
			"excluded wins over selected",
			tenancy.Inheritance{Mode: "selected", Keys: []string{"session_lifetime", "support_url"}},
			tenancy.Inheritance{ExcludedKeys: []string{"support_url"}},
			`{"session_lifetime":72}`,
		},
		{"excluded parent", tenancy.Inheritance{ExcludedKeys: []string{"flags"}}, tenancy.Inheritance{}, `{"session_lifetime":72,"support_url":"https://x.test"}`},
		{
			"an empty list replaces the configuration's",
			tenancy.Inheritance{ExcludedKeys: []string{"flags"}},
			tenancy.Inheritance{ExcludedKeys: []string{}},
			`{"flags.enable_sso":true,"session_lifetime":72,"support_url":"https://x.test"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored, err := json.Marshal(c.own) // as the registry keeps it
			if err != nil {
				t.Fatal(err)
			}
			var own tenancy.Inheritance
			if err := json.Unmarshal(stored, &own); err != nil {
				t.Fatal(err)
			}
			values, remarks := tenancy.Inherit(parent, own.Over(c.global), &tenancy.Tenant{}, nil, nil)
			if remarks != nil {
				t.Errorf("got remarks %v without a transform", remarks)
			}
			got, err := json.Marshal(values)
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}

// A transform makes a key's value; an invalid result leaves the default, and one
// that fails what was there before. Both are told (contract C7.12, C7.24).
func TestInheritTransform(t *testing.T) {
	parent := map[string]json.RawMessage{
		"session_lifetime": json.RawMessage(`72`), "sender_name": json.RawMessage(`"CP"`), "sender_email": json.RawMessage(`"a@cp.test"`),
		"support_url": json.RawMessage(`"https://x.test"`), "support_email": json.RawMessage(`"b@cp.test"`), "enabled_locales": json.RawMessage(`["de"]`),
	}
	gives := func(value string, err error) tenancy.Transform {
		return func(json.RawMessage, *tenancy.Tenant) (json.RawMessage, error) {
			if value == "" {
				return nil, err
			}
			return json.RawMessage(value), err
		}
	}
	transforms := tenancy.Transforms{
		"session_lifetime": gives(`-1`, nil), "sender_email": gives(`null`, nil),
		"support_url": gives("", errors.New("no")), "support_email": gives("", errors.New("no")),
		"sender_name": func(value json.RawMessage, t *tenancy.Tenant) (json.RawMessage, error) {
			return json.RawMessage(`"` + t.ID + string(value[1:])), nil
		},
	}
	before := map[string]json.RawMessage{"session_lifetime": json.RawMessage(`36`), "support_url": json.RawMessage(`"https://old.test"`)}
	values, remarks := tenancy.Inherit(parent, tenancy.Inheritance{Mode: "all"}, &tenancy.Tenant{Row: tenancy.Row{ID: "acme"}}, transforms, before)
	got, err := json.Marshal(values)
	if want := `{"enabled_locales":["de"],"sender_name":"acmeCP","support_url":"https://old.test"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for key, want := range map[string]tenancy.Remark{
		"session_lifetime": {By: "session_lifetime", Error: "The transform's result is no value of this setting"},
		"sender_name":      {By: "sender_name"}, "sender_email": {By: "sender_email"},
		"support_url": {By: "support_url", Error: "no"}, "support_email": {By: "support_email", Error: "no"}, "enabled_locales": {},
	} {
		if remarks[key] != want {
			t.Errorf("%s: got remark %+v, want %+v", key, remarks[key], want)
		}
	}
	if string(parent["session_lifetime"]) != "72" || len(before) != 2 {
		t.Error("what was given was changed")
	}
}

// Choices that cannot be are refused (contract C7.10).
func TestInheritanceValidate(t *testing.T) {
	for _, c := range []struct {
		choice tenancy.Inheritance
		ok     bool
	}{
		{tenancy.Inheritance{}, true},
		{tenancy.Inheritance{
			Mode: "selected", Keys: []string{"session_lifetime", "flags", "flags.enable_sso", "branding", "branding.colors", "email_templates.verify_email"},
			ExcludedKeys: []string{"connections.google-oauth2", "emails.provider"},
		}, true},
		{tenancy.Inheritance{Mode: "some"}, false},
		{tenancy.Inheritance{Keys: []string{"odd"}}, false},
		{tenancy.Inheritance{Keys: []string{"friendly_name"}}, false},
		{tenancy.Inheritance{Keys: []string{"flags.dcr_open"}}, false},
		{tenancy.Inheritance{Keys: []string{"flags.odd"}}, false},
		{tenancy.Inheritance{ExcludedKeys: []string{"default_audience"}}, false},
		{tenancy.Inheritance{ExcludedKeys: []string{"branding."}}, false},
		{tenancy.Inheritance{ExcludedKeys: []string{""}}, false},
	} {
		err := c.choice.Validate()
		if (err == nil) != c.ok || err != nil && tenancy.StatusOf(err) != 400 {
			t.Errorf("%+v: got %v, want ok %v", c.choice, err, c.ok)
		}
	}
}
