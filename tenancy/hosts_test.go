package tenancy

import (
	"errors"
	"strings"
	"testing"
)

func TestHostNormalize(t *testing.T) {
	t.Parallel()
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	long := strings.Repeat(label63+".", 3) // 192
	for _, tc := range []struct{ host, want string }{
		{"acme.auth.example.com", "acme.auth.example.com"},
		{"ACME.Auth.Example.com:443", "acme.auth.example.com"}, // SC-003
		{"acme.auth.example.com.", "acme.auth.example.com"},
		{"acme.auth.example.com.:8443", "acme.auth.example.com"},
		{"localhost:", "localhost"},
		{"127.0.0.1:8443", "127.0.0.1"},
		{"[::1]", "[::1]"},
		{"[2001:DB8::1]:8443", "[2001:db8::1]"},
		{"xn--mnchen-3ya.example.com", "xn--mnchen-3ya.example.com"},
		{"_acme-challenge.example.com", "_acme-challenge.example.com"},
		{label63 + ".com", label63 + ".com"},
		{long + strings.Repeat("a", 61), long + strings.Repeat("a", 61)},             // 253
		{long + strings.Repeat("a", 61) + ".:65535", long + strings.Repeat("a", 61)}, // 253 once stripped
		{"", ""},
		{".", ""},
		{":443", ""},
		{"..", ""},
		{"a..b", ""},
		{".a", ""},
		{"a..", ""},
		{label64 + ".com", ""},
		{long + strings.Repeat("a", 62), ""}, // 254
		{"a b", ""},
		{"a\tb", ""},
		{"a\x00b", ""},
		{"a\x7fb", ""},
		{"a\r\nX: y", ""},
		{"a%2eb", ""},
		{"user@host", ""},
		{"a/b", ""},
		{`a\b`, ""},
		{"münchen.example", ""},
		{"\u212Alm.example.com", ""}, // the Kelvin sign is no k
		{"a:b", ""},
		{"a:80:80", ""},
		{"a:-1", ""},
		{"a:123456", ""},
		{"::1", ""},
		{"[::1", ""},
		{"[", ""},
		{"[]", ""},
		{"[a.b]", ""},
		{"[127.0.0.1]", ""},
		{"[fe80::1%eth0]", ""},
		{"[[::1]]", ""},
		{"[::1]x", ""},
		{"x[::1]", ""},
	} {
		got, err := NormalizeHost(tc.host)
		if got != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, ErrInvalidHost) {
			t.Errorf("NormalizeHost(%q) = %q, %v; want %q", tc.host, got, err, tc.want)
		}
	}
}

