package management

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestOffsetPaging is SC-065 with its bounds.
func TestOffsetPaging(t *testing.T) {
	k := newKit(t)
	k.people(101)
	own := machine("acme")
	list := "/users?connection=many"
	envelope := func(start, limit, length float64) func(t *testing.T, a answered) {
		return func(t *testing.T, a answered) {
			users, _ := a.member("users").([]any)
			if a.member("start") != start || a.member("limit") != limit || a.member("length") != length || a.member("total") != 101.0 || float64(len(users)) != length {
				t.Errorf("start %v, limit %v, length %v, total %v, %d users", a.member("start"), a.member("limit"), a.member("length"), a.member("total"), len(users))
			}
		}
	}
	count := func(want int) func(t *testing.T, a answered) {
		return func(t *testing.T, a answered) {
			if users, _ := a.json.([]any); len(users) != want {
				t.Errorf("%d users in a bare array, want %d", len(users), want)
			}
		}
	}
	refused := func(name, query string) scenario {
		return scenario{name: name, token: own, path: list + query, status: 400, code: "invalid_paging"}
	}
	k.run([]scenario{
		{name: "bare", token: own, path: list, status: 200, check: count(50)},
		{name: "bare page", token: own, path: list + "&page=1&per_page=100", status: 200, check: count(1)},
		{name: "totals", token: own, path: list + "&include_totals=true", status: 200, check: envelope(0, 50, 50)},
		{name: "last page", token: own, path: list + "&include_totals=true&page=2&per_page=50", status: 200, check: envelope(100, 50, 1)},
		{name: "page behind the end", token: own, path: list + "&include_totals=true&page=9&per_page=50", status: 200, check: envelope(450, 50, 0)},
		{name: "one", token: own, path: list + "&per_page=1&include_totals=true", status: 200, check: envelope(0, 1, 1)},
		{name: "newest first (C5.6)", token: own, path: list + "&per_page=1", status: 200, holds: "many098@"},
		refused("per_page 101", "&per_page=101"),
		refused("per_page 0", "&per_page=0"),
		refused("per_page word", "&per_page=all"),
		refused("per_page twice", "&per_page=1&per_page=2"),
		refused("page -1", "&page=-1"),
		refused("totals word", "&include_totals=1"),
		refused("beyond 10000", "&page=101&per_page=100"),
		refused("both dialects", "&page=0&take=10"),
		refused("take 101", "&take=101"),
		{name: "10000 itself", token: own, path: list + "&page=100&per_page=100", status: 200, holds: "[]"},
		{name: "sort", token: own, path: list + "&sort=email:1&per_page=1", status: 200, holds: "many000@"},
		{name: "sort by a secret", token: own, path: list + "&sort=hash:1", status: 400, code: "invalid_query_string"},
		{name: "sort without direction", token: own, path: list + "&sort=email", status: 400, code: "invalid_query_string"},
		{name: "sort with SQL", token: own, path: list + "&sort=" + url.QueryEscape("email;DROP TABLE users:1"), status: 400, code: "invalid_query_string"},
	})
}

// people makes users of acme, all at the same moment, so that only their ids
// tell their places apart.
func (k *kit) people(n int) {
	k.Helper()
	k.inside("acme", func(ctx context.Context) {
		for i := range n {
			id := fmt.Sprintf("%03d", i)
			k.must(tenancy.Users.Create(ctx, &tenancy.User{
				Row:        tenancy.Row{ID: "auth0|many" + id, CreatedAt: tenancy.At(k.now) + tenancy.Time(i/7)},
				Connection: "many", Email: "many" + id + "@acme.test", AppMetadata: map[string]any{"even": i%2 == 0},
			}))
		}
	})
}

