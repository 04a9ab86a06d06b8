package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// attackPlan is the attacks on the protocol that public advisories tell of, by
// their numbers in our list, against the running gateway.
var attackPlan = []module{
	{"A15", "code", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		code := o.wantCode(t, o.authorize(v, o.request(o.one)))
		for _, wrong := range []string{code[:len(code)-1], code + "A", code + "=", " " + code, flipped(code), strings.ToUpper(code), ""} {
			o.wantRefused(t, o.redeem1(t, o.one, wrong), "invalid_grant", "invalid_request")
		}
		o.wantRefused(t, o.redeem1(t, o.two, code), "invalid_grant")
		o.redeemed(t, o.one, code) // none of that used it up
		code = o.wantCode(t, o.authorize(v, o.request(o.one)))
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {o.one.callback + "?registered=1"}}
		o.wantRefused(t, o.ask(t, o.one, form), "invalid_grant")

		email := "a15@conform.example.com"
		user := o.person(t, email)
		code = o.wantCode(t, newVisitor(t).login(o.endpoint("authorize?"+o.request(o.one).Encode()), email, password))
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"blocked": true}).want(t, http.StatusOK)
		if a := o.redeem1(t, o.one, code); a.status != http.StatusForbidden && a.status != http.StatusBadRequest || a.member(t, "access_token") != "" {
			t.Errorf("after a block: %d %s", a.status, a.body)
		}
	}},
	{"A16", "code-race", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		o.tokensIn(v, o.one)
		for range 10 {
			code := o.wantCode(t, o.authorize(v, o.request(o.one)))
			o.wantOneWinner(t, func() answer { return o.redeem1(t, o.one, code) })
		}
	}},
	{"A17", "refresh-reuse-and-race", func(t testing.TB, o *provider) {
		p := o.register(t, "rotates", "client_secret_basic", map[string]any{"refresh_token": map[string]any{"rotation_type": "rotating", "expiration_type": "expiring"}})
		v := newVisitor(t)
		refresh := func(p relyingParty, token string) answer {
			return o.ask(t, p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
		}
		first := o.tokensIn(v, p, "scope", "openid offline_access")
		o.wantRefused(t, refresh(o.one, first.Refresh), "invalid_grant") // another client
		second := o.tokensOf(t, p, refresh(p, first.Refresh))
		o.wantRefused(t, refresh(p, first.Refresh), "invalid_grant")
		o.wantRefused(t, refresh(p, second.Refresh), "invalid_grant") // the whole family
		o.send(t, "userinfo", nil, "Authorization", "Bearer "+second.Access).want(t, http.StatusUnauthorized)
		for range 5 {
			token := o.tokensIn(v, p, "scope", "openid offline_access").Refresh
			o.wantOneWinner(t, func() answer { return refresh(p, token) })
		}
		email := "a17@conform.example.com"
		user := o.person(t, email)
		code := o.wantCode(t, newVisitor(t).login(o.endpoint("authorize?"+o.request(p, "scope", "openid offline_access").Encode()), email, password))
		token := o.redeemed(t, p, code).Refresh
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"password": password + "?", "connection": "Username-Password-Authentication"}).want(t, http.StatusOK)
		o.wantRefused(t, refresh(p, token), "invalid_grant")
	}},
	{"A18", "mix-up", func(t testing.TB, o *provider) {
		foreign := *o
		foreign.tenant = "conform-other"
		foreign.one = foreign.clientNamed(t, "Party one", o.one)
		back := o.callback(t, o.authorize(newVisitor(t), o.request(o.one)))
		if back.Get("iss") != o.issuer(o.tenant) || back.Get("iss") == foreign.issuer(foreign.tenant) { // RFC 9207
			t.Errorf("iss %q", back.Get("iss"))
		}
		foreign.wantRefused(t, foreign.redeem1(t, foreign.one, back.Get("code")), "invalid_grant")
		if a := foreign.redeem1(t, o.one, back.Get("code")); a.status != http.StatusUnauthorized { // C9.6
			t.Errorf("a client of another tenant: %d %s", a.status, a.body)
		}
		o.redeemed(t, o.one, back.Get("code"))
	}},
	{"A19", "login-csrf-and-fixation", func(t testing.TB, o *provider) {
		victim, attacker := newVisitor(t), newVisitor(t)
		p := o.look(attacker, o.request(o.one))
		for _, v := range []*visitor{newVisitor(t), victim} { // no cookie, and another browser's
			if v == victim {
				o.look(v, o.request(o.one))
			}
			if got := v.submit(p, map[string]string{"username": conformUser, "password": password}); got.status != http.StatusBadRequest {
				t.Errorf("another browser's login: %s %d", got.url, got.status)
			}
			o.wantSession(v, false)
		}
		// A cookie that was planted is never made a session's.
		planted := strings.Repeat("A", 43)
		u := &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}
		victim.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-gh_session", Value: planted, Path: "/", Secure: true}})
		o.tokensIn(victim, o.one)
		before := cookie(t, victim, u, "__Host-gh_session")
		if before == planted {
			t.Error("the planted value is the session's")
		}
		waitUntilAfter(t, float64(time.Now().Unix()))
		again := o.look(victim, o.request(o.one, "prompt", "login"))
		o.wantCode(t, victim.submit(again, map[string]string{"username": conformUser, "password": password}))
		if after := cookie(t, victim, u, "__Host-gh_session"); after == before { // C3.26
			t.Error("the value stays over a login")
		}
	}},
	{"A20", "clickjacking-and-messages", func(t testing.TB, o *provider) {
		p := o.look(newVisitor(t), o.request(o.one))
		if p.header.Get("X-Frame-Options") != "DENY" || !strings.Contains(p.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("the login page may be framed: %v", p.header)
		}
		v := newVisitor(t)
		o.tokensIn(v, o.one)
		_, challenge := pkce("A20")
		p = o.look(v, o.request(o.one, "response_mode", "web_message", "prompt", "none", "code_challenge", challenge, "code_challenge_method", "S256"))
		origin := strings.TrimSuffix(o.one.callback, "/cb")
		if !strings.Contains(p.body, `"`+origin+`"`) || strings.Contains(p.body, `"*"`) || !strings.Contains(p.header.Get("Content-Security-Policy"), "frame-ancestors "+origin) {
			t.Errorf("posted to somebody else: %v %s", p.header, p.body)
		}
		bad := o.look(v, o.request(o.one, "response_mode", "web_message", "redirect_uri", "https://evil.example/cb"))
		wantErrorPage(t, bad, "redirect_uri")
		if strings.Contains(bad.body, "postMessage") {
			t.Error("a message to nobody's origin")
		}
	}},
	{"A21", "client-assertions", func(t testing.TB, o *provider) {
		p, mallory := o.register(t, "asserts", "client_secret_basic"), o.register(t, "mallory", "client_secret_basic")
		o.api.call(t, http.MethodPatch, "/clients/"+p.id, map[string]any{"token_endpoint_auth_method": "private_key_jwt"}).want(t, http.StatusOK)
		o.api.call(t, http.MethodPost, "/clients/"+p.id+"/credentials", map[string]any{"credential_type": "public_key", "alg": "RS256", "pem": publicPEM(t)}).want(t, http.StatusCreated)
		try := func(method jwt.SigningMethod, key any, alter func(jwt.MapClaims, map[string]any)) int {
			now := time.Now()
			token := jwt.NewWithClaims(method, jwt.MapClaims{
				"iss": p.id, "sub": p.id, "aud": o.issuer(o.tenant), "jti": fmt.Sprint(now.UnixNano()), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
			})
			alter(token.Claims.(jwt.MapClaims), token.Header)
			signed, err := token.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			return o.send(t, "oauth/token", url.Values{
				"grant_type": {"refresh_token"}, "refresh_token": {"x"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {signed},
			}).status
		}
		set := func(name string, value any) func(jwt.MapClaims, map[string]any) {
			return func(c jwt.MapClaims, _ map[string]any) { c[name] = value }
		}
		rs, key := jwt.SigningMethodRS256, foreignKey.key
		if got := try(rs, key, set("x", 1)); got != http.StatusBadRequest { // the client is known; the refresh token is not
			t.Fatalf("a good assertion: %d", got)
		}
		for name, got := range map[string]int{
			"alg none":       try(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, set("x", 1)),
			"HS256":          try(jwt.SigningMethodHS256, []byte(publicPEM(t)), set("x", 1)),
			"other audience": try(rs, key, set("aud", o.issuer("conform-other"))),
			"far exp":        try(rs, key, set("exp", time.Now().Add(24*time.Hour).Unix())),
			"expired":        try(rs, key, set("exp", time.Now().Add(-time.Hour).Unix())),
			"other iss":      try(rs, key, set("iss", mallory.id)),
			"another client": try(rs, key, func(c jwt.MapClaims, _ map[string]any) { c["iss"], c["sub"] = mallory.id, mallory.id }),
			"no jti":         try(rs, key, func(c jwt.MapClaims, _ map[string]any) { delete(c, "jti") }),
			"embedded jwk":   try(rs, key, func(_ jwt.MapClaims, h map[string]any) { h["jwk"] = map[string]string{"kty": "RSA"} }),
		} {
			if got != http.StatusUnauthorized && got != http.StatusBadRequest || name != "no jti" && got == http.StatusBadRequest {
				t.Errorf("%s: %d", name, got)
			}
		}
	}},
	{"A22", "jwt-confusion", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		got := o.tokensIn(v, o.one)
		for name, token := range confused(t, o, got) {
			for where, status := range map[string]int{
				"userinfo":       o.send(t, "userinfo", nil, "Authorization", "Bearer "+token).status,
				"management":     api{g: o.gateway, host: o.tenant, token: token}.call(t, http.MethodGet, "/users", nil).status,
				"id_token_hint":  o.look(v, o.request(o.one, "prompt", "none", "id_token_hint", token)).status,
				"logout hint":    o.send(t, "oidc/logout", url.Values{"id_token_hint": {token}}).status,
				"introspection":  o.asks(t, o.one, "oauth/introspect", url.Values{"token": {token}}).status,
				"request object": o.look(v, o.request(o.one, "request", token)).status,
			} {
				good := status == http.StatusUnauthorized || status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusRequestHeaderFieldsTooLarge || status == http.StatusRequestURITooLong
				if where == "introspection" {
					good = good || status == http.StatusOK // which says {"active":false}, see below
				}
				if where == "id_token_hint" || where == "request object" {
					good = good || status == 0 // an error for the client
				}
				if !good {
					t.Errorf("%s at %s: %d", name, where, status)
				}
			}
			if a := o.asks(t, o.one, "oauth/introspect", url.Values{"token": {token}}); a.status == http.StatusOK && string(a.body) != `{"active":false}` {
				t.Errorf("%s: introspection says %s", name, a.body)
			}
		}
		o.wantSession(v, true)
	}},
	{"A24", "reflected-text", func(t testing.TB, o *provider) {
		for _, evil := range []string{`<script>alert(1)</script>`, `"onerror="alert(1)`, `javascript:alert(1)`, `</title></script><script>alert(1)</script>`, `{{7*7}}`, "a\r\nSet-Cookie: x=y"} {
			v := newVisitor(t)
			pages := []page{
				o.look(v, o.request(o.one, "login_hint", evil, "ui_locales", evil, "state", evil)),
				o.look(v, o.request(o.one, "client_id", evil)),
				o.look(v, o.request(o.one, "redirect_uri", evil)),
				o.look(v, o.request(o.one, "response_mode", "form_post", "prompt", "none", "state", evil)),
				o.logout(v, "client_id", evil, "state", evil),
				o.logout(v, "id_token_hint", evil),
				v.open(o.endpoint("v2/logout?" + pairsOf("client_id", evil, "returnTo", evil).Encode())),
				v.open(o.endpoint("u/login?" + pairsOf("state", evil, "error", evil, "error_description", evil).Encode())),
				v.open(o.endpoint("activate?" + pairsOf("user_code", evil).Encode())),
			}
			for _, p := range pages {
				if strings.Contains(p.body, "<script>") || strings.Contains(p.body, `"onerror="`) || strings.Contains(p.body, "49</") || p.header.Get("Set-Cookie") == "x=y" {
					t.Errorf("%s with %q: %s", p.url.Path, evil, p.body)
				}
				if policy := p.header.Get("Content-Security-Policy"); p.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
					t.Errorf("%s: %v", p.url.Path, p.header)
				}
			}
			p := o.register(t, "evil", "client_secret_basic", map[string]any{"description": evil})
			if body := o.look(v, o.request(p)).body; strings.Contains(body, "<script>") {
				t.Errorf("%s", body)
			}
		}
	}},
}

// TestAttacks runs attacks A01 to A35; those on hosts, bodies and limits are where
// these are tested, and A23 in TestUpstreamAttacks.
func TestAttacks(t *testing.T) {
	o := startProvider(t)
	plan(t, o, foreignAttackPlan)
	plan(t, o, memberAttackPlan)
	plan(t, o, addressAttackPlan)
	plan(t, o, redirectAttackPlan)
	plan(t, o, attackPlan)
	plan(t, o, serverAttackPlan)
}
