package test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/oauth/upstream/upstreamtest"
)

// TestLoginElsewhere: SC-096 and SC-097 against the running gateway. The tenants'
// connections have nothing of their own, inherit what they need from the control
// plane, and stop to work where they name another endpoint, which is not asked.
func TestLoginElsewhere(t *testing.T) {
	const secret = "the platform's secret at its identity provider, Qz7w"
	op, evil := upstreamtest.Start(t, "platform", secret), upstreamtest.Start(t, "platform", secret)
	op.Person(map[string]any{"sub": "42", "email": "ben@example.net", "email_verified": true, "name": "Ben"})
	g, config := withoutAdministrator(t)
	config = strings.Replace(config, "private_networks 127.0.0.2/32", "private_networks 127.0.0.0/8", 1)
	p := startProcess(t, g, config)
	cp := p.platform(t)
	tenants := []string{"acme", "widgets"}
	for _, id := range tenants {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": strings.ToUpper(id)}).want(t, http.StatusCreated)
	}
	cp.create(t, "/connections", map[string]any{"name": "google", "strategy": "google-oauth2", "options": map[string]any{
		"issuer": op.Issuer, "client_id": "platform", "client_secret": secret,
	}})
	const redirect = "http://localhost:1/callback"
	apps, paths := map[string]string{}, map[string]string{}
	for _, id := range tenants {
		in := cp.on(id)
		apps[id] = in.spa(t, "Shop", []int{1})
		c := in.create(t, "/connections", map[string]any{"name": "google", "strategy": "google-oauth2", "enabled_clients": []string{apps[id]}})
		paths[id] = "/connections/" + c["id"].(string)
		within(t, 10*time.Second, "what "+id+" inherits", func() bool {
			body := string(in.call(t, http.MethodGet, paths[id], nil).want(t, http.StatusOK).body)
			if strings.Contains(body, "Qz7w") {
				t.Fatalf("the secret is told: %s", body)
			}
			return strings.Contains(body, `"inherited_options":["client_id","client_secret","issuer"]`)
		})
	}
	subjects := map[string]bool{}
	for _, id := range tenants {
		v := newVisitor(t)
		link, verifier := p.authorizeURL(id, apps[id], redirect, url.Values{"scope": {"openid email"}, "connection": {"google"}})
		there := v.open(link) // the login page sends on to the one provider that is named
		answer := op.Authorize(t, there.url.String())
		if other := newVisitor(t).open(p.issuer(id) + "login/callback?" + answer.Encode()); other.status != http.StatusBadRequest {
			t.Errorf("in another browser: %d", other.status)
		}
		callback := v.open(p.issuer(id) + "login/callback?" + answer.Encode())
		var tokens map[string]any
		p.redeem(t, id, apps[id], redirect, verifier, callback).want(t, http.StatusOK).json(t, &tokens)
		got := claims(t, tokens["id_token"].(string))
		if got["email"] != "ben@example.net" || got["iss"] != p.issuer(id) || got["sub"] != "google-oauth2|google|42" {
			t.Errorf("ID token: %v", got)
		}
		subjects[fmt.Sprint(got["iss"], got["sub"])] = true
	}
	if len(subjects) != len(tenants) {
		t.Errorf("subjects: %v", subjects)
	}

	cp.on("widgets").call(t, http.MethodPatch, paths["widgets"], map[string]any{"options": map[string]any{"token_endpoint": evil.Issuer + "/token"}}).want(t, http.StatusOK)
	link, _ := p.authorizeURL("widgets", apps["widgets"], redirect, url.Values{"connection": {"google"}})
	if got := newVisitor(t).open(link); got.status != http.StatusBadGateway || !strings.Contains(got.body, "did not work") || len(evil.Asked()) != 0 {
		t.Errorf("SC-097: %d %s, asked %v", got.status, got.body, evil.Asked())
	}
	p.stop(t)
	log, err := os.ReadFile(filepath.Join(g.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "Qz7w") || !strings.Contains(string(log), "login through an identity provider failed") {
		t.Error("the log holds the secret, or says nothing of the login that failed")
	}
}
