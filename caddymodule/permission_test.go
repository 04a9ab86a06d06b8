package caddymodule

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
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

// TestOnDemandNeedsPermission: a configuration by which anybody could have
// certificates made is refused when it is loaded or validated, with the line to
// add.
func TestOnDemandNeedsPermission(t *testing.T) {
	const want = "certificates are made on demand, and not by Gatehouse's permission, so anybody could have them made for any name; add to the global options: on_demand_tls { permission gatehouse }"
	for _, c := range []struct{ name, permission, issuer, want string }{
		{"no permission, Caddy's own authority", "", "internal", want},
		{"another's permission", "on_demand_tls {\n ask http://127.0.0.1:1/\n }", "internal", want},
		{"another's permission, a public authority", "on_demand_tls {\n permission http http://127.0.0.1:1/\n }", "", want},
		{"no permission, a public authority", "", "", "on-demand TLS cannot be enabled without a permission module"}, // Caddy's own
		{"gatehouse's", "on_demand_tls {\n permission gatehouse\n }", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			text := fmt.Sprintf("{\n admin off\n %s\n storage file_system %q\n gatehouse {\n base_domain auth.example.com\n data %q\n }\n }\n https://*.auth.example.com:%d {\n tls %s {\n on_demand\n }\n gatehouse\n }\n",
				c.permission, filepath.Join(s.dir, "caddy"), s.data, s.https, c.issuer)
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			var cfg caddy.Config
			if err := json.Unmarshal(adapted, &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err := caddy.Load(adapted, true); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if err := caddy.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// counting is an authority that counts orders and refuses them.
type counting struct{ orders atomic.Int64 }

var refusing = new(counting)

func init() { caddy.RegisterModule(refusing) }

func (*counting) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.test_counting", New: func() caddy.Module { return refusing }}
}

func (*counting) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*counting) IssuerKey() string { return "counting" }

func (c *counting) Issue(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	c.orders.Add(1)
	return nil, certmagic.ErrNoRetry{Err: errors.New("refused")}
}

// TestRandomNames has 100,000 names of nobody's asked for, in what a handshake
// asks: nothing is ordered, no database is opened, and the memory for it is
// bounded. A tenant's name is still ordered then (C1.10).
func TestRandomNames(t *testing.T) {
	s := newServer(t)
	s.sites = fmt.Sprintf("https://:%d {\n tls {\n issuer test_counting\n on_demand\n }\n gatehouse\n }", s.https)
	s.start()
	s.tenant("acme")
	certificate := s.certificates(t)
	shapes := []string{"%s.auth.example.com", "acme%s.auth.example.com", "%s.acme.auth.example.com", "%s.example.net", "xn--%s.auth.example.com"}
	ask := func(n int) {
		for i := range n {
			name := fmt.Sprintf(shapes[i%len(shapes)], strings.ToLower(rand.Text()))
			if cert, err := certificate(name); err == nil {
				t.Fatalf("%s has a certificate for %q", name, cert.Leaf.DNSNames)
			}
		}
	}
	refusing.orders.Store(0)
	ask(1000)
	before, open := heap(), s.services().pool.Stats().Open
	ask(99_000)
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("memory grew by %d KiB", grown>>10)
	}
	if n := refusing.orders.Load(); n != 0 {
		t.Errorf("%d orders for names of nobody's", n)
	}
	if now := s.services().pool.Stats().Open; now != open {
		t.Errorf("%d databases are open, before it were %d", now, open)
	}
	if _, err := certificate("acme.auth.example.com"); err == nil || refusing.orders.Load() != 1 {
		t.Errorf("a tenant's host: %v, %d orders", err, refusing.orders.Load())
	}
}

// certificates is what a handshake with a name asks.
func (s *server) certificates(t *testing.T) func(name string) (*tls.Certificate, error) {
	t.Helper()
	loaded, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	for _, server := range loaded.(*caddyhttp.App).Servers {
		for _, p := range server.TLSConnPolicies {
			return func(name string) (*tls.Certificate, error) {
				return p.TLSConfig.GetCertificate(&tls.ClientHelloInfo{
					ServerName: name, Conn: ours, SupportedVersions: []uint16{tls.VersionTLS13}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
					SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.X25519},
				})
			}
		}
	}
	t.Fatal("no server speaks TLS")
	return nil
}

// heap is the memory in use, in bytes.
func heap() int64 {
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestPermissionNotReady: what cannot be known is an error, and no denial that
// somebody remembers.
func TestPermissionNotReady(t *testing.T) {
	err := (&Permission{runtime: new(runtime)}).CertificateAllowed(t.Context(), "acme.auth.example.com")
	if err == nil || errors.Is(err, caddytls.ErrPermissionDenied) {
		t.Errorf("got %v, want an error that is no denial", err)
	}
}
