package oauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The happy path of a code: every claim of contract 2.2 and 2.3, and the members
// of C4.35.
func TestCodeExchange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{org: "org_1", audience: orders})).ok()
	if got := answer.header; got.Get("Cache-Control") != "no-store" || got.Get("Pragma") != "no-cache" || got.Get("X-Request-Id") != "req_1" {
		t.Errorf("headers %v", got)
	}
	if answer.text("token_type") != "Bearer" || answer.json["expires_in"] != 86400.0 ||
		answer.text("scope") != "openid profile email offline_access read:orders" || len(answer.text("refresh_token")) != tokenLength {
		t.Errorf("answer %v", answer.json)
	}
	access := answer.claims("access_token")
	for name, want := range map[string]any{
		"iss": issuerOf("acme"), "sub": ada, "azp": spaID, "client_id": spaID, "tenant_id": "acme", "sid": "ses_1",
		"org_id": "org_1", "org_name": "one", "scope": answer.text("scope"), "gty": nil, "act": nil, "nonce": nil, "at_hash": nil,
	} {
		if access[name] != want {
			t.Errorf("access token %s: got %v, want %v", name, access[name], want)
		}
	}
	if got := list(access["aud"]); !slices.Equal(got, []string{orders, issuerOf("acme") + "userinfo"}) {
		t.Errorf("aud %v", got)
	}
	if got := list(access["permissions"]); !slices.Equal(got, []string{"read:orders"}) {
		t.Errorf("permissions %v", got)
	}
	if len(access["jti"].(string)) < 22 || access["exp"].(float64)-access["iat"].(float64) != 86400 || access["auth_time"] == nil {
		t.Errorf("jti, times: %v", access)
	}
	if h := header(t, answer.text("access_token")); h["typ"] != "JWT" || h["alg"] != "RS256" || h["kid"] == nil {
		t.Errorf("header %v", h)
	}
	id := answer.claims("id_token")
	for name, want := range map[string]any{
		"iss": issuerOf("acme"), "sub": ada, "aud": spaID, "azp": spaID, "sid": "ses_1", "nonce": "n-1", "org_id": "org_1",
		"org_name": "one", "name": "Ada of acme", "given_name": "Ada", "nickname": "ada", "email": "ada@acme.example",
		"email_verified": true, "family_name": nil, "phone_number": nil, "scope": nil, "client_id": nil, "jti": nil, "permissions": nil,
		"at_hash": halfHash("RS256", answer.text("access_token")), "auth_time": access["auth_time"],
	} {
		if id[name] != want {
			t.Errorf("ID token %s: got %v, want %v", name, id[name], want)
		}
	}
	if got := list(id["amr"]); !slices.Equal(got, []string{"pwd"}) || id["exp"].(float64)-id["iat"].(float64) != 36000 {
		t.Errorf("amr %v, life %v", got, id["exp"].(float64)-id["iat"].(float64))
	}
	if got := f.events.types(); !slices.Equal(got, []string{"seacft"}) {
		t.Errorf("events %v", got)
	}
}

// list is a JSON array of strings.
func list(v any) []string {
	items, _ := v.([]any)
	var out []string
	for _, item := range items {
		s, _ := item.(string)
		out = append(out, s)
	}
	return out
}

func TestTokensWithoutOpenIDOrAudience(t *testing.T) { // C2.8, C2.12, C2.22
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{scope: "openid"})).ok()
	if got := answer.claims("access_token"); got["aud"] != issuerOf("acme")+"userinfo" || got["permissions"] != nil || got["scope"] != "openid" {
		t.Errorf("without audience: %v", got)
	}
	answer = f.redeem("acme", f.code("acme", codeFor{scope: "read:items", audience: catalog})).ok()
	if got := answer.claims("access_token"); got["aud"] != catalog || got["permissions"] != nil || answer.json["id_token"] != nil || answer.json["refresh_token"] != nil {
		t.Errorf("without openid: %v", answer.json)
	}
	if h := header(t, answer.text("access_token")); h["typ"] != "at+jwt" { // C2.7, SC-023
		t.Errorf("header %v", h)
	}
	answer = f.redeem("acme", f.code("acme", codeFor{scope: "unheard:of", audience: catalog})).ok()
	if got, present := answer.claims("access_token")["scope"]; present || answer.json["scope"] != "" {
		t.Errorf("empty scope: claim %v, answer %v", got, answer.json["scope"])
	}
}

