package oauth

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Each test here pins one defect of fosite, by its number in our list, as a rule
// of our endpoints: whatever stands behind them later has to keep it. Those of
// the authorization endpoint are with its tests.

func TestDefect01UnknownGrant(t *testing.T) { // RFC 6749 section 5.2
	t.Parallel()
	f := newFixture(t)
	f.token("acme", "grant_type", "saml", "client_id", spaID).refused(400, "unsupported_grant_type", "Unsupported grant type: saml")
	f.token("acme", "grant_type", "authorization_code refresh_token", "client_id", spaID).refused(400, "unsupported_grant_type", "*")
	f.token("acme", "client_id", spaID).refused(400, "invalid_request", "Missing required parameter: grant_type")
}

func TestDefect02BasicChallenge(t *testing.T) { // RFC 6749 section 5.2
	t.Parallel()
	f := newFixture(t)
	r := newForm("/oauth/token", values("grant_type", grantClientCredentials))
	r.SetBasicAuth(m2mID, "wrong")
	if got := f.send("acme", r).refused(401, "invalid_client", "Client authentication failed").header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("WWW-Authenticate %q", got)
	}
	if got := f.machineToken("acme", "client_secret", "wrong").refused(401, "invalid_client", "Client authentication failed").header; got.Get("WWW-Authenticate") != "" {
		t.Errorf("challenge without Basic: %v", got)
	}
}

func TestDefect03MixedClients(t *testing.T) { // RFC 6749 section 2.3
	t.Parallel()
	f := newFixture(t)
	for _, pairs := range [][]string{
		{"client_id", webID},
		{"client_secret", m2mSecret},
		{"client_assertion", "x.y.z", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	} {
		r := newForm("/oauth/token", values(append([]string{"grant_type", grantClientCredentials, "audience", orders}, pairs...)...))
		r.SetBasicAuth(m2mID, m2mSecret)
		f.send("acme", r).refused(400, "invalid_request", "*")
	}
	f.machineToken("acme", "client_assertion", "x.y.z").refused(400, "invalid_request", "Only one client authentication method may be used")
	r := newForm("/oauth/token", values("grant_type", grantClientCredentials, "audience", orders, "client_id", m2mID))
	r.SetBasicAuth(m2mID, m2mSecret)
	f.send("acme", r).ok() // the same client twice is one method
}

func TestDefect04DuplicateParameters(t *testing.T) { // RFC 6749 section 3.2, C0.9
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"scope", "client_id", "audience", "unheard_of"} {
		form := values("grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders)
		form.Del(name)
		form[name] = []string{"a", "a"}
		f.send("acme", newForm("/oauth/token", form)).refused(400, "invalid_request", "Parameter "+name+" was given more than once")
	}
	f.send("acme", newJSON(`{"grant_type":"client_credentials","scope":"a","scope":"b"}`)).refused(400, "invalid_request", "Parameter scope was given more than once")
}

func TestDefect12RefreshNarrowsScope(t *testing.T) { // RFC 6749 section 6
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{org: "org_1", audience: orders})
	if got := f.refresh("acme", token, "scope", "openid").ok(); got.text("scope") != "openid" || got.claims("access_token")["scope"] != "openid" {
		t.Errorf("answer %v", got.json)
	}
}

func TestDefect13RevocationFails(t *testing.T) { // RFC 7009 section 2.2.1
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{})
	f.meter.failWrites.Store(true)
	f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", token).refused(503, "temporarily_unavailable", "*")
	f.meter.failWrites.Store(false)
	f.refresh("acme", token).ok()
}

func TestDefect14IDTokenAsAccessToken(t *testing.T) { // RFC 8725 section 3.11, C9.52
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{audience: orders})).ok()
	if _, err := f.server.Verify(f.in("acme"), answer.text("id_token")); err == nil {
		t.Error("an ID token passes for an access token")
	}
	claims, err := f.server.Verify(f.in("acme"), answer.text("access_token"))
	if err != nil || !slices.Equal(claims.Audience, []string{orders, issuerOf("acme") + "userinfo"}) {
		t.Errorf("aud %v, %v", claims, err)
	}
}

