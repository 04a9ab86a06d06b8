package oauth

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C3.27, C4.67, A19: a state is worth nothing without the cookie it was made for.
func TestResumeIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	state := stateOf(t, b.authorize(), "/u/login")
	b.loginPage(state, ada)

	const gone = "expired or was begun in another browser"
	wantPage(t, f.browser("acme").resume(state), http.StatusBadRequest, gone)
	other := f.browser("acme")
	other.authorize()
	wantPage(t, other.resume(state), http.StatusBadRequest, gone)
	wantPage(t, f.browser("widgets").with(b).resume(state), http.StatusBadRequest, gone)
	wantPage(t, b.resume(tenancy.NewToken()), http.StatusBadRequest, gone)
	wantPage(t, b.resume(""), http.StatusBadRequest, gone)
	wantPage(t, b.resume(tenancy.HashToken(state)), http.StatusBadRequest, gone)
	wantPage(t, b.get("/authorize/resume"), http.StatusBadRequest, gone)
	wantPage(t, b.get("/authorize/resume?state="+state+"&state="+state), http.StatusBadRequest, gone)
	if f.events.last("s") != nil || len(other.jar) != 1 || other.session() != nil {
		t.Error("somebody else was logged in")
	}
	b.wantCode(b.resume(state))
}

// C4.67: once, replay 409, expired 400
func TestResumeOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	state := stateOf(t, b.authorize(), "/u/login")
	b.loginPage(state, ada)
	b.wantCode(b.resume(state))
	cookie := b.jar["__Host-gh_session"].Value
	wantPage(t, b.resume(state), http.StatusConflict, "completed before")
	if b.jar["__Host-gh_session"].Value != cookie {
		t.Error("a replay changed the session")
	}
	l, err := tenancy.LoginSessions.Get(f.in("acme"), tenancy.HashToken(state))
	f.must(err)
	if l.CompletedAt == 0 || len(l.Request) != 0 {
		t.Errorf("a completed login keeps %v", l.Request)
	}

	state = stateOf(t, b.authorize("prompt", "login"), "/u/login")
	b.loginPage(state, ada)
	f.clock.advance(time.Hour)
	wantPage(t, b.resume(state), http.StatusBadRequest, "expired")
}

// Sixteen requests complete one login: exactly one code, one session.
func TestResumeRace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	for round := range 4 {
		state := stateOf(t, b.authorize("prompt", "login"), "/u/login")
		b.loginPage(state, ada)
		const racers = 16
		answers := make([]*httptest.ResponseRecorder, racers)
		var wg sync.WaitGroup
		for i := range racers {
			tab := f.browser("acme").with(b)
			wg.Go(func() { answers[i] = tab.resume(state) })
		}
		wg.Wait()
		codes := 0
		for _, w := range answers {
			switch w.Code {
			case http.StatusFound:
				codes++
				b.wantCode(w)
				for _, c := range w.Result().Cookies() {
					b.jar[c.Name] = c
				}
			case http.StatusConflict:
			default:
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		}
		if codes != 1 {
			t.Errorf("round %d: %d codes, want 1", round, codes)
		}
		rows, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{Where: "kind = ?", Args: []any{tenancy.GrantCode}})
		sessions, err2 := tenancy.Sessions.Count(f.in("acme"), tenancy.Filter{})
		if err != nil || err2 != nil || rows != int64(round)+1 || sessions != 1 {
			t.Errorf("round %d: %d codes and %d sessions stored (%v, %v)", round, rows, sessions, err, err2)
		}
	}
}

// C4.31: the person gave up.
func TestResumeDenied(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	state := stateOf(t, b.authorize("response_mode", "web_message"), "/u/login")
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.Denied = true })
	b.wantError(b.resume(state), "access_denied", "The resource owner denied the request")
	wantPage(t, b.resume(state), http.StatusConflict, "completed before")
	if b.session() != nil {
		t.Error("there is a session")
	}
}

