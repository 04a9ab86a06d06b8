package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// web is what clients publish: by address, what is answered there. Nothing is at
// other addresses.
type web struct {
	mu    sync.Mutex
	pages map[string]func(context.Context) (status int, body io.Reader)
	asked map[string]int
}

// Do implements HTTPClient.
func (w *web) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	page := w.pages[r.URL.String()]
	if w.asked == nil {
		w.asked = map[string]int{}
	}
	w.asked[r.URL.String()]++
	w.mu.Unlock()
	if page == nil || r.Method != http.MethodGet {
		return nil, errors.New("connection refused")
	}
	status, body := page(r.Context())
	return &http.Response{StatusCode: status, Body: io.NopCloser(body)}, nil
}

func (w *web) put(address string, status int, body string) {
	w.serve(address, func(context.Context) (int, io.Reader) { return status, strings.NewReader(body) })
}

func (w *web) serve(address string, page func(context.Context) (int, io.Reader)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pages == nil {
		w.pages = map[string]func(context.Context) (int, io.Reader){}
	}
	w.pages[address] = page
}

// times is how often an address was asked.
func (w *web) times(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[address]
}

// jwkOf is the public side of a key, changed by pairs.
func jwkOf(key crypto.Signer, pairs ...string) map[string]string {
	m := map[string]string{}
	text := base64.RawURLEncoding.EncodeToString
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", text(k.N.Bytes()), text(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", text(point[1:33]), text(point[33:])
	}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func jwksOf(t testing.TB, keys ...map[string]string) string {
	t.Helper()
	return string(encoded(t, map[string]any{"keys": keys}))
}

const keysAddress = "https://new.example.net/jwks"

// proves reports how a registered client's assertion by the key is answered: a
// refresh token that is none is refused only once the client is known.
func (f *fixture) proves(tenant, id, alg string, key any, kid string) bool {
	f.t.Helper()
	assertion := f.assertion(alg, key, func(c jwt.MapClaims, h map[string]any) {
		c["iss"], c["sub"], c["aud"] = id, id, issuerOf(tenant)
		if kid != "" {
			h["kid"] = kid
		}
	})
	got := f.token(tenant, "grant_type", "refresh_token", "refresh_token", "x", "client_assertion_type", assertionType, "client_assertion", assertion)
	if got.status == http.StatusUnauthorized {
		got.refused(401, "invalid_client", authFailed)
		return false
	}
	got.refused(400, "invalid_grant", badRefresh)
	return true
}

// keyed registers a client that proves itself by keys.
func (f *fixture) keyed(tenant string, more map[string]any) *reply {
	f.t.Helper()
	more["token_endpoint_auth_method"], more["grant_types"] = authPrivateKey, []string{"authorization_code", "refresh_token"}
	got := f.client(tenant, http.MethodPost, pathRegister, "", more)
	if got.status != http.StatusCreated || got.json["client_secret"] != nil {
		f.t.Fatalf("got %d %s", got.status, got.body)
	}
	return got
}

// D11: registration by jwks_uri works. Its keys are read once for many requests.
func TestD11RegistrationByJWKSURI(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	f.registration("widgets", true)
	keys := clientKeys()
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(keys.rsa, "kid", "r", "use", "sig"), jwkOf(keys.ec, "kid", "e", "alg", "ES256")))
	got := f.keyed("acme", map[string]any{"jwks_uri": keysAddress})
	id := got.text("client_id")
	if got.text("jwks_uri") != keysAddress || got.text("token_endpoint_auth_method") != authPrivateKey || got.json["jwks"] != nil {
		t.Errorf("registered %s", got.body)
	}
	if n := f.web.times(keysAddress); n != 0 {
		t.Errorf("read %d times before they were needed", n)
	}
	for _, c := range []struct {
		alg, kid string
		key      any
		want     bool
	}{
		{"RS256", "r", keys.rsa, true},
		{"PS256", "", keys.rsa, true},
		{"ES256", "e", keys.ec, true},
		{"ES256", "r", keys.ec, false},
		{"RS256", "r", keys.otherRSA, false},
	} {
		if got := f.proves("acme", id, c.alg, c.key, c.kid); got != c.want {
			t.Errorf("%s with kid %q: %t", c.alg, c.kid, got)
		}
	}
	if n := f.web.times(keysAddress); n != 1 {
		t.Errorf("read %d times", n)
	}
	// The same id elsewhere has keys of its own, and here no other's count.
	f.must(tenancy.Clients.Create(f.in("widgets"), &tenancy.Client{
		Row: tenancy.Row{ID: id}, TokenEndpointAuthMethod: authPrivateKey, GrantTypes: []string{"refresh_token"},
		Registration: &tenancy.Registration{RegisteredKeys: tenancy.RegisteredKeys{JWKS: json.RawMessage(jwksOf(t, jwkOf(keys.otherRSA)))}},
	}))
	if f.proves("widgets", id, "RS256", keys.rsa, "") || !f.proves("widgets", id, "RS256", keys.otherRSA, "") || f.proves("acme", id, "RS256", keys.otherRSA, "") {
		t.Error("keys count across tenants")
	}
}

