package management

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func TestUsers(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	user := "/users/auth0%7Csame"
	permission := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": apiName, "permission_name": "read:orders"}}}
	alive := func(want bool) func(t *testing.T, _ answered) {
		return func(t *testing.T, _ answered) {
			for _, path := range []string{"/sessions/ses_same", "/refresh-tokens/rt_same"} {
				if got := k.do("GET", acmeHost, path, own.token(), nil).Code == http.StatusOK; got != want {
					t.Errorf("%s alive: %v, want %v", path, got, want)
				}
			}
		}
	}
	k.run([]scenario{
		{
			name: "created", token: own, method: "POST", path: "/users", body: `{"connection":"db","user_id":"mine","email":"New@Acme.Test","password":"Pass-w0rd-123","username":"Neo"}`, status: 201,
			lacks: "Pass-w0rd", check: func(t *testing.T, a answered) {
				for member, want := range map[string]string{"user_id": "auth0|mine", "email": "new@acme.test", "username": "neo", "name": "new@acme.test", "nickname": "new"} {
					if a.text(member) != want {
						t.Errorf("%s = %q, want %q", member, a.text(member), want)
					}
				}
				if a.text("identities", 0, "provider") != "auth0" || a.text("identities", 0, "user_id") != "mine" {
					t.Errorf("identities %v", a.member("identities"))
				}
				k.inside("acme", func(ctx context.Context) {
					if _, err := tenancy.CheckPassword(ctx, "auth0|mine", "Pass-w0rd-123"); err != nil {
						t.Errorf("password: %v", err)
					}
				})
			},
		},
		{
			name: "weak password", token: own, method: "POST", path: "/users", body: `{"connection":"db","email":"w@acme.test","password":"weak"}`, status: 400,
			says: "PasswordStrengthError: Password is too weak",
		},
		{name: "which made nobody", token: own, path: "/users-by-email?email=w@acme.test", status: 200, holds: "[]"},
		{name: "unknown connection", token: own, method: "POST", path: "/users", body: `{"connection":"nope","email":"w@acme.test"}`, status: 400, code: "inexistent_connection"},
		{name: "no connection", token: own, method: "POST", path: "/users", body: `{"email":"w@acme.test"}`, status: 400},
		{name: "no address", token: own, method: "POST", path: "/users", body: `{"connection":"db"}`, status: 400},
		{name: "not an address", token: own, method: "POST", path: "/users", body: `{"connection":"db","email":"nope"}`, status: 400},
		{name: "imported hash", token: own, method: "POST", path: "/users", body: `{"connection":"db","email":"h@acme.test","password_hash":"plain"}`, status: 400},
		{name: "by e-mail in any case", token: own, path: "/users-by-email?email=SAME%40acme.TEST", status: 200, holds: `"user_id":"auth0|same"`},
		{name: "metadata merges", token: own, method: "PATCH", path: user, body: `{"user_metadata":{"a":{"x":1},"b":2}}`, status: 200},
		{
			name: "metadata loses a key", token: own, method: "PATCH", path: user, body: `{"user_metadata":{"a":null,"c":[1]}}`, status: 200, holds: `"user_metadata":{"b":2,"c":[1]}`,
			check: alive(true),
		},
		{name: "permissions", token: own, method: "POST", path: user + "/permissions", body: permission, status: 201, holds: "{}"},
		{name: "roles", token: own, method: "POST", path: user + "/roles", body: map[string]any{"roles": []string{sameRole}}, status: 204},
		{name: "role's permissions", token: own, method: "POST", path: "/roles/" + sameRole + "/permissions", body: permission, status: 201},
		{
			name: "permissions with sources", token: own, path: user + "/permissions?include_totals=true", status: 200,
			holds: `"sources":[{"source_id":"","source_name":"","source_type":"DIRECT"},{"source_id":"rol_same","source_name":"Same of acme","source_type":"ROLE"}]`,
		},
		{name: "permission removed", token: own, method: "DELETE", path: user + "/permissions", body: permission, status: 204},
		{name: "role removed", token: own, method: "DELETE", path: user + "/roles", body: map[string]any{"roles": []string{sameRole}}, status: 204},
		{name: "no permissions", token: own, path: user + "/permissions", status: 200, holds: "[]"},
		{name: "sessions", token: own, path: user + "/sessions", status: 200, holds: `{"sessions":[{"id":"ses_same"`, lacks: "hash"},
		{name: "refresh tokens", token: own, path: user + "/refresh-tokens", status: 200, holds: `{"tokens":[{"id":"rt_same"`, lacks: "hash"},
		{name: "new address is not verified", token: own, method: "PATCH", path: user, body: `{"email":"other@acme.test"}`, status: 200, holds: `"email_verified":false`, check: alive(false)},
		{name: "blocked", token: own, method: "PATCH", path: user, body: `{"blocked":true}`, status: 200, holds: `"blocked":true`},
		{name: "deleted", token: own, method: "DELETE", path: user, status: 204},
		{name: "is gone", token: own, path: user, status: 404, code: "inexistent_user", says: "User not found"},
		{name: "a colon is no separator", token: own, path: "/users/auth0%2Fsame", status: 404},
	})
}

