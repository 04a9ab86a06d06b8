package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// memberAttackPlan is the attacks by which somebody becomes who they are not.
var memberAttackPlan = []module{
	{"A08", "cookies", plantedCookies},
	{"A09", "claims-of-an-organization", forgedOrganizations},
	{"A10", "invitations", spentInvitations},
	{"A11", "reserved-claims", reservedClaims},
}

// plantedCookies: the session's cookie has the attributes that keep it at its host,
// and one that another host could have planted is nobody's (C3.23, C9.8, C9.38).
func plantedCookies(t testing.TB, o *provider) {
	v, other := newVisitor(t), newVisitor(t)
	p := o.look(v, o.request(o.one))
	here := &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}
	var set []string
	v.http.Transport = recordingCookies{v.http.Transport, &set}
	o.wantCode(t, v.submit(p, map[string]string{"username": conformUser, "password": password}))
	if len(set) == 0 {
		t.Fatal("no cookie was set")
	}
	for _, line := range set {
		for _, needed := range []string{"__Host-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite="} {
			if !strings.Contains(line, needed) {
				t.Errorf("a cookie without %q: %s", needed, strings.SplitN(line, "=", 2)[0])
			}
		}
		if strings.Contains(line, "Domain=") {
			t.Errorf("a cookie for other hosts: %s", strings.SplitN(line, "=", 2)[0])
		}
	}
	good := cookie(t, v, here, "__Host-gh_session")
	o.tokensIn(other, o.one)
	another := cookie(t, other, here, "__Host-gh_session")
	silent := o.endpoint("authorize?" + o.request(o.one, "prompt", "none").Encode())
	for name, line := range map[string]string{
		"two of one name":        "__Host-gh_session=" + another + "; __Host-gh_session=" + good,
		"two of one name, after": "__Host-gh_session=" + good + "; __Host-gh_session=" + another,
		"the name without host":  "gh_session=" + good,
		"another prefix":         "__Secure-gh_session=" + good,
		"another case":           "__host-gh_session=" + good,
		"quoted":                 `__Host-gh_session=x"` + good,
		"something added":        "__Host-gh_session=" + good + "A",
		"something missing":      "__Host-gh_session=" + good[1:],
		"of a login under way":   "__Host-gh_flow=" + good,
		"the application's":      "__Host-gh_app=" + good,
	} {
		if got := o.sent(t, silent, line).Query(); got.Get("error") != "login_required" {
			t.Errorf("%s: silent authentication says %v", name, got)
		}
	}
	if got := o.sent(t, silent, "theme=dark; __Host-gh_session="+good).Query(); got.Get("code") == "" {
		t.Errorf("the good one: %v", got)
	}
	o.wantSession(v, true)
}

// sent is where a request with these cookies is sent.
func (o *provider) sent(t testing.TB, link, cookies string) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookies)
	a := o.do(t, req)
	u, err := url.Parse(a.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// recordingCookies notes down what is set.
type recordingCookies struct {
	http.RoundTripper
	set *[]string
}

func (r recordingCookies) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err == nil {
		*r.set = append(*r.set, resp.Header.Values("Set-Cookie")...)
	}
	return resp, err
}

// forgedOrganizations: an organization is in tokens of its members only, and only
// as long as they are (C9.18 to C9.24). (Keycloak CVE-2026-9791 and CVE-2026-1529,
// ZITADEL CVE-2024-46999 and CVE-2024-47060.)
func forgedOrganizations(t testing.TB, o *provider) {
	p := o.versed(t, "a09")
	const email = "a09@conform.example.com"
	user := o.person(t, email)
	o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"user_metadata": forgery, "app_metadata": forgery}).want(t, http.StatusOK)
	own, second, strange := o.organization(t, "a09-own", user), o.organization(t, "a09-second", user), o.organization(t, "a09-strange")
	foreign := o.neighbour(t).organization(t, "a09-foreign")
	v := newVisitor(t)
	in := func(organization string, more ...string) string {
		return o.endpoint("authorize?" + o.request(p, append([]string{"organization", organization, "scope", "openid offline_access"}, more...)...).Encode())
	}
	got := o.redeemed(t, p, o.wantCode(t, v.login(in(own, "org_id", strange, "org_name", "a09-strange"), email, password)))
	o.wantOrganization(t, got.Access, own)
	o.wantOrganization(t, got.ID, own)
	for name, c := range map[string]struct{ organization, code string }{
		"not a member":                {strange, "access_denied"},
		"not a member, by name":       {"A09-strange", "access_denied"},
		"of another tenant":           {foreign, "invalid_request"},
		"of another tenant, by name":  {"a09-foreign", "invalid_request"},
		"nobody's":                    {"org_0000000000000000", "invalid_request"},
		"two":                         {own + " " + strange, "invalid_request"},
		"with what SQL makes of more": {own + "' OR '1'='1", "invalid_request"},
	} {
		for _, prompt := range []string{"none", "-"} {
			if back := v.open(in(c.organization, "prompt", prompt)).url.Query(); back.Get("error") != c.code || back.Get("code") != "" {
				t.Errorf("%s, prompt %s: %v, want %s", name, prompt, back, c.code)
			}
		}
	}
	refresh := func(organization string) answer {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh}, "org_id": {strange}}
		if organization != "" {
			form.Set("organization", organization)
		}
		return o.ask(t, p, form)
	}
	for _, wrong := range []string{strange, foreign, "org_0000000000000000"} {
		if a := refresh(wrong); a.status != http.StatusForbidden && a.status != http.StatusBadRequest || a.member(t, "access_token") != "" {
			t.Errorf("a refresh for %s: %s", wrong, said(a))
		}
	}
	o.wantOrganization(t, refresh(second).want(t, http.StatusOK).member(t, "access_token"), second)
	o.wantOrganization(t, refresh("").want(t, http.StatusOK).member(t, "access_token"), own)
	code := o.wantCode(t, v.open(in(own)))
	o.api.call(t, http.MethodDelete, "/organizations/"+own+"/members", map[string]any{"members": []string{user}}).want(t, http.StatusNoContent)
	for name, a := range map[string]answer{"refresh": refresh(""), "code": o.redeem1(t, p, code)} { // C9.24, C2.38
		if a.status != http.StatusForbidden && a.status != http.StatusBadRequest || a.member(t, "access_token") != "" {
			t.Errorf("%s of a former member: %s", name, said(a))
		}
	}
	if back := v.open(in(own, "prompt", "none")).url.Query(); back.Get("error") != "access_denied" {
		t.Errorf("a former member: %v", back)
	}
}

