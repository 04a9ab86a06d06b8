package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C9.42, C5.99.
func TestAttempts(t *testing.T) {
	t.Parallel()
	acme, widgets := twoTenants(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := tenancy.Attempt{Connection: "db", Identifier: "ada@example.com", UserID: "auth0|ada", IP: "203.0.113.7"}
	for i := range tenancy.MaxAttempts {
		if blocks, err := a.Blocks(acme, now); err != nil || blocks {
			t.Fatalf("after %d attempts: blocks %v, %v", i, blocks, err)
		}
		if err := a.Count(acme, now); err != nil {
			t.Fatalf("attempt %d = %v", i+1, err)
		}
	}
	if err := a.Count(acme, now); !errors.Is(err, tenancy.ErrTooManyAttempts) {
		t.Errorf("attempt 11 = %v, want ErrTooManyAttempts", err)
	}
	for i, want := range []bool{true, false} {
		if got, err := a.Blocks(acme, now); err != nil || got != want {
			t.Errorf("announcement %d = %v, %v, want %v", i+1, got, err, want)
		}
	}
	byName := a
	byName.Identifier = "ada" // the same user by username
	if err := byName.Count(acme, now); !errors.Is(err, tenancy.ErrTooManyAttempts) {
		t.Errorf("the same user by another name = %v, want ErrTooManyAttempts", err)
	}
	elsewhere, other := a, a
	elsewhere.IP, other.UserID = "203.0.113.8", "auth0|bob"
	for name, err := range map[string]error{
		"the same user in another tenant":    a.Count(widgets, now),
		"the same user from another address": elsewhere.Count(acme, now),
		"another user":                       other.Count(acme, now),
		"after the block":                    a.Count(acme, now.Add(tenancy.AttemptBlock)),
	} {
		if err != nil {
			t.Errorf("%s = %v, want nil", name, err)
		}
	}
}

func TestAttemptsStartOver(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	now := time.Now()
	a := tenancy.Attempt{Connection: "db", UserID: "auth0|ada", IP: "203.0.113.7"}
	exhaust := func() {
		t.Helper()
		for a.Count(acme, now) == nil {
		}
	}
	exhaust()
	if err := tenancy.Commit(acme, a.Right(acme)...); err != nil {
		t.Fatal(err)
	}
	if err := a.Count(acme, now); err != nil {
		t.Errorf("after a right password = %v, want nil", err)
	}
	exhaust()
	if err := a.Uncount(acme); err != nil {
		t.Fatal(err)
	}
	if err := a.Count(acme, now); err != nil {
		t.Errorf("after one was taken back = %v, want nil", err)
	}
	exhaust()
	setPassword(t, acme, "auth0|ada", "new")
	if err := a.Count(acme, now); err != nil {
		t.Errorf("after the password was changed = %v, want nil", err)
	}
}

func TestAttemptsOfOneIPv6NetworkCountTogether(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	a := tenancy.Attempt{Connection: "db", Identifier: "nobody@example.com", IP: "2001:db8:1:2::1"}
	for a.Count(acme, time.Now()) == nil {
	}
	a.IP = "2001:db8:1:2:ffff::9"
	if err := a.Count(acme, time.Now()); !errors.Is(err, tenancy.ErrTooManyAttempts) {
		t.Errorf("from the same /64 = %v, want ErrTooManyAttempts", err)
	}
	a.Identifier = " Nobody@Example.com "
	if err := a.Count(acme, time.Now()); !errors.Is(err, tenancy.ErrTooManyAttempts) {
		t.Errorf("in other letters = %v, want ErrTooManyAttempts", err)
	}
	a.IP = "2001:db8:1:3::1"
	if err := a.Count(acme, time.Now()); err != nil {
		t.Errorf("from another /64 = %v, want nil", err)
	}
}

// Guesses at the same time do not outrun the count (Keycloak CVE-2024-4629).
func TestParallelAttemptsDoNotBeatTheCounter(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	a := tenancy.Attempt{Connection: "db", UserID: "auth0|ada", IP: "203.0.113.7"}
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() { errs[i] = a.Count(acme, time.Now()) })
	}
	wg.Wait()
	let := 0
	for _, err := range errs {
		switch {
		case err == nil:
			let++
		case !errors.Is(err, tenancy.ErrTooManyAttempts):
			t.Errorf("attempt = %v", err)
		}
	}
	if let != tenancy.MaxAttempts {
		t.Errorf("%d of 50 attempts at the same time were let through, want %d", let, tenancy.MaxAttempts)
	}
}

