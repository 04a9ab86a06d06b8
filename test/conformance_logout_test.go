package test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// logoutPlan is oidcc-rp-initiated-logout-certification-test-plan, with what we
// hold beside it (contract 3.5).
var logoutPlan = []module{
	{"L01", "oidcc-discovery-endpoint-verification", func(t testing.TB, o *provider) {
		if got := o.document(t)["end_session_endpoint"]; got != o.endpoint("oidc/logout") {
			t.Errorf("end_session_endpoint %v", got)
		}
	}},
	{"L02", "oidcc-rp-initiated-logout", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		p := o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", o.one.loggedOut, "state", longState)
		wantSentTo(t, p, o.one.loggedOut, url.Values{"state": {longState}})
		o.wantSession(v, false)
	}},
	{"L03", "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		for _, bad := range []string{"https://one.rp.example.com/elsewhere", o.two.loggedOut, "https://evil.example/", "javascript:alert(1)"} {
			wantErrorPage(t, o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", bad, "state", longState), "Invalid post_logout_redirect_uri")
		}
		o.wantSession(v, true)
	}},
	{"L04", "oidcc-rp-initiated-logout-modified-id-token-hint", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		parts := strings.Split(got.ID, ".")
		none := encoded(`{"alg":"none"}`) + "." + parts[1] + "."
		wantErrorPage(t, o.logout(v, "id_token_hint", none, "post_logout_redirect_uri", o.one.loggedOut, "state", longState), "Invalid id_token_hint")
		o.wantSession(v, true)
	}},
	{"L05", "oidcc-rp-initiated-logout-no-id-token-hint", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		o.tokensIn(v, o.one)
		wantErrorPage(t, o.logout(v, "post_logout_redirect_uri", o.one.loggedOut, "state", longState), "post_logout_redirect_uri requires id_token_hint or client_id")
		o.wantSession(v, true)
		// The client alone may be named; then the person is asked first.
		p := o.logout(v, "client_id", o.one.id, "post_logout_redirect_uri", o.one.loggedOut, "state", longState)
		wantQuestion(t, p)
		o.wantSession(v, true)
		wantSentTo(t, v.submit(p, nil), o.one.loggedOut, url.Values{"state": {longState}})
		o.wantSession(v, false)
	}},
	{"L06", "oidcc-rp-initiated-logout-no-params", func(t testing.TB, o *provider) { o.logsOutHere(t) }},
	{"L07", "oidcc-rp-initiated-logout-no-post-logout-redirect-uri", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		wantLoggedOut(t, o.logout(v, "id_token_hint", got.ID, "state", longState))
		o.wantSession(v, false)
	}},
	{"L08", "oidcc-rp-initiated-logout-no-state", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		wantSentTo(t, o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", o.one.loggedOut), o.one.loggedOut, nil)
		o.wantSession(v, false)
	}},
	{"L09", "oidcc-rp-initiated-logout-only-state", func(t testing.TB, o *provider) { o.logsOutHere(t, "state", longState) }},
	{"L10", "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		wantErrorPage(t, o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", o.one.loggedOut+"?foo=bar"), "Invalid post_logout_redirect_uri")
		o.wantSession(v, true)
	}},
	{"L11", "oidcc-rp-initiated-logout-bad-id-token-hint", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		for _, kid := range []string{header(t, got.ID)["kid"].(string), "somebody's", ""} {
			forged := forge(t, kid, got.claims)
			wantErrorPage(t, o.logout(v, "id_token_hint", forged, "post_logout_redirect_uri", o.one.loggedOut), "Invalid id_token_hint")
		}
		o.wantSession(v, true)
	}},
	{"L12", "expired-id-token-hint", func(t testing.TB, o *provider) {
		o.api.call(t, http.MethodPatch, "/clients/"+o.two.id, map[string]any{"jwt_configuration": map[string]any{"lifetime_in_seconds": 1, "alg": "RS256"}}).want(t, http.StatusOK)
		v := newVisitor(t)
		code := o.wantCode(t, o.authorize(v, o.request(o.two)))
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {o.two.callback}}
		hint := o.ask(t, o.two, form).want(t, http.StatusOK).member(t, "id_token")
		o.api.call(t, http.MethodPatch, "/clients/"+o.two.id, map[string]any{"jwt_configuration": map[string]any{"lifetime_in_seconds": 36000, "alg": "RS256"}}).want(t, http.StatusOK)
		waitUntilAfter(t, claims(t, hint)["exp"].(float64))
		p := o.logout(v, "id_token_hint", hint, "post_logout_redirect_uri", o.two.loggedOut, "state", longState)
		wantSentTo(t, p, o.two.loggedOut, url.Values{"state": {longState}})
		o.wantSession(v, false)
	}},
	{"L13", "id-token-hint-of-another-tenant", func(t testing.TB, o *provider) {
		foreign := *o
		foreign.tenant = "conform-other"
		foreign.one = foreign.clientNamed(t, "Party one", o.one)
		hint := foreign.tokensIn(newVisitor(t), foreign.one).ID
		v := newVisitor(t)
		o.tokensIn(v, o.one)
		wantErrorPage(t, o.logout(v, "id_token_hint", hint, "post_logout_redirect_uri", o.one.loggedOut), "Invalid id_token_hint")
		o.wantSession(v, true)
	}},
	{"L14", "id-token-hint-of-another-user", func(t testing.TB, o *provider) {
		const other = "other@conform.example.com"
		o.person(t, other)
		first := newVisitor(t)
		hint := o.tokensIn(first, o.one).ID
		v := newVisitor(t)
		v.login(o.endpoint("authorize?"+o.request(o.one).Encode()), other, password)
		p := o.logout(v, "id_token_hint", hint, "post_logout_redirect_uri", o.one.loggedOut, "state", longState)
		wantQuestion(t, p)
		o.wantSession(v, true)
		o.wantSession(first, true)
		wantSentTo(t, v.submit(p, nil), o.one.loggedOut, url.Values{"state": {longState}}) // who is asked and agrees is logged out
		o.wantSession(v, false)
		o.wantSession(first, true)
	}},
	{"L15", "v2-logout", func(t testing.TB, o *provider) {
		o.api.call(t, http.MethodPatch, "/tenants/settings", map[string]any{"allowed_logout_urls": []string{"https://tenant.example.com/bye"}}).want(t, http.StatusOK)
		v := newVisitor(t)
		o.tokensIn(v, o.one)
		at := func(pairs ...string) page { return v.open(o.endpoint("v2/logout?" + pairsOf(pairs...).Encode())) }
		for _, bad := range [][]string{
			{"client_id", o.one.id, "returnTo", o.two.loggedOut},
			{"client_id", o.one.id, "returnTo", "https://tenant.example.com/bye"},
			{"client_id", o.one.id, "returnTo", o.one.loggedOut + "/"},
			{"client_id", o.one.id, "returnTo", "https://one.rp.example.com@evil.example/bye"},
			{"client_id", o.one.id, "returnTo", "//one.rp.example.com/bye"},
			{"client_id", o.one.id, "returnTo", strings.ToUpper(o.one.loggedOut)},
			{"returnTo", o.one.loggedOut},
			{"returnTo", "https://tenant.example.com/bye?x=y"},
		} {
			wantErrorPage(t, at(bad...), "returnTo is not one of the allowed logout URLs")
		}
		wantErrorPage(t, at("client_id", "nobody", "returnTo", o.one.loggedOut), "Unknown client: nobody")
		o.wantSession(v, true)
		wantSentTo(t, at("client_id", o.one.id, "returnTo", o.one.loggedOut, "federated", ""), o.one.loggedOut, nil)
		o.wantSession(v, false)
		wantSentTo(t, at("returnTo", "https://tenant.example.com/bye"), "https://tenant.example.com/bye", nil)
		if p := at(); p.status != http.StatusOK || p.body != "OK" || p.header.Get("Cache-Control") != "no-store" {
			t.Errorf("without returnTo: %d %q", p.status, p.body)
		}
	}},
}

