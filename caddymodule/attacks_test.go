package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Attacks of the catalogue on what this package decides: whose a request is, what
// is read of it, and for which names certificates are obtained. Their numbers are
// the catalogue's.

// raw sends bytes as they stand and reads one answer.
func (s *server) raw(request string) reply {
	s.t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.http))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{status: -1} // the connection ended, which is an answer too
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// TestA05TenantSelection: nothing but the host says whose a request is (C1.1, C1.2,
// C9.1, C9.3; ZITADEL CVE-2025-64101, caddy-security CVE-2024-21498, -21499).
func TestA05TenantSelection(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	s.tenant("widgets")
	const host = "widgets.auth.example.com"
	for _, header := range [][]string{
		{"X-Tenant-ID", "acme"},
		{"Tenant-Id", "acme"},
		{"Gatehouse-Tenant", "acme"},
		{"Auth0-Custom-Domain", "acme.auth.example.com"},
		{"X-Forwarded-Host", "acme.auth.example.com"},
		{"X-Forwarded-Proto", "http"},
		{"Forwarded", "host=acme.auth.example.com;proto=http"},
		{"X-Original-Host", "acme.auth.example.com"},
		{"X-Host", "acme.auth.example.com"},
		{"X-Forwarded-Server", "acme.auth.example.com"},
		{"X-Original-URL", "https://acme.auth.example.com/"},
		{"X-Rewrite-URL", "/"},
		{"X-Forwarded-Port", "1"},
		{"Referer", "https://acme.auth.example.com/"},
		{"Cookie", "tenant=acme; tenant_id=acme"},
		{"X-Forwarded-Prefix", "/acme"},
	} {
		if got := s.do("GET", host, discovery+"?tenant_id=acme&tenant=acme", header...); got.status != 200 || got.member(t, "issuer") != "https://"+host+"/" {
			t.Errorf("%v: got %d %.200s", header, got.status, got.body)
		}
	}
	for name, c := range map[string]struct {
		request string
		status  int    // of a refusal; 200 for an answer of issuer
		issuer  string // host
	}{
		"two hosts":            {"GET " + discovery + " HTTP/1.1\r\nHost: acme.auth.example.com\r\nHost: widgets.auth.example.com\r\n\r\n", 400, ""},
		"no host":              {"GET " + discovery + " HTTP/1.1\r\n\r\n", 400, ""},
		"absolute form":        {"GET http://acme.auth.example.com" + discovery + " HTTP/1.1\r\nHost: widgets.auth.example.com\r\n\r\n", 200, "acme.auth.example.com"}, // RFC 9112 section 3.2.2
		"user in the host":     {"GET " + discovery + " HTTP/1.1\r\nHost: acme@widgets.auth.example.com\r\n\r\n", 400, ""},
		"NUL in the host":      {"GET " + discovery + " HTTP/1.1\r\nHost: widgets.auth.example.com\x00.evil.org\r\n\r\n", 400, ""},
		"two trailing dots":    {"GET " + discovery + " HTTP/1.1\r\nHost: widgets.auth.example.com..\r\n\r\n", 400, ""},
		"raw IDN":              {"GET " + discovery + " HTTP/1.1\r\nHost: w\u0131dgets.auth.example.com\r\n\r\n", 400, ""},
		"length and chunks":    {"POST /oauth/token HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 415, ""},
		"two lengths":          {"POST /oauth/token HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, ""},
		"a space before colon": {"GET " + discovery + " HTTP/1.1\r\nHost : acme.auth.example.com\r\n\r\n", 400, ""},
	} {
		got := s.raw(c.request)
		if got.status != c.status || c.issuer != "" && got.member(t, "issuer") != "https://"+c.issuer+"/" {
			t.Errorf("%s: got %d %.200s, want %d %s", name, got.status, got.body, c.status, c.issuer)
		}
	}
}

// TestA06ManyHosts: with so many tenants that Caddy looks hosts up in another way,
// large letters are still the same tenant, and encoded paths are no way past a
// handler (CVE-2026-27588, -27587; headers that tell of identity: TestTenantAuthHeaders).
func TestA06ManyHosts(t *testing.T) {
	s := newServer(t)
	var hosts []string
	for i := range 150 {
		hosts = append(hosts, fmt.Sprintf("http://t%d.auth.example.com:%d", i, s.http))
	}
	s.sites = strings.Join(hosts, ", ") + " {\n gatehouse\n }\n"
	s.start()
	s.tenant("t7")
	for _, host := range []string{"t7.auth.example.com", "T7.AUTH.EXAMPLE.COM", "t7.Auth.example.com"} {
		if got := s.get(host, discovery); got.status != 200 || got.member(t, "issuer") != "https://t7.auth.example.com/" {
			t.Errorf("%s: got %d %.200s", host, got.status, got.body)
		}
	}
	for _, path := range []string{"/.well-known/%6fpenid-configuration/", "/%2e%2e/api/v2/users", "//api/v2/users", "/api%2fv2/users", "/API/v2/users"} {
		if got := s.get("t7.auth.example.com", path); got.status != 404 && got.status != 401 {
			t.Errorf("C9.15: %s: got %d %.200s", path, got.status, got.body)
		}
	}
}

// TestA07Squatting: nobody gets a tenant of a name that means something else
// (C1.8, C8.3).
func TestA07Squatting(t *testing.T) {
	s := newServer(t).start()
	for _, id := range []string{
		"admin", "www", "api", "login", "auth", "mail", "control-plane", "control_plane", "localhost", "settings", "import",
		"xn--acme-9za", "*", "a.b", "acme.", "-acme", "acme-", "ACME", "\u0430cme", "acme\x00", strings.Repeat("a", 51),
	} {
		if _, err := s.services().lifecycle.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: "x"}); tenancy.StatusOf(err) != http.StatusBadRequest {
			t.Errorf("%q: got %v, want 400", id, err)
		}
	}
	if n := s.services().directory.Len(); n != 1 {
		t.Errorf("%d tenants are there, want only the control plane", n)
	}
}

