package oauth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// A whole login: the request, the page, the code, the tokens (C4.65 to C4.67).
func TestAuthorizeFlow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tenant := range tenantIDs {
		b := f.browser(tenant)
		w := b.authorize("audience", orders, "organization", "org_1", "scope", "openid profile read:orders write:orders")
		state := stateOf(t, w, "/u/login")
		if c := b.jar["__Host-gh_flow"]; c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 3600 {
			t.Fatalf("C3.27: flow cookie %+v", c)
		}
		if b.jar["__Host-gh_session"] != nil {
			t.Error("a session before the login (C3.26)")
		}
		if got := stateOf(t, b.resume(state), "/u/login"); got != state {
			t.Errorf("the dispatcher sends who has not logged in back to the page with another state %q", got)
		}
		b.loginPage(state, ada)
		code := b.wantCode(b.resume(state))
		tokens := b.exchange(code, nil)
		access, id := payload(t, tokens["access_token"].(string)), payload(t, tokens["id_token"].(string))
		session := b.session()
		for name, want := range map[string]any{"iss": issuerOf(tenant), "sub": ada, "org_id": "org_1", "sid": session.ID, "tenant_id": tenant, "scope": "openid profile read:orders"} {
			if access[name] != want {
				t.Errorf("%s: access token %s: got %v, want %v", tenant, name, access[name], want)
			}
		}
		if id["nonce"] != "nonce-1" || id["name"] != "Ada of "+tenant || id["sid"] != session.ID || int64(id["auth_time"].(float64)) != session.AuthenticatedAt.Unix() {
			t.Errorf("%s: ID token %v", tenant, id)
		}
		if event := f.events.last("s"); event != nil && event.Hostname == hostOf(tenant) {
			t.Errorf("event %+v: the hosted page notes the login, not the dispatcher too", event)
		}
		b.wantCode(b.authorize("organization", "org_1"))
		if event := f.events.last("s"); event == nil || event.UserID != ada || event.ClientID != spaID || event.OrgID != "org_1" || event.Hostname != hostOf(tenant) {
			t.Errorf("event %+v", event)
		}
	}
}

// C2.36 to C2.41, interactive
func TestAuthorizeOrganization(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	notMember := "user " + bob + " is not part of the org_1 organization"

	b := f.browser("acme")
	b.wantError(b.login(bob, "organization", "org_1"), "access_denied", notMember)
	if b.session() == nil {
		t.Error("C2.36: the session is kept")
	}
	b.wantError(b.authorize("organization", "one"), "access_denied", notMember)
	b.wantCode(b.authorize())
	if event := f.events.last("f"); event == nil || event.UserID != bob || event.Description != notMember {
		t.Errorf("event %+v", event)
	}

	// A connection of the organization that makes people members.
	ctx := f.in("acme")
	f.must(tenancy.OrganizationConnections.Create(ctx, &tenancy.OrganizationConnection{
		Row:   tenancy.Row{ID: tenancy.Join("org_1", "con_1")},
		OrgID: "org_1", ConnectionID: "con_1", AssignMembership: true,
	}))
	b.wantError(b.authorize("organization", "org_1", "prompt", "none"), "access_denied", notMember) // C3.2: never when silent
	b.wantCode(b.authorize("organization", "ONE"))
	if f.events.last("organization_member_added") == nil {
		t.Error("no event organization_member_added")
	}
	if _, err := tenancy.Members.Get(ctx, tenancy.Join("org_1", bob)); err != nil {
		t.Errorf("C2.36: bob did not become a member: %v", err)
	}
	if _, err := tenancy.Members.Get(f.in("widgets"), tenancy.Join("org_1", bob)); err != tenancy.ErrNotFound {
		t.Errorf("bob became a member in another tenant: %v", err)
	}

	// C2.37: an organization that takes other connections only.
	f.must(tenancy.OrganizationConnections.Create(ctx, &tenancy.OrganizationConnection{
		Row:   tenancy.Row{ID: tenancy.Join("org_2", "con_2")},
		OrgID: "org_2", ConnectionID: "con_2",
	}))
	b = f.browser("acme")
	b.wantError(b.authorize("organization", "org_2", "connection", connectionName), "invalid_request", "the connection was not found")
	b = f.loggedIn("acme", ada)
	before := b.session().ID
	b.wantError(b.authorize("organization", "org_2", "prompt", "none"), "login_required", "Login required")
	state := stateOf(t, b.authorize("organization", "org_2"), "/u/login")
	b.loginPage(state, ada) // with the connection the page does not offer
	b.wantError(b.resume(state), "access_denied", "the connection is not enabled for this login")
	if s := b.session(); s == nil || s.ID != before {
		t.Error("C2.37: the session was not kept")
	}

	// C2.41
	b = f.browser("acme")
	b.wantError(b.authorize("client_id", nativeID, "redirect_uri", nativeCallback, "organization", "org_1"),
		"invalid_request", "parameter organization is not allowed for this client")
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.OrganizationUsage = "require" })
	b.wantError(b.authorize(), "invalid_request", "parameter organization is required for this client")
}

