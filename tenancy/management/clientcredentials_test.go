package management

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// pemOf is one block in PEM.
func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func publicPEM(t *testing.T, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return pemOf(t, "PUBLIC KEY", der, err)
}

func certificatePEM(t *testing.T, key crypto.Signer, until time.Time) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: until.Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return pemOf(t, "CERTIFICATE", der, err)
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// C5.61: a client's keys from creation to removal.
func TestClientCredentials(t *testing.T) {
	k := newKit(t)
	own, path := machine("acme"), "/clients/"+sameClient+"/credentials"
	ec, rs := ecKey(t, elliptic.P256()), rsaKey(t, 2048)
	later, id := k.now.Add(24*time.Hour).UTC().Truncate(time.Second), ""
	body := func(text string, more ...any) map[string]any {
		m := map[string]any{"credential_type": "public_key", "pem": text}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	k.run([]scenario{
		{name: "none", token: own, path: path, status: 200, holds: "[]"},
		{
			name: "EC", token: own, method: "POST", path: path, body: body(publicPEM(t, ec), "name", "first", "kid", "my-key-0001"), status: 201, lacks: "BEGIN",
			check: func(t *testing.T, a answered) {
				id = a.text("id")
				if !strings.HasPrefix(id, "cred_") || a.text("name") != "first" || a.text("kid") != "my-key-0001" || a.text("alg") != "ES256" ||
					a.text("credential_type") != "public_key" || a.text("created_at") == "" || a.member("expires_at") != nil {
					t.Errorf("answer %s", a.Body)
				}
			},
		},
		{name: "kid taken", token: own, method: "POST", path: path, body: body(publicPEM(t, rs), "kid", "my-key-0001"), status: 409, code: "client_credential_conflict"},
		{
			name: "certificate", token: own, method: "POST", path: path, body: body(certificatePEM(t, rs, later), "parse_expiry_from_cert", true, "alg", "PS256"), status: 201,
			check: func(t *testing.T, a answered) {
				if a.text("alg") != "PS256" || len(a.text("kid")) != 43 || a.text("expires_at") != later.Format("2006-01-02T15:04:05.000Z") {
					t.Errorf("answer %s", a.Body)
				}
			},
		},
		{name: "a third", token: own, method: "POST", path: path, body: body(publicPEM(t, rs), "kid", "my-key-0003"), status: 400, says: "A client can have at most 2 credentials"},
		{name: "both", token: own, path: path, status: 200, holds: `"kid":"my-key-0001"`},
	})
	one := path + "/" + id
	k.run([]scenario{
		{name: "one", token: own, path: one, status: 200, holds: `"name":"first"`},
		{name: "of another client", token: own, path: "/clients/" + only("only", "acme") + "/credentials/" + id, status: 404, says: "Client credential not found"},
		{name: "of another tenant", token: machine("widgets"), host: "widgets.auth.example.com", path: one, status: 404},
		{name: "changed", token: own, method: "PATCH", path: one, body: map[string]any{"name": "old", "expires_at": later}, status: 200, holds: `"name":"old"`},
		{name: "never expires", token: own, method: "PATCH", path: one, body: `{"expires_at":null}`, status: 200, lacks: "expires_at", holds: `"name":"old"`},
		{name: "expiry in the past", token: own, method: "PATCH", path: one, body: map[string]any{"expires_at": k.now.Add(-time.Hour)}, status: 400},
		{name: "expiry that is no time", token: own, method: "PATCH", path: one, body: `{"expires_at":"soon"}`, status: 400},
		{name: "the key stays", token: own, method: "PATCH", path: one, body: body(publicPEM(t, rs)), status: 400},
		{name: "wrong scope", token: machine("acme", "update:clients", "read:client_keys"), method: "PATCH", path: one, body: `{}`, status: 403, code: "insufficient_scope"},
		{name: "removed", token: own, method: "DELETE", path: one, status: 204},
		{name: "is gone", token: own, method: "DELETE", path: one, status: 404, says: "Client credential not found"},
		{name: "room again", token: own, method: "POST", path: path, body: body(publicPEM(t, ec)), status: 201},
		{name: "client deleted", token: own, method: "DELETE", path: "/clients/" + sameClient, status: 204},
	})
	k.inside("acme", func(ctx context.Context) {
		if n, err := tenancy.ClientCredentials.Count(ctx, tenancy.Filter{Where: "client_id = ?", Args: []any{sameClient}}); n != 0 || err != nil {
			t.Errorf("%d keys of a client that was deleted (%v)", n, err)
		}
	})
}

// C5.61: public keys only, and none that nobody should rely on.
func TestClientCredentialRefusals(t *testing.T) {
	k := newKit(t)
	ec, rs := ecKey(t, elliptic.P256()), rsaKey(t, 2048)
	private, err := x509.MarshalPKCS8PrivateKey(ec)
	ed, _, edErr := ed25519.GenerateKey(rand.Reader)
	k.must(edErr)
	edDER, edErr := x509.MarshalPKIXPublicKey(ed)
	small, smallErr := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537})
	for name, body := range map[string]map[string]any{
		"no key":                  {"credential_type": "public_key"},
		"no type":                 {"pem": publicPEM(t, ec)},
		"another type":            {"credential_type": "x509_cert", "pem": publicPEM(t, ec)},
		"garbage":                 {"credential_type": "public_key", "pem": "garbage"},
		"private key":             {"credential_type": "public_key", "pem": pemOf(t, "PRIVATE KEY", private, err)},
		"private key named so":    {"credential_type": "public_key", "pem": pemOf(t, "PUBLIC KEY", private, err)},
		"two keys":                {"credential_type": "public_key", "pem": publicPEM(t, ec) + publicPEM(t, rs)},
		"1024 bits":               {"credential_type": "public_key", "pem": pemOf(t, "PUBLIC KEY", small, smallErr)},
		"P-384":                   {"credential_type": "public_key", "pem": publicPEM(t, ecKey(t, elliptic.P384()))},
		"Ed25519":                 {"credential_type": "public_key", "pem": pemOf(t, "PUBLIC KEY", edDER, edErr)},
		"algorithm of others":     {"credential_type": "public_key", "pem": publicPEM(t, ec), "alg": "RS256"},
		"shared-secret algorithm": {"credential_type": "public_key", "pem": publicPEM(t, rs), "alg": "HS256"},
		"short kid":               {"credential_type": "public_key", "pem": publicPEM(t, ec), "kid": "short"},
		"odd kid":                 {"credential_type": "public_key", "pem": publicPEM(t, ec), "kid": "with space and more"},
		"expired":                 {"credential_type": "public_key", "pem": publicPEM(t, ec), "expires_at": k.now.Add(-time.Hour)},
		"expired certificate":     {"credential_type": "public_key", "pem": certificatePEM(t, ec, k.now.Add(-time.Hour)), "parse_expiry_from_cert": true},
		"expiry of no certificate": {
			"credential_type": "public_key", "pem": publicPEM(t, ec), "parse_expiry_from_cert": true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k.with(t).play(scenario{token: machine("acme"), method: "POST", path: "/clients/" + sameClient + "/credentials", body: body, status: 400, code: "invalid_body"})
		})
	}
}

// C5.61: 16 at a time leave a client with two keys.
func TestRaceClientCredentials(t *testing.T) {
	k := newKit(t)
	var wg sync.WaitGroup
	codes := make([]int, 16)
	for i := range codes {
		body := map[string]any{"credential_type": "public_key", "pem": publicPEM(t, ecKey(t, elliptic.P256()))}
		wg.Go(func() {
			codes[i] = k.do("POST", acmeHost, "/clients/"+sameClient+"/credentials", machine("acme").token(), body).Code
		})
	}
	wg.Wait()
	created := 0
	for _, code := range codes {
		switch code {
		case 201:
			created++
		case 400, 409:
		default:
			t.Errorf("status %d", code)
		}
	}
	if created != tenancy.MaxClientCredentials {
		t.Errorf("%d keys", created)
	}
}
