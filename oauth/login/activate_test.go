package login

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const userCode = "BCDF-GHJK"

// device stores a device's request in the tenant, as /oauth/device/code does.
func (h *house) device(tenant, code string) {
	h.t.Helper()
	ctx := h.inside[tenant]
	id, err := tenancy.DeviceID(ctx, code)
	if err != nil {
		h.t.Fatal(err)
	}
	h.commit(tenant, tenancy.Grants.Insert(ctx, &tenancy.Grant{
		Row: tenancy.Row{ID: id}, Kind: tenancy.GrantDevice, Hash: tenancy.HashToken(code), ClientID: clientID, OrgID: "org_1",
		ExpiresAt: tenancy.At(h.now.Add(15 * time.Minute)),
	}))
}

// enter submits a code as the browser does.
func (h *house) enter(tenant, code, browser, ip string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := h.request(tenant, activatePath)
	visit := *tenancy.VisitOf(r.Context())
	visit.ClientIP = ip
	post := httptest.NewRequestWithContext(tenancy.WithVisit(r.Context(), &visit), http.MethodPost, r.URL.String(),
		strings.NewReader(url.Values{"user_code": {code}}.Encode()))
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	post.Header.Set("Origin", "https://"+tenant+".auth.example.com:8443")
	if browser != "" {
		post.AddCookie(&http.Cookie{Name: "__Host-gh_flow", Value: browser})
	}
	w := newRecorder()
	h.pages.ServeHTTP(w, post)
	return w
}

// C4.52: a right code begins a login for the device, bound to the browser.
func TestActivate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.device("acme", userCode)

	// The first look binds the browser (C3.27); a code in the link is only filled in.
	w := h.do("acme", call{to: "/activate?user_code=" + userCode, noState: true, noCookie: true})
	wantPage(t, w, http.StatusOK, `value="`+userCode+`"`)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != "__Host-gh_flow" || !cookies[0].Secure || !cookies[0].HttpOnly ||
		cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Path != "/" || len(cookies[0].Value) != 43 {
		t.Fatalf("cookies %v", cookies)
	}
	if n, err := tenancy.LoginSessions.Count(h.inside["acme"], tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("a link alone began %d logins (%v)", n, err)
	}
	if w := h.do("acme", call{to: "/activate", noState: true}); len(w.Result().Cookies()) != 0 {
		t.Error("the cookie was replaced")
	}

	// Without the cookie, or from another site (C4.66, A19).
	wantPage(t, h.enter("acme", userCode, "", "203.0.113.7"), http.StatusBadRequest, errGone.Title)
	w = h.do("acme", call{to: "/activate", noState: true, form: url.Values{"user_code": {userCode}}, header: http.Header{"Origin": {"https://evil.example.com"}}})
	wantPage(t, w, http.StatusForbidden, "another site")

	w = h.enter("acme", "bcdf ghjk", browser, "203.0.113.7")
	path, query, _ := strings.Cut(w.Header().Get("Location"), "?state=")
	if w.Code != http.StatusFound || path != "/authorize/resume" {
		t.Fatalf("answer = %d to %s: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	l, err := tenancy.LoginSessions.Get(h.inside["acme"], tenancy.HashToken(query))
	if err != nil || l.BrowserHash != tenancy.HashToken(browser) || l.ClientID != clientID || l.OrgID != "org_1" || l.UserID != "" || l.Request[tenancy.RequestDevice] == "" {
		t.Errorf("login %+v, %v", l, err)
	}

	// Of another tenant (C9.7), expired, or none.
	wantPage(t, h.enter("widgets", userCode, browser, "203.0.113.7"), http.StatusBadRequest, "This code is not right")
	wantPage(t, h.enter("acme", " - ", browser, "203.0.113.7"), http.StatusBadRequest, "Enter the code")
	wantPage(t, h.enter("acme", "<b>"+strings.Repeat("x", 9000), browser, "203.0.113.7"), http.StatusBadRequest, "&lt;b&gt;xxx")
	h.now = h.now.Add(15 * time.Minute)
	wantPage(t, h.enter("acme", userCode, browser, "203.0.113.7"), http.StatusBadRequest, "This code is not right")
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		if w := h.do("acme", call{method: method, to: "/activate"}); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
			t.Errorf("%s = %d", method, w.Code)
		}
	}
}

