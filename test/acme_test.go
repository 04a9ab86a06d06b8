package test

import (
	"bufio"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// updateKey is the TSIG key by which records are changed.
const updateKey = "c2l4dGVlbiBieXRlcyBmb3IgdGVzdHMgb25seQ=="

// authority is Pebble with a name server, see acme/main.go: every name leads to
// this machine, and every challenge is checked.
type authority struct {
	Directory, Trust, Root, DNS string

	roots   *x509.CertPool
	trust   string // file with Trust
	records io.Writer
	replies *bufio.Reader
	log     *lockedBuffer
}

func startAuthority(t *testing.T, httpPort, tlsPort int) *authority {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "acme")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir, build.Env = "acme", append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the authority: %v\n%s", err, out)
	}
	a := &authority{roots: x509.NewCertPool(), trust: filepath.Join(dir, "trust.pem"), log: new(lockedBuffer)}
	cmd := exec.Command(binary, "-http", fmt.Sprint(httpPort), "-tls", fmt.Sprint(tlsPort), "-key", updateKey)
	cmd.Stderr = a.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the authority: %v\n%s", err, a.log)
		}
	})
	a.records, a.replies = in, bufio.NewReader(out)
	line, err := a.replies.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the authority does not start: %v\n%s", err, a.log)
	}
	if err := json.Unmarshal(line, a); err != nil {
		t.Fatal(err)
	}
	if !a.roots.AppendCertsFromPEM([]byte(a.Root)) {
		t.Fatalf("no root: %s", line)
	}
	if err := os.WriteFile(a.trust, []byte(a.Trust), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// publish adds a TXT record, as a domain's owner does.
func (a *authority) publish(t *testing.T, name, value string) {
	t.Helper()
	if _, err := fmt.Fprintln(a.records, name, value); err != nil {
		t.Fatal(err)
	}
	if line, err := a.replies.ReadString('\n'); err != nil || line != "ok\n" {
		t.Fatalf("publishing %s: %q, %v", name, line, err)
	}
}

// orders counts all that were made.
func (a *authority) orders() int { return strings.Count(a.log.String(), "Added order ") }

// certificate is what a host is served with, if the authority has signed it.
func (a *authority) certificate(p *process, host string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port), &tls.Config{ServerName: host, RootCAs: a.roots})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// serves reports the names a host's certificate is for.
func (a *authority) serves(t *testing.T, p *process, host, name string) *x509.Certificate {
	t.Helper()
	cert, err := a.certificate(p, host)
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", host, err, p.output, a.log)
	}
	if !slices.Equal(cert.DNSNames, []string{name}) {
		t.Errorf("%s is served with a certificate for %q, want %s", host, cert.DNSNames, name)
	}
	return cert
}

