package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestSuspendedTenant: SC-009, SC-107, C1.19, C8.11, C9.55 end to end.
func TestSuspendedTenant(t *testing.T) {
	j := startMainJob(t)
	cp := j.platform(t)
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "paused", "friendly_name": "Paused"}).want(t, http.StatusCreated)
	paused := cp.on("paused")
	app := paused.spa(t, "App", j.ports[:])
	paused.user(t, "pat@paused.example.com")
	api := "https://things.paused.example.com"
	paused.create(t, "/resource-servers", map[string]any{"identifier": api, "name": "Things", "allow_offline_access": true})
	redirect := fmt.Sprintf("http://localhost:%d/callback", j.ports[0])
	link, verifier := j.authorizeURL("paused", app, redirect, url.Values{"scope": {"openid offline_access"}, "audience": {api}})
	v := newVisitor(t)
	var tokens struct {
		Refresh string `json:"refresh_token"`
	}
	j.redeem(t, "paused", app, redirect, verifier, v.login(link, "pat@paused.example.com", password)).want(t, http.StatusOK).json(t, &tokens)
	waiting := v.open(link) // a code that is not redeemed before the suspension
	own := j.machineTokenOf(t, paused, "paused")
	refresh := func() answer {
		return j.token(t, "paused", url.Values{"grant_type": {"refresh_token"}, "client_id": {app}, "refresh_token": {tokens.Refresh}})
	}

	cp.call(t, http.MethodPost, "/tenants/paused/suspend", map[string]any{"reason": "unpaid"}).want(t, http.StatusOK)
	within(t, 2*time.Second, "SC-009: tokens are refused", func() bool { return refresh().status == http.StatusForbidden })
	if a := refresh(); a.member(t, "error") != "access_denied" || a.member(t, "error_description") != "Tenant is suspended" {
		t.Errorf("token endpoint: %s", a.body)
	}
	j.redeem(t, "paused", app, redirect, verifier, waiting).want(t, http.StatusForbidden)
	j.get(t, "paused", "/.well-known/jwks.json").want(t, http.StatusOK)
	if p := v.open(link); p.status != http.StatusForbidden || !strings.Contains(p.body, "Tenant is suspended") {
		t.Errorf("SC-009: authorize answered %d: %.200s", p.status, p.body)
	}
	if a := own.call(t, http.MethodGet, "/users", nil).want(t, http.StatusForbidden); a.member(t, "errorCode") != "tenant_suspended" {
		t.Errorf("C9.55: management answered %s", a.body)
	}
	paused.call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK) // a platform administrator may look

	cp.call(t, http.MethodPost, "/tenants/paused/resume", nil).want(t, http.StatusOK)
	within(t, 2*time.Second, "SC-107: the refresh token from before works", func() bool { return refresh().status == http.StatusOK })
	if q := v.open(link).url.Query(); q.Get("code") == "" {
		t.Errorf("the session from before: %v", q)
	}
	own.call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK)
}

// machineTokenOf makes a machine client in the tenant and returns its API.
func (j *mainJob) machineTokenOf(t *testing.T, in api, tenant string) api {
	t.Helper()
	client := in.create(t, "/clients", map[string]any{"name": "Machine", "app_type": "non_interactive", "grant_types": []string{"client_credentials"}})
	id, secret := client["client_id"].(string), client["client_secret"].(string)
	audience := j.issuer(tenant) + "api/v2/"
	in.create(t, "/client-grants", map[string]any{"client_id": id, "audience": audience, "scope": []string{"read:users"}})
	return api{g: j.gateway, host: tenant, token: j.machineToken(t, tenant, id, secret, audience)}
}
