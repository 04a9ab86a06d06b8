package management

import (
	"slices"
	"testing"
)

func TestSettings(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	k.run([]scenario{
		{name: "effective", token: own, path: "/tenants/settings", status: 200, holds: `"session_lifetime":168`},
		{name: "own", token: own, path: "/tenants/settings?view=own", status: 200, lacks: "session_lifetime"},
		{name: "no such view", token: own, path: "/tenants/settings?view=all", status: 400, code: "invalid_query_string"},
		{name: "changed", token: own, method: "PATCH", path: "/tenants/settings", body: `{"session_lifetime":24,"flags":{"revoke_refresh_token_grant":true}}`, status: 200, holds: `"session_lifetime":24`},
		{name: "explained", token: own, path: "/tenants/settings/effective?key=session_lifetime", status: 200, holds: `"source":"own"`},
		{name: "null goes back", token: own, method: "PATCH", path: "/tenants/settings", body: `{"session_lifetime":null}`, status: 200, holds: `"session_lifetime":168`},
		{name: "C5.38", token: own, method: "PATCH", path: "/tenants/settings", body: `{"placement":{}}`, status: 400, says: "Payload validation error: 'Additional properties not allowed: placement'"},
		{name: "default client", token: own, method: "PATCH", path: "/tenants/settings", body: `{"default_client_id":"nope"}`, status: 400, says: "Client with id 'nope' not found"},
		{
			name: "on the control plane it raises the revision", host: cpHost, token: admin(), method: "PATCH", path: "/tenants/settings", body: `{"session_lifetime":48}`, status: 200,
			check: revision(true),
		},
		{name: "acts on acme", host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, path: "/tenants/settings", status: 200, holds: `"friendly_name":"Tenant acme"`},
	})
}

func TestKeys(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	k.run([]scenario{
		{name: "C9.13 list", token: own, path: "/keys/signing", status: 200, holds: `"kid":"kid_same"`, lacks: "private of acme"},
		{name: "one", token: own, path: "/keys/signing/kid_same", status: 200, holds: `"current":true`, lacks: "rivate"},
		{name: "rotate", token: own, method: "POST", path: "/keys/signing/rotate", status: 201, holds: `"cert":"cert of acme"`},
		{name: "rotate from the control plane", host: cpHost, token: admin(), header: []string{"tenant-id", "widgets"}, method: "POST", path: "/keys/signing/rotate", status: 201, holds: "cert of widgets"},
		{name: "revoke", token: own, method: "PUT", path: "/keys/signing/kid_acme/revoke", status: 200, holds: `"kid":"kid_acme"`},
		{name: "revoked", token: own, path: "/keys/signing/kid_acme", status: 200, holds: `"revoked":true`},
	})
}

// TestSettingsAreTold is C8.15: a change of settings is told once, by names and
// without values, in the tenant it is of; writing back what was read is no change.
func TestSettingsAreTold(t *testing.T) {
	k := newAccessKit(t)
	patch := func(host string, by claims, body map[string]any, want int) {
		k.Helper()
		if a := k.do("PATCH", host, "/tenants/settings", by.token(), body); a.Code != want {
			k.Errorf("%d %s", a.Code, a.Body)
		}
	}
	patch(acmeHost, machine("acme"), map[string]any{"support_email": "secret@acme.test"}, 200)
	patch(acmeHost, machine("acme"), map[string]any{"support_email": "secret@acme.test"}, 200)
	patch(acmeHost, machine("acme"), map[string]any{"support_email": 1}, 400)
	patch(widgetsHost, machine("widgets"), map[string]any{"sender_name": "W"}, 200)
	var told []string
	for _, e := range k.events.of("gh_tenant") {
		if e.Description == "tenant.settings.updated" {
			told = append(told, e.tenant+" "+string(e.Details))
		}
	}
	want := []string{
		`acme {"actor":"m2m@clients","members":["support_email"],"tenant_id":"acme"}`,
		`widgets {"actor":"m2m@clients","members":["sender_name"],"tenant_id":"widgets"}`,
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n %q, want\n %q", told, want)
	}
}
