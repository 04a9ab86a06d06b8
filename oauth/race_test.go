package oauth

import (
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	racers = 16
	races  = 200
)

// Of 16 parallel redemptions of each of 200 codes exactly one wins: RFC 6749
// section 4.1.2 ("the client MUST NOT use the authorization code more than
// once"), contract C4.37.
func TestRaceCodes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.JWT.Alg = "EdDSA" })
	f.useAlg("acme", "rs_orders", "EdDSA")
	for range races {
		code := f.code("acme", codeFor{audience: orders})
		f.race(func(int) *reply { return f.redeem("acme", code) }, "Invalid authorization code")
	}
}

// The same of refresh tokens: RFC 9700 section 4.14.2, contract C4.39.
func TestRaceRefreshTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.JWT.Alg = "EdDSA" })
	f.useAlg("acme", "rs_orders", "EdDSA")
	for range races {
		token := f.refreshToken("acme", codeFor{audience: orders})
		f.race(func(int) *reply { return f.refresh("acme", token) }, badRefresh)
	}
}

// With a leeway every one of the racers is a tab of the same browser: all get
// tokens, all different.
func TestRaceWithinLeeway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.RefreshToken.Leeway, c.JWT.Alg = 60, "EdDSA" })
	f.useAlg("acme", "rs_orders", "EdDSA")
	token := f.refreshToken("acme", codeFor{audience: orders})
	answers := f.together(func(int) *reply { return f.refresh("acme", token) })
	seen := make(map[string]bool)
	for _, a := range answers {
		seen[a.ok().text("refresh_token")] = true
	}
	if len(seen) != racers {
		t.Errorf("%d different tokens for %d racers", len(seen), racers)
	}
}

// Many rotate one family's tokens and one logs out: afterwards nothing of the
// family lives.
func TestRaceRevocation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.RefreshToken.Leeway, c.JWT.Alg = 60, "EdDSA" })
	f.useAlg("acme", "rs_orders", "EdDSA")
	for range 20 {
		token := f.refreshToken("acme", codeFor{audience: orders})
		answers := f.together(func(i int) *reply {
			if i == racers/2 {
				return f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", token)
			}
			return f.refresh("acme", token)
		})
		for _, a := range answers {
			if next := a.text("refresh_token"); next != "" {
				f.refresh("acme", next).refused(400, "invalid_grant", badRefresh)
			} else if a.status >= 500 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
}

// race has all racers do the same and demands one winner.
func (f *fixture) race(do func(int) *reply, loser string) {
	f.t.Helper()
	won := 0
	for _, a := range f.together(do) {
		if a.status == 200 {
			won++
			continue
		}
		a.refused(400, "invalid_grant", loser)
	}
	if won != 1 {
		f.t.Fatalf("%d winners", won)
	}
}

// together runs all racers at once.
func (f *fixture) together(do func(int) *reply) []*reply {
	answers := make([]*reply, racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			answers[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// useAlg has a resource server's tokens signed with the algorithm.
func (f *fixture) useAlg(tenant, id, alg string) {
	f.t.Helper()
	_, err := tenancy.ResourceServers.Update(f.in(tenant), id, func(rs *tenancy.ResourceServer) error { rs.SigningAlg = alg; return nil })
	f.must(err)
}
