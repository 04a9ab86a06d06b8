package oauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// introspect asks as the confidential web client; pairs override.
func (f *fixture) introspect(tenant, token string, pairs ...string) *reply {
	f.t.Helper()
	return f.ask(tenant, "/oauth/introspect", append([]string{"client_id", webID, "client_secret", webSecret, "token", token}, pairs...)...)
}

// inactive fails unless the answer is exactly the one for all that is no live
// token of the caller's (RFC 7662 section 2.2, contract C4.49).
func (p *reply) inactive(name string) {
	p.t.Helper()
	if p.status != http.StatusOK || p.body != `{"active":false}` || p.header.Get("Cache-Control") != "no-store" || p.header.Get("Content-Type") != "application/json" {
		p.t.Errorf("%s: got %d %s %v, want exactly {\"active\":false}", name, p.status, p.body, p.header)
	}
}

func (p *reply) active(name string) *reply {
	p.t.Helper()
	if p.ok().json["active"] != true {
		p.t.Errorf("%s: got %s, want an active token", name, p.body)
	}
	return p
}

// webTokens are tokens of the web client, for orders within an organization.
func (f *fixture) webTokens(tenant string) *reply {
	f.t.Helper()
	code := f.code(tenant, codeFor{client: webID, audience: orders, org: "org_1"})
	return f.redeem(tenant, code, "client_id", webID, "client_secret", webSecret).ok()
}

// C4.49: every member of the answer, for a person's token and a program's.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tokens := f.webTokens("acme")
	claims := tokens.claims("access_token")
	answer := f.introspect("acme", tokens.text("access_token")).active("own token")
	for name, want := range map[string]any{
		"scope": "openid profile email offline_access read:orders", "client_id": webID, "username": "ada@acme.example", "token_type": "Bearer",
		"exp": claims["exp"], "iat": claims["iat"], "sub": ada, "iss": issuerOf("acme"), "jti": claims["jti"], "sid": "ses_1",
		"org_id": "org_1", "org_name": "one", "tenant_id": "acme", "act": nil, "nonce": nil,
	} {
		if answer.json[name] != want {
			t.Errorf("%s: got %v, want %v", name, answer.json[name], want)
		}
	}
	if !slices.Equal(list(answer.json["aud"]), []string{orders, issuerOf("acme") + "userinfo"}) || !slices.Equal(list(answer.json["permissions"]), []string{"read:orders"}) {
		t.Errorf("aud %v, permissions %v", answer.json["aud"], answer.json["permissions"])
	}
	r := newForm("/oauth/introspect", values("token", tokens.text("access_token"), "token_type_hint", "refresh_token")) // a wrong hint costs nothing
	r.SetBasicAuth(webID, webSecret)
	f.send("acme", r).active("by Basic")

	program := f.machineToken("acme").ok().text("access_token")
	answer = f.introspect("acme", program, "client_id", m2mID, "client_secret", m2mSecret).active("a program's own")
	if answer.text("sub") != m2mID+"@clients" || answer.json["aud"] != orders || answer.json["username"] != nil || answer.json["sid"] != nil || answer.json["org_id"] != nil {
		t.Errorf("a program's own: %s", answer.body)
	}
}

// C4.49: refresh tokens are told of to their own client only, while they work.
func TestIntrospectRefreshToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.webTokens("acme").text("refresh_token")
	answer := f.introspect("acme", token).active("own")
	for name, want := range map[string]any{
		"client_id": webID, "username": "ada@acme.example", "sub": ada, "iss": issuerOf("acme"), "sid": "ses_1", "org_id": "org_1", "org_name": "one",
		"tenant_id": "acme", "token_type": nil, "permissions": nil, "scope": "openid profile email offline_access read:orders",
	} {
		if answer.json[name] != want {
			t.Errorf("%s: got %v, want %v", name, answer.json[name], want)
		}
	}
	if life := answer.json["exp"].(float64) - answer.json["iat"].(float64); life < 1295990 || life > 1296010 {
		t.Errorf("life %v, want that of an unused token: 1296000 (C2.15)", life)
	}
	f.allowIntrospection("acme", m2mID)
	f.introspect("acme", token, "client_id", m2mID, "client_secret", m2mSecret).inactive("of another client, though its resource server lists the caller")

	f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.SessionRevoked))
	if got := f.introspect("acme", token).active("after logout (C3.36)"); got.json["sid"] != nil {
		t.Errorf("sid %v of a session that ended", got.json["sid"])
	}
	f.block("acme", ada, true)
	f.introspect("acme", token).inactive("user blocked")
	f.block("acme", ada, false)
	f.clock.advance(15 * 24 * time.Hour)
	f.introspect("acme", token).inactive("idle")

	f.updateClient("acme", webID, func(c *tenancy.Client) { c.RefreshToken.RotationType, c.RefreshToken.Leeway = "rotating", 30 })
	first := f.webTokens("acme").text("refresh_token")
	second := f.refresh("acme", first, "client_id", webID, "client_secret", webSecret).ok().text("refresh_token")
	f.introspect("acme", first).active("within its leeway")
	f.clock.advance(30 * time.Second)
	f.introspect("acme", first).inactive("used")
	f.introspect("acme", second).active("its successor: asking is no use")
	f.ask("acme", "/oauth/revoke", "client_id", webID, "client_secret", webSecret, "token", second).ok()
	f.introspect("acme", second).inactive("revoked")
}

// allowIntrospection has a client ask about all tokens for orders.
func (f *fixture) allowIntrospection(tenant string, clients ...string) {
	f.t.Helper()
	_, err := tenancy.ResourceServers.Update(f.in(tenant), "rs_orders", func(rs *tenancy.ResourceServer) error { rs.IntrospectionClient = clients; return nil })
	f.must(err)
}

