package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

// A13: after a login the browser goes nowhere but to a path of the same host.
func TestA13LocalPath(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/":                             "/",
		"/orders?x=1&y=%2F%2Fevil.org":  "/orders?x=1&y=%2F%2Fevil.org",
		"/a//b":                         "/a//b",
		"":                              "/",
		"*":                             "/",
		"//evil.org":                    "/",
		"//evil.org/..":                 "/",
		`/\evil.org`:                    "/",
		`/a\..\..\evil.org`:             "/",
		"https://evil.org/":             "/",
		"javascript:alert(1)":           "/",
		"/a\r\nSet-Cookie: x=y":         "/",
		"/\tevil.org":                   "/",
		"/.gatehouse/logout":            "/",
		"/.gatehouse/callback?code=x":   "/",
		"/" + strings.Repeat("a", 1024): "/",
		"/" + strings.Repeat("a", 1023): "/" + strings.Repeat("a", 1023),
	} {
		if got := localPath(target); got != want {
			t.Errorf("%.60q: got %.60q, want %.60q", target, got, want)
		}
	}
}

// What is behind the gateway gets none of its cookies, and all others.
func TestRemoveAppCookies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want []string }{
		{nil, nil},
		{[]string{"theme=dark"}, []string{"theme=dark"}},
		{[]string{"__Host-gh_app=x"}, nil},
		{[]string{"a=1; __Host-gh_app=x; b=2", "gh_app=y;gh_app_flow_12345678=z ; c=3"}, []string{"a=1; b=2; c=3"}},
		{[]string{"gh_apple=1; my_gh_app=2; __Host-gh_app_flow_=3"}, []string{"gh_apple=1; my_gh_app=2"}},
	} {
		h := http.Header{}
		if c.got != nil {
			h["Cookie"] = c.got
		}
		removeAppCookies(h)
		if got := h["Cookie"]; strings.Join(got, "|") != strings.Join(c.want, "|") || (got == nil) != (c.want == nil) {
			t.Errorf("%q: got %q, want %q", c.got, got, c.want)
		}
	}
}
