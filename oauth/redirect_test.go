package oauth

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

var (
	plainClient    = &tenancy.Client{AppType: "spa", IsFirstParty: true, Callbacks: []string{"https://app.example.com/callback", "https://app.example.com/other?x=1"}}
	wildcardClient = &tenancy.Client{AppType: "spa", IsFirstParty: true, Callbacks: []string{"https://*.app.example.com/cb", "https://*.preview.example.com:8443/cb?x=1"}}
	loopbackClient = &tenancy.Client{AppType: "native", IsFirstParty: true, Callbacks: []string{"http://127.0.0.1/cb", "http://[::1]/cb", "com.example.app:/cb"}}
	unsafeClient   = &tenancy.Client{AppType: "native", IsFirstParty: true, Callbacks: []string{
		"javascript:alert(1)", "data:text/html,x",
		"https://a.example.com/#f", "https://u@a.example.com/", "http://app.example.com/cb", "https://*.com/cb", "https://*.co.uk/cb",
		"https://*.github.io/cb", "https://a.*.example.com/cb", "https://*x.example.com/cb", "https://example.com/*", "*", "https://*/cb", "http://*.example.com/cb",
	}}
)

func TestRedirectAllowed(t *testing.T) {
	t.Parallel()
	thirdParty := *wildcardClient
	thirdParty.IsFirstParty = false
	regular := *loopbackClient
	regular.AppType = "regular_web"
	for _, c := range []struct {
		name   string
		client *tenancy.Client
		uri    string
		want   bool
	}{
		{"exact", plainClient, "https://app.example.com/callback", true},
		{"exact with query", plainClient, "https://app.example.com/other?x=1", true},
		{"port (C9.33)", plainClient, "https://app.example.com:8443/callback", false},
		{"default port is another string", plainClient, "https://app.example.com:443/callback", false},
		{"path added", plainClient, "https://app.example.com/callback/x", false},
		{"trailing slash", plainClient, "https://app.example.com/callback/", false},
		{"dot segments", plainClient, "https://app.example.com/x/../callback", false},
		{"encoded dots", plainClient, "https://app.example.com/%2e%2e/callback", false},
		{"doubled slash", plainClient, "https://app.example.com//callback", false},
		{"query added", plainClient, "https://app.example.com/callback?x=1", false},
		{"query changed", plainClient, "https://app.example.com/other?x=2", false},
		{"query dropped", plainClient, "https://app.example.com/other", false},
		{"subdomain", plainClient, "https://evil.app.example.com/callback", false},
		{"longer host", plainClient, "https://app.example.com.evil.org/callback", false},
		{"trailing dot", plainClient, "https://app.example.com./callback", false},
		{"user information", plainClient, "https://app.example.com@evil.org/callback", false},
		{"user information before", plainClient, "https://evil@app.example.com/callback", false},
		{"fragment", plainClient, "https://app.example.com/callback#x", false},
		{"empty fragment", plainClient, "https://app.example.com/callback#", false},
		{"upper case host", plainClient, "https://APP.example.com/callback", false},
		{"upper case scheme", plainClient, "HTTPS://app.example.com/callback", false},
		{"upper case path", plainClient, "https://app.example.com/Callback", false},
		{"other scheme", plainClient, "http://app.example.com/callback", false},
		{"backslash", plainClient, `https://evil.org\@app.example.com/callback`, false},
		{"tab", plainClient, "https://app.example.com/call\tback", false},
		{"newline", plainClient, "https://app.example.com/callback\r\nSet-Cookie: a=b", false},
		{"null", plainClient, "https://app.example.com/callback\x00", false},
		{"space before", plainClient, " https://app.example.com/callback", false},
		{"full stop of another script", plainClient, "https://app.example。com/callback", false},
		{"relative", plainClient, "/callback", false},
		{"scheme-relative", plainClient, "//app.example.com/callback", false},
		{"empty", plainClient, "", false},

		{"wildcard", wildcardClient, "https://pr-1.app.example.com/cb", true},
		{"wildcard with port and query", wildcardClient, "https://pr-1.preview.example.com:8443/cb?x=1", true},
		{"wildcard, two labels", wildcardClient, "https://a.b.app.example.com/cb", false},
		{"wildcard, no label", wildcardClient, "https://app.example.com/cb", false},
		{"wildcard, empty label", wildcardClient, "https://.app.example.com/cb", false},
		{"wildcard itself", wildcardClient, "https://*.app.example.com/cb", false},
		{"wildcard, host in front", wildcardClient, "https://evil.org/.app.example.com/cb", false},
		{"wildcard, query in front", wildcardClient, "https://evil.org?.app.example.com/cb", false},
		{"wildcard, user information", wildcardClient, "https://evil.org@x.app.example.com/cb", false},
		{"wildcard, port in front", wildcardClient, "https://evil.org:1.app.example.com/cb", false},
		{"wildcard, http", wildcardClient, "http://a.app.example.com/cb", false},
		{"wildcard, path added", wildcardClient, "https://a.app.example.com/cb/x", false},
		{"wildcard, upper case", wildcardClient, "https://A.app.example.com/cb", false},
		{"wildcard, hyphen first", wildcardClient, "https://-a.app.example.com/cb", false},
		{"wildcard of a third party (C4.19)", &thirdParty, "https://pr-1.app.example.com/cb", false},

		{"loopback", loopbackClient, "http://127.0.0.1/cb", true},
		{"loopback, any port", loopbackClient, "http://127.0.0.1:51004/cb", true},
		{"loopback, IPv6", loopbackClient, "http://[::1]:51004/cb", true},
		{"loopback, other path", loopbackClient, "http://127.0.0.1:51004/cb/x", false},
		{"loopback, query", loopbackClient, "http://127.0.0.1:51004/cb?x", false},
		{"loopback, https", loopbackClient, "https://127.0.0.1:51004/cb", false},
		{"loopback, name", loopbackClient, "http://localhost:51004/cb", false},
		{"loopback, suffix", loopbackClient, "http://127.0.0.1.evil.org/cb", false},
		{"loopback, user information", loopbackClient, "http://127.0.0.1:1@evil.org/cb", false},
		{"loopback, empty port", loopbackClient, "http://127.0.0.1:/cb", false},
		{"loopback, port with text", loopbackClient, "http://127.0.0.1:80a/cb", false},
		{"loopback, long port", loopbackClient, "http://127.0.0.1:123456/cb", false},
		{"loopback, only native (C4.19)", &regular, "http://127.0.0.1:51004/cb", false},
		{"custom scheme", loopbackClient, "com.example.app:/cb", true},
		{"custom scheme, other path", loopbackClient, "com.example.app:/cb2", false},

		// Callbacks that registration refuses do no harm should they get in.
		{"script", unsafeClient, "javascript:alert(1)", false},
		{"data", unsafeClient, "data:text/html,x", false},
		{"registered fragment", unsafeClient, "https://a.example.com/#f", false},
		{"registered user information", unsafeClient, "https://u@a.example.com/", false},
		{"registered http", unsafeClient, "http://app.example.com/cb", false},
		{"public suffix", unsafeClient, "https://evil.com/cb", false},
		{"public suffix of two labels", unsafeClient, "https://evil.co.uk/cb", false},
		{"private suffix", unsafeClient, "https://evil.github.io/cb", false},
		{"star in the middle", unsafeClient, "https://a.b.example.com/cb", false},
		{"star in a label", unsafeClient, "https://ax.example.com/cb", false},
		{"star in the path", unsafeClient, "https://example.com/x", false},
		{"star alone", unsafeClient, "https://evil.org/cb", false},
		{"star of http", unsafeClient, "http://a.example.com/cb", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := redirectAllowed(c.client, c.uri); got != c.want {
				t.Errorf("redirectAllowed(%q): got %v, want %v", c.uri, got, c.want)
			}
		})
	}
}

