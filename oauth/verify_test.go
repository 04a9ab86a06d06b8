package oauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	textInvalid   = "Invalid token"
	textSignature = "Invalid signature received for JSON Web Token validation"
	textExpired   = "Expired token received for JSON Web Token validation"
)

// wantInvalid fails the test unless err is a refusal of a bearer token.
func wantInvalid(t testing.TB, what string, err error, text string) {
	t.Helper()
	var e *tenancy.Error
	if !errors.As(err, &e) || e.Status != 401 || e.Code != "invalid_token" || e.Message != text || e.Header["WWW-Authenticate"] != `Bearer error="invalid_token"` {
		t.Errorf("%s: got %v, want 401 %q", what, err, text)
	}
}

func b64(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestVerify(t *testing.T) { // TT2, TT3, C9.50, C9.51
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	f.useAlg("acme", "rs_orders", "ES256")
	token := f.machineToken("acme").ok().text("access_token")
	claims, err := f.server.Verify(ctx, token)
	if err != nil || claims.Subject != m2mID+"@clients" || claims.GrantType != "client-credentials" || claims.TenantID != "acme" || !claims.Audience.Has(orders) {
		t.Fatalf("%+v, %v", claims, err)
	}
	key, err := f.server.keys.key(ctx, "ES256")
	f.must(err)
	head, rest, _ := strings.Cut(token, ".")
	body, signature, _ := strings.Cut(rest, ".")
	resign := func(header any, alter func(*Claims)) string { // by the tenant's own key
		c := *claims
		alter(&c)
		signed := b64(header) + "." + b64(&c)
		sig, err := key.method.Sign(signed, key.private)
		f.must(err)
		return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	same := func(*Claims) {}
	mac := hmac.New(sha256.New, []byte(f.keysOf("acme")[0].Public))
	mac.Write([]byte(b64(map[string]string{"alg": "HS256", "typ": "JWT", "kid": key.kid}) + "." + body))
	good := map[string]string{"alg": "ES256", "typ": "JWT", "kid": key.kid}
	with := func(pairs ...string) map[string]string {
		h := map[string]string{}
		for k, v := range good {
			h[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = pairs[i+1]
		}
		return h
	}
	if _, err := f.server.Verify(ctx, resign(good, same)); err != nil {
		t.Fatalf("the test's own signing: %v", err)
	}
	for _, tt := range []struct{ name, token, text string }{
		{"empty", "", textInvalid},
		{"garbage", "garbage", textInvalid},
		{"two parts", head + "." + body, textInvalid},
		{"four parts", token + ".x", textInvalid},
		{"no signature", head + "." + body + ".", textInvalid},
		{"huge", strings.Repeat("a", longestToken+1), textInvalid},
		{"stray bits", token + "=", textInvalid},
		{"alg none", b64(map[string]string{"alg": "none", "typ": "JWT", "kid": key.kid}) + "." + body + ".AA", textSignature},
		{"HS256 over the public key", b64(with("alg", "HS256")) + "." + body + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), textSignature},
		{"other alg than the key's", resign(with("alg", "RS256"), same), textSignature},
		{"unknown kid", resign(with("kid", "nobody"), same), textSignature},
		{"no kid", resign(map[string]string{"alg": "ES256", "typ": "JWT"}, same), textSignature},
		{"jku", resign(with("jku", "https://evil.example/jwks.json"), same), textInvalid},
		{"x5u", resign(with("x5u", "https://evil.example/x"), same), textInvalid},
		{"jwk", resign(with("jwk", "{}"), same), textInvalid},
		{"crit", resign(with("crit", "exp"), same), textInvalid},
		{"logout token", resign(with("typ", "logout+jwt"), same), textInvalid},
		{"no typ", resign(map[string]string{"alg": "ES256", "kid": key.kid}, same), textInvalid},
		{"body altered", head + "." + b64(map[string]any{"iss": issuerOf("acme"), "sub": "root"}) + "." + signature, textSignature},
		{"no jti", resign(good, func(c *Claims) { c.ID = "" }), textInvalid},
		{"other tenant", resign(good, func(c *Claims) { c.TenantID = "widgets" }), textInvalid},
		{"no tenant", resign(good, func(c *Claims) { c.TenantID = "" }), textInvalid},
		{"no exp", resign(good, func(c *Claims) { c.ExpiresAt = 0 }), textInvalid},
		{"expires now", resign(good, func(c *Claims) { c.ExpiresAt = f.clock.now().Unix() }), textExpired},
		{"foreign issuer", resign(good, func(c *Claims) { c.Issuer = "https://evil.example/" }), `Unexpected issuer "https://evil.example/"; expected "https://acme.auth.example.com/"`},
		{"the other tenant's", f.machineToken("widgets").ok().text("access_token"), `Unexpected issuer "https://widgets.auth.example.com/"; expected "https://acme.auth.example.com/"`},
	} {
		for range 2 {
			_, err := f.server.Verify(ctx, tt.token)
			wantInvalid(t, tt.name, err, tt.text)
		}
	}
	if got := IssuerOf(token); got != issuerOf("acme") {
		t.Errorf("IssuerOf: %q", got)
	}
	if got := IssuerOf("garbage"); got != "" {
		t.Errorf("IssuerOf garbage: %q", got)
	}
	f.clock.advance(86400 * time.Second) // also when it was seen before
	_, err = f.server.Verify(ctx, token)
	wantInvalid(t, "expired", err, textExpired)
}

func TestIssuers(t *testing.T) { // C1.12, SC-006
	t.Parallel()
	f := newFixture(t)
	token := f.machineToken("acme").ok().text("access_token")
	domain := tenancy.WithVisit(f.in("acme"), &tenancy.Visit{Issuer: "https://login.acme.test/"})
	_, err := f.server.Verify(domain, token)
	wantInvalid(t, "unknown issuer", err, `Unexpected issuer "https://acme.auth.example.com/"; expected "https://login.acme.test/"`)
	if _, err := f.server.VerifyFor(domain, []string{"https://login.acme.test/", issuerOf("acme")}, token); err != nil {
		t.Error(err)
	}
}

func TestRevokedTokens(t *testing.T) { // C4.48
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{audience: orders})).ok()
	second := f.refresh("acme", answer.text("refresh_token")).ok()
	access, refresh := answer.text("access_token"), second.text("refresh_token")
	alive := func(what, token string, want bool) {
		t.Helper()
		if _, err := f.server.Verify(f.in("acme"), token); (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	revoke := func(pairs ...string) {
		t.Helper()
		if got := f.ask("acme", "/oauth/revoke", pairs...); got.status != 200 || got.body != "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %q", got.status, got.body)
		}
	}
	alive("before", access, true)
	revoke("client_id", nativeID, "token", access)
	revoke("client_id", nativeID, "token", refresh)
	revoke("client_id", spaID, "token", "unknown")
	revoke("client_id", spaID, "token", answer.text("id_token"))
	alive("another client's request", access, true)
	revoke("client_id", spaID, "token", access, "token_type_hint", "refresh_token")
	alive("revoked", access, false)
	revoke("client_id", spaID, "token", access) // again
	alive("a later one of the same family", second.text("access_token"), true)
	third := f.refresh("acme", refresh).ok()
	revoke("client_id", spaID, "token", third.text("refresh_token"))
	f.refresh("acme", third.text("refresh_token")).refused(400, "invalid_grant", badRefresh)
	alive("of a revoked family", third.text("access_token"), false)
	f.ask("acme", "/oauth/revoke", "client_id", spaID).refused(400, "invalid_request", "Missing required parameter: token")
	f.ask("acme", "/oauth/revoke", "client_id", webID, "token", "x").refused(401, "invalid_client", "Client authentication failed")
}