// C4.49: a resource server's own client may ask about all tokens for it, and
// about no others.
func TestIntrospectionClients(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ask := func(token string) *reply {
		return f.introspect("acme", token, "client_id", m2mID, "client_secret", m2mSecret)
	}
	person := f.redeem("acme", f.code("acme", codeFor{audience: orders})).ok().text("access_token")
	other := f.redeem("acme", f.code("acme", codeFor{audience: catalog, scope: "openid read:items"})).ok().text("access_token")
	none := f.redeem("acme", f.code("acme", codeFor{scope: "openid"})).ok().text("access_token")
	ask(person).inactive("not listed")
	f.allowIntrospection("acme", "somebody", m2mID)
	if got := ask(person).active("listed"); got.text("client_id") != spaID || got.text("sub") != ada {
		t.Errorf("listed: %s", got.body)
	}
	ask(other).inactive("another resource server's")
	ask(none).inactive("without a resource server")
	f.introspect("acme", person).inactive("a client that is not listed")
	f.allowIntrospection("acme")
	ask(person).inactive("no longer listed")
}

// C4.49, C3.31: what is not live is told of as what never was.
func TestIntrospectionOfDeadTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tokens := f.webTokens("acme")
	code := f.code("acme", codeFor{client: webID})
	for name, token := range map[string]string{
		"garbage": "garbage", "dots": "a.b.c", "ID token": tokens.text("id_token"), "code": code,
		"cut": tokens.text("access_token")[:len(tokens.text("access_token"))-2], "long": strings.Repeat("x", longestToken+1),
	} {
		f.introspect("acme", token).inactive(name)
	}
	f.redeem("acme", code, "client_id", webID, "client_secret", webSecret).ok() // asking did it no harm

	for _, tt := range []struct {
		name string
		end  func(token string)
	}{
		{"session ended", func(string) { f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.SessionRevoked)) }},
		{"user blocked", func(string) { f.block("acme", ada, true) }},
		{"revoked", func(token string) {
			f.ask("acme", "/oauth/revoke", "client_id", webID, "client_secret", webSecret, "token", token).ok()
		}},
		{"expired", func(string) { f.clock.advance(86400 * time.Second) }},
		{"user deleted", func(string) { f.must(tenancy.Users.Delete(f.in("acme"), ada)) }},
	} {
		token := f.webTokens("acme").text("access_token")
		f.introspect("acme", token).active("before: " + tt.name)
		tt.end(token)
		f.introspect("acme", token).inactive(tt.name)
		if tt.name == "user blocked" {
			f.block("acme", ada, false)
		}
	}
	program := f.machineToken("acme").ok().text("access_token")
	f.allowIntrospection("acme", webID)
	f.introspect("acme", program).active("before: client deleted")
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveClient(f.in("acme"), m2mID)...))
	f.introspect("acme", program).inactive("client deleted")
}

// C4.49 says what a token is, not what its holder may do now: a membership that
// ended leaves it live to its end (C2.51).
func TestIntrospectionNeedsNoMembership(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.webTokens("acme").text("access_token")
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	if got := f.introspect("acme", token).active("member removed"); got.json["org_id"] != "org_1" {
		t.Errorf("org_id %v", got.json["org_id"])
	}
}

// A tenant's tokens are unknown to every other (C9.4), whose client of equal id
// and list has no way to tell them from garbage.
func TestIntrospectionIsTheTenantsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tokens := f.webTokens("acme")
	for _, tenant := range []string{"widgets", "control_plane"} {
		f.allowIntrospection(tenant, webID)
		for _, kind := range []string{"access_token", "refresh_token", "id_token"} {
			f.introspect(tenant, tokens.text(kind)).inactive(tenant + " " + kind)
		}
	}
	f.introspect("acme", tokens.text("refresh_token")).active("unharmed")
}

// RFC 7662 section 2.1: who does not prove to be a client is told nothing.
func TestIntrospectionRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.webTokens("acme").text("access_token")
	mine := f.redeem("acme", f.code("acme", codeFor{})).ok().text("access_token")
	const failed = "Client authentication failed"
	f.introspect("acme", token, "client_secret", "wrong").refused(401, "invalid_client", failed)
	f.introspect("acme", token, "client_secret", "-").refused(401, "invalid_client", failed)
	f.introspect("acme", token, "client_id", "nobody").refused(401, "invalid_client", failed)
	f.introspect("acme", mine, "client_id", spaID, "client_secret", "-").refused(401, "invalid_client", failed) // public, though the token is its own
	f.introspect("acme", "-").refused(400, "invalid_request", "Missing required parameter: token")
	f.send("acme", newForm("/oauth/introspect?token="+token, values("client_id", webID, "client_secret", webSecret))).
		refused(400, "invalid_request", "Parameter token must not be sent in the URL")
	r := newJSON(`{"token":"x"}`)
	r.URL.Path = "/oauth/introspect"
	f.send("acme", r).refused(415, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")
	r = newForm("/oauth/introspect", values("token", token))
	r.Header.Set("Origin", "https://app.example.com")
	if got := f.send("acme", r).header.Get("Access-Control-Allow-Origin"); got != "" { // C4.17
		t.Errorf("origin %s may read", got)
	}
	f.send("acme", newGet("/oauth/introspect")).refused(405, "method_not_allowed", "*")

	f.must(tenancy.Commit(f.in("acme"), tenancy.SQL(f.in("acme"), `UPDATE clients SET name = name WHERE tenant_id = @tenant`).Settled())) // forgets all
	f.meter.failReads.Store(true)
	f.introspect("acme", token).refused(503, "temporarily_unavailable", "*") // C0.11: unknown is not inactive
	f.meter.failReads.Store(false)
	f.introspect("acme", token).active("afterwards")
}
