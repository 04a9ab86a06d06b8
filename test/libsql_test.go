package test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
)

// TestTenantsInLibSQL: a tenant is made in a database of an sqld, gives tokens to
// machines, logs people in, gets what the control plane shares, and leaves nothing
// behind; while the server is away its tenants alone answer 503.
func TestTenantsInLibSQL(t *testing.T) {
	for _, template := range []string{"", "template"} {
		t.Run("template="+template, func(t *testing.T) {
			s := sqldtest.Start(t)
			g, config := withoutAdministrator(t)
			option := "keys RS256 ES256 EdDSA\n\t\tdatabase edge libsql " + s.URL + " {\n\t\t\tadmin " + s.Admin + "\n\t\t\tprefix e2e"
			if template != "" {
				option += "\n\t\t\ttemplate " + template
			}
			p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA", option+"\n\t\t}", 1))
			cp := p.platform(t)
			cp.create(t, "/resource-servers", map[string]any{"identifier": "https://shared.example.com", "name": "Shared", "scopes": []map[string]string{{"value": "read:things"}}})
			var took []time.Duration
			for _, tenant := range []string{"acme", "widgets", "third"} {
				began := time.Now()
				cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("creating a tenant took %v (median of %d)", took[len(took)/2], len(took))
			for _, tenant := range []string{"acme", "widgets"} {
				a := cp.on(tenant)
				machine := a.create(t, "/clients", map[string]any{"name": "Robot", "app_type": "non_interactive"})
				a.create(t, "/client-grants", map[string]any{"client_id": machine["client_id"], "audience": "https://shared.example.com", "scope": []string{"read:things"}})
				token := claims(t, p.machineToken(t, tenant, machine["client_id"].(string), machine["client_secret"].(string), "https://shared.example.com"))
				if token["scope"] != "read:things" || token["tenant_id"] != tenant {
					t.Errorf("a machine's token: %v", token)
				}
				app := a.spa(t, "Shop", []int{1, 2})
				a.user(t, userEmail)
				const redirect = "http://localhost:1/callback"
				link, verifier := p.authorizeURL(tenant, app, redirect, url.Values{"audience": {"https://shared.example.com"}})
				back := newVisitor(t).login(link, userEmail, password)
				access := claims(t, p.redeem(t, tenant, app, redirect, verifier, back).want(t, http.StatusOK).member(t, "access_token"))
				if access["tenant_id"] != tenant || access["iss"] != p.issuer(tenant) {
					t.Errorf("access token: %v", access)
				}
			}
			cp.call(t, http.MethodDelete, "/tenants/acme", nil).want(t, http.StatusNoContent)
			cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "again"}).want(t, http.StatusCreated)
			var users []map[string]any
			cp.on("acme").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
			if len(users) != 0 {
				t.Errorf("the same id again has %d users", len(users))
			}
			s.Stop()
			cp.on("widgets").call(t, http.MethodGet, "/users", nil).want(t, http.StatusServiceUnavailable)
			cp.call(t, http.MethodGet, "/tenants", nil).want(t, http.StatusOK)
			s.Restart(t)
			cp.on("widgets").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
			if len(users) != 1 {
				t.Errorf("after the server is back there are %d users", len(users))
			}
		})
	}
}
