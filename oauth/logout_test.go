package oauth

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// alive fails unless silent authentication works, or does not.
func (b *browser) alive(want bool) {
	b.f.t.Helper()
	probe := b.f.browser(b.tenant).with(b)
	if got := answerOf(b.f.t, probe.silent()).Has("code"); got != want {
		b.f.t.Errorf("the session lives: %v, want %v", got, want)
	}
}

// C3.32, L15
func TestLogout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	cookie := *b.jar["__Host-gh_session"]
	w := b.get("/v2/logout?client_id=spa&returnTo=" + url.QueryEscape(loggedOut) + "&federated")
	if w.Code != http.StatusFound || w.Header().Get("Location") != loggedOut {
		t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
	}
	cleared := w.Result().Cookies()
	if len(cleared) != 1 || cleared[0].Name != "__Host-gh_session" || cleared[0].MaxAge >= 0 || cleared[0].Value != "" || !cleared[0].Secure || cleared[0].Path != "/" {
		t.Errorf("Set-Cookie %v", cleared)
	}
	b.jar["__Host-gh_session"] = &cookie // the browser kept it all the same
	b.alive(false)
	if event := f.events.last("slo"); event == nil || event.UserID != ada || event.ClientID != spaID {
		t.Errorf("event %+v", event)
	}

	b = f.loggedIn("acme", ada)
	w = b.get("/v2/logout")
	if w.Code != http.StatusOK || w.Body.String() != "OK" || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	b.alive(false)
	if w := b.get("/v2/logout"); w.Code != http.StatusOK || w.Body.String() != "OK" {
		t.Errorf("without a session: %d %q", w.Code, w.Body)
	}
}

// C9.37, A13: nothing is logged out and nobody is sent away.
func TestLogoutRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.must(tenancy.SettingsRows.Create(f.in("acme"), &tenancy.SettingsRow{
		Row:    tenancy.Row{ID: tenancy.SettingsOwn},
		Values: map[string]json.RawMessage{"allowed_logout_urls": json.RawMessage(`["https://tenant.example.com/"]`)},
	}))
	b := f.loggedIn("acme", ada)
	for _, c := range []struct{ client, returnTo, text string }{
		{"", loggedOut, "returnTo is not one"}, // the client's, not the tenant's
		{"spa", "https://tenant.example.com/", "returnTo is not one"},
		{"spa", "https://evil.org/", "returnTo is not one"},
		{"spa", loggedOut + "?x=1", "returnTo is not one"},
		{"spa", "//app.example.com/bye", "returnTo is not one"},
		{"spa", `https:\\app.example.com\bye`, "returnTo is not one"},
		{"spa", "https://app.example.com@evil.org/bye", "returnTo is not one"},
		{"spa", "javascript:alert(1)", "returnTo is not one"},
		{"spa", callback, "returnTo is not one"},
		{"nobody", loggedOut, "Unknown client: nobody"},
		{"nobody", "", "Unknown client: nobody"},
	} {
		v := url.Values{}
		for name, value := range map[string]string{"client_id": c.client, "returnTo": c.returnTo} {
			if value != "" {
				v.Set(name, value)
			}
		}
		r := httptest.NewRequest(http.MethodGet, "/v2/logout?"+v.Encode(), nil)
		r.Header.Set("Referer", loggedOut)
		wantPage(t, b.send(r), http.StatusBadRequest, c.text)
	}
	wantPage(t, b.get("/v2/logout?returnTo="+url.QueryEscape("https://tenant.example.com/")+"&returnTo=https://evil.org"), http.StatusBadRequest, "more than once")
	b.alive(true)
	if event := f.events.last("flo"); event == nil {
		t.Error("no event flo")
	}
	if w := b.get("/v2/logout?returnTo=" + url.QueryEscape("https://tenant.example.com/")); w.Header().Get("Location") != "https://tenant.example.com/" {
		t.Errorf("the tenant's own logout URL: %d %s", w.Code, w.Body)
	}
	w := f.loggedIn("widgets", ada)
	wantPage(t, w.get("/v2/logout?returnTo="+url.QueryEscape("https://tenant.example.com/")), http.StatusBadRequest, "returnTo is not one")
}

// oidcLogout asks with the pairs of parameters.
func (b *browser) oidcLogout(pairs ...string) *httptest.ResponseRecorder {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return b.get("/oidc/logout?" + v.Encode())
}

