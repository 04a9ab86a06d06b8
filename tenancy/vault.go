package tenancy

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

// bundle is what a tenant's data_key seals: its data keys. There is one, and
// while that is replaced two, see [Lifecycle.RotateDataKey].
type bundle struct {
	Keys  [][]byte `json:"keys"`  // oldest first
	Seals int      `json:"seals"` // which of them seals; all open
}

const dataKeySize = 32

func newDataKey() []byte {
	key := make([]byte, dataKeySize)
	_, _ = rand.Read(key) // never fails
	return key
}

// NewDataKey makes a key for a tenant's secrets and returns it sealed.
func (r *Ring) NewDataKey(tenant string) string {
	return r.sealBundle(tenant, &bundle{Keys: [][]byte{newDataKey()}})
}

func dataKeyPlace(tenant string) string { return "data_key:" + tenant }

// sealBundle seals a tenant's data keys. A single one is stored as its bytes.
func (r *Ring) sealBundle(tenant string, b *bundle) string {
	if len(b.Keys) == 1 {
		return r.Seal(dataKeyPlace(tenant), b.Keys[0])
	}
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // bytes and numbers always encode
	}
	return r.Seal(dataKeyPlace(tenant), text)
}

func (r *Ring) openBundle(tenant, sealedDataKey string) (*bundle, error) {
	text, err := r.Open(dataKeyPlace(tenant), sealedDataKey)
	if err != nil {
		return nil, err
	}
	if len(text) == dataKeySize {
		return &bundle{Keys: [][]byte{text}}, nil
	}
	b := new(bundle)
	if err := json.Unmarshal(text, b); err != nil || b.Seals < 0 || b.Seals >= len(b.Keys) {
		return nil, fmt.Errorf("%w: no data keys", ErrSealed)
	}
	return b, nil
}

// first are the keys with the one that seals before the others.
func (b *bundle) first() [][]byte {
	list := slices.Clone(b.Keys)
	list[0], list[b.Seals] = list[b.Seals], list[0]
	return list
}

// equal reports whether two bundles do the same.
func (b *bundle) equal(other *bundle) bool {
	return b.Seals == other.Seals && slices.EqualFunc(b.Keys, other.Keys, bytes.Equal)
}

// vault is a tenant's own ring and what is derived from its data keys.
type vault struct {
	ring     *Ring
	dataKeys [][]byte // the one that seals first
	derived  sync.Map // purpose -> [][]byte
}

func (r *Ring) vault(tenant, sealedDataKey string) (*vault, error) {
	b, err := r.openBundle(tenant, sealedDataKey)
	if err != nil {
		return nil, err
	}
	keys := b.first()
	ring, err := NewRing(keys...)
	if err != nil {
		return nil, err
	}
	return &vault{ring: ring, dataKeys: keys}, nil
}

// Secret returns 32 bytes that only the entered tenant has, a different value
// for each purpose. The slice is shared and must not be changed. Use it for what
// is made now; what was made before is checked with all [Secrets].
func Secret(ctx context.Context, purpose string) ([]byte, error) {
	list, err := Secrets(ctx, purpose)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Secrets returns [Secret] and those of data keys that are being replaced, which
// something may have been made with a moment ago. The slices are shared.
func Secrets(ctx context.Context, purpose string) ([][]byte, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.entry.vault.secrets(purpose)
}

func (v *vault) secrets(purpose string) ([][]byte, error) {
	if list, ok := v.derived.Load(purpose); ok {
		return list.([][]byte), nil
	}
	list := make([][]byte, len(v.dataKeys))
	for i, key := range v.dataKeys {
		var err error
		if list[i], err = hkdf.Key(sha256.New, key, nil, "gatehouse secret: "+purpose, 32); err != nil {
			return nil, err
		}
	}
	v.derived.Store(purpose, list)
	return list, nil
}

// HashSecret is how generated client secrets are stored: HMAC-SHA256 under a key
// of the entered tenant. Generated secrets hold 256 random bits, so a slow hash
// would protect nothing and cap logins of machines at a few per second.
func HashSecret(ctx context.Context, secret string) (string, error) {
	list, err := SecretHashes(ctx, secret)
	if err != nil {
		return "", err
	}
	return list[0], nil
}

// SecretHashes returns [HashSecret], and what it would have been while the data
// key was one that is being replaced: a stored hash may be any of them.
func SecretHashes(ctx context.Context, secret string) ([]string, error) {
	keys, err := Secrets(ctx, clientSecrets)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = hashUnder(key, secret)
	}
	return list, nil
}

// clientSecrets is the purpose of the key that client secrets are hashed under.
const clientSecrets = "client secrets"

func hashUnder(key []byte, secret string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
