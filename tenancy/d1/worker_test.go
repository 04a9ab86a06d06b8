package d1

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
)

// TestWorkerLetsNobodyIn: without the secret the Worker does nothing and tells
// nothing, and what is no request of ours is refused.
func TestWorkerLetsNobodyIn(t *testing.T) {
	a := worker(t)
	id := fresh(t, a)
	address := d1test.Worker(t)
	const databases = "/accounts/0123456789abcdef0123456789abcdef/d1/database"
	bearer := "Bearer " + d1test.Secret
	for _, c := range []struct {
		name, method, path, auth, body string
		status                         int
		want                           string
	}{
		{"no secret", "DELETE", databases + "/" + id, "", "", 401, "Authentication error"},
		{"another secret", "DELETE", databases + "/" + id, "Bearer " + strings.ToUpper(d1test.Secret), "", 401, "Authentication error"},
		{"a part of it", "DELETE", databases + "/" + id, bearer[:len(bearer)-1], "", 401, "Authentication error"},
		{"another scheme", "DELETE", databases + "/" + id, "Basic " + d1test.Secret, "", 401, "Authentication error"},
		{"no secret, no path", "GET", "/", "", "", 401, "Authentication error"},
		{"another path", "GET", "/", bearer, "", 404, "Could not route"},
		{"a path behind", "POST", databases + "/" + id + "/raw/x", bearer, "", 404, "Could not route"},
		{"a path up", "DELETE", databases + "/../../" + id, bearer, "", 404, "Could not route"},
		{"another method", "PUT", databases + "/" + id, bearer, "{}", 405, "Method not allowed"},
		{"reading a batch", "GET", databases + "/" + id + "/raw", bearer, "", 405, "Method not allowed"},
		{"all databases at once", "GET", databases, bearer, "", 400, "per_page"},
		{"no name", "POST", databases, bearer, "{}", 400, "lower-case letters"},
		{"no text for a name", "POST", databases, bearer, `{"name": 5}`, 400, "lower-case letters"},
		{"a wrong name", "POST", databases, bearer, `{"name": "a b"}`, 400, "lower-case letters"},
		{"no JSON", "POST", databases, bearer, `{`, 400, "lower-case letters"},
		{"no batch", "POST", databases + "/" + id + "/raw", bearer, `{"sql": "SELECT 1"}`, 400, "batch"},
		{"no statement", "POST", databases + "/" + id + "/raw", bearer, `{"batch": [null]}`, 400, "code"},
		{"a missing database", "POST", databases + "/nobody/raw", bearer, `{"batch": [{"sql": "CREATE TABLE t (a)"}]}`, 404, "7404"},
		{"removing a missing database", "DELETE", databases + "/nobody", bearer, "", 404, "7404"},
		{"the same name again", "POST", databases, bearer, `{"name": "` + id + `"}`, 400, "7502"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, address+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", c.auth)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || !strings.Contains(string(text), c.want) || strings.Contains(string(text), d1test.Secret) {
				t.Errorf("got %d %s (%v), want %d %s", resp.StatusCode, text, err, c.status, c.want)
			}
		})
	}
	if _, err := a.raw(t.Context(), id, []statement{{SQL: "SELECT 1"}}); err != nil {
		t.Errorf("the database after all this: %v", err)
	}
}

// TestWorkerWithoutSecret: a Worker that was given no secret, or one that could be
// guessed, serves nobody.
func TestWorkerWithoutSecret(t *testing.T) {
	for _, secret := range []string{"", "secret"} {
		address := d1test.Another(t, secret)
		for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer " + secret, "Bearer undefined", "Bearer " + d1test.Secret} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/accounts/a/d1/database?name=x", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", auth)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(text), "wrangler secret put SECRET") {
				t.Errorf("secret %q, %q: %d %s (%v)", secret, auth, resp.StatusCode, text, err)
			}
		}
	}
}

// TestWorkerLife: a database is there from its creation to its removal, and what
// comes back under its name is empty.
func TestWorkerLife(t *testing.T) {
	a := worker(t)
	id := fresh(t, a)
	run := func(sql string, params ...any) ([]result, error) {
		return a.raw(t.Context(), id, []statement{{sql, params}})
	}
	if _, err := run(`CREATE TABLE t (a TEXT PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	if found, err := a.find(t.Context(), id); found != id || err != nil {
		t.Errorf("found %q, %v", found, err)
	}
	if again, made, err := a.create(t.Context(), id, ""); again != id || made || err != nil {
		t.Errorf("created again: %q %v %v", again, made, err)
	}
	for range 2 {
		if err := a.remove(t.Context(), id); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if found, err := a.find(t.Context(), id); found != "" || err != nil {
		t.Errorf("found %q after its removal, %v", found, err)
	}
	if _, err := run(`SELECT 1`); !missing(err) {
		t.Errorf("running in a removed database: %v", err)
	}
	if _, made, err := a.create(t.Context(), id, ""); !made || err != nil {
		t.Errorf("created after its removal: %v %v", made, err)
	}
	if _, err := run(`SELECT * FROM t`); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("the same name has tables of before: %v", err)
	}
}

// TestWorkerBatch: a batch is applied whole or not at all, and tells what each of
// its statements changed.
func TestWorkerBatch(t *testing.T) {
	a := worker(t)
	id := fresh(t, a)
	list, err := a.raw(t.Context(), id, []statement{
		{SQL: `CREATE TABLE t (a TEXT PRIMARY KEY, b INTEGER)`},
		{SQL: `INSERT INTO t VALUES ('x', ?), ('y', ?), ('z', NULL)`, Params: []any{1, 2.5}},
		{SQL: `UPDATE t SET b = 7 WHERE a <> 'x'`},
		{SQL: `SELECT a, b FROM t ORDER BY a`},
		{SQL: `DELETE FROM t WHERE a = 'nobody'`},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{0, 3, 2, 0, 0} {
		if got := list[i].Meta.Changes; got != want {
			t.Errorf("statement %d changed %d rows, want %d", i, got, want)
		}
	}
	if r := list[3].Results; strings.Join(r.Columns, " ") != "a b" || len(r.Rows) != 3 || r.Rows[0][1] != int64(1) || r.Rows[2][0] != "z" {
		t.Errorf("selected %v %v", r.Columns, r.Rows)
	}
	_, err = a.raw(t.Context(), id, []statement{
		{SQL: `DELETE FROM t`}, {SQL: `CREATE TABLE u (a)`}, {SQL: `INSERT INTO t VALUES ('x', 1), ('x', 2)`},
	})
	if f, ok := err.(*failure); !ok || !f.statement() || !f.known() || !strings.Contains(f.message, "UNIQUE constraint failed: t.a") {
		t.Errorf("a batch that fails: %v", err)
	}
	list, err = a.raw(t.Context(), id, []statement{{SQL: `SELECT COUNT(*), (SELECT COUNT(*) FROM sqlite_master WHERE name = 'u') FROM t`}})
	if err != nil || list[0].Results.Rows[0][0] != int64(3) || list[0].Results.Rows[0][1] != int64(0) {
		t.Errorf("after a batch that failed: %+v %v", list, err)
	}
}
