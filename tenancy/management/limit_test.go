package management

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.13: what a token does is counted at the tenant it acts on, whichever host it
// was sent to, and told in the headers; one too many is 429 in envelope M.
func TestRateOfManagementAPI(t *testing.T) {
	t.Parallel()
	k := newKit(t)
	limiter := tenancy.NewLimiter(tenancy.Rates{Management: tenancy.Rate{Requests: 3, Per: time.Hour}})
	k.api.config.Limit = func(h http.Header, target, minting, client string) error {
		return limiter.Manage(target, minting, client, k.now).Tell(h)
	}
	acme, platform := machine("acme").token(), admin().token()
	for i, c := range []struct {
		host, token, header, left string
		status                    int
	}{
		{acmeHost, acme, "", "2", 200},
		{acmeHost, "", "", "", 401}, // nobody's
		{cpHost, platform, "acme", "1", 200},
		{acmeHost, acme, "", "0", 200},
		{acmeHost, acme, "", "0", 429},
		{cpHost, platform, "acme", "0", 429},
		{cpHost, platform, "widgets", "2", 200},
	} {
		var headers []string
		if c.header != "" {
			headers = []string{"tenant-id", c.header}
		}
		got := k.do("GET", c.host, "/roles", c.token, nil, headers...)
		if left := got.Header().Get("X-RateLimit-Remaining"); got.Code != c.status || left != c.left {
			t.Errorf("request %d, %+v: got %d, %q left: %s", i+1, c, got.Code, left, got.Body)
		}
		if c.status == 429 && (got.member("errorCode") != "too_many_requests" || got.member("message") != "Global limit has been reached" ||
			got.Header().Get("Retry-After") != "1200") {
			t.Errorf("request %d: %s %v", i+1, got.Body, got.Header())
		}
	}
}