// C3.33, L02, L07, L08, L12
func TestOIDCLogout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	state := strings.Repeat("s", 128)
	for _, c := range []struct {
		name  string
		pairs []string
		want  string // Location; "" is the page
		wait  time.Duration
		post  bool
	}{
		{name: "with state (L02)", pairs: []string{"post_logout_redirect_uri", loggedOut, "state", state, "ui_locales", "se"}, want: loggedOut + "?state=" + state},
		{name: "without state (L08)", pairs: []string{"post_logout_redirect_uri", loggedOut}, want: loggedOut},
		{name: "client named", pairs: []string{"post_logout_redirect_uri", loggedOut, "client_id", spaID}, want: loggedOut},
		{name: "no redirect (L07)"},
		{name: "expired hint (L12)", pairs: []string{"post_logout_redirect_uri", loggedOut}, wait: 24 * time.Hour, want: loggedOut},
		{name: "by POST", pairs: []string{"post_logout_redirect_uri", loggedOut}, post: true, want: loggedOut},
	} {
		b := f.browser("acme")
		pairs := append([]string{"id_token_hint", b.tokens(ada)["id_token"].(string)}, c.pairs...)
		f.clock.advance(c.wait)
		var w *httptest.ResponseRecorder
		status := http.StatusFound
		if c.post {
			v := url.Values{}
			for i := 0; i < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
			w, status = b.post("/oidc/logout", v), http.StatusSeeOther
		} else {
			w = b.oidcLogout(pairs...)
		}
		if c.want == "" {
			wantPage(t, w, http.StatusOK, "You are logged out")
		} else if w.Code != status || w.Header().Get("Location") != c.want {
			t.Errorf("%s: got %d to %q, want %d to %q", c.name, w.Code, w.Header().Get("Location"), status, c.want)
		}
		b.alive(false)
	}
}

// C3.34, C9.37, L03, L04, L05, L10, L11, L13
func TestOIDCLogoutRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	tokens := b.tokens(ada)
	hint := tokens["id_token"].(string)
	foreign := f.browser("widgets").tokens(ada)["id_token"].(string)
	parts := strings.Split(hint, ".")
	none := "eyJhbGciOiJub25lIn0." + parts[1] + "."
	for _, c := range []struct {
		name  string
		pairs []string
		text  string
	}{
		{"unregistered (L03)", []string{"id_token_hint", hint, "post_logout_redirect_uri", "https://evil.org/"}, "Invalid post_logout_redirect_uri"},
		{"query added (L10)", []string{"id_token_hint", hint, "post_logout_redirect_uri", loggedOut + "?foo=bar"}, "Invalid post_logout_redirect_uri"},
		{"no hint, no client (L05)", []string{"post_logout_redirect_uri", loggedOut}, "post_logout_redirect_uri requires id_token_hint or client_id"},
		{"alg none (L04)", []string{"id_token_hint", none, "post_logout_redirect_uri", loggedOut}, "Invalid id_token_hint"},
		{"altered", []string{"id_token_hint", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "post_logout_redirect_uri", loggedOut}, "Invalid id_token_hint"},
		{"another tenant's (L11, L13)", []string{"id_token_hint", foreign, "post_logout_redirect_uri", loggedOut}, "Invalid id_token_hint"},
		{"an access token", []string{"id_token_hint", tokens["access_token"].(string)}, "Invalid id_token_hint"},
		{"another client", []string{"id_token_hint", hint, "client_id", webID}, "client_id does not match id_token_hint"},
		{"unknown client", []string{"client_id", "nobody"}, "Unknown client: nobody"},
		{"client without logout URLs", []string{"client_id", nativeID, "post_logout_redirect_uri", loggedOut}, "Invalid post_logout_redirect_uri"},
	} {
		wantPage(t, b.oidcLogout(c.pairs...), http.StatusBadRequest, c.text)
	}
	wantPage(t, b.get("/oidc/logout?state=a&state=b"), http.StatusBadRequest, "more than once")
	b.alive(true)
}

// C3.33, L06, L09, L14: who is not known to come from the session's own client is
// asked, by a form that only this page can make.
func TestOIDCLogoutConfirmation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ofAda := f.browser("acme").tokens(ada)["id_token"].(string)
	earlier := f.browser("acme").tokens(bob)["id_token"].(string)
	for _, c := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"no parameters (L06)", nil, ""},
		{"only state (L09)", []string{"state", "x"}, ""},
		{"only a client", []string{"client_id", spaID, "post_logout_redirect_uri", loggedOut, "state", `"><script>`}, loggedOut + "?state=%22%3E%3Cscript%3E"},
		{"somebody else's hint (L14)", []string{"id_token_hint", ofAda, "post_logout_redirect_uri", loggedOut}, loggedOut},
		{"hint of another session", []string{"id_token_hint", earlier}, ""},
	} {
		b := f.loggedIn("acme", bob)
		w := b.oidcLogout(c.pairs...)
		wantPage(t, w, http.StatusOK, "Log out?")
		if strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%s: script on the page", c.name)
		}
		if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self'") ||
			c.want != "" && !strings.HasSuffix(policy, "form-action 'self' https://app.example.com") {
			t.Errorf("%s: policy %s", c.name, policy)
		}
		b.alive(true)
		form := formOf(w)
		for _, forged := range []string{"", tenancy.NewToken(), tenancy.HashToken("logout ")} {
			v := url.Values{confirmField: {forged}}
			for name := range form {
				if name != confirmField {
					v.Set(name, form.Get(name))
				}
			}
			wantPage(t, b.post("/oidc/logout", v), http.StatusOK, "Log out?")
		}
		wantPage(t, b.oidcLogout(confirmField, form.Get(confirmField)), http.StatusOK, "Log out?") // a GET confirms nothing
		b.alive(true)
		w = b.post("/oidc/logout", form)
		if c.want == "" {
			wantPage(t, w, http.StatusOK, "You are logged out")
		} else if w.Code != http.StatusSeeOther || w.Header().Get("Location") != c.want {
			t.Errorf("%s: got %d to %q, want %q", c.name, w.Code, w.Header().Get("Location"), c.want)
		}
		b.alive(false)
	}
	// Nobody to ask: nothing to confirm.
	wantPage(t, f.browser("acme").oidcLogout(), http.StatusOK, "You are logged out")
	if w := f.browser("acme").oidcLogout("client_id", spaID, "post_logout_redirect_uri", loggedOut); w.Header().Get("Location") != loggedOut {
		t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
	}
}

