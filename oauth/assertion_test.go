package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// clientKeys are the keys of the tests' clients, made once.
var clientKeys = sync.OnceValue(func() (keys struct{ rsa, otherRSA, ec crypto.Signer }) {
	make := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	keys.rsa, keys.otherRSA = make(newRSA()), make(newRSA())
	keys.ec = make(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return keys
})

// giveClientKey registers the public side of a key, and has the client use it.
func (f *fixture) giveClientKey(tenant, client, alg string, key crypto.Signer) {
	f.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	f.must(err)
	f.must(tenancy.ClientCredentials.Create(f.in(tenant), &tenancy.ClientCredential{
		Row: tenancy.Row{ID: "cred_" + alg}, ClientID: client, KeyID: "kid-" + alg, Alg: alg, Public: der,
	}))
	f.updateClient(tenant, client, func(c *tenancy.Client) { c.TokenEndpointAuthMethod = authPrivateKey })
}

// assertion signs a good assertion of the machine client for acme, changed by
// alter.
func (f *fixture) assertion(alg string, key any, alter func(claims jwt.MapClaims, header map[string]any)) string {
	f.t.Helper()
	now := f.clock.now()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{
		"iss": m2mID, "sub": m2mID, "aud": issuerOf("acme"), "jti": tenancy.NewToken(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if alter != nil {
		alter(token.Claims.(jwt.MapClaims), token.Header)
	}
	text, err := token.SignedString(key)
	f.must(err)
	return text
}

// byAssertion asks for a program's token with an assertion.
func (f *fixture) byAssertion(tenant, assertion string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{
		"grant_type", grantClientCredentials, "audience", orders, "client_assertion_type", assertionType, "client_assertion", assertion,
	}, pairs...)...)
}

const authFailed = "Client authentication failed"

// C4.32, C4.55: every algorithm that is advertised, with and without client_id,
// kid and the two audiences.
func TestAssertions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		alg string
		key crypto.Signer
	}{{"RS256", clientKeys().rsa}, {"RS384", clientKeys().rsa}, {"PS256", clientKeys().rsa}, {"ES256", clientKeys().ec}} {
		t.Run(tt.alg, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.giveClientKey("acme", m2mID, tt.alg, tt.key)
			if got := f.byAssertion("acme", f.assertion(tt.alg, tt.key, nil)).ok().claims("access_token"); got["sub"] != m2mID+"@clients" {
				t.Errorf("claims %v", got)
			}
			f.byAssertion("acme", f.assertion(tt.alg, tt.key, func(c jwt.MapClaims, h map[string]any) {
				c["aud"], h["kid"] = []string{issuerOf("acme") + "oauth/token"}, "kid-"+tt.alg
			}), "client_id", m2mID).ok()
			f.send("acme", newJSON(`{"grant_type":"client_credentials","audience":"`+orders+`","client_assertion_type":"`+assertionType+
				`","client_assertion":"`+f.assertion(tt.alg, tt.key, nil)+`"}`)).ok()
			f.byAssertion("acme", f.assertion(tt.alg, tt.key, nil), "client_id", webID).refused(401, "invalid_client", authFailed)
		})
	}
}

