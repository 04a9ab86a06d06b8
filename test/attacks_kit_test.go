package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// changing is what differs from page to page.
var changing = regexp.MustCompile(`state=[A-Za-z0-9_-]+|name="state" value="[^"]*"|\(request [^)]*\)|nonce="[^"]*"|value="[A-Za-z0-9_-]{43}"`)

func flipped(s string) string {
	last := byte('A')
	if s[len(s)/2] == last {
		last = 'B'
	}
	return s[:len(s)/2] + string(last) + s[len(s)/2+1:]
}

func (o *provider) redeem1(t testing.TB, p relyingParty, code string) answer {
	t.Helper()
	return o.ask(t, p, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.callback}})
}

func (o *provider) wantRefused(t testing.TB, a answer, codes ...string) {
	t.Helper()
	for _, code := range codes {
		if a.status == http.StatusBadRequest && a.member(t, "error") == code {
			return
		}
	}
	t.Errorf("%d %s, want one of %q", a.status, a.body, codes)
}

// wantOneWinner: of sixteen at once one succeeds, and all others are told that
// what they have is spent.
func (o *provider) wantOneWinner(t testing.TB, try func() answer) {
	t.Helper()
	const racers = 16
	var wg sync.WaitGroup
	answers := make([]answer, racers)
	for i := range racers {
		wg.Go(func() { answers[i] = try() })
	}
	wg.Wait()
	won := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			won++
		} else {
			o.wantRefused(t, a, "invalid_grant")
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, racers)
	}
}

func cookie(t testing.TB, v *visitor, u *url.URL, name string) string {
	t.Helper()
	for _, c := range v.http.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no cookie %s", name)
	return ""
}

// confused are tokens that a careless verifier takes for ours.
func confused(t testing.TB, o *provider, got tokens) map[string]string {
	t.Helper()
	public := publicPEM(t)
	parts := strings.Split(got.Access, ".")
	kid := header(t, got.Access)["kid"]
	body := parts[1]
	sign := func(method jwt.SigningMethod, key any, more map[string]any) string {
		token := jwt.NewWithClaims(method, jwt.MapClaims(claims(t, got.Access)))
		token.Header["kid"] = kid
		for name, value := range more {
			token.Header[name] = value
		}
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	ours, err := json.Marshal(o.keysOf(t)[fmt.Sprint(kid)])
	if err != nil {
		t.Fatal(err)
	}
	key := foreignKey.key
	return map[string]string{
		"none":              encoded(`{"alg":"none","kid":"`+fmt.Sprint(kid)+`","typ":"JWT"}`) + "." + body + ".",
		"None":              encoded(`{"alg":"nOnE","typ":"JWT"}`) + "." + body + "." + parts[2],
		"HS256 of the JWK":  sign(jwt.SigningMethodHS256, ours, nil),
		"HS256 of a PEM":    sign(jwt.SigningMethodHS256, []byte(public), nil),
		"a foreign key":     sign(jwt.SigningMethodRS256, key, nil),
		"an embedded key":   sign(jwt.SigningMethodRS256, key, map[string]any{"jwk": map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}),
		"jku":               sign(jwt.SigningMethodRS256, key, map[string]any{"jku": "http://127.0.0.1:1/jwks"}),
		"a path for kid":    sign(jwt.SigningMethodRS256, key, map[string]any{"kid": "../../../../dev/null"}),
		"SQL for kid":       sign(jwt.SigningMethodHS256, []byte("x"), map[string]any{"kid": "x' UNION SELECT 'x"}),
		"an altered body":   parts[0] + "." + flipped(body) + "." + parts[2],
		"no signature":      parts[0] + "." + body + ".",
		"dots":              strings.Repeat(".", 20_000),
		"a JWE":             encoded(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"eA"}`) + ".AA.AA.AA.AA",
		"compressed":        encoded(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`) + "..AA." + strings.Repeat("A", 8000) + ".AA",
		"members twice":     encoded(`{"alg":"RS256","alg":"none","kid":"`+fmt.Sprint(kid)+`"}`) + "." + body + "." + parts[2],
		"text":              "not a token",
		"nothing but parts": "..",
	}
}

// narrowed is a token of a client of the control plane that may read clients, and
// not their keys.
func (o *provider) narrowed(t testing.TB) string {
	t.Helper()
	return o.token(t, "", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {managerID}, "client_secret": {managerSecret},
		"audience": {o.issuer("") + "api/v2/"}, "scope": {"read:clients admin:organizations"},
	}).want(t, http.StatusOK).member(t, "access_token")
}
