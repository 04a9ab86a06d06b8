package caddymodule

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() { caddy.RegisterModule(new(mirrored)) }

// mirrored is a resolver of a third party: the tenant's id is the label, backwards.
type mirrored struct {
	Domain string `json:"domain"`
}

func (*mirrored) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse.resolvers.test_mirrored", New: func() caddy.Module { return new(mirrored) }}
}

func (m *mirrored) Resolver() (tenancy.HostResolver, error) { return *m, nil }

func (m *mirrored) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return text(&m.Domain)(d)
}

func backwards(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

func (m mirrored) Resolve(host string) (string, bool) {
	label, ok := strings.CutSuffix(host, "."+m.Domain)
	return backwards(label), ok
}

func (m mirrored) HostsOf(id string) []string { return []string{backwards(id) + "." + m.Domain} }

// TestResolvers: nested labels, environment suffixes, and a third party's module
// find tenants, which are issuers at each of these hosts, and no other host does.
func TestResolvers(t *testing.T) {
	s := newServer(t)
	s.options = `resolve {
		custom_domain
		map {
			app.{tenant}.auth.example.com
			{tenant}-staging.auth.example.com
			shop.example.com acme
		}
		subdomain
		test_mirrored mirror.test
	}`
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	acme := []string{"acme.auth.example.com", "shop.example.com", "acme-staging.auth.example.com", "app.acme.auth.example.com", "emca.mirror.test"}
	for _, host := range acme {
		got := s.get(host, discovery)
		if got.status != http.StatusOK || got.member(t, "issuer") != "https://"+host+"/" {
			t.Errorf("%s: got %d %s", host, got.status, got.body)
		}
		if !s.services().certifies(host) {
			t.Errorf("%s gets no certificate", host)
		}
	}
	if got := s.services().directory.HostsOf("acme"); !slices.Equal(got, acme) {
		t.Errorf("hosts of acme: %v, want %v", got, acme)
	}
	if got := s.get("app.widgets.auth.example.com", discovery); got.member(t, "issuer") != "https://app.widgets.auth.example.com/" {
		t.Errorf("the neighbour: %s", got.body)
	}
	for _, host := range []string{"app.nobody.auth.example.com", "app.app.acme.auth.example.com", "acme.mirror.test", "nobody-staging.auth.example.com", "mirror.test"} {
		if got := s.get(host, discovery); got.status != http.StatusNotFound {
			t.Errorf("%s: got %d %s", host, got.status, got.body)
		}
		if s.services().certifies(host) {
			t.Errorf("%s gets a certificate", host)
		}
	}
	if _, err := s.services().lifecycle.Create(t.Context(), tenancy.NewTenant{ID: "acme-staging"}); err == nil {
		t.Error("a tenant was made whose host is acme's")
	}
}

// TestResolveHeader: what a trusted proxy says of a host that is nobody's; the URLs
// are the tenant's own. Anybody else's header has no effect (C1.2).
func TestResolveHeader(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		s := newServer(t)
		s.options = "resolve custom_domain subdomain header"
		if trusted {
			s.global = "servers {\n trusted_proxies static 127.0.0.1/32\n }"
		}
		s.start()
		s.tenant("acme")
		s.tenant("widgets")
		named := s.do("GET", "edge.example.net", discovery, "Gatehouse-Tenant", "acme")
		if trusted && (named.status != 200 || !strings.HasPrefix(named.member(t, "issuer"), "https://acme.auth.example.com")) || !trusted && named.status != 404 {
			t.Errorf("trusted %v: got %d %s", trusted, named.status, named.body)
		}
		if got := s.do("GET", "widgets.auth.example.com", discovery, "Gatehouse-Tenant", "acme"); got.member(t, "issuer") != "https://widgets.auth.example.com/" {
			t.Errorf("trusted %v: the header changed whose a host is: %s", trusted, got.body)
		}
		for _, other := range []string{"", "nobody", "acme,widgets"} {
			if got := s.do("GET", "edge.example.net", discovery, "Gatehouse-Tenant", other); got.status != http.StatusNotFound {
				t.Errorf("trusted %v, %q: got %d", trusted, other, got.status)
			}
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReloadOfResolvers: a reload that changes only a resolver's options takes effect.
func TestReloadOfResolvers(t *testing.T) {
	s := newServer(t)
	s.options = "resolve {\n subdomain\n map {\n one.example.com acme\n }\n }"
	s.start()
	s.tenant("acme")
	s.options = "resolve {\n subdomain\n map {\n two.example.com acme\n }\n }"
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new host answers", func() bool { return s.get("two.example.com", discovery).status == 200 })
	if got := s.get("one.example.com", discovery); got.status != 404 {
		t.Errorf("the old host: got %d", got.status)
	}
}

// TestResolverMistakes: what a configuration in JSON may have wrong is found when
// it is loaded.
func TestResolverMistakes(t *testing.T) {
	for _, c := range []struct {
		module ResolverModule
		want   string
	}{
		{&MapResolver{}, "map: has no hosts"},
		{&MapResolver{Hosts: map[string]string{"*.example.com": "acme"}}, "map: \"*.example.com\" is no host"},
		{&HeaderResolver{Name: "a b"}, "can be no header's name"},
		{&HeaderResolver{Name: "tenant-id"}, "says which tenant the management API acts on"},
		{&HeaderResolver{Name: "X-TENANT-ID"}, "says which tenant the management API acts on"},
	} {
		if _, err := c.module.Resolver(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.module, err, c.want)
		}
	}
}