// C4.67: all of 4.2 is checked again at completion.
func TestResumeChecksAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, code, description string // no code: a page with the description
		alter                   func(*fixture)
		page                    string // or the browser is sent back there
	}{
		{name: "client deleted", description: "Unknown client", alter: func(f *fixture) {
			f.must(tenancy.Clients.Delete(f.in("acme"), spaID))
		}},
		{name: "callback removed", description: "redirect_uri is not one", alter: func(f *fixture) {
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.Callbacks = []string{"https://new.example.com/"} })
		}},
		{name: "grant type removed", code: "unauthorized_client", description: "Grant type 'authorization_code' not allowed for the client.", alter: func(f *fixture) {
			f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = nil })
		}},
		{name: "audience removed", code: "access_denied", description: "Service not found: " + orders, alter: func(f *fixture) {
			f.must(tenancy.ResourceServers.Delete(f.in("acme"), "rs_orders"))
		}},
		{name: "organization removed", code: "invalid_request", description: "parameter organization is invalid", alter: func(f *fixture) {
			f.must(tenancy.Organizations.Delete(f.in("acme"), "org_1"))
		}},
		{name: "membership ended", code: "access_denied", description: "user " + ada + " is not part of the org_1 organization", alter: func(f *fixture) {
			f.must(tenancy.Members.Delete(f.in("acme"), tenancy.Join("org_1", ada)))
		}},
		{name: "user blocked", code: "access_denied", description: "user is blocked", alter: func(f *fixture) { block(f, nil) }},
		{name: "user deleted", page: "/u/login", alter: func(f *fixture) { f.must(tenancy.Users.Delete(f.in("acme"), ada)) }},
		{name: "connection taken from the client", code: "access_denied", description: "the connection is not enabled for this login", alter: func(f *fixture) {
			f.must(tenancy.ClientConnections.Delete(f.in("acme"), tenancy.Join(spaID, "con_1")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			b := f.browser("acme")
			state := stateOf(t, b.authorize("audience", orders, "organization", "org_1"), "/u/login")
			b.loginPage(state, ada)
			c.alter(f)
			w := b.resume(state)
			switch {
			case c.page != "":
				stateOf(t, w, c.page)
			case c.code == "":
				wantPage(t, w, http.StatusBadRequest, c.description)
			default:
				b.wantError(w, c.code, c.description)
			}
			rows, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{})
			if err != nil || rows != 0 {
				t.Errorf("%d grants (%v)", rows, err)
			}
		})
	}
}

// Several tabs of a browser log in at a time, with one cookie.
func TestResumeTabs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	one := stateOf(t, b.authorize(), "/u/login")
	cookie := b.jar["__Host-gh_flow"].Value
	two := stateOf(t, b.authorize("client_id", webID), "/u/login")
	if one == two || b.jar["__Host-gh_flow"].Value != cookie {
		t.Fatal("the second tab took the first one's place")
	}
	b.loginPage(two, ada)
	b.wantCode(b.resume(two))
	b.loginPage(one, ada)
	b.wantCode(b.resume(one))
	if n, err := tenancy.Sessions.Count(f.in("acme"), tenancy.Filter{}); n != 1 || err != nil {
		t.Errorf("%d sessions (%v), want one of both tabs", n, err)
	}
}

// C0.11, C4.31: a store that cannot be used is a page 503, and grants nothing;
// the login goes on once it can.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	state := stateOf(t, b.authorize("prompt", "login"), "/u/login")
	b.loginPage(state, ada)
	grants, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{})
	f.must(err)
	cookie := b.jar["__Host-gh_session"].Value
	for name, fail := range map[string]interface{ Store(bool) }{"reads": &f.meter.failReads, "writes": &f.meter.failWrites} {
		fail.Store(true)
		for what, w := range map[string]*httptest.ResponseRecorder{
			"silent": b.authorize("prompt", "none"), "open": b.authorize(), "login": b.authorize("prompt", "login"), "resume": b.resume(state),
		} {
			if name == "reads" && what == "login" {
				continue // all it reads is known from memory
			}
			t.Log(name, what)
			wantPage(t, w, http.StatusServiceUnavailable, "temporarily unavailable (request req_1)")
			if w.Header().Get("Retry-After") == "" || len(w.Header().Values("Set-Cookie")) != 0 {
				t.Errorf("headers %v", w.Header())
			}
		}
		wantPage(t, b.get("/v2/logout"), http.StatusServiceUnavailable, "temporarily unavailable")
		fail.Store(false)
	}
	if n, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{}); n != grants || err != nil || b.jar["__Host-gh_session"].Value != cookie {
		t.Errorf("%d grants (%v), want %d", n, err, grants)
	}
	b.alive(true)
	b.wantCode(b.resume(state))
}

// C0.8: a fault tells nobody what it is.
func TestResumeFault(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	state := stateOf(t, b.authorize(), "/u/login")
	b.loginPage(state, ada)
	f.must(tenancy.Commit(f.in("acme"), tenancy.SQL(f.in("acme"), `UPDATE login_sessions SET request = '{' WHERE tenant_id = @tenant`)))
	w := b.resume(state)
	wantPage(t, w, http.StatusInternalServerError, "Internal error (request req_1)")
	if n, err := tenancy.Grants.Count(f.in("acme"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d grants (%v)", n, err)
	}
}
