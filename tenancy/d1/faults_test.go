package d1_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

var (
	acme    = tenancy.Location{Tenant: "acme"}
	widgets = tenancy.Location{Tenant: "widgets"}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// opened creates and opens a tenant's database.
func opened(t testing.TB, p *d1.Provider, loc tenancy.Location) tenancy.Database {
	t.Helper()
	must(t, p.Create(t.Context(), loc))
	db, err := p.Open(t.Context(), loc)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func opening(t testing.TB, p *d1.Provider, loc tenancy.Location) error {
	db, err := p.Open(t.Context(), loc)
	if err == nil {
		err = db.Close()
	}
	return err
}

func reading(t testing.TB, db tenancy.Database) error {
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM roles`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// writing adds a row, and fails where it is there already.
func writing(t testing.TB, db tenancy.Database, id string) error {
	_, err := db.Batch(t.Context(), []tenancy.Stmt{
		{SQL: `INSERT INTO roles (tenant_id, id, name_key) VALUES ('t', ?, ?)`, Args: []any{id, id}, Rows: 1},
		{SQL: `SELECT 1 WHERE EXISTS (SELECT 1 FROM roles WHERE id = ?)`, Args: []any{id}, Guard: true, Rows: 1},
	})
	return err
}

// TestConfiguration: what is wrong is said before anybody is reached, without
// the secrets.
func TestConfiguration(t *testing.T) {
	const account, secret = "0123456789abcdef0123456789abcdef", "hunter2 hunter2 hunter2 hunter2 !"
	for _, c := range []struct {
		name string
		p    *d1.Provider
		want string
	}{
		{"nothing", &d1.Provider{}, "32 hexadecimal digits"},
		{"a name for the account", &d1.Provider{Account: "acme", Token: secret}, "32 hexadecimal digits"},
		{"no prefix", &d1.Provider{Account: account, Token: secret, Prefix: ""}, "prefix is missing"},
		{"neither home", &d1.Provider{Account: account, Prefix: "p"}, "token is missing"},
		{"both homes", &d1.Provider{Account: account, Token: secret, Worker: "https://w.example.com", Secret: secret, Prefix: "p"}, "exclude each other"},
		{"an empty token", &d1.Provider{Account: account, Token: "\n", Prefix: "p"}, "token is missing"},
		{"location", &d1.Provider{Account: account, Token: secret, Location: "moon", Prefix: "p"}, "location_hint is one of wnam"},
		{"location of the worker", &d1.Provider{Account: account, Worker: "https://w.example.com", Secret: secret, Location: "weur", Prefix: "p"}, "wrangler.toml"},
		{"prefix", &d1.Provider{Account: account, Token: secret, Prefix: "a_b"}, "prefix is at most"},
		{"long prefix", &d1.Provider{Account: account, Token: secret, Prefix: strings.Repeat("a", 41)}, "prefix is at most"},
		{"short secret", &d1.Provider{Account: account, Worker: "https://w.example.com", Secret: "hunter2", Prefix: "p"}, "at least 32 characters"},
		{"secret alone", &d1.Provider{Account: account, Secret: secret, Prefix: "p"}, "worker is an URL"},
		{"no URL", &d1.Provider{Account: account, Worker: "w.example.com", Secret: secret, Prefix: "p"}, "worker is an URL"},
		{"readable", &d1.Provider{Account: account, Worker: "http://w.example.com", Secret: secret, Prefix: "p"}, "by https"},
		{"secret in the URL", &d1.Provider{Account: account, Worker: "https://hunter2@w.example.com", Secret: secret, Prefix: "p"}, "without user"},
		{"readable API", &d1.Provider{Account: account, Token: secret, API: "http://api.example.com", Prefix: "p"}, "by https"},
		{"a token", &d1.Provider{Account: account, Token: secret, Location: "weur", Prefix: "pro-duction2"}, ""},
		{"a worker", &d1.Provider{Account: account, Worker: "https://w.example.com", Secret: secret, Prefix: "p"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.p.Check()
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestFaults: whatever the API says of one tenant's database is a 503 of that
// tenant with its remedy. A read is tried again where that may help; a batch
// whose fate is not known is not, and the error says so.
func TestFaults(t *testing.T) {
	refuse := func(status, code int, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { d1test.Refuse(w, status, code, message) }
	}
	answer := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write([]byte(text)) }
	}
	for _, c := range []struct {
		name  string
		fault http.HandlerFunc
		want  string
		lost  bool // a batch's fate is not known

		patience time.Duration // 0 for the usual one
	}{
		{"wrong token", refuse(401, 10000, "Authentication error"), "D1 Edit", false, 0},
		{"too few rights", refuse(403, 10000, "Authentication error"), "D1 Edit", false, 0},
		{"wrong account", refuse(403, 7403, "The given account is not valid"), "check the account's id", false, 0},
		{"no such account", refuse(404, 7003, "Could not route"), "check the account's id", false, 0},
		{"no such database", refuse(404, 7404, "The database could not be found"), "none is made in its place", false, 0},
		{"trouble", refuse(500, 7500, "internal error; reference = e_1"), "www.cloudflarestatus.com", true, 0},
		{"trouble as a refusal", refuse(400, 7500, "internal error; reference = e_1"), "dashboard", true, 0},
		{"full", refuse(400, 7500, "Exceeded maximum DB size"), "as large as it may be", true, 0},
		{"bad gateway", answer(502, "<html>Bad Gateway</html>"), "www.cloudflarestatus.com", true, 0},
		{"a page", answer(200, "<html>Log in to the hotel's network</html>"), "what stands between", true, 0},
		{"a refusing page", answer(403, "<html>blocked</html>"), "what stands between", false, 0},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, "what stands between", true, 0},
		{"half an answer", answer(200, `{"success":true,"errors":[],"result":[{"success":true,"results":{"columns":["na`), "what stands between", true, 0},
		{"an answer cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(`{"success":true,`))
		}, "reaches the address", true, 0},
		{"no results", answer(200, `{"success":true,"errors":[],"result":[]}`), "dashboard", true, 0},
		{"no success in one", answer(200, `{"success":true,"errors":[],"result":[{"success":true},{"success":false},{"success":true}]}`), "dashboard", true, 0},
		{"a result of another kind", answer(200, `{"success":true,"errors":[],"result":"fine"}`), "what stands between", true, 0},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "reaches the address", true, 0},
		{"silence", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that the server does not look whether the caller is there
			<-r.Context().Done()
		}, "can be reached", true, 3 * time.Second},
		{"an endless answer", answer(200, strings.Repeat(" ", 1<<20+1)), "dashboard", true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var broken atomic.Pointer[string]
			var sent atomic.Int32
			a := d1test.NewAPI(t)
			a.Before = func(w http.ResponseWriter, r *http.Request) bool {
				if id := broken.Load(); id == nil || !strings.Contains(r.URL.Path, *id) {
					return false
				}
				sent.Add(1)
				c.fault(w, r)
				return true
			}
			p := over(t, a)
			must(t, p.Create(t.Context(), acme))
			p.Hurry(c.patience)
			db, other := opened(t, p, acme), opened(t, p, widgets)
			must(t, writing(t, db, "before"))
			id := a.ID("gatehouse_acme")
			broken.Store(&id)
			read := reading(t, db)
			sent.Store(0)
			written := writing(t, db, "during")
			for what, err := range map[string]error{"reading": read, "writing": written} {
				if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), a.Token) {
					t.Errorf("%s: got %v, want %q", what, err, c.want)
				}
			}
			if strings.Contains(fmt.Sprint(written), "not known") != c.lost {
				t.Errorf("what became of the batch is known: %v; got %v", !c.lost, written)
			}
			if n := sent.Load(); n != 1 {
				t.Errorf("the batch was sent %d times", n)
			}
			if err := errors.Join(reading(t, other), writing(t, other, "meanwhile")); err != nil {
				t.Errorf("the other tenant: %v", err)
			}
			broken.Store(nil)
			if again, err := p.Open(t.Context(), acme); err != nil {
				t.Errorf("opening it afterwards: %v", err)
			} else if err := errors.Join(writing(t, again, "during"), again.Close()); err != nil {
				t.Errorf("writing afterwards: %v", err)
			}
		})
	}
}