// RFC 7591 section 2: keys by value, which only a client's own change replaces.
func TestRegistrationByJWKS(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	keys := clientKeys()
	got := f.keyed("acme", map[string]any{"jwks": json.RawMessage(jwksOf(t, jwkOf(keys.ec, "kid", "e"))), "token_endpoint_auth_signing_alg": "ES256"})
	id, token := got.text("client_id"), got.text("registration_access_token")
	if !f.proves("acme", id, "ES256", keys.ec, "e") || f.proves("acme", id, "ES256", keys.ec, "other") || f.proves("acme", id, "RS256", keys.rsa, "") {
		t.Error("the keys that were registered do not decide")
	}
	if f.client("acme", http.MethodGet, pathClient+id, token, nil).ok().json["jwks"] == nil {
		t.Error("the keys are not told again")
	}
	f.client("acme", http.MethodPut, pathClient+id, token, map[string]any{
		"client_id": id, "token_endpoint_auth_method": authPrivateKey, "grant_types": []string{"authorization_code", "refresh_token"},
		"jwks": json.RawMessage(jwksOf(t, jwkOf(keys.rsa))), "token_endpoint_auth_signing_alg": "PS256",
	}).ok()
	if f.proves("acme", id, "ES256", keys.ec, "e") || f.proves("acme", id, "RS256", keys.rsa, "") || !f.proves("acme", id, "PS256", keys.rsa, "") {
		t.Error("after the change others decide")
	}
	back := f.client("acme", http.MethodPut, pathClient+id, token, map[string]any{"client_id": id, "token_endpoint_auth_method": "client_secret_basic"}).ok()
	if back.text("client_secret") == "" || back.json["jwks"] != nil || f.proves("acme", id, "PS256", keys.rsa, "") {
		t.Errorf("with a secret again: %s", back.body)
	}
}

// D15: a client's new key counts within a minute, without asking for it more often
// than every half, and one that is gone ends; so does all where nothing answers.
func TestD15KeyRotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	keys := clientKeys()
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(keys.rsa, "kid", "old")))
	id := f.keyed("acme", map[string]any{"jwks_uri": keysAddress}).text("client_id")
	step := func(name string, after time.Duration, times int, oldCounts, newCounts bool) {
		t.Helper()
		f.clock.advance(after)
		if got := f.proves("acme", id, "RS256", keys.otherRSA, "new"); got != newCounts {
			t.Errorf("%s: the new key counts: %t", name, got)
		}
		if got := f.proves("acme", id, "RS256", keys.rsa, "old"); got != oldCounts {
			t.Errorf("%s: the old key counts: %t", name, got)
		}
		if got := f.web.times(keysAddress); got != times {
			t.Errorf("%s: %d requests, want %d", name, got, times)
		}
	}
	step("at first", 0, 1, true, false)
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(keys.rsa, "kid", "old"), jwkOf(keys.otherRSA, "kid", "new")))
	step("at once", 0, 1, true, false)
	step("a minute later", time.Minute, 2, true, true)
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(keys.otherRSA, "kid", "new")))
	step("withdrawn", keysFresh, 3, false, true)
	f.web.put(keysAddress, 500, "")
	step("nothing there", keysFresh, 4, false, true)
	step("nothing there for long", keysFresh, 5, false, false)
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(keys.otherRSA, "kid", "new")))
	step("there again, too soon", time.Second, 5, false, false)
	step("there again", keysPause, 6, false, true)
}

