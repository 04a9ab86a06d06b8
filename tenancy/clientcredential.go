package tenancy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"time"
)

// ClientCredential is a public key that a client proves itself by (RFC 7523
// section 2.2). A client has at most [MaxClientCredentials], so that one can
// follow the other.
type ClientCredential struct {
	Row
	ClientID  string `json:"-"`
	Name      string `json:"name"`
	KeyID     string `json:"kid"`                          // unique for the client
	Alg       string `json:"alg"`                          // the one algorithm the key is good for
	Public    []byte `json:"-" gorm:"serializer:jsontext"` // PKIX, DER
	ExpiresAt Time   `json:"-"`                            // 0 for never
}

// MaxClientCredentials is how many keys a client may have (contract C5.61).
const MaxClientCredentials = 2

// ClientCredentials is the table of clients' keys.
var ClientCredentials = newTable[ClientCredential]("client_credentials", configuration())

// CachedClientCredentials returns the keys of a client, from memory when it can.
// The result must not be changed.
func CachedClientCredentials(ctx context.Context, clientID string) ([]ClientCredential, error) {
	return Cached(ctx, "client_credentials", clientID, func(ctx context.Context) ([]ClientCredential, error) {
		return ClientCredentials.Find(ctx, Filter{Where: "client_id = ?", Args: []any{clientID}})
	})
}

// ClientAssertion notes that an assertion of a client was used: there is one row
// for each, so that a second use breaks the uniqueness of its id. Row.ID hashes
// client and jti. The row may go once ExpiresAt has passed.
type ClientAssertion struct {
	Row
	ExpiresAt Time
}

// ClientAssertions is the table of used assertions.
var ClientAssertions = newTable[ClientAssertion]("client_assertions")

// PublicKey is a client's key that was found fit for use.
type PublicKey struct {
	Key     crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	DER     []byte           // PKIX
	Expires time.Time        // of a certificate; zero for a key alone
}

// ParsePublicKey reads one public key in PEM: a PUBLIC KEY (RFC 7468 section 13)
// or a CERTIFICATE, of which only the key and the end of its validity count. RSA
// keys have 2048 to 8192 bits (RFC 7518 section 3.3), others are of curve P-256.
// The error says what is wrong.
func ParsePublicKey(text string) (*PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("it is not in PEM")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("there is more than one key")
	}
	k := &PublicKey{}
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the public key cannot be read")
		}
		k.Key = key
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("the certificate cannot be read")
		}
		k.Key, k.Expires = c.PublicKey, c.NotAfter
	default:
		return nil, errors.New("it is neither PUBLIC KEY nor CERTIFICATE")
	}
	return k, k.complete()
}

// NewPublicKey is [ParsePublicKey] for a key that was read elsewhere.
func NewPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	k := &PublicKey{Key: key}
	return k, k.complete()
}

func (k *PublicKey) complete() (err error) {
	if k.DER, err = x509.MarshalPKIXPublicKey(k.Key); err != nil {
		return errors.New("keys of this kind are not supported")
	}
	return k.check()
}

func (k *PublicKey) check() error {
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return errors.New("an RSA key must have 2048 to 8192 bits")
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return errors.New("an EC key must be of curve P-256")
		}
		return nil
	}
	return errors.New("keys of this kind are not supported")
}

// Algorithms are those the key is good for, its default first (contract C4.55).
func (k *PublicKey) Algorithms() []string {
	if _, ok := k.Key.(*ecdsa.PublicKey); ok {
		return []string{"ES256"}
	}
	return []string{"RS256", "RS384", "PS256"}
}
