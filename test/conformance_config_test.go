package test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/text/language"
)

// configPlan is oidcc-config-certification-test-plan, by its checks, with what we
// hold beside it (contract C4.55, C4.56).
var configPlan = []module{
	{"C01", "status", func(t testing.TB, o *provider) {
		a := o.get(t, o.tenant, discoveryPath).want(t, http.StatusOK)
		if a.header.Get("Content-Type") != "application/json" {
			t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
		}
	}},
	{"C02", "url", func(t testing.TB, o *provider) {
		if at := o.endpoint(discoveryPath[1:]); !strings.HasPrefix(at, "https://") || !strings.HasSuffix(at, "/.well-known/openid-configuration") {
			t.Error(at)
		}
		o.get(t, o.tenant, discoveryPath+"/").want(t, http.StatusNotFound)
	}},
	{"C03", "issuer-is-where-it-was-found", func(t testing.TB, o *provider) {
		if got := o.document(t)["issuer"]; got != o.issuer(o.tenant) {
			t.Errorf("issuer %v", got)
		}
	}},
	{"C04", "issuer-is-a-url", func(t testing.TB, o *provider) {
		u, err := url.Parse(fmt.Sprint(o.document(t)["issuer"]))
		if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.Path != "/" {
			t.Errorf("issuer %v, %v", u, err)
		}
	}},
	{"C05", "schema", func(t testing.TB, o *provider) {
		for name, value := range o.document(t) {
			if list, ok := value.([]any); ok && len(list) == 0 { // RFC 8414 section 3.2
				t.Errorf("%s is empty", name)
			}
			switch _, isText := value.(string); {
			case strings.HasSuffix(name, "_endpoint"), strings.HasSuffix(name, "_uri"), name == "issuer":
				if !isText {
					t.Errorf("%s is %v", name, value)
				}
			case strings.HasPrefix(name, "require_"), strings.HasSuffix(name, "_parameter_supported"), strings.HasPrefix(name, "backchannel_"):
				if _, ok := value.(bool); !ok {
					t.Errorf("%s is %v", name, value)
				}
			case strings.HasSuffix(name, "_iss_parameter_supported"):
			case strings.HasSuffix(name, "_supported"):
				if list, ok := value.([]any); !ok || slices.ContainsFunc(list, func(v any) bool { s, ok := v.(string); return !ok || s == "" }) {
					t.Errorf("%s is %v", name, value)
				}
			default:
				t.Errorf("%s is nobody's member", name)
			}
		}
	}},
	{"C06", "response-types", lists("response_types_supported", "code")},
	{"C07", "subject-types", lists("subject_types_supported", "public")},
	{"C08", "id-token-algs", func(t testing.TB, o *provider) {
		lists("id_token_signing_alg_values_supported", "RS256")(t, o)
		if got := o.document(t)["userinfo_signing_alg_values_supported"]; got != nil {
			t.Errorf("userinfo is signed by %v", got)
		}
	}},
	{"C09", "endpoints", func(t testing.TB, o *provider) {
		d := o.document(t)
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint"} {
			if d[name] == nil {
				t.Errorf("no %s", name)
			}
		}
	}},
	{"C10", "jwks", func(t testing.TB, o *provider) {
		if len(o.keysOf(t)) < 3 {
			t.Error("too few keys")
		}
	}},
	{"C11", "claims", func(t testing.TB, o *provider) {
		lists("claims_supported", "sub", "iss", "org_id", "org_name")(t, o)
		if d := o.document(t); d["claims_parameter_supported"] != true || d["request_object_signing_alg_values_supported"] != nil {
			t.Errorf("%v", d)
		}
	}},
	{"C12", "grant-types", lists("grant_types_supported", "authorization_code", "refresh_token", "client_credentials")},
	{"C13", "scopes", func(t testing.TB, o *provider) {
		lists("scopes_supported", "openid")(t, o)
		for _, s := range texts(o.document(t)["scopes_supported"]) {
			if !regexp.MustCompile(`^[!#-\[\]-~]+$`).MatchString(s) {
				t.Errorf("scope %q", s)
			}
		}
	}},
	{"C14", "locales", func(t testing.TB, o *provider) {
		d := o.document(t)
		for _, l := range slices.Concat(texts(d["ui_locales_supported"]), texts(d["claims_locales_supported"])) {
			if tag, err := language.Parse(l); err != nil || tag.String() != l {
				t.Errorf("locale %q, %v", l, err)
			}
		}
	}},
	{"C15", "endpoints-are-https", func(t testing.TB, o *provider) {
		for name, value := range o.document(t) {
			if strings.HasSuffix(name, "_endpoint") && !strings.HasPrefix(fmt.Sprint(value), "https://") {
				t.Errorf("%s is %v", name, value)
			}
		}
	}},
	{"C16", "code-challenge-methods", lists("code_challenge_methods_supported", "S256")},
	{"C17", "both-documents-agree", func(t testing.TB, o *provider) {
		a, b := o.get(t, o.tenant, discoveryPath), o.get(t, o.tenant, "/.well-known/oauth-authorization-server").want(t, http.StatusOK)
		if string(a.body) != string(b.body) {
			t.Errorf("%s\n%s", a.body, b.body)
		}
	}},
	{"C18", "urls-are-the-hosts", func(t testing.TB, o *provider) {
		plain := o.get(t, o.tenant, discoveryPath).body
		for name, value := range o.document(t) {
			if text, ok := value.(string); ok && !strings.HasPrefix(text, o.issuer(o.tenant)) {
				t.Errorf("%s is %s", name, text)
			}
		}
		for _, h := range [][2]string{ // A08
			{"X-Forwarded-Host", "evil.example"},
			{"X-Forwarded-Proto", "http"},
			{"X-Forwarded-Port", "81"},
			{"X-Forwarded-Prefix", "/evil"},
			{"Forwarded", "host=evil.example;proto=http"},
			{"X-Host", "evil.example"},
			{"X-Original-URL", "/evil"},
			{"tenant-id", "conform-other"},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.endpoint(discoveryPath[1:]), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(h[0], h[1])
			if got := o.do(t, req); string(got.body) != string(plain) {
				t.Errorf("with %s: %s", h[0], got.body)
			}
		}
	}},
	{"C19a", "grants-work-or-are-refused", func(t testing.TB, o *provider) {
		p := o.register(t, "grants", "client_secret_basic", map[string]any{"grant_types": append(texts(o.document(t)["grant_types_supported"]), "urn:nobody:grant")})
		exercised := map[string]url.Values{
			"authorization_code": {"code": {o.wantCode(t, o.authorize(newVisitor(t), o.request(p, "scope", "openid offline_access")))}, "redirect_uri": {p.callback}},
			"client_credentials": {"audience": {o.issuer(o.tenant) + "api/v2/"}},
			"password":           {"username": {conformUser}, "password": {password}, "scope": {"openid"}},
			"http://auth0.com/oauth/grant-type/password-realm": {
				"username": {conformUser}, "password": {password}, "scope": {"openid"}, "realm": {"Username-Password-Authentication"},
			},
		}
		o.api.call(t, http.MethodPost, "/client-grants", map[string]any{"client_id": p.id, "audience": "urn:gatehouse:management", "scope": []string{"read:users"}}).want(t, http.StatusCreated)
		for _, grant := range append(texts(o.document(t)["grant_types_supported"]), "urn:ietf:params:oauth:grant-type:jwt-bearer",
			"urn:ietf:params:oauth:grant-type:saml2-bearer", "urn:openid:params:grant-type:ciba", "urn:ietf:params:oauth:grant-type:uma-ticket", "urn:nobody:grant") {
			form, works := exercised[grant]
			form = cloned(form)
			form.Set("grant_type", grant)
			a := o.ask(t, p, form)
			known := slices.Contains(texts(o.document(t)["grant_types_supported"]), grant) && grant != "implicit" // that one is not the token endpoint's
			switch code := a.member(t, "error"); {
			case works && a.status != http.StatusOK:
				t.Errorf("%s: %d %s", grant, a.status, a.body)
			case !works && known && (a.status != http.StatusBadRequest || code == "unsupported_grant_type" || code == "unauthorized_client"):
				t.Errorf("%s: %d %s", grant, a.status, a.body)
			case !known && (a.status != http.StatusBadRequest || code != "unsupported_grant_type"):
				t.Errorf("%s, which is not advertised: %d %s", grant, a.status, a.body)
			}
			if grant == "authorization_code" {
				exercised["refresh_token"] = url.Values{"refresh_token": {a.member(t, "refresh_token")}}
			}
		}
	}},
	{"C19b", "response-types-and-modes-work-or-are-refused", func(t testing.TB, o *provider) {
		p := o.register(t, "modes", "client_secret_basic", map[string]any{"grant_types": []string{"authorization_code", "implicit"}})
		v := newVisitor(t)
		o.tokensIn(v, p)
		for _, kind := range texts(o.document(t)["response_types_supported"]) {
			for _, mode := range texts(o.document(t)["response_modes_supported"]) {
				_, challenge := pkce("modes")
				back := o.look(v, o.request(p, "response_type", kind, "response_mode", mode, "code_challenge", challenge, "code_challenge_method", "S256"))
				got := answered(t, back)
				if kind != "code" && mode == "query" { // contract C4.21
					if got["error"] != "invalid_request" || back.url.RawQuery != "" {
						t.Errorf("%s in the query: %s", kind, back.url)
					}
					continue
				}
				for word, member := range map[string]string{"code": "code", "token": "access_token", "id_token": "id_token"} {
					if want := slices.Contains(strings.Fields(kind), word); (got[member] != "") != want {
						t.Errorf("%s by %s: %s is %q", kind, mode, member, got[member])
					}
				}
				if got["iss"] != o.issuer(o.tenant) || got["state"] != longState {
					t.Errorf("%s by %s: %v", kind, mode, got)
				}
			}
		}
		for _, mode := range []string{"jwt", "query.jwt", "fragment.jwt", "form_post.jwt", "nonsense"} {
			if got := answered(t, o.look(v, o.request(p, "response_mode", mode))); got["error"] != "invalid_request" {
				t.Errorf("response_mode %s: %v", mode, got)
			}
		}
		for _, kind := range []string{"none", "code none", "vp_token", "code code", "Code"} {
			if got := answered(t, o.look(v, o.request(p, "response_type", kind))); got["error"] != "unsupported_response_type" {
				t.Errorf("response_type %s: %v", kind, got)
			}
		}
		for _, method := range []string{"plain", "S512", "s256"} {
			_, challenge := pkce("modes")
			if got := answered(t, o.look(v, o.request(p, "code_challenge", challenge, "code_challenge_method", method))); got["error"] != "invalid_request" {
				t.Errorf("code_challenge_method %s: %v", method, got)
			}
		}
	}},
	{"C19c", "client-authentication-works-or-is-refused", func(t testing.TB, o *provider) {
		d := o.document(t)
		want := []string{"client_secret_basic", "client_secret_post", "none", "private_key_jwt"}
		if got := texts(d["token_endpoint_auth_methods_supported"]); !slices.Equal(got, want) {
			t.Fatalf("advertised %v", got)
		}
		o.tokensIn(newVisitor(t), o.one)
		o.tokensIn(newVisitor(t), o.post)
		o.publicClient(t)
		for _, alg := range texts(d["token_endpoint_auth_signing_alg_values_supported"]) {
			if alg != "ES256" {
				o.byAssertion(t, alg)
			}
		}
		for _, method := range []string{"client_secret_jwt", "tls_client_auth", "self_signed_tls_client_auth"} {
			o.api.call(t, http.MethodPatch, "/clients/"+o.two.id, map[string]any{"token_endpoint_auth_method": method}).want(t, http.StatusBadRequest)
		}
		o.api.call(t, http.MethodPost, "/clients/"+o.two.id+"/credentials", map[string]any{"credential_type": "public_key", "alg": "HS256", "pem": publicPEM(t)}).want(t, http.StatusBadRequest)
	}},
	{"C19d", "id-token-algs-work-or-are-refused", func(t testing.TB, o *provider) {
		p := o.register(t, "algs", "client_secret_basic")
		set := func(alg string) answer {
			return o.api.call(t, http.MethodPatch, "/clients/"+p.id, map[string]any{"jwt_configuration": map[string]any{"alg": alg, "lifetime_in_seconds": 36000}})
		}
		advertised := texts(o.document(t)["id_token_signing_alg_values_supported"])
		for _, alg := range advertised {
			set(alg).want(t, http.StatusOK)
			form := url.Values{"grant_type": {"authorization_code"}, "code": {o.wantCode(t, o.authorize(newVisitor(t), o.request(p)))}, "redirect_uri": {p.callback}}
			if h := header(t, o.ask(t, p, form).want(t, http.StatusOK).member(t, "id_token")); h["alg"] != alg || o.keysOf(t)[fmt.Sprint(h["kid"])]["alg"] != alg {
				t.Errorf("%s: header %v", alg, h)
			}
		}
		for _, alg := range []string{"HS256", "none", "PS256", "RS512"} {
			if !slices.Contains(advertised, alg) {
				set(alg).want(t, http.StatusBadRequest)
			}
		}
	}},
	{"C19e", "what-is-off-is-not-there", func(t testing.TB, o *provider) {
		other := *o
		other.tenant = "conform-other" // where nothing was switched on
		d := other.document(t)
		for member, path := range map[string]string{
			"registration_endpoint": "oidc/register", "check_session_iframe": "check_session", "backchannel_authentication_endpoint": "bc-authorize",
		} {
			if d[member] != nil {
				t.Errorf("%s is %v", member, d[member])
			}
			other.send(t, path, url.Values{}).want(t, http.StatusNotFound)
		}
		for _, member := range []string{"frontchannel_logout_supported", "dpop_signing_alg_values_supported", "tls_client_certificate_bound_access_tokens"} {
			if d[member] != nil {
				t.Errorf("%s is %v", member, d[member])
			}
		}
		for name, value := range d { // what is there, is
			if at, ok := value.(string); ok && strings.HasSuffix(name, "_endpoint") {
				path, _ := strings.CutPrefix(at, other.issuer(other.tenant))
				if a := other.send(t, path, url.Values{}); a.status == http.StatusNotFound || a.status >= 500 {
					t.Errorf("%s: %d %s", name, a.status, a.body)
				}
			}
		}
	}},
}

