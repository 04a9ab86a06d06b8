package libsql_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func TestTursoConformance(t *testing.T) {
	p := newPlatform(t)
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return p.provider(t) })
}

func TestTursoConformanceFromTemplate(t *testing.T) {
	p := newPlatform(t)
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider {
		x := p.provider(t)
		x.Template = "template-of-" + x.Prefix
		return x
	})
}

var acme = tenancy.Location{Tenant: "acme"}

// TestPlatformErrors: each answer of the platform is one clear error that says
// what to do, at each call, and without the token.
func TestPlatformErrors(t *testing.T) {
	p := newPlatform(t)
	for _, c := range []struct {
		status int
		hint   string
	}{
		{http.StatusBadRequest, "whether the group and the template exist"},
		{http.StatusUnauthorized, "turso auth api-tokens mint"},
		{http.StatusPaymentRequired, "the plan allows no more"},
		{http.StatusForbidden, "needs to read, create and delete"},
		{http.StatusTooManyRequests, "no more requests for now"},
		{http.StatusInternalServerError, "can be reached"},
		{http.StatusBadGateway, "can be reached"},
		{http.StatusServiceUnavailable, "overloaded"},
		{http.StatusTeapot, "platform's status"},
	} {
		t.Run(http.StatusText(c.status), func(t *testing.T) {
			x := p.provider(t)
			must(t, x.Create(t.Context(), acme))
			p.set(func() { p.fault = func(*http.Request) int { return c.status } })
			defer p.set(func() { p.fault = nil })
			for what, err := range map[string]error{
				"creating": x.Create(t.Context(), tenancy.Location{Tenant: "new"}), "opening": opening(x, "acme"), "dropping": x.Drop(t.Context(), acme),
			} {
				unavailable(t, what, err, c.hint)
				if contains(err, platformToken) {
					t.Errorf("%s: the error holds the token: %v", what, err)
				}
			}
			p.set(func() {
				p.fault = func(r *http.Request) int {
					if strings.HasSuffix(r.URL.Path, "/auth/tokens") {
						return c.status
					}
					return 0
				}
			})
			unavailable(t, "minting", opening(x, "acme"), "")
		})
	}
}

// TestPlatformFindsNothing: what is not there is told apart from what is not
// allowed: no organization, no group, no database.
func TestPlatformFindsNothing(t *testing.T) {
	p := newPlatform(t)
	x := p.provider(t)
	unavailable(t, "opening", opening(x, "acme"), "none is made in its place")
	must(t, x.Drop(t.Context(), acme))
	x = p.provider(t)
	x.Group = "elsewhere"
	unavailable(t, "no such group", x.Create(t.Context(), acme), "group not found")
	x = p.provider(t)
	x.Organization = "nobody"
	unavailable(t, "no such organization", x.Create(t.Context(), acme), "the organization is spelled")
	x = p.provider(t)
	x.Token = "wrong"
	unavailable(t, "wrong token", x.Create(t.Context(), acme), "turso auth api-tokens mint")
}

// TestForeignGroup: a database of this name in another group is somebody else's.
func TestForeignGroup(t *testing.T) {
	p := newPlatform(t)
	one := p.provider(t)
	must(t, one.Create(t.Context(), acme))
	other := p.provider(t)
	other.Prefix, other.Group = one.Prefix, "other"
	unavailable(t, "creating", other.Create(t.Context(), acme), "is in group default")
	unavailable(t, "opening", opening(other, "acme"), "is in group default")
	unavailable(t, "dropping", other.Drop(t.Context(), acme), "is in group default")
	must(t, opening(one, "acme"))
}

// TestTokens: a database's token is minted once, replaced before its end, and at
// once when the database does not take it any more; while the platform does not
// answer, one that is still good is used on.
func TestTokens(t *testing.T) {
	p := newPlatform(t)
	x := p.provider(t)
	var clock struct {
		sync.Mutex
		time.Time
	}
	clock.Time = time.Now()
	later := func(d time.Duration) {
		clock.Lock()
		defer clock.Unlock()
		clock.Time = clock.Add(d)
	}
	x.Clock(func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		return clock.Time
	})
	must(t, x.Create(t.Context(), acme))
	before := p.count("POST auth/tokens")
	db, err := x.Open(t.Context(), acme)
	must(t, err)
	defer db.Close()
	read := func() error {
		rows, err := db.QueryContext(context.Background(), `SELECT 1`)
		if err == nil {
			err = rows.Close()
		}
		return err
	}
	minted := func(want int, what string) {
		t.Helper()
		if n := p.count("POST auth/tokens") - before; n != want {
			t.Errorf("%s: %d tokens were minted, want %d", what, n, want)
		}
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := read(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	minted(1, "at once")
	later(19 * time.Hour)
	must(t, read())
	minted(1, "within its time")
	later(2 * time.Hour)
	p.set(func() { p.fault = func(*http.Request) int { return http.StatusServiceUnavailable } })
	must(t, read())
	later(4 * time.Hour)
	unavailable(t, "with a token that has ended and no platform", read(), "overloaded")
	p.set(func() { p.fault, before = nil, p.calls["POST auth/tokens"] })
	must(t, read())
	minted(1, "when the platform is back")
	// A token that the database does not take is replaced, once.
	p.set(func() { p.forged = func(c map[string]any) { c["exp"] = 1 } })
	later(21 * time.Hour)
	unavailable(t, "with a token that is refused", read(), "does not take the token")
	p.set(func() { p.forged = nil })
	must(t, read())
}

// TestHalfMadeAtTurso: a database without tables is not opened; creating again
// fills it, dropping removes it.
func TestHalfMadeAtTurso(t *testing.T) {
	p := newPlatform(t)
	x := p.provider(t)
	name := x.Prefix + "-acme"
	make := func() {
		p.set(func() {
			p.groups[name] = "default"
			p.admin(http.MethodPost, name+"/create")
		})
	}
	make()
	unavailable(t, "opening", opening(x, "acme"), "half made")
	must(t, x.Create(t.Context(), acme))
	must(t, opening(x, "acme"))
	must(t, x.Drop(t.Context(), acme))
	make()
	must(t, x.Drop(t.Context(), acme))
	if err := opening(x, "acme"); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Error(err)
	}
	p.set(func() {
		if len(p.groups) != 0 {
			t.Errorf("left: %v", p.groups)
		}
	})
}

// TestLateAtTurso: a database that the platform has made and that does not answer
// yet is waited for when it is created, and never taken for a missing one.
func TestLateAtTurso(t *testing.T) {
	p := newPlatform(t)
	x := p.provider(t)
	p.set(func() { p.late = 150 * time.Millisecond })
	must(t, x.Create(t.Context(), acme))
	must(t, opening(x, "acme"))
	p.set(func() { p.groups[x.Prefix+"-never"] = "default" })
	never := tenancy.Location{Tenant: "never"}
	unavailable(t, "opening", opening(x, "never"), "not ready yet")
	unavailable(t, "dropping", x.Drop(t.Context(), never), "not ready yet")
	unavailable(t, "creating", x.Create(t.Context(), never), "not ready yet")
}