// acmeConfig makes of a Caddyfile in the pages one for this machine.
func (a *authority) acmeConfig(t *testing.T, g *gateway, httpPort int, page, issuer string) string {
	t.Helper()
	if !strings.HasPrefix(page, "{\n") || !strings.Contains(page, "base_domain auth.example.com\n") {
		t.Fatalf("not the configuration that was expected: %s", page)
	}
	global := fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	https_port %d
	http_port %d
	auto_https disable_redirects
	storage file_system %q
	grace_period 1s
	%s
	log {
		output file %q
		level DEBUG
	}
`, g.port, httpPort, filepath.Join(g.dir, "caddy"), issuer, filepath.Join(g.dir, "caddy.log"))
	own := fmt.Sprintf("base_domain auth.example.com\n\t\tdata %q\n\t\tclient %s %q\n", filepath.Join(g.dir, "data"), managerID, managerSecret)
	return strings.NewReplacer("{\n\ton_demand_tls", global+"\ton_demand_tls", "base_domain auth.example.com\n", own,
		"dns cloudflare {env.CF_TOKEN}", fmt.Sprintf("dns rfc2136 %s test %s\n\t\tresolvers %[1]s", a.DNS, updateKey)).Replace(page)
}

// TestACME has certificates ordered from an authority that checks every challenge,
// by the configuration the page of options shows (contract C1.10, C5.88): one for
// all tenants by DNS-01, by a gateway built with a DNS provider as xcaddy builds
// it; each on demand by HTTP-01 and by TLS-ALPN-01; and one for a custom domain
// once it is proven. Names of nobody's have nothing ordered.
func TestACME(t *testing.T) {
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	binary, _ := gatewayWith(t, "example.com/gatehouse-rfc2136", "rfc2136")
	a := startAuthority(t, ports[0], ports[1])
	page := blocks(t, "Caddyfile", "docs/configuration.md")[0].text
	start := func(t *testing.T, page, issuer string) *process {
		t.Helper()
		g := gateway{port: ports[1], dir: t.TempDir(), base: "auth.example.com", binary: binary, env: []string{"GATEHOUSE_TEST_DNS=" + a.DNS}}
		return startProcess(t, g, a.acmeConfig(t, &g, ports[0], page, issuer))
	}
	t.Run("wildcard by DNS-01", func(t *testing.T) {
		p := start(t, page, fmt.Sprintf("acme_ca %s\n\tacme_ca_root %q", a.Directory, a.trust))
		a.wildcard(t, p)
		a.customDomain(t, p)
	})
	onDemand := strings.Replace(page, "dns cloudflare {env.CF_TOKEN}", "on_demand", 1)
	for kind, others := range map[string]string{"http-01": "disable_tlsalpn_challenge", "tls-alpn-01": "disable_http_challenge"} {
		t.Run("on demand by "+kind, func(t *testing.T) {
			before := a.orders()
			p := start(t, onDemand, fmt.Sprintf("cert_issuer acme {\n\t\tdir %s\n\t\ttrusted_roots %q\n\t\t%s\n\t}", a.Directory, a.trust, others))
			p.platform(t).create(t, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"})
			for _, host := range []string{"acme.auth.example.com", "auth.example.com"} {
				a.serves(t, p, host, host)
			}
			for _, host := range []string{"widgets.auth.example.com", "x.acme.auth.example.com", "example.net"} {
				if cert, err := a.certificate(p, host); err == nil {
					t.Errorf("%s, which is nobody's, has a certificate for %q", host, cert.DNSNames)
				}
			}
			if n := a.orders() - before; n != 2 {
				t.Errorf("%d orders for 2 hosts", n)
			}
			p.solved(t, kind, 2)
		})
	}
}

// wildcard checks that one certificate serves all tenants, also one made later.
func (a *authority) wildcard(t *testing.T, p *process) {
	t.Helper()
	within(t, 20*time.Second, "the wildcard certificate is there", func() bool { _, err := a.certificate(p, "acme.auth.example.com"); return err == nil })
	cert := a.serves(t, p, "acme.auth.example.com", "*.auth.example.com")
	p.platform(t).create(t, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"})
	if now := a.serves(t, p, "acme.auth.example.com", "*.auth.example.com"); !now.Equal(cert) {
		t.Error("a new tenant has a certificate of its own")
	}
	a.serves(t, p, "auth.example.com", "auth.example.com")
	if n := a.orders(); n != 2 {
		t.Errorf("%d orders for a domain and its wildcard", n)
	}
	p.solved(t, "dns-01", 2)
}

// customDomain takes a domain from the claim to a certificate.
func (a *authority) customDomain(t *testing.T, p *process) {
	t.Helper()
	const host = "login.example.net"
	acme := p.platform(t).on("acme")
	before := a.orders()
	claim := func() (id string, methods []any) {
		m := acme.create(t, "/custom-domains", map[string]any{"domain": host, "type": "auth0_managed_certs"})
		return m["custom_domain_id"].(string), m["verification"].(map[string]any)["methods"].([]any)
	}
	prove := func(id string, methods []any) {
		t.Helper()
		for _, m := range methods {
			if m := m.(map[string]any); m["name"] == "txt" {
				a.publish(t, m["domain"].(string), m["record"].(string))
			}
		}
		if got := acme.call(t, http.MethodPost, "/custom-domains/"+id+"/verify", nil).want(t, http.StatusOK).member(t, "status"); got != "ready" {
			t.Fatalf("the proven domain is %s", got)
		}
		within(t, 20*time.Second, "the domain is served", func() bool { _, err := a.certificate(p, host); return err == nil })
	}
	id, methods := claim()
	if cert, err := a.certificate(p, host); err == nil {
		t.Errorf("a pending domain has a certificate for %q", cert.DNSNames)
	}
	acme.call(t, http.MethodPost, "/custom-domains/"+id+"/verify", nil).want(t, http.StatusOK)
	if _, err := a.certificate(p, host); err == nil || a.orders() != before {
		t.Errorf("a domain without proof: %v, %d orders", err, a.orders()-before)
	}
	prove(id, methods)
	first := a.serves(t, p, host, host)
	if n := a.orders() - before; n != 1 {
		t.Errorf("%d orders for one domain", n)
	}
	// Removed it has no certificate, and back again another one.
	acme.call(t, http.MethodDelete, "/custom-domains/"+id, nil).want(t, http.StatusNoContent)
	within(t, soon, "the certificate is released", func() bool { _, err := a.certificate(p, host); return err != nil })
	if left, err := filepath.Glob(filepath.Join(p.dir, "caddy", "certificates", "*", host)); err != nil || len(left) > 0 {
		t.Errorf("stored still: %q, %v", left, err)
	}
	prove(claim())
	if again := a.serves(t, p, host, host); again.Equal(first) || again.PublicKey.(interface{ Equal(x crypto.PublicKey) bool }).Equal(first.PublicKey) {
		t.Error("the domain that came back has its old certificate or key")
	}
}

// solved checks how the gateway's orders were proven.
func (p *process) solved(t *testing.T, kind string, want int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"validations succeeded; finalizing order"`) {
			got++
		}
		if strings.Contains(line, `"trying to solve challenge"`) && !strings.Contains(line, `"challenge_type":"`+kind+`"`) {
			t.Errorf("another challenge than %s: %s", kind, line)
		}
	}
	if got != want {
		t.Errorf("%d orders were proven, want %d", got, want)
	}
}
