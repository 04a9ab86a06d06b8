package oauth

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// newExchangeFixture is a fixture in which the machine client may exchange tokens
// for orders, where ada holds everything outside of organizations too.
func newExchangeFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.allowExchange()
	return f
}

func (f *fixture) allowExchange() {
	for _, tenant := range tenantIDs {
		f.updateClient(tenant, m2mID, func(c *tenancy.Client) {
			c.GrantTypes, c.OrganizationUsage = append(c.GrantTypes, grantTokenExchange), "allow"
		})
		for _, permission := range []string{"read:orders", "write:orders", "audit:orders"} {
			f.add(tenant, func(ctx context.Context) tenancy.Stmt {
				return tenancy.UserPermissions.Insert(ctx, tenancy.NewUserPermission(ada, tenancy.Global, "rs_orders", permission))
			})
		}
	}
}

// subject is a person's token for orders, of the single page application.
func (f *fixture) subject(tenant string, c codeFor) string {
	f.t.Helper()
	if c.scope == "" {
		c.scope = "openid profile offline_access read:orders write:orders audit:orders"
	}
	if c.audience == "" {
		c.audience = orders
	}
	return f.redeem(tenant, f.code(tenant, c)).ok().text("access_token")
}

// exchangeToken exchanges a token, as the machine client.
func (f *fixture) exchangeToken(tenant, subject string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{
		"grant_type", grantTokenExchange, "client_id", m2mID, "client_secret", m2mSecret,
		"subject_token", subject, "subject_token_type", tokenTypeAccess,
	}, pairs...)...)
}

// C4.40, C4.43, C2.8, C2.15, RFC 8693 section 2.2: every claim, and every member
// of the answer.
func TestTokenExchange(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	subject := f.subject("acme", codeFor{})
	f.clock.advance(86000 * time.Second)
	answer := f.exchangeToken("acme", subject, "audience", orders, "requested_token_type", tokenTypeAccess).ok()
	if len(answer.json) != 5 || answer.text("issued_token_type") != tokenTypeAccess || answer.text("token_type") != "Bearer" || answer.text("scope") != "read:orders write:orders" {
		t.Errorf("answer %v", answer.json)
	}
	claims, from := answer.claims("access_token"), payload(t, subject)
	if left := claims["exp"].(float64) - claims["iat"].(float64); left > 400 || left < 390 || claims["exp"].(float64) > from["exp"].(float64) || answer.json["expires_in"] != left {
		t.Errorf("life %v, want the rest of the subject's", left)
	}
	for name, want := range map[string]any{
		"iss": issuerOf("acme"), "sub": ada, "aud": orders, "azp": m2mID, "client_id": m2mID, "tenant_id": "acme", "gty": "token-exchange",
		"scope": "read:orders write:orders", "sid": "ses_1", "auth_time": from["auth_time"], "org_id": nil,
	} {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if act, _ := claims["act"].(map[string]any); len(act) != 2 || act["sub"] != m2mID+"@clients" || act["client_id"] != m2mID {
		t.Errorf("act %v", claims["act"])
	}
	if got := list(claims["permissions"]); !slices.Equal(got, []string{"read:orders", "write:orders"}) { // never audit:orders, which the person holds
		t.Errorf("permissions %v", got)
	}
	if claims["jti"] == from["jti"] {
		t.Error("the jti is the subject's")
	}
	if e := f.events.last("secte"); e == nil || e.UserID != ada || e.ClientID != m2mID || e.Audience != orders {
		t.Errorf("event %+v", e)
	}
	told := f.introspect("acme", answer.text("access_token"), "client_id", m2mID, "client_secret", m2mSecret).active("exchanged")
	if act, _ := told.json["act"].(map[string]any); act["client_id"] != m2mID || told.text("username") != "ada@acme.example" {
		t.Errorf("introspection %s", told.body)
	}
	f.exchangeToken("acme", subject).ok() // the one audience there is; a subject is no single use
}

// C4.41: the result is in the subject's scope, in the client's grant, and held by
// the person; what is asked for beyond it is refused.
func TestTokenExchangeScope(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	all := f.subject("acme", codeFor{})
	narrow := f.subject("acme", codeFor{scope: "openid read:orders"})
	scope := func(answer *reply) string { return answer.ok().text("scope") }
	for _, tt := range []struct{ name, subject, asked, want string }{ // want "" is a refusal
		{"all", all, "-", "read:orders write:orders"},
		{"one", all, "write:orders", "write:orders"},
		{"in any order", all, "write:orders read:orders", "read:orders write:orders"},
		{"beyond the client's grant", all, "audit:orders", ""},
		{"one of them beyond", all, "read:orders audit:orders", ""},
		{"beyond the subject", narrow, "write:orders", ""},
		{"within the subject", narrow, "-", "read:orders"},
		{"undefined", all, "nope:orders", ""},
		{"openid", all, "openid", ""},
		{"offline_access", all, "offline_access read:orders", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
			answer := f.exchangeToken("acme", tt.subject, "scope", tt.asked)
			if tt.want == "" {
				answer.refused(400, "invalid_scope", "The requested scope exceeds what can be exchanged")
				return
			}
			if got := scope(answer); got != tt.want {
				t.Errorf("scope %q, want %q", got, tt.want)
			}
			if p := list(answer.claims("access_token")["permissions"]); len(p) != len(strings.Fields(tt.want)) {
				t.Errorf("permissions %v", p)
			}
		})
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.UserPermissions.RemoveWhere(f.in("acme"), "user_id = ? AND org_id = ? AND permission = ?", ada, tenancy.Global, "write:orders")))
	if got := scope(f.exchangeToken("acme", all)); got != "read:orders" {
		t.Errorf("after a permission was taken: %q", got)
	}
	f.exchangeToken("acme", all, "scope", "write:orders").refused(400, "invalid_scope", "*")
	f.updateGrant("acme", func(g *tenancy.ClientGrant) { g.Scope = []string{"write:orders"} })
	if answer := f.exchangeToken("acme", all).ok(); answer.text("scope") != "" || len(list(answer.claims("access_token")["permissions"])) != 0 {
		t.Errorf("nothing in common: %v", answer.json)
	}
	f.exchangeToken("acme", all, "scope", "read:orders\x01").refused(400, "invalid_scope", "Invalid scope")
}

