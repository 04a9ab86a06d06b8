package tenancy

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Rate is so many requests in so much time. They may come all at once; after
// that they come back one by one. The zero value is no limit.
type Rate struct {
	Requests int
	Per      time.Duration
}

// Rates are the limits of a [Limiter].
type Rates struct {
	// Tenant is for all requests to one tenant's authentication endpoints.
	Tenant Rate

	// Client is for the requests of one client of a tenant that it proved to be
	// its own: to the endpoints where clients do, and to the management API.
	Client Rate

	// Address is for all requests from one address to one tenant. Of an IPv6
	// address the first 64 bits count.
	Address Rate

	// Management is for all requests of the management API that act on one tenant.
	Management Rate
}

// DefaultRates are so high that only a flood meets them.
var DefaultRates = Rates{
	Tenant:     Rate{600_000, time.Minute},
	Client:     Rate{300_000, time.Minute},
	Address:    Rate{300_000, time.Minute},
	Management: Rate{60_000, time.Minute},
}

// Quota is what a limit leaves after a request was counted.
type Quota struct {
	Limit      int           // requests at once; 0 for no limit
	Remaining  int           // requests that may come now
	Reset      time.Time     // when all may come again
	RetryAfter time.Duration // when the next one may; 0 where this one was let in
}

// Limiter counts requests and says which are too many. It counts in memory, so
// every node for itself: N nodes let N times as many in. It is safe for
// concurrent use, takes as much memory after a flood as before, and never waits.
// The zero value of a nil Limiter limits nothing.
type Limiter struct {
	rates  Rates
	seed   maphash.Seed
	tables [4]limitTable
}

// The tables of a [Limiter], so that a flood of one kind of keys cannot push out
// those of another.
const (
	limitTenant = iota
	limitClient
	limitAddress
	limitManagement
)

// NewLimiter makes a limiter.
func NewLimiter(r Rates) *Limiter { return &Limiter{rates: r, seed: maphash.MakeSeed()} }

// Arrive counts a request to a tenant's authentication endpoints, or to its
// management API, before anything else is done about it. One that its address may
// not make does not count for the tenant.
func (l *Limiter) Arrive(tenant, address string, managed bool, now time.Time) Quota {
	if l == nil {
		return Quota{}
	}
	network := networkOf(address)
	q := l.count(limitAddress, l.rates.Address, tenant, string(network[:]), now)
	if q.RetryAfter > 0 || managed { // which tenant it acts on is known later
		return q
	}
	return q.or(l.count(limitTenant, l.rates.Tenant, tenant, "", now))
}

// Client counts a request of a client that proved who it is.
func (l *Limiter) Client(tenant, client string, now time.Time) Quota {
	if l == nil {
		return Quota{}
	}
	return l.count(limitClient, l.rates.Client, tenant, client, now)
}

// Manage counts a request of the management API, by the tenant it acts on and by
// the client whose token it carries.
func (l *Limiter) Manage(target, tenant, client string, now time.Time) Quota {
	q := l.Client(tenant, client, now)
	if l == nil || q.RetryAfter > 0 {
		return q
	}
	return q.or(l.count(limitManagement, l.rates.Management, target, "", now))
}

// networkOf is [addressBlock] as bytes, which costs no memory to make.
func networkOf(address string) (b [16]byte) {
	if addr, err := netip.ParseAddr(address); err == nil {
		b = addr.As16()
		if !addr.Unmap().Is4() {
			clear(b[8:])
		}
	}
	return b
}

func (l *Limiter) count(table int, r Rate, tenant, key string, now time.Time) Quota {
	if r.Requests <= 0 || r.Per <= 0 {
		return Quota{}
	}
	var h maphash.Hash
	h.SetSeed(l.seed)
	_, _ = h.WriteString(tenant)
	_ = h.WriteByte(0) // no id has one
	_, _ = h.WriteString(key)
	return l.tables[table].count(max(h.Sum64(), 1), r, now)
}

// or is the quota of two limits that a request has to meet: the one that leaves
// less.
func (q Quota) or(other Quota) Quota {
	switch {
	case other.Limit == 0:
		return q
	case q.Limit == 0, other.RetryAfter > 0, other.Remaining < q.Remaining:
		return other
	}
	return q
}

// errTooManyRequests is why.
var errTooManyRequests = errors.New("rate limit")

// Tell writes the quota into the headers X-RateLimit-Limit, -Remaining and -Reset
// (Unix seconds) unless they tell of less already, and returns the error that the
// request is answered with, nil where it was let in (contract C5.13).
func (q Quota) Tell(h http.Header) error {
	if q.Limit == 0 {
		return nil
	}
	const remaining = "X-Ratelimit-Remaining"
	told := h[remaining]
	if len(told) == 1 && q.RetryAfter == 0 {
		if n, err := strconv.Atoi(told[0]); err == nil && n <= q.Remaining {
			return nil
		}
	}
	values := []string{strconv.Itoa(q.Limit), strconv.Itoa(q.Remaining), strconv.FormatInt(q.Reset.Unix(), 10)}
	h["X-Ratelimit-Limit"], h[remaining], h["X-Ratelimit-Reset"] = values[0:1:1], values[1:2:2], values[2:3:3]
	if q.RetryAfter == 0 {
		return nil
	}
	err := Errorf(http.StatusTooManyRequests, "too_many_requests", "Global limit has been reached")
	err.Header = map[string]string{"Retry-After": strconv.FormatInt(q.Seconds(), 10)}
	err.Cause = fmt.Errorf("%w of %d", errTooManyRequests, q.Limit)
	return err
}

// Seconds are those until the next request may come, rounded up.
func (q Quota) Seconds() int64 { return int64((q.RetryAfter + time.Second - 1) / time.Second) }

// limitTable remembers keys that used up part of their limit lately: of each group
// of keys the few that used most. One that is forgotten starts over, and that is
// one which had used little. So a flood from many addresses cannot make the table
// grow, nor push out an address that floods.
type limitTable struct {
	shards [64]struct {
		sync.Mutex
		groups [128][limitWays]limitCell
	}
}

const limitWays = 8

// limitCell is a key's count by the generic cell rate algorithm: the time at which
// everything it used has come back. Before that the difference to now is what it
// used, in units of Rate.Per/Rate.Requests.
type limitCell struct {
	key  uint64
	full int64 // Unix nanoseconds
}

func (t *limitTable) count(key uint64, r Rate, now time.Time) Quota {
	shard := &t.shards[key%64]
	shard.Lock()
	defer shard.Unlock()
	group := &shard.groups[key/64%128]
	cell := &group[0]
	for i := range group {
		if group[i].key == key {
			cell = &group[i]
			break
		}
		if group[i].full < cell.full {
			cell = &group[i]
		}
	}
	at, unit := now.UnixNano(), max(int64(r.Per)/int64(r.Requests), 1)
	full := at
	if cell.key == key {
		full = max(full, cell.full)
	}
	q := Quota{Limit: r.Requests}
	if next := full + unit; next-at > unit*int64(r.Requests) {
		q.RetryAfter = time.Duration(next - at - unit*int64(r.Requests))
	} else {
		full = next
		*cell = limitCell{key, full}
		q.Remaining = int((unit*int64(r.Requests) - (full - at)) / unit)
	}
	q.Reset = time.Unix(0, full+int64(time.Second)-1)
	return q
}
