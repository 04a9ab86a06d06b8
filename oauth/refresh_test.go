package oauth

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const badRefresh = "Unknown or invalid refresh token."

// refreshToken is a new family's first refresh token, of the single page
// application.
func (f *fixture) refreshToken(tenant string, c codeFor) string {
	f.t.Helper()
	return f.redeem(tenant, f.code(tenant, c)).ok().text("refresh_token")
}

func TestRefreshRotates(t *testing.T) { // C4.39, C9.32, RFC 9700 section 4.14.2
	t.Parallel()
	f := newFixture(t)
	end := tenancy.At(f.clock.now().Add(time.Hour))
	f.must(tenancy.Sessions.Create(f.in("acme"), &tenancy.Session{Row: tenancy.Row{ID: "ses_1"}, UserID: ada, ExpiresAt: end, IdleExpiresAt: end}))
	first := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	second := f.refresh("acme", first).ok()
	claims := second.claims("access_token")
	if second.text("scope") != "openid profile email offline_access read:orders" || claims["org_id"] != "org_1" ||
		claims["sid"] != "ses_1" || claims["gty"] != nil || second.text("refresh_token") == first || second.text("refresh_token") == "" {
		t.Errorf("answer %v", second.json)
	}
	if id := second.claims("id_token"); id["nonce"] != nil || id["auth_time"] == nil || id["at_hash"] != halfHash("RS256", second.text("access_token")) { // C2.13
		t.Errorf("ID token %v", id)
	}
	third := f.refresh("acme", second.text("refresh_token")).ok()
	f.refresh("acme", first).refused(400, "invalid_grant", badRefresh)
	if f.events.last(reuseEvent) == nil {
		t.Errorf("no %s in %v", reuseEvent, f.events.types())
	}
	f.refresh("acme", third.text("refresh_token")).refused(400, "invalid_grant", badRefresh)
	for _, answer := range []*reply{second, third} {
		if _, err := f.server.Verify(f.in("acme"), answer.text("access_token")); err == nil {
			t.Error("an access token of the family still works")
		}
	}
}

func TestRefreshLeeway(t *testing.T) { // C4.39, SC-059
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.RefreshToken.Leeway = 30 })
	first := f.refreshToken("acme", codeFor{})
	child := f.refresh("acme", first).ok().text("refresh_token")
	f.clock.advance(29 * time.Second)
	sibling := f.refresh("acme", first).ok().text("refresh_token")
	if sibling == child || sibling == "" {
		t.Errorf("sibling %q, child %q", sibling, child)
	}
	f.clock.advance(2 * time.Second) // the leeway counts from the first use
	f.refresh("acme", first).refused(400, "invalid_grant", badRefresh)
	for _, token := range []string{child, sibling} {
		f.refresh("acme", token).refused(400, "invalid_grant", badRefresh)
	}
}

func TestLeewayIsBounded(t *testing.T) { // C4.39: at most 600
	t.Parallel()
	for given, want := range map[int]time.Duration{-5: 0, 0: 0, 60: time.Minute, 6000: 10 * time.Minute} {
		if got := leeway(&tenancy.Client{RefreshToken: tenancy.RefreshTokenOptions{Leeway: given}}); got != want {
			t.Errorf("leeway %d: got %v, want %v", given, got, want)
		}
	}
}

func TestRefreshNonRotating(t *testing.T) { // C2.15, C4.39
	t.Parallel()
	f := newFixture(t)
	web := []string{"client_id", webID, "client_secret", webSecret}
	token := f.redeem("acme", f.code("acme", codeFor{client: webID}), web...).ok().text("refresh_token")
	for range 3 {
		if answer := f.refresh("acme", token, web...).ok(); answer.json["refresh_token"] != nil || answer.json["id_token"] == nil {
			t.Errorf("answer %v", answer.json)
		}
	}
	f.refresh("acme", token, "client_id", webID).refused(401, "invalid_client", "Client authentication failed") // C9.30
}

func TestRefreshExpires(t *testing.T) { // C2.15
	t.Parallel()
	const day = 24 * time.Hour
	f := newFixture(t)
	for _, tt := range []struct {
		name   string
		option tenancy.RefreshTokenOptions
		waits  []time.Duration // used after each but the last, when it has to be dead
		lives  bool            // also after the last
	}{
		{"idle", tenancy.RefreshTokenOptions{}, []time.Duration{14 * day, 15 * day}, false},
		{"absolute", tenancy.RefreshTokenOptions{}, []time.Duration{10 * day, 10 * day, 10 * day}, false},
		{"own idle", tenancy.RefreshTokenOptions{IdleTokenLifetime: 60}, []time.Duration{59 * time.Second, time.Minute}, false},
		{"own absolute", tenancy.RefreshTokenOptions{TokenLifetime: 60}, []time.Duration{59 * time.Second, time.Second}, false},
		{"infinite idle", tenancy.RefreshTokenOptions{InfiniteIdleTokenLifetime: true}, []time.Duration{29 * day}, true},
		{"infinite", tenancy.RefreshTokenOptions{InfiniteTokenLifetime: true, InfiniteIdleTokenLifetime: true}, []time.Duration{400 * day}, true},
		{"non-expiring", tenancy.RefreshTokenOptions{ExpirationType: "non-expiring"}, []time.Duration{400 * day}, true},
	} {
		for _, rotation := range []string{"rotating", "non-rotating"} {
			t.Run(tt.name+" "+rotation, func(t *testing.T) {
				f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
				f.updateClient("acme", spaID, func(c *tenancy.Client) {
					c.RefreshToken = tt.option
					c.RefreshToken.RotationType = rotation
				})
				token := f.refreshToken("acme", codeFor{})
				for i, wait := range tt.waits {
					f.clock.advance(wait)
					answer := f.refresh("acme", token)
					if i == len(tt.waits)-1 && !tt.lives {
						answer.refused(400, "invalid_grant", badRefresh)
						return
					}
					if next := answer.ok().text("refresh_token"); next != "" {
						token = next
					}
				}
			})
		}
	}
}

