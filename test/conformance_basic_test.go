package test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// basicPlan is oidcc-basic-certification-test-plan, and with form_post as the
// response mode oidcc-formpost-basic-certification-test-plan (D21).
var basicPlan = []module{
	{"B01", "oidcc-server", func(t testing.TB, o *provider) {
		got := o.tokensIn(newVisitor(t), o.one)
		if got.claims["nonce"] != "a nonce" || got.claims["name"] != nil || got.claims["sub"] != o.user {
			t.Errorf("ID token %v", got.claims)
		}
		o.userinfo(t, got)
		o.keysOf(t)
	}},
	{"B02", "oidcc-response-type-missing", func(t testing.TB, o *provider) {
		o.wantError(t, o.look(newVisitor(t), o.request(o.one, "response_type", "-")), "unsupported_response_type", "invalid_request")
	}},
	{"B03", "oidcc-idtoken-signature", func(t testing.TB, o *provider) {
		got := o.tokensIn(newVisitor(t), o.one)
		h := header(t, got.ID)
		if kid, _ := h["kid"].(string); h["alg"] != "RS256" || o.keysOf(t)[kid] == nil {
			t.Errorf("header %v", h)
		}
	}},
	{"B04", "oidcc-idtoken-unsigned", func(t testing.TB, o *provider) {
		if algs := texts(o.document(t)["id_token_signing_alg_values_supported"]); slices.Contains(algs, "none") {
			t.Errorf("advertised %v", algs)
		}
		o.api.call(t, http.MethodPatch, "/clients/"+o.one.id, map[string]any{"jwt_configuration": map[string]any{"alg": "none"}}).want(t, http.StatusBadRequest)
	}},
	{"B05", "oidcc-userinfo-get", func(t testing.TB, o *provider) { o.userinfo(t, o.tokensIn(newVisitor(t), o.one)) }},
	{"B06", "oidcc-userinfo-post-header", func(t testing.TB, o *provider) {
		got := o.tokensIn(newVisitor(t), o.one)
		o.checkUserinfo(t, got, o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access))
	}},
	{"B07", "oidcc-userinfo-post-body", func(t testing.TB, o *provider) {
		got := o.tokensIn(newVisitor(t), o.one)
		o.checkUserinfo(t, got, o.send(t, "userinfo", url.Values{"access_token": {got.Access}}))
	}},
	{"B08", "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", func(t testing.TB, o *provider) {
		if got := o.tokensIn(newVisitor(t), o.one, "nonce", "-"); got.claims["nonce"] != nil {
			t.Errorf("nonce %v", got.claims["nonce"])
		}
	}},
	{"B09", "oidcc-scope-profile", scoped("openid profile", "name", "given_name", "family_name", "nickname", "picture", "updated_at")},
	{"B10", "oidcc-scope-email", scoped("openid email", "email", "email_verified")},
	{"B11", "oidcc-scope-address", scoped("openid address")}, // nobody has one here: the scope is good and tells nothing (C2.14)
	{"B12", "oidcc-scope-phone", scoped("openid phone", "phone_number", "phone_number_verified")},
	{"B13", "oidcc-scope-all", scoped("openid profile email address phone", "name", "email", "email_verified", "phone_number", "picture")},
	{"B14", "oidcc-alternate-happy-flow", func(t testing.TB, o *provider) {
		q := o.request(o.one, "scope", "phone email profile openid")
		pairs := strings.Split(q.Encode(), "&")
		slices.Reverse(pairs)
		got := o.redeemed(t, o.one, o.wantCode(t, newVisitor(t).login(o.endpoint("authorize?"+strings.Join(pairs, "&")), conformUser, password)))
		if o.userinfo(t, got)["email"] != conformUser {
			t.Error("no email")
		}
	}},
	{"B15", "oidcc-display-page", with("display", "page")},
	{"B16", "oidcc-display-popup", with("display", "popup")},
	{"B17", "oidcc-prompt-login", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		first := o.tokensIn(v, o.one)
		waitUntilAfter(t, authTime(t, first))
		o.wantNewLogin(v, first, "prompt", "login")
	}},
	{"B18", "oidcc-prompt-none-not-logged-in", func(t testing.TB, o *provider) {
		o.wantError(t, o.look(newVisitor(t), o.request(o.one, "prompt", "none")), "login_required", "interaction_required", "account_selection_required", "consent_required")
	}},
	{"B19", "oidcc-prompt-none-logged-in", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		o.wantSameLogin(v, o.tokensIn(v, o.one), "prompt", "none")
	}},
	{"B20", "oidcc-max-age-1", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		first := o.tokensIn(v, o.one)
		waitUntilAfter(t, authTime(t, first)+1)
		o.wantNewLogin(v, first, "max_age", "1")
	}},
	{"B21", "oidcc-max-age-10000", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		o.wantSameLogin(v, o.tokensIn(v, o.one, "max_age", "15000"), "max_age", "10000")
	}},
	{"B22", "oidcc-ensure-request-with-unknown-parameter-succeeds", with("extra", "foobar")},
	{"B23", "oidcc-id-token-hint", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		first := o.tokensIn(v, o.one)
		o.wantSameLogin(v, first, "prompt", "none", "id_token_hint", first.ID)
	}},
	{"B24", "oidcc-login-hint", func(t testing.TB, o *provider) {
		p := o.look(newVisitor(t), o.request(o.one, "login_hint", conformUser))
		if !asked(p) || !strings.Contains(p.body, `value="`+conformUser+`"`) {
			t.Errorf("the hint is not filled in: %.800s", p.body)
		}
		with("login_hint", conformUser)(t, o)
	}},
	{"B25", "oidcc-ui-locales", with("ui_locales", "se")},
	{"B26", "oidcc-claims-locales", with("claims_locales", "se")},
	{"B27", "oidcc-ensure-request-with-acr-values-succeeds", with("acr_values", "1 2")},
	{"B28", "oidcc-codereuse", func(t testing.TB, o *provider) {
		code := o.wantCode(t, o.authorize(newVisitor(t), o.request(o.one)))
		got := o.redeemed(t, o.one, code)
		o.wantSpent(t, code)
		o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access).want(t, http.StatusUnauthorized) // C9.31
	}},
	{"B30", "oidcc-ensure-registered-redirect-uri", func(t testing.TB, o *provider) {
		for _, bad := range []string{"https://elsewhere.example.com/cb", o.one.callback + "/more", o.two.callback, strings.ToUpper(o.one.callback)} {
			wantErrorPage(t, o.look(newVisitor(t), o.request(o.one, "redirect_uri", bad)), "redirect_uri")
		}
	}},
	{"B31", "oidcc-ensure-post-request-succeeds", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		p := v.follow(http.MethodPost, o.endpoint("authorize"), o.request(o.one))
		if asked(p) {
			p = v.submit(p, map[string]string{"username": conformUser, "password": password})
		}
		o.redeemed(t, o.one, o.wantCode(t, p))
	}},
	{"B32", "oidcc-server-client-secret-post", func(t testing.TB, o *provider) { o.userinfo(t, o.tokensIn(newVisitor(t), o.post)) }},
	{"B33", "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", func(t testing.TB, o *provider) {
		if o.document(t)["request_uri_parameter_supported"] != false {
			t.Error("advertised")
		}
		o.wantError(t, o.look(newVisitor(t), o.request(o.one, "request_uri", "https://one.rp.example.com/request.jwt")), "request_uri_not_supported", "invalid_request_uri")
	}},
	{"B34", "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", func(t testing.TB, o *provider) {
		if o.document(t)["request_parameter_supported"] != false {
			t.Error("advertised")
		}
		o.wantError(t, o.look(newVisitor(t), o.request(o.one, "request", unsigned(`{"state":"inner"}`))), "request_not_supported")
	}},
	{"B35", "oidcc-claims-essential", func(t testing.TB, o *provider) {
		got := o.tokensIn(newVisitor(t), o.one, "claims", `{"userinfo":{"name":{"essential":true}}}`)
		if name := o.userinfo(t, got)["name"]; name != "Conny Form" || got.claims["name"] != nil {
			t.Errorf("name %v at userinfo, %v in the ID token", name, got.claims["name"])
		}
	}},
	{"B36", "oidcc-ensure-request-object-with-redirect-uri", func(t testing.TB, o *provider) {
		q := o.request(o.one, "redirect_uri", "https://elsewhere.example.com/cb", "request", unsigned(`{"redirect_uri":"`+o.one.callback+`"}`))
		wantErrorPage(t, o.look(newVisitor(t), q), "redirect_uri")
	}},
	{"B37", "oidcc-refresh-token", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		first := o.tokensIn(v, o.one, "scope", "openid email offline_access")
		other := o.tokensIn(v, o.two, "scope", "openid email offline_access")
		o.wantRefreshed(t, o.one, first, url.Values{"scope": {"openid email offline_access"}})
		o.wantRefreshed(t, o.two, other, nil)
		foreign := o.ask(t, o.one, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {other.Refresh}})
		if foreign.want(t, http.StatusBadRequest).member(t, "error") != "invalid_grant" {
			t.Errorf("another client's refresh token: %s", foreign.body)
		}
	}},
	{"B38", "oidcc-ensure-request-with-valid-pkce-succeeds", func(t testing.TB, o *provider) {
		verifier, challenge := pkce("conformance")
		code := o.wantCode(t, o.authorize(newVisitor(t), o.request(o.one, "code_challenge", challenge, "code_challenge_method", "S256")))
		o.redeemed(t, o.one, code, "code_verifier", verifier)
	}},
	{"B29", "oidcc-codereuse-30seconds", func(t testing.TB, o *provider) { // last: the code was used before all others
		waitUntilAfter(t, float64(o.spentAt.Add(30*time.Second).Unix()))
		o.wantSpent(t, o.spent)
	}},
}

