package oauth

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// What has no addressee is a page and never a redirect: C3.1, C3.3, C4.18, C4.19.
func TestAuthorizePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	for _, c := range []struct {
		name, query, text string
	}{
		{"no client", request("client_id", "-").Encode(), "Missing required parameter: client_id"},
		{"unknown client (C4.18)", request("client_id", "nobody").Encode(), "Unknown client: nobody"},
		{"unknown client with markup", request("client_id", "<script>alert(1)</script>").Encode(), "Unknown client: &lt;script&gt;alert(1)&lt;/script&gt;"},
		{"client given twice", request().Encode() + "&client_id=web", "must not be repeated"},
		{"redirect_uri given twice", request().Encode() + "&redirect_uri=https://evil.org", "must not be repeated"},
		{"no redirect_uri, two callbacks", request("redirect_uri", "-").Encode(), "Missing required parameter: redirect_uri"},
		{"no redirect_uri with openid", request("client_id", webID, "redirect_uri", "-").Encode(), "Missing required parameter: redirect_uri"},
		{"unregistered redirect_uri (B30)", request("redirect_uri", "https://evil.org/callback").Encode(), "redirect_uri is not one of the client"},
		{"loopback of a web client", request("redirect_uri", "http://127.0.0.1/callback").Encode(), "redirect_uri is not one of the client"},
		{"message to no web origin (C3.3, C9.36)", request("client_id", nativeID, "redirect_uri", "com.example.app:/callback", "response_mode", "web_message").Encode(), "origin not allowed"},
		{"message to another loopback port", request("client_id", nativeID, "redirect_uri", "http://127.0.0.1:999/callback", "response_mode", "web_message").Encode(), "origin not allowed"},
		{"broken query", request().Encode() + "&x=%zz", "not well-formed"},
		{"semicolons", request().Encode() + ";x=1", "not well-formed"},
	} {
		w := b.get("/authorize?" + c.query)
		if !strings.Contains(w.Body.String(), "invalid_request") {
			t.Errorf("%s: the page does not name the error", c.name)
		}
		wantPage(t, w, http.StatusBadRequest, c.text)
	}
	if len(b.jar) != 0 {
		t.Errorf("a refused request set cookies: %v", b.jar)
	}
}

