package oauth

import (
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Two tenants whose rows have equal ids: whatever one issued is unknown to the
// other (C9.4 to C9.7).
func TestTenantsAreStrangers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	acme := f.redeem("acme", f.code("acme", codeFor{org: "org_1", audience: orders})).ok()

	// A code.
	code := f.code("acme", codeFor{})
	f.redeem("widgets", code).refused(400, "invalid_grant", "Invalid authorization code")
	f.redeem("acme", code).ok() // which did it no harm

	// A refresh token.
	f.refresh("widgets", acme.text("refresh_token")).refused(400, "invalid_grant", badRefresh)
	f.ask("widgets", "/oauth/revoke", "client_id", spaID, "token", acme.text("refresh_token"))
	next := f.refresh("acme", acme.text("refresh_token")).ok()

	// An access token, of the same client and subject.
	for _, issuers := range [][]string{{issuerOf("widgets")}, {issuerOf("widgets"), issuerOf("acme")}} {
		if _, err := f.server.VerifyFor(f.in("widgets"), issuers, next.text("access_token")); err == nil {
			t.Errorf("accepted by the other tenant for issuers %v", issuers)
		}
	}
	f.ask("widgets", "/oauth/revoke", "client_id", spaID, "token", next.text("access_token"))
	if _, err := f.server.Verify(f.in("acme"), next.text("access_token")); err != nil {
		t.Errorf("revoked by the other tenant: %v", err)
	}
	if _, err := f.server.verifyHint(f.in("widgets"), next.text("id_token")); err == nil {
		t.Error("ID token accepted as hint by the other tenant")
	}

	// A client's secret.
	hash, err := tenancy.HashSecret(f.in("acme"), "another-secret-another-secret-another-secret")
	f.must(err)
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.SecretHash = hash })
	f.machineToken("acme", "client_secret", "another-secret-another-secret-another-secret").ok()
	f.machineToken("widgets", "client_secret", "another-secret-another-secret-another-secret").refused(401, "invalid_client", "Client authentication failed") // C9.6
	f.updateClient("widgets", m2mID, func(c *tenancy.Client) { c.SecretHash = hash })
	f.machineToken("widgets", "client_secret", "another-secret-another-secret-another-secret").refused(401, "invalid_client", "Client authentication failed") // the hash is the tenant's own

	// A membership, a permission and a setting.
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	if claims := f.redeem("widgets", f.code("widgets", codeFor{org: "org_1", audience: orders})).ok().claims("access_token"); claims["org_id"] != "org_1" || claims["tenant_id"] != "widgets" {
		t.Errorf("widgets: %v", claims)
	}
}

// A tenant that was deleted and made again has other keys: its old tokens are
// refused (C9.54).
func TestTenantMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.machineToken("acme").ok().text("access_token")
	if _, err := f.server.Verify(f.in("acme"), token); err != nil {
		t.Fatal(err)
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.SigningKeys.RemoveWhere(f.in("acme"), "1 = 1")))
	f.must(f.server.keys.EnsureKeys(f.in("acme")))
	if _, err := f.server.Verify(f.in("acme"), token); err == nil {
		t.Error("a token of the old keys is remembered as good")
	}
}

func TestSuspendedTenant(t *testing.T) { // C1.17 to C1.20, C9.55
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{})
	state := func(s tenancy.State) { f.tenants["acme"].State = s }
	state(tenancy.StateSuspended)
	f.refresh("acme", token).refused(403, "access_denied", "Tenant is suspended")
	f.send("acme", newGet("/.well-known/jwks.json")).ok()
	for _, s := range []tenancy.State{tenancy.StateProvisioning, tenancy.StateFailed} {
		state(s)
		f.refresh("acme", token).refused(503, "temporarily_unavailable", "*")
		f.send("acme", newGet("/.well-known/openid-configuration")).refused(503, "temporarily_unavailable", "*")
	}
	state(tenancy.StateActive)
	f.refresh("acme", token).ok()
}

// No answer without reading: a database that fails gives 503 at every step, never
// tokens and never a wrong refusal (C0.11, C2.30, C9.49).
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	code := f.code("acme", codeFor{org: "org_1", audience: orders})
	access := f.machineToken("acme").ok().text("access_token")
	f.must(tenancy.Commit(f.in("acme"), tenancy.SQL(f.in("acme"), `UPDATE clients SET name = name WHERE tenant_id = @tenant`).Settled())) // forgets all
	f.meter.failReads.Store(true)
	f.redeem("acme", code).refused(503, "temporarily_unavailable", "*")
	f.refresh("acme", token).refused(503, "temporarily_unavailable", "*")
	f.machineToken("acme").refused(503, "temporarily_unavailable", "*")
	f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", token).refused(503, "temporarily_unavailable", "*")
	f.send("acme", newGet("/.well-known/jwks.json")).refused(503, "temporarily_unavailable", "*")
	if _, err := f.server.Verify(f.in("acme"), access); told(f.in("acme"), err).Status != 503 {
		t.Errorf("verify: %v", err)
	}
	f.meter.failReads.Store(false)
	f.redeem("acme", code).ok()
	f.refresh("acme", token).ok()
}