// TestBasicPlan runs modules B01 to B38 in both response modes of the basic plans.
func TestBasicPlan(t *testing.T) {
	whole := *startProvider(t)
	whole.spent = whole.wantCode(t, whole.authorize(newVisitor(t), whole.request(whole.one)))
	whole.redeemed(t, whole.one, whole.spent)
	whole.spentAt = time.Now()
	for mode, name := range map[string]string{"": "query", "form_post": "form_post"} {
		o := whole
		o.mode = mode
		t.Run(name, func(t *testing.T) { plan(t, &o, basicPlan) })
	}
}

// with is a happy flow with further parameters, which change nothing.
func with(pairs ...string) func(testing.TB, *provider) {
	return func(t testing.TB, o *provider) { o.tokensIn(newVisitor(t), o.one, pairs...) }
}

// scoped is a happy flow whose scopes have userinfo tell the claims.
func scoped(scope string, claims ...string) func(testing.TB, *provider) {
	return func(t testing.TB, o *provider) {
		supported := texts(o.document(t)["scopes_supported"])
		for s := range strings.FieldsSeq(scope) {
			if !slices.Contains(supported, s) {
				t.Errorf("scope %s is not advertised", s)
			}
		}
		got := o.tokensIn(newVisitor(t), o.one, "scope", scope)
		if got.Scope != scope {
			t.Errorf("granted %q", got.Scope)
		}
		info := o.userinfo(t, got)
		for _, name := range claims {
			if info[name] == nil {
				t.Errorf("userinfo lacks %s: %v", name, info)
			}
		}
	}
}

