package oauth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// fastKeys are keyrings without RSA, which takes long to make.
func fastKeys(f *fixture) *Keyring {
	return &Keyring{Algs: []string{"ES256", "EdDSA"}, Now: f.clock.now}
}

func (f *fixture) keysOf(tenant string) []tenancy.SigningKey {
	f.t.Helper()
	rows, err := tenancy.SigningKeys.Find(f.in(tenant), tenancy.Filter{})
	f.must(err)
	return rows
}

// kids of the tenant's published key set, in its order.
func (f *fixture) kids(tenant string) []string {
	f.t.Helper()
	var kids []string
	for _, key := range f.send(tenant, newGet("/.well-known/jwks.json")).ok().json["keys"].([]any) {
		kids = append(kids, key.(map[string]any)["kid"].(string))
	}
	return kids
}

func TestEnsureKeysRaces(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	f.must(tenancy.Commit(ctx, tenancy.SigningKeys.RemoveWhere(ctx, "1 = 1")))
	k := fastKeys(f)
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { errs[i] = k.EnsureKeys(ctx) })
	}
	wg.Wait()
	f.must(errors.Join(errs...))
	count := make(map[string]int)
	for _, key := range f.keysOf("acme") {
		count[key.Alg+" "+string(key.Use)]++
	}
	if len(count) != 4 || count["ES256 current"] != 1 || count["ES256 next"] != 1 || count["EdDSA current"] != 1 || count["EdDSA next"] != 1 {
		t.Errorf("keys %v", count)
	}
	before := f.meter.writes.Load()
	f.must(k.EnsureKeys(ctx))
	if f.meter.writes.Load() != before {
		t.Error("ensuring again wrote something")
	}
}

func TestRotate(t *testing.T) { // C5.86, SC-075, design 5
	t.Parallel()
	f := newFixture(t)
	ctx, k := f.in("acme"), f.server.keys
	f.useAlg("acme", "rs_orders", "ES256")
	others := f.kids("widgets")
	old := f.machineToken("acme").ok().text("access_token")
	published := f.kids("acme")
	promoted, err := k.Rotate(ctx, "ES256")
	f.must(err)
	if !slices.Contains(published, promoted.ID) {
		t.Error("the new key signs without having been published before")
	}
	fresh := f.machineToken("acme").ok().text("access_token")
	if got := header(t, fresh)["kid"]; got != promoted.ID {
		t.Errorf("signs with %v, want %s", got, promoted.ID)
	}
	for _, token := range []string{old, fresh} {
		if _, err := f.server.Verify(ctx, token); err != nil {
			t.Error(err)
		}
	}
	if got := f.kids("acme"); len(got) != len(published)+1 || !slices.Contains(got, header(t, old)["kid"].(string)) {
		t.Errorf("key set %v", got)
	}
	if got := f.kids("widgets"); !slices.Equal(got, others) { // C9.14
		t.Errorf("the other tenant's key set changed: %v", got)
	}
	f.clock.advance(retention + time.Second)
	if got := f.kids("acme"); slices.Contains(got, header(t, old)["kid"].(string)) {
		t.Error("still published after its last token has expired")
	}
	f.must((&Keyring{Algs: k.algs(), Every: -1, Now: f.clock.now}).RotateDue(ctx))
	if got := f.keysOf("acme"); len(got) != len(published) {
		t.Errorf("%d keys are left of %d", len(got), len(published))
	}
}

func TestRotateRaces(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := fastKeys(f)
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() { _, errs[i] = k.Rotate(f.in("acme"), "EdDSA") })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, tenancy.ErrStale) && !errors.Is(err, tenancy.ErrConflict) {
			t.Error(err)
		}
	}
	current, next := 0, 0
	for _, key := range f.keysOf("acme") {
		switch {
		case key.Alg == "EdDSA" && key.Use == tenancy.KeyCurrent:
			current++
		case key.Alg == "EdDSA" && key.Use == tenancy.KeyNext:
			next++
		}
	}
	if current != 1 || next != 1 {
		t.Errorf("%d current, %d next keys", current, next)
	}
}

func TestRotateDue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := fastKeys(f)
	k.Every = 24 * time.Hour
	kid := func() string {
		key, err := k.key(f.in("acme"), "EdDSA")
		f.must(err)
		return key.kid
	}
	first := kid()
	f.must(k.RotateDue(f.in("acme")))
	if kid() != first {
		t.Error("rotated though it was not due")
	}
	f.clock.advance(25 * time.Hour)
	f.must(k.RotateDue(f.in("acme")))
	second := kid()
	if second == first {
		t.Error("not rotated though it was due")
	}
	f.must(k.RotateDue(f.in("acme")))
	if kid() != second {
		t.Error("rotated twice")
	}
}

