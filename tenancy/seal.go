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

	"gorm.io/gorm/schema"
)

// Ring seals small secrets with authenticated encryption (AES-256-GCM). It has
// one key that seals and any number that only open, told apart by an id in the
// ciphertext, so that keys can be replaced without downtime. A Ring is
// immutable and safe for concurrent use.
type Ring struct {
	order []uint32 // ids of the keys as they were given; the first one seals
	keys  map[uint32]cipher.AEAD
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
	r := &Ring{keys: make(map[uint32]cipher.AEAD, len(secrets))}
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
		if _, twice := r.keys[id]; !twice {
			r.keys[id], r.order = aead, append(r.order, id)
		}
	}
	return r, nil
}

// Seal encrypts plaintext for one place: opening it needs the same place.
func (r *Ring) Seal(place string, plaintext []byte) string {
	id := r.order[0]
	head := make([]byte, 17, 17+len(plaintext)+16)
	head[0] = sealVersion
	binary.BigEndian.PutUint32(head[1:5], id)
	_, _ = rand.Read(head[5:17])
	sealed := r.keys[id].Seal(head, head[5:17], plaintext, []byte(place))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Open decrypts what Seal made. Errors are [ErrSealed].
func (r *Ring) Open(place, sealed string) ([]byte, error) {
	id, b, err := keyID(sealed)
	if err != nil {
		return nil, err
	}
	k, ok := r.keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: sealed with another key", ErrSealed)
	}
	plaintext, err := k.Open(nil, b[5:17], b[17:], []byte(place))
	if err != nil {
		return nil, fmt.Errorf("%w: altered, or of another place", ErrSealed)
	}
	return plaintext, nil
}

// keyID returns the id of the key that a value was sealed with, and the value's
// bytes.
func keyID(sealed string) (uint32, []byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 17 || b[0] != sealVersion {
		return 0, nil, fmt.Errorf("%w: not a sealed value", ErrSealed)
	}
	return binary.BigEndian.Uint32(b[1:5]), b, nil
}

// current reports whether a value was sealed with the key that seals now.
func (r *Ring) current(sealed string) bool {
	id, _, err := keyID(sealed)
	return err == nil && id == r.order[0]
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
