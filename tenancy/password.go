package tenancy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// ErrWrongPassword is returned for a password that is not the user's, for a
// user who has none, and for a user who does not exist, after the same work.
var ErrWrongPassword = errors.New("wrong password")

// passwordGate bounds the hashes under way in the process: each takes some 20 ms
// of a processor and 19 MiB. One processor is left to everything else, so that a
// storm of logins does not hold up whoever needs no hash.
var passwordGate = newFairGate(max(1, runtime.GOMAXPROCS(0)-1), 64)

// PasswordWork counts the password hashes made and refused by this process.
func PasswordWork() GateStats { return passwordGate.statsNow() }

// inPasswordGate runs f when it is the entered tenant's turn. Outside of any
// tenant the work counts as one more tenant's.
func inPasswordGate(ctx context.Context, f func()) error {
	var tenant string
	if t, err := Current(ctx); err == nil {
		tenant = t.ID
	}
	leave, err := passwordGate.enter(ctx, tenant)
	if err != nil {
		return err
	}
	defer leave()
	f()
	return nil
}

// HashPassword returns the hash a password is stored as: argon2id with 19 MiB,
// two passes and one lane, in PHC text form. It waits for the tenant's turn;
// errors are ctx's own and a 429 [Error] where too much of the tenant's work is
// waiting already.
func HashPassword(ctx context.Context, password string) (hash string, err error) {
	err = inPasswordGate(ctx, func() {
		h := currentArgon2
		h.salt = make([]byte, 16)
		_, _ = rand.Read(h.salt)
		h.key = h.derive(password, 32)
		hash = h.String()
	})
	return hash, err
}

// CheckPassword returns the stored password of the user if password is it, and
// [ErrWrongPassword] otherwise. An unknown or empty user id costs the same work
// as a known one, so that answers do not tell who exists (contract C9.41).
// Further errors are those of [HashPassword] and of reading; none of them says
// anything about the password.
//
// A right password whose hash is of an older kind is stored anew.
func CheckPassword(ctx context.Context, userID, password string) (*Password, error) {
	row, err := Passwords.Get(ctx, userID)
	known := err == nil
	switch {
	case errors.Is(err, ErrNotFound):
		row = &Password{Hash: nobodysHash}
	case err != nil:
		return nil, err
	}
	h, err := parsePasswordHash(row.Hash)
	if err != nil {
		return nil, fmt.Errorf("password of user %s: %w", userID, err)
	}
	right := false
	if err := inPasswordGate(ctx, func() { right = h.matches(password) }); err != nil {
		return nil, err
	}
	if !right || !known {
		return nil, ErrWrongPassword
	}
	if h.outdated() {
		row = modernize(ctx, row, password)
	}
	return row, nil
}

// modernize stores a better hash of a password that was just found right. Where
// that fails the old hash goes on serving.
func modernize(ctx context.Context, row *Password, password string) *Password {
	hash, err := HashPassword(ctx, password)
	if err != nil {
		return row
	}
	better := *row
	better.Hash = hash
	if err := Commit(ctx, Passwords.Replace(ctx, &better)); err != nil {
		return row
	}
	return &better
}

// Unchanged is a guard: the user still has exactly this password. Whoever acts
// on a password that was found right commits with it, so that a change of the
// password in the same moment wins.
func (p *Password) Unchanged(ctx context.Context) Stmt {
	return Require(ctx, `EXISTS (SELECT 1 FROM passwords WHERE tenant_id = @tenant AND id = ? AND hash = ?)`, p.ID, p.Hash)
}

// PasswordStmt is the statement that gives a user the password with the hash,
// in place of any other. A user who does not exist at that point of the batch
// fails it with [ErrStale].
func PasswordStmt(ctx context.Context, userID, hash string) Stmt {
	now := At(time.Now())
	return SQL(ctx, `INSERT INTO passwords (tenant_id, id, revision, created_at, updated_at, hash)
		SELECT @tenant, ?, 1, ?, ?, ? WHERE EXISTS (SELECT 1 FROM users WHERE tenant_id = @tenant AND id = ?)
		ON CONFLICT (tenant_id, id) DO UPDATE
		SET hash = excluded.hash, updated_at = excluded.updated_at, revision = passwords.revision + 1`,
		userID, now, now, hash, userID).Once()
}

