package tenancy

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Protection against guessing (contract C5.99, C9.42): so many wrong passwords
// for one identifier from one address, and further tries are refused until the
// block ends or the password is changed. So many from one address whatever the
// identifiers, and it has to pause: it tries one password on many users, or names
// that it makes up.
const (
	MaxAttempts  = 10 // unless a tenant's [Protection] says otherwise, as MaxAddressAttempts
	AttemptBlock = 30 * 24 * time.Hour

	MaxAddressAttempts = 100
	AddressPause       = time.Hour
)

// How many counts a tenant keeps that are no user's, and of each user, so that
// made-up names and addresses without end do not fill its database. Those that
// were used last stay. About one attempt in trimEvery looks.
const (
	maxNameless = 50_000
	maxPerUser  = 1000
	trimEvery   = 100
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

// address is the id of the count of an address, "" for one that is not known.
func (a Attempt) address() string {
	if a.IP == "" {
		return ""
	}
	return HashToken("address" + linkSeparator + addressBlock(a.IP))
}

// Count counts the attempt, or returns [ErrTooManyAttempts]. It is called before
// the password is looked at: of any number of guesses made at the same time no
// more than the tenant's [Protection] allows get an answer. A right password clears
// the count, see [Attempt.Right].
func (a Attempt) Count(ctx context.Context, now time.Time) error {
	c, err := a.counting(ctx)
	if err != nil {
		return err
	}
	stmts := c.stmts(ctx, a, now)
	if len(stmts) == 0 {
		return nil
	}
	if err := committed(ctx, stmts...); err != nil || rand.N(trimEvery) != 0 {
		return err
	}
	if a.UserID == "" {
		return trimAttempts(ctx, "", maxNameless)
	}
	return trimAttempts(ctx, a.UserID, maxPerUser)
}

// trimAttempts removes a user's counts, or those that are no user's, but for the
// last few.
func trimAttempts(ctx context.Context, userID string, keep int) error {
	return Commit(ctx, SQL(ctx, `DELETE FROM login_attempts WHERE tenant_id = @tenant AND user_id = ? AND updated_at <
		(SELECT updated_at FROM login_attempts WHERE tenant_id = @tenant AND user_id = ? ORDER BY updated_at DESC LIMIT 1 OFFSET ?)`,
		userID, userID, keep-1))
}

// countAttempt counts one more attempt under an id, or returns
// [ErrTooManyAttempts] where there were as many as most within the last block.
func countAttempt(ctx context.Context, id, userID, ip string, now time.Time, most int, block time.Duration) error {
	return committed(ctx, countStmt(ctx, id, userID, ip, now, most, block))
}

// committed counts in all of the statements or in none.
func committed(ctx context.Context, counts ...Stmt) error {
	err := Commit(ctx, counts...)
	if errors.Is(err, ErrStale) {
		return ErrTooManyAttempts
	}
	return err
}

func countStmt(ctx context.Context, id, userID, ip string, now time.Time, most int, block time.Duration) Stmt {
	t := At(now)
	return SQL(ctx, `INSERT INTO login_attempts
			(tenant_id, id, revision, created_at, updated_at, user_id, ip, failures, blocked_at, expires_at)
		VALUES (@tenant, ?, 1, ?, ?, ?, ?, 1, 0, ?)
		ON CONFLICT (tenant_id, id) DO UPDATE SET
			failures = CASE WHEN login_attempts.expires_at <= ? THEN 1 ELSE login_attempts.failures + 1 END,
			blocked_at = CASE WHEN login_attempts.expires_at <= ? THEN 0 ELSE login_attempts.blocked_at END,
			expires_at = excluded.expires_at, updated_at = excluded.updated_at,
			revision = login_attempts.revision + 1
		WHERE login_attempts.failures < ? OR login_attempts.expires_at <= ?`,
		id, t, t, userID, addressBlock(ip), t.Add(block), t, t, most, t).Once()
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
	c, err := a.counting(ctx)
	if err != nil || c.id == "" && c.address == "" {
		return err
	}
	return Commit(ctx, uncount(ctx, c.id), uncount(ctx, c.address))
}

func uncount(ctx context.Context, id string) Stmt {
	return SQL(ctx, `UPDATE login_attempts SET failures = failures - 1, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND failures > 0`, id)
}

// Blocks reports whether a wrong attempt was the one that made further ones
// refused, or would have where none are. It says so once per block, whoever asks.
func (a Attempt) Blocks(ctx context.Context, now time.Time) (bool, error) {
	c, err := a.counting(ctx)
	if err != nil || c.id == "" {
		return false, err
	}
	n, err := CommitCount(ctx, SQL(ctx, `UPDATE login_attempts SET blocked_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND failures >= ? AND blocked_at = 0`, At(now), c.id, c.BruteForce.MaxAttempts))
	return n == 1, err
}

// Right is the statements that forget the wrong attempts before a right one, by
// whatever they were counted, and take that one back from its address.
func (a Attempt) Right(ctx context.Context) []Stmt {
	return []Stmt{Attempts.RemoveWhere(ctx, "id IN (?, ?)", a.id(), a.anywhere().id()), uncount(ctx, a.address())}
}

// Unblock is the statement that forgets all wrong attempts for a user, as when
// the password is changed.
func Unblock(ctx context.Context, userID string) Stmt {
	return Attempts.RemoveWhere(ctx, "user_id = ? AND user_id <> ''", userID)
}