func TestRevokeWholeGrant(t *testing.T) { // C4.48: flag revoke_refresh_token_grant
	t.Parallel()
	f := newFixture(t)
	tokens := map[string]string{
		"one": f.refreshToken("acme", codeFor{}), "two": f.refreshToken("acme", codeFor{}),
		"other audience": f.refreshToken("acme", codeFor{audience: orders}), "other user": f.refreshToken("acme", codeFor{user: bob}),
	}
	f.setting("acme", "flags.revoke_refresh_token_grant", "true")
	f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", tokens["one"])
	for name, token := range tokens {
		if alive := f.refresh("acme", token).status == 200; alive != strings.HasPrefix(name, "other") {
			t.Errorf("%s: alive %v", name, alive)
		}
	}
}

// A token revoked by another process is refused within a second.
func TestRevokedElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	token := f.machineToken("acme").ok().text("access_token")
	claims, err := f.server.Verify(ctx, token)
	f.must(err)
	f.must(tenancy.RevokedTokens.Create(ctx, &tenancy.RevokedToken{Row: tenancy.Row{ID: claims.ID}, ExpiresAt: tenancy.Time(claims.ExpiresAt * 1e6)}))
	f.clock.advance(time.Second)
	_, err = f.server.Verify(ctx, token)
	wantInvalid(t, "revoked", err, textInvalid)
}

func TestVerifyHint(t *testing.T) { // C3.33
	t.Parallel()
	f := newFixture(t)
	answer := f.redeem("acme", f.code("acme", codeFor{org: "org_1"})).ok()
	f.clock.advance(20 * 24 * time.Hour) // long expired
	claims, err := f.server.verifyHint(f.in("acme"), answer.text("id_token"))
	if err != nil || claims.Subject != ada || claims.Audience[0] != spaID || claims.SessionID != "ses_1" {
		t.Errorf("%+v, %v", claims, err)
	}
	for name, token := range map[string]string{
		"access token": answer.text("access_token"), "garbage": "x.y.z",
		"altered": strings.TrimSuffix(answer.text("id_token"), answer.text("id_token")[len(answer.text("id_token"))-4:]) + "AAAA",
	} {
		if _, err := f.server.verifyHint(f.in("acme"), token); !errors.Is(err, errHint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifiedTokensAreBounded(t *testing.T) {
	t.Parallel()
	v := newVerifiedTokens()
	for i := range 3 * verifiedHalf {
		v.put(b64(i), &verifiedToken{kid: "k"})
	}
	if n := len(v.fresh) + len(v.old); n > 2*verifiedHalf {
		t.Errorf("%d tokens are remembered", n)
	}
	v.put(strings.Repeat("x", longestKept+1), &verifiedToken{})
	if v.get(strings.Repeat("x", longestKept+1)) != nil {
		t.Error("a huge token is remembered")
	}
	if v.get(b64(3*verifiedHalf-1)) == nil {
		t.Error("the newest token is not")
	}
}
