package tenancy

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func mapped(t *testing.T, hosts map[string]string) *HostMap {
	t.Helper()
	m, err := NewHostMap(hosts)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Nested labels, environment suffixes and hosts written out; the closest pattern
// wins, and what a pattern says is what it lists.
func TestHostMap(t *testing.T) {
	m := mapped(t, map[string]string{
		"app.{tenant}.auth.example.com":         PlaceOfTenant,
		"{tenant}-staging.auth.example.com":     PlaceOfTenant,
		"{tenant}-eu-staging.auth.example.com":  PlaceOfTenant,
		"shop.example.com":                      "acme",
		"app.fixed.auth.example.com":            "widgets",
		"platform.example.com":                  "control_plane",
		"login.{tenant}.localhost":              PlaceOfTenant,
		"{tenant}.deep.label.auth.example.com":  PlaceOfTenant,
		"x{tenant}y.middle.auth.example.com":    PlaceOfTenant,
		"{tenant}-qa.env.internal.auth.test.io": PlaceOfTenant,
	})
	for host, want := range map[string]string{
		"app.acme.auth.example.com":                            "acme",
		"acme-staging.auth.example.com":                        "acme",
		"acme-eu-staging.auth.example.com":                     "acme",
		"a-b-staging.auth.example.com":                         "a-b",
		"shop.example.com":                                     "acme",
		"app.fixed.auth.example.com":                           "widgets",
		"platform.example.com":                                 "control_plane",
		"login.acme.localhost":                                 "acme",
		"acme.deep.label.auth.example.com":                     "acme",
		"xacmey.middle.auth.example.com":                       "acme",
		"xy.middle.auth.example.com":                           "",
		"app.a.b.auth.example.com":                             "",
		"app..auth.example.com":                                "",
		"-staging.auth.example.com":                            "",
		"app.-acme.auth.example.com":                           "",
		"app.xn--acme.auth.example.com":                        "",
		"app.settings.auth.example.com":                        "",
		"app.acme.auth.example.com.evil.org":                   "",
		"evilapp.acme.auth.example.com":                        "",
		"acme-stagingauth.example.com":                         "",
		"www.shop.example.com":                                 "",
		"example.com":                                          "",
		"app." + strings.Repeat("a", 51) + ".auth.example.com": "", // C1.8
	} {
		if id, ok := m.Resolve(host); id != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", host, id, ok, want)
		}
	}
	for id, want := range map[string][]string{
		"acme":          {"shop.example.com", "{}-qa.env.internal.auth.test.io", "{}.deep.label.auth.example.com", "x{}y.middle.auth.example.com", "{}-eu-staging.auth.example.com", "{}-staging.auth.example.com", "app.{}.auth.example.com", "login.{}.localhost"},
		"control_plane": {"platform.example.com"},
	} {
		got := m.HostsOf(id)
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], "{}", id)
		}
		slices.Sort(want)
		for _, host := range got {
			if named, _ := m.Resolve(host); named != id {
				t.Errorf("%s is listed as %s's and is %q's", host, id, named)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("hosts of %s: got %v, want %v", id, got, want)
		}
	}
	if slices.Contains(m.HostsOf("fixed"), "app.fixed.auth.example.com") {
		t.Error("a host of widgets is listed as one of fixed")
	}
	if n := testing.AllocsPerRun(10, func() { m.Resolve("app.acme.auth.example.com") }); n != 0 {
		t.Errorf("resolving allocates %v times", n)
	}
}

func TestHostMapMistakes(t *testing.T) {
	t.Parallel()
	for host, tenant := range map[string]string{
		"":                              "acme",
		"Shop.example.com":              "acme",
		"https://shop.example.com":      "acme",
		"shop.example.com:443":          "acme",
		"shop.example.com.":             "acme",
		"192.0.2.1":                     "acme",
		"a b.example.com":               "acme",
		"*.example.com":                 "acme",
		"shop.example.com":              "",
		"shop2.example.com":             "Acme",
		"shop3.example.com":             PlaceOfTenant,
		"app.{tenant}.example.com":      "acme",
		"{tenant}":                      PlaceOfTenant,
		"{tenant}.com":                  PlaceOfTenant,
		"app.{tenant}.com":              PlaceOfTenant,
		"{tenant}-staging.com":          PlaceOfTenant,
		"auth.{tenant}":                 PlaceOfTenant,
		"{tenant}.{tenant}.example.com": PlaceOfTenant,
		"{other}.example.com":           PlaceOfTenant,
	} {
		if _, err := NewHostMap(map[string]string{host: tenant}); err == nil || !strings.HasPrefix(err.Error(), "map: ") {
			t.Errorf("%q to %q: got %v, want an error that says map", host, tenant, err)
		}
	}
}