// C2.41: choosing after the login
func TestOrganizationPicker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) {
		c.OrganizationUsage, c.OrganizationRequireBehavior = "require", "post_login_prompt"
	})
	orgOf := func(b *browser, w *httptest.ResponseRecorder) any {
		t.Helper()
		return payload(t, b.exchange(b.wantCode(w), nil)["access_token"].(string))["org_id"]
	}
	b := f.browser("acme")
	w := b.login(ada)
	state := stateOf(t, w, "/u/organization-picker")
	if b.session() != nil {
		t.Error("a session before the login is complete")
	}
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_3" }) // not hers
	b.wantError(b.resume(state), "access_denied", "user "+ada+" is not part of the org_3 organization")

	state = stateOf(t, b.authorize(), "/u/organization-picker") // logged in: only the choice is left
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_2" })
	session := b.session()
	if got := orgOf(b, b.resume(state)); got != "org_2" {
		t.Errorf("got organization %v, want org_2", got)
	}
	if now := b.session(); now == nil || now.ID != session.ID || now.AuthenticatedAt != session.AuthenticatedAt || now.TokenHash != session.TokenHash {
		t.Error("choosing made another session")
	}

	// The session may end between the request and the choice.
	state = stateOf(t, b.authorize(), "/u/organization-picker")
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_2" })
	f.must(f.server.EndSession(f.in("acme"), session.ID, tenancy.SessionRevoked))
	stateOf(t, b.resume(state), "/u/login")

	f.must(tenancy.Members.Delete(f.in("acme"), tenancy.Join("org_2", ada)))
	if got := orgOf(b, f.browser("acme").with(b).login(ada)); got != "org_1" {
		t.Errorf("got organization %v, want the only one", got)
	}
	b = f.browser("acme")
	b.wantError(b.login(bob), "access_denied", "client requires organization membership, but user does not belong to any organization")

	// C2.41: choosing before the login
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.OrganizationRequireBehavior = "pre_login_prompt" })
	b = f.browser("acme")
	state = stateOf(t, b.authorize(), "/u/organization")
	stateOf(t, b.resume(state), "/u/organization")
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_1" })
	stateOf(t, b.resume(state), "/u/login")
	b.loginPage(state, ada)
	if got := orgOf(b, b.resume(state)); got != "org_1" {
		t.Errorf("got organization %v, want org_1", got)
	}
	b.wantError(b.authorize("prompt", "none"), "interaction_required", "Organization selection required") // C3.9
}

// with gives a browser another one's cookies.
func (b *browser) with(other *browser) *browser {
	for name, c := range other.jar {
		b.jar[name] = c
	}
	return b
}

// C3.30, B17, B20, B21
func TestFreshLogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	first := *b.session()
	for _, pairs := range [][]string{{"prompt", "login"}, {"prompt", "select_account"}, {"prompt", "login consent"}, {"max_age", "0"}, {"max_age", "1"}} {
		f.clock.advance(2 * time.Second)
		state := stateOf(t, b.authorize(pairs...), "/u/login")
		stateOf(t, b.resume(state), "/u/login")
		b.loginPage(state, ada)
		b.wantCode(b.resume(state))
		now := *b.session()
		if now.AuthenticatedAt <= first.AuthenticatedAt || now.TokenHash == first.TokenHash || now.ID != first.ID {
			t.Errorf("%v: auth_time %d after %d, cookie replaced: %v", pairs, now.AuthenticatedAt, first.AuthenticatedAt, now.TokenHash != first.TokenHash)
		}
		first = now
	}
	b.wantCode(b.authorize("max_age", "10000"))
	b.wantCode(b.authorize("prompt", "consent"))
	if b.session().AuthenticatedAt != first.AuthenticatedAt {
		t.Error("auth_time moved without a login")
	}

	// Another person in the same browser ends the first one's session.
	state := stateOf(t, b.authorize("prompt", "login"), "/u/login")
	b.loginPage(state, bob)
	b.wantCode(b.resume(state))
	if now := b.session(); now.UserID != bob || now.ID == first.ID {
		t.Errorf("session %+v", now)
	}
	if s, err := f.server.sessionByID(f.in("acme"), first.ID); s != nil || err != nil {
		t.Errorf("ada's session goes on: %v %v", s, err)
	}

	// A client without single sign-on, and a connection asked for.
	f.updateClient("acme", webID, func(c *tenancy.Client) { c.SSODisabled = true })
	stateOf(t, b.authorize("client_id", webID), "/u/login")
	b.wantCode(b.authorize("connection", connectionName))
	f.must(tenancy.ClientConnections.Create(f.in("acme"), tenancy.NewClientConnection(spaID, "con_2")))
	stateOf(t, b.authorize("connection", otherConnection), "/u/login")
}