// A28, C4.51, RFC 8628 section 5.1: five wrong codes and a browser waits, fifty and
// an address does, however many browsers it says it has; guesses made at the same
// time count; right codes do not; another tenant's count is its own.
func TestActivateGuesses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.device("acme", userCode)
	h.device("widgets", userCode)
	for range 20 {
		if w := h.enter("acme", userCode, browser, "203.0.113.7"); w.Code != http.StatusFound {
			t.Fatalf("a right code = %d", w.Code)
		}
	}
	var wg sync.WaitGroup
	answers := make([]int, 16)
	for i := range answers {
		wg.Go(func() { answers[i] = h.enter("acme", "ZZZZ-ZZZZ", browser, "203.0.113.7").Code })
	}
	wg.Wait()
	looked := 0
	for _, status := range answers {
		switch status {
		case http.StatusBadRequest:
			looked++
		case http.StatusTooManyRequests:
		default:
			t.Errorf("status %d", status)
		}
	}
	if looked != 5 {
		t.Errorf("%d guesses were looked at, want 5", looked)
	}
	w := h.enter("acme", userCode, browser, "203.0.113.7")
	wantPage(t, w, http.StatusTooManyRequests, "Too many wrong codes")
	if w.Header().Get("Retry-After") == "" || !strings.Contains(h.kinds(), "limit_wc") {
		t.Error("no Retry-After, or no event limit_wc")
	}
	if w := h.enter("widgets", userCode, browser, "203.0.113.7"); w.Code != http.StatusFound {
		t.Errorf("the other tenant blocks too: %d", w.Code)
	}
	if w := h.enter("acme", userCode, "another browser", "203.0.113.7"); w.Code != http.StatusFound {
		t.Errorf("the browser's neighbour is blocked: %d", w.Code)
	}
	tries := 0
	for ; tries < 100; tries++ {
		if h.enter("acme", "ZZZZ-ZZZZ", tenancy.NewToken(), "203.0.113.7").Code == http.StatusTooManyRequests {
			break
		}
	}
	if tries < 40 || tries > 50 {
		t.Errorf("an address had %d guesses", tries)
	}
	if w := h.enter("acme", userCode, "another browser", "198.51.100.1"); w.Code != http.StatusFound {
		t.Errorf("another address is blocked: %d", w.Code)
	}
	h.now = h.now.Add(14*time.Minute + 59*time.Second)
	wantPage(t, h.enter("acme", userCode, browser, "203.0.113.7"), http.StatusTooManyRequests, "Too many")
	h.now = h.now.Add(16 * time.Minute)
	h.device("acme", "PQRS-TVWX")
	if w := h.enter("acme", "PQRS-TVWX", browser, "203.0.113.7"); w.Code != http.StatusFound {
		t.Errorf("blocked for longer than a code lives: %d", w.Code)
	}
}

// describe stores an API, one of whose two scopes says what it means, and returns
// its identifier.
func (h *house) describe(tenant, name string) string {
	rs := &tenancy.ResourceServer{
		Row: tenancy.Row{ID: "rs_1"}, Name: name, Identifier: "https://orders.example.com",
		Scopes: []tenancy.Scope{{Value: "read:orders", Description: "See what you ordered, and <when>"}, {Value: "write:orders"}},
	}
	h.commit(tenant, tenancy.ResourceServers.Insert(h.inside[tenant], rs))
	return rs.Identifier
}

