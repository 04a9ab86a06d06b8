package tenancy

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Protection against guessing (contract C5.99, C9.42): so many wrong passwords
// for one identifier from one address, and further tries are refused until the
// block ends or the password is changed.
const (
	MaxAttempts  = 10
	AttemptBlock = 30 * 24 * time.Hour
)

// ErrTooManyAttempts is returned when a login is refused without looking at its
// password.
var ErrTooManyAttempts = errors.New("too many wrong passwords")

// FailedAttempts counts the wrong passwords for one identifier from one address
// since the last right one. Row.ID is a hash of both, so that names that belong
// to nobody are not kept.
type FailedAttempts struct {
	Row
	UserID    string // empty where the identifier is nobody's
	IP        string `gorm:"column:ip"`
	Failures  int64
	BlockedAt Time // when the block was announced; 0 before
	ExpiresAt Time // when the count starts over
}

// Attempts is the table of these counts. Rows past ExpiresAt have no effect.
var Attempts = newTable[FailedAttempts]("login_attempts")

// Attempt is one try to log in. A user is counted by id, so that e-mail address
// and username are not two chances; a name that is nobody's is counted too, so
// that being blocked does not tell who exists.
type Attempt struct {
	Connection string // name of the connection
	Identifier string // as typed
	UserID     string // whose identifier it is; empty for nobody's
	IP         string // address it came from
}

func (a Attempt) id() string {
	who := "user" + linkSeparator + a.UserID
	if a.UserID == "" {
		who = "name" + linkSeparator + a.Connection + linkSeparator + FoldEmail(a.Identifier)
	}
	return HashToken(who + linkSeparator + addressBlock(a.IP))
}

// addressBlock is the part of an address that one visitor cannot choose: all of
// an IPv4 address, the first 64 bits of an IPv6 one.
func addressBlock(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if addr = addr.Unmap().WithZone(""); addr.Is4() {
		return addr.String()
	}
	block, _ := addr.Prefix(64) // never fails for IPv6
	return block.String()
}

// Count counts the attempt, or returns [ErrTooManyAttempts]. It is called before
// the password is looked at: of any number of guesses made at the same time no
// more than [MaxAttempts] get an answer. A right password clears the count, see
// [Attempt.Clear].
func (a Attempt) Count(ctx context.Context, now time.Time) error {
	return countAttempt(ctx, a.id(), a.UserID, a.IP, now, MaxAttempts, AttemptBlock)
}

// countAttempt counts one more attempt under an id, or returns
// [ErrTooManyAttempts] where there were as many as most within the last block.
func countAttempt(ctx context.Context, id, userID, ip string, now time.Time, most int, block time.Duration) error {
	t := At(now)
	err := Commit(ctx, SQL(ctx, `INSERT INTO login_attempts
			(tenant_id, id, revision, created_at, updated_at, user_id, ip, failures, blocked_at, expires_at)
		VALUES (@tenant, ?, 1, ?, ?, ?, ?, 1, 0, ?)
		ON CONFLICT (tenant_id, id) DO UPDATE SET
			failures = CASE WHEN login_attempts.expires_at <= ? THEN 1 ELSE login_attempts.failures + 1 END,
			blocked_at = CASE WHEN login_attempts.expires_at <= ? THEN 0 ELSE login_attempts.blocked_at END,
			expires_at = excluded.expires_at, updated_at = excluded.updated_at,
			revision = login_attempts.revision + 1
		WHERE login_attempts.failures < ? OR login_attempts.expires_at <= ?`,
		id, t, t, userID, addressBlock(ip), t.Add(block), t, t, most, t).Once())
	if errors.Is(err, ErrStale) {
		return ErrTooManyAttempts
	}
	return err
}

// How many clients may register themselves from one address before there has to be
// a pause (contract C4.62).
const (
	maxRegistrations  = 50
	registrationPause = time.Hour
)

// CountRegistration counts a client that registers itself without saying who it
// is, or returns [ErrTooManyAttempts].
func CountRegistration(ctx context.Context, ip string, now time.Time) error {
	return countAttempt(ctx, HashToken(Join("registration from", addressBlock(ip))), "", ip, now, maxRegistrations, registrationPause)
}

// Uncount takes back an attempt whose password could not be looked at.
func (a Attempt) Uncount(ctx context.Context) error {
	return Commit(ctx, uncount(ctx, a.id()))
}

func uncount(ctx context.Context, id string) Stmt {
	return SQL(ctx, `UPDATE login_attempts SET failures = failures - 1, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND failures > 0`, id)
}

// Blocks reports whether a wrong attempt was the one that made further ones
// refused. It says so once per block, whoever asks.
func (a Attempt) Blocks(ctx context.Context, now time.Time) (bool, error) {
	n, err := CommitCount(ctx, SQL(ctx, `UPDATE login_attempts SET blocked_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND failures >= ? AND blocked_at = 0`, At(now), a.id(), MaxAttempts))
	return n == 1, err
}

// Clear is the statement that forgets the wrong attempts before a right one.
func (a Attempt) Clear(ctx context.Context) Stmt { return Attempts.Remove(ctx, a.id()) }

// Unblock is the statement that forgets all wrong attempts for a user, as when
// the password is changed.
func Unblock(ctx context.Context, userID string) Stmt {
	return Attempts.RemoveWhere(ctx, "user_id = ? AND user_id <> ''", userID)
}
