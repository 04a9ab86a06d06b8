package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// testZone is the DNS of tests.
type testZone struct{ records sync.Map }

func (z *testZone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if value, ok := z.records.Load(strings.TrimSuffix(name, ".")); ok {
		return []string{value.(string)}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *testZone) LookupCNAME(_ context.Context, name string) (string, error) {
	return "", &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// withZone gives a server that is not started yet a DNS.
func withZone(t *testing.T) *testZone {
	z, before := &testZone{}, domainProver
	domainProver = tenancy.Prover{Resolver: z, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("tests have no web")
	}}
	t.Cleanup(func() { domainProver = before })
	return z
}

// TestDomainCommands takes a domain from the command line to a certificate and an
// issuer, and back (C1.4, C1.10, C1.11, C5.88).
func TestDomainCommands(t *testing.T) {
	zone := withZone(t)
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	s.run("tenants", "create", "acme").holds(t)
	s.run("tenants", "create", "widgets").holds(t)
	allowed := func(name string) bool {
		return (&Permission{runtime: runningRuntime(t)}).CertificateAllowed(t.Context(), name) == nil
	}
	const host = "login.example.net"
	issuer := func() (int, string) {
		t.Helper()
		a := s.do(http.MethodGet, host, discovery)
		var doc struct{ Issuer string }
		_ = json.Unmarshal([]byte(a.body), &doc)
		return a.status, doc.Issuer
	}

	s.run("domains", "list", "nobody").fails(t, exitFailed, "There is no tenant 'nobody'")
	s.run("domains", "add", "acme", "acme.auth.example.com").fails(t, exitFailed, "belongs to this server already")
	s.run("domains", "add", "acme", host, "--primary").holds(t, host+" is pending_verification", "_gatehouse."+host, "gatehouse-verify=")
	if status, _ := issuer(); status != http.StatusNotFound || allowed(host) { // SC-007
		t.Errorf("pending: discovery answers %d, a certificate is allowed: %t", status, allowed(host))
	}
	x := s.run("domains", "verify", "acme", host)
	if x.failure == nil || !strings.Contains(x.out, "Not verified:") || !strings.Contains(x.err, "publish one of the proofs") {
		t.Errorf("verified without a proof: %v\n%s%s", x.failure, x.out, x.err)
	}
	var list domainList
	if err := json.Unmarshal([]byte(s.run("domains", "list", "acme", "--json").holds(t).out), &list); err != nil || len(list.Domains) != 1 {
		t.Fatalf("domains %v %v", list, err)
	}
	txt := list.Domains[0].Proofs[0]
	token := strings.TrimPrefix(txt.Value, "gatehouse-verify=")
	if a := s.do(http.MethodGet, host, tenancy.ProofPath+token); a.status != http.StatusNotFound {
		t.Errorf("the proof of a pending claim is answered with %d: whatever leads here would be proven", a.status)
	}
	zone.records.Store(txt.Name, txt.Value)
	s.run("domains", "verify", "acme", host).holds(t, host+" is ready.")
	s.run("domains", "verify", "widgets", host).fails(t, exitFailed, "The tenant has no such domain", "domains list")
	s.run("domains", "add", "widgets", host).fails(t, exitFailed, "already exists")
	s.run("domains", "list", "acme").holds(t, host, "ready", "yes")
	s.run("tenants", "show", "acme").holds(t, "https://"+host)

	status, name := issuer()
	if status != http.StatusOK || !strings.HasPrefix(name, "https://"+host) {
		t.Errorf("discovery answers %d with issuer %q", status, name)
	}
	for name, want := range map[string]bool{host: true, "www." + host: false, "acme.auth.example.com": true, "LOGIN.example.net": false} {
		if allowed(name) != want {
			t.Errorf("a certificate for %s is allowed: %t", name, !want)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+discovery, nil)
	resp, err := s.secure("").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if names := resp.TLS.PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != host {
		t.Errorf("got a certificate for %q", names)
	}
	if a := s.do(http.MethodGet, host, tenancy.ProofPath+token); a.status != http.StatusOK || string(a.body) != token {
		t.Errorf("the ready domain's own proof: %d %s", a.status, a.body)
	}
	for _, at := range []string{"acme.auth.example.com", "widgets.auth.example.com"} {
		if a := s.do(http.MethodGet, at, tenancy.ProofPath+token); a.status != http.StatusNotFound {
			t.Errorf("the proof at %s: %d", at, a.status)
		}
	}
	s.run("domains", "remove", "widgets", host).fails(t, exitFailed, "The tenant has no such domain")
	// A restored tenant has its domain again, once it is proven again.
	file := filepath.Join(t.TempDir(), "acme")
	s.run("backup", "acme", file).holds(t)
	for _, proven := range []bool{false, true} {
		s.run("tenants", "delete", "acme", "--yes").holds(t)
		if zone.records.Delete(txt.Name); proven {
			zone.records.Store(txt.Name, txt.Value)
		}
		s.run("restore", file).holds(t, "Tenant acme is active")
		if status, _ := issuer(); (status == http.StatusOK) != proven || allowed(host) != proven {
			t.Errorf("restored, proven %t: discovery answers %d, a certificate is allowed: %t", proven, status, allowed(host))
		}
	}
	s.run("domains", "list", "acme").holds(t, host, "ready", "yes")
	s.run("domains", "remove", "acme", host).holds(t, "Tenant acme no longer has "+host)
	if status, _ := issuer(); status != http.StatusNotFound || allowed(host) {
		t.Errorf("removed: discovery answers %d, a certificate is allowed: %t", status, allowed(host))
	}
}
