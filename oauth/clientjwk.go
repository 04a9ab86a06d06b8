package oauth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Limits of the key sets that clients register or publish.
const (
	longestKeySet = 1 << 16 // bytes, where it is published
	longestJWKS   = 1 << 14 // bytes, where it is registered
	mostKeys      = 10      // of a set that count
)

// clientJWK is a client's public key (RFC 7517 section 4, RFC 7518 section 6).
type clientJWK struct {
	Kty string `json:"kty"`
	Use string `json:"use"`
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	N   string `json:"n"`
	E   string `json:"e"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`

	// Members of private and of shared keys, which no client should have sent.
	D json.RawMessage `json:"d"`
	P json.RawMessage `json:"p"`
	K json.RawMessage `json:"k"`
}

// parseKeySet reads what a client can sign its assertions with. Keys for something
// else and of kinds not known here are left out (RFC 7517 section 5); a set
// without any that is left, with a private key or with too many is an error that
// says so. alg is the one algorithm that the client registered, or "" for all.
func parseKeySet(raw []byte, alg string) ([]clientKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil || set.Keys == nil {
		return nil, errors.New("it is no JSON Web Key Set")
	}
	if len(set.Keys) > mostKeys {
		return nil, fmt.Errorf("it has more than %d keys", mostKeys)
	}
	var keys []clientKey
	for _, text := range set.Keys {
		var k clientJWK
		if err := json.Unmarshal(text, &k); err != nil {
			return nil, errors.New("it has a key that is none")
		}
		if k.D != nil || k.P != nil || k.K != nil {
			return nil, errors.New("it has a key that is not public")
		}
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		public, err := k.public()
		if err != nil {
			continue
		}
		for _, a := range public.Algorithms() {
			if (k.Alg == "" || k.Alg == a) && (alg == "" || alg == a) {
				keys = append(keys, clientKey{k.Kid, &signingKey{alg: a, method: assertionMethods[a], public: public.Key}, 0})
			}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key to sign with by RS256, RS384, PS256 or ES256")
	}
	return keys, nil
}

func (k *clientJWK) public() (*tenancy.PublicKey, error) {
	key, err := k.key()
	if err != nil {
		return nil, err
	}
	return tenancy.NewPublicKey(key)
}

func (k *clientJWK) key() (crypto.PublicKey, error) {
	decode := func(texts ...string) (parts [][]byte, err error) {
		for _, text := range texts {
			part, err := strict.DecodeString(text)
			if err != nil {
				return nil, errMalformed
			}
			parts = append(parts, part)
		}
		return parts, nil
	}
	switch {
	case k.Kty == "RSA":
		parts, err := decode(k.N, k.E)
		if err != nil || len(parts[0]) > 1024 || len(parts[1]) > 4 {
			return nil, errMalformed
		}
		e := new(big.Int).SetBytes(parts[1]).Int64()
		if e < 3 || e%2 == 0 || e >= 1<<31 { // RFC 8017 section 3.1
			return nil, errMalformed
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(parts[0]), E: int(e)}, nil
	case k.Kty == "EC" && k.Crv == "P-256":
		parts, err := decode(k.X, k.Y)
		if err != nil || len(parts[0]) != 32 || len(parts[1]) != 32 { // RFC 7518 section 6.2.1.2
			return nil, errMalformed
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, parts[0], parts[1]))
	}
	return nil, errors.New("keys of this kind are not supported")
}

// compactJSON is the value without white space, "" where there is none.
func compactJSON(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var b bytes.Buffer
	err := json.Compact(&b, raw)
	return b.Bytes(), err
}
