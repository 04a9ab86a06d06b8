package management

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.96: the address is of the tenant acted on, and its token of that tenant alone.
func TestTickets(t *testing.T) {
	k := newKit(t)
	k.inside("acme", func(ctx context.Context) {
		k.must(tenancy.WriteSettings(ctx, map[string]json.RawMessage{"allowed_logout_urls": json.RawMessage(`["https://app.acme.test/done"]`)}, false))
	})
	own := machine("acme")
	works := func(kind, tenant string) func(*testing.T, answered) {
		return func(t *testing.T, a answered) {
			u, err := url.Parse(a.text("ticket"))
			if err != nil || u.Host != tenant+".auth.example.com" || !strings.HasPrefix(u.Path, "/u/") {
				t.Fatalf("ticket %s, %v", a.text("ticket"), err)
			}
			for _, id := range []string{"acme", "widgets"} {
				k.inside(id, func(ctx context.Context) {
					_, user, err := tenancy.TicketOf(ctx, u.Query().Get("ticket"), kind, tenancy.At(k.now))
					if good := err == nil && user.ID == sameUser; good != (id == tenant) {
						t.Errorf("in %s: %v", id, err)
					}
				})
			}
		}
	}
	const verify, reset = "/tickets/email-verification", "/tickets/password-change"
	post := func(name, path string, body map[string]any, status int, holds string, check func(*testing.T, answered)) scenario {
		return scenario{name: name, token: own, method: "POST", path: path, body: body, status: status, holds: holds, check: check}
	}
	type m = map[string]any
	k.run([]scenario{
		post("verification", verify, m{"user_id": sameUser, "ttl_sec": 60}, 201, "/u/email-verification?ticket=", works(tenancy.TicketVerifyEmail, "acme")),
		post("password", reset, m{"user_id": sameUser, "organization_id": sameOrg, "result_url": "https://app.acme.test/done"}, 201, "/u/reset-password?ticket=", works(tenancy.TicketChangePassword, "acme")),
		post("by address", reset, m{"email": "SAME@acme.test", "connection_id": sameConn}, 201, "/u/reset-password", works(tenancy.TicketChangePassword, "acme")),
		{
			name: "from the control plane", host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, method: "POST", path: verify,
			body: m{"user_id": sameUser}, status: 201, check: works(tenancy.TicketVerifyEmail, "acme"),
		},
		post("nobody", verify, m{"user_id": "auth0|nobody"}, 400, "inexistent_user", nil),
		post("another tenant's user", verify, m{"user_id": only("auth0|", "widgets")}, 400, "inexistent_user", nil),
		post("no user", verify, m{}, 400, "Missing required property: user_id", nil),
		post("both", reset, m{"user_id": sameUser, "email": "same@acme.test", "connection_id": sameConn}, 400, "Either user_id or", nil),
		post("no connection", reset, m{"email": "same@acme.test"}, 400, "Missing required property", nil),
		post("longer than five days", verify, m{"user_id": sameUser, "ttl_sec": 432001}, 400, "greater than maximum", nil),
		post("not registered", verify, m{"user_id": sameUser, "result_url": "https://evil.test/"}, 400, "registered neither", nil),
		post("no member", verify, m{"user_id": sameUser, "organization_id": only("org_", "acme")}, 400, "not a member", nil),
		post("unknown client", verify, m{"user_id": sameUser, "client_id": "nope"}, 400, "inexistent_client", nil),
		post("unknown member", verify, m{"user_id": sameUser, "foo": 1}, 400, "Additional properties", nil),
	})
	// C5.83: another address ends what was sent to the one before.
	k.play(scenario{token: own, method: "PATCH", path: "/users/auth0%7Csame", body: `{"email":"other@acme.test"}`, status: 200})
	k.inside("acme", func(ctx context.Context) {
		if n, err := tenancy.Tickets.Count(ctx, tenancy.Filter{}); n != 0 || err != nil {
			t.Errorf("%d tickets are left, %v", n, err)
		}
	})
}

// C5.82: "verify_email" has a mail sent, whose link is of the tenant.
func TestVerifyEmailOfNewUsers(t *testing.T) {
	k := newKit(t)
	create := func(email, more string) scenario {
		return scenario{
			host: cpHost, token: admin(), header: []string{"tenant-id", "acme"}, method: "POST", path: "/users",
			body: `{"connection":"db","email":"` + email + `"` + more + `}`, status: 201,
		}
	}
	k.run([]scenario{
		create("one@acme.test", `,"verify_email":true`), create("two@acme.test", ""),
		create("three@acme.test", `,"verify_email":true,"email_verified":true`), create("four@acme.test", `,"verify_email":false`),
	})
	if len(k.mails.list) != 1 {
		t.Fatalf("%d mails, want 1", len(k.mails.list))
	}
	m := k.mails.list[0]
	if m.To != "one@acme.test" || m.Kind != "verify_email" || m.Tenant != "acme" || !strings.HasPrefix(m.Link, "https://acme.auth.example.com/u/email-verification?ticket=") {
		t.Errorf("mail %+v", m)
	}
}
