package test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
)

// TestTenantsAtCloudflare: in both homes a tenant gives tokens to machines, logs
// people in, gets what the control plane shares, and leaves nothing behind; while
// the account is over its limit its tenants alone answer 503.
func TestTenantsAtCloudflare(t *testing.T) {
	api := d1test.NewAPI(t)
	var limited atomic.Bool
	api.Before = func(w http.ResponseWriter, _ *http.Request) bool {
		if limited.Load() {
			w.Header().Set("Retry-After", "1")
			d1test.Refuse(w, http.StatusTooManyRequests, 971, "Please wait and consider throttling your request speed")
		}
		return limited.Load()
	}
	for home, options := range map[string]string{
		"token":  "token \"" + api.Token + "\"\n\t\t\tapi " + api.URL,
		"worker": "worker " + d1test.Worker(t) + " \"" + d1test.Secret + "\"",
	} {
		t.Run(home, func(t *testing.T) {
			g, config := withoutAdministrator(t)
			p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA",
				"keys RS256 ES256 EdDSA\n\t\tdatabase cf d1 "+api.Account+" {\n\t\t\tprefix e2e\n\t\t\t"+options+"\n\t\t}", 1))
			cp := p.platform(t)
			cp.create(t, "/resource-servers", map[string]any{"identifier": "https://shared.example.com", "name": "Shared", "scopes": []map[string]string{{"value": "read:things"}}})
			for _, tenant := range []string{"acme", "widgets"} {
				before := api.Requests()
				cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
				made := api.Requests()
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
				ready := api.Requests()
				link, verifier := p.authorizeURL(tenant, app, redirect, url.Values{"audience": {"https://shared.example.com"}})
				back := newVisitor(t).login(link, userEmail, password)
				access := claims(t, p.redeem(t, tenant, app, redirect, verifier, back).want(t, http.StatusOK).member(t, "access_token"))
				if access["tenant_id"] != tenant || access["iss"] != p.issuer(tenant) {
					t.Errorf("access token: %v", access)
				}
				if home == "token" {
					t.Logf("%d requests for a new tenant, %d for a login", made-before, api.Requests()-ready)
				}
			}
			cp.call(t, http.MethodDelete, "/tenants/acme", nil).want(t, http.StatusNoContent)
			cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "again"}).want(t, http.StatusCreated)
			var users []map[string]any
			cp.on("acme").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
			if len(users) != 0 {
				t.Errorf("the same id again has %d users", len(users))
			}
			if home == "token" {
				limited.Store(true)
				cp.on("widgets").call(t, http.MethodGet, "/users", nil).want(t, http.StatusServiceUnavailable)
				cp.call(t, http.MethodGet, "/tenants", nil).want(t, http.StatusOK)
				limited.Store(false)
			}
			cp.on("widgets").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
			if len(users) != 1 {
				t.Errorf("there are %d users", len(users))
			}
			for _, secret := range []string{api.Token, d1test.Secret} {
				if strings.Contains(p.output.String(), secret) {
					t.Error("the log holds a secret of the placement")
				}
			}
		})
	}
}
