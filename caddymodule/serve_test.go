package caddymodule

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestUnknownPath checks that a path of nobody's is 404 in the envelope of its
// place (C0.3, C0.4, C0.7), and that handlers behind this one still get it.
func TestUnknownPath(t *testing.T) {
	s := newServer(t).start()
	for _, path := range []string{"/", "/nothing", "/oauth/ro", "/tokeninfo", "/.well-known/openid-configuration/", "//api/v2/users"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			got := s.do(method, "auth.example.com", path)
			if got.status != http.StatusNotFound || got.member(t, "error") == "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: got %d %s", method, path, got.status, got.body)
			}
		}
	}
	close(slowly.release)
	defer func() { slowly.release = make(chan struct{}) }()
	if got := s.get("auth.example.com", "/slow"); got.status != http.StatusOK || got.body != "control_plane" {
		t.Errorf("the next handler: got %d %q, want 200 and the placeholder's value", got.status, got.body)
	}
}

// TestStates checks what a tenant answers in each state (C1.17 to C1.21).
func TestStates(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	const host = "acme.auth.example.com"
	for _, c := range []struct {
		state           tenancy.State
		discovery, page int
		api             int
	}{
		{tenancy.StateActive, 200, 400, 401},
		{tenancy.StateSuspended, 200, 403, 401},
		{tenancy.StateProvisioning, 503, 503, 503},
		{tenancy.StateFailed, 503, 503, 503},
		{tenancy.StateDeleting, 404, 404, 404},
	} {
		_, err := s.services().lifecycle.Update(t.Context(), "acme", func(row *tenancy.Tenant) error {
			row.State = c.state
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.get(host, discovery); got.status != c.discovery {
			t.Errorf("%s: discovery: got %d %s, want %d", c.state, got.status, got.body, c.discovery)
		} else if c.discovery == 503 && got.header.Get("Retry-After") != "5" {
			t.Errorf("%s: discovery has no Retry-After: 5", c.state)
		}
		got := s.do("GET", host, "/u/login", "Accept", "text/html")
		if got.status != c.page {
			t.Errorf("%s: login: got %d %s, want %d", c.state, got.status, got.body, c.page)
		}
		if c.state == tenancy.StateSuspended && (!strings.Contains(got.body, "Tenant is suspended") || got.header.Get("X-Frame-Options") != "DENY") {
			t.Errorf("C1.19: got no page with that text: %s", got.body)
		}
		if got := s.get(host, "/api/v2/users"); got.status != c.api {
			t.Errorf("%s: management: got %d %s, want %d", c.state, got.status, got.body, c.api)
		} else if c.api == 503 && got.member(t, "errorCode") != "tenant_unavailable" {
			t.Errorf("%s: management: got %s", c.state, got.body)
		}
	}
}

// TestNotReady: before Start, and after the end, requests are asked to come back.
func TestNotReady(t *testing.T) {
	h := &Handler{runtime: new(runtime)}
	for path, body := range map[string]string{
		discovery:       `{"error":"temporarily_unavailable",`,
		"/api/v2/users": `{"statusCode":503,"error":"Service Unavailable",`,
	} {
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, request("GET", "https://acme.auth.example.com"+path), nil); err != nil {
			t.Fatal(err)
		}
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" || !strings.HasPrefix(w.Body.String(), body) {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	if _, err := (&MatchTenant{runtime: new(runtime)}).MatchWithError(request("GET", "https://acme.auth.example.com/")); err == nil {
		t.Error("the matcher answers before it can know")
	}
}

// broken stands for an endpoint with a fault.
type broken struct{ sends bool }

func (broken) Handles(path string) bool { return path == "/broken" }

func (b broken) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if b.sends {
		w.WriteHeader(http.StatusOK)
	}
	panic("a fault with secrets in it")
}

// TestFault: a panic is 500 in the envelope of its path with nothing inside
// (C0.4, C0.8), or the end of a connection on which something was sent.
func TestFault(t *testing.T) {
	s := newServer(t).start()
	serving := *s.services()
	serving.login, serving.management = broken{}, broken{}
	runningRuntime(t).services.Store(&serving)
	for _, path := range []string{"/broken", "/api/v2/users"} {
		got := s.get("auth.example.com", path)
		id := got.header.Get("X-Request-Id")
		if got.status != 500 || id == "" || !strings.Contains(got.body, "Internal error (request "+id+")") || strings.Contains(got.body, "secrets") {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
		}
		if managed := got.member(t, "errorCode") == "internal_error"; managed != (path != "/broken") {
			t.Errorf("%s: wrong envelope: %s", path, got.body)
		}
	}
	serving.login = broken{sends: true}
	h := &Handler{runtime: runningRuntime(t)}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("got panic %v, want the connection's end", p)
		}
	}()
	_ = h.ServeHTTP(httptest.NewRecorder(), request("GET", "http://auth.example.com/broken"), nil)
	t.Error("half an answer was taken for a whole one")
}

// TestEarly: what is sent before the handshake is finished can be a recording
// (RFC 8470).
func TestEarly(t *testing.T) {
	newServer(t).start()
	h := &Handler{runtime: runningRuntime(t)}
	for path, want := range map[string]int{"/authorize?client_id=x": 425, "/oauth/token": 425, "/api/v2/users": 425, discovery: 200} {
		r := request("GET", "https://auth.example.com"+path)
		r.TLS = &tls.ConnectionState{ServerName: "auth.example.com"}
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, nil); err != nil {
			t.Fatal(err)
		}
		if w.Code != want {
			t.Errorf("%s: got %d, want %d", path, w.Code, want)
		}
	}
}
