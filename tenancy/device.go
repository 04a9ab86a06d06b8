package tenancy

import (
	"context"
	"errors"
	"strings"
	"time"
)

// RequestDevice is the member of a [LoginSession]'s request that holds the id of
// the device grant a login is for, and RequestUserCode the one with the code that
// the person typed. Neither is a parameter of the protocol.
const (
	RequestDevice   = " device"
	RequestUserCode = " user_code"
)

// PlainUserCode is a user code as it is compared: without regard to case, dashes,
// spaces and whatever else people put between the characters (RFC 8628 section
// 6.1). Anything longer than a code could be is cut.
func PlainUserCode(code string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return -1
	}, code)
	return plain[:min(len(plain), 40)]
}

// DeviceID is the Row.ID of the device grant with a user code: a keyed hash, so
// that whoever reads the table does not know the codes.
func DeviceID(ctx context.Context, code string) (string, error) {
	hash, err := HashSecret(ctx, "user code "+PlainUserCode(code))
	return "dc_" + hash, err
}

// PendingDevice is the device grant with the id that waits for a person, or
// [ErrNotFound]. Pending ones have no user; one that was refused is revoked and
// has none either.
func PendingDevice(ctx context.Context, id string, now time.Time) (*Grant, error) {
	g, err := Grants.First(ctx, "id = ? AND kind = ?", id, GrantDevice)
	if err != nil {
		return nil, err
	}
	if g.UserID != "" || g.RevokedAt != 0 || g.ConsumedAt != 0 || At(now) >= g.ExpiresAt {
		return nil, ErrNotFound
	}
	return g, nil
}

// Guesses at user codes (RFC 8628 section 5.1; contract C4.51): so many wrong
// ones from a browser, and so many from an address whatever browsers it says it
// has, before both wait.
const (
	maxBrowserGuesses = 5
	maxAddressGuesses = 50
	guessBlock        = 15 * time.Minute // as long as a code lives
)

// Guess is somebody entering a user code.
type Guess struct {
	Browser string // hash of the browser's cookie
	IP      string
}

func (g Guess) ids() (browser, address string) {
	return HashToken(Join("user code of browser", g.Browser)), HashToken(Join("user code of address", addressBlock(g.IP)))
}

// Count counts the guess before the code is looked at, so that guesses made at
// the same time cannot outrun it, or returns [ErrTooManyAttempts].
func (g Guess) Count(ctx context.Context, now time.Time) error {
	browser, address := g.ids()
	if err := countAttempt(ctx, browser, "", g.IP, now, maxBrowserGuesses, guessBlock); err != nil {
		return err
	}
	err := countAttempt(ctx, address, "", g.IP, now, maxAddressGuesses, guessBlock)
	if errors.Is(err, ErrTooManyAttempts) {
		return errors.Join(err, Commit(ctx, uncount(ctx, browser)))
	}
	return err
}

// Right is the statements that take a guess back which was right.
func (g Guess) Right(ctx context.Context) []Stmt {
	browser, address := g.ids()
	return []Stmt{Attempts.Remove(ctx, browser), uncount(ctx, address)}
}

// Characters of user codes. The letters have no vowels, so that no words appear,
// and nothing that looks like another (RFC 8628 section 6.1).
const (
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeDigits  = "0123456789"
)

// NewUserCode makes a user code by the setting device_flow: of digits or letters,
// in the form of the mask, where "*" stands for a character. Masks with fewer than
// make a code that cannot be guessed (contract C4.51: 20^8) are not followed.
func NewUserCode(digits bool, mask string) string {
	alphabet, form := userCodeLetters, "****-****"
	if digits {
		alphabet, form = userCodeDigits, "***-***-*****"
	}
	if strings.Trim(mask, "*- ") == "" && strings.Count(mask, "*") >= strings.Count(form, "*") {
		form = mask
	}
	random := randomText(alphabet, strings.Count(form, "*"))
	var b strings.Builder
	for _, c := range form {
		if c == '*' {
			b.WriteByte(random[0])
			random = random[1:]
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