// TestUserSearch is C5.84 and C9.48.
func TestUserSearch(t *testing.T) {
	k := newKit(t)
	k.inside("acme", func(ctx context.Context) {
		for _, u := range []tenancy.User{
			{Row: tenancy.Row{ID: "auth0|1"}, Email: "jane@x.test", Name: "Jane Doe", EmailVerified: true, LoginsCount: 3, AppMetadata: map[string]any{"plan": "pro", "seats": 5.0}},
			{Row: tenancy.Row{ID: "auth0|2"}, Email: "john@x.test", Name: "John Doe", Blocked: true, LoginsCount: 7, AppMetadata: map[string]any{"plan": "free", "tags": []any{"a", "b"}}},
			{Row: tenancy.Row{ID: "auth0|3"}, Email: "joe_1@x.test", Name: `Joe "J" O'R)`, UserMetadata: map[string]any{"deep": map[string]any{"er": "Yes"}}},
		} {
			u.Connection = "search"
			k.must(tenancy.Users.Create(ctx, &u))
		}
	})
	for q, want := range map[string]string{
		`email:"jane@x.test"`:                            "1",
		`email:JANE@x.test`:                              "1",
		`email:jo*`:                                      "2 3",
		`name:"jane doe"`:                                "1",
		`name:J* AND NOT name:"john doe"`:                "1 3",
		`(email:jane* OR email:john*) AND blocked:true`:  "2",
		`logins_count:[3 TO 6]`:                          "1",
		`logins_count:[4 TO *]`:                          "2",
		`logins_count:7`:                                 "2",
		`email_verified:true`:                            "1",
		`user_id:"auth0|2"`:                              "2",
		`identities.connection:"search" AND email:joe*`:  "3",
		`created_at:[2020-01-01 TO *] AND blocked:false`: "1 3",
		`app_metadata.plan:"pro"`:                        "1",
		`app_metadata.tags:b`:                            "2",
		`app_metadata.seats:[4 TO 6]`:                    "1",
		`NOT app_metadata.plan:pro AND email:jo*`:        "2 3",
		`_exists_:user_metadata.deep.er`:                 "3",
		`user_metadata.deep.er:yes`:                      "3",
		`name:"joe \"j\" o'r)"`:                          "3",
		`email:"joe%"`:                                   "",
		`email:joe_1@x.test`:                             "3",
		`email:joe\_*`:                                   "3",
		`name:"x' OR '1'='1"`:                            "",
	} {
		t.Run(q, func(t *testing.T) {
			path := "/users?connection=search&include_totals=true&sort=email:1&q=" + url.QueryEscape(q)
			a := k.do("GET", acmeHost, path, machine("acme").token(), nil)
			var got []string
			rows, _ := a.member("users").([]any)
			for i := range rows {
				got = append(got, strings.TrimPrefix(a.text("users", i, "user_id"), "auth0|"))
			}
			wanted := map[string]bool{}
			for _, id := range strings.Fields(want) {
				wanted[id] = true
			}
			if a.Code != http.StatusOK || len(got) != len(wanted) || a.member("total") != float64(len(wanted)) {
				t.Fatalf("got %v, want %s: %s", got, want, a.Body)
			}
			for _, id := range got {
				if !wanted[id] {
					t.Errorf("got %v, want %s", got, want)
				}
			}
		})
	}
	for _, q := range []string{
		"jane", "email:", `email:"x`, "(email:x", "email:x)", "email:a*b", "password:x", "tenant_id:widgets", "email:x OR",
		"email:x email:y", "AND email:x", "logins_count:x", "blocked:maybe", "email:[a b]", "email:/x/ AND", "hash:x", `email:x"`, "email:x~", strings.Repeat("NOT (", 30) + "email:x",
		strings.Repeat("email:x OR ", 30) + "email:x",
	} {
		t.Run("refused "+q, func(t *testing.T) {
			inner := k.with(t)
			inner.play(scenario{token: machine("acme"), path: "/users?q=" + url.QueryEscape(q), status: 400, code: "invalid_query_string"})
		})
	}
}
