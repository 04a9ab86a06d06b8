package login

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestPageIsNotStoredByAnything(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for name, w := range map[string]http.Header{
		"page":     h.do("acme", call{to: "/u/login"}).Header(),
		"redirect": h.post("acme", "/u/login", "username", "ada", "password", password).Header(),
		"error":    h.do("acme", call{to: "/u/none"}).Header(),
	} {
		for header, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Request-Id": "req-1",
		} {
			if got := w.Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", name, header, got, want)
			}
		}
		if got := w.Values("Set-Cookie"); got != nil {
			t.Errorf("%s sets cookies: %v", name, got)
		}
	}
}

func TestVerbsAndPaths(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "/u/login", 200},
		{"PUT", "/u/login", 405},
		{"DELETE", "/u/login", 405},
		{"OPTIONS", "/u/login", 405},
		{"GET", "/u/", 404},
		{"GET", "/u/login/", 404},
		{"GET", "/u/Login", 404},
		{"GET", "/u%2Flogin", 404},
		{"GET", "/u/error", 404},
		{"GET", stylesheetPath, 200},
		{"HEAD", stylesheetPath, 200},
		{"POST", stylesheetPath, 405},
		{"GET", "/u/static/other.css", 404},
	} {
		w := h.do("acme", call{method: tt.method, to: tt.path})
		if w.Code != tt.status || tt.status == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s = %d (Allow %q), want %d", tt.method, tt.path, w.Code, w.Header().Get("Allow"), tt.status)
		}
	}
	for path, want := range map[string]bool{
		"/u/login": true, "/u/anything": true, "/u": false, "/users": false,
		"/dbconnections/signup": true, "/dbconnections/signup/": false, "/authorize": false,
	} {
		if got := h.pages.Handles(path); got != want {
			t.Errorf("Handles(%s) = %v, want %v", path, got, want)
		}
	}
}

func TestStylesheetIsKeptForGood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.do("acme", call{to: stylesheetPath, noState: true, noCookie: true})
	if w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Header().Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("headers = %v", w.Header())
	}
}

// C1.19, C1.17, C0.11.
func TestTenantThatDoesNotServe(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state  tenancy.State
		status int
		text   string
	}{
		{tenancy.StateSuspended, http.StatusForbidden, "Tenant is suspended"},
		{tenancy.StateProvisioning, http.StatusServiceUnavailable, "temporarily unavailable (request req-1)"},
	} {
		h := newHouse(t)
		h.begin("acme")
		current, err := tenancy.Current(h.inside["acme"])
		if err != nil {
			t.Fatal(err)
		}
		current.State = tt.state
		w := h.do("acme", call{to: "/u/login"})
		wantPage(t, w, tt.status, tt.text)
		if w := h.signUp("acme", `{"client_id":"spa"}`); w.Code != tt.status {
			t.Errorf("sign-up in state %s = %d, want %d", tt.state, w.Code, tt.status)
		}
		if retry := w.Header().Get("Retry-After"); (retry != "") != (tt.status == http.StatusServiceUnavailable) {
			t.Errorf("Retry-After = %q in state %s", retry, tt.state)
		}
	}
}

// C0.8: what went wrong inside is in the log, not on the page.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.commit("acme", tenancy.SQL(h.inside["acme"], "DROP TABLE login_sessions -- @tenant"))
	w := h.do("acme", call{to: "/u/login"})
	wantPage(t, w, http.StatusInternalServerError, "Internal error (request req-1)")
	if strings.Contains(w.Body.String(), "login_sessions") || !strings.Contains(h.log.String(), "login_sessions") {
		t.Errorf("page:\n%s\nlog:\n%s", w.Body, h.log)
	}
}

// C0.11.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	err := tenancy.Unavailable(errors.New("disk I/O error"), "")
	w := newRecorder()
	h.pages.fail(w, h.request("acme", "/u/login"), err)
	wantPage(t, w, http.StatusServiceUnavailable, "temporarily unavailable (request req-1)")
	if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("Retry-After = %q, page:\n%s", w.Header().Get("Retry-After"), w.Body)
	}
	w = newRecorder()
	h.pages.refuse(w, h.request("acme", signupPath), err)
	want := `"error":"temporarily_unavailable","error_description":"The service is temporarily unavailable (request req-1)"`
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), want) {
		t.Errorf("sign-up = %d %s, want 503 %s", w.Code, w.Body, want)
	}
	if n := strings.Count(h.log.String(), "disk I/O error"); n != 2 {
		t.Errorf("logged %d times, want once each:\n%s", n, h.log)
	}
}

// Where too many of a tenant's logins wait, the form comes back as it was.
func TestBusy(t *testing.T) {
	t.Parallel()
	busy := &tenancy.Error{Status: http.StatusTooManyRequests, Code: "too_many_requests", Message: "x", Header: map[string]string{"Retry-After": "1"}}
	h := newHouse(t)
	h.begin("acme")
	w := newRecorder()
	s := h.step("acme")
	problem := problemOf(busy)
	view, err := loginScreen.Show(s, problem)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.pages.render(w, s.request, s.page(loginScreen, view, problem)); err != nil {
		t.Fatal(err)
	}
	wantPage(t, w, http.StatusTooManyRequests, "try again in a moment")
	if got := w.Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After = %q, want 1", got)
	}
}

func TestErrorPageForOthers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.request("acme", "/authorize?client_id=x")
	w := newRecorder()
	h.pages.Error(w, r, http.StatusBadRequest, "invalid_request", "Unknown client: <script>x</script>")
	wantPage(t, w, http.StatusBadRequest, "Unknown client: &lt;script&gt;x&lt;/script&gt;")
	wantPage(t, w, http.StatusBadRequest, "<code>invalid_request</code>")
	if strings.Contains(w.Body.String(), "<script") {
		t.Error("the message is not escaped")
	}
}

func TestExpiryIsJudgedByTheClock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.now = h.now.Add(time.Hour - time.Microsecond)
	if w := h.do("acme", call{to: "/u/login"}); w.Code != http.StatusOK {
		t.Errorf("just before expiry = %d, want 200", w.Code)
	}
	h.now = h.now.Add(time.Microsecond)
	wantPage(t, h.do("acme", call{to: "/u/login"}), http.StatusBadRequest, errGone.Title)
	wantPage(t, h.post("acme", "/u/login", "username", "ada", "password", password), http.StatusBadRequest, errGone.Title)
}
