package caddymodule

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// TestCertificates checks C1.10 and C9.2 in real handshakes.
func TestCertificates(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	s.tenant("widgets")
	for _, host := range []string{"acme.auth.example.com", "auth.example.com"} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+discovery, nil)
		resp, err := s.secure("").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if names := resp.TLS.PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != host {
			t.Errorf("%s: got a certificate for %q", host, names)
		}
	}
	for _, host := range []string{"nope.auth.example.com", "www.auth.example.com", "a.acme.auth.example.com", "evil.example.org"} {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.https), &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err == nil {
			t.Errorf("%s: got a certificate for %q", host, c.ConnectionState().PeerCertificates[0].DNSNames)
			c.Close()
		}
	}
	// One connection serves one tenant, whatever Host says.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://widgets.auth.example.com"+discovery, nil)
	if got := s.send(s.secure("acme.auth.example.com"), req); got.status != http.StatusMisdirectedRequest {
		t.Errorf("another tenant's connection: got %d %s", got.status, got.body)
	}
}

// TestPermission checks the answers and their cost: they come from memory.
func TestPermission(t *testing.T) {
	s := newServer(t)
	s.options = "labels {\n shop acme\n }"
	s.start()
	s.tenant("acme")
	p := &Permission{runtime: runningRuntime(t)}
	for name, allowed := range map[string]bool{
		"auth.example.com": true, "acme.auth.example.com": true, "shop.auth.example.com": true,
		"nope.auth.example.com": false, "www.auth.example.com": false, "ACME.auth.example.com": false, "acme.auth.example.com.": false,
		"": false, "*.auth.example.com": false, "a.acme.auth.example.com": false, "127.0.0.1": false,
	} {
		err := p.CertificateAllowed(t.Context(), name)
		if (err == nil) != allowed || err != nil && !errors.Is(err, caddytls.ErrPermissionDenied) {
			t.Errorf("%q: got %v, want allowed %t", name, err, allowed)
		}
	}
	const n = 10_000
	began := time.Now()
	for i := range n {
		_ = p.CertificateAllowed(t.Context(), fmt.Sprintf("random%d.auth.example.com", i))
	}
	if each := time.Since(began) / n; each > 100*time.Microsecond {
		t.Errorf("an answer took %v on average, want at most 100 µs", each)
	}
	if stats := s.services().pool.Stats(); stats.Open > 2 {
		t.Errorf("%d databases are open for names that do not exist", stats.Open)
	}
}

// TestPermissionNotReady: what cannot be known is an error, and no denial that
// somebody remembers.
func TestPermissionNotReady(t *testing.T) {
	err := (&Permission{runtime: new(runtime)}).CertificateAllowed(t.Context(), "acme.auth.example.com")
	if err == nil || errors.Is(err, caddytls.ErrPermissionDenied) {
		t.Errorf("got %v, want an error that is no denial", err)
	}
}