// TestReadsAreRepeated: a passing trouble does not reach who reads.
func TestReadsAreRepeated(t *testing.T) {
	var left atomic.Int32
	a := d1test.NewAPI(t)
	a.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if left.Add(-1) < 0 {
			return false
		}
		d1test.Refuse(w, 500, 7500, "internal error; reference = e_1")
		return true
	}
	p := over(t, a)
	db := opened(t, p, acme)
	left.Store(2)
	must(t, reading(t, db))
	left.Store(2)
	must(t, opening(t, p, acme))
	left.Store(2)
	if n, err := p.Count(t.Context()); n != 1 || err != nil {
		t.Errorf("counted %d, %v", n, err)
	}
}

// TestRateLimit: a short refusal is waited for, by reads and by writes, because
// what was refused was not carried out. While a long one lasts nobody asks.
func TestRateLimit(t *testing.T) {
	var wait atomic.Value // of Retry-After; "" for no refusal
	wait.Store("")
	a := d1test.NewAPI(t)
	a.Before = func(w http.ResponseWriter, r *http.Request) bool {
		after := wait.Swap("").(string)
		if after == "" {
			return false
		}
		if after != "none" {
			w.Header().Set("Retry-After", after)
		}
		d1test.Refuse(w, 429, 971, "Please wait and consider throttling your request speed")
		return true
	}
	p := over(t, a)
	db := opened(t, p, acme)
	for i, after := range []string{"0", "1"} {
		wait.Store(after)
		must(t, reading(t, db))
		wait.Store(after)
		must(t, writing(t, db, fmt.Sprint(i)))
	}
	for _, after := range []string{"120", "none", "soon"} {
		p := over(t, a)
		db := opened(t, p, acme)
		wait.Store(after)
		first := reading(t, db)
		asked := a.Requests()
		began := time.Now()
		for what, err := range map[string]error{
			"the first": first, "reading": reading(t, db), "writing": writing(t, db, "limited"), "opening": opening(t, p, widgets),
		} {
			if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "use a Worker") || errors.Is(err, remote.ErrLost) {
				t.Errorf("%s after %q: %v", what, after, err)
			}
		}
		if n := a.Requests() - asked; n != 0 || time.Since(began) > time.Second {
			t.Errorf("%d requests were made during the refusal, in %v", n, time.Since(began))
		}
	}
}