// Every refusal of a code (C4.37).
func TestCodeRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name        string
		code        codeFor
		pairs       []string
		wait        time.Duration
		status      int
		kind, text  string
		stillUsable bool
	}{
		{name: "unknown", pairs: []string{"code", "nothing"}, status: 400, kind: "invalid_grant", text: "Invalid authorization code"},
		{name: "missing", pairs: []string{"code", "-"}, status: 400, kind: "invalid_grant", text: "Invalid authorization code"},
		{name: "expired", wait: codeLifetime, status: 400, kind: "invalid_grant", text: "Invalid authorization code"},
		{name: "other client's", pairs: []string{"client_id", nativeID}, status: 400, kind: "invalid_grant", text: "Invalid authorization code", stillUsable: true},
		{name: "redirect_uri differs", pairs: []string{"redirect_uri", callback + "x"}, status: 400, kind: "invalid_grant", text: "Invalid redirect_uri", stillUsable: true},
		{name: "redirect_uri missing", pairs: []string{"redirect_uri", "-"}, status: 400, kind: "invalid_grant", text: "Invalid redirect_uri", stillUsable: true},
		{name: "verifier missing", pairs: []string{"code_verifier", "-"}, status: 400, kind: "invalid_grant", text: "Failed to verify code verifier"},
		{name: "verifier wrong", pairs: []string{"code_verifier", strings.Repeat("x", 43)}, status: 400, kind: "invalid_grant", text: "Failed to verify code verifier"},
		{name: "verifier malformed", pairs: []string{"code_verifier", strings.Repeat("é", 43)}, status: 400, kind: "invalid_grant", text: "Failed to verify code verifier"},
		{name: "challenge as verifier", pairs: []string{"code_verifier", challenge}, status: 400, kind: "invalid_grant", text: "Failed to verify code verifier"},
		{
			name: "verifier without challenge", code: codeFor{client: webID, alter: func(g *codeGrant) { g.Challenge = "" }},
			pairs: []string{"client_id", webID, "client_secret", webSecret}, status: 400, kind: "invalid_grant", text: "Failed to verify code verifier",
		},
		{
			name: "organization differs", code: codeFor{org: "org_1"}, pairs: []string{"organization", "two"}, status: 400, kind: "invalid_request",
			text: "Organization parameter does not match the authorization request", stillUsable: true,
		}, // C2.38
		{
			name: "organization of none", pairs: []string{"organization", "org_1"}, status: 400, kind: "invalid_request",
			text: "Organization parameter does not match the authorization request", stillUsable: true,
		},
		{
			name: "organization unknown", code: codeFor{org: "org_1"}, pairs: []string{"organization", "org_9"}, status: 400, kind: "invalid_request",
			text: "Organization parameter does not match the authorization request", stillUsable: true,
		},
		{
			name: "secret missing", code: codeFor{client: webID}, pairs: []string{"client_id", webID}, status: 401, kind: "invalid_client",
			text: "Client authentication failed",
		}, // C9.30
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, events: f.events, clock: f.clock}
			code := f.code("acme", tt.code)
			f.clock.advance(tt.wait)
			f.redeem("acme", code, tt.pairs...).refused(tt.status, tt.kind, tt.text)
			if tt.code.client != "" || tt.name == "unknown" || tt.name == "missing" {
				return
			}
			again := f.redeem("acme", code)
			if usable := again.status == http.StatusOK; usable != tt.stillUsable {
				t.Errorf("afterwards the code is usable: %v (%s)", usable, again.body)
			}
		})
	}
}

func TestCodeOrganizationRepeated(t *testing.T) { // C2.38: by id or name, in any case
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"org_1", "one", "ONE"} {
		answer := f.redeem("acme", f.code("acme", codeFor{org: "org_1"}), "organization", name).ok()
		if got := answer.claims("access_token")["org_id"]; got != "org_1" {
			t.Errorf("organization=%s: org_id %v", name, got)
		}
	}
}

func TestCodeConfidentialWithoutPKCE(t *testing.T) { // C4.22
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{client: webID, alter: func(g *codeGrant) { g.Challenge = "" }})
	f.redeem("acme", code, "client_id", webID, "client_secret", webSecret, "code_verifier", "-").ok()
}