// C2.28, C4.66: what is asked is told by the API's own words, under its name, and
// apart from what concerns the account. Another tenant's words for it are not used,
// nor those of an API that is gone.
func TestApprovalDescribesScopes(t *testing.T) {
	t.Parallel()
	for _, screen := range []string{"/u/consent", "/u/device"} {
		h := newHouse(t)
		h.begin("acme")
		h.describe("widgets", "Somebody else's")
		ask := func(audience, scope string) string {
			h.alter(func(ls *tenancy.LoginSession) {
				ls.UserID, ls.AskedOf, ls.AskedAudience, ls.AskedScope = ada, tenancy.Join(ada, ""), audience, scope
			})
			w := h.do("acme", call{to: screen})
			wantPage(t, w, http.StatusOK, "It would get")
			checkAccessible(t, w.Body.String())
			return w.Body.String()
		}
		const scopes = "openid email read:orders write:orders"
		gone := ask("https://orders.example.com", scopes)
		if !strings.Contains(gone, "<li>read:orders</li>") || strings.Contains(gone, "else") || !strings.Contains(gone, ">https://orders.example.com</h2>") {
			t.Errorf("%s: an API that is gone: %s", screen, gone)
		}
		body := ask(h.describe("acme", "Orders & more"), scopes)
		var at int
		for _, text := range []string{
			">Your account</h2>", "<li>Your email address</li>", ">Orders &amp; more</h2>",
			"<li>See what you ordered, and &lt;when&gt;</li>", "<li>write:orders</li>", "<form",
		} {
			i := strings.Index(body[at:], text)
			if i < 0 {
				t.Errorf("%s: no %q where it belongs: %s", screen, text, body)
			}
			at += max(i, 0)
		}
		if strings.Contains(body, "<li>read:orders") || strings.Contains(body, "<script") {
			t.Errorf("%s: %s", screen, body)
		}
		if only := ask("https://orders.example.com", "openid read:orders"); strings.Contains(only, "Your account") {
			t.Errorf("%s: nothing of the account is asked: %s", screen, only)
		}
		if only := ask("", "openid profile"); strings.Count(only, "<h2") != 1 {
			t.Errorf("%s: no API is asked for: %s", screen, only)
		}
		wantResume(t, h.post("acme", screen, "action", "accept"))
		if !h.session("acme").Approved {
			t.Errorf("%s: not approved", screen)
		}
	}
}

// C4.66, A19: consent and device approval take effect for the browser that was
// asked only, by the button only, and for exactly what was shown.
func TestApproval(t *testing.T) {
	t.Parallel()
	for _, screen := range []string{"/u/consent", "/u/device"} {
		h := newHouse(t)
		h.begin("acme")
		wantResume(t, h.do("acme", call{to: screen})) // nothing is asked yet
		wantResume(t, h.post("acme", screen, "action", "accept"))
		if h.session("acme").Approved {
			t.Errorf("%s: approved what nobody asked", screen)
		}
		h.alter(func(ls *tenancy.LoginSession) {
			ls.UserID, ls.AskedOf, ls.AskedScope = ada, tenancy.Join(ada, ""), "openid email offline_access read:<all>"
		})
		w := h.do("acme", call{to: screen})
		wantPage(t, w, http.StatusOK, "read:&lt;all&gt;")
		for _, text := range []string{"Your email address", "ada@example.com", "Notes", "Access while you are not using it"} {
			wantPage(t, w, http.StatusOK, text)
		}
		if strings.Contains(w.Body.String(), ">openid<") || !strings.Contains(directive(w, "frame-ancestors"), "'none'") {
			t.Errorf("%s: %s", screen, w.Body)
		}
		wantPage(t, h.do("acme", call{to: screen, noCookie: true, form: url.Values{"action": {"accept"}}}), http.StatusBadRequest, errGone.Title)
		wantPage(t, h.do("acme", call{to: screen, form: url.Values{"action": {"accept"}}, header: http.Header{"Origin": {"https://evil.example.com"}}}),
			http.StatusForbidden, "another site")
		wantPage(t, h.post("acme", screen), http.StatusBadRequest, "could not be read")
		wantPage(t, h.post("acme", screen, "action", "yes"), http.StatusBadRequest, "could not be read")
		if h.session("acme").Approved {
			t.Errorf("%s: approved", screen)
		}
		wantResume(t, h.post("acme", screen, "action", "accept"))
		if l := h.session("acme"); !l.Approved || l.Denied {
			t.Errorf("%s: not approved", screen)
		}
		wantResume(t, h.post("acme", screen, "action", "deny"))
		if !h.session("acme").Denied {
			t.Errorf("%s: not denied", screen)
		}
	}
}