const discoveryPath = "/.well-known/openid-configuration"

// TestConfigPlan runs modules C01 to C19.
func TestConfigPlan(t *testing.T) { plan(t, startProvider(t), configPlan) }

// lists holds that a member of the document has the values.
func lists(member string, values ...string) func(testing.TB, *provider) {
	return func(t testing.TB, o *provider) {
		t.Helper()
		got := texts(o.document(t)[member])
		for _, v := range values {
			if !slices.Contains(got, v) {
				t.Errorf("%s: %v lacks %s", member, got, v)
			}
		}
	}
}

var messageCall = regexp.MustCompile(`postMessage\((\{.*\}), "https://[^"]*"\)`)

// answered is an authorization response in any mode.
func answered(t testing.TB, p page) map[string]string {
	t.Helper()
	got := map[string]string{}
	flat := func(v url.Values) {
		for name := range v {
			got[name] = v.Get(name)
		}
	}
	if p.status == 0 {
		fragment, err := url.ParseQuery(p.url.Fragment)
		if err != nil {
			t.Fatal(err)
		}
		flat(p.url.Query())
		flat(fragment)
		return got
	}
	if m := messageCall.FindStringSubmatch(p.body); m != nil {
		var message struct{ Response map[string]any }
		answer{body: []byte(m[1])}.json(t, &message)
		for name, value := range message.Response {
			got[name] = fmt.Sprint(value)
		}
		return got
	}
	form := &provider{mode: modeFormPost}
	flat(form.callback(t, p))
	return got
}

