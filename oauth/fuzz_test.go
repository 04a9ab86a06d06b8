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

// FuzzParseClaims holds that whatever is asked for, only claims there are values
// for are (OpenID Connect Core section 5.5).
func FuzzParseClaims(f *testing.F) {
	for _, s := range []string{
		"", `{}`, `{"userinfo":{"name":{"essential":true},"nope":null}}`, `{"id_token":{"sub":{"value":"auth0|1"}}}`, `{"id_token":null}`, `{"userinfo":[]}`,
		`{"id_token":{"sub":1}}`, `{"id_token":{"sub":null,"email":null}}`, strings.Repeat(`{"userinfo":`, 50), `{"userinfo":{"sub":{"value":"\u0000"}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		asked, err := parseClaims(text)
		if err != nil {
			if told(t.Context(), err).Status != 400 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for _, list := range [][]string{asked.Userinfo, asked.IDToken} {
			for i, name := range list {
				if !slices.Contains(standardClaims, name) || i > 0 && list[i-1] >= name {
					t.Fatalf("%q asks for %q", text, list)
				}
			}
		}
		if asked.Subject != "" && !strings.Contains(text, "sub") && !strings.Contains(text, `\`) {
			t.Fatalf("%q asks for the subject %q", text, asked.Subject)
		}
	})
}

// FuzzParseKeySet holds that no key of a client is a secret, and that each has one
// of the algorithms that assertions may have (RFC 8725 section 3.1).
func FuzzParseKeySet(f *testing.F) {
	ec := `{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`
	for _, s := range []string{
		`{"keys":[` + ec + `]}`, `{"keys":[` + ec + `,{"kty":"oct","k":"AA"}]}`, `{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}`, `{"keys":[null]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `[]`, `{"keys":{}}`, `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 400) + `","e":"AQAB","alg":"RS256"}]}`,
	} {
		f.Add(s, "")
		f.Add(s, "ES256")
	}
	f.Fuzz(func(t *testing.T, text, alg string) {
		keys, err := parseKeySet([]byte(text), alg)
		if (err != nil) != (len(keys) == 0) {
			t.Fatalf("%q: %d keys and %v", text, len(keys), err)
		}
		for _, k := range keys {
			if assertionMethods[k.key.alg] == nil || alg != "" && k.key.alg != alg || k.key.public == nil {
				t.Fatalf("%q has a key for %q", text, k.key.alg)
			}
			if (&parsedToken{header: tokenHeader{Alg: "none"}}).signedBy(k.key) {
				t.Fatalf("%q takes what is not signed", text)
			}
		}
	})
}