// Errors with an addressee go there in the mode asked for, with state and iss:
// C3.1, C4.20 to C4.28, C4.31.
func TestAuthorizeErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", webID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, "implicit") })
	f.updateClient("acme", nativeID, func(c *tenancy.Client) { c.RequirePushedAuthorization = true })
	native := []string{"client_id", nativeID, "redirect_uri", nativeCallback}
	web := []string{"client_id", webID}
	long := strings.Repeat("x", 2049)
	for _, c := range []struct {
		name              string
		pairs             []string
		code, description string
	}{
		{"no response_type (B02)", []string{"response_type", "-"}, "invalid_request", "Missing required parameter: response_type"},
		{"unknown response_type", []string{"response_type", "codex"}, "unsupported_response_type", "Unsupported response type: codex"},
		{"code twice", []string{"response_type", "code code"}, "unsupported_response_type", "Unsupported response type: code code"},
		{"implicit not allowed", []string{"response_type", "id_token token"}, "unauthorized_client", "Grant type 'implicit' not allowed for the client."},
		{"front channel without nonce", append(web, "response_type", "code id_token", "nonce", "-"), "invalid_request", "Missing required parameter: nonce"},
		{"ID token without openid", append(web, "response_type", "id_token", "scope", "profile"), "invalid_request", "response_type 'id_token' needs the scope openid"},
		{"tokens in the query (C4.21)", []string{"response_type", "token", "response_mode", "query"}, "invalid_request", "Invalid response_mode 'query' for response_type 'token'"},
		{"unknown response_mode", []string{"response_mode", "jwt"}, "invalid_request", "Invalid response_mode: jwt"},
		{"no challenge, public (C9.29)", []string{"code_challenge", "-", "code_challenge_method", "-"}, "invalid_request", "Missing required parameter: code_challenge"},
		{"no challenge, method", append(web, "code_challenge", "-"), "invalid_request", "Missing required parameter: code_challenge"},
		{"no challenge, message", append(web, "code_challenge", "-", "code_challenge_method", "-", "response_mode", "web_message"), "invalid_request", "Missing required parameter: code_challenge"},
		{"plain (C4.22)", []string{"code_challenge_method", "plain"}, "invalid_request", "code_challenge_method must be S256"},
		{"no method", []string{"code_challenge_method", "-"}, "invalid_request", "code_challenge_method must be S256"},
		{"short challenge", []string{"code_challenge", strings.Repeat("a", 42)}, "invalid_request", "Invalid code_challenge"},
		{"long challenge", []string{"code_challenge", strings.Repeat("a", 129)}, "invalid_request", "Invalid code_challenge"},
		{"challenge with other characters", []string{"code_challenge", strings.Repeat("a", 42) + "+"}, "invalid_request", "Invalid code_challenge"},
		{"long nonce (C4.24)", []string{"nonce", long}, "invalid_request", "nonce must not be longer than 2048 characters"},
		{"nonce that is no text", []string{"nonce", "\xff"}, "invalid_request", "Invalid parameter: nonce"},
		{"scope with a control character", []string{"scope", "openid\tx"}, "invalid_scope", "Invalid scope"},
		{"prompt=none and more (C3.2)", []string{"prompt", "none login"}, "invalid_request", "prompt=none cannot be combined with other values"},
		{"unknown prompt", []string{"prompt", "dance"}, "invalid_request", "Invalid prompt: dance"},
		{"max_age no number", []string{"max_age", "soon"}, "invalid_request", "Invalid max_age"},
		{"max_age negative", []string{"max_age", "-1"}, "invalid_request", "Invalid max_age"},
		{"request (B34)", []string{"request", "e30.e30."}, "request_not_supported", "The request parameter is not supported"},
		{"request_uri (B33)", []string{"request_uri", "https://evil.org/r"}, "invalid_request_uri", gone},
		{"pushed requests required (C4.27)", native, "invalid_request", "The client has to use pushed authorization requests"},
		{"unknown audience (C4.31, C9.17)", []string{"audience", "https://nobody.example.com/"}, "access_denied", "Service not found: https://nobody.example.com/"},
		{"unknown organization (C2.24)", []string{"organization", "org_9"}, "invalid_request", "parameter organization is invalid"},
		{"invitation (C2.56)", []string{"invitation", "x", "organization", "org_1"}, "invalid_request", "invitation not found or already used"},
		{"invitation alone (C2.56)", []string{"invitation", "x"}, "invalid_request", "invitation not found or already used"},
		{"unknown connection (C4.25)", []string{"connection", "nowhere"}, "invalid_request", "the connection was not found"},
		{"connection of another client", []string{"connection", otherConnection}, "invalid_request", "the connection was not found"},
		{"claims no JSON (C4.26)", []string{"claims", "{"}, "invalid_request", "Invalid claims parameter"},
		{"hint of nobody", []string{"id_token_hint", "x.y.z"}, "invalid_request", "Invalid id_token_hint"},
	} {
		for _, prompt := range []string{"", "none"} {
			for _, mode := range []string{modeQuery, modeFragment, modeWebMessage} {
				pairs := slices.Clone(c.pairs)
				if !slices.Contains(pairs, "response_mode") && !slices.Contains(pairs, "response_type") {
					pairs = append(pairs, "response_mode", mode)
				}
				if !slices.Contains(pairs, "prompt") && prompt != "" {
					pairs = append(pairs, "prompt", prompt)
				}
				t.Run(c.name+" "+mode+" "+prompt, func(t *testing.T) {
					b := (&fixtureView{f, t}).browser("acme")
					b.wantError(b.authorize(pairs...), c.code, c.description)
				})
			}
		}
	}
	if n, err := tenancy.LoginSessions.Count(f.in("acme"), tenancy.Filter{}); err != nil || n != 0 {
		t.Errorf("refused requests left %d logins under way: %v", n, err)
	}
}

// fixtureView lets a subtest use the fixture of its parent.
type fixtureView struct {
	f *fixture
	t *testing.T
}

func (v *fixtureView) browser(tenant string) *browser {
	view := *v.f
	view.t = v.t
	return view.browser(tenant)
}

func TestAuthorizeErrorModes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	if w := b.authorize("response_type", "id_token token"); !strings.Contains(w.Header().Get("Location"), callback+"#error=unauthorized_client") {
		t.Errorf("C4.21: the default of token types is fragment; got %s", w.Header().Get("Location"))
	}
	if w := b.authorize("response_type", "token", "response_mode", "query"); !strings.HasPrefix(w.Header().Get("Location"), callback+"#error=invalid_request") {
		t.Errorf("C4.21: tokens in the query are refused by fragment; got %s", w.Header().Get("Location"))
	}
	if w := b.authorize("response_mode", "form_post", "scope", "\x01"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `name="error" value="invalid_scope"`) {
		t.Errorf("form_post: got %d %s", w.Code, w.Body)
	}
	// C0.9, RFC 6749 section 3.1: any parameter twice; a state given twice is none.
	for _, twice := range []string{"scope=x", "extra=1&extra=2", "response_mode=fragment&response_mode=query"} {
		v := answerOf(t, b.get("/authorize?"+request().Encode()+"&"+twice))
		if v.Get("error") != "invalid_request" || v.Get("state") != "state-1" || !strings.HasPrefix(v.Get("error_description"), "Parameter must not be repeated") {
			t.Errorf("%s: got %v", twice, v)
		}
	}
	if v := answerOf(t, b.get("/authorize?"+request().Encode()+"&state=other")); v.Get("error") != "invalid_request" || v.Has("state") {
		t.Errorf("state twice: got %v", v)
	}
	if v := answerOf(t, b.authorize("state", strings.Repeat("s", 2049))); v.Get("error") != "invalid_request" || v.Has("state") {
		t.Errorf("C4.24: got %v", v)
	}
	state := strings.Repeat("s", 2048)
	if v := answerOf(t, b.authorize("state", state, "prompt", "none")); v.Get("error") != "login_required" || v.Get("state") != state {
		t.Errorf("C4.24: a state of 2048 characters comes back; got %v", v)
	}
	f.updateClient("acme", nativeID, func(c *tenancy.Client) { c.GrantTypes = []string{"client_credentials"} })
	v := answerOf(t, b.authorize("client_id", nativeID, "redirect_uri", nativeCallback))
	if v.Get("error") != "unauthorized_client" {
		t.Errorf("client without authorization_code: got %v", v)
	}
}