// C3.35
func TestLogoutAllowed(t *testing.T) {
	t.Parallel()
	registered := []string{"https://app.example.com/bye", "https://*.app.example.com/x", "http://localhost:3000", "https://app.example.com/*", "https://app.example.com/q?to=*"}
	for uri, want := range map[string]bool{
		"https://app.example.com/bye":         true,
		"https://a.app.example.com/x":         true,
		"http://localhost:3000":               true,
		"https://a.b.app.example.com/x":       false,
		"https://app.example.com/x":           false,
		"https://app.example.com/bye?foo=bar": false,
		"https://app.example.com/anything":    false,
		"https://app.example.com/q?to=1":      false,
		"https://evil.org":                    false,
		"//evil.org":                          false,
		"https://app.example.com@evil.org/":   false,
		"javascript:alert(1)":                 false,
	} {
		if got := logoutAllowed(registered, uri); got != want {
			t.Errorf("logoutAllowed(%q): got %v, want %v", uri, got, want)
		}
	}
}

// C3.3
func TestOriginAllowed(t *testing.T) {
	t.Parallel()
	c := &tenancy.Client{
		IsFirstParty: true, WebOrigins: []string{"https://web.example.com"},
		Callbacks: []string{"https://app.example.com:443/cb", "https://*.w.example.com/cb", "http://127.0.0.1/cb"},
	}
	for origin, want := range map[string]bool{
		"https://web.example.com":   true,
		"https://app.example.com":   true,
		"https://a.w.example.com":   true,
		"https://a.b.w.example.com": false,
		"http://127.0.0.1:5000":     false,
		"http://127.0.0.1":          true,
		"https://evil.org":          false,
		"null":                      false,
		"":                          false,
	} {
		if got := originAllowed(c, origin); got != want {
			t.Errorf("originAllowed(%q): got %v, want %v", origin, got, want)
		}
	}
}

