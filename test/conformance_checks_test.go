package test

import (
	"encoding/json"
	"html"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// callback is the authorization response that came to the relying party,
// whichever way: in the query, or as a form that the browser posts.
func (o *provider) callback(t testing.TB, p page) url.Values {
	t.Helper()
	if p.status == 0 {
		if o.mode == "form_post" {
			t.Fatalf("the answer came by redirect, not by form: %s", p.url)
		}
		if p.url.Fragment != "" {
			t.Errorf("the callback has a fragment: %s", p.url)
		}
		return p.url.Query()
	}
	v := url.Values{}
	if m := formAction.FindStringSubmatch(p.body); m == nil || !strings.HasPrefix(m[1], "https://") {
		t.Fatalf("neither redirect nor form: %s (status %d): %.600s", p.url, p.status, p.body)
	} else if strings.Contains(m[1], "code=") || strings.Contains(m[1], "error=") {
		t.Errorf("the form's address holds the answer: %s", m[1])
	}
	for _, h := range hidden.FindAllStringSubmatch(p.body, -1) {
		v.Add(html.UnescapeString(h[1]), html.UnescapeString(h[2]))
	}
	return v
}

// wantCode checks a successful authorization response and returns its code.
func (o *provider) wantCode(t testing.TB, p page) string {
	t.Helper()
	v := o.callback(t, p)
	o.checkCallback(t, v)
	if e := v.Get("error"); e != "" {
		t.Fatalf("error %s: %s", e, v.Get("error_description"))
	}
	checkEntropy(t, "code", v.Get("code"))
	return v.Get("code")
}

func (o *provider) checkCallback(t testing.TB, v url.Values) {
	t.Helper()
	for name, list := range v {
		if len(list) != 1 {
			t.Errorf("callback: %s is there %d times", name, len(list))
		}
	}
	if v.Get("iss") != o.issuer(o.tenant) { // RFC 9207
		t.Errorf("callback: iss %q, want %q", v.Get("iss"), o.issuer(o.tenant))
	}
	if v.Get("state") != longState {
		t.Errorf("callback: state %q", v.Get("state"))
	}
}

// printable is RFC 6749 section 4.1.2.1: %x20-21 / %x23-5B / %x5D-7E.
var printable = regexp.MustCompile(`^[ !#-\[\]-~]*$`)

// wantError checks an error response: one of the codes, and nothing beside.
func (o *provider) wantError(t testing.TB, p page, codes ...string) {
	t.Helper()
	v := o.callback(t, p)
	o.checkCallback(t, v)
	if !slices.Contains(codes, v.Get("error")) {
		t.Errorf("callback: error %q (%s), want one of %q", v.Get("error"), v.Get("error_description"), codes)
	}
	if !printable.MatchString(v.Get("error_description")) {
		t.Errorf("callback: error_description %q", v.Get("error_description"))
	}
	for name := range v {
		if !slices.Contains([]string{"error", "error_description", "error_uri", "state", "iss"}, name) {
			t.Errorf("callback: an error has %s", name)
		}
	}
}

// wantErrorPage: the person is told, and sent nowhere.
func wantErrorPage(t testing.TB, p page, text string) {
	t.Helper()
	if p.status < 400 || p.status > 499 || !strings.Contains(html.UnescapeString(p.body), text) {
		t.Errorf("%s: status %d, want an error page with %q: %.600s", p.url, p.status, text, p.body)
	}
	if !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") || strings.Contains(p.body, "<script>") || formAction.MatchString(p.body) {
		t.Errorf("%s is no plain page: %.600s", p.url, p.body)
	}
}

// checkEntropy holds the suite's bounds: 128 bits, 96 by Shannon's estimate.
func checkEntropy(t testing.TB, what, value string) {
	t.Helper()
	counts := map[rune]float64{}
	for _, r := range value {
		counts[r]++
	}
	n, bits := float64(len(value)), 0.0
	for _, c := range counts {
		bits -= c * math.Log2(c/n)
	}
	if len(value)*6 < 128 || bits < 96 {
		t.Errorf("%s of %d characters has %.0f bits", what, len(value), bits)
	}
}

// tokens is a token response that was found good.
type tokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in"`
	Scope   string `json:"scope"`

	claims map[string]any // of the ID token; nil without
}

// ask posts to the token endpoint as a client.
func (o *provider) ask(t testing.TB, p relyingParty, form url.Values) answer {
	t.Helper()
	return o.asks(t, p, "oauth/token", form)
}

// asks posts to an endpoint as a client.
func (o *provider) asks(t testing.TB, p relyingParty, path string, form url.Values) answer {
	t.Helper()
	form = cloned(form)
	if p.post {
		form.Set("client_id", p.id)
		form.Set("client_secret", p.secret)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.endpoint(path), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !p.post {
		req.SetBasicAuth(p.id, p.secret)
	}
	return o.do(t, req)
}

func cloned(v url.Values) url.Values {
	c := url.Values{}
	for name, list := range v {
		c[name] = slices.Clone(list)
	}
	return c
}

// redeemed exchanges a code and checks everything that comes of it.
func (o *provider) redeemed(t testing.TB, p relyingParty, code string, more ...string) tokens {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.callback}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return o.tokensOf(t, p, o.ask(t, p, form))
}