// C2.44, C4.42, C2.24, SC-057: narrowing to one organization, and never from one
// to another or to none.
func TestTokenExchangeOrganization(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	free, one := f.subject("acme", codeFor{}), f.subject("acme", codeFor{org: "org_1"})
	result := func(answer *reply) (org, name, scope any) {
		claims := answer.ok().claims("access_token")
		return claims["org_id"], claims["org_name"], claims["scope"]
	}
	for _, tt := range []struct{ name, subject, organization, org, scope string }{
		{"narrowed by id", free, "org_1", "org_1", "read:orders"},
		{"narrowed by name, in any case", free, "ONE", "org_1", "read:orders"},
		{"narrowed to another", free, "org_2", "org_2", "write:orders"},
		{"bound stays bound", one, "-", "org_1", "read:orders"},
		{"bound and repeated", one, "one", "org_1", "read:orders"},
	} {
		if org, _, scope := result(f.exchangeToken("acme", tt.subject, "organization", tt.organization)); org != tt.org || scope != tt.scope {
			t.Errorf("%s: got %v with %v, want %s with %s", tt.name, org, scope, tt.org, tt.scope)
		}
	}
	f.exchangeToken("acme", one, "organization", "org_2").refused(400, "invalid_grant", "Invalid subject token") // SC-057, though ada is a member of both
	f.exchangeToken("acme", free, "organization", "org_9").refused(400, "invalid_request", "parameter organization is invalid")
	f.exchangeToken("acme", free, "organization", "org_3").refused(403, "access_denied", "user auth0|ada is not part of the org_3 organization")
	f.exchangeToken("acme", f.subject("acme", codeFor{user: bob, alter: func(g *codeGrant) { g.Session.ID = "ses_bob" }}), "organization", "org_1").refused(403, "access_denied", "user auth0|bob is not part of the org_1 organization")

	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	f.exchangeToken("acme", one).refused(403, "access_denied", "user auth0|ada is not part of the org_1 organization") // C2.24: at each exchange
	if org, _, _ := result(f.exchangeToken("widgets", f.subject("widgets", codeFor{}), "organization", "org_1")); org != "org_1" {
		t.Errorf("widgets: %v", org)
	}

	for _, usage := range []string{"deny", ""} { // C4.42: the default of a child is deny
		f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.OrganizationUsage = usage })
		f.exchangeToken("acme", free, "organization", "org_2").refused(400, "unauthorized_client", "The client is not allowed to use organizations")
		f.exchangeToken("acme", one).refused(400, "unauthorized_client", "The client is not allowed to use organizations")
		f.exchangeToken("acme", free).ok()
	}
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.OrganizationUsage = "require" })
	f.exchangeToken("acme", free).refused(400, "invalid_request", "parameter organization is required for this client")
	if org, name, _ := result(f.exchangeToken("acme", free, "organization", "org_2")); org != "org_2" || name != "two" {
		t.Errorf("required: %v %v", org, name)
	}
}

