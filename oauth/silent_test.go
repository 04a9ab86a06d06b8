package oauth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// silent asks for a code without any page, in an iframe as SPAs do.
func (b *browser) silent(pairs ...string) *httptest.ResponseRecorder {
	return b.authorize(append([]string{"prompt", "none", "response_mode", "web_message"}, pairs...)...)
}

// The table of contract 3.1, row by row and in its order.
func TestSilentTable(t *testing.T) {
	t.Parallel()
	notMember := "user " + ada + " is not part of the org_3 organization"
	type want struct{ code, description string }
	loginRequired := want{"login_required", "Login required"}
	for _, c := range []struct {
		row     string
		prepare func(*fixture, *browser)
		pairs   []string
		want    want
		cookie  bool // the browser still has its cookie
		session bool // the session still lives
	}{
		{
			row: "C3.4 before C3.5", prepare: noCookie, pairs: []string{"organization", "org_9"},
			want: want{"invalid_request", "parameter organization is invalid"}, session: true,
		},
		{row: "C3.4 audience", pairs: []string{"audience", "x"}, want: want{"access_denied", "Service not found: x"}, cookie: true, session: true},
		{row: "C3.5 no cookie", prepare: noCookie, want: loginRequired, session: true},
		{
			row: "C3.5 unknown cookie", prepare: func(_ *fixture, b *browser) { b.jar["__Host-gh_session"].Value = tenancy.NewToken() },
			want: loginRequired, session: true,
		},
		{row: "C3.5 the hash is no cookie (C3.23)", prepare: func(_ *fixture, b *browser) {
			c := b.jar["__Host-gh_session"]
			c.Value = tenancy.HashToken(c.Value)
		}, want: loginRequired, session: true},
		{
			row: "C3.5 revoked", prepare: func(f *fixture, b *browser) {
				f.must(f.server.EndSession(f.in("acme"), b.session().ID, tenancy.SessionRevoked))
			},
			want: loginRequired,
		},
		{row: "C3.5 idle too long", prepare: func(f *fixture, _ *browser) { f.clock.advance(72*time.Hour + time.Second) }, want: loginRequired},
		{row: "C3.5 too old", prepare: func(f *fixture, b *browser) {
			for range 3 {
				f.clock.advance(50 * time.Hour)
				b.wantCode(b.silent())
			}
			f.clock.advance(19 * time.Hour)
		}, want: loginRequired},
		{
			row: "C3.5 user deleted", prepare: func(f *fixture, _ *browser) { f.must(tenancy.Users.Delete(f.in("acme"), ada)) },
			want: loginRequired, session: true,
		},
		{
			row: "C3.5 max_age passed", prepare: func(f *fixture, _ *browser) { f.clock.advance(time.Minute) }, pairs: []string{"max_age", "59"},
			want: loginRequired, cookie: true, session: true,
		},
		{row: "C3.5 max_age=0", pairs: []string{"max_age", "0"}, want: loginRequired, cookie: true, session: true},
		{row: "C3.5 sso_disabled", prepare: func(f *fixture, _ *browser) {
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.SSODisabled = true })
		}, want: loginRequired, cookie: true, session: true},
		{row: "C3.5 connection not enabled for the organization (C2.37)", prepare: func(f *fixture, _ *browser) {
			f.must(tenancy.OrganizationConnections.Create(f.in("acme"), &tenancy.OrganizationConnection{
				Row: tenancy.Row{ID: "oc"}, OrgID: "org_1", ConnectionID: "con_2",
			}))
		}, pairs: []string{"organization", "org_1"}, want: loginRequired, cookie: true, session: true},
		{row: "C3.5 connection not enabled for the client", prepare: func(f *fixture, _ *browser) {
			f.must(tenancy.ClientConnections.Delete(f.in("acme"), tenancy.Join(spaID, "con_1")))
		}, want: loginRequired, cookie: true, session: true},
		{
			row: "C3.6 before C3.7", prepare: block, pairs: []string{"claims", `{"id_token":{"sub":{"value":"auth0|bob"}}}`},
			want: loginRequired, cookie: true, session: true,
		},
		{row: "C3.7 before C3.8", prepare: block, pairs: []string{"organization", "org_3"}, want: want{"access_denied", "user is blocked"}},
		{row: "C3.8", pairs: []string{"organization", "org_3"}, want: want{"access_denied", notMember}, cookie: true, session: true},
		{row: "C3.8 by name", pairs: []string{"organization", "Three"}, want: want{"access_denied", notMember}, cookie: true, session: true},
		{row: "C3.9", prepare: func(f *fixture, _ *browser) {
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.OrganizationUsage = "require" })
		}, want: want{"interaction_required", "Organization selection required"}, cookie: true, session: true},
		{row: "C3.9 after C3.5", prepare: func(f *fixture, b *browser) {
			noCookie(f, b)
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.OrganizationUsage = "require" })
		}, want: loginRequired, session: true},
		{row: "C3.10", prepare: func(f *fixture, _ *browser) {
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.IsFirstParty = false })
		}, want: want{"consent_required", "Consent required"}, cookie: true, session: true},
	} {
		t.Run(c.row, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			b := f.loggedIn("acme", ada)
			id := b.session().ID
			if c.prepare != nil {
				c.prepare(f, b)
			}
			b.wantError(b.silent(c.pairs...), c.want.code, c.want.description)
			if _, got := b.jar["__Host-gh_session"]; got != c.cookie {
				t.Errorf("cookie kept: %v, want %v", got, c.cookie)
			}
			session, err := f.server.sessionByID(f.in("acme"), id)
			if err != nil || (session != nil) != c.session {
				t.Errorf("session kept: %v, want %v (%v)", session != nil, c.session, err)
			}
			event := f.events.last("fsa")
			if event == nil || event.Description != c.want.description || event.ClientID != spaID {
				t.Fatalf("event %+v", event)
			}
			var details map[string]string
			if err := json.Unmarshal(event.Details, &details); err != nil || details["error"] != c.want.code {
				t.Errorf("C3.13: event details %s", event.Details)
			}
			// C3.2: nothing was shown, begun or created.
			if n, err := tenancy.LoginSessions.Count(f.in("acme"), tenancy.Filter{Where: "completed_at = 0"}); n != 0 || err != nil {
				t.Errorf("%d logins under way (%v)", n, err)
			}
		})
	}
}

