package oauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestRouting(t *testing.T) { // C0.3, C0.7, C0.8
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		method, target string
		status         int
		code, allow    string
	}{
		{"GET", "/oauth/token", 405, "method_not_allowed", "POST"},
		{"DELETE", "/.well-known/jwks.json", 405, "method_not_allowed", "GET, HEAD"},
		{"POST", "/.well-known/openid-configuration", 405, "method_not_allowed", "GET, HEAD"},
		{"GET", "/.well-known/jwks.json/", 404, "not_found", ""},
		{"GET", "//.well-known/jwks.json", 404, "not_found", ""},
		{"GET", "/.well-known%2Fjwks.json", 404, "not_found", ""},
		{"GET", "/tokeninfo", 404, "not_found", ""},
		{"GET", "/", 404, "not_found", ""},
		{"GET", "/%2Ewell-known/jwks%2ejson", 200, "", ""},
	} {
		answer := f.send("acme", httptest.NewRequest(tt.method, tt.target, nil))
		if answer.status != tt.status || answer.header.Get("Allow") != tt.allow || answer.header.Get("X-Request-Id") != "req_1" {
			t.Errorf("%s %s: got %d, Allow %q", tt.method, tt.target, answer.status, answer.header.Get("Allow"))
		}
		if tt.code != "" {
			answer.refused(tt.status, tt.code, "*")
		}
	}
	for path, want := range map[string]bool{"/oauth/token": true, "/authorize": true, "/u/login": false, "/oauth/token/": false} {
		if f.server.Handles(path) != want {
			t.Errorf("Handles(%s) is not %v", path, want)
		}
	}
}

func TestHead(t *testing.T) { // C0.7
	t.Parallel()
	f := newFixture(t)
	get := f.send("acme", newGet("/.well-known/jwks.json"))
	head := f.serve("acme", httptest.NewRequest(http.MethodHead, "/.well-known/jwks.json", nil))
	if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != get.header.Get("ETag") || get.header.Get("ETag") == "" {
		t.Errorf("HEAD: %d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
	if head := f.serve("acme", httptest.NewRequest(http.MethodHead, "/oauth/token", nil)); head.Code != 405 || head.Body.Len() != 0 {
		t.Errorf("HEAD of POST: %d, %d bytes", head.Code, head.Body.Len())
	}
}

func TestCORS(t *testing.T) { // C4.17, C9.45
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) {
		c.AllowedOrigins = []string{"https://other.example.com/", "https://*.preview.example.com"}
	})
	f.updateClient("acme", thirdPartyID, func(c *tenancy.Client) { c.WebOrigins = []string{"https://*.third.example.net"} })
	ask := func(tenant, method, path, origin, client string) http.Header {
		r := newForm(path, values("grant_type", grantRefreshToken, "client_id", client, "refresh_token", "x", "token", "x"))
		r.Method = method
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		return f.serve(tenant, r).Header()
	}
	for _, tt := range []struct{ tenant, method, path, origin, client, want string }{
		{"acme", "POST", "/oauth/token", "https://app.example.com", spaID, "https://app.example.com"},
		{"acme", "POST", "/oauth/token", "https://other.example.com", spaID, "https://other.example.com"},
		{"widgets", "POST", "/oauth/token", "https://other.example.com", spaID, ""},
		{"acme", "POST", "/oauth/revoke", "https://app.example.com", spaID, "https://app.example.com"},
		{"acme", "OPTIONS", "/oauth/token", "https://third.example.net", "", "https://third.example.net"},
		{"acme", "POST", "/oauth/token", "https://third.example.net", spaID, ""}, // the body's client's own list
		{"acme", "POST", "/oauth/token", "https://third.example.net", thirdPartyID, "https://third.example.net"},
		{"acme", "OPTIONS", "/oauth/token", "https://evil.example", "", ""},
		{"acme", "POST", "/oauth/token", "https://app.example.com.evil.example", spaID, ""},
		{"acme", "POST", "/oauth/token", "null", spaID, ""},
		{"acme", "OPTIONS", "/oauth/token", "https://pr-1.preview.example.com", "", "https://pr-1.preview.example.com"},
		{"acme", "POST", "/oauth/token", "https://pr-1.preview.example.com", spaID, "https://pr-1.preview.example.com"},
		{"acme", "POST", "/oauth/token", "https://a.pr-1.preview.example.com", spaID, ""},
		{"acme", "POST", "/oauth/token", "https://preview.example.com", spaID, ""},
		{"acme", "POST", "/oauth/token", "https://pr-1.preview.example.com", thirdPartyID, ""},
		{"widgets", "OPTIONS", "/oauth/token", "https://pr-1.preview.example.com", "", ""},
		{"acme", "OPTIONS", "/oauth/token", "https://a.third.example.net", "", ""}, // no wildcards for third parties
		{"acme", "OPTIONS", "/userinfo", "https://app.example.com", "", "https://app.example.com"},
		{"acme", "OPTIONS", "/authorize", "https://app.example.com", "", ""},
		{"acme", "GET", "/.well-known/jwks.json", "https://evil.example", "", "*"},
		{"acme", "OPTIONS", "/.well-known/openid-configuration", "https://evil.example", "", "*"},
	} {
		h := ask(tt.tenant, tt.method, tt.path, tt.origin, tt.client)
		if got := h.Get("Access-Control-Allow-Origin"); got != tt.want {
			t.Errorf("%s %s %s from %s: got %q, want %q", tt.tenant, tt.method, tt.path, tt.origin, got, tt.want)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s %s: %v", tt.method, tt.path, h)
		}
		if vary := h.Get("Vary"); strings.HasPrefix(tt.path, "/oauth/") && vary != "Origin" {
			t.Errorf("%s %s: Vary %q", tt.method, tt.path, vary)
		}
	}
	h := ask("acme", "OPTIONS", "/oauth/token", "https://app.example.com", "")
	if h.Get("Access-Control-Allow-Methods") != "POST" || h.Get("Access-Control-Max-Age") != "600" ||
		h.Get("Access-Control-Allow-Headers") != "Content-Type, Authorization, Auth0-Client, DPoP" {
		t.Errorf("preflight: %v", h)
	}
}

// Faults are told by their request id only (C0.8).
func TestFaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := errors.New("password=hunter2")
	for name, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"error": func(http.ResponseWriter, *http.Request) error { return secret },
		"panic": func(http.ResponseWriter, *http.Request) error { panic(secret) },
		"shown": func(http.ResponseWriter, *http.Request) error { return &tenancy.Error{Message: "password=hunter2"} },
	} {
		f.server.routes["/"+name] = route{methods: []string{"GET"}, handle: handle}
		answer := f.send("acme", newGet("/"+name)).refused(500, "server_error", "Internal error (request req_1)")
		if strings.Contains(answer.body, "hunter2") {
			t.Errorf("%s: %s", name, answer.body)
		}
	}
	f.server.routes["/abort"] = route{methods: []string{"GET"}, handle: func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }}
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the signal to drop the connection was swallowed")
		}
	}()
	f.serve("acme", newGet("/abort"))
}

func TestNewRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{Login: "u/login"}, {Keys: &Keyring{Algs: []string{"HS256"}}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestOutsideOfAnyTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, newForm("/oauth/token", values("grant_type", grantClientCredentials)))
	readReply(t, w).refused(500, "server_error", "*")
}
