package management

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// inherited are secrets that acme inherits from the control plane. Their first and
// last characters are in no answer for another reason.
const (
	inheritedSecret   = "~Qz!4-inherited-client-secret-$Vx%"
	inheritedPassword = "^Jk{8-inherited-mail-password-}Wy|"
)

// inherit gives a tenant what the sync loop would have copied into it, and a
// connection that has nothing of its own.
func (k *kit) inherit(id string) {
	k.Helper()
	k.inside(id, func(ctx context.Context) {
		k.must(tenancy.Commit(ctx,
			tenancy.EmailProviders.Remove(ctx, tenancy.EmailProviderID),
			tenancy.Fallbacks.Insert(ctx, &tenancy.Fallback{
				Row: tenancy.Row{ID: "con_cp"}, Covers: "connections.google-oauth2", Born: 1,
				Options: map[string]any{"client_id": "of the control plane"}, Secrets: map[string]any{"client_secret": inheritedSecret},
			}),
			tenancy.Fallbacks.Insert(ctx, &tenancy.Fallback{
				Row: tenancy.Row{ID: tenancy.FallbackEmail}, Covers: tenancy.FallbackEmail, Options: map[string]any{"name": "smtp", "enabled": true},
				Secrets: map[string]any{"smtp_host": "mail.test", "smtp_pass": inheritedPassword},
			}),
			tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_google"}, Name: "google", Strategy: "google-oauth2"}),
		))
	})
}

// SC-096, SC-098: a connection tells which options it inherits, by their names.
func TestInheritedOptions(t *testing.T) {
	k := newKit(t)
	k.inherit("acme")
	own := machine("acme")
	path, names := "/connections/con_google", `"inherited_options":["client_id","client_secret"]`
	k.run([]scenario{
		{name: "names", token: own, path: path, status: 200, holds: names, lacks: "of the control plane"},
		{name: "nothing", token: own, path: "/connections/" + sameConn, status: 200, holds: `"inherited_options":[]`},
		{name: "of another tenant", host: widgetsHost, token: machine("widgets"), path: path, status: 404},
		{name: "cannot be written", token: own, method: "PATCH", path: path, body: `{"inherited_options":[]}`, status: 400},
		{name: "a secret of its own", token: own, method: "PATCH", path: path, body: `{"options":{"client_secret":"ownownown"}}`, status: 200, holds: `"inherited_options":["client_id"]`},
		{name: "null is no secret, and its own", token: own, method: "PATCH", path: path, body: `{"options":{"client_secret":null}}`, status: 200, holds: `"inherited_options":["client_id"]`},
		{name: "without", token: own, method: "PATCH", path: path, body: `{"options":{}}`, status: 200, holds: names, lacks: "_hint"},
		{name: "a hint nobody was given", token: own, method: "PATCH", path: path, body: `{"options":{"client_secret_hint":"••••$Vx%"}}`, status: 400},
		{name: "SC-097", token: own, method: "PATCH", path: path, body: `{"options":{"token_endpoint":"https://acme.test/token"}}`, status: 200, holds: `"inherited_options":[]`},
		{
			name: "explained", token: own, path: "/tenants/settings/effective", status: 200,
			holds: `"email_provider":{"source":"control_plane","name":"smtp"}`,
		},
	})
}

// TestInheritedSecretsAreInNoAnswer is generated from the route table: whoever asks
// whatever of a tenant, on its host or from the control plane, learns nothing of a
// secret the tenant inherits, and neither does the log (contract C7.18, C9.27).
func TestInheritedSecretsAreInNoAnswer(t *testing.T) {
	k := newKit(t)
	k.inherit("acme")
	routes := slices.Clone(Routes())
	slices.SortStableFunc(routes, func(a, b RouteInfo) int { return last(a) - last(b) })
	asked := 0
	told := func(where, text string) {
		asked++
		for _, secret := range []string{inheritedSecret, inheritedPassword} {
			for _, part := range []string{secret[:5], secret[len(secret)-4:], fmt.Sprintf(`:%d,`, len(secret)), "••••"} {
				if strings.Contains(text, part) {
					t.Errorf("%s tells of an inherited secret: %s", where, text)
				}
			}
		}
	}
	for _, r := range routes {
		path := strings.Replace(pathOf(r, "acme"), only("con_", "acme"), "con_google", 1)
		a := k.do(r.Method, acmeHost, path, k.callerOf(r, "acme").token(), bodyOf(r, "acme"))
		told(r.Method+" "+path, a.Body.String()+fmt.Sprint(a.Header()))
		if r.Method == http.MethodGet {
			a = k.do(r.Method, cpHost, path, admin().token(), nil, "tenant-id", "acme")
			told("from the control plane "+path, a.Body.String())
		}
	}
	for _, e := range k.events.list {
		told("event", fmt.Sprintf("%+v %s", e, e.Details))
	}
	if asked < 150 {
		t.Errorf("only %d texts were looked at", asked)
	}
}

// last puts what takes rows away behind everything else.
func last(r RouteInfo) int {
	if r.Method == http.MethodDelete {
		return 1
	}
	return 0
}
