package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// addressAttackPlan is the attacks with addresses that somebody names, and with the
// proof of who asked for a code.
var addressAttackPlan = []module{
	{"A12", "redirect-uris", redirectCorpus},
	{"A14", "pkce-downgrade", pkceDowngrade},
	{"A25", "server-side-requests", serverSideRequests},
}

// disguised are addresses that some parser or browser takes for the registered one,
// or that were let through by somebody once. (Pocket ID CVE-2026-28512, Keycloak
// CVE-2024-8883 and CVE-2024-1132, authentik CVE-2024-52289, fosite CVE-2020-15233
// and CVE-2020-15234, oauth2-proxy CVE-2021-21291.)
func disguised(registered string) (list []string) {
	u, err := url.Parse(registered)
	if err != nil {
		panic(err)
	}
	host, path := u.Host, u.Path
	https := func(authority, rest string) { list = append(list, "https://"+authority+rest) }
	for _, authority := range []string{
		"evil.example", host + ".evil.example", "evil" + host, "evil." + host, host + ".", "." + host, host + ":8443", host + ":443", host + ":", host + ":0443",
		"good@" + host, host + "@evil.example", "evil.example#@" + host, "evil.example?@" + host, `evil.example\@` + host, `evil.example\.` + host, "evil.example%00." + host,
		"evil.example%23@" + host, "evil.example%2f." + host, strings.ToUpper(host), strings.Replace(host, ".", "。", 1), strings.Replace(host, ".", "%2e", 1),
		strings.Replace(host, ".", "x", 1), strings.Replace(host, "e", "е", 1), "xn--" + host, host + "\t", " " + host, host + "\r\n", "[::1]", "127.0.0.1", "2130706433", "localhost.evil.example",
	} {
		https(authority, path)
	}
	for _, rest := range []string{
		"", "/", path + "/", path + "/x", "/x/.." + path, path + "/..", path + "/%2e%2e/", "/%2e" + path, "/" + path, strings.ToUpper(path), "/%63b", path + ";x", path + "%00", path + "%0d%0aX:y",
		path + "\r\nX: y", path + "?", path + "?x=1", path + "?registered=2", path + "?registered=1&x=1", path + "?registered=1#", path + "#", path + "#x", path + `\`, `\` + path, path + " ", path + "\x00", path + "%",
	} {
		https(host, rest)
	}
	return append(
		list, "http://"+host+path, "HTTPS://"+host+path, "https:/"+host+path, "https:"+host+path, "https:///"+host+path, `https:\\`+host+path, "//"+host+path, path, "javascript:alert(1)//"+registered, "data:text/html,x", "java\nscript:alert(1)",
		"com.example.app:/cb", "blob:"+registered, "view-source:"+registered, "file:///etc/passwd", "http://localhost/cb", "http://localhost.evil.example/cb", "http://127.0.0.1@evil.example/cb", " "+registered, registered+",https://evil.example/", "*", "https://*"+path, "",
	)
}

// redirectCorpus: none of it is where a browser is sent, nor where a pushed request
// or a code may be for; the person is told and stays (C4.19, C9.33).
func redirectCorpus(t testing.TB, o *provider) {
	p := o.register(t, "a12", "client_secret_basic")
	app := o.register(t, "a12-native", "none", map[string]any{"app_type": "native", "callbacks": []string{"http://127.0.0.1/cb", "com.example.app:/cb"}})
	wide := o.register(t, "a12-wide", "client_secret_basic", map[string]any{"callbacks": []string{"https://*.a12-wide.rp.example.com/cb"}})
	v := newVisitor(t)
	o.tokensIn(v, o.one) // a session, so that nothing stands between request and answer
	_, challenge := pkce("A12")
	try := func(p relyingParty, uri string) {
		t.Helper()
		q := o.request(p, "redirect_uri", uri, "code_challenge", challenge, "code_challenge_method", "S256")
		if got := o.look(v, q); got.status != http.StatusBadRequest || got.header.Get("Location") != "" || formAction.MatchString(got.body) {
			t.Errorf("%q: %d %s", uri, got.status, got.url)
		}
		if p.secret == "" {
			return
		}
		if a := o.asks(t, p, "oauth/par", q); a.status != http.StatusBadRequest || a.member(t, "request_uri") != "" {
			t.Errorf("%q is pushed: %s", uri, said(a))
		}
	}
	for _, uri := range disguised(p.callback) {
		try(p, uri)
	}
	for _, uri := range disguised("https://one.a12-wide.rp.example.com/cb") {
		if u, err := url.Parse(uri); err == nil && uri == "https://"+u.Host+"/cb" && oneLabel(u.Host, ".a12-wide.rp.example.com") {
			continue // which is what the star stands for
		}
		try(wide, uri)
	}
	for _, uri := range []string{
		"http://localhost/cb", "http://127.0.0.2/cb", "http://127.1/cb", "http://0.0.0.0/cb", "http://[::1]/cb", "http://127.0.0.1.evil.example/cb", "http://127.0.0.1:x/cb", "http://127.0.0.1:80@evil.example/cb",
		"https://127.0.0.1/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:8080/cb/x", "http://127.0.0.1:8080/cb?x", "com.example.app:/cb/x", "com.example.app://cb", "com.example.app2:/cb", "COM.example.app:/cb",
	} {
		try(app, uri)
	}
	o.wantRegistered(v, p, wide, app, challenge)
}

// wantRegistered: what is registered is where a browser is sent.
func (o *provider) wantRegistered(v *visitor, p, wide, app relyingParty, challenge string) {
	t := v.t
	t.Helper()
	for _, good := range []struct {
		party relyingParty
		uri   string
	}{{p, p.callback}, {p, p.callback + "?registered=1"}, {wide, "https://one.a12-wide.rp.example.com/cb"}, {app, "http://127.0.0.1:51515/cb"}, {app, "com.example.app:/cb"}} {
		if got := o.look(v, o.request(good.party, "redirect_uri", good.uri, "code_challenge", challenge, "code_challenge_method", "S256")); got.status != 0 || got.url.Query().Get("code") == "" {
			t.Errorf("%s: %d %s", good.uri, got.status, got.url)
		}
	}
	// Two of the parameter (Keycloak CVE-2026-9689), whichever is the good one.
	for _, two := range [][]string{{p.callback, "https://evil.example/"}, {"https://evil.example/", p.callback}} {
		q := o.request(p)
		q["redirect_uri"] = two
		if got := o.look(v, q); got.url.Host == "evil.example" || got.url.Query().Get("code") != "" {
			t.Errorf("two: %d %s", got.status, got.url)
		}
	}
}

// oneLabel reports whether the host is exactly one plain label below the domain.
func oneLabel(host, domain string) bool {
	label, below := strings.CutSuffix(host, domain)
	return below && label != "" && strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.HasPrefix(label, "-")
}

// pkceDowngrade: who begins with a challenge ends with its verifier, and who has
// none is not let off by leaving it out (C4.22, C4.37, C9.29, C9.30; authentik
// CVE-2024-23647 and CVE-2023-48228).
func pkceDowngrade(t testing.TB, o *provider) {
	public := o.register(t, "a14", "none", map[string]any{"app_type": "spa"})
	verifier, challenge := pkce("A14")
	other, _ := pkce("A14 of somebody else")
	v := newVisitor(t)
	o.tokensIn(v, o.one)
	for name, pairs := range map[string][]string{
		"none":                {},
		"empty":               {"code_challenge", "", "code_challenge_method", "S256"},
		"plain":               {"code_challenge", verifier, "code_challenge_method", "plain"},
		"no method":           {"code_challenge", challenge},
		"another method":      {"code_challenge", challenge, "code_challenge_method", "s256"},
		"method alone":        {"code_challenge_method", "S256"},
		"too short":           {"code_challenge", challenge[:42], "code_challenge_method", "S256"},
		"too long":            {"code_challenge", strings.Repeat("A", 129), "code_challenge_method", "S256"},
		"no base64url":        {"code_challenge", challenge[:42] + "=", "code_challenge_method", "S256"},
		"hidden in a request": {"request", unsigned(`{"code_challenge":"x"}`)},
	} {
		p := o.look(v, o.request(public, pairs...))
		if p.status == 0 && (p.url.Query().Get("code") != "" || p.url.Query().Get("error") == "") {
			t.Errorf("a public client, %s: %s", name, p.url)
		}
	}
	for _, party := range []relyingParty{public, o.one} {
		o.needsVerifier(v, party, verifier, challenge, other)
	}
}

// needsVerifier: a code of the client that was asked for with a challenge is good
// for its verifier alone.
func (o *provider) needsVerifier(v *visitor, party relyingParty, verifier, challenge, other string) {
	t := v.t
	t.Helper()
	with := []string{"code_challenge", challenge, "code_challenge_method", "S256"}
	code := func(pairs ...string) string { return o.wantCode(t, o.look(v, o.request(party, pairs...))) }
	redeem := func(code string, verifiers ...string) answer {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {party.callback}}
		if len(verifiers) > 0 {
			form["code_verifier"] = verifiers
		}
		if party.secret == "" {
			form.Set("client_id", party.id)
			return o.send(t, "oauth/token", form)
		}
		return o.ask(t, party, form)
	}
	for name, c := range map[string]struct {
		verifiers []string
		spent     bool // C4.37: a wrong one uses the code up, one that cannot be any does not
	}{
		"none": {nil, true}, "another": {[]string{other}, true}, "the challenge": {[]string{challenge}, true}, "in upper case": {[]string{strings.ToUpper(verifier)}, true},
		"empty": {[]string{""}, false}, "padded": {[]string{verifier + "="}, false}, "shortened": {[]string{verifier[:42]}, false}, "two": {[]string{verifier, verifier}, false},
	} {
		asked := code(with...)
		o.wantRefused(t, redeem(asked, c.verifiers...), "invalid_grant", "invalid_request")
		if a := redeem(asked, verifier); c.spent && a.status == http.StatusOK {
			t.Errorf("verifier %s: the code lives on", name)
		}
	}
	redeem(code(with...), verifier).want(t, http.StatusOK)
	if party.secret == "" {
		return
	}
	o.wantRefused(t, redeem(code(), verifier), "invalid_grant") // it was begun with none
	stolen := url.Values{"grant_type": {"authorization_code"}, "client_id": {party.id}, "code": {code(with...)}, "redirect_uri": {party.callback}, "code_verifier": {verifier}}
	if a := o.send(t, "oauth/token", stolen); a.status != http.StatusUnauthorized { // C9.30
		t.Errorf("a code with its verifier and without the client's secret: %s", said(a))
	}
}

// serverSideRequests: what the server asks because somebody said so is asked of
// public addresses only, however a private one is written and wherever a public one
// leads (C9.44; ZITADEL CVE-2026-27945, CVE-2025-67494 and CVE-2024-49753, Casdoor
// CVE-2026-5469).
func serverSideRequests(t testing.TB, o *provider) {
	inside := newListener(t, "127.0.0.1")
	_, rest, _ := strings.Cut(strings.TrimPrefix(inside.address, "http://"), ":")
	leads := newListener(t, "127.0.0.2") // which tenants' addresses may name here
	leads.redirect = inside.address
	var addresses []string
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "a25.localhost", "auth.localhost"} {
		addresses = append(addresses, "http://"+host+":"+rest)
	}
	addresses = append(addresses, leads.address, "file:///etc/passwd", "gopher://127.0.0.1:"+rest, "ftp://127.0.0.1/", "unix:///run/x.sock")

	v := newVisitor(t)
	o.tokensIn(v, o.one)
	registered := 0
	for i, address := range addresses {
		// Logout tokens: registering may refuse the address, or the delivery will.
		a := o.api.call(t, http.MethodPost, "/clients", map[string]any{
			"name": fmt.Sprint("A25 ", i), "app_type": "regular_web", "callbacks": []string{o.one.callback}, "oidc_logout": map[string]any{"backchannel_logout_urls": []string{address}},
		})
		if a.status == http.StatusCreated {
			registered++
			p := relyingParty{id: a.member(t, "client_id"), secret: a.member(t, "client_secret"), callback: o.one.callback}
			o.api.enableConnection(t, p.id)
			o.tokensIn(v, p)
		} else if a.status != http.StatusBadRequest {
			t.Errorf("%s: %s", address, said(a))
		}
		o.namesElsewhere(t, i, address)
	}
	o.openRegistration(t, true)
	defer o.openRegistration(t, false)
	for _, name := range []string{"jwks_uri", "sector_identifier_uri", "logo_uri", "initiate_login_uri"} {
		if a := o.metadata(t, http.MethodPost, o.endpoint("oidc/register"), "", map[string]any{name: leads.address}); a.status != http.StatusBadRequest && a.status != http.StatusCreated {
			t.Errorf("%s: %s", name, said(a))
		}
	}
	hears := newListener(t, "127.0.0.2")
	p := o.tokensIn(v, o.hearing(t, "a25", hears.address))
	wantLoggedOut(t, o.logout(v, "id_token_hint", p.ID))
	hears.wait(t) // so others are told, too
	select {
	case <-inside.seen:
		t.Errorf("an address of this machine was asked: %v", <-inside.told)
	case <-time.After(time.Second):
	}
	if registered < 2 {
		t.Errorf("only %d addresses were registered to be told of logouts", registered)
	}
}

// namesElsewhere names the address wherever else the server might ask it.
func (o *provider) namesElsewhere(t testing.TB, i int, address string) {
	t.Helper()
	for _, member := range []string{"issuer", "token_endpoint", "jwks_uri", "discovery_url"} {
		options := map[string]any{"client_id": "x", "client_secret": "y", "issuer": address}
		options[member] = address
		a := o.api.call(t, http.MethodPost, "/connections", map[string]any{"name": fmt.Sprintf("a25-%d-%s", i, strings.ReplaceAll(member, "_", "-")), "strategy": "oidc", "options": options, "enabled_clients": []string{o.one.id}})
		if a.status != http.StatusCreated {
			continue
		}
		got := o.look(newVisitor(t), o.request(o.one, "connection", a.member(t, "name")))
		if got.status == http.StatusOK || got.status == 0 && got.url.Query().Get("error") == "" {
			t.Errorf("%s %s: %d %s", member, address, got.status, got.url)
		}
		if strings.Contains(got.body, "root:") || strings.Contains(got.body, "refused") {
			t.Errorf("%s %s: what was found there is told: %s", member, address, got.body)
		}
		o.api.call(t, http.MethodDelete, "/connections/"+a.member(t, "id"), nil).want(t, http.StatusNoContent)
	}
	if got := o.look(newVisitor(t), pairsOf("client_id", o.one.id, "response_type", "code", "scope", "openid", "redirect_uri", o.one.callback, "request_uri", address)); got.status == http.StatusOK {
		t.Errorf("request_uri %s: %d %s", address, got.status, got.url)
	}
}