// TestLogoutPlan runs modules L01 to L15.
func TestLogoutPlan(t *testing.T) {
	o := startProvider(t)
	for _, mode := range []string{"query", "form_post"} { // logging in by either leads to the same session
		o := *o
		o.mode = map[string]string{"form_post": "form_post"}[mode]
		t.Run(mode, func(t *testing.T) { plan(t, &o, logoutPlan[:2]) })
	}
	plan(t, o, logoutPlan[2:])
}

// logout opens the end session endpoint in the browser.
func (o *provider) logout(v *visitor, pairs ...string) page {
	v.t.Helper()
	return v.open(o.endpoint("oidc/logout?" + pairsOf(pairs...).Encode()))
}

// logsOutHere: without anything that says who asks, the person confirms and is
// told; nobody is sent anywhere (contract C3.33).
func (o *provider) logsOutHere(t testing.TB, pairs ...string) {
	t.Helper()
	v := newVisitor(t)
	o.tokensIn(v, o.one)
	p := o.logout(v, pairs...)
	wantQuestion(t, p)
	o.wantSession(v, true)
	wantLoggedOut(t, v.submit(p, nil))
	o.wantSession(v, false)
	wantLoggedOut(t, o.logout(v, pairs...)) // once more: there is nothing left to confirm
}

