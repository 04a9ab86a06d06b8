package tenancy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.99: what a tenant says of its protection decides what is counted, by what and
// how often; another tenant's logins are not concerned.
func TestProtection(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ada := tenancy.Attempt{Connection: "db", Identifier: "ada@example.com", UserID: "auth0|ada", IP: "203.0.113.7"}
	elsewhere := ada
	elsewhere.IP = "198.51.100.1"
	for _, tt := range []struct {
		name       string
		change     func(*tenancy.Protection)
		let, again int // attempts that are let through, of 120, and then of 5 from elsewhere
		blocks     bool
	}{
		{"as it is", func(*tenancy.Protection) {}, 10, 5, true},
		{"fewer", func(p *tenancy.Protection) { p.BruteForce.MaxAttempts = 3 }, 3, 3, true},
		{"whatever the address", func(p *tenancy.Protection) { p.BruteForce.Mode = tenancy.CountByIdentifier }, 10, 0, true},
		{"told, not refused", func(p *tenancy.Protection) { p.BruteForce.Shields = []string{tenancy.ShieldNotify} }, 100, 5, true},
		{"off", func(p *tenancy.Protection) { p.BruteForce.Enabled = false }, 100, 5, false},
		{"both off", func(p *tenancy.Protection) { p.BruteForce.Enabled, p.Throttling.Enabled = false, false }, 120, 5, false},
		{"throttled sooner", func(p *tenancy.Protection) { p.BruteForce.Enabled, p.Throttling.MaxAttempts = false, 20 }, 20, 5, false},
		{"an address let in", func(p *tenancy.Protection) {
			p.BruteForce.Allowlist, p.Throttling.Allowlist = []string{"203.0.113.0/24"}, []string{"203.0.113.7"}
		}, 120, 5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inside, other := twoTenants(t)
			if err := tenancy.ChangeProtection(inside, func(p *tenancy.Protection) error { tt.change(p); return nil }); err != nil {
				t.Fatal(err)
			}
			count := func(ctx context.Context, a tenancy.Attempt, times int) (let int) {
				for range times {
					switch err := a.Count(ctx, now); {
					case err == nil:
						let++
					case !errors.Is(err, tenancy.ErrTooManyAttempts):
						t.Fatal(err)
					}
				}
				return let
			}
			if let := count(inside, ada, 120); let != tt.let {
				t.Errorf("%d attempts were let through, want %d", let, tt.let)
			}
			if blocks, err := ada.Blocks(inside, now); blocks != tt.blocks || err != nil {
				t.Errorf("it is announced: %t, %v", blocks, err)
			}
			if let := count(inside, elsewhere, 5); let != tt.again {
				t.Errorf("%d attempts from elsewhere were let through, want %d", let, tt.again)
			}
			if err := tenancy.Commit(inside, ada.Right(inside)...); err != nil {
				t.Errorf("a right password: %v", err)
			}
			if err := tenancy.Commit(inside, tenancy.Unblock(inside, "auth0|ada")); err != nil {
				t.Fatal(err)
			}
			if let := count(other, ada, 120); let != 10 {
				t.Errorf("another tenant lets %d through", let)
			}
		})
	}
}