// C4.40: what is no live token of a person of this tenant, that is the client's
// business, has one answer.
func TestTokenExchangeSubject(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	const text = "Invalid subject token"
	answer := f.redeem("acme", f.code("acme", codeFor{audience: orders})).ok()
	good := answer.text("access_token")
	for name, subject := range map[string]string{
		"garbage": "garbage", "refresh token": answer.text("refresh_token"), "ID token": answer.text("id_token"), "cut": good[:len(good)-3],
		"a program's":                         f.machineToken("acme").ok().text("access_token"),
		"exchanged before (act)":              f.exchangeToken("acme", good).ok().text("access_token"),
		"for another resource server":         f.subject("acme", codeFor{audience: catalog, scope: "openid read:items"}),
		"for none":                            f.redeem("acme", f.code("acme", codeFor{scope: "openid"})).ok().text("access_token"),
		"of a tenant with equal ids (A19)":    f.subject("widgets", codeFor{}),
		"of the control plane, the same user": f.subject("control_plane", codeFor{}),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
			f.exchangeToken("acme", subject).refused(400, "invalid_grant", text)
		})
	}
	f.exchangeToken("widgets", good).refused(400, "invalid_grant", text)

	exchanged := f.exchangeToken("acme", good).ok().text("access_token")
	f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", answer.text("refresh_token")).ok()
	f.exchangeToken("acme", good).refused(400, "invalid_grant", text)
	if _, err := f.server.Verify(f.in("acme"), exchanged); err == nil {
		t.Error("what was exchanged outlives the family it came from")
	}

	token := f.subject("acme", codeFor{})
	exchanged = f.exchangeToken("acme", token).ok().text("access_token")
	f.block("acme", ada, true)
	f.exchangeToken("acme", token).refused(403, "access_denied", "user is blocked") // C2.10
	f.block("acme", ada, false)
	f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.SessionRevoked))
	f.exchangeToken("acme", token).refused(400, "invalid_grant", text) // C3.31
	f.introspect("acme", exchanged, "client_id", m2mID, "client_secret", m2mSecret).inactive("its session ended too")
	token = f.subject("acme", codeFor{})
	f.clock.advance(86400 * time.Second)
	f.exchangeToken("acme", token).refused(400, "invalid_grant", text)
	token = f.subject("acme", codeFor{})
	f.must(tenancy.Users.Delete(f.in("acme"), ada))
	f.exchangeToken("acme", token).refused(400, "invalid_grant", text)
}

