package oauth

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The defects of fosite that show at the authorization endpoint, at pushed
// requests, and in what the server fetches; see defects_test.go.

// RFC 9700 section 2.1.1: PKCE may take state's place, so none is asked for, and
// none is made up.
func TestDefect05StateIsOptional(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	for _, state := range []string{"-", "x", strings.Repeat("s", maxOpaque)} {
		answer := answerOf(t, b.authorize("state", state))
		if answer.Get("code") == "" || answer.Has("state") != (state != "-") || state != "-" && answer.Get("state") != state {
			t.Errorf("state %.10s: %v", state, answer)
		}
	}
	if answer := answerOf(t, b.authorize("state", "-", "prompt", "nonsense")); answer.Get("error") == "" || answer.Has("state") {
		t.Errorf("an error without state: %v", answer)
	}
}

// RFC 8252 section 7.3 lets the port vary and nothing else.
func TestDefect06LoopbackKeepsItsScheme(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", nativeID, func(c *tenancy.Client) { c.Callbacks = []string{"https://127.0.0.1/callback"} })
	b := f.loggedIn("acme", ada)
	for _, uri := range []string{"http://127.0.0.1/callback", "http://127.0.0.1:4711/callback", "https://127.0.0.1:4711/callback"} {
		wantPage(t, b.authorize("client_id", nativeID, "redirect_uri", uri), http.StatusBadRequest, "redirect_uri")
	}
	if answer := answerOf(t, b.authorize("client_id", nativeID, "redirect_uri", "https://127.0.0.1/callback")); answer.Get("code") == "" {
		t.Errorf("the registered one: %v", answer)
	}
}

// OpenID Connect Core section 3.1.2.1: max_age=0 is prompt=login.
func TestDefect07MaxAgeZero(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	b.wantError(b.authorize("max_age", "0", "prompt", "none"), "login_required", "Login required")
	stateOf(t, b.authorize("max_age", "0"), "/u/login")
	b.wantCode(b.authorize("max_age", "3600"))
}

// requestObject is an unsigned request object.
func requestObject(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(claims)) + "."
}

// OpenID Connect Core section 6: what is in a request object never counts, however
// it is signed (8), whatever its types are (9), with openid and without (10).
func TestDefect08UnsignedRequestObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	object := requestObject(`{"client_id":"spa","redirect_uri":"https://evil.example/","scope":"openid email"}`)
	b.wantError(b.authorize("request", object), "request_not_supported", "The request parameter is not supported")
	f.push("acme", "request", object).refused(400, "request_not_supported", "*")
}

func TestDefect09ClaimsOfRequestObjects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	w := b.authorize("request", requestObject(`{"max_age":3600,"state":["a"]}`))
	b.wantError(w, "request_not_supported", "The request parameter is not supported")
	if strings.Contains(w.Header().Get("Location")+w.Body.String(), "%25%21s") {
		t.Errorf("formatted as a text: %s", w.Header().Get("Location"))
	}
}

func TestDefect10RequestObjectWithoutOpenID(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	b.wantError(b.authorize("scope", "email", "request", requestObject(`{}`)), "request_not_supported", "The request parameter is not supported")
}

// Nothing is fetched from addresses in requests (11), so that no client for it is
// made again and again either (31).
func TestDefect11NothingIsFetched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var fetched atomic.Int64
	outside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	defer outside.Close()
	b := f.loggedIn("acme", ada)
	w := b.authorize("request_uri", outside.URL+"/request.jwt")
	if w.Header().Get("Location") == "" {
		wantPage(t, w, http.StatusBadRequest, "request_uri")
	} else if answer := answerOf(t, w); answer.Get("error") != "invalid_request_uri" {
		t.Errorf("answer %v", answer)
	}
	f.push("acme", "request_uri", outside.URL).refused(400, "invalid_request", "*")
	f.registration("acme", true)
	f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"jwks_uri": outside.URL}).refused(400, "invalid_client_metadata", "*")
	if n := fetched.Load(); n != 0 {
		t.Errorf("fetched %d times", n)
	}
}

func TestDefect31NoClientIsMade(t *testing.T) {
	t.Parallel()
	// fosite fetches request objects and keys for clients of this kind only.
	if c, fetches := any(new(client)).(fosite.OpenIDConnectClient); fetches {
		t.Errorf("fosite would fetch for %T", c)
	}
}

