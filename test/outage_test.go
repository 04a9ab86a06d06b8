package test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestControlPlaneOutage: while nobody reaches the control plane's server, tenants
// whose databases are elsewhere go on giving tokens, the control plane alone answers
// 503, and what changes once it is back arrives in every tenant by itself (C1.27,
// C6.4, C6.29).
func TestControlPlaneOutage(t *testing.T) {
	wire := postgrestest.NewWire(t, postgrestest.DSN(t))
	g, config := withoutAdministrator(t)
	p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA", fmt.Sprintf(
		"keys RS256 ES256 EdDSA\n\t\tcontrol_plane control_plane {\n\t\t\tdatabase main\n\t\t}\n\t\tdatabase files sqlite %q\n\t\tdatabase main postgres %q",
		filepath.Join(g.dir, "files"), wire.DSN()), 1))
	cp := p.platform(t)
	forms := map[string]url.Values{}
	for _, id := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": id}).want(t, http.StatusCreated)
		a := cp.on(id)
		audience := "https://api." + id + ".example.com"
		a.create(t, "/resource-servers", map[string]any{"identifier": audience, "name": "API", "scopes": []map[string]string{{"value": "read:all"}}})
		c := a.create(t, "/clients", map[string]any{"name": "Robot", "app_type": "non_interactive"})
		a.create(t, "/client-grants", map[string]any{"client_id": c["client_id"], "audience": audience, "scope": []string{"read:all"}})
		forms[id] = url.Values{
			"grant_type": {"client_credentials"}, "client_id": {c["client_id"].(string)}, "client_secret": {c["client_secret"].(string)}, "audience": {audience},
		}
	}
	role := cp.create(t, "/roles", map[string]any{"name": "Before"})["id"].(string)
	has := func(tenant, role string) bool {
		return cp.on(tenant).call(t, http.MethodGet, "/roles/"+role, nil).status == http.StatusOK
	}
	within(t, soon, "a change arrives", func() bool { return has("acme", role) && has("widgets", role) })

	for outage := range 2 {
		wire.Down()
		within(t, soon, "the control plane is away", func() bool {
			return cp.call(t, http.MethodGet, "/roles", nil).status == http.StatusServiceUnavailable
		})
		for until := time.Now().Add(3 * time.Second); time.Now().Before(until); { // longer than what the directory trusts
			for id, form := range forms {
				p.token(t, id, form).want(t, http.StatusOK)
				p.get(t, id, "/.well-known/jwks.json").want(t, http.StatusOK)
			}
		}
		wire.Up()
		var answer answer
		within(t, soon, "the control plane is back", func() bool {
			answer = cp.call(t, http.MethodPost, "/roles", map[string]any{"name": fmt.Sprint("After ", outage)})
			return answer.status == http.StatusOK || answer.status == http.StatusCreated
		})
		role = answer.member(t, "id")
		within(t, 30*time.Second, "what changed afterwards arrives", func() bool { return has("acme", role) && has("widgets", role) })
	}
}