// C4.40, C4.41: who may exchange, and for what.
func TestTokenExchangeRefusals(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	subject := f.subject("acme", codeFor{})
	const notAllowed = "Grant type 'urn:ietf:params:oauth:grant-type:token-exchange' not allowed for the client."
	for _, tt := range []struct {
		name       string
		pairs      []string
		status     int
		code, text string
	}{
		{"no subject", []string{"subject_token", "-"}, 400, "invalid_request", "Missing required parameter: subject_token"},
		{"no type", []string{"subject_token_type", "-"}, 400, "invalid_request", "Missing required parameter: subject_token_type"},
		{"another type", []string{"subject_token_type", "urn:ietf:params:oauth:token-type:id_token"}, 400, "invalid_request", "Unsupported subject_token_type: urn:ietf:params:oauth:token-type:id_token"},
		{"asks for a refresh token", []string{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}, 400, "invalid_request", "*"},
		{"actor", []string{"actor_token", subject, "actor_token_type", tokenTypeAccess}, 400, "invalid_request", "The actor_token parameter is not supported"},
		{"unknown audience", []string{"audience", "https://nope.example/"}, 400, "invalid_target", "Service not found: https://nope.example/"},
		{"audience without a grant", []string{"audience", catalog}, 400, "unauthorized_client", "The client has no grant for the audience"},
		{"wrong secret", []string{"client_secret", "wrong"}, 401, "invalid_client", authFailed},
		{"a client without the grant type (C4.34)", []string{"client_id", webID, "client_secret", webSecret}, 400, "unauthorized_client", notAllowed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
			f.exchangeToken("acme", subject, tt.pairs...).refused(tt.status, tt.code, tt.text)
		})
	}
	for name, alter := range map[string]func(*tenancy.Client){
		"public":      func(c *tenancy.Client) { c.TokenEndpointAuthMethod = authNone },
		"third party": func(c *tenancy.Client) { c.IsFirstParty = false },
	} {
		secret := m2mSecret
		if name == "public" {
			secret = "-"
		}
		f.updateClient("acme", m2mID, alter)
		f.exchangeToken("acme", subject, "client_secret", secret).refused(400, "unauthorized_client", notAllowed)
		f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.TokenEndpointAuthMethod, c.IsFirstParty = authPost, true })
	}
	f.add("acme", func(ctx context.Context) tenancy.Stmt {
		return tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{Row: tenancy.Row{ID: "cgr_2"}, ClientID: m2mID, Audience: catalog, Scope: []string{"read:items"}})
	})
	f.exchangeToken("acme", subject).refused(400, "invalid_request", "audience is required")              // C4.41: several candidates
	if answer := f.exchangeToken("acme", subject, "audience", catalog).ok(); answer.text("scope") != "" { // a scope of one API is none of another
		t.Errorf("scope %q for %s", answer.text("scope"), catalog)
	}
	f.exchangeToken("acme", subject, "audience", orders).ok()
	f.must(tenancy.Commit(f.in("acme"), append(tenancy.RemoveClientGrant(f.in("acme"), "cgr_1"), tenancy.RemoveClientGrant(f.in("acme"), "cgr_2")...)...))
	f.exchangeToken("acme", subject).refused(400, "invalid_grant", "Invalid subject token") // neither its own nor for an API of its

	own := f.subject("acme", codeFor{client: spaID})
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantTokenExchange) })
	f.exchangeToken("acme", own, "client_id", spaID, "client_secret", "-").refused(400, "unauthorized_client", notAllowed)
}

// A client may exchange its own tokens, by C4.40's azp.
func TestTokenExchangeOfOwnToken(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	f.updateClient("acme", webID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantTokenExchange) })
	web := []string{"client_id", webID, "client_secret", webSecret}
	code := f.code("acme", codeFor{client: webID, audience: orders})
	token := f.redeem("acme", code, web...).ok().text("access_token")
	f.exchangeToken("acme", token, web...).refused(400, "unauthorized_client", "The client has no grant for the audience")
	f.add("acme", func(ctx context.Context) tenancy.Stmt {
		return tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{Row: tenancy.Row{ID: "cgr_2"}, ClientID: webID, Audience: catalog, Scope: []string{"read:items"}})
	})
	answer := f.exchangeToken("acme", token, web...).ok()
	if claims := answer.claims("access_token"); claims["aud"] != catalog || claims["sub"] != ada || answer.json["expires_in"].(float64) > 3600 {
		t.Errorf("claims %v", claims)
	}
}

// C0.11: what cannot be read is not guessed.
func TestTokenExchangeWithoutDatabase(t *testing.T) {
	t.Parallel()
	f := newExchangeFixture(t)
	subject := f.subject("acme", codeFor{})
	f.exchangeToken("acme", subject).ok()
	f.meter.failReads.Store(true)
	f.exchangeToken("acme", subject).refused(503, "temporarily_unavailable", "*")
	f.meter.failReads.Store(false)
	f.exchangeToken("acme", subject).ok()
}