func TestDefect16CredentialsInURL(t *testing.T) { // RFC 6749 section 2.3.1
	t.Parallel()
	f := newFixture(t)
	for _, name := range inBodyOnly {
		f.ask("acme", "/oauth/token?"+name+"=x", "grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders).
			refused(400, "invalid_request", "Parameter "+name+" must not be sent in the URL")
	}
	f.ask("acme", "/oauth/token?client_id="+m2mID+"&grant_type=client_credentials", "audience", orders).refused(400, "invalid_request", "*")
	f.ask("acme", "/oauth/token?tenant_id=widgets&scope=nonsense", "grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders).ok() // C9.3
}

func TestDefect17RefreshedTokenIsNew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.redeem("acme", f.code("acme", codeFor{})).ok()
	f.clock.advance(time.Hour)
	second := f.refresh("acme", first.text("refresh_token")).ok()
	a, b := first.claims("access_token"), second.claims("access_token")
	if b["iat"].(float64)-a["iat"].(float64) < 3600 || a["jti"] == b["jti"] || a["auth_time"] != b["auth_time"] {
		t.Errorf("first %v, second %v", a, b)
	}
}

func TestDefect18EdDSA(t *testing.T) { // RFC 8037
	t.Parallel()
	f := newFixture(t)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		f.useAlg("acme", "rs_orders", alg)
		f.updateClient("acme", spaID, func(c *tenancy.Client) { c.JWT.Alg = alg })
		answer := f.redeem("acme", f.code("acme", codeFor{audience: orders})).ok()
		if got := header(t, answer.text("access_token"))["alg"]; got != alg {
			t.Errorf("access token: alg %v, want %s", got, alg)
		}
		if got := header(t, answer.text("id_token"))["alg"]; got != alg {
			t.Errorf("ID token: alg %v, want %s", got, alg)
		}
		if _, err := f.server.Verify(f.in("acme"), answer.text("access_token")); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if answer.claims("id_token")["at_hash"] != halfHash(alg, answer.text("access_token")) {
			t.Errorf("%s: at_hash", alg)
		}
	}
}

// Scopes that only look like those of OpenID Connect mean nothing of it.
func TestDefect19ScopeCase(t *testing.T) { // RFC 6749 section 3.3
	t.Parallel()
	f := newFixture(t)
	_, err := tenancy.ResourceServers.Update(f.in("acme"), "rs_catalog", func(rs *tenancy.ResourceServer) error {
		rs.Scopes, rs.AllowOfflineAccess = append(rs.Scopes, tenancy.Scope{Value: "OpenID"}, tenancy.Scope{Value: "Offline_Access"}), true
		return nil
	})
	f.must(err)
	answer := f.redeem("acme", f.code("acme", codeFor{audience: catalog, scope: "OpenID Offline_Access"})).ok()
	if answer.text("scope") != "OpenID Offline_Access" || answer.json["id_token"] != nil || answer.json["refresh_token"] != nil {
		t.Errorf("answer %v", answer.json)
	}
}

func TestDefect20CodesAreStoredHashed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{})
	token := f.redeem("acme", code).ok().text("refresh_token")
	rows, err := tenancy.Grants.Find(f.in("acme"), tenancy.Filter{})
	f.must(err)
	if len(rows) != 2 {
		t.Fatalf("%d rows for a code and a refresh token", len(rows))
	}
	for _, row := range rows {
		for _, secret := range []string{code, token} {
			if strings.Contains(row.ID+row.Hash+row.Data+row.Family, secret) {
				t.Errorf("row %s holds a token in the clear", row.ID)
			}
		}
		if len(row.Data) > 400 {
			t.Errorf("row %s: %d bytes of data", row.ID, len(row.Data))
		}
	}
}

// One batch: where the write fails, nothing is consumed; where signing fails,
// nothing is written.
func TestDefect22OneBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{audience: orders})
	f.meter.failWrites.Store(true)
	f.redeem("acme", code).refused(503, "temporarily_unavailable", "*")
	f.meter.failWrites.Store(false)
	before := f.meter.writes.Load()
	f.useAlg("acme", "rs_orders", "PS256") // of which the tenant has no key (C2.11)
	if answer := f.redeem("acme", code).refused(503, "temporarily_unavailable", "*"); answer.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	f.useAlg("acme", "rs_orders", "ES256")
	f.redeem("acme", code).ok()
	if writes := f.meter.writes.Load() - before; writes != 3 { // two changes of ours and the exchange
		t.Errorf("%d writes", writes)
	}
}

