package login

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C3.27, C4.67: whose login it is, and whether it is still open.
func TestStateIsBoundToBrowserAndTenant(t *testing.T) {
	t.Parallel()
	cookie := func(values ...string) http.Header {
		var pairs []string
		for _, v := range values {
			pairs = append(pairs, "__Host-gh_flow="+v)
		}
		return http.Header{"Cookie": {strings.Join(pairs, "; ")}}
	}
	for _, tt := range []struct {
		name   string
		tenant string
		alter  func(*tenancy.LoginSession)
		call   call
		status int
		title  string
	}{
		{name: "right", tenant: "acme", status: 200, title: "Log in to Acme"},
		{name: "no state", tenant: "acme", call: call{noState: true}, status: 400, title: errGone.Title},
		{name: "unknown state", tenant: "acme", call: call{to: "/u/login?state=other", noState: true}, status: 400, title: errGone.Title},
		{name: "endless state", tenant: "acme", call: call{to: "/u/login?state=" + strings.Repeat("x", 300), noState: true}, status: 400, title: errGone.Title},
		{name: "state twice", tenant: "acme", call: call{to: "/u/login?state=" + state}, status: 400, title: titles[400]},
		{name: "no cookie", tenant: "acme", call: call{noCookie: true}, status: 400, title: errGone.Title},
		{name: "another browser", tenant: "acme", call: call{header: cookie("stolen")}, status: 400, title: errGone.Title},
		{name: "cookie twice", tenant: "acme", call: call{header: cookie(browser, "tossed")}, status: 400, title: errGone.Title},
		{name: "cookie twice, the other way", tenant: "acme", call: call{header: cookie("tossed", browser)}, status: 400, title: errGone.Title},
		{name: "the loopback name", tenant: "acme", call: call{header: http.Header{"Cookie": {"gh_flow=" + browser}}}, status: 400, title: errGone.Title},
		{name: "state and cookie of another tenant", tenant: "widgets", status: 400, title: errGone.Title},
		{name: "completed", tenant: "acme", alter: func(ls *tenancy.LoginSession) { ls.CompletedAt = 1 }, status: 409, title: errDone.Title},
		{
			name: "completed, another browser", tenant: "acme", alter: func(ls *tenancy.LoginSession) { ls.CompletedAt = 1 },
			call: call{header: cookie("stolen")}, status: 400, title: errGone.Title,
		},
		{name: "expired", tenant: "acme", alter: func(ls *tenancy.LoginSession) { ls.ExpiresAt = 1 }, status: 400, title: errGone.Title},
		{name: "of a client that is gone", tenant: "acme", alter: func(ls *tenancy.LoginSession) { ls.ClientID = "gone" }, status: 400, title: errGone.Title},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.begin("acme", func(ls *tenancy.LoginSession) {
				if tt.alter != nil {
					tt.alter(ls)
				}
			})
			if tt.call.to == "" {
				tt.call.to = "/u/login"
			}
			if tt.call.header != nil {
				tt.call.noCookie = true
			}
			if w := h.do(tt.tenant, tt.call); w.Code != tt.status || headingOf(w) != tt.title {
				t.Errorf("GET = %d %q, want %d %q", w.Code, headingOf(w), tt.status, tt.title)
			}
			tt.call.form = url.Values{"username": {"ada"}, "password": {password}, "state": {state}}
			if strings.Contains(tt.call.to, "state=other") || tt.call.noState {
				tt.call.form.Del("state")
			}
			w := h.do(tt.tenant, tt.call)
			if tt.status == 200 {
				wantResume(t, w)
			} else if w.Code != tt.status {
				t.Errorf("POST = %d, want %d", w.Code, tt.status)
			}
			if got := h.session("acme").UserID; (got != "") != (tt.status == 200) {
				t.Errorf("login session has user %q", got)
			}
		})
	}
}

func TestLoopbackCookie(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.inside["acme"] = tenancy.WithVisit(h.inside["acme"], &tenancy.Visit{Issuer: "http://localhost:8080/", Host: "localhost", Insecure: true})
	w := h.do("acme", call{to: "/u/login", noCookie: true, header: http.Header{"Cookie": {"gh_flow=" + browser}}})
	if w.Code != http.StatusOK {
		t.Errorf("GET over http = %d, want 200", w.Code)
	}
	w = h.do("acme", call{
		to: "/u/login", noCookie: true, form: url.Values{"username": {"ada"}, "password": {password}},
		header: http.Header{"Cookie": {"gh_flow=" + browser}, "Origin": {"http://localhost:8080"}},
	})
	wantResume(t, w)
}

// C4.66.
func TestOrigin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	form := url.Values{"username": {"ada"}, "password": {password}, "state": {state}}
	for _, tt := range []struct {
		name   string
		origin []string
		ok     bool
	}{
		{"own", []string{"https://acme.auth.example.com:8443"}, true},
		{"none", nil, true},
		{"null", []string{"null"}, false},
		{"empty", []string{""}, false},
		{"another tenant", []string{"https://widgets.auth.example.com:8443"}, false},
		{"another port", []string{"https://acme.auth.example.com"}, false},
		{"another scheme", []string{"http://acme.auth.example.com:8443"}, false},
		{"longer", []string{"https://acme.auth.example.com:8443.evil.example"}, false},
		{"twice", []string{"https://acme.auth.example.com:8443", "https://evil.example"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := call{to: "/u/login", form: form}
			if tt.origin != nil {
				c.header = http.Header{"Origin": tt.origin}
			}
			if w := h.do("acme", c); tt.ok {
				wantResume(t, w)
			} else {
				wantPage(t, w, http.StatusForbidden, "sent from another site")
			}
		})
	}
}

