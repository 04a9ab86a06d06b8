package oauth

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// third is a request of the third-party client; more pairs change it.
func third(pairs ...string) []string {
	return append([]string{"client_id", thirdPartyID, "redirect_uri", "https://third.example.net/cb"}, pairs...)
}

// accept goes through the consent page that an answer leads to, and demands what
// it asks for.
func (b *browser) accept(w *httptest.ResponseRecorder, asks string) *httptest.ResponseRecorder {
	b.f.t.Helper()
	state := stateOf(b.f.t, w, "/authorize/resume")
	stateOf(b.f.t, b.resume(state), "/u/consent")
	l, err := tenancy.LoginSessions.Get(b.f.in(b.tenant), tenancy.HashToken(state))
	b.f.must(err)
	if l.AskedScope != asks {
		b.f.t.Errorf("the page asks for %q, want %q", l.AskedScope, asks)
	}
	b.approve(state)
	return b.resume(state)
}

// thirdTokens redeems a code of the third-party client.
func (b *browser) thirdTokens(code string) map[string]any {
	b.f.t.Helper()
	return b.exchange(code, url.Values{"client_id": {thirdPartyID}, "redirect_uri": {"https://third.example.net/cb"}})
}

// C2.28, C3.10, C4.66: asked once, remembered, asked again where more is wanted.
func TestConsent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")

	// Logging in leads to the page, and the page to the code.
	state := stateOf(t, b.authorize(third("audience", orders, "scope", "openid profile read:orders")...), "/u/login")
	b.loginPage(state, bob)
	stateOf(t, b.resume(state), "/u/consent")
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.Denied = true })
	b.wantError(b.resume(state), "access_denied", "The resource owner denied the request") // C4.31
	if n, err := tenancy.Consents.Count(f.in("acme"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d consents after a refusal (%v)", n, err)
	}

	b = f.loggedIn("acme", bob) // who holds write:orders, and not read:orders
	code := b.wantCode(b.accept(b.authorize(third("audience", orders, "scope", "openid profile read:orders write:orders offline_access")...), "openid profile write:orders offline_access"))
	b.thirdTokens(code)
	row, err := tenancy.Consents.First(f.in("acme"), "user_id = ?", bob)
	if err != nil || row.ClientID != thirdPartyID || row.Audience != orders || strings.Join(row.Scope, " ") != "openid profile write:orders offline_access" {
		t.Errorf("consent %+v, %v", row, err)
	}
	if n, err := tenancy.Consents.Count(f.in("widgets"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("widgets has %d consents (%v)", n, err)
	}

	// Stored consents are honoured, also when silent; for this audience only.
	b.wantCode(b.authorize(third("audience", orders, "scope", "openid write:orders")...))
	b.wantCode(b.authorize(third("audience", orders, "scope", "openid profile write:orders", "prompt", "none")...))
	b.wantError(b.authorize(third("scope", "openid profile", "prompt", "none")...), "consent_required", "Consent required")

	// More than before is asked for as a whole, and adds up.
	b.wantError(b.authorize(third("audience", orders, "scope", "openid email", "prompt", "none")...), "consent_required", "Consent required")
	b.wantCode(b.accept(b.authorize(third("audience", orders, "scope", "openid email")...), "openid email"))
	b.wantCode(b.authorize(third("audience", orders, "scope", "openid profile email write:orders", "prompt", "none")...))

	// prompt=consent asks although all is known, and nobody else's consent counts.
	b.wantCode(b.accept(b.authorize(third("audience", orders, "scope", "openid email", "prompt", "consent")...), "openid email"))
	other := f.loggedIn("acme", ada)
	other.wantError(other.authorize(third("audience", orders, "scope", "openid email", "prompt", "none")...), "consent_required", "Consent required")
	if n, err := tenancy.Consents.Count(f.in("acme"), tenancy.Filter{}); n != 1 || err != nil {
		t.Errorf("%d consents (%v)", n, err)
	}
}

// An approval is of the person who gave it: who logs in afterwards in the same
// login is asked themselves.
func TestConsentOfAnother(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	state := stateOf(t, b.authorize(third()...), "/u/login")
	b.loginPage(state, bob)
	stateOf(t, b.resume(state), "/u/consent")
	b.approve(state)
	b.loginPage(state, ada)
	stateOf(t, b.resume(state), "/u/consent")
	if n, err := tenancy.Consents.Count(f.in("acme"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d consents (%v)", n, err)
	}
}

// An approval is for the API whose words were shown: where the tenant's default
// API has become another meanwhile, the person is asked again.
func TestConsentForAnotherAudience(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "default_audience", `"`+orders+`"`)
	b := f.loggedIn("acme", bob)
	state := stateOf(t, b.authorize(third("scope", "openid email")...), "/authorize/resume")
	stateOf(t, b.resume(state), "/u/consent")
	b.approve(state)
	f.setting("acme", "default_audience", `"`+catalog+`"`)
	stateOf(t, b.resume(state), "/u/consent")
	if n, err := tenancy.Consents.Count(f.in("acme"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d consents (%v)", n, err)
	}
	b.approve(state)
	b.wantCode(b.resume(state))
	if row, err := tenancy.Consents.First(f.in("acme"), "user_id = ?", bob); err != nil || row.Audience != catalog {
		t.Errorf("consent %+v, %v", row, err)
	}
}

// A consent that was taken back ends what came of it (C5.93).
func TestConsentRevoked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", bob)
	ask := third("audience", orders, "scope", "openid profile write:orders offline_access")
	tokens := b.thirdTokens(b.wantCode(b.accept(b.authorize(ask...), "openid profile write:orders offline_access")))
	code := b.wantCode(b.authorize(ask...))
	refresh := func(token any) *reply {
		return f.token("acme", "grant_type", "refresh_token", "client_id", thirdPartyID, "refresh_token", token.(string))
	}
	next := refresh(tokens["refresh_token"]).ok()

	row, err := tenancy.Consents.First(f.in("acme"), "user_id = ?", bob)
	f.must(err)
	// Gone beneath the grants: they give nothing either (C2.30).
	f.must(tenancy.Consents.Delete(f.in("acme"), row.ID))
	refresh(next.text("refresh_token")).refused(400, "invalid_grant", badRefresh)
	f.token("acme", "grant_type", "authorization_code", "client_id", thirdPartyID, "code", code, "redirect_uri", "https://third.example.net/cb", "code_verifier", verifier).
		refused(400, "invalid_grant", "Invalid authorization code")
	b.wantError(b.authorize(append(ask, "prompt", "none")...), "consent_required", "Consent required")

	// Given again and taken back with all that came of it.
	tokens = b.thirdTokens(b.wantCode(b.accept(b.authorize(ask...), "openid profile write:orders offline_access")))
	row, err = tenancy.Consents.First(f.in("acme"), "user_id = ?", bob)
	f.must(err)
	f.must(tenancy.Commit(f.in("acme"), tenancy.RevokeConsent(f.in("acme"), row)...))
	refresh(tokens["refresh_token"]).refused(400, "invalid_grant", badRefresh)
	if n, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{Where: "client_id = ?", Args: []any{thirdPartyID}}); n != 0 || err != nil {
		t.Errorf("%d grants are left (%v)", n, err)
	}
}