// The reads of an exchange are few, its write is one.
func TestDefect22Statements(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.redeem("acme", f.code("acme", codeFor{org: "org_1", audience: orders})).ok() // warms what is remembered
	code := f.code("acme", codeFor{org: "org_1", audience: orders})
	reads, writes := f.meter.reads.Load(), f.meter.writes.Load()
	token := f.redeem("acme", code).ok().text("refresh_token")
	if r, w := f.meter.reads.Load()-reads, f.meter.writes.Load()-writes; r > 4 || w != 1 {
		t.Errorf("code: %d reads, %d writes", r, w)
	}
	reads, writes = f.meter.reads.Load(), f.meter.writes.Load()
	f.refresh("acme", token).ok()
	if r, w := f.meter.reads.Load()-reads, f.meter.writes.Load()-writes; r > 4 || w != 1 {
		t.Errorf("refresh: %d reads, %d writes", r, w)
	}
}

// A lost race is invalid_grant, not a fault: see TestRaceCodes too.
func TestDefect24LostRace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	code := f.code("acme", codeFor{})
	client, err := tenancy.CachedClient(ctx, spaID)
	f.must(err)
	form := values("grant_type", grantAuthorizationCode, "code", code, "redirect_uri", callback, "code_verifier", verifier)
	x := &exchange{server: f.server, client: adapt(client), request: tokenRequest{grant: grantAuthorizationCode, form: form}}
	if err := x.load(ctx, tenancy.GrantCode, tenancy.HashToken(code)); err != nil { // read before the other's write
		t.Fatal(err)
	}
	f.redeem("acme", code).ok()
	if err := x.run(ctx); told(ctx, x.lost(err)).Code != "invalid_grant" {
		t.Errorf("got %v", err)
	}
}

// Only a whole token is evidence of reuse: its stored half, or another client's
// use, revokes nothing.
func TestDefect25ReuseNeedsTheToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.refreshToken("acme", codeFor{})
	second := f.refresh("acme", first).ok().text("refresh_token")
	f.refresh("acme", tenancy.HashToken(first)).refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", "x."+tenancy.HashToken(first)).refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", first, "client_id", nativeID).refused(400, "invalid_grant", badRefresh)
	f.refresh("acme", second).ok()
}

func TestDefect26Bodies(t *testing.T) { // C0.6
	t.Parallel()
	f := newFixture(t)
	large := newForm("/oauth/token", values("grant_type", grantClientCredentials, "scope", strings.Repeat("x", maxBody)))
	f.send("acme", large).refused(413, "invalid_request", "Request body is too large")
	for _, kind := range []string{"multipart/form-data; boundary=x", "text/plain", "", "application/x-www-form-urlencodedx", "nonsense/"} {
		r := newForm("/oauth/token", values("grant_type", grantClientCredentials))
		r.Header.Set("Content-Type", kind)
		f.send("acme", r).refused(415, "invalid_request", "*")
	}
	r := newForm("/oauth/token", values("grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders))
	r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
	f.send("acme", r).ok()
}

func TestDefect27Answer(t *testing.T) { // RFC 6749 section 5.1
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{audience: catalog, scope: "openid"})).ok()
	if answer.text("token_type") != "Bearer" || answer.json["expires_in"] != 3600.0 {
		t.Errorf("answer %v", answer.json)
	}
}

// One server serves everybody at once from the start: its settings are never
// written afterwards. The race detector judges.
func TestDefect30NothingIsSetLazily(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	codes := make([]string, racers)
	for i := range codes {
		codes[i] = f.code("acme", codeFor{})
	}
	server, err := New(Config{Now: f.clock.now, Keys: f.server.keys})
	f.must(err)
	f.server = server
	for _, a := range f.together(func(i int) *reply { return f.redeem("acme", codes[i]) }) {
		a.ok()
	}
}

func newJSON(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}
