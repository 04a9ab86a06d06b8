package oauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Keyring makes, rotates and reads the signing keys of the entered tenant. A
// zero Keyring is ready; its fields must not be changed once it is used. It is
// safe for concurrent use by any number of processes over one database.
//
// A tenant has two keys per algorithm from the start: the current one, which
// signs, and the next one, which is published so that it is known everywhere
// before it signs. A previous key stays published until the last token it can
// have signed has expired.
type Keyring struct {
	// Algs are the algorithms every tenant gets keys for: RS256, PS256, ES256,
	// EdDSA. Default RS256, ES256, EdDSA. ID tokens need RS256 unless their
	// client says otherwise.
	Algs []string

	// Reservoir holds RSA keys made ahead. Nil makes each when it is needed,
	// which takes about 100 ms.
	Reservoir *Reservoir

	// Every is the age at which RotateDue replaces a current key. Default 90
	// days; negative means never.
	Every time.Duration

	// Now is the clock. Default time.Now.
	Now func() time.Time

	once   sync.Once
	owed   chan string // see Owing
	making singleflight.Group
}

// retention is how long a key that ceased to sign stays published: the longest
// life of a token, since lifetimes may have been shortened after it signed
// (contract C2.15, C5.86).
const retention = longestTokenLifetime * time.Second

// The errors of changing keys that a caller is told (contract C5.86).
var (
	ErrKeyCurrent = tenancy.Errorf(409, "signing_key_current", "The current signing key cannot be revoked; rotate first")
	ErrNoKey      = tenancy.Errorf(404, "signing_key_not_found", "The signing key does not exist")
)

func (k *Keyring) algs() []string {
	if len(k.Algs) == 0 {
		return []string{"RS256", "ES256", "EdDSA"}
	}
	return k.Algs
}

func (k *Keyring) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}

// check finds algorithms that do not exist.
func (k *Keyring) check() error {
	for _, alg := range k.algs() {
		if _, ok := algorithms[alg]; !ok {
			return fmt.Errorf("%q is no signing algorithm here; use RS256, PS256, ES256 or EdDSA", alg)
		}
	}
	return nil
}

// EnsureKeys makes the keys that are missing: per algorithm a current and a next
// one. RSA keys that the reservoir does not hold are made right after, see
// [Keyring.Owing]. Doing it again, or in two places at once, changes nothing.
func (k *Keyring) EnsureKeys(ctx context.Context) error {
	for try := 0; ; try++ {
		err := k.ensure(ctx)
		if !errors.Is(err, tenancy.ErrConflict) || try == 3 {
			return err
		}
	}
}

func (k *Keyring) ensure(ctx context.Context) error {
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "revoked_at = 0"})
	if err != nil {
		return err
	}
	var stmts []tenancy.Stmt
	owing := false
	for _, alg := range k.algs() {
		for _, use := range []tenancy.KeyUse{tenancy.KeyCurrent, tenancy.KeyNext} {
			if !missing(rows, alg, use) {
				continue
			}
			key, err := k.firstKey(ctx, alg, use)
			if err != nil {
				return err
			}
			owing = owing || key.Use == tenancy.KeyOwed
			// Current keys are unique by index; next ones by this guard.
			stmts = append(stmts, tenancy.Require(ctx, `NOT EXISTS (SELECT 1 FROM signing_keys
				WHERE tenant_id = @tenant AND alg = ? AND (use_state = ? OR id = ?) AND revoked_at = 0)`, alg, use, owedID(alg, use)),
				tenancy.SigningKeys.Insert(ctx, key))
		}
	}
	if len(stmts) == 0 {
		return nil
	}
	if err := tenancy.Commit(ctx, stmts...); err != nil {
		return err
	}
	if owing {
		k.noteOwing(ctx)
	}
	return nil
}

// firstKey makes a key, or the note that it is owed where it would take long.
// The reservoir is for keys that sign: a next one has time.
func (k *Keyring) firstKey(ctx context.Context, alg string, use tenancy.KeyUse) (*tenancy.SigningKey, error) {
	if k.mayOwe(alg) && (use == tenancy.KeyNext || k.Reservoir.Ready() == 0) {
		return newOwed(alg, use), nil
	}
	return k.newKey(ctx, alg, use)
}

// newKey makes a key of the algorithm.
func (k *Keyring) newKey(ctx context.Context, alg string, use tenancy.KeyUse) (*tenancy.SigningKey, error) {
	m, err := k.material(ctx, alg)
	if err != nil {
		return nil, err
	}
	return k.row(m, alg, use), nil
}

func (k *Keyring) row(m *material, alg string, use tenancy.KeyUse) *tenancy.SigningKey {
	key := &tenancy.SigningKey{
		Row: tenancy.Row{ID: m.kid}, Alg: alg, Use: use,
		Private: m.private, Public: m.public, Certificate: m.certificate,
	}
	if use == tenancy.KeyCurrent {
		key.CurrentAt = tenancy.At(k.now())
	}
	return key
}

