package login

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/oauth/upstream/upstreamtest"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

const entraDirectory = "11111111-2222-3333-4444-555555555555"

// strategy makes the tenants' connections to the provider ones of a strategy, with
// options of their own.
func (h *house) strategy(op *upstreamtest.OP, strategy string, options map[string]any, secrets map[string]string) {
	h.t.Helper()
	options["client_id"] = op.ClientID
	for _, ctx := range h.inside {
		_, err := tenancy.Connections.Update(ctx, "con_google", func(c *tenancy.Connection) error {
			c.Strategy, c.Options, c.Secrets = strategy, options, secrets
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// endpoints are the fake's, for strategies whose own are fixed.
func endpoints(op *upstreamtest.OP) map[string]any {
	return map[string]any{
		"authorization_endpoint": op.Issuer + "/authorize", "token_endpoint": op.Issuer + "/token", "jwks_uri": op.Issuer + "/jwks",
		"userinfo_endpoint": op.Issuer + "/userinfo",
	}
}

// loggedIn goes there and back, and returns the user's id; "" for who was refused.
func (h *house) loggedIn(id string, op *upstreamtest.OP) string {
	h.t.Helper()
	w := h.back(id, op.Authorize(h.t, h.leave(id)))
	if w.Code != http.StatusFound {
		wantPage(h.t, w, http.StatusBadGateway, "did not work")
		return ""
	}
	return h.session(id).UserID
}

// A connection to Microsoft Entra is one to a single directory: whoever is in another
// is nobody here, and an address they have there shows nothing.
func TestEntra(t *testing.T) {
	t.Parallel()
	h, op := withProvider(t)
	options := endpoints(op)
	options["tenantid"] = entraDirectory
	h.strategy(op, "waad", options, map[string]string{"client_secret": upstreamSecret})
	h.begin("acme")
	op.Person(map[string]any{"sub": "42", "email": "ada@contoso.test", "iss": "https://login.microsoftonline.com/" + entraDirectory + "/v2.0"})
	if got := h.loggedIn("acme", op); got != "waad|google|42" {
		t.Errorf("logged in %q", got)
	}
	if u, err := tenancy.Users.Get(h.inside["acme"], "waad|google|42"); err != nil || u.EmailVerified {
		t.Errorf("user %+v, %v", u, err)
	}
	op.Person(map[string]any{"sub": "42", "iss": "https://login.microsoftonline.com/66666666-2222-3333-4444-555555555555/v2.0"})
	if got := h.loggedIn("acme", op); got != "" {
		t.Errorf("somebody of another directory is %q", got)
	}
	for _, id := range []string{"common", "organizations", "", "contoso.onmicrosoft.com", entraDirectory + "/../common"} {
		options["tenantid"] = id
		h.strategy(op, "waad", options, map[string]string{"client_secret": upstreamSecret})
		wantPage(t, h.do("acme", call{to: connectPath + "?connection=google"}), http.StatusBadGateway, "did not work")
	}
}

// Personal accounts of Microsoft's are one directory.
func TestWindowsLive(t *testing.T) {
	t.Parallel()
	h, op := withProvider(t)
	h.strategy(op, "windowslive", endpoints(op), map[string]string{"client_secret": upstreamSecret})
	h.begin("acme")
	op.Person(map[string]any{"sub": "42", "iss": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"})
	if got := h.loggedIn("acme", op); got != "windowslive|google|42" {
		t.Errorf("logged in %q", got)
	}
	op.Person(map[string]any{"sub": "42", "iss": "https://login.microsoftonline.com/" + entraDirectory + "/v2.0"})
	if got := h.loggedIn("acme", op); got != "" {
		t.Errorf("somebody of a company's directory is %q", got)
	}
}

// Facebook says who somebody is by its Graph API, and wants proof of the secret.
func TestFacebook(t *testing.T) {
	t.Parallel()
	h, op := withProvider(t)
	h.strategy(op, "facebook", endpoints(op), map[string]string{"client_secret": upstreamSecret})
	h.begin("acme")
	op.Person(map[string]any{"id": "1007", "name": "Ben B", "first_name": "Ben", "last_name": "B", "email": "ben@example.com"})
	if got := h.loggedIn("acme", op); got != "facebook|google|1007" {
		t.Errorf("logged in %q", got)
	}
	mac := hmac.New(sha256.New, []byte(upstreamSecret))
	mac.Write([]byte("at"))
	if want := hex.EncodeToString(mac.Sum(nil)); op.Proof != want {
		t.Errorf("proof %q, want %q", op.Proof, want)
	}
	u, err := tenancy.Users.Get(h.inside["acme"], "facebook|google|1007")
	if err != nil || u.GivenName != "Ben" || u.FamilyName != "B" || u.Email != "ben@example.com" || u.EmailVerified {
		t.Errorf("user %+v, %v", u, err)
	}
}

// Apple's client secret is signed anew for each login, and its answer is a form.
func TestApple(t *testing.T) {
	t.Parallel()
	h, op := withProvider(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	seen := map[string]int{}
	op.Knows = func(secret string) bool {
		claims := jwt.MapClaims{}
		token, err := jwt.ParseWithClaims(secret, claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
			jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("TEAM123456"), jwt.WithSubject(op.ClientID), jwt.WithAudience(op.Issuer), jwt.WithExpirationRequired())
		seen[secret]++
		return err == nil && token.Header["kid"] == "KEY1234567"
	}
	options := map[string]any{"issuer": op.Issuer, "team_id": "TEAM123456", "kid": "KEY1234567"}
	h.strategy(op, "apple", options, map[string]string{"app_secret": text})
	h.begin("acme")
	op.Person(map[string]any{"sub": "001.a", "email": "x@privaterelay.appleid.test", "email_verified": "true"})
	address := h.leave("acme")
	if u, _ := url.Parse(address); u.Query().Get("response_mode") != "form_post" || u.Query().Get("scope") != "openid email name" {
		t.Errorf("request %s", address)
	}
	posted := h.do("acme", call{to: callbackPath, form: op.Authorize(t, address), noState: true, noCookie: true})
	if to := posted.Header().Get("Location"); posted.Code != http.StatusSeeOther || !strings.HasPrefix(to, callbackPath+"?") {
		t.Fatalf("the form: %d to %s", posted.Code, to)
	}
	wantResume(t, h.do("acme", call{to: posted.Header().Get("Location"), noState: true}))
	u, err := tenancy.Users.Get(h.inside["acme"], "apple|google|001.a")
	if err != nil || !u.EmailVerified || h.session("acme").UserID != u.ID {
		t.Errorf("user %+v, %v", u, err)
	}
	if got := h.loggedIn("acme", op); got != u.ID || len(seen) != 2 {
		t.Errorf("the second time %q with %d secrets", got, len(seen))
	}
	for name, secret := range map[string]string{"no key": "", "no PEM": "x"} {
		h.strategy(op, "apple", options, map[string]string{"app_secret": secret})
		w := h.do("acme", call{to: connectPath + "?connection=google"})
		if wantPage(t, w, http.StatusBadGateway, "did not work"); strings.Contains(h.log.String(), "PRIVATE KEY") {
			t.Errorf("%s: the key is in the log", name)
		}
	}
}