func TestRefreshScope(t *testing.T) { // C4.38, RFC 6749 section 6
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	narrowed := f.refresh("acme", token, "scope", "read:orders").ok()
	if narrowed.text("scope") != "read:orders" || narrowed.json["id_token"] != nil || narrowed.claims("access_token")["aud"] != orders {
		t.Errorf("narrowed: %v", narrowed.json)
	}
	token = narrowed.text("refresh_token")
	token = f.refresh("acme", token).ok().text("refresh_token") // the grant itself was not narrowed
	if token == "" {
		t.Fatal("no refresh token")
	}
	f.refresh("acme", token, "scope", "read:orders write:orders").refused(400, "invalid_scope", "*")
	f.refresh("acme", token, "audience", catalog).refused(403, "access_denied", "*")
	answer := f.refresh("acme", token, "audience", orders).ok()
	if answer.text("scope") != "openid profile email offline_access read:orders" {
		t.Errorf("scope %q", answer.text("scope"))
	}
}

func TestRefreshIsJudgedAgain(t *testing.T) { // C4.39, C2.10, C2.27
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveRole(f.in("acme"), "rol_reader")...))
	answer := f.refresh("acme", token).ok()
	if claims := answer.claims("access_token"); answer.text("scope") != "openid profile email offline_access" || len(list(claims["permissions"])) != 0 || claims["permissions"] == nil {
		t.Errorf("after the role went: %v, %v", answer.text("scope"), claims["permissions"])
	}
	token = answer.text("refresh_token")
	f.block("acme", ada, true)
	f.refresh("acme", token).refused(403, "access_denied", "user is blocked")
	f.block("acme", ada, false)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"authorization_code"} })
	f.refresh("acme", token).refused(400, "unauthorized_client", "Grant type 'refresh_token' not allowed for the client.")
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"refresh_token"} })
	f.must(tenancy.Users.Delete(f.in("acme"), ada))
	f.refresh("acme", token).refused(400, "invalid_grant", badRefresh)
}

func TestRefreshSwitchesOrganization(t *testing.T) { // C2.42, SC-017
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	for _, name := range []string{"org_2", "two", "TWO"} {
		answer := f.refresh("acme", token, "organization", name).ok()
		claims := answer.claims("access_token")
		if claims["org_id"] != "org_2" || claims["org_name"] != "two" || !slices.Equal(list(claims["permissions"]), []string{"write:orders"}) ||
			answer.text("scope") != "openid profile email offline_access write:orders" {
			t.Errorf("organization=%s: %v", name, claims)
		}
		token = answer.text("refresh_token")
	}
	answer := f.refresh("acme", token).ok() // the token stays bound to its own
	if claims := answer.claims("access_token"); claims["org_id"] != "org_1" || !slices.Equal(list(claims["permissions"]), []string{"read:orders"}) {
		t.Errorf("afterwards: %v", claims)
	}
	token = answer.text("refresh_token")
	f.refresh("acme", token, "organization", "org_3").refused(403, "access_denied", "user auth0|ada is not part of the org_3 organization")
	f.refresh("acme", token, "organization", "org_9").refused(400, "invalid_request", "parameter organization is invalid")
	f.refresh("acme", token).ok() // neither was the bound organization: the token lives
}

func TestRefreshAfterMembershipEnded(t *testing.T) { // C2.42, C2.51, C9.24, SC-016
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	f.refresh("acme", token).refused(403, "access_denied", "user auth0|ada is not part of the org_1 organization")
	f.refresh("acme", token).refused(400, "invalid_grant", badRefresh)
}

func TestRefreshRefusals(t *testing.T) { // C4.38
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{})
	f.refresh("acme", "").refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", "nonsense").refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", token+"A").refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", token, "client_id", nativeID).refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", token).ok() // none of these harmed it
}

// offline_access is granted where the client and the resource server allow it
// (C2.19).
func TestOfflineAccess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if answer := f.redeem("acme", f.code("acme", codeFor{audience: catalog, scope: "openid offline_access"})).ok(); answer.json["refresh_token"] != nil || answer.text("scope") != "openid" {
		t.Errorf("resource server without offline access: %v", answer.json)
	}
	if answer := f.redeem("acme", f.code("acme", codeFor{scope: "openid"})).ok(); answer.json["refresh_token"] != nil {
		t.Errorf("not requested: %v", answer.json)
	}
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"authorization_code"} })
	if answer := f.redeem("acme", f.code("acme", codeFor{scope: "openid offline_access"})).ok(); answer.json["refresh_token"] != nil || answer.text("scope") != "openid" {
		t.Errorf("client without the grant: %v", answer.json)
	}
}