// C4.32, RFC 7523 section 3, RFC 8725: whatever is wrong with an assertion has
// one answer.
func TestAssertionRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().rsa
	f.giveClientKey("acme", m2mID, "RS256", key)
	now := f.clock.now()
	at := func(d time.Duration) any { return now.Add(d).Unix() }
	set := func(name string, value any) func(jwt.MapClaims, map[string]any) {
		return func(c jwt.MapClaims, _ map[string]any) { c[name] = value }
	}
	drop := func(name string) func(jwt.MapClaims, map[string]any) {
		return func(c jwt.MapClaims, _ map[string]any) { delete(c, name) }
	}
	head := func(name string, value any) func(jwt.MapClaims, map[string]any) {
		return func(_ jwt.MapClaims, h map[string]any) { h[name] = value }
	}
	for name, alter := range map[string]func(jwt.MapClaims, map[string]any){
		"another issuer": set("iss", webID), "no issuer": drop("iss"), "no subject": drop("sub"), "another subject": set("sub", webID),
		"no audience": drop("aud"), "empty audience": set("aud", []string{}), "audience of another tenant": set("aud", issuerOf("widgets")),
		"audience without slash": set("aud", strings.TrimSuffix(issuerOf("acme"), "/")), "a further audience": set("aud", []string{issuerOf("acme"), "https://other.example/"}),
		"audience of the pushing endpoint": set("aud", issuerOf("acme")+"oauth/par"),
		"no jti":                           drop("jti"), "empty jti": set("jti", ""), "long jti": set("jti", strings.Repeat("x", longestJTI+1)), "numeric jti": set("jti", 5),
		"no exp": drop("exp"), "expired": set("exp", at(-time.Second)), "exp too far": set("exp", at(6*time.Minute)), "exp a text": set("exp", "tomorrow"),
		"iat ahead": set("iat", at(2*time.Minute)), "not yet": set("nbf", at(2*time.Minute)),
		"kid of another": head("kid", "other"), "jwk in header": head("jwk", map[string]string{"kty": "RSA"}), "jku": head("jku", "https://evil.example/"), "crit": head("crit", []string{"exp"}),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock, events: f.events}
			f.byAssertion("acme", f.assertion("RS256", key, alter), "client_id", m2mID).refused(401, "invalid_client", authFailed)
		})
	}
	good := f.assertion("RS256", key, nil)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	f.must(err)
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	for name, assertion := range map[string]string{
		"another key":                  f.assertion("RS256", clientKeys().otherRSA, nil),
		"another algorithm of the key": f.assertion("PS256", key, nil),
		"none":                         f.assertion("none", jwt.UnsafeAllowNoneSignatureType, nil),
		"HMAC with the public key":     f.assertion("HS256", secret, nil), // A05: RFC 8725 section 2.1
		"cut":                          good[:len(good)-4], "no signature": good[:strings.LastIndex(good, ".")+1], "garbage": "garbage", "empty parts": "..",
		"long": good + strings.Repeat("A", longestAssertion),
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock, events: f.events}
			f.byAssertion("acme", assertion, "client_id", m2mID).refused(401, "invalid_client", authFailed)
			f.byAssertion("acme", assertion).refused(401, "invalid_client", authFailed)
		})
	}
	f.byAssertion("acme", good).ok() // none of them used it up
}

// C4.32: more than one way, or half of one, is no way; and a client that has a
// key proves itself by it alone.
func TestAssertionIsTheOnlyWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().rsa
	f.giveClientKey("acme", m2mID, "RS256", key)
	fresh := func() string { return f.assertion("RS256", key, nil) }
	f.machineToken("acme").refused(401, "invalid_client", authFailed) // its old secret
	f.machineToken("acme", "client_secret", "-").refused(401, "invalid_client", authFailed)
	f.byAssertion("acme", fresh(), "client_secret", m2mSecret).refused(400, "invalid_request", "Only one client authentication method may be used")
	r := newForm("/oauth/token", values("grant_type", grantClientCredentials, "client_assertion_type", assertionType, "client_assertion", fresh()))
	r.SetBasicAuth(m2mID, m2mSecret)
	f.send("acme", r).refused(400, "invalid_request", "Only one client authentication method may be used")
	f.byAssertion("acme", fresh(), "client_assertion_type", "-").refused(400, "invalid_request", "Missing required parameter: client_assertion_type")
	f.byAssertion("acme", "-").refused(400, "invalid_request", "Missing required parameter: client_assertion")
	f.byAssertion("acme", fresh(), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer").refused(401, "invalid_client", authFailed)
	f.send("acme", newForm("/oauth/token?client_assertion="+fresh(), values("grant_type", grantClientCredentials))).
		refused(400, "invalid_request", "Parameter client_assertion must not be sent in the URL")

	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.TokenEndpointAuthMethod = authPost }) // its method is enforced
	f.byAssertion("acme", fresh()).refused(401, "invalid_client", authFailed)
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.TokenEndpointAuthMethod = authNone })
	f.byAssertion("acme", fresh()).refused(401, "invalid_client", authFailed)
}

// RFC 7523 section 3, item 7; fosite's defect 21: an assertion is good once, by
// whatever grant and at whatever endpoint, and 16 at a time have one winner.
func TestRaceAssertions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().ec
	f.giveClientKey("acme", m2mID, "ES256", key)
	f.useAlg("acme", "rs_orders", "EdDSA")
	for range 20 {
		assertion, won := f.assertion("ES256", key, nil), 0
		for _, a := range f.together(func(int) *reply { return f.byAssertion("acme", assertion) }) {
			if a.status == http.StatusOK {
				won++
				continue
			}
			a.refused(401, "invalid_client", authFailed)
		}
		if won != 1 {
			t.Fatalf("%d winners", won)
		}
	}
	jti := func(c jwt.MapClaims, _ map[string]any) { c["jti"] = "the same" }
	f.byAssertion("acme", f.assertion("ES256", key, jti)).ok()
	f.byAssertion("acme", f.assertion("ES256", key, jti)).refused(401, "invalid_client", authFailed) // another token, the same jti
	f.clock.advance(10 * time.Minute)
	f.byAssertion("acme", f.assertion("ES256", key, jti)).ok() // the first would have expired by now
	if n, err := tenancy.ClientAssertions.Count(f.in("acme"), tenancy.Filter{}); err != nil || n != 1 {
		t.Errorf("%d notes (%v), want those that expired gone", n, err)
	}
}