// B23, OpenID Connect Core section 3.1.2.1 and 5.5.1
func TestSubjectHint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	hint := b.exchange(b.wantCode(b.login(ada)), nil)["id_token"].(string)
	b.wantCode(b.authorize("id_token_hint", hint))
	b.wantCode(b.authorize("claims", `{"id_token":{"sub":{"value":"auth0|ada"}}}`))
	b.wantError(b.authorize("id_token_hint", hint, "claims", `{"id_token":{"sub":{"value":"auth0|bob"}}}`), "invalid_request", "id_token_hint and claims name different users")

	other := f.loggedIn("acme", bob)
	state := stateOf(t, other.authorize("id_token_hint", hint), "/u/login")
	other.loginPage(state, bob)
	other.wantError(other.resume(state), "login_required", "Login required")
	state = stateOf(t, other.authorize("id_token_hint", hint), "/u/login")
	other.loginPage(state, ada)
	other.wantCode(other.resume(state))

	// L13 and A02: a hint of another tenant is none here.
	w := f.loggedIn("widgets", ada)
	w.wantError(w.authorize("id_token_hint", hint), "invalid_request", "Invalid id_token_hint")
}

// C2.10
func TestBlockedUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	b.wantError(b.login(eve), "access_denied", "user is blocked")
	if b.session() != nil {
		t.Error("a blocked user has a session")
	}
	b = f.loggedIn("acme", ada)
	id := b.session().ID
	_, err := tenancy.Users.Update(f.in("acme"), ada, func(u *tenancy.User) error { u.Blocked = true; return nil })
	f.must(err)
	b.wantError(b.authorize(), "access_denied", "user is blocked")
	if s, err := f.server.sessionByID(f.in("acme"), id); s != nil || err != nil || b.jar["__Host-gh_session"] != nil {
		t.Errorf("the session goes on: %v, %v, cookie %v", s, err, b.jar["__Host-gh_session"])
	}
}

// C2.28, C3.10: a third party gets nothing but the user's id without consent.
func TestThirdParty(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	third := []string{"client_id", thirdPartyID, "redirect_uri", "https://third.example.net/cb"}
	b := f.loggedIn("acme", ada)
	b.wantError(b.authorize(append(third, "prompt", "none")...), "consent_required", "Consent required")
	b.wantCode(b.authorize(append(third, "scope", "openid", "prompt", "none")...))
	wantPage(t, b.authorize("client_id", thirdPartyID, "redirect_uri", "https://a.third.example.net/cb"), http.StatusBadRequest, "redirect_uri is not one")
}

// C0.7: HEAD gives the headers of GET.
func TestAuthorizeHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	w := b.send(httptest.NewRequest(http.MethodHead, "/authorize?"+request("client_id", "nobody").Encode(), nil))
	if w.Code != http.StatusBadRequest || w.Body.Len() != 0 {
		t.Errorf("got %d with %d bytes", w.Code, w.Body.Len())
	}
	w = b.send(httptest.NewRequest(http.MethodHead, "/authorize?"+url.Values(request("prompt", "none")).Encode(), nil))
	b.wantError(w, "login_required", "Login required")
}

// C4.26: claims of the id_token member, in the ID token of the code and not of
// those that follow.
func TestIDTokenClaims(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	tokens := b.tokens(ada, "scope", "openid offline_access", "claims", `{"id_token":{"name":{"essential":true},"email":null,"org_id":{"value":"org_9"},"exp":null}}`)
	id := payload(t, tokens["id_token"].(string))
	if id["name"] != "Ada of acme" || id["email"] != "ada@acme.example" || id["nickname"] != nil || id["org_id"] != nil {
		t.Errorf("ID token %v", id)
	}
	if got := f.userinfo("acme", tokens["access_token"].(string)).Body.String(); strings.Contains(got, "name") {
		t.Errorf("userinfo has claims of the ID token: %s", got)
	}
}