// TestA30Bodies: what is too large or malformed is refused with an answer of the
// contract, without being kept in memory (C0.3, C0.6).
func TestA30Bodies(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	const form, text = "application/x-www-form-urlencoded", "application/json"
	post := func(path, kind string, body io.Reader) reply {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "POST", fmt.Sprintf("http://127.0.0.1:%d%s", s.http, path), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "acme.auth.example.com"
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return reply{status: 413, body: `{"error":"the connection ended while the body was sent"}`}
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body) // may be cut off by the end of the connection
		return reply{resp.StatusCode, resp.Header, string(answer)}
	}
	endless := func() io.Reader { return io.LimitReader(filler{}, 100<<20) }
	goruntime.GC()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	for name, c := range map[string]struct {
		kind string
		body io.Reader
		want []int
	}{
		"100 MB of form":    {form, endless(), []int{413}},
		"100 MB of JSON":    {text, endless(), []int{413, 400}},
		"10^5 parameters":   {form, strings.NewReader("grant_type=x" + strings.Repeat("&a=b", 100_000)), []int{400}},
		"10^6 parameters":   {form, strings.NewReader("grant_type=x" + strings.Repeat("&a=b", 1_000_000)), []int{413}},
		"deep JSON":         {text, strings.NewReader(strings.Repeat(`{"a":`, 100_000)), []int{400}},
		"deep list":         {text, strings.NewReader(`{"grant_type":` + strings.Repeat(`[`, 500_000)), []int{400}},
		"invalid UTF-8":     {form, strings.NewReader("grant_type=%ff%fe&client_id=\xff"), []int{400, 401}},
		"JSON and no UTF-8": {text, strings.NewReader("{\"grant_type\":\"\xff\"}"), []int{400, 401}},
		"half an escape":    {form, strings.NewReader("grant_type=%"), []int{400}},
		"a bomb, unpacked":  {"application/gzip", bytes.NewReader([]byte{0x1f, 0x8b, 8, 0, 0}), []int{415}},
		"no kind":           {"", strings.NewReader("grant_type=x"), []int{415}},
		"an odd kind":       {"multipart/form-data; boundary=x", strings.NewReader("--x--"), []int{415}},
	} {
		got := post("/oauth/token", c.kind, c.body)
		found := false
		for _, status := range c.want {
			found = found || got.status == status
		}
		if !found || got.member(t, "error") == "" {
			t.Errorf("%s: got %d %.200s, want %v", name, got.status, got.body, c.want)
		}
	}
	goruntime.GC()
	goruntime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d MiB stayed", grown>>20)
	}
	if got := s.raw("GET " + discovery + " HTTP/1.1\r\nHost: acme.auth.example.com\r\nX-Large: " + strings.Repeat("a", 2<<20) + "\r\n\r\n"); got.status != 431 && got.status != -1 {
		t.Errorf("2 MB of header: got %d", got.status)
	}
	if got := s.get("acme.auth.example.com", discovery); got.status != 200 {
		t.Errorf("afterwards: got %d", got.status)
	}
}

// filler reads as the letter a without end.
type filler struct{}

func (filler) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'a'
	}
	return len(b), nil
}

// TestA31OnDemandNames: of 100,000 made-up names none is allowed a certificate, and
// asking for them leaves nothing in memory (C1.10).
func TestA31OnDemandNames(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	p := &Permission{runtime: runningRuntime(t)}
	ask := func(name string) error { return p.CertificateAllowed(context.Background(), name) }
	goruntime.GC()
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	for i := range 100_000 {
		name := fmt.Sprintf("n%x", rand.Uint64())
		name += []string{".auth.example.com", ".example.org", ".acme.auth.example.com", "auth.example.com", ".auth.example.com.evil.org"}[i%5]
		if err := ask(name); !errors.Is(err, caddytls.ErrPermissionDenied) {
			t.Fatalf("%s: got %v", name, err)
		}
	}
	goruntime.GC()
	goruntime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d KiB stayed", grown>>10)
	}
	for _, name := range []string{"acme.auth.example.com", "auth.example.com"} {
		if err := ask(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
