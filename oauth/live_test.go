package oauth

import (
	"context"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestVerifyLive: what this process ends is over at once, what another one ends
// within a second, in this tenant and in no other (C3.31).
func TestVerifyLive(t *testing.T) {
	t.Parallel()
	remove := func(table string) func(*fixture, context.Context, *Claims) {
		return func(f *fixture, ctx context.Context, _ *Claims) { // as another process does it
			f.must(tenancy.Commit(ctx, tenancy.SQL(ctx, "DELETE FROM "+table+" WHERE tenant_id = @tenant")))
			f.clock.advance(time.Second)
		}
	}
	for name, end := range map[string]func(*fixture, context.Context, *Claims){
		"session ended": func(f *fixture, ctx context.Context, c *Claims) {
			f.must(f.server.EndSession(ctx, c.SessionID, tenancy.SessionRevoked))
		},
		"member removed": func(f *fixture, ctx context.Context, c *Claims) {
			f.must(tenancy.Commit(ctx, tenancy.RemoveMember(ctx, c.OrgID, c.Subject)...))
		},
		"user blocked": func(f *fixture, ctx context.Context, c *Claims) {
			f.block("acme", c.Subject, true)
			f.must(tenancy.Commit(ctx, tenancy.EndAccess(ctx, c.Subject, tenancy.SessionRevoked)...))
		},
		"user removed": func(f *fixture, ctx context.Context, c *Claims) {
			f.must(tenancy.Commit(ctx, tenancy.RemoveUser(ctx, c.Subject)...))
		},
		"session expired":           func(f *fixture, _ context.Context, _ *Claims) { f.clock.advance(80 * time.Hour) },
		"session removed elsewhere": remove("sessions"),
		"member removed elsewhere":  remove("members"),
		"user removed elsewhere":    remove("users"),
		"user blocked elsewhere": func(f *fixture, _ context.Context, c *Claims) {
			f.block("acme", c.Subject, true)
			f.clock.advance(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			var kept, over string
			for _, tenant := range []string{"widgets", "acme"} {
				kept, over = over, f.browser(tenant).tokens(ada, "organization", "org_1", "audience", orders)["access_token"].(string)
			}
			verify := func(tenant, token string) (*Claims, error) {
				return f.server.VerifyLive(f.in(tenant), []string{issuerOf(tenant)}, token)
			}
			claims, err := verify("acme", over)
			if err != nil || claims.SessionID == "" || claims.OrgID != "org_1" {
				t.Fatalf("%+v, %v", claims, err)
			}
			if _, err := verify("widgets", kept); err != nil {
				t.Fatal(err)
			}
			end(f, f.in("acme"), claims)
			for range 2 {
				if _, err := verify("acme", over); tenancy.StatusOf(err) != 401 {
					t.Errorf("got %v, want a refusal", err)
				}
			}
			if name == "session expired" {
				return
			}
			if _, err := verify("widgets", kept); err != nil {
				t.Errorf("the other tenant's: %v", err)
			}
		})
	}
}

// TestVerifyLiveCosts: a repeated token asks the database once a second.
func TestVerifyLiveCosts(t *testing.T) {
	f := newFixture(t)
	ctx, issuers := f.in("acme"), []string{issuerOf("acme")}
	token := f.browser("acme").tokens(ada, "audience", orders)["access_token"].(string)
	verify := func() (statements int64) {
		t.Helper()
		before := f.meter.sql()
		_, err := f.server.VerifyLive(ctx, issuers, token)
		f.must(err)
		return f.meter.sql() - before
	}
	if n := verify(); n != 2 {
		t.Errorf("first: %d statements, want that of revoked tokens and that of the user", n)
	}
	if n := verify(); n != 0 {
		t.Errorf("again: %d statements", n)
	}
	robot := f.machineToken("acme").ok().text("access_token")
	before := f.meter.sql()
	_, err := f.server.VerifyLive(ctx, issuers, robot)
	f.must(err)
	if n := f.meter.sql() - before; n != 0 {
		t.Errorf("the first token of a machine, where nothing was revoked: %d statements", n)
	}
	f.clock.advance(time.Second)
	if n := verify(); n != 2 {
		t.Errorf("a second later: %d statements", n)
	}
}
