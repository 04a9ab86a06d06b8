package oauth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// tokenType is the typ of a JWT's header (RFC 7519 section 5.1).
type tokenType string

// The types of tokens signed here.
const (
	typeJWT         tokenType = "JWT"
	typeAccessToken tokenType = "at+jwt"     // RFC 9068 section 2.1
	typeLogoutToken tokenType = "logout+jwt" // OpenID Connect Back-Channel Logout 2.4
)

// signingKey is a key ready for use: parsed once, its headers encoded once.
type signingKey struct {
	kid     string
	alg     string
	method  jwt.SigningMethod
	private any
	public  crypto.PublicKey
	headers map[tokenType]string // base64url, with the dot behind it
	expires tenancy.Time         // 0 while it signs
}

// live reports whether tokens of the key are accepted at now.
func (k *signingKey) live(now tenancy.Time) bool { return k.expires == 0 || now < k.expires }

// keySet is the keys of one tenant. It is immutable.
type keySet struct {
	byKid   map[string]*signingKey
	current map[string]*signingKey // by algorithm

	entries []publishedEntry
	jwks    document
	stale   tenancy.Time // when a key of jwks expires; 0 for never

	owed bool // a key that signs is still to be made
}

type publishedEntry struct {
	key     *publishedKey
	expires tenancy.Time
}

// set is the entered tenant's keys, from memory until they change. A key that
// signs and is owed is made first.
func (k *Keyring) set(ctx context.Context) (*keySet, error) {
	set, err := k.known(ctx)
	if err != nil || !set.owed {
		return set, err
	}
	if err := k.makeOwedNow(ctx); err != nil {
		return nil, tenancy.Unavailable(err, "the tenant's signing keys cannot be made")
	}
	return k.known(ctx)
}

// known is the keys that are there, without those still owed.
func (k *Keyring) known(ctx context.Context) (*keySet, error) {
	return tenancy.Cached(ctx, "oauth.keys", "", loadKeys)
}

// key is the one that signs with the algorithm now. A tenant without one cannot
// issue tokens: 503, and never another tenant's key (contract C2.11).
func (k *Keyring) key(ctx context.Context, alg string) (*signingKey, error) {
	set, err := k.set(ctx)
	if err != nil {
		return nil, err
	}
	key, ok := set.current[alg]
	if !ok {
		return nil, tenancy.Unavailable(fmt.Errorf("the tenant has no %s key to sign with", alg),
			`name the algorithm in the "keys" option, or rotate the tenant's keys`)
	}
	return key, nil
}

// signs reports whether the entered tenant has a key of the algorithm.
func (k *Keyring) signs(ctx context.Context, alg string) (bool, error) {
	set, err := k.set(ctx)
	if err != nil {
		return false, err
	}
	return set.current[alg] != nil, nil
}

// loadKeys reads and parses all keys that were not revoked.
func loadKeys(ctx context.Context) (*keySet, error) {
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "revoked_at = 0"})
	if err != nil {
		return nil, tenancy.Unavailable(err, "the tenant's signing keys cannot be read")
	}
	order := map[tenancy.KeyUse]int{tenancy.KeyCurrent: 0, tenancy.KeyNext: 1, tenancy.KeyPrevious: 2}
	sort.SliceStable(rows, func(i, j int) bool { return order[rows[i].Use] < order[rows[j].Use] })
	set := &keySet{byKid: make(map[string]*signingKey), current: make(map[string]*signingKey)}
	for i := range rows {
		if rows[i].Use == tenancy.KeyOwed {
			set.owed = set.owed || rows[i].ID == owedID(rows[i].Alg, tenancy.KeyCurrent)
			continue
		}
		if err := set.add(&rows[i]); err != nil {
			return nil, tenancy.Unavailable(fmt.Errorf("signing key %s: %w", rows[i].ID, err), "rotate and revoke the key")
		}
	}
	set.jwks, set.stale, err = set.publish(0)
	return set, err
}

func (s *keySet) add(row *tenancy.SigningKey) error {
	a, ok := algorithms[row.Alg]
	if !ok {
		return fmt.Errorf("unknown algorithm %q", row.Alg)
	}
	private, err := x509.ParsePKCS8PrivateKey(row.Private)
	if err != nil {
		return err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return fmt.Errorf("%T cannot sign", private)
	}
	key := &signingKey{
		kid: row.ID, alg: row.Alg, method: a.method, private: private, public: signer.Public(),
		headers: make(map[tokenType]string), expires: row.ExpiresAt,
	}
	for _, typ := range []tokenType{typeJWT, typeAccessToken, typeLogoutToken} {
		header, err := json.Marshal(tokenHeader{Alg: row.Alg, Kid: row.ID, Typ: string(typ)})
		if err != nil {
			return err
		}
		key.headers[typ] = base64.RawURLEncoding.EncodeToString(header) + "."
	}
	entry, err := published(row.ID, row.Alg, row.Public, row.Certificate)
	if err != nil {
		return err
	}
	s.byKid[key.kid] = key
	s.entries = append(s.entries, publishedEntry{entry, row.ExpiresAt})
	if row.Use == tenancy.KeyCurrent {
		s.current[key.alg] = key
	}
	return nil
}

// publish encodes the keys that are live at now, and says until when that holds.
func (s *keySet) publish(now tenancy.Time) (document, tenancy.Time, error) {
	list := make([]*publishedKey, 0, len(s.entries))
	var stale tenancy.Time
	for _, e := range s.entries {
		if e.expires != 0 && e.expires <= now {
			continue
		}
		list = append(list, e.key)
		if e.expires != 0 && (stale == 0 || e.expires < stale) {
			stale = e.expires
		}
	}
	body, err := json.Marshal(struct {
		Keys []*publishedKey `json:"keys"`
	}{list})
	return newDocument(body), stale, err
}

// document is a public answer that is kept as bytes.
type document struct {
	body []byte
	etag string
}

func newDocument(body []byte) document {
	sum := sha256.Sum256(body)
	return document{body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`}
}
