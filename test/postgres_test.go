package test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestTenantsInPostgreSQL: with each isolation a tenant is made in PostgreSQL,
// logs people in, gets what the control plane shares, and leaves nothing behind.
func TestTenantsInPostgreSQL(t *testing.T) {
	dsn := postgrestest.DSN(t)
	for _, isolation := range []string{"row", "schema", "database"} {
		t.Run(isolation, func(t *testing.T) {
			g, config := withoutAdministrator(t)
			config = strings.Replace(config, "keys RS256 ES256 EdDSA",
				"keys RS256 ES256 EdDSA\n\t\tdatabase pool postgres \""+dsn+"\" {\n\t\t\tisolation "+isolation+"\n\t\t}", 1)
			p := startProcess(t, g, config)
			cp := p.platform(t)
			cp.create(t, "/resource-servers", map[string]any{"identifier": "https://shared.example.com", "name": "Shared", "scopes": []map[string]string{{"value": "read:things"}}})
			for _, tenant := range []string{"acme-" + isolation, "widgets-" + isolation} {
				cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
				a := cp.on(tenant)
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
			cp.call(t, http.MethodDelete, "/tenants/acme-"+isolation, nil).want(t, http.StatusNoContent)
			cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme-" + isolation, "friendly_name": "again"}).want(t, http.StatusCreated)
			var users []map[string]any
			cp.on("acme-"+isolation).call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
			if len(users) != 0 {
				t.Errorf("the same id again has %d users", len(users))
			}
			p.get(t, "widgets-"+isolation, "/.well-known/jwks.json").want(t, http.StatusOK)
		})
	}
}
