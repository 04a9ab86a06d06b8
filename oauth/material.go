package oauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is one way of signing (RFC 7518 section 3, RFC 8037).
type algorithm struct {
	method   jwt.SigningMethod
	rsa      bool
	generate func() (crypto.Signer, error)
}

// algorithms are those tokens are signed with, by their JWA name.
var algorithms = map[string]algorithm{
	"RS256": {jwt.SigningMethodRS256, true, newRSA},
	"PS256": {jwt.SigningMethodPS256, true, newRSA},
	"ES256": {jwt.SigningMethodES256, false, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	"EdDSA": {jwt.SigningMethodEdDSA, false, func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
}

func newRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// material is a new key in the forms it is stored in.
type material struct {
	kid         string // RFC 7638 thumbprint
	private     []byte // PKCS #8
	public      string // JWK, public members only
	certificate string // PEM, self-signed
}

// newMaterial makes a key for the algorithm.
func newMaterial(alg string) (*material, error) {
	a, ok := algorithms[alg]
	if !ok {
		return nil, fmt.Errorf("unknown signing algorithm %q", alg)
	}
	key, err := a.generate()
	if err != nil {
		return nil, fmt.Errorf("making a %s key: %w", alg, err)
	}
	m := &material{}
	if m.private, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, err
	}
	if m.public, err = thumbprintForm(key.Public()); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(m.public))
	m.kid = base64.RawURLEncoding.EncodeToString(sum[:])
	if strings.HasPrefix(m.kid, "-") { // a command line would take it for an option
		return newMaterial(alg)
	}
	m.certificate, err = selfSigned(key, m.kid)
	return m, err
}

// thumbprintForm is a public key as RFC 7638 section 3 hashes it: the required
// members only, in lexicographic order, without white space.
func thumbprintForm(public crypto.PublicKey) (string, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	var form any
	switch key := public.(type) {
	case *rsa.PublicKey:
		form = struct {
			E   string `json:"e"`
			Kty string `json:"kty"`
			N   string `json:"n"`
		}{b64(big.NewInt(int64(key.E)).Bytes()), "RSA", b64(key.N.Bytes())}
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 0x04, then X and Y at full length (RFC 7518 section 6.2.1.2)
		if err != nil {
			return "", err
		}
		half := (len(point) - 1) / 2
		form = struct {
			Crv string `json:"crv"`
			Kty string `json:"kty"`
			X   string `json:"x"`
			Y   string `json:"y"`
		}{key.Curve.Params().Name, "EC", b64(point[1 : 1+half]), b64(point[1+half:])}
	case ed25519.PublicKey:
		form = struct {
			Crv string `json:"crv"`
			Kty string `json:"kty"`
			X   string `json:"x"`
		}{"Ed25519", "OKP", b64(key)}
	default:
		return "", fmt.Errorf("%T is no public key of ours", public)
	}
	text, err := json.Marshal(form)
	return string(text), err
}

// certificateLifetime is only for software that insists on certificates: what
// makes a key good is that it is in the key set.
const certificateLifetime = 10 * 365 * 24 * time.Hour

// selfSigned is a certificate for the key. It names the key, not the tenant, so
// that keys can be made before anybody needs them.
func selfSigned(key crypto.Signer, kid string) (string, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: kid},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLifetime), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", fmt.Errorf("self-signing: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// publishedKey is a key as the key set shows it (RFC 7517; contract C4.57).
type publishedKey struct {
	Kty string   `json:"kty"`
	Use string   `json:"use"`
	Alg string   `json:"alg"`
	Kid string   `json:"kid"`
	N   string   `json:"n,omitempty"`
	E   string   `json:"e,omitempty"`
	Crv string   `json:"crv,omitempty"`
	X   string   `json:"x,omitempty"`
	Y   string   `json:"y,omitempty"`
	X5t string   `json:"x5t,omitempty"`
	X5c []string `json:"x5c,omitempty"`
}

// published is the key set's entry of a stored key. It is made from the public
// half only.
func published(kid, alg, public, certificate string) (*publishedKey, error) {
	p := &publishedKey{}
	if err := json.Unmarshal([]byte(public), p); err != nil {
		return nil, err
	}
	p.Use, p.Alg, p.Kid = "sig", alg, kid
	if certificate == "" {
		return p, nil
	}
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return nil, errors.New("certificate is not PEM")
	}
	sum := sha1.Sum(block.Bytes) // RFC 7517 section 4.8 asks for SHA-1; it names the certificate, it protects nothing
	p.X5t = base64.RawURLEncoding.EncodeToString(sum[:])
	p.X5c = []string{base64.StdEncoding.EncodeToString(block.Bytes)}
	return p, nil
}