// RFC 9126 section 2.2: request_uris expire, also for who has logged in meanwhile.
func TestDefect15PushedRequestsExpire(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	late, soon := f.push("acme").pushed(), ""
	f.clock.advance(91 * time.Second)
	soon = f.push("acme").pushed()
	if got := b.open(webID, late); got.status != http.StatusBadRequest || !strings.Contains(got.body, gone) {
		t.Errorf("after 91 s: %d %s", got.status, got.body)
	}
	if got := b.open(webID, soon); got.status != http.StatusFound {
		t.Errorf("in time: %d %s", got.status, got.body)
	}
}

// RFC 7523 section 3, item 7: the jti is the client's own, in its tenant; the race
// is in TestRaceAssertions.
func TestDefect21AssertionIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().ec
	for _, tenant := range []string{"acme", "widgets"} {
		f.giveClientKey(tenant, m2mID, "ES256", key)
		assertion := f.assertion("ES256", key, func(c jwt.MapClaims, _ map[string]any) { c["jti"], c["aud"] = "equal", issuerOf(tenant) })
		f.byAssertion(tenant, assertion).ok()
		f.byAssertion(tenant, assertion).refused(401, "invalid_client", authFailed)
	}
	f.giveClientKey("acme", webID, "RS256", clientKeys().rsa)
	other := f.assertion("RS256", clientKeys().rsa, func(c jwt.MapClaims, _ map[string]any) { c["jti"], c["iss"], c["sub"] = "equal", webID, webID })
	f.token("acme", "grant_type", "refresh_token", "refresh_token", "x", "client_assertion_type", assertionType, "client_assertion", other).
		refused(400, "invalid_grant", "*") // it authenticates
}

// RFC 7523 section 2.1 is not offered: no assertion says whom a token is for.
func TestDefect23AssertionsGrantNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().ec
	f.giveClientKey("acme", m2mID, "ES256", key)
	const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grant) })
	assertion := func(audience string) string {
		return f.assertion("ES256", key, func(c jwt.MapClaims, _ map[string]any) { c["aud"] = audience })
	}
	f.token("acme", "grant_type", grant, "assertion", assertion(orders), "client_assertion_type", assertionType, "client_assertion", assertion(issuerOf("acme"))).
		refused(400, "unsupported_grant_type", "*")
	if answer := f.byAssertion("acme", assertion(issuerOf("acme"))).ok(); answer.claims("access_token")["aud"] != orders {
		t.Errorf("aud %v, want what was asked for", answer.claims("access_token")["aud"])
	}
}

// RFC 7662 section 2.1: who asks is a client; a token cannot ask about another,
// nor about itself.
func TestDefect28TokensIntrospectNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.redeem("acme", f.code("acme", codeFor{client: webID}), "client_id", webID, "client_secret", webSecret).ok().text("access_token")
	for _, pairs := range [][]string{{"token", token}, {"token", token, "client_id", spaID}} {
		r := newForm("/oauth/introspect", values(pairs...))
		r.Header.Set("Authorization", "Bearer "+token)
		if got := f.send("acme", r); got.status != http.StatusUnauthorized || got.text("error") != "invalid_client" || got.json["active"] != nil {
			t.Errorf("%v: %d %s", pairs, got.status, got.body)
		}
	}
	if got := f.introspect("acme", token).ok(); got.json["active"] != true {
		t.Errorf("by its client: %s", got.body)
	}
}

// OpenID Connect Core section 3.1.2.1: redirect_uri is REQUIRED; without openid
// it may be left out where only one is registered (contract C4.19).
func TestDefect29RedirectURIIsRequired(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	wantPage(t, b.authorize("client_id", webID, "redirect_uri", "-"), http.StatusBadRequest, "Missing required parameter: redirect_uri")
	wantPage(t, b.authorize("redirect_uri", "-", "scope", "email"), http.StatusBadRequest, "Missing required parameter: redirect_uri") // of two
	if answer := answerOf(t, b.authorize("client_id", webID, "redirect_uri", "-", "scope", "email")); answer.Get("code") == "" {
		t.Errorf("the only one, without openid: %v", answer)
	}
}