// A25, A30: what is no key set, is too long or never ends proves nobody, and takes
// neither long nor much.
func TestA25JWKSURIAnswers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	key := clientKeys().rsa
	good := jwksOf(t, jwkOf(key))
	var many []map[string]string
	for range mostKeys + 1 {
		many = append(many, jwkOf(key))
	}
	for name, page := range map[string]func(context.Context) (int, io.Reader){
		"redirect":  func(context.Context) (int, io.Reader) { return 302, strings.NewReader(good) },
		"not found": func(context.Context) (int, io.Reader) { return 404, strings.NewReader(good) },
		"too long": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(good + strings.Repeat(" ", longestKeySet))
		},
		"no JSON": func(context.Context) (int, io.Reader) { return 200, strings.NewReader("<html>") },
		"no set":  func(context.Context) (int, io.Reader) { return 200, strings.NewReader(`{"keys":null}`) },
		"nested": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(`{"keys":` + strings.Repeat("[", 60000))
		},
		"many": func(context.Context) (int, io.Reader) { return 200, strings.NewReader(jwksOf(t, many...)) },
		"private": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(jwksOf(t, jwkOf(key, "d", "AQAB")))
		},
		"shared": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(jwksOf(t, map[string]string{"kty": "oct", "k": "AQAB"}))
		},
		"to encrypt": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(jwksOf(t, jwkOf(key, "use", "enc")))
		},
		"other curve": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(jwksOf(t, jwkOf(clientKeys().ec, "crv", "P-384")))
		},
		"other alg": func(context.Context) (int, io.Reader) {
			return 200, strings.NewReader(jwksOf(t, jwkOf(key, "alg", "HS256")))
		},
		"no answer": nil,
	} {
		address := "https://new.example.net/" + strings.ReplaceAll(name, " ", "-")
		if page != nil {
			f.web.serve(address, page)
		}
		id := f.keyed("acme", map[string]any{"jwks_uri": address}).text("client_id")
		for range 2 {
			if f.proves("acme", id, "RS256", key, "") {
				t.Errorf("%s: it proves the client", name)
			}
		}
		if n := f.web.times(address); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
}

// One slow address is asked once at a time, and a tenant with many of them keeps
// neither others waiting nor more than its share.
func TestSlowJWKSURIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	f.registration("widgets", true)
	key, release, started := clientKeys().rsa, make(chan struct{}), make(chan struct{}, mostFetches)
	slow := func(ctx context.Context) (int, io.Reader) {
		started <- struct{}{}
		<-release
		return 200, strings.NewReader(jwksOf(t, jwkOf(key)))
	}
	var clients sync.WaitGroup
	for i := range mostFetches {
		address := keysAddress + strings.Repeat("x", i+1)
		f.web.serve(address, slow)
		id := f.keyed("acme", map[string]any{"jwks_uri": address}).text("client_id")
		for range 2 {
			clients.Go(func() {
				if !f.proves("acme", id, "RS256", key, "") {
					t.Error("the keys came, and prove nobody")
				}
			})
		}
		<-started
	}
	f.web.put(keysAddress, 200, jwksOf(t, jwkOf(key)))
	late := f.keyed("acme", map[string]any{"jwks_uri": keysAddress}).text("client_id")
	assertion := func(tenant, id string) []string {
		return []string{
			"grant_type", "refresh_token", "refresh_token", "x", "client_assertion_type", assertionType, "client_assertion",
			f.assertion("RS256", key, func(c jwt.MapClaims, _ map[string]any) { c["iss"], c["sub"], c["aud"] = id, id, issuerOf(tenant) }),
		}
	}
	if got := f.token("acme", assertion("acme", late)...); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d %s", got.status, got.body)
	}
	other := f.keyed("widgets", map[string]any{"jwks_uri": keysAddress}).text("client_id")
	f.token("widgets", assertion("widgets", other)...).refused(400, "invalid_grant", badRefresh)
	close(release)
	clients.Wait()
	if !f.proves("acme", late, "RS256", key, "") {
		t.Error("afterwards the late one is served")
	}
	if n := f.web.times(keysAddress + "x"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// D12, D13: a sector that names the callbacks, and ones that do not.
func TestD12D13SectorIdentifier(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	const sector = "https://new.example.net/sector"
	f.web.put(sector, 200, `["https://other.example.net/cb","https://new.example.net/cb"]`)
	got := f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"sector_identifier_uri": sector})
	if got.status != http.StatusCreated || got.text("sector_identifier_uri") != sector {
		t.Errorf("D12: %d %s", got.status, got.body)
	}
	f.client("acme", http.MethodPost, pathRegister, "", map[string]any{
		"sector_identifier_uri": sector, "redirect_uris": []string{"https://new.example.net/cb", "https://new.example.net/cb2"},
	}).refused(400, "invalid_client_metadata", "sector_identifier_uri does not name https://new.example.net/cb2")
	for _, wrong := range []struct {
		status int
		body   string
	}{{404, `["https://new.example.net/cb"]`}, {200, `{"a":1}`}, {200, `[`}, {200, `["` + strings.Repeat("x", longestKeySet) + `"]`}} {
		f.web.put(sector, wrong.status, wrong.body)
		f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"sector_identifier_uri": sector}).refused(400, "invalid_client_metadata", "*")
	}
	f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"sector_identifier_uri": "http://new.example.net/sector"}).refused(400, "invalid_client_metadata", "*")
	f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"sector_identifier_uri": "https://gone.example.net/"}).
		refused(400, "invalid_client_metadata", "sector_identifier_uri cannot be read")
}