func TestRevokeKey(t *testing.T) { // C5.86
	t.Parallel()
	f := newFixture(t)
	ctx, k := f.in("acme"), f.server.keys
	f.useAlg("acme", "rs_orders", "ES256")
	token := f.machineToken("acme").ok().text("access_token")
	kid := header(t, token)["kid"].(string)
	if _, err := k.Revoke(ctx, kid); !errors.Is(err, ErrKeyCurrent) {
		t.Errorf("the current key: %v", err)
	}
	if _, err := k.Revoke(ctx, "nothing"); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := k.Revoke(f.in("widgets"), kid); !errors.Is(err, ErrNoKey) {
		t.Errorf("the other tenant's key: %v", err)
	}
	next, err := k.Rotate(ctx, "ES256")
	f.must(err)
	if _, err := f.server.Verify(ctx, token); err != nil {
		t.Fatal(err)
	}
	_, err = k.Revoke(ctx, kid)
	f.must(err)
	if _, err := f.server.Verify(ctx, token); err == nil { // though it was remembered as good
		t.Error("a token of a revoked key is accepted")
	}
	if slices.Contains(f.kids("acme"), kid) {
		t.Error("a revoked key is published")
	}
	upcoming, err := tenancy.SigningKeys.First(ctx, "alg = 'ES256' AND use_state = 'next'")
	f.must(err)
	_, err = k.Revoke(ctx, upcoming.ID) // a next key gets a successor
	f.must(err)
	successor, err := tenancy.SigningKeys.First(ctx, "alg = 'ES256' AND use_state = 'next' AND revoked_at = 0")
	if err != nil || successor.ID == upcoming.ID || successor.ID == next.ID {
		t.Errorf("successor %v, %v", successor, err)
	}
}

func TestNoSigningKey(t *testing.T) { // C2.11
	t.Parallel()
	f := newFixture(t)
	ctx := f.in("acme")
	f.must(tenancy.Commit(ctx, tenancy.SigningKeys.RemoveWhere(ctx, "1 = 1")))
	if answer := f.machineToken("acme").refused(503, "temporarily_unavailable", "*"); answer.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.machineToken("widgets").ok()
	f.must(tenancy.Commit(f.in("widgets"), tenancy.SQL(f.in("widgets"), `UPDATE signing_keys SET private = 'x' WHERE tenant_id = @tenant`).Settled()))
	f.machineToken("widgets").refused(503, "temporarily_unavailable", "*")
}

func TestJWKS(t *testing.T) { // C4.57, C9.13, RFC 7517
	t.Parallel()
	f := newFixture(t)
	answer := f.send("acme", newGet("/.well-known/jwks.json")).ok()
	if answer.header.Get("Cache-Control") != "public, max-age=300" || answer.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", answer.header)
	}
	keys := answer.json["keys"].([]any)
	if len(keys) != 6 {
		t.Errorf("%d keys, want a current and a next one for each of three algorithms", len(keys))
	}
	members := map[string][]string{"RSA": {"e", "kty", "n"}, "EC": {"crv", "kty", "x", "y"}, "OKP": {"crv", "kty", "x"}}
	for _, k := range keys {
		key := k.(map[string]any)
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if key[private] != nil {
				t.Errorf("member %s in %v", private, key)
			}
		}
		required := make(map[string]any)
		for _, name := range members[key["kty"].(string)] {
			required[name] = key[name]
		}
		text, err := json.Marshal(required) // sorted, without white space: RFC 7638 section 3
		f.must(err)
		sum := sha256.Sum256(text)
		if base64.RawURLEncoding.EncodeToString(sum[:]) != key["kid"] || key["use"] != "sig" {
			t.Errorf("kid is no thumbprint: %v", key)
		}
		der, err := base64.StdEncoding.DecodeString(key["x5c"].([]any)[0].(string))
		f.must(err)
		certificate, err := x509.ParseCertificate(der)
		f.must(err)
		if form, err := thumbprintForm(certificate.PublicKey); err != nil || form != string(text) || key["x5t"] == nil {
			t.Errorf("certificate of %v: %s, %v", key["kid"], form, err)
		}
	}
	for _, kid := range f.kids("widgets") {
		if slices.Contains(f.kids("acme"), kid) {
			t.Errorf("both tenants have key %s", kid)
		}
	}
	r := newGet("/.well-known/jwks.json")
	r.Header.Set("If-None-Match", `"x", W/`+answer.header.Get("ETag"))
	if again := f.send("acme", r); again.status != http.StatusNotModified || again.body != "" {
		t.Errorf("known to the caller: %d", again.status)
	}
}

// The example of RFC 7638 section 3.1.
func TestThumbprintForm(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	sum := sha256.Sum256([]byte(`{"e":"AQAB","kty":"RSA","n":"` + n + `"}`))
	if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Fatalf("the test itself is wrong: %s", got)
	}
	for alg := range algorithms {
		m, err := newMaterial(alg)
		if err != nil {
			t.Fatal(err)
		}
		if alg == "RS256" && !strings.HasPrefix(m.public, `{"e":"AQAB","kty":"RSA","n":"`) {
			t.Errorf("%s: %s", alg, m.public)
		}
		if block, _ := pem.Decode([]byte(m.certificate)); block == nil || block.Type != "CERTIFICATE" {
			t.Errorf("%s: certificate %q", alg, m.certificate)
		}
	}
}

// TestKeyIDs: a key's id can be an argument of a command.
func TestKeyIDs(t *testing.T) {
	t.Parallel()
	for range 500 { // one in 64 began with a hyphen
		m, err := newMaterial("EdDSA")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.kid, "-") {
			t.Fatalf("id %s", m.kid)
		}
	}
}

func TestReservoir(t *testing.T) {
	t.Parallel()
	r := &Reservoir{Size: 2}
	r.Stop() // in any order, any number of times
	r.Start()
	r.Start()
	deadline := time.Now().Add(time.Minute)
	for r.Ready() < 2 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	r.Stop()
	r.Stop()
	seen := make(map[string]bool)
	for range 3 { // two are ready, the third is made
		key, err := r.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[key.kid] = true
	}
	if len(seen) != 3 || r.Ready() != 0 {
		t.Errorf("%d different keys, %d left", len(seen), r.Ready())
	}
}
