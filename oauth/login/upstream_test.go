package login

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/oauth/upstream"
	"github.com/gatehouse-id/gatehouse/oauth/upstream/upstreamtest"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

const upstreamSecret = "the secret the control plane has at Google"

// withProvider is a house whose tenants have a connection "google" that has nothing
// of its own, and have inherited from the control plane what its has.
func withProvider(t *testing.T) (*house, *upstreamtest.OP) {
	t.Helper()
	h, op := newHouse(t), upstreamtest.Start(t, "client-at-google", upstreamSecret)
	op.Person(map[string]any{"sub": "42", "email": "Ben@Example.com", "email_verified": true, "name": "Ben"})
	h.pages.upstream = &Upstream{Client: upstream.NewClient([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})}
	for id, ctx := range h.inside {
		h.commit(id,
			tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_google"}, Name: "google", Strategy: "google-oauth2"}),
			tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_google")),
			tenancy.Fallbacks.Insert(ctx, &tenancy.Fallback{
				Row: tenancy.Row{ID: "con_cp"}, Covers: "connections.google-oauth2", Options: map[string]any{"issuer": op.Issuer, "client_id": op.ClientID},
				Secrets: map[string]any{"client_secret": upstreamSecret},
			}))
	}
	return h, op
}

// leave goes to the provider and returns the address there.
func (h *house) leave(id string) string {
	h.t.Helper()
	w := h.do(id, call{to: connectPath + "?connection=google"})
	if w.Code != http.StatusFound {
		h.t.Fatalf("answer = %d: %s", w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// back comes back from the provider.
func (h *house) back(id string, answer url.Values) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(id, call{to: callbackPath + "?" + answer.Encode(), noState: true})
}

// SC-096: a login with inherited credentials works, makes an account the first
// time and finds it the second, and each tenant has its own (contract C7.15).
func TestUpstreamLogin(t *testing.T) {
	h, op := withProvider(t)
	for _, id := range []string{"acme", "widgets"} {
		h.begin(id)
		page := h.do(id, call{to: loginPath})
		wantPage(t, page, http.StatusOK, `href="/u/connect?state=`+state+`&amp;connection=google">Continue with Google</a>`)
		wantPage(t, page, http.StatusOK, `name="password"`)
		address := h.leave(id)
		q, _ := url.ParseQuery(address[strings.Index(address, "?")+1:])
		if want := "https://" + id + ".auth.example.com:8443/login/callback"; q.Get("redirect_uri") != want || q.Get("scope") != "openid email profile" || q.Get("nonce") == "" {
			t.Errorf("request: %v", q)
		}
		if strings.Contains(address, state) {
			t.Error("the provider learns the login's own state")
		}
		wantResume(t, h.back(id, op.Authorize(t, address)))
		ls := h.session(id)
		if ls.UserID != "google-oauth2|google|42" || ls.Connection != "google" || ls.AuthenticatedAt != tenancy.At(h.now) || ls.Methods[0].Name != "federated" {
			t.Errorf("login: %+v", ls)
		}
		u, err := tenancy.Users.Get(h.inside[id], ls.UserID)
		if err != nil || u.Email != "ben@example.com" || !u.EmailVerified || u.Name != "Ben" || u.Connection != "google" || u.LoginsCount != 1 {
			t.Errorf("user: %+v, %v", u, err)
		}
		if got := h.kinds(); got != "s ss" {
			t.Errorf("events %q", got)
		}
	}
	op.Person(map[string]any{"sub": "42", "email": "ben@new.example", "email_verified": false})
	wantResume(t, h.back("acme", op.Authorize(t, h.leave("acme"))))
	u, err := tenancy.Users.Get(h.inside["acme"], "google-oauth2|google|42")
	if err != nil || u.Email != "ben@new.example" || u.EmailVerified || u.Name != "Ben" || u.LoginsCount != 2 {
		t.Errorf("second time: %+v, %v", u, err)
	}
	h.commit("acme", tenancy.SQL(h.inside["acme"], `UPDATE users SET blocked = ? WHERE tenant_id = @tenant AND id = ?`, true, u.ID).Once())
	wantPage(t, h.back("acme", op.Authorize(t, h.leave("acme"))), http.StatusForbidden, "blocked")
}

// An account is found by the connection and the subject, never by an address that
// somebody elsewhere can claim.
func TestUpstreamAddressOpensNothing(t *testing.T) {
	h, op := withProvider(t)
	h.begin("acme")
	op.Person(map[string]any{"sub": "7", "email": "ada@example.com", "email_verified": true})
	wantResume(t, h.back("acme", op.Authorize(t, h.leave("acme"))))
	if id := h.session("acme").UserID; id != "google-oauth2|google|7" {
		t.Errorf("logged in as %s", id)
	}
	op.Person(map[string]any{"sub": "8", "email": "ada@example.com", "email_verified": true})
	wantResume(t, h.back("acme", op.Authorize(t, h.leave("acme"))))
	u, err := tenancy.Users.Get(h.inside["acme"], "google-oauth2|google|8")
	if err != nil || u.Email != "" || u.EmailVerified {
		t.Errorf("who took the address over: %+v, %v", u, err)
	}
	if h.session("acme").UserID != u.ID {
		t.Error("not logged in")
	}
}

// A23, CVE-2026-14781: an address is verified by who names it. An ID token that says
// "verified" of no address does not verify that of user info.
func TestUpstreamVerifiedBySource(t *testing.T) {
	h, op := withProvider(t)
	h.begin("acme")
	for subject, said := range map[string]any{"20": false, "21": nil, "22": true} {
		person := map[string]any{"sub": subject, "email": subject + "@example.net"}
		if said != nil {
			person["email_verified"] = said
		}
		op.Person(person)
		op.Alter(func(c jwt.MapClaims) { delete(c, "email"); c["email_verified"] = true })
		wantResume(t, h.back("acme", op.Authorize(t, h.leave("acme"))))
		u, err := tenancy.Users.Get(h.inside["acme"], "google-oauth2|google|"+subject)
		if err != nil || u.Email != subject+"@example.net" || u.EmailVerified != (said == true) {
			t.Errorf("user info says %v: %+v, %v", said, u, err)
		}
	}
}

// SC-097, C9.26: where the tenant's connection names another endpoint, nothing of
// the control plane's is used, nobody is asked, and the login fails closed.
func TestUpstreamSecretStaysHome(t *testing.T) {
	h, op := withProvider(t)
	evil := upstreamtest.Start(t, "client-at-google", upstreamSecret)
	h.begin("acme")
	address := h.leave("acme")
	asked := len(op.Asked())
	for name, options := range map[string]map[string]any{
		"token endpoint": {"token_endpoint": evil.Issuer + "/token"}, "issuer": {"issuer": evil.Issuer},
		"user info": {"userinfo_endpoint": evil.Issuer + "/userinfo"}, "keys": {"jwks_uri": evil.Issuer + "/jwks"}, "discovery": {"discovery_url": evil.Issuer + "/.well-known/openid-configuration"},
	} {
		_, err := tenancy.Connections.Update(h.inside["acme"], "con_google", func(c *tenancy.Connection) error { c.Options = options; return nil })
		if err != nil {
			t.Fatal(err)
		}
		wantPage(t, h.do("acme", call{to: connectPath + "?connection=google"}), http.StatusBadGateway, "did not work")
		if name == "token endpoint" { // also of a login that began before
			wantPage(t, h.back("acme", op.Authorize(t, address)), http.StatusBadGateway, "did not work")
		}
	}
	if len(evil.Asked()) > 0 || len(op.Asked()) != asked {
		t.Errorf("asked: %v of the tenant's host, %v of the provider", evil.Asked(), op.Asked()[asked:])
	}
	if h.session("acme").UserID != "" {
		t.Error("somebody is logged in")
	}
}

// What somebody comes back with is good once, in the browser and the tenant they
// left from, for a while, and for what the provider has signed (contract C7.19).
func TestUpstreamBinding(t *testing.T) {
	h, op := withProvider(t)
	for _, id := range []string{"acme", "widgets"} {
		h.begin(id)
	}
	fresh := func() url.Values { return op.Authorize(t, h.leave("acme")) }
	answer := fresh()
	wantPage(t, h.do("acme", call{to: callbackPath + "?" + answer.Encode(), noState: true, noCookie: true}), http.StatusBadRequest, "another browser")
	wantPage(t, h.back("widgets", answer), http.StatusBadRequest, "expired")
	wantResume(t, h.back("acme", answer))
	wantPage(t, h.back("acme", answer), http.StatusBadRequest, "expired")

	late := fresh()
	h.now = h.now.Add(away)
	wantPage(t, h.back("acme", late), http.StatusBadRequest, "expired")
	h.now = h.now.Add(-away)

	wantPage(t, h.back("acme", url.Values{"code": {"x"}}), http.StatusBadRequest, "expired")
	wantPage(t, h.back("acme", url.Values{"code": {"x"}, "state": {"x"}}), http.StatusBadRequest, "expired")
	wantPage(t, h.back("acme", url.Values{"code": {"a", "b"}, "state": {"x"}}), http.StatusBadRequest, "could not be read")

	before := h.session("acme").AuthenticatedAt
	h.now = h.now.Add(time.Minute)
	for name, alter := range map[string]func(jwt.MapClaims){
		"nonce":    func(c jwt.MapClaims) { c["nonce"] = "other" },
		"issuer":   func(c jwt.MapClaims) { c["iss"] = "https://evil.test" },
		"audience": func(c jwt.MapClaims) { c["aud"] = "other" },
		"expired":  func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"undated":  func(c jwt.MapClaims) { delete(c, "iat") },
		"to come":  func(c jwt.MapClaims) { c["iat"] = time.Now().Add(time.Hour).Unix() },
		"party":    func(c jwt.MapClaims) { c["azp"] = "other" },
		"nobody":   func(c jwt.MapClaims) { delete(c, "sub") },
		"control":  func(c jwt.MapClaims) { c["sub"] = "4\x002" },
	} {
		op.Alter(alter)
		if w := h.back("acme", fresh()); w.Code != http.StatusBadGateway {
			t.Errorf("%s: answer = %d", name, w.Code)
		}
	}
	op.Alter(nil)
	mixed := fresh()
	mixed.Set("iss", "https://evil.test")
	wantPage(t, h.back("acme", mixed), http.StatusBadGateway, "did not work")
	wrong := fresh()
	wrong.Set("code", "another")
	wantPage(t, h.back("acme", wrong), http.StatusBadGateway, "did not work")
	if h.session("acme").AuthenticatedAt != before {
		t.Error("somebody was logged in")
	}
	for _, e := range h.events {
		if strings.Contains(e.Description, upstreamSecret) {
			t.Errorf("event: %+v", e)
		}
	}
	if strings.Contains(h.log.String(), upstreamSecret) || strings.Contains(h.log.String(), answer.Get("code")) {
		t.Errorf("log: %s", h.log)
	}
}

// C4.31: what the provider says is the application's answer, as plain text.
func TestUpstreamRefusal(t *testing.T) {
	h, op := withProvider(t)
	h.begin("acme")
	answer := op.Authorize(t, h.leave("acme"))
	answer.Del("code")
	answer.Set("error", "access_denied")
	answer.Set("error_description", "No\r\nentry \u202e"+strings.Repeat("x", 300))
	wantResume(t, h.back("acme", answer))
	ls := h.session("acme")
	if !ls.Denied || !strings.HasPrefix(ls.DeniedReason, "Noentry xx") || len(ls.DeniedReason) != 200 {
		t.Errorf("denied: %q", ls.DeniedReason)
	}
}

// Who may use which connection, and who may make an account.
func TestUpstreamRules(t *testing.T) {
	h, op := withProvider(t)
	ctx := h.inside["acme"]
	alter := func(f func(*tenancy.Connection)) {
		t.Helper()
		_, err := tenancy.Connections.Update(ctx, "con_google", func(c *tenancy.Connection) error { f(c); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	h.begin("acme")
	alter(func(c *tenancy.Connection) { c.Options = map[string]any{"disable_signup": true} })
	wantPage(t, h.back("acme", op.Authorize(t, h.leave("acme"))), http.StatusForbidden, "no account")
	wantPage(t, h.do("acme", call{to: connectPath + "?connection=people"}), http.StatusBadRequest, "not available")
	wantPage(t, h.do("acme", call{to: connectPath + "?connection=nobody"}), http.StatusBadRequest, "not available")
	answer := op.Authorize(t, h.leave("acme"))
	h.commit("acme", tenancy.ClientConnections.Remove(ctx, tenancy.Join(clientID, "con_google")))
	wantPage(t, h.back("acme", answer), http.StatusBadRequest, "not available")
	page := h.do("acme", call{to: loginPath})
	if strings.Contains(page.Body.String(), "Continue with") {
		t.Error("a button of a connection that is not enabled")
	}
	// Alone, or asked for, it is where the person goes at once (C4.29).
	h.commit("acme",
		tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_google")),
		tenancy.ClientConnections.Remove(ctx, tenancy.Join(clientID, "con_1")))
	if w := h.do("acme", call{to: loginPath}); w.Code != http.StatusFound || !strings.HasPrefix(w.Header().Get("Location"), connectPath+"?state=") {
		t.Errorf("answer = %d to %s", w.Code, w.Header().Get("Location"))
	}
	wantPage(t, h.do("acme", call{to: loginPath + "?screen=login"}), http.StatusOK, "Continue with Google")
}

// C7.19: with shared_callback, a login with inherited credentials comes back to the
// control plane, which sends it on to its tenant; one with own credentials does not.
func TestSharedCallback(t *testing.T) {
	h, op := withProvider(t)
	h.pages.upstream.Shared = "https://auth.example.com:8443/login/callback"
	h.pages.upstream.IssuerOf = func(id string) string {
		if id != "acme" {
			return ""
		}
		return "https://acme.auth.example.com:8443/"
	}
	h.begin("acme")
	answer := op.Authorize(t, h.leave("acme"))
	if !strings.HasPrefix(answer.Get("state"), "acme.") {
		t.Errorf("state %s", answer.Get("state"))
	}
	h.onControlPlane(func(ctx context.Context) {
		send := func(answer url.Values) *httptest.ResponseRecorder {
			w := newRecorder()
			h.pages.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "https://auth.example.com:8443"+callbackPath+"?"+answer.Encode(), nil))
			return w
		}
		extra := url.Values{"code": answer["code"], "state": answer["state"], "next": {"https://evil.test"}}
		if w := send(extra); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "https://acme.auth.example.com:8443"+callbackPath+"?"+answer.Encode() {
			t.Errorf("answer = %d to %s", w.Code, w.Header().Get("Location"))
		}
		wantPage(t, send(url.Values{"code": {"x"}, "state": {"evil.test.x"}}), http.StatusBadRequest, "expired")
	})
	wantResume(t, h.back("acme", answer))
	_, err := tenancy.Connections.Update(h.inside["acme"], "con_google", func(c *tenancy.Connection) error {
		c.Secrets = map[string]string{"client_secret": "own"}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if own := op.Authorize(t, h.leave("acme")); strings.Contains(own.Get("state"), stateMark) {
		t.Error("a login with the tenant's own secret is shared")
	}
}

// onControlPlane runs f inside a control plane.
func (h *house) onControlPlane(f func(ctx context.Context)) {
	h.t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		h.t.Fatal(err)
	}
	cp := &tenancy.Tenant{
		Row: tenancy.Row{TenantID: "control_plane", ID: "control_plane"}, State: tenancy.StateActive,
		DataKey: ring.NewDataKey("control_plane"), Database: "platform-" + strings.ToLower(h.t.Name()),
	}
	if err := h.pool.Create(h.t.Context(), cp); err != nil {
		h.t.Fatal(err)
	}
	ctx, leave, err := h.pool.Enter(h.t.Context(), cp)
	if err != nil {
		h.t.Fatal(err)
	}
	defer leave()
	f(tenancy.WithVisit(ctx, &tenancy.Visit{Issuer: "https://auth.example.com:8443/", Host: "auth.example.com", RequestID: "req-1"}))
}