// FuzzRedirectAllowed holds what is true of every URI that a browser is sent to:
// it is registered, or differs from a registered one only in what C4.19 allows.
func FuzzRedirectAllowed(f *testing.F) {
	for _, c := range []*tenancy.Client{plainClient, wildcardClient, loopbackClient, unsafeClient} {
		for _, uri := range c.Callbacks {
			f.Add(uri)
			f.Add(strings.Replace(uri, "*", "label", 1))
		}
	}
	f.Add("http://127.0.0.1:1234/cb")
	f.Fuzz(func(t *testing.T, uri string) {
		for _, c := range []*tenancy.Client{plainClient, wildcardClient, loopbackClient, unsafeClient} {
			if !redirectAllowed(c, uri) {
				continue
			}
			u, err := url.Parse(uri)
			if err != nil || u.Fragment != "" || u.User != nil || strings.ContainsAny(uri, "# \\\t\r\n\x00*") {
				t.Fatalf("%q may be redirected to", uri)
			}
			if slices.Contains(c.Callbacks, uri) {
				continue
			}
			ip := net.ParseIP(u.Hostname())
			loopback := c == loopbackClient && u.Scheme == "http" && ip != nil && ip.IsLoopback() && u.Path == "/cb" && u.RawQuery == ""
			_, parent, _ := strings.Cut(u.Hostname(), ".")
			wildcard := c == wildcardClient && u.Scheme == "https" &&
				(parent == "app.example.com" && u.Port() == "" && u.Path == "/cb" && u.RawQuery == "" ||
					parent == "preview.example.com" && u.Port() == "8443" && u.Path == "/cb" && u.RawQuery == "x=1")
			if !loopback && !wildcard {
				t.Fatalf("%q is not registered with %v", uri, c.Callbacks)
			}
		}
	})
}
