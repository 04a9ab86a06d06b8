package oauth

import (
	"sync"
	"sync/atomic"
	"time"
)

// verifiedToken is an access token whose signature was verified: the dear part,
// which never changes.
type verifiedToken struct {
	claims *Claims // shared; must not be changed
	kid    string

	unrevoked found // that it was not revoked
	live      found // that whom it speaks for still has access
}

// found is when something was last found to be so, and under which number of the
// changes to it by this process. The zero value is never.
type found struct {
	at     time.Time
	number uint64
}

// recently reports whether it was found out under the same number within the last
// second. Another process may have changed it since; this one has not.
func (f found) recently(number uint64, now time.Time) bool {
	return !f.at.IsZero() && f.number == number && now.Sub(f.at).Abs() < time.Second
}

// verifiedTokens remembers verified tokens of all tenants, the recent ones: two
// maps, of which the older is dropped when the newer is full. It is safe for
// concurrent use.
type verifiedTokens struct {
	// generation counts the revocations of this process. After one, everything
	// remembered is looked up again.
	generation atomic.Uint64

	mu    sync.RWMutex
	fresh map[string]verifiedToken
	old   map[string]verifiedToken
}

// verifiedHalf is how many tokens each of the two maps holds. With tokens of 1
// KiB all of it is some 8 MiB.
const verifiedHalf = 4096

// longestKept is the longest token that is remembered, in bytes.
const longestKept = 1 << 13

func newVerifiedTokens() *verifiedTokens {
	return &verifiedTokens{fresh: make(map[string]verifiedToken)}
}

// get returns what is known of the token, as a copy, or nil.
func (v *verifiedTokens) get(token string) *verifiedToken {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if t, ok := v.fresh[token]; ok {
		return &t
	}
	if t, ok := v.old[token]; ok {
		return &t
	}
	return nil
}

// put remembers a token, if what is known of it is new.
func (v *verifiedTokens) put(token string, t *verifiedToken) {
	if len(token) > longestKept {
		return
	}
	v.mu.RLock()
	same := v.fresh[token] == *t
	v.mu.RUnlock()
	if same {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.fresh) >= verifiedHalf {
		v.old, v.fresh = v.fresh, make(map[string]verifiedToken)
	}
	v.fresh[token] = *t
}

// forget has every token looked up again, after one was revoked.
func (v *verifiedTokens) forget() { v.generation.Add(1) }