// TestUnreachable: where nobody listens, everything is a 503 in good time, and a
// write is known not to have been carried out.
func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(nil)
	address := server.URL
	server.Close()
	for name, p := range map[string]*d1.Provider{
		"rest":   {Account: strings.Repeat("a", 32), Token: "x", API: address, Prefix: "p"},
		"worker": {Account: strings.Repeat("a", 32), Worker: address, Secret: d1test.Secret, Prefix: "p"},
	} {
		closed(t, p)
		for what, err := range map[string]error{
			"Create": p.Create(t.Context(), acme), "Open": opening(t, p, acme), "Drop": p.Drop(t.Context(), acme),
		} {
			if !errors.Is(err, tenancy.ErrUnavailable) || !errors.Is(err, remote.ErrUnsent) || !strings.Contains(err.Error(), "reaches the address") {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
	}
}

// TestWrongSecrets: each home says which of its secrets is wrong.
func TestWrongSecrets(t *testing.T) {
	a := d1test.NewAPI(t)
	for _, c := range []struct {
		name string
		p    *d1.Provider
		want string
	}{
		{"token", &d1.Provider{Account: a.Account, Token: "another", API: a.URL, Prefix: "p"}, "D1 Edit"},
		{"account", &d1.Provider{Account: strings.Repeat("a", 32), Token: a.Token, API: a.URL, Prefix: "p"}, "check the account's id"},
		{"secret", &d1.Provider{Account: a.Account, Worker: d1test.Worker(t), Secret: strings.Repeat("another", 6), Prefix: "p"}, "wrangler secret put SECRET"},
		{"address", &d1.Provider{Account: a.Account, Worker: d1test.Worker(t) + "/elsewhere", Secret: d1test.Secret, Prefix: "p"}, "account's id"},
	} {
		closed(t, c.p)
		for what, err := range map[string]error{
			"Create": c.p.Create(t.Context(), acme), "Open": opening(t, c.p, acme), "Drop": c.p.Drop(t.Context(), acme),
		} {
			if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "another") {
				t.Errorf("%s, %s: got %v, want %q", c.name, what, err, c.want)
			}
		}
	}
	if names := a.Names(); len(names) != 0 {
		t.Errorf("made all the same: %q", names)
	}
}

// TestTornBatches: an API that does not keep a batch together keeps no tenants.
func TestTornBatches(t *testing.T) {
	a := d1test.NewAPI(t)
	p := over(t, a)
	must(t, p.Create(t.Context(), acme))
	a.Torn = true
	later := over(t, a) // the process was restarted meanwhile
	for what, err := range map[string]error{
		"Create": later.Create(t.Context(), widgets), "Open": opening(t, later, acme), "Drop": later.Drop(t.Context(), acme),
	} {
		if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "use the Worker") {
			t.Errorf("%s: %v", what, err)
		}
	}
	a.Torn = false
	must(t, opening(t, later, acme)) // nothing of the proof is left to be taken for tables of somebody
	must(t, later.Create(t.Context(), widgets))
	must(t, opening(t, later, widgets))
}