func (o *provider) wantSession(v *visitor, want bool) {
	v.t.Helper()
	if got := o.signedIn(v); got != want {
		v.t.Errorf("the session lives: %t, want %t", got, want)
	}
}

func wantQuestion(t testing.TB, p page) {
	t.Helper()
	if p.status != http.StatusOK || !strings.Contains(p.body, "Log out?") || !formAction.MatchString(p.body) {
		t.Fatalf("%s: %d, want the page that asks: %.600s", p.url, p.status, p.body)
	}
	if p.header.Get("X-Frame-Options") != "DENY" || p.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: headers %v", p.url, p.header)
	}
}

func wantLoggedOut(t testing.TB, p page) {
	t.Helper()
	if p.status != http.StatusOK || !strings.Contains(p.body, "You are logged out") {
		t.Errorf("%s: %d, want the page that says so: %.600s", p.url, p.status, p.body)
	}
}

// wantSentTo: the browser was sent to exactly there, with exactly these
// parameters.
func wantSentTo(t testing.TB, p page, to string, query url.Values) {
	t.Helper()
	if p.status != 0 {
		t.Fatalf("%s: status %d, want a redirect to %s: %.600s", p.url, p.status, to, p.body)
	}
	bare := *p.url
	bare.RawQuery = ""
	if bare.String() != to || p.url.Query().Encode() != query.Encode() {
		t.Errorf("sent to %s, want %s with %v", p.url, to, query)
	}
}

// clientNamed is the twin of a client in the provider's tenant.
func (o *provider) clientNamed(t testing.TB, name string, twin relyingParty) relyingParty {
	t.Helper()
	var list []map[string]any
	o.platform(t).on(o.tenant).call(t, http.MethodGet, "/clients?per_page=100", nil).want(t, http.StatusOK).json(t, &list)
	for _, c := range list {
		if c["name"] == name {
			twin.id, twin.secret = c["client_id"].(string), c["client_secret"].(string)
			return twin
		}
	}
	t.Fatalf("%s has no client %s", o.tenant, name)
	return twin
}

func pairsOf(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// forge signs the claims with a key that is nobody's, under the kid given.
func forge(t testing.TB, kid string, c map[string]any) string {
	t.Helper()
	foreignKey.Do(func() { foreignKey.key, foreignKey.err = rsa.GenerateKey(rand.Reader, 2048) })
	if foreignKey.err != nil {
		t.Fatal(foreignKey.err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(maps.Clone(c)))
	token.Header["kid"] = kid
	signed, err := token.SignedString(foreignKey.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// encoded is base64url, as parts of JWTs are written.
func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// foreignKey is a key that no tenant has.
var foreignKey struct {
	sync.Once
	key *rsa.PrivateKey
	err error
}

// waitUntilAfter waits until a time in seconds since 1970 is over.
func waitUntilAfter(t testing.TB, seconds float64) {
	t.Helper()
	select {
	case <-time.After(time.Until(time.Unix(int64(seconds)+1, 0))):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
