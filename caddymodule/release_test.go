package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// served is the certificate that a host is served with, "" where there is none.
func (s *server) served(host string) string {
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.https), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err != nil {
		return ""
	}
	defer c.Close()
	return string(c.ConnectionState().PeerCertificates[0].Raw)
}

// stored are the keys in Caddy's storage that are about a host.
func (s *server) stored(host string) (keys []string) {
	s.t.Helper()
	all, err := caddy.ActiveContext().Storage().List(s.t.Context(), "certificates", true)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, k := range all {
		if strings.Contains(k, "/"+host+"/") || strings.HasSuffix(k, "/"+host) {
			keys = append(keys, k)
		}
	}
	return keys
}

// TestRelease: certificates of tenants and domains that are gone are neither
// served nor in memory nor stored any more, and a name that comes back gets a new
// one; all others stay (contract C1.10).
func TestRelease(t *testing.T) {
	for _, storage := range []string{"", "storage gatehouse"} {
		t.Run(storage, func(t *testing.T) {
			zone := withZone(t)
			s := newServer(t)
			s.storage, s.admin = storage, fmt.Sprintf("localhost:%d", freePort(t))
			s.start()
			const domain, other = "login.example.net", "login.example.org"
			claim := func(tenant, domain string) {
				t.Helper()
				s.run("domains", "add", tenant, domain).holds(t)
				zone.prove(t, s.services(), domain)
				s.run("domains", "verify", tenant, domain).holds(t, "is ready")
			}
			first := map[string]string{}
			for _, tenant := range []string{"acme", "widgets"} {
				s.tenant(tenant)
			}
			claim("acme", domain)
			claim("widgets", other)
			hosts := []string{"acme.auth.example.com", domain, "widgets.auth.example.com", other, "auth.example.com"}
			for _, host := range hosts {
				if first[host] = s.served(host); first[host] == "" || !held(host) || len(s.stored(host)) == 0 {
					t.Fatalf("%s: held %t, stored %q", host, held(host), s.stored(host))
				}
			}
			gone := func(host string) {
				t.Helper()
				eventually(t, host+" is released", func() bool { return !held(host) && len(s.stored(host)) == 0 })
				if s.served(host) != "" {
					t.Errorf("%s has a certificate", host)
				}
			}
			s.run("domains", "remove", "widgets", other).holds(t)
			gone(other)
			claim("widgets", other)
			s.run("tenants", "delete", "acme", "--yes").holds(t)
			gone("acme.auth.example.com")
			gone(domain)
			s.tenant("acme")
			claim("widgets", domain) // which was another tenant's
			for _, host := range hosts {
				again := s.served(host)
				same := host == "widgets.auth.example.com" || host == "auth.example.com"
				if again == "" || (again == first[host]) != same {
					t.Errorf("%s: served %t, as before %t", host, again != "", again == first[host])
				}
			}
		})
	}
}

// prove publishes what a pending claim asks for.
func (z *testZone) prove(t *testing.T, s *services, domain string) {
	t.Helper()
	err := s.pool.Do(t.Context(), s.directory.ControlPlane(), func(inside context.Context) error {
		d, err := tenancy.CustomDomains.First(inside, "domain = ? AND status <> ?", domain, tenancy.DomainReady)
		if err != nil {
			return err
		}
		p := s.directory.Hosts().Proofs(d)[0]
		z.records.Store(p.Name, p.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReleaseSpares: a certificate that is for more than the host, and one for a
// host that the configuration names, stay.
func TestReleaseSpares(t *testing.T) {
	s := newServer(t)
	s.sites = fmt.Sprintf(`
		https://*.auth.example.com:%[1]d {
			tls internal
			gatehouse
		}
		https://named.auth.example.com:%[1]d {
			tls internal
			gatehouse
		}`, s.https)
	s.start()
	s.tenant("acme")
	var wildcard string
	eventually(t, "the wildcard certificate is there", func() bool { wildcard = s.served("acme.auth.example.com"); return wildcard != "" })
	loaded, err := caddy.ActiveContext().AppIfConfigured("tls")
	if err != nil {
		t.Fatal(err)
	}
	if err := evict(t.Context(), loaded.(*caddytls.TLS), "acme.auth.example.com"); err != nil {
		t.Error(err)
	}
	if err := s.services().lifecycle.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if !runningRuntime(t).newest().names("named.auth.example.com") || runningRuntime(t).newest().names("acme.auth.example.com") {
		t.Error("which hosts the configuration names is not known")
	}
	r := newReleaser(runningRuntime(t), s.services(), newLog(runningRuntime(t)))
	if err := r.release(t.Context(), "acme.auth.example.com", nil); err != nil {
		t.Error(err)
	}
	if s.served("acme.auth.example.com") != wildcard {
		t.Error("the wildcard certificate is gone")
	}
}

// TestReleaseAtStart: what left while no server was there is released by the next
// one, unless it is so new that another node may just have made it.
func TestReleaseAtStart(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	if s.served("acme.auth.example.com") == "" {
		t.Fatal("no certificate")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.dir, "caddy", "certificates", "local")
	for host, age := range map[string]time.Duration{"old.auth.example.com": 2 * sweepAge, "new.auth.example.com": 0, "old.example.net": 2 * sweepAge} {
		if err := os.CopyFS(filepath.Join(dir, host), os.DirFS(filepath.Join(dir, "acme.auth.example.com"))); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, host, host+".crt")
		if err := os.Rename(filepath.Join(dir, host, "acme.auth.example.com.crt"), file); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old certificate is released", func() bool { return len(s.stored("old.auth.example.com")) == 0 })
	for _, host := range []string{"acme.auth.example.com", "new.auth.example.com", "old.example.net"} {
		if len(s.stored(host)) == 0 {
			t.Errorf("the certificate of %s is gone too", host)
		}
	}
}