// C4.32: a client with a key proves itself at every grant and endpoint.
func TestAssertionEverywhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	key := clientKeys().ec
	f.giveClientKey("acme", webID, "ES256", key)
	mine := func() []string {
		return []string{"client_id", webID, "client_assertion_type", assertionType, "client_assertion", f.assertion("ES256", key, func(c jwt.MapClaims, _ map[string]any) {
			c["iss"], c["sub"] = webID, webID
		})}
	}
	code := f.code("acme", codeFor{client: webID, audience: orders})
	f.redeem("acme", code, "client_id", webID).refused(401, "invalid_client", authFailed) // PKCE or not
	tokens := f.redeem("acme", code, mine()...).ok()
	token := tokens.text("refresh_token")
	f.refresh("acme", token, "client_id", webID, "client_secret", webSecret).refused(401, "invalid_client", authFailed)
	f.refresh("acme", token, mine()...).ok()
	f.ask("acme", "/oauth/introspect", append(mine(), "token", token)...).active("refresh token")
	f.ask("acme", "/oauth/revoke", append(mine(), "token", token)...).ok()
	f.refresh("acme", token, mine()...).refused(400, "invalid_grant", badRefresh)
}

// Two keys are good during a change, an expired or removed one is not.
func TestAssertionKeyRotation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old, next := clientKeys().rsa, clientKeys().ec
	f.giveClientKey("acme", m2mID, "RS256", old)
	f.giveClientKey("acme", m2mID, "ES256", next)
	f.byAssertion("acme", f.assertion("RS256", old, nil)).ok()
	f.byAssertion("acme", f.assertion("ES256", next, nil)).ok()
	_, err := tenancy.ClientCredentials.Update(f.in("acme"), "cred_RS256", func(c *tenancy.ClientCredential) error {
		c.ExpiresAt = tenancy.At(f.clock.now().Add(time.Minute))
		return nil
	})
	f.must(err)
	f.byAssertion("acme", f.assertion("RS256", old, nil)).ok()
	f.clock.advance(time.Minute)
	f.byAssertion("acme", f.assertion("RS256", old, nil)).refused(401, "invalid_client", authFailed)
	f.must(tenancy.ClientCredentials.Delete(f.in("acme"), "cred_ES256"))
	f.byAssertion("acme", f.assertion("ES256", next, nil)).refused(401, "invalid_client", authFailed)
}

// A client of equal id in another tenant has its own keys, and an assertion for
// one tenant's issuer is none for another's, whoever has the key (C9.4).
func TestAssertionIsTheTenantsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.giveClientKey("acme", m2mID, "RS256", clientKeys().rsa)
	f.giveClientKey("widgets", m2mID, "RS256", clientKeys().otherRSA)
	toWidgets := func(c jwt.MapClaims, _ map[string]any) { c["aud"] = issuerOf("widgets") }
	f.byAssertion("widgets", f.assertion("RS256", clientKeys().rsa, nil)).refused(401, "invalid_client", authFailed)
	f.byAssertion("widgets", f.assertion("RS256", clientKeys().rsa, toWidgets)).refused(401, "invalid_client", authFailed)
	f.byAssertion("widgets", f.assertion("RS256", clientKeys().otherRSA, nil)).refused(401, "invalid_client", authFailed)
	f.byAssertion("widgets", f.assertion("RS256", clientKeys().otherRSA, toWidgets)).ok()
}

// C0.11: where the keys or the notes cannot be read or written, nobody is let in,
// and nobody is told that they are not who they are.
func TestAssertionWithoutDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.giveClientKey("acme", m2mID, "RS256", clientKeys().rsa)
	assertion := f.assertion("RS256", clientKeys().rsa, nil)
	f.meter.failReads.Store(true)
	f.byAssertion("acme", assertion).refused(503, "temporarily_unavailable", "*")
	f.meter.failReads.Store(false)
	f.byAssertion("acme", assertion).ok()
}