// A reserved label serves the control plane under a host that is not its
// issuer's (C1.6): its own pages' forms are its own all the same.
func TestOriginOfAHostThatIsNotTheIssuers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.inside["acme"] = tenancy.WithVisit(h.inside["acme"], &tenancy.Visit{Issuer: "https://auth.example.com/", Host: "www.auth.example.com"})
	c := call{to: "/u/login", form: url.Values{"username": {"ada"}, "password": {password}}, header: http.Header{"Origin": {"https://www.auth.example.com"}}}
	wantResume(t, h.do("acme", c))
}

// C0.6, C0.9.
func TestBadForms(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	good := url.Values{"username": {"ada"}, "password": {password}}.Encode()
	for _, tt := range []struct {
		name, kind, body string
		status           int
	}{
		{"good", "application/x-www-form-urlencoded; charset=UTF-8", good, 302},
		{"multipart", "multipart/form-data; boundary=x", good, 415},
		{"JSON", "application/json", `{"username":"ada"}`, 415},
		{"no type", "", good, 415},
		{"field twice", "application/x-www-form-urlencoded", good + "&username=bob", 400},
		{"another state", "application/x-www-form-urlencoded", good + "&state=other", 400},
		{"bad encoding", "application/x-www-form-urlencoded", "username=%zz", 400},
		{"too large", "application/x-www-form-urlencoded", good + "&x=" + strings.Repeat("x", maxForm), 413},
		{"empty", "application/x-www-form-urlencoded", "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := call{method: "POST", to: "/u/login", body: strings.NewReader(tt.body), header: http.Header{}}
			if tt.kind != "" {
				c.header.Set("Content-Type", tt.kind)
			}
			if w := h.do("acme", c); w.Code != tt.status {
				t.Errorf("answer = %d, want %d:\n%s", w.Code, tt.status, w.Body)
			}
		})
	}
}

// A login that was completed, or taken away, between the page and the answer.
func TestStoreLeavesAClosedLoginAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(h *house, ls *tenancy.LoginSession) tenancy.Stmt
		status int
	}{
		"completed": {func(h *house, ls *tenancy.LoginSession) tenancy.Stmt {
			ls.CompletedAt = tenancy.At(h.now)
			return tenancy.LoginSessions.Replace(h.inside["acme"], ls)
		}, 409},
		"taken over": {func(h *house, ls *tenancy.LoginSession) tenancy.Stmt {
			ls.BrowserHash = tenancy.HashToken("another")
			return tenancy.LoginSessions.Replace(h.inside["acme"], ls)
		}, 400},
		"removed": {func(h *house, ls *tenancy.LoginSession) tenancy.Stmt {
			return tenancy.LoginSessions.Remove(h.inside["acme"], ls.ID)
		}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.begin("acme")
			s := h.step("acme")
			h.commit("acme", tt.change(h, h.session("acme")))
			err := s.store(func(ls *tenancy.LoginSession) { t.Error("a closed login was altered") })
			w := newRecorder()
			h.pages.fail(w, s.request, err)
			if w.Code != tt.status {
				t.Errorf("answer = %d (%v), want %d", w.Code, err, tt.status)
			}
		})
	}
}

// The policy lets nothing in but the sheet, and the answer to the form through
// to where the client's registration says it may lead.
func TestContentSecurityPolicy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := tenancy.Clients.Update(h.inside["acme"], clientID, func(c *tenancy.Client) error {
		c.Callbacks = []string{
			"https://app.example.com/callback", "https://*.preview.example.com/cb", "com.example.app://done", "http://[::1]/cb",
			"https://evil.example;script-src *", "javascript:alert(1)",
		}
		c.WebOrigins = []string{"https://spa.example.com"}
		c.InitiateLoginURI = "https://app.example.com/login"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.Request["redirect_uri"] = "http://127.0.0.1:49152/cb" })
	w := h.do("acme", call{to: "/u/login"})
	want := "default-src 'none'; style-src 'self' 'nonce-test-nonce'; img-src 'none'; " +
		"form-action 'self' http://127.0.0.1:49152 https://app.example.com https://*.preview.example.com com.example.app: http: https://spa.example.com; " +
		"frame-ancestors 'none'; base-uri 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy =\n%s\nwant\n%s", got, want)
	}
}

func TestSourcesEndNoDirective(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://app.example.com/cb?x=1#y":   "https://app.example.com",
		"HTTPS://App.Example.COM:8443/cb":    "https://app.example.com:8443",
		"https://*.example.com/cb":           "https://*.example.com",
		"http://127.0.0.1/cb":                "http://127.0.0.1",
		"http://[::1]:80/cb":                 "http:",
		"com.example.app:/cb":                "com.example.app:",
		"https://user@app.example.com/":      "https://app.example.com",
		"https://evil.example; script-src *": "",
		"https://evil.example,https://x":     "",
		"https://*":                          "",
		"https://a.*.example.com/":           "",
		"https:///cb":                        "",
		"javascript:alert(1)":                "",
		"data:text/html,x":                   "",
		"/relative":                          "",
		"":                                   "",
		"'unsafe-inline'":                    "",
	} {
		if got := cspSource(text); got != want {
			t.Errorf("cspSource(%q) = %q, want %q", text, got, want)
		}
	}
}