// forgery is what somebody would like to be in a token.
var forgery = map[string]any{
	"iss": "https://evil.example/", "sub": "auth0|root", "aud": "https://evil.example", "azp": "evil", "exp": 4102444800, "org_id": "org_evil", "org_name": "evil",
	"tenant_id": "control_plane", "permissions": []string{"admin:organizations"}, "scope": "admin:organizations", "client_id": "evil", "gty": "client-credentials",
	"https://gatehouse.id/org_id": "org_evil", "roles": []string{"Platform Admin"}, "email_verified": true,
}

func (o *provider) wantOrganization(t testing.TB, token, id string) {
	t.Helper()
	if c := claims(t, token); c["org_id"] != id || c["tenant_id"] != nil && c["tenant_id"] != o.tenant {
		t.Errorf("a token for %v of %v, want organization %s", c["org_id"], c["tenant_id"], id)
	}
}

// spentInvitations: an invitation is good once, for one address, in one
// organization, and not a second longer than it says (C2.55 to C2.59, C9.40;
// authentik CVE-2025-64708).
func spentInvitations(t testing.TB, o *provider) {
	p := o.versed(t, "a10")
	org, second := o.organization(t, "a10"), o.organization(t, "a10-second")
	const invited, mallory = "a10@conform.example.com", "a10-mallory@conform.example.com"
	user := o.person(t, invited)
	const hers = password + " of mallory"
	o.api.create(t, "/users", map[string]any{"connection": "Username-Password-Authentication", "email": mallory, "password": hers, "email_verified": true})
	request := func(ticket, organization string, more ...string) url.Values {
		return o.request(p, append([]string{"invitation", ticket, "organization", organization}, more...)...)
	}
	gone := func(name, ticket, organization string) {
		t.Helper()
		p := o.look(newVisitor(t), request(ticket, organization))
		if p.status == 0 && p.url.Query().Get("error") == "invalid_request" {
			return
		}
		t.Errorf("%s: %d %s", name, p.status, p.url)
	}
	ticket, _ := o.ticket(t, p, org, invited)
	gone("altered", flipped(ticket), org)
	gone("shortened", ticket[:len(ticket)-1], org)
	gone("another organization", ticket, second)
	gone("no organization", ticket, "-")
	v := newVisitor(t) // somebody else's browser: neither a session nor a name that is typed helps
	o.wantCode(t, v.login(o.endpoint("authorize?"+o.request(p).Encode()), mallory, hers))
	if back := v.login(o.endpoint("authorize?"+request(ticket, org).Encode()), mallory, hers); back.url.Query().Get("code") != "" {
		t.Error("somebody else accepted it")
	}
	o.accepts(t, p, request(ticket, org), invited)
	gone("accepted", ticket, org)
	if !o.isMember(t, org, user) || o.isMember(t, second, user) {
		t.Errorf("%s is no member of exactly what the invitation was for", invited)
	}

	withdrawn, id := o.ticket(t, p, second, invited)
	o.api.call(t, http.MethodDelete, "/organizations/"+second+"/invitations/"+id, nil).want(t, http.StatusNoContent)
	gone("withdrawn", withdrawn, second)
	short, _ := o.ticket(t, p, second, invited, "ttl_sec", 1)
	waitUntilAfter(t, float64(time.Now().Unix()+1))
	gone("expired", short, second)
	if secret := o.logged(ticket, withdrawn, short); secret != "" { // A35
		t.Error("the log holds a ticket")
	}
}

