// Package upstreamtest is an identity provider for tests, on loopback: as much of
// OpenID Connect as a relying party needs, with a member for each way in which an
// answer can be wrong.
package upstreamtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// OP is an identity provider with one client and one person.
type OP struct {
	Issuer       string
	ClientID     string
	ClientSecret string

	mu     sync.Mutex
	claims map[string]any             // of the person
	alter  func(claims jwt.MapClaims) // what is wrong with ID tokens
	codes  map[string]url.Values      // the authorization request, by code
	asked  []string                   // paths of all requests, in order
	key    *rsa.PrivateKey

	// Knows judges a secret in place of ClientSecret; nil for that. It is set before
	// the first request.
	Knows func(secret string) bool

	// Proof is the appsecret_proof that user info was asked with.
	Proof string
}

// Start has it listen until the test ends.
func Start(t testing.TB, clientID, clientSecret string) *OP {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	op := &OP{ClientID: clientID, ClientSecret: clientSecret, codes: map[string]url.Values{}, key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", op.configuration)
	mux.HandleFunc("GET /jwks", op.jwks)
	mux.HandleFunc("POST /token", op.token)
	mux.HandleFunc("GET /userinfo", op.userinfo)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op.mu.Lock()
		op.asked = append(op.asked, r.URL.Path)
		op.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	op.Issuer = server.URL
	return op
}

// Person sets who logs in.
func (op *OP) Person(claims map[string]any) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.claims = claims
}

// Alter has ID tokens changed before they are signed; nil has them right.
func (op *OP) Alter(f func(claims jwt.MapClaims)) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.alter = f
}

// Asked is what was asked of it until now.
func (op *OP) Asked() []string {
	op.mu.Lock()
	defer op.mu.Unlock()
	return append([]string(nil), op.asked...)
}

// Authorize is the person's consent: it returns the parameters the browser comes
// back with, for the request that an address is.
func (op *OP) Authorize(t testing.TB, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Path != "/authorize" || q.Get("response_type") != "code" || q.Get("client_id") != op.ClientID || q.Get("code_challenge_method") != "S256" || q.Get("state") == "" {
		t.Fatalf("no authorization request: %s", address)
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	code := rand.Text()
	op.codes[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}}
}

func (op *OP) configuration(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"issuer": op.Issuer, "authorization_endpoint": op.Issuer + "/authorize", "token_endpoint": op.Issuer + "/token",
		"jwks_uri": op.Issuer + "/jwks", "userinfo_endpoint": op.Issuer + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (op *OP) jwks(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": base64.RawURLEncoding.EncodeToString(op.key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(op.key.E)).Bytes()),
	}}})
}

func (op *OP) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = url.QueryEscape(r.PostFormValue("client_id")), url.QueryEscape(r.PostFormValue("client_secret"))
	}
	good := secret == url.QueryEscape(op.ClientSecret)
	if op.Knows != nil {
		good = op.Knows(r.PostFormValue("client_secret"))
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	asked, ok := op.codes[r.PostFormValue("code")]
	delete(op.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case id != url.QueryEscape(op.ClientID) || !good:
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "you sent " + secret})
		return
	case !ok, r.PostFormValue("redirect_uri") != asked.Get("redirect_uri"), base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"):
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	claims := jwt.MapClaims{
		"iss": op.Issuer, "aud": op.ClientID, "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for name, value := range op.claims {
		claims[name] = value
	}
	if op.alter != nil {
		op.alter(claims)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "1"
	signed, err := token.SignedString(op.key)
	if err != nil {
		reply(w, http.StatusInternalServerError, map[string]any{})
		return
	}
	reply(w, http.StatusOK, map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": signed})
}

func (op *OP) userinfo(w http.ResponseWriter, r *http.Request) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer at" {
		reply(w, http.StatusUnauthorized, map[string]any{})
		return
	}
	op.Proof = r.URL.Query().Get("appsecret_proof")
	reply(w, http.StatusOK, op.claims)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