// TestCheckpoints is SC-066: whoever is a member throughout is seen exactly once,
// while others join and leave, in every list and order.
func TestCheckpoints(t *testing.T) {
	k := newKit(t)
	k.people(251)
	k.inside("acme", func(ctx context.Context) {
		for i := range 251 {
			k.must(tenancy.Members.Create(ctx, tenancy.NewMember(sameOrg, fmt.Sprintf("auth0|many%03d", i))))
		}
	})
	for _, list := range []struct{ path, key string }{
		{"/organizations/same/members?take=100", "members"},
		{"/users?connection=many&take=100", "users"},
		{"/users?connection=many&take=100&sort=email:-1", "users"},
		{"/users?connection=many&take=100&q=" + url.QueryEscape("_exists_:app_metadata.even"), "users"},
	} {
		t.Run(list.path, func(t *testing.T) {
			k := k.with(t)
			seen := map[string]int{}
			path, steps := list.path, 0
			for path != "" && steps < 10 {
				a := k.do("GET", acmeHost, path, machine("acme").token(), nil)
				people, _ := a.member(list.key).([]any)
				if a.Code != http.StatusOK || len(people) > 100 {
					t.Fatalf("status %d, %d people: %s", a.Code, len(people), a.Body)
				}
				for i := range people {
					seen[a.text(list.key, i, "user_id")]++
				}
				path = ""
				if next, given := a.member("next").(string); given {
					path = list.path + "&from=" + next
				} else if strings.Contains(a.Body.String(), `"next"`) {
					t.Error("the last page has a next")
				}
				steps++
				k.inside("acme", func(ctx context.Context) { // somebody joins meanwhile
					id := fmt.Sprintf("auth0|later%d%s", steps, tenancy.NewID("", 6))
					k.must(tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: id}, Connection: "many", Email: id + "@acme.test"}))
					k.must(tenancy.Members.Create(ctx, tenancy.NewMember(sameOrg, id)))
				})
			}
			for i := range 251 {
				if id := fmt.Sprintf("auth0|many%03d", i); seen[id] != 1 {
					t.Errorf("saw %s %d times, want once", id, seen[id])
				}
			}
		})
	}
}

// TestCursorIsBound is C5.5: a cursor is good for its list, filter, tenant and
// 24 hours.
func TestCursorIsBound(t *testing.T) {
	k := newKit(t)
	k.people(5)
	k.inside("widgets", func(ctx context.Context) {
		for i := range 3 {
			k.must(tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: "auth0|" + itoa(i)}, Connection: "many"}))
		}
	})
	own := machine("acme")
	next := k.do("GET", acmeHost, "/users?connection=many&take=2", own.token(), nil).text("next")
	if next == "" {
		t.Fatal("no next")
	}
	refused := func(name, path string) scenario {
		return scenario{name: name, token: own, path: path + "&from=" + next, status: 400, code: "invalid_paging"}
	}
	elsewhere := refused("other tenant", "/users?connection=many&take=2")
	elsewhere.host, elsewhere.token = widgetsHost, machine("widgets")
	expired := refused("after 24 hours", "/users?connection=many&take=2")
	k.run([]scenario{
		{name: "itself", token: own, path: "/users?connection=many&take=2&from=" + next, status: 200},
		{name: "with another size", token: own, path: "/users?connection=many&take=3&from=" + next, status: 200},
		refused("other filter", "/users?connection=db&take=2"),
		refused("other order", "/users?connection=many&sort=email:1&take=2"),
		refused("other list", "/roles?take=2"),
		elsewhere,
		{name: "garbage", token: own, path: "/users?take=2&from=xyz", status: 400, code: "invalid_paging"},
		{name: "altered", token: own, path: "/users?connection=many&take=2&from=" + strings.ToLower(next), status: 400, code: "invalid_paging"},
	})
	k.now = k.now.Add(24*time.Hour - time.Second)
	k.api.config.Now = func() time.Time { return k.now }
	k.play(scenario{token: own, path: "/users?connection=many&take=2&from=" + next, status: 200})
	k.now = k.now.Add(time.Second)
	k.play(expired)
}