func noCookie(_ *fixture, b *browser) { delete(b.jar, "__Host-gh_session") }

func block(f *fixture, _ *browser) {
	_, err := tenancy.Users.Update(f.in("acme"), ada, func(u *tenancy.User) error { u.Blocked = true; return nil })
	f.must(err)
}

// C3.12, C3.13, C3.19, C3.22
func TestSilentSwitch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	b.wantCode(b.login(ada, "organization", "org_1"))
	before := *b.session()
	for _, c := range []struct{ organization, org, scope string }{
		{"org_1", "org_1", "openid read:orders"},
		{"two", "org_2", "openid write:orders"},
		{"-", "", "openid"}, // C3.13: the session itself has no organization
		{"ONE", "org_1", "openid read:orders"},
	} {
		w := b.silent("organization", c.organization, "audience", orders, "scope", "openid read:orders write:orders")
		if w.Code != http.StatusOK {
			t.Fatalf("got %d", w.Code)
		}
		access := payload(t, b.exchange(b.wantCode(w), nil)["access_token"].(string))
		org, _ := access["org_id"].(string)
		if org != c.org || access["scope"] != c.scope || access["sid"] != before.ID {
			t.Errorf("%s: got organization %q, scope %q, sid %q", c.organization, org, access["scope"], access["sid"])
		}
	}
	if event := f.events.last("ssa"); event == nil || event.UserID != ada || event.OrgID != "org_1" || event.Audience != orders {
		t.Errorf("event %+v", event)
	}
	if n, err := tenancy.LoginSessions.Count(f.in("acme"), tenancy.Filter{Where: "completed_at = 0"}); n != 0 || err != nil {
		t.Errorf("silent requests began %d logins: %v", n, err)
	}

	// C3.12: the idle expiry moves on, the absolute one does not; clients add up.
	f.clock.advance(time.Hour)
	b.wantCode(b.silent("client_id", webID))
	now := *b.session()
	if now.ExpiresAt != before.ExpiresAt || now.IdleExpiresAt < before.IdleExpiresAt.Add(time.Hour) || now.LastInteractedAt < before.LastInteractedAt.Add(time.Hour) ||
		now.AuthenticatedAt != before.AuthenticatedAt || now.TokenHash != before.TokenHash {
		t.Errorf("session went from %+v to %+v", before, now)
	}
	if len(now.Clients) != 2 || now.Clients[0] != spaID || now.Clients[1] != webID {
		t.Errorf("clients %v", now.Clients)
	}
	// One write a minute at most.
	f.clock.advance(30 * time.Second)
	b.wantCode(b.silent())
	if again := b.session(); again.Revision != now.Revision {
		t.Error("the session was written twice within a minute")
	}
	f.clock.advance(31 * time.Second)
	b.wantCode(b.silent())
	if again := b.session(); again.Revision != now.Revision+1 {
		t.Error("the session was not written after a minute")
	}
	// The idle expiry never passes the absolute one.
	f.clock.advance(60 * time.Hour)
	b.wantCode(b.silent())
	f.clock.advance(60 * time.Hour)
	b.wantCode(b.silent())
	if s := b.session(); s.IdleExpiresAt > s.ExpiresAt {
		t.Error("idle expiry after the absolute one")
	}
}

