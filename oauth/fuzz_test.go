package oauth

import (
	"slices"
	"strings"
	"testing"
)

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"", " ", "openid", "openid  profile openid", "a\tb", "é", "a\x7fb", strings.Repeat("x ", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseScope(text)
		if err != nil {
			if list != nil {
				t.Fatalf("both %q and %v", list, err)
			}
			return
		}
		seen := make(map[string]bool)
		for _, scope := range list {
			if scope == "" || seen[scope] || strings.ContainsAny(scope, " \t\n\r\x00\x7f") {
				t.Fatalf("%q gives %q", text, list)
			}
			seen[scope] = true
		}
		again, err := parseScope(strings.Join(list, " "))
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("%q, then %q, %v", list, again, err)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add("e30.e30.AA")
	f.Add(b64(map[string]string{"alg": "ES256", "kid": "k", "typ": "JWT"}) + ".e30.AA")
	f.Add(b64(map[string]string{"alg": "none", "jku": "https://evil.example"}) + ".e30.AA")
	f.Add("...")
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := parseToken(token)
		_ = IssuerOf(token)
		if err != nil {
			return
		}
		if strings.Count(token, ".") != 2 || !strings.HasPrefix(token, parsed.signed+".") || len(parsed.signature) == 0 {
			t.Fatalf("%q was taken apart as %+v", token, parsed)
		}
		if h := parsed.header; h.Jku != nil || h.Jwk != nil || h.X5u != nil || h.X5c != nil || h.Crit != nil {
			t.Fatalf("%q has a header that names keys or rules", token)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"b"}`, `{"a":"b","a":"c"}`, `{"scope":1}`, `[`, `{"a":"\ud800"}`, `{"a":{"b":[`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := parseJSON(body)
		if err == nil {
			_ = checkParameters(form)
		}
	})
}