func (k *Keyring) material(ctx context.Context, alg string) (*material, error) {
	if k.Reservoir != nil && algorithms[alg].rsa {
		return k.Reservoir.Take(ctx)
	}
	return newMaterial(alg)
}

// Rotate makes the next key of the algorithm the current one, and a new next
// one. Tokens of the key it replaces stay valid. It returns the key that signs
// now. Rotating twice at once rotates once: the other call gets
// [tenancy.ErrStale].
//
// The key that comes to sign has been published since the rotation before, so
// clients know it, unless that was less than five minutes ago.
func (k *Keyring) Rotate(ctx context.Context, alg string) (*tenancy.SigningKey, error) {
	if _, ok := algorithms[alg]; !ok {
		return nil, tenancy.Errorf(400, "invalid_body", "Unknown signing algorithm '%s'", alg)
	}
	if err := errors.Join(k.EnsureKeys(ctx), k.MakeOwed(ctx)); err != nil {
		return nil, err
	}
	current, err := tenancy.SigningKeys.First(ctx, "alg = ? AND use_state = ? AND revoked_at = 0", alg, tenancy.KeyCurrent)
	if err != nil {
		return nil, missingKey(err)
	}
	next, err := tenancy.SigningKeys.First(ctx, "alg = ? AND use_state = ? AND revoked_at = 0", alg, tenancy.KeyNext)
	if err != nil {
		return nil, missingKey(err)
	}
	fresh, err := k.newKey(ctx, alg, tenancy.KeyNext)
	if err != nil {
		return nil, err
	}
	now := tenancy.At(k.now())
	current.Use, current.RetiredAt, current.ExpiresAt = tenancy.KeyPrevious, now, now.Add(retention)
	next.Use, next.CurrentAt = tenancy.KeyCurrent, now
	return next, tenancy.Commit(ctx, // in this order: at no point are there two current keys
		tenancy.SigningKeys.Replace(ctx, current), tenancy.SigningKeys.Replace(ctx, next), tenancy.SigningKeys.Insert(ctx, fresh))
}

func missingKey(err error) error {
	if errors.Is(err, tenancy.ErrNotFound) {
		return ErrNoKey
	}
	return err
}

// RotateDue rotates the keys that have signed for longer than Every, and removes
// those that nothing can be verified with any more. It makes keys that are owed
// or missing, for instance since the configuration names one more algorithm.
func (k *Keyring) RotateDue(ctx context.Context) error {
	now := tenancy.At(k.now())
	if err := errors.Join(k.prune(ctx, now), k.EnsureKeys(ctx), k.MakeOwed(ctx)); err != nil {
		return err
	}
	every := k.Every
	if every == 0 {
		every = 90 * 24 * time.Hour
	}
	if every < 0 {
		return nil
	}
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{
		Where: "use_state = ? AND revoked_at = 0 AND current_at < ?", Args: []any{tenancy.KeyCurrent, now.Add(-every)},
	})
	if err != nil {
		return err
	}
	for _, key := range rows {
		if !slices.Contains(k.algs(), key.Alg) {
			continue
		}
		if _, err := k.Rotate(ctx, key.Alg); err != nil && !errors.Is(err, tenancy.ErrStale) {
			return err
		}
	}
	return nil
}

// prune removes expired keys. A revoked key is kept as long as one that was not:
// the key list shows it.
func (k *Keyring) prune(ctx context.Context, now tenancy.Time) error {
	expired, err := exists(ctx, `SELECT 1 FROM signing_keys WHERE tenant_id = @tenant AND expires_at <> 0 AND expires_at < ?`, now)
	if err != nil || !expired {
		return err
	}
	return tenancy.Commit(ctx, tenancy.SigningKeys.RemoveWhere(ctx, "expires_at <> 0 AND expires_at < ?", now))
}

// Revoke makes a previous or next key invalid: its tokens fail from now on, and
// it leaves the key set. A next key gets a successor. The current key cannot be
// revoked: [ErrKeyCurrent].
func (k *Keyring) Revoke(ctx context.Context, kid string) (*tenancy.SigningKey, error) {
	now := tenancy.At(k.now())
	key, err := tenancy.SigningKeys.Update(ctx, kid, func(key *tenancy.SigningKey) error {
		switch {
		case key.RevokedAt != 0:
			return tenancy.ErrUnchanged
		case key.Use == tenancy.KeyCurrent:
			return ErrKeyCurrent
		}
		key.RevokedAt, key.Use = now, tenancy.KeyPrevious
		if key.ExpiresAt == 0 {
			key.RetiredAt, key.ExpiresAt = now, now.Add(retention)
		}
		return nil
	})
	if err != nil {
		return nil, missingKey(err)
	}
	return key, k.EnsureKeys(ctx)
}
