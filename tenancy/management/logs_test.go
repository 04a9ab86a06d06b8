package management

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// logID is the id of the nth entry that a test writes.
func logID(n int) string { return fmt.Sprintf("%028d", 2000+n) }

// TestLogs is contract C5.80, C5.89 and C5.90.
func TestLogs(t *testing.T) {
	k := newKit(t)
	k.inside("acme", func(ctx context.Context) {
		for n := range 5 {
			e := &tenancy.Event{
				Row: tenancy.Row{ID: logID(n)}, Date: tenancy.At(k.now).Add(-1e9*3600) + tenancy.Time(n), Type: []string{"s", "fsa"}[n%2],
				ClientID: sameClient, UserID: sameUser, Connection: "db", IP: "192.0.2.1", UserAgent: "Mozilla/5.0 (iPhone) Mobile Safari",
				Details: json.RawMessage(`{"error":"login_required"}`),
			}
			if n == 4 {
				*e = tenancy.Event{Row: tenancy.Row{ID: logID(n)}, Date: tenancy.At(k.now), Type: "sapi", Description: "DELETE /api/v2/roles/{id}", UserID: "auth0|else"}
			}
			k.must(tenancy.Events.Create(ctx, e))
		}
	})
	own := machine("acme", "read:logs")
	ids := func(want ...int) func(*testing.T, answered) {
		return func(t *testing.T, a answered) {
			t.Helper()
			list, ok := a.json.([]any)
			if !ok {
				t.Fatalf("no bare array: %s", a.Body)
			}
			got, wanted := []string{}, []string{}
			for _, e := range list {
				got = append(got, fmt.Sprint(e.(map[string]any)["log_id"]))
			}
			for _, n := range want {
				wanted = append(wanted, logID(n))
			}
			if strings.Join(got, " ") != strings.Join(wanted, " ") {
				t.Errorf("got  %v\nwant %v", got, wanted)
			}
		}
	}
	q := func(s string) string { return "&q=" + url.QueryEscape(s) }
	user := "/users/" + url.PathEscape(sameUser) + "/logs"
	k.run([]scenario{
		{name: "latest first (C5.6)", token: own, path: "/logs?per_page=3", status: 200, check: ids(4, 3, 2)},
		{name: "page", token: own, path: "/logs?per_page=3&page=1&sort=date:-1" + q("date:[2020-01-01 TO *]"), status: 200, check: ids(1, 0)},
		{name: "totals", token: own, path: "/logs?include_totals=true", status: 200, holds: `"total":7`},
		{name: "sort", token: own, path: "/logs?sort=date:1&per_page=2" + q("date:[2020-01-01 TO *]"), status: 200, check: ids(0, 1)},
		{name: "sort by something else", token: own, path: "/logs?sort=details:1", status: 400, code: "invalid_query_string"},
		{name: "tail", token: own, path: "/logs?take=2&from=" + logID(0), status: 200, check: ids(1, 2)},
		{name: "tail goes on", token: own, path: "/logs?take=10&from=" + logID(2), status: 200, check: ids(3, 4)},
		{name: "tail's end", token: own, path: "/logs?from=" + logID(4), status: 200, check: ids()},
		{name: "tail with a search", token: own, path: "/logs?take=10&from=" + logID(0) + q("type:fsa"), status: 200, check: ids(1, 3)},
		{name: "tail from nowhere", token: own, path: "/logs?from=" + url.QueryEscape("' OR '1'='1"), status: 400, code: "invalid_paging"},
		{name: "tail sorted", token: own, path: "/logs?take=2&sort=date:1", status: 400, code: "invalid_paging"},
		{name: "q by type", token: own, path: "/logs?" + q("type:fsa"), status: 200, check: ids(3, 1)},
		{name: "q by several", token: own, path: "/logs?" + q(`(type:fsa OR type:sapi) AND NOT user_id:"auth0|same"`), status: 200, check: ids(4)},
		{name: "q in any case", token: own, path: "/logs?" + q("description:delete*"), status: 200, check: ids(4)},
		{name: "q by a user's field", token: own, path: "/logs?" + q("email:a"), status: 400, code: "invalid_query_string"},
		{name: "q by metadata", token: own, path: "/logs?" + q("app_metadata.a:b"), status: 400, code: "invalid_query_string"},
		{name: "q broken", token: own, path: "/logs?" + q("type:(("), status: 400, code: "invalid_query_string"},
		{name: "fields", token: own, path: "/logs?per_page=1&fields=type,log_id", status: 200, holds: `[{"log_id":"` + logID(4) + `","type":"sapi"}]`},
		{name: "one", token: own, path: "/logs/" + logID(1), status: 200, check: func(t *testing.T, a answered) {
			for member, want := range map[string]any{
				"_id": logID(1), "log_id": logID(1), "type": "fsa", "client_id": sameClient, "client_name": "Client of acme", "connection": "db",
				"connection_id": sameConn, "strategy": "auth0", "strategy_type": "database", "user_id": sameUser, "ip": "192.0.2.1",
				"isMobile": true, "tenant_name": "acme", "created_at": nil, "revision": nil,
			} {
				if got := a.member(member); got != want {
					t.Errorf("%s is %v, want %v", member, got, want)
				}
			}
			if a.text("details", "error") != "login_required" {
				t.Errorf("details: %s", a.Body)
			}
		}},
		{name: "one of nobody's", token: own, path: "/logs/" + logID(99), status: 404, code: "inexistent_log"},
		{name: "equal ids: the own one", host: widgetsHost, token: machine("widgets"), path: "/logs/" + sameLog, status: 200, holds: "of widgets", lacks: "acme"},
		{name: "C5.80", token: own, path: user + "?" + q("type:fsa"), status: 200, check: ids(3, 1)},
		{name: "C5.80 whatever q says", token: own, path: user + "?" + q(`user_id:"auth0|else" OR type:sapi`), status: 200, check: ids()},
		{name: "C5.80 tail", token: own, path: user + "?take=2&from=" + logID(2), status: 200, check: ids(3)},
		{name: "C5.80 nobody", token: own, path: "/users/auth0%7Cnobody/logs", status: 404, code: "inexistent_user"},
		{name: "scope", token: machine("acme", "read:users"), path: "/logs", status: 403, code: "insufficient_scope"},
		{name: "no writing", token: own, method: "POST", path: "/logs", body: `{}`, status: 405},
	})
}