func (o *provider) tokensOf(t testing.TB, p relyingParty, a answer) tokens {
	t.Helper()
	a.want(t, http.StatusOK)
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("token response: headers %v", a.header)
	}
	var got tokens
	a.json(t, &got)
	if got.Type != "Bearer" || got.Expires <= 0 {
		t.Errorf("token response: token_type %q, expires_in %d", got.Type, got.Expires)
	}
	checkEntropy(t, "access token", got.Access)
	if got.Refresh != "" {
		checkEntropy(t, "refresh token", got.Refresh)
	}
	if got.ID != "" {
		got.claims = o.idToken(t, p, got)
	}
	return got
}

// idToken verifies an ID token by the published keys and checks its claims.
func (o *provider) idToken(t testing.TB, p relyingParty, got tokens) map[string]any {
	t.Helper()
	ctx := oidc.ClientContext(t.Context(), o.http)
	op, err := oidc.NewProvider(ctx, o.issuer(o.tenant))
	if err != nil {
		t.Fatal(err)
	}
	id, err := op.Verifier(&oidc.Config{ClientID: p.id}).Verify(ctx, got.ID)
	if err != nil {
		t.Fatalf("ID token: %v", err)
	}
	if err := id.VerifyAccessToken(got.Access); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	var m map[string]any
	if err := id.Claims(&m); err != nil {
		t.Fatal(err)
	}
	if kid, _ := header(t, got.ID)["kid"].(string); kid == "" {
		t.Errorf("ID token without kid: %v", header(t, got.ID))
	}
	if len(id.Subject) > 255 || id.Subject == "" || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("sub %q", id.Subject)
	}
	if age := time.Since(id.IssuedAt); age > 5*time.Minute || age < -5*time.Minute || time.Until(id.Expiry) > 50*365*24*time.Hour {
		t.Errorf("iat %s, exp %s", id.IssuedAt, id.Expiry)
	}
	if at, ok := m["auth_time"].(float64); ok {
		if age := time.Since(time.Unix(int64(at), 0)); age < -time.Second || age > 365*24*time.Hour {
			t.Errorf("auth_time is %s ago", age)
		}
	}
	checkClaimTypes(t, m)
	return m
}

// checkClaimTypes holds the JSON types of OpenID Connect Core section 5.1, and
// that what is not known is absent.
func checkClaimTypes(t testing.TB, m map[string]any) {
	t.Helper()
	for name, value := range m {
		good := value != nil && value != ""
		switch name {
		case "email_verified", "phone_number_verified":
			_, good = value.(bool)
		case "updated_at", "auth_time", "iat", "exp":
			_, good = value.(float64)
		case "address":
			_, good = value.(map[string]any)
		case "name", "given_name", "family_name", "nickname", "preferred_username", "picture", "email", "phone_number", "sub", "acr", "nonce":
			text, ok := value.(string)
			good = ok && text != ""
		}
		if !good {
			t.Errorf("claim %s is %#v", name, value)
		}
	}
}

// header decodes a JWT's header.
func header(t testing.TB, token string) map[string]any {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	return claims(t, "."+first+".")
}

// userinfo asks for the claims of a token and checks them.
func (o *provider) userinfo(t testing.TB, got tokens) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.endpoint("userinfo"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+got.Access)
	return o.checkUserinfo(t, got, o.do(t, req))
}

func (o *provider) checkUserinfo(t testing.TB, got tokens, a answer) map[string]any {
	t.Helper()
	a.want(t, http.StatusOK)
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("userinfo: Content-Type %q", a.header.Get("Content-Type"))
	}
	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatalf("userinfo: %v: %s", err, a.body)
	}
	if m["sub"] == "" || m["sub"] == nil || m["sub"] != got.claims["sub"] {
		t.Errorf("userinfo: sub %v, want that of the ID token %v", m["sub"], got.claims["sub"])
	}
	checkClaimTypes(t, m)
	return m
}

// tokensIn logs in with a fresh request in the browser and returns the tokens.
func (o *provider) tokensIn(v *visitor, p relyingParty, pairs ...string) tokens {
	v.t.Helper()
	code := o.wantCode(v.t, o.authorize(v, o.request(p, pairs...)))
	got := o.redeemed(v.t, p, code)
	if got.ID == "" {
		v.t.Fatal("no ID token")
	}
	return got
}

// signedIn reports whether the browser has a session: what silent
// authentication says.
func (o *provider) signedIn(v *visitor) bool {
	v.t.Helper()
	probe := *o
	probe.mode = ""
	answer := probe.callback(v.t, probe.look(v, probe.request(o.one, "prompt", "none")))
	if e := answer.Get("error"); e != "" && e != "login_required" {
		v.t.Errorf("silent authentication: %s", e)
	}
	return answer.Get("code") != ""
}

// document is the discovery document.
func (o *provider) document(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	o.get(t, o.tenant, "/.well-known/openid-configuration").want(t, http.StatusOK).json(t, &m)
	return m
}

// keysOf are the published keys by their kid.
func (o *provider) keysOf(t testing.TB) map[string]map[string]any {
	t.Helper()
	var set struct{ Keys []map[string]any }
	o.get(t, o.tenant, "/.well-known/jwks.json").want(t, http.StatusOK).json(t, &set)
	byKid := map[string]map[string]any{}
	for _, k := range set.Keys {
		kid, _ := k["kid"].(string)
		if kid == "" || byKid[kid] != nil {
			t.Errorf("kid %q is missing or there twice", kid)
		}
		byKid[kid] = k
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := k[private]; has {
				t.Errorf("key %s has the private member %s", kid, private)
			}
		}
	}
	return byKid
}