// TestRequests holds the conventions of C0.6 to C0.8 and C5.14.
func TestRequests(t *testing.T) {
	k := newKit(t)
	own := machine("acme")
	role := "/roles/" + sameRole
	tag := k.do("GET", acmeHost, role, own.token(), nil).Header().Get("ETag")
	allow := func(want string) func(t *testing.T, a answered) {
		return func(t *testing.T, a answered) {
			if got := a.Header().Get("Allow"); got != want {
				t.Errorf("Allow %q, want %q", got, want)
			}
		}
	}
	k.run([]scenario{
		{name: "unknown path", token: own, path: "/nope", status: 404, code: "not_found"},
		{name: "unknown path without a token", path: "/nope", status: 404},
		{name: "trailing slash", token: own, path: "/roles/", status: 404},
		{name: "doubled slash", token: own, path: "//roles", status: 404},
		{name: "dots (C9.15)", path: "/roles/%2e%2e/users", status: 401},
		{name: "too deep", token: own, path: role + "/permissions/x", status: 404},
		{name: "other verb", token: own, method: "PUT", path: "/roles", status: 405, check: allow("GET, HEAD, POST")},
		{name: "other verb on one", token: own, method: "POST", path: role, status: 405, check: allow("DELETE, GET, HEAD, PATCH")},
		{name: "head", token: own, method: "HEAD", path: role, status: 200, check: func(t *testing.T, a answered) {
			if a.Body.Len() != 0 || a.Header().Get("ETag") != tag || a.Header().Get("Content-Length") == "0" {
				t.Errorf("body %q, headers %v", a.Body, a.Header())
			}
		}},
		{name: "head of what is not there", token: own, method: "HEAD", path: "/roles/nope", status: 404},
		{name: "control character in the path", token: own, path: "/roles/a%1Fb", status: 400, code: "invalid_uri"},
		{name: "encoding is undone once", token: own, path: "/users/auth0%257Csame", status: 404, code: "inexistent_user"},
		{name: "large", token: own, method: "POST", path: "/roles", body: `{"name":"` + strings.Repeat("x", bodyLimit) + `"}`, status: 413},
		{name: "no body", token: own, method: "POST", path: "/roles", status: 400, code: "invalid_body"},
		{name: "request id", token: own, path: role, status: 200, check: func(t *testing.T, a answered) {
			if a.Header().Get("X-Request-Id") != "req-1" || a.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", a.Header())
			}
		}},
		{name: "precondition fails", token: own, method: "PATCH", path: role, header: []string{"If-Match", `"other"`}, body: `{"name":"x"}`, status: 412, code: "precondition_failed"},
		{name: "precondition of a deletion", token: own, method: "DELETE", path: role, header: []string{"If-Match", `"other"`}, status: 412},
		{name: "weak tags never match", token: own, method: "PATCH", path: role, header: []string{"If-Match", "W/" + tag}, body: `{"name":"x"}`, status: 412},
		{name: "precondition holds", token: own, method: "PATCH", path: role, header: []string{"If-Match", `"other", ` + tag}, body: `{"name":"y"}`, status: 200},
		{name: "and holds once", token: own, method: "PATCH", path: role, header: []string{"If-Match", tag}, body: `{"name":"z"}`, status: 412},
	})
}

// TestUnsupportedMediaType is C0.6: a form is no JSON, whatever is in it.
func TestUnsupportedMediaType(t *testing.T) {
	for _, media := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "nonsense/"} {
		k := &Call{r: &http.Request{Header: http.Header{"Content-Type": {media}}, Body: body(`{"name":"x"}`)}}
		_, err := k.raw()
		if tenancy.StatusOf(err) != http.StatusUnsupportedMediaType {
			t.Errorf("%s: %v, want 415", media, err)
		}
	}
	for _, media := range []string{"application/json", "application/json; charset=utf-8", "application/merge-patch+json", ""} {
		k := &Call{r: &http.Request{Header: http.Header{"Content-Type": {media}}, Body: body(`{"name":"x"}`)}}
		if _, err := k.raw(); err != nil {
			t.Errorf("%s: %v", media, err)
		}
	}
}

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// TestDatabaseDown is C0.11 and C1.27: no answer about anything, and other
// tenants unaffected.
func TestDatabaseDown(t *testing.T) {
	k := newKit(t)
	gone := *k.api
	gone.config.Entrance = nobody{}
	k.api = &gone
	toAcme := []string{"tenant-id", "acme"}
	k.run([]scenario{
		{name: "acme", host: cpHost, token: admin(), header: toAcme, path: "/users", status: 503, code: "service_unavailable", check: func(t *testing.T, a answered) {
			if a.Header().Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			if strings.Contains(a.Body.String(), "disk") {
				t.Errorf("answer tells why: %s", a.Body)
			}
		}},
		{name: "control plane", host: cpHost, token: admin(), path: "/users", status: 200},
		{name: "acme's own token needs nobody else (C1.26)", token: machine("acme"), path: "/users", status: 200},
	})
}

type nobody struct{}

func (nobody) Enter(context.Context, *tenancy.Tenant) (context.Context, func(), error) {
	return nil, nil, tenancy.Unavailable(fmt.Errorf("disk /data/acme.db is full"), "buy another")
}

