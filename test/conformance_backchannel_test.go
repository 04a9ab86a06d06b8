package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// backchannelPlan is oidcc-backchannel-rp-initiated-logout-certification-test-plan,
// with what we hold beside it (contract C3.37).
var backchannelPlan = []module{
	{"BC01", "oidcc-backchannel-rp-initiated-logout-discovery", func(t testing.TB, o *provider) {
		d := o.document(t)
		for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported"} {
			if d[name] != true {
				t.Errorf("%s: %v", name, d[name])
			}
		}
		if d["end_session_endpoint"] != o.endpoint("oidc/logout") {
			t.Errorf("end_session_endpoint %v", d["end_session_endpoint"])
		}
	}},
	{"BC02", "oidcc-backchannel-rp-initiated-logout", func(t testing.TB, o *provider) {
		hears := newListener(t, "127.0.0.2")
		p := o.hearing(t, "told", hears.address)
		v := newVisitor(t)
		got := o.tokensIn(v, p)
		o.tokensIn(v, o.one) // another client of the session, which wants to hear nothing
		back := o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", p.loggedOut, "state", longState)
		wantSentTo(t, back, p.loggedOut, url.Values{"state": {longState}})
		o.wantSession(v, false)
		hears.wait(t)
		o.wantLogoutToken(t, p, hears.forms[0], got.claims)
		// What is not allowed for an access token is not for a logout token either (C9.51).
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.endpoint("userinfo"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+hears.forms[0].Get("logout_token"))
		o.do(t, req).want(t, http.StatusUnauthorized)
		wantErrorPage(t, o.logout(v, "id_token_hint", hears.forms[0].Get("logout_token")), "Invalid id_token_hint")
	}},
	{"BC03", "receivers-that-fail", func(t testing.TB, o *provider) {
		hangs, forbidden := newListener(t, "127.0.0.2"), newListener(t, "127.0.0.1")
		hangs.hold = make(chan struct{})
		release := sync.OnceFunc(func() { close(hangs.hold) })
		t.Cleanup(release)
		refuses := newListener(t, "127.0.0.2")
		refuses.refusals = 1
		moved := newListener(t, "127.0.0.2")
		moved.redirect = forbidden.address
		v := newVisitor(t)
		first := o.tokensIn(v, o.hearing(t, "hangs", hangs.address))
		second := o.hearing(t, "refuses", refuses.address)
		o.tokensIn(v, second)
		o.tokensIn(v, o.hearing(t, "inside", forbidden.address))
		o.tokensIn(v, o.hearing(t, "moved", moved.address))
		wantLoggedOut(t, o.logout(v, "id_token_hint", first.ID)) // though one client does not answer
		o.wantSession(v, false)
		hangs.wait(t)
		refuses.wait(t) // refused once, told again
		o.wantLogoutToken(t, second, refuses.forms[1], first.claims)
		if refuses.forms[0].Get("logout_token") == refuses.forms[1].Get("logout_token") {
			t.Error("what is told again looks like a replay")
		}
		release()
		moved.wait(t)
		if n := forbidden.count(); n != 0 { // A25, C9.44: neither directly nor by a redirect
			t.Errorf("an address that is not public was reached %d times", n)
		}
	}},
	{"BC04", "other-ends-of-sessions", func(t testing.TB, o *provider) {
		for name, end := range map[string]func(user, session string){
			"session deleted": func(_, s string) { o.api.call(t, http.MethodDelete, "/sessions/"+s, nil).want(t, http.StatusAccepted) },
			"sessions deleted": func(u, _ string) {
				o.api.call(t, http.MethodDelete, "/users/"+u+"/sessions", nil).want(t, http.StatusAccepted)
			},
			"blocked": func(u, _ string) {
				o.api.call(t, http.MethodPatch, "/users/"+u, map[string]any{"blocked": true}).want(t, http.StatusOK)
			},
			"password changed": func(u, _ string) {
				o.api.call(t, http.MethodPatch, "/users/"+u, map[string]any{"password": password + "!", "connection": "Username-Password-Authentication"}).want(t, http.StatusOK)
			},
			"user deleted": func(u, _ string) { o.api.call(t, http.MethodDelete, "/users/"+u, nil).want(t, http.StatusNoContent) },
		} {
			hears := newListener(t, "127.0.0.2")
			p := o.hearing(t, "end", hears.address)
			email := fmt.Sprintf("end%d@conform.example.com", time.Now().UnixNano())
			user := o.person(t, email)
			code := o.wantCode(t, newVisitor(t).login(o.endpoint("authorize?"+o.request(p).Encode()), email, password))
			got := o.redeemed(t, p, code)
			end(url.PathEscape(user), got.claims["sid"].(string))
			hears.wait(t)
			o.wantLogoutToken(t, p, hears.forms[0], got.claims)
			if t.Failed() {
				t.Fatalf("by %s", name)
			}
		}
	}},
}