// The tenant's own clients are asked for only where the resource server does not
// skip it (C5.56); a device asks always (C4.52).
func TestConsentFirstParty(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	b := f.loggedIn("acme", ada)
	b.wantCode(b.authorize("audience", orders))
	b.wantCode(b.authorize("audience", orders, "prompt", "consent"))
	_, err := tenancy.ResourceServers.Update(f.in("acme"), "rs_orders", func(rs *tenancy.ResourceServer) error { rs.SkipConsent = false; return nil })
	f.must(err)
	b.wantError(b.authorize("audience", orders, "prompt", "none"), "consent_required", "Consent required")
	b.wantCode(b.accept(b.authorize("audience", orders), "openid profile email"))
	b.wantCode(b.authorize("audience", orders, "prompt", "none"))
	b.wantCode(b.authorize()) // without an audience there is nothing to ask

	device := f.beginDevice("acme").ok()
	b.letIn(device)
	if row, err := tenancy.Consents.First(f.in("acme"), "client_id = ?", tvID); err != nil || row.UserID != ada {
		t.Errorf("consent of a device %+v, %v", row, err)
	}
	f.poll("acme", device).ok()
}

// Sixteen tabs consent at a time: all get codes, and there is one consent.
func TestRaceConsents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	states := make([]string, racers)
	for i := range states {
		states[i] = stateOf(t, b.authorize(third()...), "/authorize/resume")
		stateOf(t, b.resume(states[i]), "/u/consent")
		b.approve(states[i])
	}
	for _, a := range f.together(func(i int) *reply {
		w := f.browser("acme").with(b).resume(states[i])
		return &reply{status: w.Code, header: w.Header(), body: w.Body.String()}
	}) {
		if !strings.Contains(a.header.Get("Location"), "code=") && a.status != 409 {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if n, err := tenancy.Consents.Count(f.in("acme"), tenancy.Filter{}); n != 1 || err != nil {
		t.Errorf("%d consents (%v)", n, err)
	}
}
