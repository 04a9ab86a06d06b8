package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// C5.13, A29: so many at once, then as they come back, each tenant for itself.
func TestRateOfATenant(t *testing.T) {
	t.Parallel()
	l := tenancy.NewLimiter(tenancy.Rates{Tenant: tenancy.Rate{Requests: 10, Per: 10 * time.Second}})
	arrive := func(tenant string, now time.Time) tenancy.Quota { return l.Arrive(tenant, "203.0.113.7", false, now) }
	for i := range 10 {
		q := arrive("acme", noon)
		if q.RetryAfter != 0 || q.Limit != 10 || q.Remaining != 9-i {
			t.Fatalf("request %d: %+v", i+1, q)
		}
	}
	q := arrive("acme", noon)
	if q.RetryAfter != time.Second || q.Remaining != 0 || q.Reset.Sub(noon).Round(time.Second) != 10*time.Second && q.Reset.Unix() != noon.Unix()+10 {
		t.Errorf("request 11: %+v, want one more after a second and all after ten", q)
	}
	if q := arrive("widgets", noon); q.RetryAfter != 0 || q.Remaining != 9 {
		t.Errorf("its neighbour: %+v", q)
	}
	if q := arrive("acme", noon.Add(time.Second)); q.RetryAfter != 0 || q.Remaining != 0 {
		t.Errorf("after a second: %+v, want one", q)
	}
	if q := arrive("acme", noon.Add(time.Second)); q.RetryAfter == 0 {
		t.Errorf("after a second a second one: %+v, want none", q)
	}
	if q := arrive("acme", noon.Add(time.Hour)); q.RetryAfter != 0 || q.Remaining != 9 {
		t.Errorf("after an hour: %+v, want all and no more", q)
	}
}

// An address that floods spends its own limit and not its tenant's; the addresses
// of one IPv6 network are one.
func TestRateOfAnAddress(t *testing.T) {
	t.Parallel()
	l := tenancy.NewLimiter(tenancy.Rates{Address: tenancy.Rate{Requests: 2, Per: time.Minute}, Tenant: tenancy.Rate{Requests: 4, Per: time.Minute}})
	for i, refused := range []bool{false, false, true, true, true} {
		q := l.Arrive("acme", fmt.Sprintf("2001:db8:1:2::%d", i), false, noon)
		if (q.RetryAfter > 0) != refused {
			t.Errorf("request %d: %+v, want refused: %v", i+1, q, refused)
		}
	}
	if q := l.Arrive("acme", "203.0.113.7", false, noon); q.RetryAfter != 0 || q.Limit != 2 && q.Limit != 4 || q.Remaining != 1 {
		t.Errorf("another address: %+v, want two of the tenant's four left", q)
	}
	if q := l.Arrive("widgets", "2001:db8:1:2::1", false, noon); q.RetryAfter != 0 {
		t.Errorf("at another tenant: %+v", q)
	}
	if q := l.Arrive("acme", "203.0.113.8", true, noon); q.RetryAfter != 0 || q.Limit != 2 {
		t.Errorf("to the management API: %+v, want only the address counted", q)
	}
}

// C5.13: per tenant and per client.
func TestRateOfManagement(t *testing.T) {
	t.Parallel()
	per := func(n int) tenancy.Rate { return tenancy.Rate{Requests: n, Per: time.Minute} }
	l := tenancy.NewLimiter(tenancy.Rates{Client: per(3), Management: per(5)})
	for i, c := range []struct {
		target, tenant, client string
		refused                bool
	}{
		{"acme", "control_plane", "m", false},
		{"acme", "control_plane", "m", false},
		{"widgets", "control_plane", "m", false},
		{"widgets", "control_plane", "m", true}, // the client's fourth
		{"acme", "acme", "m", false},            // another client, though called the same
		{"acme", "acme", "m", false},
		{"acme", "acme", "other", false},
		{"acme", "acme", "other", true}, // the tenant's sixth
		{"widgets", "acme", "third", false},
	} {
		if q := l.Manage(c.target, c.tenant, c.client, noon); (q.RetryAfter > 0) != c.refused {
			t.Errorf("request %d, %v: %+v", i+1, c, q)
		}
	}
	if q := l.Client("acme", "m", noon); q.RetryAfter != 0 || q.Remaining != 0 {
		t.Errorf("the client's third: %+v", q)
	}
}

// The least that is left is told, and a refusal always.
func TestQuotaIsTold(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	reset := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		q     tenancy.Quota
		limit string
	}{
		{tenancy.Quota{}, ""},
		{tenancy.Quota{Limit: 100, Remaining: 50, Reset: reset}, "100"},
		{tenancy.Quota{Limit: 1000, Remaining: 900, Reset: reset}, "100"},
		{tenancy.Quota{Limit: 60, Remaining: 7, Reset: reset}, "60"},
	} {
		if err := c.q.Tell(h); err != nil || h.Get("X-RateLimit-Limit") != c.limit {
			t.Errorf("%+v: %v, headers %v", c.q, err, h)
		}
	}
	err := tenancy.Quota{Limit: 1000, Reset: reset, RetryAfter: 1500 * time.Millisecond}.Tell(h)
	var shown *tenancy.Error
	if !errors.As(err, &shown) || shown.Status != 429 || shown.Code != "too_many_requests" || shown.Message != "Global limit has been reached" ||
		shown.Header["Retry-After"] != "2" {
		t.Errorf("got %#v", err)
	}
	if h.Get("X-RateLimit-Limit") != "1000" || h.Get("X-RateLimit-Remaining") != "0" || h.Get("X-RateLimit-Reset") != "1800000000" {
		t.Errorf("headers %v", h)
	}
}

// A flood from ever new addresses takes no memory, and an address that is refused
// stays refused during it.
func TestRateLimitsAreBounded(t *testing.T) {
	l := tenancy.NewLimiter(tenancy.Rates{Address: tenancy.Rate{Requests: 5, Per: time.Hour}})
	guilty := func() tenancy.Quota { return l.Arrive("acme", "203.0.113.7", false, noon) }
	for guilty().RetryAfter == 0 {
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 1_000_000 {
		l.Arrive("acme", fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), false, noon)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("a million addresses left %d KiB", grown>>10)
	}
	if q := guilty(); q.RetryAfter == 0 {
		t.Errorf("the flood made the limiter forget who was refused: %+v", q)
	}
}

// Requests at the same time do not outrun the count.
func TestRateUnderARace(t *testing.T) {
	t.Parallel()
	l := tenancy.NewLimiter(tenancy.Rates{Tenant: tenancy.Rate{Requests: 100, Per: time.Hour}})
	var in atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if l.Arrive("acme", "203.0.113.7", false, noon).RetryAfter == 0 {
					in.Add(1)
				}
			}
		})
	}
	all.Wait()
	if in.Load() != 100 {
		t.Errorf("%d were let in, want 100", in.Load())
	}
}

func BenchmarkRateLimit(b *testing.B) {
	l := tenancy.NewLimiter(tenancy.DefaultRates)
	h := http.Header{}
	for b.Loop() {
		clear(h)
		_ = l.Arrive("acme", "203.0.113.7", false, noon).Tell(h)
	}
}