func TestIssueCodeRefusesPublicClientWithoutPKCE(t *testing.T) { // C9.29
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	client, err := tenancy.CachedClient(ctx, spaID)
	f.must(err)
	user, err := tenancy.Users.Get(ctx, ada)
	f.must(err)
	_, err = f.server.issueCode(ctx, codeGrant{
		Client: client, User: user, Allowance: &Allowance{}, RedirectURI: callback,
		Session: &tenancy.Session{Row: tenancy.Row{ID: "ses_1"}},
	})
	if e := told(ctx, err); err == nil || e.Code != "invalid_request" {
		t.Errorf("got %v", err)
	}
}

// A code used twice takes its tokens along: RFC 6749 section 4.1.2, C9.31.
func TestCodeReuse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{audience: orders})
	first := f.redeem("acme", code).ok()
	if _, err := f.server.Verify(f.in("acme"), first.text("access_token")); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(2 * codeLifetime) // also when the code would have expired by now
	f.redeem("acme", code).refused(400, "invalid_grant", "Invalid authorization code")
	if _, err := f.server.Verify(f.in("acme"), first.text("access_token")); err == nil {
		t.Error("the access token still works")
	}
	f.refresh("acme", first.text("refresh_token")).refused(400, "invalid_grant", "Unknown or invalid refresh token.")
}

// What was true when the code was issued is found out again.
func TestCodeIsJudgedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{org: "org_1"})
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	f.redeem("acme", code).refused(403, "access_denied", "user auth0|ada is not part of the org_1 organization") // C2.38, C2.51
	f.redeem("acme", code).refused(400, "invalid_grant", "Invalid authorization code")

	code = f.code("acme", codeFor{})
	f.block("acme", ada, true)
	f.redeem("acme", code).refused(403, "access_denied", "user is blocked") // C2.10
	f.block("acme", ada, false)
	f.must(tenancy.Users.Delete(f.in("acme"), ada))
	f.redeem("acme", code).refused(400, "invalid_grant", "Invalid authorization code")
}

func (f *fixture) block(tenant, user string, blocked bool) {
	f.t.Helper()
	_, err := tenancy.Users.Update(f.in(tenant), user, func(u *tenancy.User) error { u.Blocked = blocked; return nil })
	f.must(err)
}

func TestGrantTypesAreChecked(t *testing.T) { // C4.34, C4.45, C9.34
	t.Parallel()
	f := newFixture(t)
	code := f.code("acme", codeFor{})
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"refresh_token", "Authorization_Code"} })
	f.redeem("acme", code).refused(400, "unauthorized_client", "Grant type 'authorization_code' not allowed for the client.")
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = nil })
	f.redeem("acme", code).refused(400, "unauthorized_client", "Grant type 'authorization_code' not allowed for the client.")
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"authorization_code", "client_credentials"} })
	f.token("acme", "grant_type", "client_credentials", "client_id", spaID, "audience", orders).
		refused(400, "unauthorized_client", "Grant type 'client_credentials' not allowed for the client.")
	f.redeem("acme", code).ok()
}

func TestLifetimes(t *testing.T) { // C2.15
	t.Parallel()
	management := &tenancy.ResourceServer{Identifier: tenancy.ManagementAudience, TokenLifetime: 86400}
	api := &tenancy.ResourceServer{Identifier: orders, TokenLifetime: 600, TokenLifetimeForWeb: 300}
	for _, tt := range []struct {
		name  string
		a     Allowance
		front bool
		want  time.Duration
	}{
		{"no resource server", Allowance{}, false, 86400},
		{"no resource server, front", Allowance{}, true, 7200},
		{"its own", Allowance{ResourceServer: api}, false, 600},
		{"its own, front", Allowance{ResourceServer: api}, true, 300},
		{"unset", Allowance{ResourceServer: &tenancy.ResourceServer{}}, false, 86400},
		{"unset, front", Allowance{ResourceServer: &tenancy.ResourceServer{}}, true, 7200},
		{"management", Allowance{ResourceServer: management}, false, 86400},
		{"management with organization", Allowance{ResourceServer: management, Organization: &tenancy.Organization{}}, false, 3600},
	} {
		if got := tt.a.lifetime(tt.front); got != tt.want*time.Second {
			t.Errorf("%s: got %v, want %v s", tt.name, got, int(tt.want))
		}
	}
}