// SetPassword hashes a password and returns the statements that make it the
// user's and end a block by wrong passwords (contract C5.99). Ending sessions is
// the caller's decision, see [EndAccess].
func SetPassword(ctx context.Context, userID, password string) ([]Stmt, error) {
	hash, err := HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	return []Stmt{PasswordStmt(ctx, userID, hash), Unblock(ctx, userID)}, nil
}

// ValidatePasswordHash says what is wrong with a hash that is to be imported:
// neither bcrypt nor argon2id in their usual text forms, or so costly that
// checking it would hold up others.
func ValidatePasswordHash(hash string) error {
	_, err := parsePasswordHash(hash)
	return err
}

// passwordHash is a parsed hash.
type passwordHash interface {
	matches(password string) bool
	outdated() bool // weaker than what HashPassword makes now
}

func parsePasswordHash(text string) (passwordHash, error) {
	if strings.HasPrefix(text, "$argon2id$") {
		return parseArgon2(text)
	}
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != 60 {
		return nil, errors.New("not a bcrypt or argon2id hash")
	}
	if cost > 14 {
		return nil, fmt.Errorf("bcrypt cost %d is above 14", cost)
	}
	return bcryptHash(text), nil
}

// bcryptHash is imported: nothing here makes new ones, because bcrypt ignores
// whatever follows the first 72 bytes.
type bcryptHash string

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword([]byte(h), []byte(password)) == nil
}

func (h bcryptHash) outdated() bool { return true }

// argon2Hash is an argon2id hash (RFC 9106).
type argon2Hash struct {
	memory, time uint32 // KiB, passes
	lanes        uint8
	salt, key    []byte
}

// currentArgon2 are the costs of new hashes.
var currentArgon2 = argon2Hash{memory: 19 << 10, time: 2, lanes: 1}

// nobodysHash is what the password of an unknown user is checked against.
var nobodysHash = func() string {
	h := currentArgon2
	h.salt, h.key = make([]byte, 16), make([]byte, 32)
	return h.String()
}()

func parseArgon2(text string) (argon2Hash, error) {
	var h argon2Hash
	var version int
	parts := strings.Split(text, "$") // "", argon2id, v=, m=,t=,p=, salt, key
	if len(parts) != 6 {
		return h, errors.New("not an argon2id hash in PHC form")
	}
	if n, err := fmt.Sscanf(parts[2], "v=%d", &version); n != 1 || err != nil || version != argon2.Version {
		return h, fmt.Errorf("argon2id version %q is not v=%d", parts[2], argon2.Version)
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.lanes); n != 3 || err != nil {
		return h, fmt.Errorf("argon2id parameters %q are not m=,t=,p=", parts[3])
	}
	if h.memory < 8 || h.memory > 256<<10 || h.time < 1 || h.time > 10 || h.lanes < 1 || h.lanes > 16 {
		return h, fmt.Errorf("argon2id parameters %s are outside of m=8..262144, t=1..10, p=1..16", parts[3])
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	h.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 128 {
		return h, errors.New("argon2id salt or key is not base64 of a usual length")
	}
	return h, nil
}

// String returns the PHC text form.
func (h argon2Hash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

func (h argon2Hash) derive(password string, length int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.lanes, uint32(length))
}

func (h argon2Hash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.derive(password, len(h.key)), h.key) == 1
}

func (h argon2Hash) outdated() bool {
	c := currentArgon2
	return h.memory < c.memory || h.time < c.time && h.memory <= c.memory
}

// Interface guards
var (
	_ passwordHash = argon2Hash{}
	_ passwordHash = bcryptHash("")
)