func FuzzNormalizeHost(f *testing.F) {
	for _, seed := range []string{"acme.auth.example.com", "A.b.:443", "[::1]:80", "[::FFFF:1.2.3.4]", "a..b", "\u212A", "xn--a", "a%b", "::1", "[fe80::1%25lo]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got, err := NormalizeHost(host)
		if err != nil {
			if got != "" || !errors.Is(err, ErrInvalidHost) {
				t.Fatalf("NormalizeHost(%q) = %q, %v; want nothing and ErrInvalidHost", host, got, err)
			}
			return
		}
		if again, err := NormalizeHost(got); err != nil || again != got {
			t.Errorf("NormalizeHost(%q) = %q, but of that it is %q, %v", host, got, again, err)
		}
		literal := strings.HasPrefix(got, "[")
		for i := range len(got) {
			c := got[i]
			bad := c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.IndexByte(`%@/\`, c) >= 0
			if bad || !literal && strings.IndexByte("[]:", c) >= 0 {
				t.Errorf("NormalizeHost(%q) = %q holds %q", host, got, c)
			}
		}
		if got == "" || len(got) > 253 || strings.HasSuffix(got, ".") || len(got) > len(host) {
			t.Errorf("NormalizeHost(%q) = %q is no normal form", host, got)
		}
	})
}

// mustHosts fills in what a test does not care about.
func mustHosts(t testing.TB, c Hosts) *Hosts {
	t.Helper()
	if c.BaseDomain == "" {
		c.BaseDomain = "auth.example.com"
	}
	h, err := NewHosts(c)
	if err != nil {
		t.Fatalf("NewHosts: %v", err)
	}
	return h
}

func TestHostsResolve(t *testing.T) {
	t.Parallel()
	plain := mustHosts(t, Hosts{})
	custom := func(host string) (string, bool) {
		switch host {
		case "login.acme.test", "shop.auth.example.com":
			return "acme", true
		case "auth.example.com":
			return "evil", true
		}
		return "", false
	}
	full := mustHosts(t, Hosts{
		BaseDomain: "Auth.Example.com.", ControlPlane: "main", ControlPlaneHosts: []string{"Console.example.com", "sso.auth.example.com"},
		Reserved: []string{"WWW"}, ReservedServe: ServeNotFound, Labels: map[string]string{"Alias": "acme", "xn--shop-x": "acme", "ops": "main"},
	})
	for _, tc := range []struct {
		rule string
		h    *Hosts
		host string
		want string // "" for nothing
	}{
		{"C1.4", plain, "auth.example.com", "control_plane"},
		{"C1.4", plain, "acme.auth.example.com", "acme"},
		{"C1.4", plain, "login.acme.test", "acme"},
		{"C1.4 control plane before custom domain", full, "console.example.com", "main"},
		{"C1.4 custom domain before label", full, "shop.auth.example.com", "acme"},
		{"C1.4 base domain is not given", mustHosts(t, Hosts{ControlPlaneHosts: []string{"sso.example.com"}}), "auth.example.com", "evil"},
		{"C1.4 extra label", full, "alias.auth.example.com", "acme"},
		{"C1.4 extra label", full, "xn--shop-x.auth.example.com", "acme"},
		{"C1.4 extra label", full, "ops.auth.example.com", "main"},
		{"C1.4 host below the base", full, "sso.auth.example.com", "main"},
		{"C1.5", plain, "evilauth.example.com", ""},
		{"C1.5", plain, "xauth.example.com", ""},
		{"C1.5", plain, "a.b.auth.example.com", ""},
		{"C1.5", plain, "auth.example.com.evil.org", ""},
		{"C9.2", plain, "acme.auth.example.com.evil.org", ""},
		{"C9.2", plain, "a.acme.auth.example.com", ""},
		{"C1.5", plain, "www.acme.auth.example.com", ""},
		{"C1.5", plain, ".auth.example.com", ""},
		{"C1.6", plain, "www.auth.example.com", "control_plane"},
		{"C1.6", plain, "control-plane.auth.example.com", "control_plane"},
		{"C1.6 not served", full, "www.auth.example.com", ""},
		{"C1.6 replaced", full, "admin.auth.example.com", "admin"},
		{"C1.7", plain, "example.com", ""},
		{"C1.7", plain, "[::1]", ""},
		{"C1.7", plain, "", ""},
		{"C1.8", plain, "xn--acme.auth.example.com", ""},
		{"C1.8", plain, "settings.auth.example.com", ""},
		{"C1.8", plain, "import.auth.example.com", ""},
		{"C1.8", plain, "-acme.auth.example.com", ""},
		{"C1.8", plain, "acme-.auth.example.com", ""},
		{"C1.8", plain, "a_b.auth.example.com", ""},
		{"C1.8", plain, "control_plane.auth.example.com", ""},
		{"C1.8 the control plane is no label", full, "main.auth.example.com", ""},
		{"C1.8", plain, strings.Repeat("a", 50) + ".auth.example.com", strings.Repeat("a", 50)},
		{"C1.8", plain, strings.Repeat("a", 51) + ".auth.example.com", ""},
		{"zero value", &Hosts{}, "", ""},
		{"zero value", &Hosts{}, "acme", ""},
		{"not from NewHosts", &Hosts{BaseDomain: "auth.example.com"}, "acme.auth.example.com", ""},
	} {
		ask := custom
		if strings.HasPrefix(tc.rule, "zero") || tc.h == plain && tc.host == "shop.auth.example.com" {
			ask = nil
		}
		got, ok := tc.h.Resolve(tc.host, ask)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: Resolve(%q) = %q, %v; want %q", tc.rule, tc.host, got, ok, tc.want)
		}
	}
}

func TestHostsResolveAllocatesNothing(t *testing.T) {
	h := mustHosts(t, Hosts{Labels: map[string]string{"shop": "acme"}})
	none := func(string) (string, bool) { return "", false }
	for _, host := range []string{"auth.example.com", "acme.auth.example.com", "www.auth.example.com", "shop.auth.example.com", "nope.example.org"} {
		if n := testing.AllocsPerRun(100, func() {
			normal, _ := NormalizeHost(host)
			h.Resolve(normal, none)
		}); n != 0 {
			t.Errorf("resolving %q allocates %v times, want 0", host, n)
		}
	}
}

func TestHostsValidTenantID(t *testing.T) {
	t.Parallel()
	h := mustHosts(t, Hosts{
		ControlPlane: "main", ControlPlaneHosts: []string{"auth.example.com", "console.auth.example.com"},
		Labels: map[string]string{"shop": "acme", "acme": "acme"},
	})
	reserved := func(id string) string { return "Tenant id '" + id + "' is reserved" }
	const pattern = `Payload validation error: 'String does not match pattern ^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$' on property id`
	for id, want := range map[string]string{
		"acme": "", "a": "", "0": "", "a-b": "", "a--b": "", strings.Repeat("a", 50): "",
		"": pattern, "-a": pattern, "a-": pattern, "A": pattern, "a_b": pattern, "a.b": pattern, "ä": pattern, "a\n": pattern,
		"control_plane": pattern, strings.Repeat("a", 51): pattern,
		"www": reserved("www"), "control-plane": reserved("control-plane"), "settings": reserved("settings"), "import": reserved("import"),
		"main": reserved("main"), "xn--a": reserved("xn--a"),
		"shop":    reserved("shop"),    // leads to acme
		"console": reserved("console"), // leads to the control plane
	} {
		got := ""
		if err := h.ValidTenantID(id); err != nil {
			var shown *Error
			if !errors.As(err, &shown) || shown.Status != 400 || shown.Code != "invalid_body" {
				t.Errorf("ValidTenantID(%q) is %#v, want a 400 invalid_body", id, err)
			}
			got = err.Error()
		}
		if got != want {
			t.Errorf("ValidTenantID(%q) = %q, want %q", id, got, want)
		}
	}
	if err := mustHosts(t, Hosts{}).ValidTenantID("control_plane"); err == nil || err.Error() != reserved("control_plane") {
		t.Errorf("ValidTenantID of the control plane = %v, want it reserved", err)
	}
	if err := (&Hosts{}).ValidTenantID("acme"); err != nil {
		t.Errorf("ValidTenantID by the zero value = %v, want nil", err)
	}
}

func TestHostsIsReserved(t *testing.T) {
	t.Parallel()
	h, none := mustHosts(t, Hosts{}), mustHosts(t, Hosts{Reserved: []string{}})
	if len(DefaultReservedLabels) != 24 {
		t.Errorf("there are %d default reserved labels, want 24", len(DefaultReservedLabels))
	}
	for _, label := range append([]string{"WWW"}, DefaultReservedLabels...) {
		if !h.IsReserved(label) {
			t.Errorf("IsReserved(%q) = false by default, want true", label)
		}
		if none.IsReserved(label) {
			t.Errorf("IsReserved(%q) = true with an empty list, want false", label)
		}
	}
	if h.IsReserved("acme") || h.IsReserved("") {
		t.Error("IsReserved is true for a label that is not in the list")
	}
}

func TestHostsValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		h    Hosts
		want string // substring; "" for valid
	}{
		{"least", Hosts{BaseDomain: "localhost"}, ""},
		{"address as host", Hosts{BaseDomain: "localhost", ControlPlaneHosts: []string{"localhost", "127.0.0.1", "[::1]"}}, ""},
		{"nothing", Hosts{}, "base_domain: is missing"},
		{"port", Hosts{BaseDomain: "localhost:8443"}, `base_domain: "localhost:8443" is not a domain name`},
		{"scheme", Hosts{BaseDomain: "https://auth.example.com"}, "base_domain: "},
		{"wildcard", Hosts{BaseDomain: "*.example.com"}, "base_domain: "},
		{"address", Hosts{BaseDomain: "127.0.0.1"}, "base_domain: "},
		{"dot", Hosts{BaseDomain: ".example.com"}, "base_domain: "},
		{"long", Hosts{BaseDomain: strings.Repeat("a.", 101) + "a"}, "base_domain: "},
		{"id", Hosts{BaseDomain: "localhost", ControlPlane: "Main"}, `control_plane: "Main" cannot be an id`},
		{"path word", Hosts{BaseDomain: "localhost", ControlPlane: "settings"}, "control_plane: "},
		{"org_", Hosts{BaseDomain: "localhost", ControlPlane: "org_x"}, "control_plane: "},
		{"host", Hosts{BaseDomain: "localhost", ControlPlaneHosts: []string{"sso.example.com:8443"}}, `control_plane: host "sso.example.com:8443"`},
		{"reserved", Hosts{BaseDomain: "localhost", Reserved: []string{"a.b"}}, `reserved: "a.b" is not one label`},
		{"serve", Hosts{BaseDomain: "localhost", ReservedServe: "404"}, `reserved: cannot serve "404"; use control_plane or not_found`},
		{"label", Hosts{BaseDomain: "localhost", Labels: map[string]string{"a.b": "acme"}}, `labels: "a.b" is not one label`},
		{"reserved label", Hosts{BaseDomain: "localhost", Labels: map[string]string{"www": "acme"}}, `labels: "www" is reserved`},
		{"label of reserved", Hosts{BaseDomain: "localhost", Labels: map[string]string{"shop": "www"}}, "labels: \"shop\" names no possible tenant: Tenant id 'www' is reserved"},
		{"label of a label", Hosts{BaseDomain: "localhost", Labels: map[string]string{"a": "b", "b": "c"}}, `labels: "a" names no possible tenant`},
		{"label twice", Hosts{BaseDomain: "localhost", Labels: map[string]string{"Shop": "acme", "shop": "acme"}}, `labels: "shop" is given twice`},
		{"label of a host", Hosts{BaseDomain: "localhost", ControlPlaneHosts: []string{"sso.localhost"}, Labels: map[string]string{"sso": "acme"}}, `labels: "sso" is already a host`},
		{"all at once", Hosts{ControlPlane: "-"}, "base_domain: is missing; write for instance: base_domain auth.example.com\ncontrol_plane: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.h.Validate()
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
	for _, h := range []*Hosts{mustHosts(t, Hosts{}), mustHosts(t, Hosts{Reserved: []string{}, Labels: map[string]string{"www": "acme"}})} {
		if err := h.Validate(); err != nil {
			t.Errorf("what NewHosts returned is not valid: %v", err)
		}
	}
}

func TestHostsPrimaryHostAndIssuer(t *testing.T) {
	t.Parallel()
	h := mustHosts(t, Hosts{ControlPlaneHosts: []string{"sso.example.com", "auth.example.com"}})
	for got, want := range map[string]string{
		h.PrimaryHost("acme"):                              "acme.auth.example.com",
		h.PrimaryHost("control_plane"):                     "sso.example.com",
		mustHosts(t, Hosts{}).PrimaryHost("control_plane"): "auth.example.com",
		Issuer("", "auth.example.com", ""):                 "https://auth.example.com/",
		Issuer("https", "a.example.com", "443"):            "https://a.example.com/",
		Issuer("https", "b.example.com", "8443"):           "https://b.example.com:8443/",
		Issuer("http", "localhost", "8080"):                "http://localhost:8080/",
		Issuer("http", "localhost", "80"):                  "http://localhost/",
		Issuer("https", "[::1]", "8443"):                   "https://[::1]:8443/",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