const modeFormPost = "form_post"

// publicClient logs in by a client that authenticates by nothing but PKCE.
func (o *provider) publicClient(t testing.TB) {
	t.Helper()
	p := o.register(t, "public", "none", map[string]any{"app_type": "spa"})
	verifier, challenge := pkce("public")
	if got := answered(t, o.look(newVisitor(t), o.request(p))); got["error"] != "invalid_request" { // C9.29
		t.Errorf("without PKCE: %v", got)
	}
	code := o.wantCode(t, o.authorize(newVisitor(t), o.request(p, "code_challenge", challenge, "code_challenge_method", "S256")))
	a := o.send(t, "oauth/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {p.id}, "code": {code}, "redirect_uri": {p.callback}, "code_verifier": {verifier},
	})
	o.tokensOf(t, p, a)
}

// byAssertion logs in by a client that signs assertions (RFC 7523).
func (o *provider) byAssertion(t testing.TB, alg string) {
	t.Helper()
	p := o.register(t, "key", "client_secret_basic")
	o.api.call(t, http.MethodPatch, "/clients/"+p.id, map[string]any{"token_endpoint_auth_method": "private_key_jwt"}).want(t, http.StatusOK)
	o.api.call(t, http.MethodPost, "/clients/"+p.id+"/credentials", map[string]any{"credential_type": "public_key", "alg": alg, "pem": publicPEM(t)}).want(t, http.StatusCreated)
	now := time.Now()
	assertion := func(more jwt.MapClaims) string {
		c := jwt.MapClaims{"iss": p.id, "sub": p.id, "aud": o.issuer(o.tenant), "jti": fmt.Sprint(now.UnixNano(), alg), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
		maps.Copy(c, more)
		signed, err := jwt.NewWithClaims(jwt.GetSigningMethod(alg), c).SignedString(foreignKey.key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	code := o.wantCode(t, o.authorize(newVisitor(t), o.request(p)))
	redeem := func(assertion string) answer {
		return o.send(t, "oauth/token", url.Values{
			"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.callback},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
		})
	}
	redeem(assertion(jwt.MapClaims{"aud": o.issuer("widgets")})).want(t, http.StatusUnauthorized)
	o.tokensOf(t, p, redeem(assertion(nil)))
	redeem(assertion(nil)).want(t, http.StatusUnauthorized) // once is enough
}

// publicPEM is the public half of a key of the test's own.
func publicPEM(t testing.TB) string {
	t.Helper()
	foreignKey.Do(func() { foreignKey.key, foreignKey.err = rsa.GenerateKey(rand.Reader, 2048) })
	der, err := x509.MarshalPKIXPublicKey(&foreignKey.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