// C5.35: a tenant may have nobody asked. What is not registered is refused as ever.
func TestOIDCLogoutWithoutPrompt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "sessions", `{"oidc_logout_prompt_enabled":false}`)
	b := f.loggedIn("acme", bob)
	wantPage(t, b.oidcLogout("client_id", spaID, "post_logout_redirect_uri", "https://evil.org/"), http.StatusBadRequest, "Invalid post_logout_redirect_uri")
	b.alive(true)
	if w := b.oidcLogout("client_id", spaID, "post_logout_redirect_uri", loggedOut); w.Code != http.StatusFound || w.Header().Get("Location") != loggedOut {
		t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
	}
	b.alive(false)
	for _, value := range []string{`{}`, `{"oidc_logout_prompt_enabled":true}`, `{"oidc_logout_prompt_enabled":null}`} {
		f.setting("widgets", "sessions", value)
		b := f.loggedIn("widgets", bob)
		wantPage(t, b.oidcLogout(), http.StatusOK, "Log out?")
		b.alive(true)
	}
}

// formOf is the hidden fields of a page.
func formOf(w *httptest.ResponseRecorder) url.Values {
	v := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(w.Body.String(), -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	return v
}

// C3.36, C2.8, SC-048: a refresh token outlives its session, and what it gives
// afterwards is good: it names no session. While the session lives it is named,
// so that the tokens end with it (C3.31).
func TestRefreshAfterLogout(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, end := range map[string]func(*browser){
		"logout": func(b *browser) { b.get("/v2/logout") },
		"idle": func(b *browser) {
			s := b.session()
			s.IdleExpiresAt = tenancy.At(f.clock.now())
			f.must(tenancy.Commit(f.in("acme"), tenancy.Sessions.Replace(f.in("acme"), s)))
		},
		"revoked": func(b *browser) { f.must(f.server.EndSession(f.in("acme"), b.session().ID, tenancy.SessionRevoked)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
			b := f.browser("acme")
			first := b.tokens(ada, "scope", "openid email offline_access")
			second := f.refresh("acme", first["refresh_token"].(string)).ok()
			sid := b.session().ID
			if access, id := second.claims("access_token"), second.claims("id_token"); access["sid"] != sid || id["sid"] != sid {
				t.Errorf("while the session lives: sid %v and %v, want %s", access["sid"], id["sid"], sid)
			}
			if w := f.userinfo("acme", second.text("access_token")); w.Code != http.StatusOK {
				t.Errorf("while the session lives: userinfo %d %s", w.Code, w.Body)
			}

			end(b)
			for _, token := range []string{first["access_token"].(string), second.text("access_token")} { // C3.31
				wantBearerError(t, f.userinfo("acme", token), http.StatusUnauthorized, "invalid_token", "Bearer error=")
			}
			third := f.refresh("acme", second.text("refresh_token")).ok()
			access, id := third.claims("access_token"), third.claims("id_token")
			if access["sid"] != nil || id["sid"] != nil || id["auth_time"] != payload(t, first["id_token"].(string))["auth_time"] {
				t.Errorf("after it ended: access token %v, ID token %v", access, id)
			}
			if w := f.userinfo("acme", third.text("access_token")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "ada@acme.example") {
				t.Errorf("after it ended: userinfo %d %s", w.Code, w.Body)
			}
			fourth := f.refresh("acme", third.text("refresh_token")).ok() // and so on
			if w := f.userinfo("acme", fourth.text("access_token")); w.Code != http.StatusOK {
				t.Errorf("userinfo %d %s", w.Code, w.Body)
			}
		})
	}
}

// A session of the same id in another tenant keeps nothing alive (C3.24).
func TestRefreshForeignSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.refreshToken("acme", codeFor{})
	f.refreshToken("widgets", codeFor{})
	f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.SessionRevoked))
	if sid := f.refresh("acme", token).ok().claims("access_token")["sid"]; sid != nil {
		t.Errorf("sid %v of the session of widgets", sid)
	}
}
