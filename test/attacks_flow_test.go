package test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// flowAttackPlan is the attacks on cookies, organizations and redirects.
var flowAttackPlan = []module{
	{"A08", "cookies", func(t testing.TB, o *provider) {
		jar := new(setCookies)
		v := newVisitor(t)
		jar.RoundTripper, v.http.Transport = v.http.Transport, jar
		o.tokensIn(v, o.one)
		if len(jar.seen) == 0 {
			t.Fatal("no cookie was set")
		}
		for _, c := range jar.seen {
			if !strings.HasPrefix(c.Name, "__Host-") || c.Domain != "" || c.Path != "/" || !c.Secure || !c.HttpOnly || c.SameSite == http.SameSiteDefaultMode {
				t.Errorf("C3.23: %s", c)
			}
		}
		const name = "__Host-gh_session"
		own := cookie(t, v, &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}, name)
		stranger := newVisitor(t)
		o.tokensIn(stranger, o.one)
		other := cookie(t, stranger, &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}, name)
		for what, c := range map[string]struct{ tenant, header, want string }{
			"one":           {o.tenant, name + "=" + own, "code"},
			"tossed before": {o.tenant, name + "=" + other + "; " + name + "=" + own, "login_required"},
			"tossed after":  {o.tenant, name + "=" + own + "; " + name + "=" + other, "login_required"},
			"altered":       {o.tenant, name + "=" + flipped(own), "login_required"},
			"no prefix":     {o.tenant, "gh_session=" + own, "login_required"},
			"its hash":      {o.tenant, name + "=" + own + own, "login_required"},
			"other tenant":  {"conform-other", name + "=" + own, "login_required"},
		} {
			at := *o
			at.tenant = c.tenant
			at.one = at.clientNamed(t, "Party one", o.one)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.endpoint("authorize?"+at.request(at.one, "prompt", "none").Encode()), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", c.header)
			if to := o.do(t, req).header.Get("Location"); !strings.Contains(to, c.want+"&") && !strings.Contains(to, c.want+"=") {
				t.Errorf("%s: sent to %s, want %s", what, to, c.want)
			}
		}
	}},
	{"A09", "organization-claims", func(t testing.TB, o *provider) {
		const email = "a09@conform.example.com"
		p := o.register(t, "orgs", "client_secret_basic", map[string]any{"organization_usage": "allow"})
		user := o.person(t, email)
		mine, foreign := o.organization(t, "a09-mine", user), o.organization(t, "a09-foreign")
		other := *o
		other.api = o.platform(t).on("conform-other")
		elsewhere := other.organization(t, "a09-mine")
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{
			"user_metadata": map[string]any{"org_id": foreign, "org_name": "a09-foreign"}, "app_metadata": map[string]any{"org_id": foreign},
		}).want(t, http.StatusOK)
		v := newVisitor(t)
		plain := o.redeemed(t, p, o.wantCode(t, v.login(o.endpoint("authorize?"+o.request(p, "scope", "openid offline_access").Encode()), email, password)))
		if plain.claims["org_id"] != nil {
			t.Errorf("an organization that nobody named: %v", plain.claims)
		}
		o.wantError(t, o.look(v, o.request(p, "organization", "a09-foreign")), "access_denied") // CVE-2026-9791
		o.wantError(t, o.look(v, o.request(p, "organization", foreign, "prompt", "none")), "access_denied")
		o.wantError(t, o.look(v, o.request(p, "organization", elsewhere)), "invalid_request")
		bound := func() string {
			return o.wantCode(t, o.look(v, o.request(p, "scope", "openid offline_access", "organization", mine)))
		}
		exchange := func(code, organization string) answer {
			return o.ask(t, p, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.callback}, "organization": {organization}})
		}
		o.wantRefused(t, exchange(bound(), foreign), "invalid_request") // C2.38
		o.wantRefused(t, exchange(o.wantCode(t, o.look(v, o.request(p))), mine), "invalid_request")
		got := o.redeemed(t, p, bound())
		if got.claims["org_id"] != mine || got.claims["org_name"] != "a09-mine" || claims(t, got.Access)["org_id"] != mine {
			t.Errorf("tokens of an organization: %v", got.claims)
		}
		refresh := func(token, organization string) answer {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
			if organization != "" {
				form.Set("organization", organization)
			}
			return o.ask(t, p, form)
		}
		for what, a := range map[string]answer{
			"bound": refresh(got.Refresh, foreign), "not bound": refresh(plain.Refresh, foreign), "another tenant's": refresh(plain.Refresh, elsewhere),
		} {
			if a.status != http.StatusForbidden && a.status != http.StatusBadRequest || a.member(t, "access_token") != "" {
				t.Errorf("refresh to %s: %d %s", what, a.status, a.body)
			}
		}
		o.api.call(t, http.MethodDelete, "/organizations/"+mine+"/members", map[string]any{"members": []string{user}}).want(t, http.StatusNoContent)
		refresh(got.Refresh, "").want(t, http.StatusForbidden)      // C9.24, ZITADEL CVE-2024-46999
		o.wantRefused(t, refresh(got.Refresh, ""), "invalid_grant") // and revoked then (C2.51)
		o.wantError(t, o.look(v, o.request(p, "organization", mine)), "access_denied")
		o.tokensOf(t, p, refresh(plain.Refresh, ""))
	}},
	{"A10", "invitations", func(t testing.TB, o *provider) {
		p := o.register(t, "invites", "client_secret_basic", map[string]any{"organization_usage": "allow", "initiate_login_uri": "https://invites.rp.example.com/login"})
		org, second := o.organization(t, "a10-first"), o.organization(t, "a10-second")
		invite := func(email string) (ticket, id string) {
			m := o.api.create(t, "/organizations/"+org+"/invitations", map[string]any{
				"inviter": map[string]string{"name": "Root"}, "invitee": map[string]string{"email": email}, "client_id": p.id, "send_invitation_email": false,
			})
			u, err := url.Parse(m["invitation_url"].(string))
			if err != nil {
				t.Fatal(err)
			}
			return u.Query().Get("invitation"), m["id"].(string)
		}
		accept := func(v *visitor, email, secret, ticket string) page {
			return v.login(o.endpoint("authorize?"+o.request(p, "invitation", ticket, "organization", org).Encode()), email, secret)
		}
		const email, eve = "a10@conform.example.com", "a10-eve@conform.example.com"
		user := o.person(t, email)
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(o.person(t, eve)), map[string]any{"password": "Eve has another 1", "connection": "Username-Password-Authentication"}).want(t, http.StatusOK)
		ticket, _ := invite(email)
		for what, q := range map[string]url.Values{
			"altered": o.request(p, "invitation", flipped(ticket), "organization", org), "other organization": o.request(p, "invitation", ticket, "organization", second),
			"none named": o.request(p, "invitation", ticket), "its id's place": o.request(p, "invitation", org, "organization", org),
		} {
			if got := o.callback(t, o.look(newVisitor(t), q)); got.Get("error") != "invalid_request" {
				t.Errorf("%s: %v", what, got)
			}
		}
		v := newVisitor(t) // C9.40, CVE-2026-1529: neither with a session nor with credentials of one's own
		o.wantCode(t, v.login(o.endpoint("authorize?"+o.request(p).Encode()), eve, "Eve has another 1"))
		if got := accept(v, eve, "Eve has another 1", ticket); got.status != http.StatusBadRequest || !asked(page{url: got.url, status: http.StatusOK}) {
			t.Errorf("by another: %s %d", got.url, got.status)
		}
		if a := o.api.call(t, http.MethodGet, "/organizations/"+org+"/members", nil).want(t, http.StatusOK); strings.Contains(string(a.body), eve) {
			t.Errorf("a member by another's invitation: %s", a.body)
		}
		v = newVisitor(t)
		if got := o.redeemed(t, p, o.wantCode(t, accept(v, email, password, ticket))); got.claims["org_id"] != org || got.claims["sub"] != user {
			t.Errorf("accepted: %v", got.claims)
		}
		o.wantError(t, o.look(newVisitor(t), o.request(p, "invitation", ticket, "organization", org)), "invalid_request") // once
		gone, id := invite("a10-late@conform.example.com")
		o.api.call(t, http.MethodDelete, "/organizations/"+org+"/invitations/"+id, nil).want(t, http.StatusNoContent)
		o.wantError(t, o.look(newVisitor(t), o.request(p, "invitation", gone, "organization", org)), "invalid_request")
		if secret := o.logged(ticket, gone); secret != "" { // A35
			t.Error("the log holds a ticket")
		}
	}},
	{"A11", "reserved-claims", func(t testing.TB, o *provider) { // C2.9, C9.43; ZITADEL CVE-2024-29892
		const email = "a11@conform.example.com"
		user := o.person(t, email)
		forged := map[string]any{}
		for _, name := range strings.Fields("iss sub aud azp client_id jti iat nbf exp scope permissions org_id org_name tenant_id sid auth_time gty act amr acr nonce at_hash c_hash") {
			forged[name] = "forged"
		}
		o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"user_metadata": forged, "app_metadata": forged, "given_name": "forged?"}).want(t, http.StatusOK)
		got := o.redeemed(t, o.one, o.wantCode(t, newVisitor(t).login(o.endpoint("authorize?"+o.request(o.one, "scope", "openid profile email").Encode()), email, password)))
		var info map[string]any
		o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access).want(t, http.StatusOK).json(t, &info)
		for _, c := range []map[string]any{got.claims, claims(t, got.Access), info} {
			for name, value := range c {
				if value == "forged" {
					t.Errorf("%s is %v", name, value)
				}
			}
			if c["sub"] != user {
				t.Errorf("sub is %v", c["sub"])
			}
		}
	}},
	{"A12", "redirect-uris", func(t testing.TB, o *provider) {
		v := newVisitor(t)
		o.tokensIn(v, o.one) // a session makes it worse
		for _, uri := range twisted(o.one.callback) {
			wantErrorPage(t, o.look(v, o.request(o.one, "redirect_uri", uri)), "redirect_uri")
			if a := o.asks(t, o.one, "oauth/par", o.request(o.one, "redirect_uri", uri)); a.status != http.StatusBadRequest {
				t.Errorf("pushed %q: %d %s", uri, a.status, a.body)
			}
		}
		twice := o.request(o.one)
		twice.Add("redirect_uri", "https://evil.example/cb") // Keycloak CVE-2026-9689
		if p := o.look(v, twice); p.status != http.StatusBadRequest {
			t.Errorf("two: %s %d", p.url, p.status)
		}
	}},
	{"A13", "open-redirects", func(t testing.TB, o *provider) { // caddy-security #268, Casdoor CVE-2026-5467
		for _, uri := range twisted(o.one.loggedOut) {
			v := newVisitor(t)
			got := o.tokensIn(v, o.one)
			for what, p := range map[string]page{
				"returnTo":                 v.open(o.endpoint("v2/logout?" + pairsOf("client_id", o.one.id, "returnTo", uri).Encode())),
				"returnTo of nobody":       v.open(o.endpoint("v2/logout?" + pairsOf("returnTo", uri).Encode())),
				"post_logout_redirect_uri": o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", uri),
			} {
				if p.status != http.StatusBadRequest {
					t.Errorf("%s %q: %s %d", what, uri, p.url, p.status)
				}
			}
			o.wantSession(v, true) // C9.37
		}
		v := newVisitor(t)
		for _, name := range []string{"returnTo", "redirect_url", "redirect_uri", "next", "RelayState", "error_uri", "result_url", "initiate_login_uri"} {
			for _, path := range []string{"u/login?", "oidc/logout?", "v2/logout?", "activate?", "login/callback?"} {
				if p := v.open(o.endpoint(path + pairsOf(name, "https://evil.example/").Encode())); p.status == 0 {
					t.Errorf("%s%s: sent to %s", path, name, p.url)
				}
			}
		}
	}},
	{"A14", "pkce-downgrade", func(t testing.TB, o *provider) { // authentik CVE-2024-23647, CVE-2023-48228
		v := newVisitor(t)
		verifier, challenge := pkce("A14")
		other, _ := pkce("another")
		public := o.register(t, "public", "none", map[string]any{"app_type": "spa"})
		with := []string{"code_challenge", challenge, "code_challenge_method", "S256"}
		exchange := func(p relyingParty, code string, more ...string) answer {
			form := pairsOf(append(more, "grant_type", "authorization_code", "code", code, "redirect_uri", p.callback)...)
			if p.secret == "" || p.id == public.id {
				form.Set("client_id", p.id)
				return o.send(t, "oauth/token", form)
			}
			return o.ask(t, p, form)
		}
		o.tokensIn(v, o.one)
		for _, p := range []relyingParty{o.one, public} {
			for what, more := range map[string][]string{
				"none": nil, "empty": {"code_verifier", ""}, "another's": {"code_verifier", other}, "the challenge": {"code_verifier", challenge}, "cut": {"code_verifier", verifier[:42]},
			} {
				code := o.wantCode(t, o.look(v, o.request(p, with...)))
				if a := exchange(p, code, more...); a.status != http.StatusBadRequest || a.member(t, "error") != "invalid_grant" && a.member(t, "error") != "invalid_request" {
					t.Errorf("verifier %s: %d %s", what, a.status, a.body)
				}
			}
			exchange(p, o.wantCode(t, o.look(v, o.request(p, with...))), "code_verifier", verifier).want(t, http.StatusOK)
			for what, more := range map[string][]string{
				"plain": {"code_challenge", verifier, "code_challenge_method", "plain"}, "no method": {"code_challenge", challenge},
				"method alone": {"code_challenge_method", "S256"}, "short": {"code_challenge", "x", "code_challenge_method", "S256"},
			} {
				if got := o.callback(t, o.look(v, o.request(p, more...))); got.Get("error") != "invalid_request" {
					t.Errorf("%s: %v", what, got)
				}
			}
		}
		o.wantError(t, o.look(v, o.request(public)), "invalid_request") // C9.29
		// RFC 9700 section 2.1.1: a verifier without a challenge is a downgrade.
		if a := exchange(o.one, o.wantCode(t, o.look(v, o.request(o.one))), "code_verifier", verifier); a.status != http.StatusBadRequest {
			t.Errorf("a verifier of a code without challenge: %d %s", a.status, a.body)
		}
	}},
}

