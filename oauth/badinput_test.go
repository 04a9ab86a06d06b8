package oauth

import (
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Bounds of one request, whatever it sends: how much memory it takes in all, which
// is a few copies of the largest body, and how long it is worked on.
const (
	badInputMemory = 48 << 20
	badInputTime   = 5 * time.Second
)

// jwtBombs are texts that cost whoever reads them as a token more than they should
// (A22, A30).
var jwtBombs = func() map[string]string {
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]string{
		"deep header":   b64([]byte(`{"alg":`+strings.Repeat("[", 90_000))) + ".e30.AA",
		"deep payload":  b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{"sub":`+strings.Repeat(`{"a":`, 30_000))) + ".AA",
		"huge header":   b64([]byte(`{"alg":"ES256","kid":"`+strings.Repeat("k", 400_000)+`"}`)) + ".e30.AA",
		"many members":  b64([]byte(`{"alg":"ES256"`+strings.Repeat(`,"a":1`, 20_000)+`}`)) + ".e30.AA",
		"dots":          strings.Repeat(".", 200_000),
		"p2c":           b64([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128CBC-HS256","p2c":2147483647,"p2s":"AAAA"}`)) + ".AA.AA.AA.AA",
		"zip":           b64([]byte(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`)) + "..AA.AA.AA",
		"p2c, signed":   b64([]byte(`{"alg":"ES256","p2c":2147483647,"zip":"DEF"}`)) + ".e30.AA",
		"large numbers": b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(`{"exp":`+strings.Repeat("9", 100_000)+`}`)) + ".AA",
		"no UTF-8":      b64([]byte("{\"alg\":\"\xff\"}")) + ".e30.AA",
	}
}()

// tokenParameters are all parameters that a token stands in somewhere.
var tokenParameters = []string{"token", "refresh_token", "subject_token", "client_assertion", "id_token_hint", "logout_hint", "request", "code", "device_code", "access_token", "request_uri"}

// A badInput is something no request should send. It is told what the request has
// besides, so that it gets as far as it can.
type badInput struct {
	form   func(url.Values) string // the query or the form
	json   string                  // in its place where a body is JSON
	bearer string
	body   func(string) io.Reader // what the body is read from; nil for a text

	ignored []string // routes that ignore what they do not know (C0.9), or that answer 200 to a token that is none (C4.48, C4.49)
}

// badInputs are the cases by name.
func badInputs() map[string]badInput {
	documents := []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"}
	unread := append([]string{"/v2/logout", "/oidc/logout"}, documents...)
	encode := url.Values.Encode
	with := func(pairs ...string) func(url.Values) string {
		return func(v url.Values) string {
			for i := 0; i < len(pairs); i += 2 {
				v.Set(pairs[i], pairs[i+1])
			}
			return v.Encode()
		}
	}
	cases := map[string]badInput{
		"repeated parameter":  {form: func(v url.Values) string { return encode(v) + "&client_id=a&client_id=b" }, json: `{"client_name":"a","client_name":"b"}`, ignored: documents},
		"repeated, unknown":   {form: func(v url.Values) string { return encode(v) + "&x=a&x=b" }, json: `{"x":1,"x":1}`, ignored: documents},
		"no UTF-8":            {form: func(v url.Values) string { return encode(v) + "&scope=%ff%fe" }, json: "{\"client_name\":\"\xff\", \"redirect_uris\":1}", ignored: documents},
		"NUL":                 {form: func(v url.Values) string { return encode(v) + "&scope=%00" }, json: "{\"client_name\":\"\x00\"}", ignored: documents},
		"half an escape":      {form: func(v url.Values) string { return encode(v) + "&scope=%f" }, json: `{"client_name":"\u00`, ignored: documents},
		"1 MiB of scope":      {form: with("scope", strings.Repeat("a ", 1<<19)), json: `{"scope":"` + strings.Repeat("a ", 1<<19) + `"}`, ignored: unread},
		"nearly 1 MiB":        {form: with("scope", strings.Repeat("a", 1<<20-4096)), json: `{"scope":"` + strings.Repeat("a", 1<<20-4096) + `"}`, ignored: unread},
		"scopes without end":  {form: func(v url.Values) string { return encode(v) + "&scope=" + strings.Repeat("a+", 1<<18) + "%00" }, json: `{"scope":"` + strings.Repeat("openid ", 1<<16) + `x"}`, ignored: documents},
		"parameters, 100_000": {form: func(v url.Values) string { return encode(v) + strings.Repeat("&a=b", 100_000) }, json: "{" + strings.Repeat(`"a":1,`, 100_000) + `"a":1}`, ignored: documents},
		"deep claims":         {form: with("claims", strings.Repeat(`{"userinfo":`, 30_000)), json: strings.Repeat(`{"jwks":`, 100_000), ignored: append([]string{"/oauth/token", "/oauth/revoke", "/oauth/introspect", pathDevice}, unread...)},
		"a slow body, cut off": {form: encode, json: `{}`, body: func(s string) io.Reader {
			return io.MultiReader(strings.NewReader(s[:len(s)/2]), iotest.ErrReader(os.ErrDeadlineExceeded))
		}},
	}
	for name, bomb := range jwtBombs {
		pairs := []string{"client_assertion_type", assertionType}
		for _, p := range tokenParameters {
			pairs = append(pairs, p, bomb)
		}
		cases["bomb, "+name] = badInput{form: with(pairs...), json: `{"jwks":"` + bomb[:min(len(bomb), 1<<18)] + `","token_endpoint_auth_method":"private_key_jwt"}`, bearer: bomb, ignored: append([]string{"/v2/logout"}, documents...)}
	}
	return cases
}

// BadInput of issue 5, contract 0: every route, every method and every bad input,
// generated from the route table. All are refused, in bounded memory and time, as
// the contract has errors look.
func TestBadInput(t *testing.T) { // not parallel: it measures memory
	f := newFixture(t)
	f.registration("acme", true)
	f.client("acme", http.MethodPost, pathRegister, "", nil)
	for name, bad := range badInputs() {
		for _, path := range slices.Sorted(maps.Keys(f.server.routes)) {
			rt := f.server.routes[path]
			if slices.Contains(bad.ignored, path) {
				continue
			}
			for _, method := range rt.methods {
				bodied := method == http.MethodPost || method == http.MethodPut
				if bad.body != nil && !bodied {
					continue // there is none to cut off
				}
				before, began := allocated(), time.Now()
				w := f.serve("acme", badRequest(bad, method, path, bodied))
				took, grown := time.Since(began), allocated()-before
				if w.Code < 400 || w.Code > 499 {
					t.Errorf("%s: %s %s: %d %.200s", name, method, path, w.Code, w.Body)
				}
				if got := w.Header().Get("Content-Type"); rt.refuse == nil && (got != "application/json" || readReply(t, w).text("error") == "") {
					t.Errorf("%s: %s %s: %s %.200s", name, method, path, got, w.Body)
				}
				if w.Body.Len() > 4096 {
					t.Errorf("%s: %s %s: %d bytes of answer", name, method, path, w.Body.Len())
				}
				if grown > badInputMemory || took > badInputTime {
					t.Errorf("%s: %s %s: %d KiB, %v", name, method, path, grown>>10, took)
				}
			}
		}
	}
	f.machineToken("acme").ok() // it still works
}

// badRequest is a request that would be a good one of the machine client's but for
// the bad input.
func badRequest(bad badInput, method, path string, bodied bool) *http.Request {
	v := values("response_type", "code", "grant_type", grantRefreshToken)
	text := bad.form(v)
	target, kind := path, mediaForm
	if path == pathRegister || path == pathClient {
		text, kind = bad.json, "application/json"
		if path == pathClient {
			target += "some-client"
		}
	}
	var body io.Reader
	if bodied {
		body = strings.NewReader(text)
		if bad.body != nil {
			body = bad.body(text)
		}
	}
	r := httptest.NewRequest(method, target, body)
	if bodied {
		r.Header.Set("Content-Type", kind)
	} else {
		r.URL.RawQuery = text
	}
	if bad.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bad.bearer)
	}
	return r
}

// allocated is all memory that was ever asked for, in bytes.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// What reads tokens gets to see the bombs where a client or a bearer brings them by
// itself, without anything else that is refused first.
func TestJWTBombs(t *testing.T) {
	f := newFixture(t)
	f.giveClientKey("acme", webID, "RS256", clientKeys().rsa)
	b := f.loggedIn("acme", bob)
	me := []string{"client_id", m2mID, "client_secret", m2mSecret}
	for name, bomb := range jwtBombs {
		for where, send := range map[string]func() *reply{
			"subject_token": func() *reply {
				return f.token("acme", append(me, "grant_type", grantTokenExchange, "subject_token", bomb, "subject_token_type", "urn:ietf:params:oauth:token-type:access_token")...)
			},
			"client_assertion": func() *reply {
				return f.token("acme", "grant_type", grantRefreshToken, "refresh_token", "x", "client_id", webID, "client_assertion_type", assertionType, "client_assertion", bomb)
			},
			"client_assertion alone": func() *reply {
				return f.token("acme", "grant_type", grantRefreshToken, "refresh_token", "x", "client_assertion_type", assertionType, "client_assertion", bomb)
			},
			"refresh_token": func() *reply {
				return f.token("acme", "grant_type", grantRefreshToken, "client_id", spaID, "refresh_token", bomb)
			},
			"code": func() *reply {
				return f.token("acme", "grant_type", grantAuthorizationCode, "client_id", spaID, "code", bomb, "redirect_uri", callback, "code_verifier", verifier)
			},
			"userinfo, header": func() *reply {
				r := newGet("/userinfo")
				r.Header.Set("Authorization", "Bearer "+bomb)
				return f.send("acme", r)
			},
			"userinfo, body": func() *reply { return f.ask("acme", "/userinfo", "access_token", bomb) },
			"authorize, id_token_hint": func() *reply {
				return readReply(t, b.authorize("id_token_hint", bomb, "prompt", "none", "response_mode", "web_message"))
			},
			"logout, id_token_hint": func() *reply { return readReply(t, b.oidcLogout("id_token_hint", bomb)) },
		} {
			before, began := allocated(), time.Now()
			got := send()
			took, grown := time.Since(began), allocated()-before
			message := strings.HasPrefix(where, "authorize") && got.status == 200 && strings.Contains(got.body, `"error":`) // C3.1: told by message
			if (got.status < 400 || got.status > 499) && !message {
				t.Errorf("%s as %s: %d %.300s", name, where, got.status, got.body)
			}
			if grown > badInputMemory || took > badInputTime {
				t.Errorf("%s as %s: %d KiB, %v", name, where, grown>>10, took)
			}
		}
		// These answer that it is nobody's.
		if got := f.ask("acme", "/oauth/introspect", append(me, "token", bomb)...); got.status != 200 || strings.TrimSpace(got.body) != `{"active":false}` {
			t.Errorf("%s: introspected as %d %s", name, got.status, got.body)
		}
		if got := f.ask("acme", "/oauth/revoke", append(me, "token", bomb)...); got.status != 200 || got.body != "" {
			t.Errorf("%s: revoked as %d %s", name, got.status, got.body)
		}
	}
	b.alive(true)
}