// C9.8, C3.24, A08: a cookie of one tenant is none at another, although sessions,
// users and clients have the same ids there.
func TestCookieOfAnotherTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	acme := f.loggedIn("acme", ada)
	stolen := f.browser("widgets").with(acme)
	stolen.wantError(stolen.silent(), "login_required", "Login required")
	stolen = f.browser("widgets").with(acme)
	if w := stolen.authorize(); w.Header().Get("Location") == "" || answerOf(t, w).Has("code") {
		t.Errorf("got %s", w.Header().Get("Location"))
	}
	acme.wantCode(acme.silent()) // it stays good where it is from

	// Two cookies of the name: somebody tossed one in.
	r := httptest.NewRequest(http.MethodGet, "/authorize?"+request("prompt", "none").Encode(), nil)
	r.AddCookie(&http.Cookie{Name: "__Host-gh_session", Value: tenancy.NewToken()})
	acme.wantError(acme.send(r), "login_required", "Login required")

	// Without the prefix it is not the cookie (C3.23).
	plain := f.browser("acme")
	plain.jar["gh_session"] = &http.Cookie{Name: "gh_session", Value: acme.jar["__Host-gh_session"].Value}
	plain.wantError(plain.silent(), "login_required", "Login required")
}

// Many tabs refresh at once: all get a code, and the session ends up whole.
func TestSilentRace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	f.clock.advance(2 * time.Minute)
	codes := make(chan string)
	clients := []string{spaID, webID}
	for i := range 8 {
		tab := f.browser("acme").with(b)
		go func() {
			codes <- answerOf(t, tab.silent("client_id", clients[i%2])).Get("code")
		}()
	}
	seen := map[string]bool{}
	for range 8 {
		code := <-codes
		if code == "" || seen[code] {
			t.Errorf("code %q", code)
		}
		seen[code] = true
	}
	if s := b.session(); len(s.Clients) != 2 {
		t.Errorf("clients %v", s.Clients)
	}
}