// organization makes an organization with members.
func (o *provider) organization(t testing.TB, name string, members ...string) string {
	t.Helper()
	id := o.api.create(t, "/organizations", map[string]any{"name": name})["id"].(string)
	if len(members) > 0 {
		o.api.call(t, http.MethodPost, "/organizations/"+id+"/members", map[string]any{"members": members}).want(t, http.StatusNoContent)
	}
	return id
}

// twisted are addresses that a careless comparison takes for the one of https://.
func twisted(good string) []string {
	rest := strings.TrimPrefix(good, "https://")
	host, path, _ := strings.Cut(rest, "/")
	return []string{
		good + "/", good + "/x", good + "/../x", good + "%2f..%2fx", good + "/%2e%2e/x", "https://" + host + "//" + path, `https://` + host + `\` + path,
		"https://" + host + "/x/../" + path, "https://" + strings.ToUpper(host) + "/" + path, "HTTPS://" + rest, "https://" + host + "./" + path,
		"https://" + host + ":443/" + path, "https://" + host + ":8443/" + path, "https://user@" + rest, "https://" + host + "@evil.example/" + path,
		"https://evil.example#@" + rest, "https://evil.example/?@" + rest, `https://evil.example\@` + rest, good + "?x=1", good + "?", good + "#x", good + "#",
		good + "%00", good + "%0d%0aLocation:%20https://evil.example", good + "\r\nX: y", " " + good, good + " ", "https://" + host + "/" + path[:len(path)-1] + "\u0435",
		"https://" + strings.Replace(host, ".", "\u3002", 1) + "/" + path, "https://xn--" + rest, "http://" + rest, "ftp://" + rest, "//" + rest, "/" + path,
		"https://" + host + ".evil.example/" + path, "https://evil." + rest, "https://evil-" + rest, "https://localhost/" + path, "https://127.0.0.1/" + path,
		"https://[::1]/" + path, "javascript:alert(1)//" + rest, "data:text/html,x", "com.evil.app:/" + path, "https://*." + rest, "https://evil.example/", "*", "null",
	}
}

// setCookies keeps every cookie that a visitor is given, with its attributes.
type setCookies struct {
	http.RoundTripper
	seen []*http.Cookie
}

func (s *setCookies) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		s.seen = append(s.seen, resp.Cookies()...)
	}
	return resp, err
}
