package oauth

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.13: requests of a client that proved who it is are counted, at every endpoint
// where clients do, and refused with envelope A; nobody can use up another's limit
// by naming it, and the same client of another tenant has its own.
func TestRateOfAClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limiter := tenancy.NewLimiter(tenancy.Rates{Client: tenancy.Rate{Requests: 4, Per: time.Hour}})
	f.server.limit = func(ctx context.Context, h http.Header, client string) error {
		tenant, err := tenancy.Current(ctx)
		if err != nil {
			return err
		}
		return limiter.Client(tenant.ID, client, f.clock.now()).Tell(h)
	}
	for range 10 {
		f.machineToken("acme", "client_secret", "wrong").refused(401, "invalid_client", "*")
		f.ask("acme", "/oauth/revoke", "client_id", spaID, "token", "unknown").ok()
	}
	for range 4 {
		f.machineToken("acme").ok()
	}
	got := f.machineToken("acme").refused(429, "too_many_requests", "Global limit has been reached")
	if got.header.Get("Retry-After") != "900" || got.header.Get("X-RateLimit-Limit") != "4" || got.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("headers %v", got.header)
	}
	if e := f.events.last("feccft"); e == nil || e.Description == "Global limit has been reached" {
		t.Errorf("a refusal is in the tenant's log, which a flood then fills: %+v", e)
	}
	f.machineToken("widgets").ok()

	token := f.redeem("widgets", f.code("widgets", codeFor{client: webID}), "client_id", webID, "client_secret", webSecret).ok().text("access_token")
	for range 3 {
		f.introspect("widgets", token)
	}
	for path, pairs := range map[string][]string{
		"/oauth/introspect": {"token", token},
		"/oauth/revoke":     {"token", token},
		"/oauth/par":        {"redirect_uri", callback, "response_type", "code"},
		"/oauth/token":      {"grant_type", grantClientCredentials, "audience", orders},
		pathDevice:          {"scope", "openid"},
	} {
		answer := f.ask("widgets", path, append(pairs, "client_id", webID, "client_secret", webSecret)...)
		answer.refused(429, "too_many_requests", "Global limit has been reached")
	}
}
