package oauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C3.23, C3.25, C3.26, C3.29, C9.38
func TestSessionCookie(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	c, s := b.jar["__Host-gh_session"], b.session()
	if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteNoneMode || c.Path != "/" || c.Domain != "" || c.Partitioned || len(c.Value) != 43 {
		t.Errorf("cookie %+v", c)
	}
	if c.MaxAge < 168*3600-5 || c.MaxAge > 168*3600 {
		t.Errorf("Max-Age %d, want the absolute lifetime of 168 h", c.MaxAge)
	}
	if !strings.HasPrefix(s.ID, "ses_") || s.TokenHash != tenancy.HashToken(c.Value) || s.UserID != ada || s.Connection != connectionName ||
		s.Device.InitialIP != "192.0.2.1" || s.Device.LastUserAgent != "test" || len(s.Methods) != 1 || s.Methods[0].Name != "pwd" || !s.Persistent {
		t.Errorf("session %+v", s)
	}
	if body, err := json.Marshal(s); err != nil || strings.Contains(string(body), c.Value) || strings.Contains(string(body), s.TokenHash) {
		t.Errorf("C3.29: %s (%v)", body, err)
	}
	if s.ExpiresAt != s.LastInteractedAt.Add(168*time.Hour) || s.IdleExpiresAt != s.LastInteractedAt.Add(72*time.Hour) {
		t.Errorf("C2.15: session from %d to %d, idle to %d", s.LastInteractedAt, s.ExpiresAt, s.IdleExpiresAt)
	}

	// C3.26: a value the browser offers is never made a session.
	chosen := tenancy.NewToken()
	fixed := f.browser("acme")
	fixed.jar["__Host-gh_session"] = &http.Cookie{Name: "__Host-gh_session", Value: chosen}
	fixed.wantCode(fixed.login(ada))
	if fixed.jar["__Host-gh_session"].Value == chosen {
		t.Error("the browser's value became the session's")
	}
}

// C3.25, C2.15: settings of the tenant
func TestSessionSettings(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	set := func(values map[string]json.RawMessage) {
		f.must(tenancy.SettingsRows.Create(f.in("acme"), &tenancy.SettingsRow{Row: tenancy.Row{ID: tenancy.SettingsOwn}, Values: values}))
	}
	set(map[string]json.RawMessage{
		"session_cookie":             json.RawMessage(`{"mode":"non-persistent"}`),
		"ephemeral_session_lifetime": json.RawMessage(`2`), "idle_ephemeral_session_lifetime": json.RawMessage(`0.5`),
	})
	b := f.loggedIn("acme", ada)
	if c := b.jar["__Host-gh_session"]; c.MaxAge != 0 || !c.Expires.IsZero() {
		t.Errorf("cookie %+v outlives the browser", c)
	}
	s := b.session()
	if s.Persistent || s.ExpiresAt != s.LastInteractedAt.Add(2*time.Hour) || s.IdleExpiresAt != s.LastInteractedAt.Add(30*time.Minute) {
		t.Errorf("session %+v", s)
	}
	w := f.loggedIn("widgets", ada).session()
	if w.ExpiresAt != w.LastInteractedAt.Add(168*time.Hour) {
		t.Error("settings of acme are in effect at widgets")
	}
}

// C3.23: over http on loopback
func TestInsecureCookies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.inside["acme"] = tenancy.WithVisit(f.in("acme"), &tenancy.Visit{Issuer: issuerOf("acme"), Host: "localhost", Insecure: true})
	b := f.loggedIn("acme", ada)
	for _, name := range []string{"gh_session", "gh_flow"} {
		if c := b.jar[name]; c == nil || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("%s: %+v", name, c)
		}
	}
	b.wantCode(b.authorize("prompt", "none"))
}

// C3.28: machine endpoints know no cookies.
func TestNoCookiesElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	for _, path := range []string{"/userinfo", "/.well-known/openid-configuration"} {
		w := b.send(httptest.NewRequest(http.MethodGet, path, nil))
		if len(w.Header().Values("Set-Cookie")) != 0 || path == "/userinfo" && w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
	}
}

// C3.36: refresh tokens go on, except those of clients that want otherwise.
func TestEndSessionAndRefreshTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.RevokeRefreshOnLogout = true })
	b := f.loggedIn("acme", ada)
	b.wantCode(b.authorize("client_id", webID, "prompt", "none"))
	id := b.session().ID
	for _, tenant := range []string{"acme", "widgets"} {
		for _, g := range []tenancy.Grant{{ClientID: spaID, SessionID: id}, {ClientID: webID, SessionID: id}, {ClientID: spaID, SessionID: "ses_other"}} {
			g.Row = tenancy.Row{ID: "rt_" + g.ClientID + g.SessionID}
			g.Kind, g.Hash, g.UserID = tenancy.GrantRefresh, g.ID, ada
			f.must(tenancy.Grants.Create(f.in(tenant), &g))
		}
	}
	f.must(f.server.EndSession(f.in("acme"), id, tenancy.SessionRevoked))
	f.must(f.server.EndSession(f.in("acme"), id, tenancy.SessionRevoked)) // a session that is not there is success
	for tenant, want := range map[string]int64{"acme": 2, "widgets": 3} {
		n, err := tenancy.Grants.Count(f.in(tenant), tenancy.Filter{Where: "kind = ?", Args: []any{tenancy.GrantRefresh}})
		if err != nil || n != want {
			t.Errorf("%s: %d refresh tokens (%v), want %d", tenant, n, err, want)
		}
	}
	if _, err := tenancy.Grants.Get(f.in("acme"), "rt_"+webID+id); err != nil {
		t.Errorf("the other client's refresh token ended: %v", err)
	}

	// A login by somebody else ends the session in the same way.
	b = f.loggedIn("acme", ada)
	g := &tenancy.Grant{Row: tenancy.Row{ID: "rt_x"}, Kind: tenancy.GrantRefresh, Hash: "x", UserID: ada, ClientID: spaID, SessionID: b.session().ID}
	f.must(tenancy.Grants.Create(f.in("acme"), g))
	b.wantCode(b.login(bob, "prompt", "login"))
	if _, err := tenancy.Grants.Get(f.in("acme"), "rt_x"); err != tenancy.ErrNotFound {
		t.Errorf("got %v, want the refresh token gone", err)
	}
}