// accepts has three browsers of the person accept at once: one of them does.
func (o *provider) accepts(t testing.TB, p relyingParty, q url.Values, email string) {
	t.Helper()
	var browsers [3]*visitor
	var pages, backs [3]page
	for i := range browsers {
		browsers[i] = newVisitor(t)
		if pages[i] = o.look(browsers[i], q); !asked(pages[i]) {
			t.Fatalf("%s: %d %s", pages[i].url, pages[i].status, pages[i].body)
		}
		if referrers := pages[i].header.Get("Referrer-Policy"); strings.Contains(pages[i].url.String(), q.Get("invitation")) || referrers != "same-origin" && referrers != "no-referrer" {
			t.Errorf("others are told where the person came from: %s, %q", pages[i].url, referrers)
		}
	}
	var wg sync.WaitGroup
	for i := range browsers {
		wg.Go(func() {
			backs[i] = browsers[i].submit(pages[i], map[string]string{"username": email, "password": password})
		})
	}
	wg.Wait()
	won := 0
	for _, back := range backs {
		if code := back.url.Query().Get("code"); code != "" {
			won++
			o.wantOrganization(t, o.redeemed(t, p, code).Access, q.Get("organization"))
		}
	}
	if won != 1 {
		t.Errorf("%d of %d acceptances won", won, len(browsers))
	}
}

func (o *provider) isMember(t testing.TB, organization, user string) bool {
	t.Helper()
	return strings.Contains(string(o.api.call(t, http.MethodGet, "/organizations/"+organization+"/members", nil).want(t, http.StatusOK).body), user)
}

// reservedClaims: nothing that a profile, metadata, a client or a request says is
// in a token where the server has a value of its own (C2.9, C9.43; ZITADEL
// CVE-2024-29892).
func reservedClaims(t testing.TB, o *provider) {
	p := o.versed(t, "a11")
	o.api.call(t, http.MethodPatch, "/clients/"+p.id, map[string]any{"client_metadata": map[string]string{"org_id": "org_evil", "tenant_id": "control_plane", "sub": "root"}}).want(t, http.StatusOK)
	const email = "a11@conform.example.com"
	user := o.person(t, email)
	o.api.call(t, http.MethodPatch, "/users/"+url.PathEscape(user), map[string]any{"user_metadata": forgery, "app_metadata": forgery, "name": `x","org_id":"org_evil`}).want(t, http.StatusOK)
	q := o.request(p, "scope", "openid profile email read:all", "audience", sharedAPI, "claims", `{"id_token":{"org_id":{"value":"org_evil"},"sub":{"value":"auth0|root"},"permissions":null},"userinfo":{"tenant_id":{"value":"control_plane"}}}`)
	for name, value := range forgery {
		if q.Get(name) == "" && name != "client_id" {
			q.Set(name, fmt.Sprint(value))
		}
	}
	back := newVisitor(t).login(o.endpoint("authorize?"+q.Encode()), email, password)
	if back.url.Query().Get("error") != "" { // a sub that is somebody else's may be refused at once (OpenID Connect Core 5.5.1)
		q.Set("claims", `{"id_token":{"org_id":{"value":"org_evil"},"permissions":null}}`)
		back = newVisitor(t).login(o.endpoint("authorize?"+q.Encode()), email, password)
	}
	got := o.redeemed(t, p, o.wantCode(t, back))
	info := o.userinfo(t, got)
	machine := claims(t, o.ask(t, p, url.Values{"grant_type": {"client_credentials"}, "audience": {sharedAPI}, "org_id": {"org_evil"}, "sub": {"root"}}).want(t, http.StatusOK).member(t, "access_token"))
	for kind, c := range map[string]map[string]any{"access token": claims(t, got.Access), "ID token": got.claims, "userinfo": info, "machine's token": machine} {
		want := map[string]any{"iss": o.issuer(o.tenant), "sub": user, "tenant_id": o.tenant, "azp": p.id, "client_id": p.id}
		if kind == "machine's token" {
			want["sub"] = p.id + "@clients"
		}
		for name, value := range want {
			if c[name] != nil && c[name] != value {
				t.Errorf("%s: %s is %v, want %v", kind, name, c[name], value)
			}
		}
		for _, name := range []string{"org_id", "org_name", "roles", "https://gatehouse.id/org_id"} {
			if c[name] != nil {
				t.Errorf("%s: %s is %v", kind, name, c[name])
			}
		}
		for _, name := range []string{"permissions", "scope", "aud"} {
			if text := fmt.Sprint(c[name]); strings.Contains(text, "admin:") || strings.Contains(text, "evil") {
				t.Errorf("%s: %s is %s", kind, name, text)
			}
		}
	}
}
