package test

import (
	"net/http"
	"strings"
	"testing"
)

// redirectAttackPlan is the attacks that end a visit at somebody else's address.
var redirectAttackPlan = []module{
	{"A13", "open-redirects", func(t testing.TB, o *provider) { // caddy-security #268, Casdoor CVE-2026-5467
		for _, uri := range twisted(o.one.loggedOut) {
			v := newVisitor(t)
			got := o.tokensIn(v, o.one)
			for what, p := range map[string]page{
				"returnTo":                 v.open(o.endpoint("v2/logout?" + pairsOf("client_id", o.one.id, "returnTo", uri).Encode())),
				"returnTo of nobody":       v.open(o.endpoint("v2/logout?" + pairsOf("returnTo", uri).Encode())),
				"post_logout_redirect_uri": o.logout(v, "id_token_hint", got.ID, "post_logout_redirect_uri", uri),
			} {
				if p.status != http.StatusBadRequest {
					t.Errorf("%s %q: %s %d", what, uri, p.url, p.status)
				}
			}
			o.wantSession(v, true) // C9.37
		}
		v := newVisitor(t)
		for _, name := range []string{"returnTo", "redirect_url", "redirect_uri", "next", "RelayState", "error_uri", "result_url", "initiate_login_uri"} {
			for _, path := range []string{"u/login?", "oidc/logout?", "v2/logout?", "activate?", "login/callback?"} {
				if p := v.open(o.endpoint(path + pairsOf(name, "https://evil.example/").Encode())); p.status == 0 {
					t.Errorf("%s%s: sent to %s", path, name, p.url)
				}
			}
		}
	}},
}

// twisted are addresses that a careless comparison takes for the one of https://.
func twisted(good string) []string {
	rest := strings.TrimPrefix(good, "https://")
	host, path, _ := strings.Cut(rest, "/")
	return []string{
		good + "/", good + "/x", good + "/../x", good + "%2f..%2fx", good + "/%2e%2e/x", "https://" + host + "//" + path, `https://` + host + `\` + path,
		"https://" + host + "/x/../" + path, "https://" + strings.ToUpper(host) + "/" + path, "HTTPS://" + rest, "https://" + host + "./" + path,
		"https://" + host + ":443/" + path, "https://" + host + ":8443/" + path, "https://user@" + rest, "https://" + host + "@evil.example/" + path,
		"https://evil.example#@" + rest, "https://evil.example/?@" + rest, `https://evil.example\@` + rest, good + "?x=1", good + "?", good + "#x", good + "#",
		good + "%00", good + "%0d%0aLocation:%20https://evil.example", good + "\r\nX: y", " " + good, good + " ", "https://" + host + "/" + path[:len(path)-1] + "\u0435",
		"https://" + strings.Replace(host, ".", "\u3002", 1) + "/" + path, "https://xn--" + rest, "http://" + rest, "ftp://" + rest, "//" + rest, "/" + path,
		"https://" + host + ".evil.example/" + path, "https://evil." + rest, "https://evil-" + rest, "https://localhost/" + path, "https://127.0.0.1/" + path,
		"https://[::1]/" + path, "javascript:alert(1)//" + rest, "data:text/html,x", "com.evil.app:/" + path, "https://*." + rest, "https://evil.example/", "*", "null",
	}
}
