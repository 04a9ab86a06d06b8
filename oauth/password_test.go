package oauth

import (
	"context"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const adasPassword = "Correct-horse-7"

var adasHash = sync.OnceValues(func() (string, error) { return tenancy.HashPassword(context.Background(), adasPassword) })

// passwordFixture is a fixture in which ada and eve have a password and the
// single-page client lists both password grants.
func passwordFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	hash, err := adasHash()
	f.must(err)
	for _, tenant := range tenantIDs {
		ctx := f.in(tenant)
		f.must(tenancy.Commit(ctx, tenancy.PasswordStmt(ctx, ada, hash), tenancy.PasswordStmt(ctx, eve, hash)))
		f.updateClient(tenant, spaID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantPassword, grantPasswordRealm) })
	}
	return f
}

func (f *fixture) password(tenant string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{
		"grant_type", grantPassword, "client_id", spaID, "username", "ada@" + tenant + ".example", "password", adasPassword,
		"audience", orders, "scope", "openid email offline_access read:orders",
	}, pairs...)...)
}

// C4.46: both grants, and the one rule of organizations and permissions.
func TestPasswordGrants(t *testing.T) {
	t.Parallel()
	f := passwordFixture(t)
	tokens := f.password("acme", "organization", "one").ok()
	access, id := tokens.claims("access_token"), tokens.claims("id_token")
	if access["gty"] != "password" || access["sub"] != ada || access["org_id"] != "org_1" || access["sid"] != nil ||
		access["scope"] != "openid email offline_access read:orders" || id["email"] != "ada@acme.example" || id["sid"] != nil {
		t.Errorf("access token %v, ID token %v", access, id)
	}
	refreshed := f.refresh("acme", tokens.text("refresh_token")).ok().claims("access_token")
	if refreshed["gty"] != nil || refreshed["org_id"] != "org_1" {
		t.Errorf("refreshed %v", refreshed)
	}
	f.password("acme", "grant_type", grantPasswordRealm, "realm", connectionName).ok()
	if e := f.events.last("sepft"); e == nil || e.UserID != ada || e.ClientID != spaID {
		t.Errorf("event %+v", e)
	}

	f.password("acme", "organization", "org_3").refused(403, "access_denied", "user "+ada+" is not part of the org_3 organization")
	f.password("acme", "username", "eve@acme.example").refused(403, "access_denied", "user is blocked")
	f.password("acme", "audience", "https://nowhere.example.com").refused(403, "access_denied", "Service not found: https://nowhere.example.com")
	f.password("acme", "username", "-").refused(400, "invalid_request", "Missing required parameter: username")
	f.password("acme", "password", "-").refused(400, "invalid_request", "Missing required parameter: password")
	f.password("acme", "grant_type", grantPasswordRealm).refused(400, "invalid_request", "Missing required parameter: realm")
	for _, realm := range []string{otherConnection, "nowhere"} { // not enabled for the client, or not there
		f.password("acme", "grant_type", grantPasswordRealm, "realm", realm).refused(400, "invalid_request", "the connection was not found")
	}
	f.password("acme", "client_id", nativeID).refused(400, "unauthorized_client", "Grant type 'password' not allowed for the client.")
	f.send("acme", newForm("/oauth/token?password=x", values("grant_type", grantPassword, "client_id", spaID))).
		refused(400, "invalid_request", "Parameter password must not be sent in the URL")
}

// C9.41, C9.42, A28: known and unknown names get one answer; ten wrong passwords,
// also at the same time, and the right one is refused too, here and on the hosted
// page; another tenant's user is not.
func TestPasswordGuesses(t *testing.T) {
	t.Parallel()
	f := passwordFixture(t)
	for range 3 { // right passwords do not add up, whatever they are refused for
		f.password("acme", "organization", "org_3").refused(403, "access_denied", "*")
	}
	f.password("acme", "username", "nobody@acme.example").refused(400, "invalid_grant", "Wrong email or password.")
	f.password("acme", "username", "bob@acme.example").refused(400, "invalid_grant", "Wrong email or password.") // has none
	looked := 0
	for _, a := range f.together(func(int) *reply { return f.password("acme", "password", "wrong") }) {
		if a.status == 400 {
			a.refused(400, "invalid_grant", "Wrong email or password.")
			looked++
			continue
		}
		a.refused(429, "too_many_attempts", "*")
	}
	if looked != tenancy.MaxAttempts {
		t.Errorf("%d of %d guesses were looked at, want %d", looked, racers, tenancy.MaxAttempts)
	}
	f.password("acme").refused(429, "too_many_attempts", "*")
	f.password("widgets").ok()
	page := tenancy.Attempt{Connection: connectionName, Identifier: "ada@acme.example", UserID: ada, IP: "192.0.2.1"}
	if err := page.Count(f.in("acme"), f.clock.now()); err != tenancy.ErrTooManyAttempts {
		t.Errorf("the hosted page lets them try on: %v", err)
	}
	if e := f.events.last("limit_wc"); e == nil || e.UserID != ada {
		t.Errorf("event %+v", e)
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.Unblock(f.in("acme"), ada)))
	f.password("acme").ok()
}
