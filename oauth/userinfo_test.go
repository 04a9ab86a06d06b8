package oauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// userinfo asks with the token in the header.
func (f *fixture) userinfo(tenant, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return f.serve(tenant, r)
}

// wantBearerError fails unless the answer is this error of RFC 6750.
func wantBearerError(t *testing.T, w *httptest.ResponseRecorder, status int, code, challenge string) {
	t.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	got := w.Header().Get("WWW-Authenticate")
	if w.Code != status || body.Error != code || body.Description == "" || !strings.HasPrefix(got, challenge) ||
		challenge == "Bearer" && got != "Bearer" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %s, WWW-Authenticate %q; want %d %s, %q", w.Code, w.Body, got, status, code, challenge)
	}
}

// tokens logs a user in and redeems the code.
func (b *browser) tokens(userID string, pairs ...string) map[string]any {
	b.f.t.Helper()
	return b.exchange(b.wantCode(b.login(userID, pairs...)), nil)
}

// C4.53, C2.13, C2.14, B05 to B13
func TestUserinfo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user, err := tenancy.Users.Get(f.in("acme"), ada)
	f.must(err)
	updated := float64(user.UpdatedAt.Unix())
	profile := map[string]any{"sub": ada, "name": "Ada of acme", "given_name": "Ada", "nickname": "ada", "updated_at": updated}
	all := map[string]any{"email": "ada@acme.example", "email_verified": true}
	for name, value := range profile {
		all[name] = value
	}
	for _, c := range []struct {
		scope, claims string
		want          map[string]any
	}{
		{"openid", "-", map[string]any{"sub": ada}},
		{"openid profile", "-", profile},
		{"openid email", "-", map[string]any{"sub": ada, "email": "ada@acme.example", "email_verified": true}},
		{"phone address email profile openid", "-", all},
		{"openid", `{"userinfo":{"name":{"essential":true},"nonsense":null,"middle_name":null}}`, map[string]any{"sub": ada, "name": "Ada of acme"}}, // B35
		{"openid", "-", map[string]any{"sub": ada}},                                                                                                  // the newest request counts
	} {
		b := f.browser("acme")
		token := b.tokens(ada, "scope", c.scope, "claims", c.claims)["access_token"].(string)
		form := httptest.NewRequest(http.MethodPost, "/userinfo", strings.NewReader(url.Values{"access_token": {token}}.Encode()))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		header := httptest.NewRequest(http.MethodPost, "/userinfo", nil)
		header.Header.Set("Authorization", "bearer "+token)
		for name, w := range map[string]*httptest.ResponseRecorder{"GET": f.userinfo("acme", token), "POST form": f.serve("acme", form), "POST header": f.serve("acme", header)} {
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, scope %q: got %d %s, want %v", name, c.scope, w.Code, w.Body, c.want)
			}
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: headers %v", name, w.Header())
			}
		}
	}
	empty := f.browser("acme")
	token := empty.tokens(bob)["access_token"].(string)
	if got := f.userinfo("acme", token).Body.String(); strings.Contains(got, `""`) || strings.Contains(got, "null") || strings.Contains(got, "nickname") {
		t.Errorf("C2.14: missing values in %s", got)
	}
}

// C4.54, C3.31, C9.4, C9.50, C9.51
func TestUserinfoRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	tokens := b.tokens(ada, "audience", orders)
	token := tokens["access_token"].(string)
	if w := f.userinfo("acme", token); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	const invalid = `Bearer error="invalid_token"`
	wantBearerError(t, f.serve("acme", httptest.NewRequest(http.MethodGet, "/userinfo", nil)), http.StatusUnauthorized, "invalid_token", "Bearer")
	wantBearerError(t, f.serve("acme", httptest.NewRequest(http.MethodGet, "/userinfo?access_token="+token, nil)), http.StatusUnauthorized, "invalid_token", "Bearer")
	wantBearerError(t, f.userinfo("acme", "garbage"), http.StatusUnauthorized, "invalid_token", invalid)
	wantBearerError(t, f.userinfo("acme", tokens["id_token"].(string)), http.StatusUnauthorized, "invalid_token", invalid)
	wantBearerError(t, f.userinfo("widgets", token), http.StatusUnauthorized, "invalid_token", invalid)
	wantBearerError(t, f.userinfo("control_plane", token), http.StatusUnauthorized, "invalid_token", invalid)

	r := httptest.NewRequest(http.MethodPost, "/userinfo", strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+token)
	wantBearerError(t, f.serve("acme", r), http.StatusBadRequest, "invalid_request", `Bearer error="invalid_request"`)

	plain := f.browser("acme").tokens(ada, "scope", "read:orders", "audience", orders, "organization", "org_1")["access_token"].(string)
	wantBearerError(t, f.userinfo("acme", plain), http.StatusForbidden, "insufficient_scope", `Bearer error="insufficient_scope"`)
	machine := url.Values{"grant_type": {"client_credentials"}, "client_id": {m2mID}, "client_secret": {m2mSecret}, "audience": {orders}}
	r = httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(machine.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token string `json:"access_token"`
	}
	f.must(json.Unmarshal(f.serve("acme", r).Body.Bytes(), &answer))
	wantBearerError(t, f.userinfo("acme", answer.Token), http.StatusForbidden, "insufficient_scope", `Bearer error="insufficient_scope"`)

	for _, c := range []struct {
		name string
		end  func(b *browser)
	}{
		{"logout (C3.31)", func(b *browser) { b.get("/v2/logout") }},
		{"another person's login", func(b *browser) { b.login(bob, "prompt", "login") }},
		{"user blocked", func(*browser) { block(f, nil) }},
		{"user deleted", func(*browser) { f.must(tenancy.Commit(f.in("acme"), tenancy.Users.Remove(f.in("acme"), ada))) }},
	} {
		b := f.browser("acme")
		token := b.tokens(ada)["access_token"].(string)
		c.end(b)
		wantBearerError(t, f.userinfo("acme", token), http.StatusUnauthorized, "invalid_token", invalid)
		_, err := tenancy.Users.Update(f.in("acme"), ada, func(u *tenancy.User) error { u.Blocked = false; return nil })
		if c.name != "user deleted" {
			f.must(err)
		}
	}
	f.clock.advance(25 * time.Hour)
	wantBearerError(t, f.userinfo("acme", token), http.StatusUnauthorized, "invalid_token", invalid)
}