// TestBackchannelPlan runs modules BC01 to BC04.
func TestBackchannelPlan(t *testing.T) { plan(t, startProvider(t), backchannelPlan) }

// hearing is a client that wants to be told of logouts.
func (o *provider) hearing(t testing.TB, name, address string) relyingParty {
	return o.register(t, name, "client_secret_basic", map[string]any{
		"oidc_logout": map[string]any{"backchannel_logout_urls": []string{address}},
	})
}

// wantLogoutToken checks what a client was told (OpenID Connect Back-Channel
// Logout 1.0 sections 2.4 and 2.5) against the ID token it has.
func (o *provider) wantLogoutToken(t testing.TB, p relyingParty, form url.Values, id map[string]any) {
	t.Helper()
	raw := form.Get("logout_token")
	if len(form) != 1 || len(form["logout_token"]) != 1 {
		t.Fatalf("the client was sent %v", form)
	}
	if typ := header(t, raw)["typ"]; typ != "logout+jwt" {
		t.Errorf("typ %v", typ)
	}
	op, err := oidc.NewProvider(oidc.ClientContext(t.Context(), o.http), o.issuer(o.tenant))
	if err != nil {
		t.Fatal(err)
	}
	token, err := op.Verifier(&oidc.Config{ClientID: p.id}).Verify(oidc.ClientContext(t.Context(), o.http), raw)
	if err != nil {
		t.Fatalf("logout token: %v", err)
	}
	var m map[string]any
	if err := token.Claims(&m); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(token.IssuedAt); age < -5*time.Minute || age > 24*time.Hour || token.Expiry.Sub(token.IssuedAt) != 2*time.Minute {
		t.Errorf("iat %s, exp %s", token.IssuedAt, token.Expiry)
	}
	if jti, _ := m["jti"].(string); len(jti) < 22 {
		t.Errorf("jti %v", m["jti"])
	}
	if m["sub"] != id["sub"] || m["sid"] != id["sid"] || m["iss"] != id["iss"] {
		t.Errorf("logout token %v for ID token %v", m, id)
	}
	if events := fmt.Sprint(m["events"]); events != "map[http://schemas.openid.net/event/backchannel-logout:map[]]" {
		t.Errorf("events %s", events)
	}
	for name := range m {
		switch name {
		case "iss", "aud", "sub", "sid", "iat", "exp", "jti", "events":
		default:
			t.Errorf("a logout token has %s", name)
		}
	}
}

// listener is a client's end of the back channel.
type listener struct {
	address  string
	hold     chan struct{} // answers wait for it to be closed; nil for none
	refusals int           // how many are refused first
	redirect string        // where the client says the token should go

	told  chan url.Values
	forms []url.Values // those wait was given
	seen  chan struct{}
}

func newListener(t testing.TB, ip string) *listener {
	t.Helper()
	l := &listener{told: make(chan url.Values, 64), seen: make(chan struct{}, 64)}
	socket, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: socket, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(l.hear)}}
	s.Start()
	t.Cleanup(s.Close)
	l.address = s.URL + "/told"
	return l
}

func (l *listener) hear(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
	form, parseErr := url.ParseQuery(string(body))
	if err != nil || parseErr != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		form = url.Values{"wrong": {fmt.Sprint(r.Method, r.URL, r.Header, err, parseErr)}}
	}
	l.seen <- struct{}{}
	l.told <- form
	switch {
	case l.hold != nil:
		<-l.hold
	case l.redirect != "":
		http.Redirect(w, r, l.redirect, http.StatusTemporaryRedirect)
	case len(l.seen) <= l.refusals:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (l *listener) count() int { return len(l.seen) }

// wait waits until the client has been told as often as it should be.
func (l *listener) wait(t testing.TB) {
	t.Helper()
	late := time.After(30 * time.Second)
	for len(l.forms) <= l.refusals {
		select {
		case form := <-l.told:
			l.forms = append(l.forms, form)
		case <-late:
			t.Fatalf("told %d times in 30 s, want %d", len(l.forms), l.refusals+1)
		}
	}
}
