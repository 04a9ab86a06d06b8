package management

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.95, C7.6: templates are checked when they are written, and inherited.
func TestEmailTemplates(t *testing.T) {
	k := newKit(t)
	k.inside("acme", func(ctx context.Context) {
		k.must(tenancy.SettingsRows.Create(ctx, &tenancy.SettingsRow{
			Row: tenancy.Row{ID: tenancy.SettingsInherited}, Choice: tenancy.Inheritance{Mode: tenancy.InheritAll},
			Values: map[string]json.RawMessage{"email_templates.blocked_account": json.RawMessage(
				`{"template":"blocked_account","subject":"From above","body":"<p>{{ user.email }}</p>","syntax":"liquid","enabled":true}`)},
		}))
	})
	own, other := machine("acme"), machine("widgets")
	const path, one = "/email-templates", "/email-templates/verify_email"
	body := func(more string) string {
		return `{"template":"verify_email","subject":"Hello","body":"<p>\n{{ url }}</p>"` + more + `}`
	}
	refused := func(name, body, says string) scenario {
		return scenario{name: name, token: own, method: "POST", path: path, body: body, status: 400, code: "invalid_body", says: "Payload validation error: '" + says}
	}
	k.run([]scenario{
		{name: "none", token: own, path: one, status: 404, code: "inexistent_email_template"},
		{name: "no such kind", token: own, path: path + "/love_letter", status: 404},
		{name: "nothing to change", token: own, method: "PATCH", path: one, body: `{"enabled":false}`, status: 404},
		{name: "nothing to replace", token: own, method: "PUT", path: one, body: body(""), status: 404},
		refused("no kind", `{"subject":"a","body":"b"}`, "Missing required property: template'"),
		refused("unknown kind", `{"template":"love_letter","subject":"a","body":"b"}`, "No enum match for: love_letter' on property template"),
		refused("no subject", `{"template":"verify_email","body":"b"}`, "Missing required property: subject'"),
		refused("not closed", `{"template":"verify_email","subject":"a","body":"x\n\n{% if user.email %}"}`, "line 3: if is not closed by endif' on property body"),
		refused("file", `{"template":"verify_email","subject":"a","body":"{% include '/etc/passwd' %}"}`, `line 1: there is no tag "include"; there are assign, capture, case, comment, for, if, raw, unless' on property body`),
		refused("subject", `{"template":"verify_email","subject":"{{ a | system }}","body":"b"}`, `line 1: there is no filter "system"' on property subject`),
		refused("syntax", body(`,"syntax":"erb"`), "No enum match for: erb' on property syntax"),
		refused("lifetime", body(`,"urlLifetimeInSeconds":432001`), "Value must be from 0 to 432000' on property urlLifetimeInSeconds"),
		refused("result", body(`,"resultUrl":"javascript:alert(1)"`), "Object didn't pass validation for format absolute-https-uri: javascript:alert(1)' on property resultUrl"),
		refused("too long", `{"template":"verify_email","subject":"a","body":"`+strings.Repeat("x", 70000)+`"}`, "String is too long (70000 chars), maximum 65536' on property body"),
		{name: "created", token: own, method: "POST", path: path, body: body(`,"from":"{{ friendly_name }} <hi@acme.test>"`), status: 200, holds: `"syntax":"liquid"`},
		{name: "twice", token: own, method: "POST", path: path, body: body(""), status: 409, code: "email_template_conflict"},
		{name: "read", token: own, path: one, status: 200, holds: `"subject":"Hello"`},
		{name: "fields", token: own, path: one + "?fields=subject", status: 200, lacks: "url"},
		{name: "changed", token: own, method: "PATCH", path: one, body: `{"enabled":false,"from":null}`, status: 200, holds: `"enabled":false`, lacks: "hi@acme.test"},
		{name: "another kind's name", token: own, method: "PATCH", path: one, body: `{"template":"reset_email"}`, status: 400},
		{name: "replaced", token: own, method: "PUT", path: one, body: `{"subject":"Again","body":"b"}`, status: 200, holds: `"enabled":true`},
		{name: "another tenant has none", host: widgetsHost, token: other, path: one, status: 404},
		{name: "from the control plane", host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, path: one, status: 200, holds: "Again"},
		{name: "inherited", token: own, path: path + "/blocked_account", status: 200, holds: `"subject":"From above"`},
		{name: "written back", token: own, method: "PATCH", path: path + "/blocked_account", body: `{}`, status: 200},
		{
			name: "stays inherited (C7.14)", token: own, path: "/tenants/settings/effective?key=email_templates.blocked_account", status: 200,
			holds: `"source":"control_plane"`, lacks: `"source":"own"`,
		},
		{name: "overridden", token: own, method: "PATCH", path: path + "/blocked_account", body: `{"subject":"Our own"}`, status: 200, holds: "{{ user.email }}"},
		{name: "removed", token: own, method: "DELETE", path: path + "/blocked_account", status: 204},
		{name: "inherited again", token: own, path: path + "/blocked_account", status: 200, holds: "From above"},
		{name: "nothing to remove", token: own, method: "DELETE", path: path + "/blocked_account", status: 404},
		{name: "no setting", token: own, path: "/tenants/settings", status: 200, lacks: "email_templates"},
		{name: "nor own", token: own, path: "/tenants/settings?view=own", status: 200, lacks: "Again"},
		{name: "not to be set as one", token: own, method: "PATCH", path: "/tenants/settings", body: `{"email_templates.verify_email":null}`, status: 400},
		{name: "scope", token: machine("acme", "read:connections"), path: one, status: 403},
		{name: "raises the revision on the control plane", host: cpHost, token: admin(), method: "POST", path: path, body: body(""), status: 200, check: revision(true)},
	})
}
