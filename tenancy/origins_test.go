package tenancy

import (
	"strings"
	"testing"
)

func TestOriginOf(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"https://app.example.com/cb?x=1":             "https://app.example.com",
		"https://app.example.com:443/cb":             "https://app.example.com",
		"https://App.example.com:8443/":              "https://app.example.com:8443",
		"http://[::1]:80/cb":                         "http://[::1]",
		"com.example.app:/cb":                        "",
		"https://a.example.com;script-src */cb":      "",
		"https://a.example.com;frame-ancestors=x/cb": "",
		"https://user@a.example.com/":                "",
		"":                                           "",
	} {
		if got := OriginOf(uri); got != want {
			t.Errorf("OriginOf(%q): got %q, want %q", uri, got, want)
		}
	}
}

// C4.17, C9.45, A12: what a wildcard means, and where it means nothing.
func TestOrigins(t *testing.T) {
	t.Parallel()
	own := &Client{
		IsFirstParty: true, WebOrigins: []string{"https://Web.example.com/", "https://*.w.example.com", "https://*.port.example.com:8443"},
		AllowedOrigins: []string{
			"*", "https://*", "https://*.com", "https://*.co.uk", "https://*.github.io", "https://*.localhost", "https://*.*.example.org",
			"https://a.*.example.org", "https://a*.example.org", "http://*.plain.example.com", "https://*.Upper.example.com:443/", "https://*.[::1]",
			"https://*.user@at.example.com", "https://*.10.0.0.1x:a",
		},
		Callbacks: []string{"https://app.example.com/cb?x=1", "https://*.cb.example.com/cb", "com.example.app:/cb"},
	}
	third := &Client{WebOrigins: []string{"https://*.third.example.net", "https://third.example.net"}}
	for origin, want := range map[string]bool{
		"https://web.example.com": true, "https://WEB.example.com": true, "https://a.w.example.com": true, "https://a-1.w.example.com": true,
		"https://a.port.example.com:8443": true, "https://a.upper.example.com": true, "https://app.example.com": true, "https://third.example.net": true,

		"https://a.b.w.example.com": false, "https://w.example.com": false, "https://.w.example.com": false, "https://-.w.example.com": false,
		"http://a.w.example.com": false, "https://a.w.example.com:444": false, "https://a.w.example.com.": false, "https://a.w.example.com.evil.org": false,
		"https://a.port.example.com": false, "https://evil.org/.w.example.com": false, "https://evil.org#.w.example.com": false, "https://a@b.w.example.com": false,
		"https://*.w.example.com": false, "https://aw.example.com": false, "https://a%2e.w.example.com": false,
		"https://a.cb.example.com": false, "http://a.plain.example.com": false,
		"https://a.com": false, "https://a.co.uk": false, "https://a.github.io": false, "https://a.localhost": false, "https://a.b.example.org": false,
		"https://ab.example.org": false, "https://a.third.example.net": false, "https://evil.org": false, "null": false, "": false, "*": false,
	} {
		var both Origins
		for _, c := range []*Client{own, third} {
			both.addClient(c)
		}
		if got := both.Allow(origin); got != want {
			t.Errorf("%q: got %t, want %t", origin, got, want)
		}
		if got := own.Origins().Allow(origin) || third.Origins().Allow(origin); got != want {
			t.Errorf("%q, client by client: got %t, want %t", origin, got, want)
		}
	}
	if new(Origins).Allow("") || new(Origins).Allow("https://a.example.com") {
		t.Error("none allow some")
	}
}

// FuzzOrigins holds that whatever browsers and others send, only one label stands
// for a wildcard.
func FuzzOrigins(f *testing.F) {
	for _, origin := range []string{"https://a.w.example.com", "https://app.example.com", "null", "", "https://a.b.w.example.com", "https://evil/.w.example.com", "HTTPS://A.W.EXAMPLE.COM"} {
		f.Add(origin)
	}
	o := (&Client{IsFirstParty: true, WebOrigins: []string{"https://*.w.example.com", "https://app.example.com"}}).Origins()
	f.Fuzz(func(t *testing.T, origin string) {
		if !o.Allow(origin) || strings.EqualFold(origin, "https://app.example.com") {
			return
		}
		label, ok := strings.CutSuffix(strings.ToLower(origin), ".w.example.com")
		label, https := strings.CutPrefix(label, "https://")
		if !ok || !https || label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Fatalf("%q is allowed", origin)
		}
	})
}
