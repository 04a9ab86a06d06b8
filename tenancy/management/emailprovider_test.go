package management

import (
	"context"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.94: one provider per tenant, whose credentials go in and never come out.
func TestEmailProvider(t *testing.T) {
	k := newKit(t)
	own, other := machine("acme"), machine("widgets")
	const path = "/emails/provider"
	body := func(more string) string {
		return `{"name":"smtp","default_from_address":"hi@acme.test","credentials":{"smtp_host":"mail.acme.test","smtp_port":587,"smtp_user":"u","smtp_pass":"topsecretvalue"}` + more + `}`
	}
	password := func(tenant string) (text string) {
		k.inside(tenant, func(ctx context.Context) {
			if p, err := tenancy.EmailProviders.Get(ctx, tenancy.EmailProviderID); err == nil {
				text, _ = p.Credentials["smtp_pass"].(string)
			}
		})
		return text
	}
	is := func(want string) func(*testing.T, answered) {
		return func(t *testing.T, _ answered) {
			if got := password("acme"); got != want {
				t.Errorf("password %q, want %q", got, want)
			}
		}
	}
	refused := func(name, body, says string) scenario {
		return scenario{name: name, token: own, method: "POST", path: path, body: body, status: 400, code: "invalid_body", says: "Payload validation error: '" + says, lacks: "topsecret"}
	}
	k.run([]scenario{
		{name: "what it has goes", token: own, method: "DELETE", path: path, status: 204},
		{name: "none of its own", token: own, path: path, status: 404, code: "inexistent_email_provider"},
		{name: "nothing to change", token: own, method: "PATCH", path: path, body: `{"enabled":false}`, status: 404},
		refused("no credentials", `{"name":"smtp"}`, "Missing required property: credentials'"),
		refused("no name", `{"credentials":{}}`, "Missing required property: name'"),
		refused("no host", `{"name":"smtp","credentials":{"smtp_pass":"topsecretvalue"}}`, "Missing required property' on property credentials.smtp_host"),
		refused("port", `{"name":"smtp","credentials":{"smtp_host":"x.test","smtp_port":0}}`, "Expected an integer from 1 to 65535' on property credentials.smtp_port"),
		refused("two lines", `{"name":"smtp","credentials":{"smtp_host":"x.test","smtp_user":"a\nb"}}`, "Expected one line of text' on property credentials.smtp_user"),
		refused("sender", body(`,"settings":{"security":"rot13"}`), "No enum match for: rot13' on property settings.security"),
		{name: "address", token: own, method: "POST", path: path, body: `{"name":"smtp","default_from_address":"x","credentials":{"smtp_host":"x.test"}}`, status: 400},
		{name: "another name", token: own, method: "POST", path: path, body: `{"name":"pigeon","credentials":{}}`, status: 400},
		{
			name: "created", token: own, method: "POST", path: path, body: body(""), status: 201, lacks: "credentials",
			holds: `"name":"smtp","enabled":true,"default_from_address":"hi@acme.test","settings":{}`, check: is("topsecretvalue"),
		},
		{name: "twice", token: own, method: "POST", path: path, body: body(""), status: 409, code: "email_provider_conflict"},
		{name: "read", token: own, path: path, status: 200, holds: "hi@acme.test", lacks: "topsecret"},
		{name: "fields", token: own, path: path + "?fields=name", status: 200, lacks: "hi@acme.test"},
		{name: "widgets has another", host: widgetsHost, token: other, path: path, status: 200, holds: "hi@widgets.test", lacks: "acme"},
		{name: "by the control plane", host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, path: path, status: 200, holds: "hi@acme.test"},
		{name: "switched off", token: own, method: "PATCH", path: path, body: `{"enabled":false}`, status: 200, holds: `"enabled":false`, check: is("topsecretvalue")},
		{name: "other credentials are whole", token: own, method: "PATCH", path: path, body: `{"credentials":{"smtp_host":"evil.test"}}`, status: 200, check: is("")},
		{name: "another provider without", token: own, method: "PATCH", path: path, body: `{"name":"sendgrid"}`, status: 400},
		{name: "scope", token: machine("acme", "read:connections"), path: path, status: 403},
		{name: "deleted", token: own, method: "DELETE", path: path, status: 204, check: is("")},
		{name: "gone", token: own, path: path, status: 404},
		{name: "widgets' stays", host: widgetsHost, token: other, path: path, status: 200, holds: "hi@widgets.test"},
		{
			name: "raises the revision on the control plane", host: cpHost, token: admin(), method: "POST", path: path,
			body: body(""), status: 201, check: revision(true),
		},
	})
}
