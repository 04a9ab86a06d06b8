package test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// serverAttackPlan is the attacks on what stands behind the protocol.
var serverAttackPlan = []module{
	{"A26", "injection-and-cursors", func(t testing.TB, o *provider) {
		for _, evil := range []string{`' OR '1'='1`, `x" OR name:*`, `'; DROP TABLE users; --`, `") OR (1=1`, `\`, `%`, `*:*`} {
			for _, path := range []string{"/users?q=", "/roles?name_filter=", "/clients?q=", "/users/" + url.PathEscape(evil) + "/logs?q=", "/organizations?take=1&from=", "/users-by-email?email="} {
				a := o.api.call(t, http.MethodGet, path+url.QueryEscape(evil), nil)
				if a.status >= 500 || strings.Contains(string(a.body), adminEmail) || strings.Contains(strings.ToLower(string(a.body)), "sql") {
					t.Errorf("%s%s: %d %s", path, evil, a.status, a.body)
				}
			}
		}
		for i := range 3 {
			o.api.create(t, "/organizations", map[string]any{"name": fmt.Sprint("a26-", i)})
		}
		next := o.api.call(t, http.MethodGet, "/organizations?take=1", nil).want(t, http.StatusOK).member(t, "next")
		if next == "" {
			t.Fatal("no cursor")
		}
		o.api.call(t, http.MethodGet, "/organizations?take=1&from="+url.QueryEscape(next), nil).want(t, http.StatusOK)
		other := o.platform(t).on("conform-other")
		for _, from := range []string{flipped(next), next + "x", encoded(`{"id":"' OR 1=1 --"}`)} {
			o.api.call(t, http.MethodGet, "/organizations?take=1&from="+url.QueryEscape(from), nil).want(t, http.StatusBadRequest)
		}
		other.call(t, http.MethodGet, "/organizations?take=1&from="+url.QueryEscape(next), nil).want(t, http.StatusBadRequest)
		o.api.call(t, http.MethodGet, "/connections?take=1&from="+url.QueryEscape(next), nil).want(t, http.StatusBadRequest)
	}},
	{"A27", "enumeration", func(t testing.TB, o *provider) {
		ropc := o.register(t, "ropc", "client_secret_basic", map[string]any{"grant_types": []string{"password"}})
		answers := map[string]string{}
		for who, email := range map[string]string{"known": conformUser, "unknown": "nobody@conform.example.com"} {
			v := newVisitor(t)
			p := v.submit(o.look(v, o.request(o.one)), map[string]string{"username": email, "password": "wrong"})
			a := o.ask(t, ropc, url.Values{"grant_type": {"password"}, "username": {email}, "password": {"wrong"}})
			body := strings.ReplaceAll(html.UnescapeString(p.body), email, "WHO")
			answers[who] = fmt.Sprint(p.status, changing.ReplaceAllString(body, ""), a.status, string(a.body))
		}
		if answers["known"] != answers["unknown"] || !strings.Contains(answers["known"], "invalid_grant") {
			t.Errorf("known:\n%s\nunknown:\n%s", answers["known"], answers["unknown"])
		}
	}},
	{"A28", "brute-force", func(t testing.TB, o *provider) {
		const email = "a28@conform.example.com"
		o.person(t, email)
		foreign := *o
		foreign.tenant, foreign.api = "conform-other", o.platform(t).on("conform-other")
		foreign.one = foreign.clientNamed(t, "Party one", o.one)
		foreign.person(t, email)
		ropc := o.register(t, "guess", "client_secret_basic", map[string]any{"grant_types": []string{"password"}})
		guess := func(word string) answer {
			return o.ask(t, ropc, url.Values{"grant_type": {"password"}, "username": {email}, "password": {word}, "scope": {"openid"}})
		}
		for i := range 5 { // both ways count together
			o.wantRefused(t, guess(fmt.Sprint("wrong", i)), "invalid_grant")
			v := newVisitor(t)
			v.submit(o.look(v, o.request(o.one)), map[string]string{"username": strings.ToUpper(email), "password": "wrong"})
		}
		if a := guess(password); a.status != http.StatusTooManyRequests || a.member(t, "error") != "too_many_attempts" {
			t.Errorf("the right password after ten wrong ones: %d %s", a.status, a.body)
		}
		v := newVisitor(t)
		if p := v.submit(o.look(v, o.request(o.one)), map[string]string{"username": email, "password": password}); p.status == 0 {
			t.Errorf("logged in on the page: %s", p.url)
		}
		foreign.wantCode(t, newVisitor(t).login(foreign.endpoint("authorize?"+foreign.request(foreign.one).Encode()), email, password))
	}},
	{"A32", "caching", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		for _, p := range []page{o.look(v, o.request(o.one)), o.look(v, o.request(o.one, "redirect_uri", "https://evil.example/")), o.logout(v)} {
			if !strings.Contains(p.header.Get("Cache-Control"), "no-store") {
				t.Errorf("%s: %v", p.url.Path, p.header)
			}
		}
		got := o.tokensIn(v, o.one)
		for path, a := range map[string]answer{
			"userinfo":   o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access),
			"introspect": o.asks(t, o.one, "oauth/introspect", url.Values{"token": {got.Access}}),
			"error":      o.ask(t, o.one, url.Values{"grant_type": {"nonsense"}}),
			"management": o.api.call(t, http.MethodGet, "/users", nil),
			"404":        o.get(t, o.tenant, "/nothing"),
		} {
			if a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
		}
		for _, path := range []string{"/authorize?" + o.request(o.one, "prompt", "none").Encode(), "/v2/logout"} {
			if a := o.get(t, o.tenant, path); a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", path, a.status, a.header)
			}
		}
	}},
	{"A33", "lifecycle", func(t testing.TB, o *provider) {
		const email = "a33@conform.example.com"
		user := o.person(t, email)
		p := o.register(t, "lives", "client_secret_basic")
		v := newVisitor(t)
		got := o.redeemed(t, p, o.wantCode(t, v.login(o.endpoint("authorize?"+o.request(p, "scope", "openid offline_access").Encode()), email, password)))
		refresh := func() answer {
			return o.ask(t, p, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh}})
		}
		o.tokensOf(t, p, refresh())
		old := p.secret
		p.secret = o.api.call(t, http.MethodPost, "/clients/"+p.id+"/rotate-secret", map[string]any{}).want(t, http.StatusOK).member(t, "client_secret")
		o.tokensOf(t, p, refresh())
		stale := p
		stale.secret = old
		o.ask(t, stale, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh}}).want(t, http.StatusUnauthorized)
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"blocked": true}).want(t, http.StatusOK)
		if a := refresh(); a.status < 400 || a.status > 403 {
			t.Errorf("blocked: refresh %d %s", a.status, a.body)
		}
		o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access).want(t, http.StatusUnauthorized)
		o.wantSession(v, false)
		o.api.call(t, http.MethodDelete, "/clients/"+p.id, nil).want(t, http.StatusNoContent)
		refresh().want(t, http.StatusUnauthorized)
	}},
	{"A34", "self-escalation", func(t testing.TB, o *provider) {
		a := o.send(t, "dbconnections/signup", url.Values{
			"client_id": {o.one.id}, "connection": {"Username-Password-Authentication"}, "email": {"a34@conform.example.com"}, "password": {password},
			"email_verified": {"true"}, "app_metadata": {`{"admin":true}`}, "roles": {"rol_1"}, "blocked": {"false"}, "user_id": {"auth0|chosen"},
		})
		var list []map[string]any
		o.api.call(t, http.MethodGet, "/users-by-email?email=a34@conform.example.com", nil).want(t, http.StatusOK).json(t, &list)
		for _, u := range list {
			if meta, _ := json.Marshal(u["app_metadata"]); u["email_verified"] == true || u["user_id"] == "auth0|chosen" || strings.Contains(string(meta), "admin") {
				t.Errorf("a user made of themselves %v (%d %s)", u, a.status, a.body)
			}
		}
		if a.status != http.StatusOK || len(list) != 1 {
			t.Errorf("signing up: %d %s, and %d are there", a.status, a.body, len(list))
		}
		got := o.tokensIn(newVisitor(t), o.one, "audience", o.issuer(o.tenant)+"api/v2/", "scope", "openid read:users update:users create:clients")
		caller := api{g: o.gateway, host: o.tenant, token: got.Access}
		for method, path := range map[string]string{http.MethodGet: "/users", http.MethodPatch: "/users/" + url.PathEscape(o.user), http.MethodDelete: "/clients/" + o.one.id} {
			if a := caller.call(t, method, path, map[string]any{"email_verified": true}); a.status != http.StatusForbidden || a.member(t, "errorCode") != "insufficient_scope" {
				t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			}
		}
	}},
	{"A35", "secrets-in-logs", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		verifier, challenge := pkce("A35")
		back := o.callback(t, o.authorize(v, o.request(o.one, "scope", "openid offline_access", "state", longState, "code_challenge", challenge, "code_challenge_method", "S256")))
		got := o.redeemed(t, o.one, back.Get("code"), "code_verifier", verifier)
		o.redeem1(t, o.one, back.Get("code"))
		session := cookie(t, v, &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}, "__Host-gh_session")
		if secret := o.logged(back.Get("code"), verifier, got.Refresh, got.Access, got.ID, session, o.one.secret, o.post.secret); secret != "" {
			t.Errorf("the log holds %q", secret)
		}
		logs := o.api.call(t, http.MethodGet, "/logs?per_page=100", nil).want(t, http.StatusOK)
		clients := api{g: o.gateway, host: "", as: o.tenant, token: o.narrowed(t)}.call(t, http.MethodGet, "/clients?per_page=100", nil).want(t, http.StatusOK)
		for name, secret := range map[string]string{"code": back.Get("code"), "refresh token": got.Refresh, "session": session, "secret": o.one.secret, "verifier": verifier} {
			if strings.Contains(string(logs.body), secret) {
				t.Errorf("the tenant's log holds the %s", name)
			}
			if strings.Contains(string(clients.body), secret) {
				t.Errorf("the list of clients holds the %s, for a caller without read:client_keys", name)
			}
		}
	}},
}