// texts is a JSON array of strings.
func texts(v any) (list []string) {
	all, _ := v.([]any)
	for _, x := range all {
		list = append(list, fmt.Sprint(x))
	}
	return list
}

// unsigned is a request object with alg none.
func unsigned(payload string) string {
	return encoded(`{"alg":"none"}`) + "." + encoded(payload) + "."
}

// send posts a form, or nothing, with headers.
func (o *provider) send(t testing.TB, path string, form url.Values, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.endpoint(path), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return o.do(t, req)
}

func authTime(t testing.TB, got tokens) float64 {
	t.Helper()
	at, ok := got.claims["auth_time"].(float64)
	if !ok {
		t.Fatalf("ID token without auth_time: %v", got.claims)
	}
	return at
}

// wantNewLogin: the request has the person log in again.
func (o *provider) wantNewLogin(v *visitor, first tokens, pairs ...string) {
	v.t.Helper()
	p := o.look(v, o.request(o.one, pairs...))
	if !asked(p) {
		v.t.Fatalf("%v: nobody was asked to log in: %s %.300s", pairs, p.url, p.body)
	}
	p = v.submit(p, map[string]string{"username": conformUser, "password": password})
	again := o.redeemed(v.t, o.one, o.wantCode(v.t, p))
	if authTime(v.t, again) <= authTime(v.t, first) || again.claims["sub"] != first.claims["sub"] {
		v.t.Errorf("%v: auth_time %v after %v", pairs, again.claims["auth_time"], first.claims["auth_time"])
	}
}

// wantSameLogin: the request is answered without any page, from the same login.
func (o *provider) wantSameLogin(v *visitor, first tokens, pairs ...string) {
	v.t.Helper()
	again := o.redeemed(v.t, o.one, o.wantCode(v.t, o.look(v, o.request(o.one, pairs...))))
	if authTime(v.t, again) != authTime(v.t, first) || again.claims["sub"] != first.claims["sub"] {
		v.t.Errorf("%v: %v after %v", pairs, again.claims, first.claims)
	}
}

// wantSpent: a code that was used is refused as one that never was.
func (o *provider) wantSpent(t testing.TB, code string) {
	t.Helper()
	a := o.ask(t, o.one, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {o.one.callback}})
	if a.want(t, http.StatusBadRequest).member(t, "error") != "invalid_grant" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("code used again: %s", a.body)
	}
}

// wantRefreshed: the ID token of a refresh is about the same login (OpenID
// Connect Core section 12.2).
func (o *provider) wantRefreshed(t testing.TB, p relyingParty, first tokens, form url.Values) {
	t.Helper()
	form = cloned(form)
	form.Set("grant_type", "refresh_token")
	form.Set("refresh_token", first.Refresh)
	waitUntilAfter(t, first.claims["iat"].(float64))
	again := o.tokensOf(t, p, o.ask(t, p, form))
	for _, name := range []string{"iss", "sub", "aud", "azp", "auth_time"} {
		if again.claims[name] != first.claims[name] {
			t.Errorf("%s: %v after %v", name, again.claims[name], first.claims[name])
		}
	}
	if again.claims["iat"].(float64) <= first.claims["iat"].(float64) || again.Access == first.Access || again.claims["nonce"] != nil {
		t.Errorf("refreshed %v after %v", again.claims, first.claims)
	}
}