// RFC 7591 sections 2 and 3.2.2: keys that are none, in two places, or missing; and
// statements of others, which nobody here trusts.
func TestRegistrationRefusesKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	key := clientKeys().rsa
	good := json.RawMessage(jwksOf(t, jwkOf(key)))
	small := map[string]string{"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(new(big.Int).Lsh(big.NewInt(1), 1023).Bytes()), "e": "AQAB"}
	for name, c := range map[string]struct {
		code string
		more map[string]any
	}{
		"no keys":            {"invalid_client_metadata", map[string]any{}},
		"both":               {"invalid_client_metadata", map[string]any{"jwks": good, "jwks_uri": keysAddress}},
		"http":               {"invalid_client_metadata", map[string]any{"jwks_uri": "http://new.example.net/jwks"}},
		"file":               {"invalid_client_metadata", map[string]any{"jwks_uri": "file:///etc/passwd"}},
		"user information":   {"invalid_client_metadata", map[string]any{"jwks_uri": "https://a:b@new.example.net/jwks"}},
		"no set":             {"invalid_client_metadata", map[string]any{"jwks": "x"}},
		"empty":              {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(`{"keys":[]}`)}},
		"private":            {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(jwksOf(t, jwkOf(key, "d", "AQAB")))}},
		"shared":             {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(`{"keys":[{"kty":"oct","k":"AQAB"}]}`)}},
		"short RSA":          {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(jwksOf(t, small))}},
		"exponent 1":         {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(jwksOf(t, jwkOf(key, "e", "AQ")))}},
		"not on the curve":   {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(jwksOf(t, jwkOf(clientKeys().ec, "y", strings.Repeat("A", 43))))}},
		"too long":           {"invalid_client_metadata", map[string]any{"jwks": json.RawMessage(jwksOf(t, jwkOf(key, "x", strings.Repeat("A", longestJWKS))))}},
		"none":               {"invalid_client_metadata", map[string]any{"jwks": good, "token_endpoint_auth_signing_alg": "none"}},
		"HS256":              {"invalid_client_metadata", map[string]any{"jwks": good, "token_endpoint_auth_signing_alg": "HS256"}},
		"another kind's":     {"invalid_client_metadata", map[string]any{"jwks": good, "token_endpoint_auth_signing_alg": "ES256"}},
		"software statement": {"invalid_software_statement", map[string]any{"jwks": good, "software_statement": "x.y.z"}},
	} {
		c.more["token_endpoint_auth_method"] = authPrivateKey
		got := f.client("acme", http.MethodPost, pathRegister, "", c.more)
		if got.status != 400 || got.text("error") != c.code {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	f.server.web.client = nil
	f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"jwks_uri": keysAddress}).refused(400, "invalid_client_metadata", "jwks_uri is not supported")
}
