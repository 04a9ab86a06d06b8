package caddymodule

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestA29RateLimits floods a tenant from one address: it is refused with the
// contract's bodies, its neighbour is not, and forwarded addresses change nothing
// (C1.2, C5.13, A29; caddy-security CVE-2024-21494).
func TestA29RateLimits(t *testing.T) {
	s := newServer(t)
	s.options = "rate_limit {\n tenant 12 1h\n address 8 1h\n management off\n }"
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	const host = "acme.auth.example.com"
	for i := range 8 {
		got := s.do("POST", host, "/oauth/token", "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		if got.status == http.StatusTooManyRequests {
			t.Fatalf("request %d is refused", i+1)
		}
		if limit, left := got.header.Get("X-RateLimit-Limit"), got.header.Get("X-RateLimit-Remaining"); limit != "8" || left != strconv.Itoa(7-i) {
			t.Fatalf("request %d: limit %s, remaining %s", i+1, limit, left)
		}
	}
	got := s.do("POST", host, "/oauth/token", "X-Forwarded-For", "198.51.100.99", "Forwarded", "for=198.51.100.98")
	if got.status != http.StatusTooManyRequests || got.body != `{"error":"too_many_requests","error_description":"Global limit has been reached"}` {
		t.Errorf("got %d %s", got.status, got.body)
	}
	after, err := strconv.Atoi(got.header.Get("Retry-After"))
	reset, err2 := strconv.ParseInt(got.header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || err2 != nil || after < 1 || after > 450 || reset <= time.Now().Unix() || got.header.Get("X-RateLimit-Remaining") != "0" ||
		got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Request-Id") == "" {
		t.Errorf("headers %v", got.header)
	}
	if page := s.do("GET", host, "/u/login", "Accept", "text/html"); page.status != http.StatusTooManyRequests ||
		!strings.Contains(page.body, "<h1>Global limit has been reached</h1>") || page.header.Get("Retry-After") == "" {
		t.Errorf("a person: got %d %s", page.status, page.body)
	}
	if got := s.get(host, "/api/v2/users"); got.status != http.StatusTooManyRequests || got.member(t, "errorCode") != "too_many_requests" ||
		got.member(t, "message") != "Global limit has been reached" {
		t.Errorf("C0.4: got %d %s", got.status, got.body)
	}
	if got := s.get(host, discovery); got.status != http.StatusOK || got.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("discovery: got %d, limit %q; it is the same for everybody", got.status, got.header.Get("X-RateLimit-Limit"))
	}
	if got := s.do("POST", "widgets.auth.example.com", "/oauth/token"); got.status != http.StatusUnsupportedMediaType || got.header.Get("X-RateLimit-Remaining") != "7" {
		t.Errorf("its neighbour: got %d, %s remaining", got.status, got.header.Get("X-RateLimit-Remaining"))
	}
}

// TestRateLimitBehindAProxy: addresses that a trusted proxy names are counted each
// for itself, until the tenant's own limit.
func TestRateLimitBehindAProxy(t *testing.T) {
	s := newServer(t)
	s.global = "servers {\n trusted_proxies static 127.0.0.1/32\n }"
	s.options = "rate_limit {\n tenant 4 1h\n address 2 1h\n }"
	s.start()
	s.tenant("acme")
	from := func(address string) int {
		return s.do("POST", "acme.auth.example.com", "/oauth/token", "X-Forwarded-For", address).status
	}
	for i, c := range []struct {
		address string
		status  int
	}{
		{"198.51.100.1", 415},
		{"198.51.100.1", 415},
		{"198.51.100.1", 429},
		{"198.51.100.1", 429},
		{"198.51.100.2", 415},
		{"198.51.100.3", 415},
		{"198.51.100.4", 429},
	} {
		if got := from(c.address); got != c.status {
			t.Errorf("request %d from %s: got %d, want %d", i+1, c.address, got, c.status)
		}
	}
}

// TestRateLimitOff: nothing is counted, and no header says so.
func TestRateLimitOff(t *testing.T) {
	s := newServer(t)
	s.options = "rate_limit off"
	s.start()
	if got := s.do("POST", "auth.example.com", "/oauth/token"); got.status != 415 || got.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("got %d, headers %v", got.status, got.header)
	}
}
