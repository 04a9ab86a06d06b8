package tenancy

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"gorm.io/gorm/schema"
)

// Ring seals small secrets with authenticated encryption (AES-256-GCM). It has
// one key that seals and any number that only open, told apart by an id in the
// ciphertext, so that keys can be replaced without downtime. A Ring is
// immutable and safe for concurrent use.
type Ring struct {
	primary uint32
	keys    map[uint32]ringKey
}

type ringKey struct {
	aead cipher.AEAD
	raw  []byte
}

// ErrSealed is returned when a sealed value cannot be opened: it was sealed
// with a key this ring does not have, for another place, or was altered.
var ErrSealed = errors.New("cannot open sealed value")

const sealVersion = 1

// NewRing makes a ring from secrets of any form, the sealing one first. Each
// should hold at least 128 bits of randomness; shorter than 16 bytes is an
// error.
func NewRing(secrets ...[]byte) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a ring needs a secret")
	}
	r := &Ring{keys: make(map[uint32]ringKey, len(secrets))}
	for i, secret := range secrets {
		if len(secret) < 16 {
			return nil, fmt.Errorf("secret %d is %d bytes long; at least 16 are needed", i+1, len(secret))
		}
		raw, err := hkdf.Key(sha256.New, secret, nil, "gatehouse seal v1", 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(append([]byte("gatehouse key id"), raw...))
		id := binary.BigEndian.Uint32(sum[:4])
		r.keys[id] = ringKey{aead, raw}
		if i == 0 {
			r.primary = id
		}
	}
	return r, nil
}

// Seal encrypts plaintext for one place: opening it needs the same place.
func (r *Ring) Seal(place string, plaintext []byte) string {
	k := r.keys[r.primary]
	head := make([]byte, 17, 17+len(plaintext)+16)
	head[0] = sealVersion
	binary.BigEndian.PutUint32(head[1:5], r.primary)
	_, _ = rand.Read(head[5:17])
	sealed := k.aead.Seal(head, head[5:17], plaintext, []byte(place))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Open decrypts what Seal made. Errors are [ErrSealed].
func (r *Ring) Open(place, sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 17 || b[0] != sealVersion {
		return nil, fmt.Errorf("%w: not a sealed value", ErrSealed)
	}
	k, ok := r.keys[binary.BigEndian.Uint32(b[1:5])]
	if !ok {
		return nil, fmt.Errorf("%w: sealed with another key", ErrSealed)
	}
	plaintext, err := k.aead.Open(nil, b[5:17], b[17:], []byte(place))
	if err != nil {
		return nil, fmt.Errorf("%w: altered, or of another place", ErrSealed)
	}
	return plaintext, nil
}

// NewDataKey makes a key for a tenant's secrets and returns it sealed.
func (r *Ring) NewDataKey(tenant string) string {
	var key [32]byte
	_, _ = rand.Read(key[:])
	return r.Seal("data_key:"+tenant, key[:])
}

// vault is a tenant's own ring and what is derived from its data key.
type vault struct {
	ring    *Ring
	dataKey []byte
	derived sync.Map // purpose -> []byte
}

func (r *Ring) vault(tenant, sealedDataKey string) (*vault, error) {
	key, err := r.Open("data_key:"+tenant, sealedDataKey)
	if err != nil {
		return nil, err
	}
	ring, err := NewRing(key)
	if err != nil {
		return nil, err
	}
	return &vault{ring: ring, dataKey: key}, nil
}

// Secret returns 32 bytes that only the entered tenant has, a different value
// for each purpose. The slice is shared and must not be changed.
func Secret(ctx context.Context, purpose string) ([]byte, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.entry.vault.derive(purpose)
}

// derive is [Secret] of the vault.
func (v *vault) derive(purpose string) ([]byte, error) {
	if b, ok := v.derived.Load(purpose); ok {
		return b.([]byte), nil
	}
	b, err := hkdf.Key(sha256.New, v.dataKey, nil, "gatehouse secret: "+purpose, 32)
	if err != nil {
		return nil, err
	}
	v.derived.Store(purpose, b)
	return b, nil
}

// HashSecret is how generated client secrets are stored: HMAC-SHA256 under a key
// of the entered tenant. Generated secrets hold 256 random bits, so a slow hash
// would protect nothing and cap logins of machines at a few per second.
func HashSecret(ctx context.Context, secret string) (string, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return "", err
	}
	return s.entry.vault.hashSecret(secret)
}

// sealed is the GORM serializer of fields tagged serializer:sealed. The place a
// value is sealed for is tenant, table and column.
type sealed struct{}

// Scan implements schema.SerializerInterface.
func (sealed) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, stored any) error {
	text, err := storedText(field, stored)
	if err != nil || text == "" {
		return err
	}
	s, err := spaceOf(ctx)
	if err != nil {
		return err
	}
	plaintext, err := s.entry.vault.ring.Open(place(s, field), text)
	if err != nil {
		return fmt.Errorf("%s.%s: %w", field.Schema.Table, field.DBName, err)
	}
	value := reflect.New(field.FieldType)
	if err := json.Unmarshal(plaintext, value.Interface()); err != nil {
		return fmt.Errorf("%w: %s.%s", ErrSealed, field.Schema.Table, field.DBName)
	}
	field.ReflectValueOf(ctx, dst).Set(value.Elem())
	return nil
}

// Value implements schema.SerializerInterface. An empty value is stored as "".
func (sealed) Value(ctx context.Context, field *schema.Field, _ reflect.Value, value any) (any, error) {
	if v := reflect.ValueOf(value); !v.IsValid() || v.IsZero() {
		return "", nil
	}
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	plaintext, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return s.entry.vault.ring.Seal(place(s, field), plaintext), nil
}

func place(s *space, field *schema.Field) string {
	return s.tenant.ID + ":" + field.Schema.Table + ":" + field.DBName
}