// What other servers' parameters SDKs send is ignored (C0.9, B15, B16, B22, B24 to B27).
func TestAuthorizeIgnores(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	w := b.authorize("auth0Client", "eyJ", "extra", "foobar", "display", "popup", "ui_locales", "se", "claims_locales", "se", "acr_values", "1 2",
		"login_hint", "ada@acme.example", "screen_hint", "signup", "audience", "", "tenant_id", "widgets")
	state := stateOf(t, w, "/u/login")
	l, err := tenancy.LoginSessions.Get(f.in("acme"), tenancy.HashToken(state))
	f.must(err)
	if l.Request["login_hint"] != "ada@acme.example" || l.Request["screen_hint"] != "signup" || l.Request["ui_locales"] != "se" {
		t.Errorf("the pages do not get what is for them: %v", l.Request)
	}
	for _, name := range []string{"auth0Client", "extra", "tenant_id", "audience"} {
		if _, kept := l.Request[name]; kept {
			t.Errorf("%s was kept", name)
		}
	}
	if w := b.authorize("client_id", webID, "code_challenge", "-", "code_challenge_method", "-", "state", "-", "nonce", "-"); !strings.HasPrefix(w.Header().Get("Location"), "/u/login?state=") {
		t.Errorf("a confidential client may do without PKCE, state and nonce (C4.22, B08); got %s", w.Header().Get("Location"))
	}
	if w := b.authorize("client_id", webID, "redirect_uri", "-", "scope", "-"); !strings.HasPrefix(w.Header().Get("Location"), "/u/login?state=") {
		t.Errorf("C4.19: the only callback may be left out without openid; got %d %s", w.Code, w.Body)
	}
}

// C4.29, C4.30, B31
func TestAuthorizePost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	w := b.post("/authorize", request())
	if w.Code != http.StatusSeeOther {
		t.Errorf("got %d, want 303 after POST", w.Code)
	}
	state := stateOf(t, w, "/u/login")
	b.loginPage(state, ada)
	if w := b.resume(state); w.Code != http.StatusFound {
		t.Errorf("got %d, want 302", w.Code)
	}
	if w := b.post("/authorize", request()); w.Code != http.StatusSeeOther || answerOf(t, w).Get("code") == "" {
		t.Errorf("with a session: got %d %s", w.Code, w.Header().Get("Location"))
	}
	wantPage(t, b.post("/authorize?client_id=spa", request()), http.StatusBadRequest, "in the body")
	r := httptest.NewRequest(http.MethodPost, "/authorize", strings.NewReader(`{"client_id":"spa"}`))
	r.Header.Set("Content-Type", "application/json")
	wantPage(t, b.send(r), http.StatusUnsupportedMediaType, "Content-Type")
	big := request()
	big.Set("extra", strings.Repeat("x", maxBody))
	wantPage(t, b.post("/authorize", big), http.StatusRequestEntityTooLarge, "too large")
	w = b.send(httptest.NewRequest(http.MethodDelete, "/authorize", nil))
	wantPage(t, w, http.StatusMethodNotAllowed, "Method Not Allowed")
	if got := w.Header().Get("Allow"); got != "GET, HEAD, POST" {
		t.Errorf("Allow: got %q (C0.7)", got)
	}
}

// C1.19, C4.31
func TestAuthorizeSuspended(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	f.tenants["acme"].State = tenancy.StateSuspended
	wantPage(t, b.authorize("prompt", "none"), http.StatusForbidden, "Tenant is suspended")
	f.tenants["acme"].State = tenancy.StateProvisioning
	w := b.authorize()
	wantPage(t, w, http.StatusServiceUnavailable, "temporarily unavailable")
	if w.Header().Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}