// TestMembersAreComplete holds the table of members against the rows: each is a
// field or said to be none, and no field of a row is left to chance.
func TestMembersAreComplete(t *testing.T) {
	check(t, roles)
	check(t, resourceServers)
	check(t, clients)
	check(t, clientGrants)
	check(t, connections)
	check(t, organizations)
	check(t, users)
	check(t, tenants)
}

func check[T any](t *testing.T, r *Resource[T]) {
	t.Helper()
	f := fieldsOf(reflect.TypeFor[T]())
	for name, m := range r.Members {
		if _, ok := f.index[name]; !ok && m.typed == nil && !m.fixed {
			t.Errorf("%s: member %s is no field of the row", r.Entity, name)
		}
	}
	for _, name := range f.names {
		if _, ok := r.Members[name]; !ok {
			t.Errorf("%s: field %s is answered but is no member", r.Entity, name)
		}
	}
}

// TestRaces holds that nothing dangles: whoever loses a race is told so, or does
// it again on what is there then.
func TestRaces(t *testing.T) {
	k := newKit(t)
	own := machine("acme").token()
	send := func(wg *sync.WaitGroup, method, path string, body any) {
		wg.Go(func() {
			if a := k.do(method, acmeHost, path, own, body); a.Code >= 500 {
				t.Errorf("%s %s: %d %s", method, path, a.Code, a.Body)
			}
		})
	}
	for i := range 10 {
		name := "https://race" + itoa(i)
		k.play(scenario{token: machine("acme"), method: "POST", path: "/resource-servers", body: map[string]any{"identifier": name, "scopes": []any{map[string]string{"value": "a"}}}, status: 201})
		id := k.do("GET", acmeHost, "/resource-servers/"+url.PathEscape(name), own, nil).text("id")
		user := "auth0|race" + itoa(i)
		k.play(scenario{token: machine("acme"), method: "POST", path: "/users", body: map[string]any{"connection": "db", "user_id": "race" + itoa(i), "email": "race" + itoa(i) + "@x.test"}, status: 201})
		permission := map[string]any{"permissions": []any{map[string]any{"resource_server_identifier": name, "permission_name": "a"}}}
		var wg sync.WaitGroup
		send(&wg, "PATCH", "/resource-servers/"+id, map[string]any{"scopes": []any{}})
		send(&wg, "POST", "/roles/"+sameRole+"/permissions", permission)
		send(&wg, "POST", "/users/auth0%7Csame/permissions", permission)
		send(&wg, "POST", "/client-grants", map[string]any{"client_id": sameClient, "audience": name, "scope": []string{"a"}})
		send(&wg, "POST", "/organizations/same/members", map[string]any{"members": []string{user}})
		send(&wg, "POST", "/organizations/same/members", map[string]any{"members": []string{user}})
		send(&wg, "POST", "/users/"+url.PathEscape(user)+"/roles", map[string]any{"roles": []string{sameRole}})
		send(&wg, "DELETE", "/users/"+url.PathEscape(user), nil)
		wg.Wait()
	}
	k.inside("acme", func(ctx context.Context) {
		for what, query := range map[string]string{
			"role permission without scope": `SELECT COUNT(*) FROM role_permissions p JOIN resource_servers r ON r.tenant_id = p.tenant_id AND r.id = p.resource_server_id
				WHERE p.tenant_id = @tenant AND r.identifier LIKE 'https://race%'`,
			"user permission without scope": `SELECT COUNT(*) FROM user_permissions p JOIN resource_servers r ON r.tenant_id = p.tenant_id AND r.id = p.resource_server_id
				WHERE p.tenant_id = @tenant AND r.identifier LIKE 'https://race%'`,
			"client grant with the scope": `SELECT COUNT(*) FROM client_grants WHERE tenant_id = @tenant AND audience LIKE 'https://race%' AND scope LIKE '%"a"%'`,
			"member who is no user":       `SELECT COUNT(*) FROM members m WHERE m.tenant_id = @tenant AND m.user_id NOT IN (SELECT id FROM users WHERE tenant_id = m.tenant_id)`,
			"role of nobody":              `SELECT COUNT(*) FROM user_roles m WHERE m.tenant_id = @tenant AND m.user_id NOT IN (SELECT id FROM users WHERE tenant_id = m.tenant_id)`,
		} {
			var n int
			k.must(tenancy.QueryRow(ctx, query, nil, &n))
			if n != 0 {
				t.Errorf("%d × %s", n, what)
			}
		}
	})
}
