package management

import (
	"context"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.99: shapes, defaults, refusals, and the effect in this tenant alone.
func TestAttackProtection(t *testing.T) {
	k := newKit(t)
	own, other := machine("acme"), machine("widgets")
	const brute, throttle = "/attack-protection/brute-force-protection", "/attack-protection/suspicious-ip-throttling"
	const first = `{"enabled":true,"shields":["block","user_notification"],"mode":"count_per_identifier_and_ip","allowlist":[],"max_attempts":10}`
	k.run([]scenario{
		{name: "as it is", token: own, path: brute, status: 200, holds: first},
		{name: "throttling as it is", token: own, path: throttle, status: 200, holds: `{"enabled":true,"shields":["block"],"allowlist":[],"max_attempts":100}`},
		{name: "changed", token: own, method: "PATCH", path: brute, body: `{"max_attempts":3,"allowlist":["203.0.113.0/24","2001:db8::1"]}`, status: 200, holds: `"max_attempts":3`},
		{name: "the rest stayed", token: own, path: brute, status: 200, holds: `{"enabled":true,"shields":["block","user_notification"],"mode":"count_per_identifier_and_ip","allowlist":["203.0.113.0/24","2001:db8::1"],"max_attempts":3}`},
		{name: "read, and written back", token: own, method: "PATCH", path: brute, body: first, status: 200, holds: first},
		{name: "elsewhere it did not change", token: other, host: widgetsHost, path: brute, status: 200, holds: first},
		{name: "too few", token: own, method: "PATCH", path: brute, body: `{"max_attempts":0}`, status: 400},
		{name: "too many", token: own, method: "PATCH", path: brute, body: `{"max_attempts":101}`, status: 400},
		{name: "no shield", token: own, method: "PATCH", path: brute, body: `{"shields":["nothing"]}`, status: 400},
		{name: "no mode", token: own, method: "PATCH", path: brute, body: `{"mode":"never"}`, status: 400},
		{name: "no network", token: own, method: "PATCH", path: brute, body: `{"allowlist":["203.0.113.7/24"]}`, status: 400},
		{name: "no member", token: own, method: "PATCH", path: brute, body: `{"x":1}`, status: 400},
		{name: "a mode where there are none", token: own, method: "PATCH", path: throttle, body: `{"mode":"count_per_identifier"}`, status: 400},
		{name: "switched off", token: own, method: "PATCH", path: throttle, body: `{"enabled":false}`, status: 200, holds: `"enabled":false`},
		{name: "settings do not show it", token: own, path: "/tenants/settings?view=own", status: 200, lacks: "max_attempts"},
		{name: "nobody is let in again who is not there", token: own, method: "DELETE", path: "/user-blocks/auth0%7Cnobody", status: 404, says: "User not found"},
	})
	user := only("auth0|", "acme")
	a := tenancy.Attempt{Connection: "db", UserID: user, IP: "192.0.2.9"}
	tries := func(want error) {
		t.Helper()
		k.inside("acme", func(ctx context.Context) {
			if err := a.Count(ctx, time.Now()); err != want {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
	k.play(scenario{token: own, method: "PATCH", path: brute, body: `{"max_attempts":1}`, status: 200})
	tries(nil)
	tries(tenancy.ErrTooManyAttempts)
	k.play(scenario{token: own, method: "DELETE", path: "/user-blocks/auth0%7C" + user[len("auth0|"):], status: 204})
	tries(nil)
}