// TestLogsHoldNoSecrets: C5.15, C5.10. Whatever is written through the API, a log
// has the names of members and never their values.
func TestLogsHoldNoSecrets(t *testing.T) {
	k := newKit(t)
	book := &tenancy.LogBook{Pool: k.pool}
	k.api.config.Recorder = book
	own := machine("acme")
	k.run([]scenario{
		{
			name: "password", token: own, method: "POST", path: "/users", status: 201,
			body: map[string]any{"connection": "db", "email": "new@acme.test", "password": "s3cret-Passw0rd!"},
		},
		{
			name: "refused", token: own, method: "POST", path: "/users", status: 409,
			body: map[string]any{"connection": "db", "email": "new@acme.test", "password": "s3cret-Passw0rd!"},
		},
		{
			name: "connection's secret", token: own, method: "PATCH", path: "/connections/" + sameConn, status: 200,
			body: map[string]any{"options": map[string]any{"client_secret": "s3cret-of-connection"}},
		},
		{name: "forbidden", token: machine("acme", "read:users"), path: "/logs", status: 403},
	})
	secret := k.do("POST", acmeHost, "/clients/"+sameClient+"/rotate-secret", own.token(), nil).member("client_secret")
	if secret == nil {
		t.Fatal("no new secret")
	}
	book.Flush(t.Context())
	k.inside("acme", func(ctx context.Context) {
		rows, err := tenancy.Events.Find(ctx, tenancy.Filter{})
		k.must(err)
		text := fmt.Sprintf("%+v", rows)
		for i := range rows {
			text += string(rows[i].Details)
		}
		for _, value := range []string{"s3cret", fmt.Sprint(secret), "new@acme.test", own.token()} {
			if strings.Contains(text, value) {
				t.Errorf("the log holds %q", value)
			}
		}
		kinds := map[string]int{}
		for _, e := range rows {
			kinds[e.Type]++
		}
		if kinds["sapi"] != 3 || kinds["fapi"] != 2 {
			t.Errorf("entries: %v", kinds)
		}
		if !strings.Contains(text, `"members":["connection","email","password"]`) {
			t.Errorf("the names of changed members are missing: %s", text)
		}
	})
}