// C5.99, A28: one password tried on many names has an address pause, whoever the
// names are; right passwords do not add up, and the neighbour has a count of its own.
func TestAttemptsOfAnAddress(t *testing.T) {
	t.Parallel()
	acme, widgets := twoTenants(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	of := func(i int) tenancy.Attempt {
		return tenancy.Attempt{Connection: "db", Identifier: fmt.Sprintf("nobody%d@example.com", i), IP: "203.0.113.7"}
	}
	right := tenancy.Attempt{Connection: "db", UserID: "auth0|ada", IP: "203.0.113.7"}
	for i := range tenancy.MaxAddressAttempts {
		if err := right.Count(acme, now); err != nil {
			t.Fatalf("right password %d = %v", i+1, err)
		}
		if err := tenancy.Commit(acme, right.Right(acme)...); err != nil {
			t.Fatal(err)
		}
		if err := of(i).Count(acme, now); err != nil {
			t.Fatalf("name %d = %v", i+1, err)
		}
	}
	for name, a := range map[string]tenancy.Attempt{"another name": of(-1), "a user": right} {
		if err := a.Count(acme, now); !errors.Is(err, tenancy.ErrTooManyAttempts) {
			t.Errorf("%s = %v, want ErrTooManyAttempts", name, err)
		}
	}
	rows, err := tenancy.Attempts.Count(acme, tenancy.Filter{})
	if err != nil || rows != tenancy.MaxAddressAttempts+1 {
		t.Errorf("%d rows, %v; what is refused leaves none", rows, err)
	}
	elsewhere := right
	elsewhere.IP = "203.0.113.8"
	for name, err := range map[string]error{
		"another address": elsewhere.Count(acme, now),
		"another tenant":  right.Count(widgets, now),
		"after the pause": right.Count(acme, now.Add(tenancy.AddressPause)),
	} {
		if err != nil {
			t.Errorf("%s = %v, want nil", name, err)
		}
	}
	if err := of(-1).Uncount(acme); err != nil { // of a name that was never counted
		t.Fatal(err)
	}
}

// However many addresses made-up names come from, a tenant keeps the counts that
// were used last, of each user and of those who are nobody.
func TestAttemptsAreTrimmed(t *testing.T) {
	t.Parallel()
	acme, widgets := twoTenants(t)
	began := time.Now()
	for i := range 20 {
		for _, ctx := range []context.Context{acme, widgets} {
			for _, user := range []string{"", "auth0|ada"} {
				a := tenancy.Attempt{Connection: "db", Identifier: fmt.Sprint("nobody", i), UserID: user, IP: fmt.Sprintf("203.0.113.%d", i)}
				if err := a.Count(ctx, began.Add(time.Duration(i)*time.Second)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	count := func(ctx context.Context, user string) int64 {
		t.Helper()
		n, err := tenancy.Attempts.Count(ctx, tenancy.Filter{Where: "user_id = ?", Args: []any{user}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, user := range []string{"", "auth0|ada"} {
		if err := tenancy.TrimAttempts(acme, user, 5); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(acme, "auth0|ada"); n != 5 {
		t.Errorf("%d of the user's counts are left, want 5", n)
	}
	if n := count(acme, ""); n < 5 || n > 8 { // the last two seconds' addresses and names
		t.Errorf("%d nameless counts are left, want about 5", n)
	}
	if n := count(widgets, ""); n != 40 {
		t.Errorf("%d counts of the neighbour's are left, want all 40", n)
	}
	last := tenancy.Attempt{Connection: "db", Identifier: "nobody19", UserID: "", IP: "203.0.113.19"}
	for range tenancy.MaxAttempts - 1 {
		if err := last.Count(acme, began.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Count(acme, began.Add(time.Minute)); !errors.Is(err, tenancy.ErrTooManyAttempts) {
		t.Errorf("the last one's count was forgotten: %v", err)
	}
}