// The order of resolvers decides, the control plane's hosts come before all, and no
// tenant can be made whose own host is somebody else's.
func TestResolversInOrder(t *testing.T) {
	t.Parallel()
	m := mapped(t, map[string]string{"{tenant}-staging.auth.example.com": PlaceOfTenant, "auth.example.com": "acme", "portal.example.com": "acme"})
	custom := func(host string) (string, bool) { return "widgets", host == "portal.example.com" }
	make := func(list ...HostResolver) *Hosts {
		h, err := NewHosts(Hosts{BaseDomain: "auth.example.com", Resolvers: list})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first, last := make(m, CustomDomainResolver, SubdomainResolver), make(CustomDomainResolver, SubdomainResolver, m)
	for _, c := range []struct {
		hosts      *Hosts
		host, want string
	}{
		{first, "acme-staging.auth.example.com", "acme"},
		{last, "acme-staging.auth.example.com", "acme-staging"},
		{first, "portal.example.com", "acme"},
		{last, "portal.example.com", "widgets"},
		{first, "auth.example.com", "control_plane"},
		{first, "www.auth.example.com", "control_plane"},
		{make(m), "acme.auth.example.com", ""},
		{make(m), "auth.example.com", "control_plane"},
	} {
		if id, ok := c.hosts.Resolve(c.host, custom); id != c.want || ok != (c.want != "") {
			t.Errorf("%s: got %q, %v, want %q", c.host, id, ok, c.want)
		}
	}
	if err := first.ValidTenantID("acme-staging"); err == nil {
		t.Error("a tenant can be made whose host is acme's")
	}
	if err := last.ValidTenantID("acme-staging"); err != nil {
		t.Error(err)
	}
	if got := first.hostsOf("acme", nil, custom); !slices.Equal(got, []string{"acme.auth.example.com", "portal.example.com", "acme-staging.auth.example.com"}) {
		t.Errorf("hosts of acme: %v", got)
	}
	if got := make(m).hostsOf("widgets", nil, custom); !slices.Equal(got, []string{"widgets-staging.auth.example.com"}) {
		t.Errorf("hosts without a label of its own: %v", got)
	}
	if got := make(CustomDomainResolver).hostsOf("widgets", nil, custom); !slices.Equal(got, []string{"widgets.auth.example.com"}) {
		t.Errorf("hosts where there are none: %v, want one for links", got)
	}
}

// A header is read in its place in the order; one that is no id is nobody's.
func TestResolveByHeader(t *testing.T) {
	t.Parallel()
	hosts := func(list ...HostResolver) *Hosts {
		h, err := NewHosts(Hosts{BaseDomain: "auth.example.com", Resolvers: list})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	header := NamedByHeader("Gatehouse-Tenant")
	last, first := hosts(CustomDomainResolver, SubdomainResolver, header), hosts(header, SubdomainResolver)
	for _, c := range []struct {
		hosts    *Hosts
		host     string
		values   []string
		want     string
		byHeader bool
		ok       bool
	}{
		{last, "edge.example.net", []string{"acme"}, "acme", true, true},
		{last, "edge.example.net", []string{" ACME "}, "acme", true, true},
		{last, "edge.example.net", nil, "", false, false},
		{last, "edge.example.net", []string{"acme", "widgets"}, "", true, true},
		{last, "edge.example.net", []string{""}, "", true, true},
		{last, "widgets.auth.example.com", []string{"acme"}, "widgets", false, true},
		{first, "widgets.auth.example.com", []string{"acme"}, "acme", true, true},
		{first, "widgets.auth.example.com", nil, "widgets", false, true},
		{first, "auth.example.com", []string{"acme"}, "control_plane", false, true},
		{hosts(), "edge.example.net", []string{"acme"}, "", false, false},
	} {
		id, byHeader, ok := c.hosts.ResolveRequest(c.host, http.Header{"Gatehouse-Tenant": c.values}, nil)
		if id != c.want || byHeader != c.byHeader || ok != c.ok {
			t.Errorf("%s with %q: got %q, %v, %v", c.host, c.values, id, byHeader, ok)
		}
	}
	if _, ok := last.Resolve("edge.example.net", nil); ok {
		t.Error("a host alone is somebody's by a header")
	}
}
