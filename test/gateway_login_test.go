package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// pageVisits has a visitor's requests look like those of a browser's address bar.
type pageVisits struct{ http.RoundTripper }

func (p pageVisits) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	return p.RoundTripper.RoundTrip(r)
}

func newBrowserOf(t *testing.T) *visitor {
	v := newVisitor(t)
	v.http.Transport = pageVisits{v.http.Transport}
	return v
}

// TestLoginInFrontOfAnApplication: an application that knows nothing of logins is
// behind tenant_auth with login. People log in at their own tenant, the
// application is told who they are and nothing that they can forge, the cookie is
// no use anywhere else, and a logout ends the session at the tenant too.
func TestLoginInFrontOfAnApplication(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"app": true, "uri": r.RequestURI, "cookie": r.Header.Get("Cookie"), "user": r.Header.Values("X-User-Id"), "tenant": r.Header.Values("X-Tenant-Id"),
			"scope": r.Header.Get("X-Scope"), "email": r.Header.Get("X-Email"),
		})
	}))
	defer upstream.Close()
	g, config := withoutAdministrator(t)
	config += fmt.Sprintf(`
https://*.apps.auth.localhost:%d {
	tls internal
	tenant_auth {
		audience https://api.example.com
		scope read:orders
		host_suffix apps.auth.localhost
		forward
		login {
			after_logout /bye
		}
	}
	reverse_proxy %s
}
`, g.port, strings.TrimPrefix(upstream.URL, "http://"))
	p := startProcess(t, g, config)
	cp := p.platform(t)
	host := func(tenant string) string { return fmt.Sprintf("https://%s.apps.auth.localhost:%d", tenant, p.port) }
	users := map[string]string{}
	for _, tenant := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
		a := cp.on(tenant)
		a.create(t, "/resource-servers", map[string]any{"identifier": "https://api.example.com", "name": "API", "signing_alg": "ES256", "scopes": []map[string]string{{"value": "read:orders"}}})
		kind := map[string]string{"acme": "regular_web", "widgets": "spa"}[tenant] // with a secret, and without
		c := a.create(t, "/clients", map[string]any{
			"name": "App", "app_type": kind, "callbacks": []string{host(tenant) + "/.gatehouse/callback"}, "grant_types": []string{"authorization_code"},
		})
		a.enableConnection(t, c["client_id"].(string))
		users[tenant] = a.user(t, userEmail)
	}
	seen := func(pg page) map[string]any {
		t.Helper()
		var m map[string]any
		if pg.status != http.StatusOK || json.Unmarshal([]byte(pg.body), &m) != nil || m["app"] != true {
			t.Fatalf("%s: got %d %.500s, want the application's answer", pg.url, pg.status, pg.body)
		}
		return m
	}
	raw := func(v *visitor, method, link string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		resp, err := v.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}

	v := newBrowserOf(t)
	m := seen(v.login(host("acme")+"/orders?x=%2F1&y=2", userEmail, password))
	if m["uri"] != "/orders?x=%2F1&y=2" || fmt.Sprint(m["user"]) != "["+users["acme"]+"]" || fmt.Sprint(m["tenant"]) != "[acme]" ||
		!strings.Contains(m["scope"].(string), "read:orders") || m["cookie"] != "" {
		t.Errorf("the application saw %v", m)
	}
	u, _ := url.Parse(host("acme"))
	kept := v.http.Jar.Cookies(u)
	if len(kept) != 1 || kept[0].Name != "__Host-gh_app" || strings.Count(kept[0].Value, ".") != 0 {
		t.Errorf("cookies %v, want one that is sealed", kept)
	}
	kept = append(kept, &http.Cookie{Name: "theme", Value: "dark"})
	v.http.Jar.SetCookies(u, kept[1:])
	resp := raw(v, http.MethodGet, host("acme")+"/", "X-User-Id", "auth0|root", "X-Tenant-Id", "widgets")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("spoofed headers: got %d", resp.StatusCode)
	}
	if m := seen(v.open(host("acme") + "/again")); m["cookie"] != "theme=dark" {
		t.Errorf("the application's own cookies: %v", m)
	}

	t.Run("the cookie is no use elsewhere", func(t *testing.T) {
		thief := newBrowserOf(t)
		for _, tenant := range []string{"widgets", "acme"} {
			other, _ := url.Parse(host(tenant))
			name := map[string]string{"widgets": "__Host-gh_app", "acme": "__Host-gh_app_flow_x"}[tenant]
			thief.http.Jar.SetCookies(other, []*http.Cookie{{Name: name, Value: kept[0].Value, Path: "/", Secure: true}})
			if resp := raw(thief, http.MethodGet, host(tenant)+"/"); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), p.issuer(tenant)+"authorize?") {
				t.Errorf("%s as %s: got %d to %s", tenant, name, resp.StatusCode, resp.Header.Get("Location"))
			}
		}
		bearer := raw(newVisitor(t), http.MethodGet, host("acme")+"/", "Authorization", "Bearer "+kept[0].Value)
		if bearer.StatusCode != http.StatusUnauthorized {
			t.Errorf("as a bearer token: got %d", bearer.StatusCode)
		}
	})
	t.Run("attributes, and who is sent to log in", func(t *testing.T) {
		fresh := newBrowserOf(t)
		resp := raw(fresh, http.MethodGet, host("widgets")+"//evil.example.com/")
		flow := resp.Cookies()
		if len(flow) != 1 || !flow[0].Secure || !flow[0].HttpOnly || flow[0].SameSite != http.SameSiteLaxMode || flow[0].Path != "/" || flow[0].Domain != "" ||
			!strings.HasPrefix(flow[0].Name, "__Host-gh_app_flow_") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("cookies %v, headers %v", flow, resp.Header)
		}
		to, _ := url.Parse(resp.Header.Get("Location"))
		if q := to.Query(); q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("redirect_uri") != host("widgets")+"/.gatehouse/callback" || len(q.Get("state")) < 40 {
			t.Errorf("sent to %s", to)
		}
		back := fresh.login(resp.Header.Get("Location"), userEmail, password)
		if m := seen(back); back.url.Host != strings.TrimPrefix(host("widgets"), "https://") || m["uri"] != "/" || fmt.Sprint(m["user"]) != "["+users["widgets"]+"]" {
			t.Errorf("A13: after the login the browser is at %s: %v", back.url, m)
		}
		for name, c := range map[string]struct {
			method string
			header []string
		}{
			"a script":        {http.MethodGet, []string{"Sec-Fetch-Mode", "cors"}},
			"a write":         {http.MethodPost, nil},
			"no good token":   {http.MethodGet, []string{"Authorization", "Bearer x"}},
			"another's token": {http.MethodGet, []string{"Authorization", "Basic eDp5"}},
		} {
			resp := raw(newBrowserOf(t), c.method, host("widgets")+"/", c.header...)
			if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") || len(resp.Cookies()) != 0 {
				t.Errorf("%s: got %d %v", name, resp.StatusCode, resp.Header)
			}
		}
	})
	t.Run("answers that were not asked for", func(t *testing.T) { // A19: login CSRF
		resp := raw(newBrowserOf(t), http.MethodGet, host("acme")+"/")
		to, _ := url.Parse(resp.Header.Get("Location"))
		victim := newBrowserOf(t)
		iss := url.QueryEscape(p.issuer("acme"))
		for _, query := range []string{"", "?code=x&state=y&iss=" + iss, "?code=x&state=" + to.Query().Get("state") + "&iss=" + iss} {
			got := victim.open(host("acme") + "/.gatehouse/callback" + query)
			if got.status != http.StatusForbidden || !strings.Contains(got.body, "<h1>The login was begun in another browser") || len(got.header.Values("Set-Cookie")) != 0 {
				t.Errorf("%q: got %d %.300s", query, got.status, got.body)
			}
		}
		for query, want := range map[string]string{
			"?code=x&state=STATE&iss=" + url.QueryEscape(p.issuer("widgets")):                                             "not of the issuer",
			"?code=x&state=STATE&state=z&iss=" + iss:                                                                      "another browser",
			"?error=access_denied&error_description=" + url.QueryEscape("<script>x</script>") + "&state=STATE&iss=" + iss: "&lt;script&gt;",
		} {
			asked := raw(victim, http.MethodGet, host("acme")+"/")
			to, _ := url.Parse(asked.Header.Get("Location"))
			query = strings.Replace(query, "STATE", to.Query().Get("state"), 1)
			if got := victim.open(host("acme") + "/.gatehouse/callback" + query); got.status != http.StatusForbidden || !strings.Contains(got.body, want) {
				t.Errorf("%q: got %d %.500s", query, got.status, got.body)
			}
		}
	})
	t.Run("logout", func(t *testing.T) {
		if resp := raw(v, http.MethodGet, host("acme")+"/.gatehouse/logout", "Sec-Fetch-Site", "cross-site"); resp.StatusCode != http.StatusForbidden {
			t.Errorf("asked for by another site: got %d", resp.StatusCode)
		}
		seen(v.open(host("acme") + "/still"))
		tossed, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		tossed.SetCookies(u, kept[:1])
		resp := raw(v, http.MethodGet, host("acme")+"/.gatehouse/logout")
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/bye" || len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge >= 0 {
			t.Errorf("got %d %v", resp.StatusCode, resp.Header)
		}
		if got := v.open(host("acme") + "/"); !strings.HasPrefix(got.url.Path, "/u/login") {
			t.Errorf("after the logout: %s %d", got.url, got.status)
		}
		copied := newBrowserOf(t)
		copied.http.Jar = tossed
		if got := copied.open(host("acme") + "/"); !strings.HasPrefix(got.url.Path, "/u/login") {
			t.Errorf("caddy-security #272: a copy of the cookie outlives the logout: %s %d", got.url, got.status)
		}
	})
	t.Run("blocked, suspended, without application", func(t *testing.T) {
		b := newBrowserOf(t)
		seen(b.login(host("acme")+"/", userEmail, password))
		cp.on("acme").call(t, http.MethodPatch, "/users/"+url.PathEscape(users["acme"]), map[string]any{"blocked": true}).want(t, http.StatusOK)
		if got := b.open(host("acme") + "/"); strings.Contains(got.body, `"app"`) {
			t.Errorf("a blocked user is let in: %s", got.body)
		}
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "bare", "friendly_name": "bare"}).want(t, http.StatusCreated)
		if got := newBrowserOf(t).open(host("bare") + "/"); got.status != http.StatusNotFound || !strings.Contains(got.body, host("bare")+"/.gatehouse/callback") {
			t.Errorf("without an application: got %d %.300s", got.status, got.body)
		}
		cp.call(t, http.MethodPost, "/tenants/widgets/suspend", map[string]any{}).want(t, http.StatusOK)
		if got := newBrowserOf(t).open(host("widgets") + "/"); got.status != http.StatusForbidden {
			t.Errorf("suspended: got %d", got.status)
		}
	})
}
