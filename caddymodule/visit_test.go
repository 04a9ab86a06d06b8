package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const unknownTenant = `{"statusCode":404,"error":"Not Found","message":"Tenant not found","errorCode":"tenant_not_found"}`

// TestHosts checks C1.2 to C1.7 and C1.11 at the door.
func TestHosts(t *testing.T) {
	s := newServer(t)
	s.options = "labels {\n shop acme\n }"
	s.start()
	s.tenant("acme")
	s.tenant("gone")
	if err := s.services().lifecycle.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct{ rule, host, issuer string }{
		{"C1.4 (1)", "auth.example.com", "https://auth.example.com/"},
		{"C1.4 (3)", "acme.auth.example.com", "https://acme.auth.example.com/"},
		{"C1.4 (3), labels", "shop.auth.example.com", "https://shop.auth.example.com/"},
		{"C1.3 case", "ACME.auth.Example.COM", "https://acme.auth.example.com/"},
		{"C1.3 trailing dot", "acme.auth.example.com.", "https://acme.auth.example.com/"},
		{"C1.11 port", "acme.auth.example.com:8443", "https://acme.auth.example.com:8443/"},
		{"C1.11 default port", "acme.auth.example.com:443", "https://acme.auth.example.com/"},
		{"C1.6", "www.auth.example.com", "https://auth.example.com/"},
		{"C1.6 with port", "WWW.auth.example.com:8443", "https://auth.example.com:8443/"},
	} {
		got := s.get(c.host, discovery)
		if got.status != http.StatusOK || got.member(t, "issuer") != c.issuer {
			t.Errorf("%s: %s: got %d %q, want issuer %s", c.rule, c.host, got.status, got.body, c.issuer)
		}
		if got.header.Get("X-Request-Id") == "" { // C0.8
			t.Errorf("%s: no X-Request-Id", c.host)
		}
	}
	for _, host := range []string{
		"nope.auth.example.com", "gone.auth.example.com", "evilauth.example.com", "xauth.example.com", "a.b.auth.example.com",
		"a.acme.auth.example.com", "auth.example.com.evil.org", "acme.auth.example.com.evil.org", "127.0.0.1", "[::1]", "com",
		"control_plane.auth.example.com", "xn--acme.auth.example.com", "settings.auth.example.com",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			for _, path := range []string{"/", discovery, "/oauth/token", "/api/v2/users", "/nothing"} {
				got := s.do(method, host, path)
				want := unknownTenant
				if method == "HEAD" {
					want = ""
				}
				if got.status != http.StatusNotFound || got.body != want || got.header.Get("X-Request-Id") == "" {
					t.Errorf("C1.7: %s %s%s: got %d %s", method, host, path, got.status, got.body)
				}
			}
		}
	}
	for _, host := range []string{
		"acme.auth.example.com:99999", "acme.auth.example.com:0", "a%63me.auth.example.com", "acme..auth.example.com",
		strings.Repeat("a", 64) + ".auth.example.com",
	} {
		for _, path := range []string{discovery, "/api/v2/users"} {
			got := s.get(host, path)
			if got.status != http.StatusBadRequest || got.body != `{"error":"invalid_request","error_description":"Invalid host"}` {
				if got.status == http.StatusBadRequest && strings.HasPrefix(got.body, "400 Bad Request") {
					continue // net/http refused it before
				}
				t.Errorf("C1.3: %q%s: got %d %s", host, path, got.status, got.body)
			}
		}
	}
}

// TestForwarded checks that forwarded headers count from trusted proxies only
// (C1.2, C9.1).
func TestForwarded(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		t.Run(fmt.Sprintf("trusted %t", trusted), func(t *testing.T) {
			s := newServer(t)
			if trusted {
				s.global = "servers {\n trusted_proxies static 127.0.0.1/32\n }"
			}
			s.start()
			s.tenant("acme")
			s.tenant("widgets")
			for _, header := range [][]string{
				{"X-Forwarded-Host", "acme.auth.example.com"},
				{"X-Forwarded-Host", "acme.auth.example.com, evil.example.com"},
				{"X-Forwarded-Host", "acme.auth.example.com", "X-Forwarded-Proto", "http"},
			} {
				want := "https://widgets.auth.example.com/"
				if trusted {
					want = "https://acme.auth.example.com/"
				}
				got := s.do("GET", "widgets.auth.example.com", discovery, header...)
				if got.member(t, "issuer") != want {
					t.Errorf("%q: got %s, want issuer %s", header, got.body, want)
				}
			}
			got := s.do("GET", "widgets.auth.example.com", discovery, "Forwarded", "host=acme.auth.example.com")
			if want := "https://widgets.auth.example.com/"; got.member(t, "issuer") != want {
				t.Errorf("Forwarded: got %s, want issuer %s", got.body, want)
			}
		})
	}
}

// TestPublicPort checks that a configured port is the issuer's, whatever the
// request says.
func TestPublicPort(t *testing.T) {
	s := newServer(t)
	s.options = "port 9443"
	s.start()
	for _, host := range []string{"auth.example.com", "auth.example.com:1234"} {
		if got := s.get(host, discovery).member(t, "issuer"); got != "https://auth.example.com:9443/" {
			t.Errorf("%s: got issuer %s", host, got)
		}
	}
}
