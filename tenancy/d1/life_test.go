package d1_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// TestNobodyElses: a database is found by exactly its name among others that have
// it in theirs, and what is another tenant's is neither opened, filled nor dropped.
func TestNobodyElses(t *testing.T) {
	a := d1test.NewAPI(t)
	p := over(t, a)
	for i := range 12 { // pages of the list, longest names first
		must(t, p.Create(t.Context(), tenancy.Location{Tenant: fmt.Sprint("acme", i)}))
	}
	if err := opening(t, p, acme); !errors.Is(err, tenancy.ErrUnavailable) || !errors.Is(err, remote.ErrMissing) {
		t.Errorf("opened a database of a longer name: %v", err)
	}
	must(t, p.Drop(t.Context(), acme))
	must(t, p.Create(t.Context(), acme))
	if n, err := p.Count(t.Context()); n != 13 || err != nil {
		t.Errorf("%d databases, %v", n, err)
	}
	thief := tenancy.Location{Tenant: "thief", Name: "acme"}
	for what, err := range map[string]error{
		"Create": p.Create(t.Context(), thief), "Open": opening(t, p, thief), "Drop": p.Drop(t.Context(), thief),
	} {
		if err == nil || !strings.Contains(err.Error(), `belongs to tenant "acme"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := closed(t, &d1.Provider{Account: a.Account, Token: a.Token, API: a.URL, Prefix: "other"})
	must(t, other.Create(t.Context(), acme))
	must(t, other.Drop(t.Context(), acme))
	must(t, opening(t, p, acme))
	if n, err := other.Count(t.Context()); n != 0 || err != nil {
		t.Errorf("the other installation has %d databases, %v", n, err)
	}
	if names := a.Names(); len(names) != 13 || !slices.Contains(names, "gatehouse_acme") {
		t.Errorf("there are %q", names)
	}
}

// TestCreatedWithoutAnswer: a database whose creation was carried out without an
// answer is found and filled when the tenant is created again.
func TestCreatedWithoutAnswer(t *testing.T) {
	var lose atomic.Bool
	a := d1test.NewAPI(t)
	a.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/database") && lose.Swap(false) {
			a.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		return false
	}
	p := over(t, a)
	lose.Store(true)
	if err := p.Create(t.Context(), acme); !errors.Is(err, tenancy.ErrUnavailable) || !errors.Is(err, remote.ErrLost) {
		t.Errorf("without an answer: %v", err)
	}
	if err := opening(t, p, acme); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("opened before it was filled: %v", err)
	}
	must(t, p.Create(t.Context(), acme))
	must(t, opening(t, p, acme))
	if names := a.Names(); len(names) != 1 {
		t.Errorf("there are %q", names)
	}
}

// TestRemade: an id that is remembered is forgotten when its database is gone.
func TestRemade(t *testing.T) {
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			p := home(t)
			db := opened(t, p, acme)
			must(t, writing(t, db, "old"))
			other := homeOf(p) // another process
			must(t, other.Drop(t.Context(), acme))
			if err := reading(t, db); !errors.Is(err, remote.ErrMissing) {
				t.Errorf("reading what is gone: %v", err)
			}
			must(t, other.Create(t.Context(), acme))
			again, err := p.Open(t.Context(), acme)
			must(t, err)
			defer again.Close()
			must(t, writing(t, again, "old"))
		})
	}
}

// homeOf returns a provider over the same databases that remembers nothing.
func homeOf(p *d1.Provider) *d1.Provider {
	return &d1.Provider{Account: p.Account, Token: p.Token, API: p.API, Worker: p.Worker, Secret: p.Secret, Prefix: p.Prefix}
}

// TestWhatItTakes: text and numbers that would arrive as others, and searches
// longer than the engine takes, are the caller's mistake; long lists are not.
func TestWhatItTakes(t *testing.T) {
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			db := opened(t, home(t), acme)
			query := func(text string, args ...any) error {
				rows, err := db.QueryContext(t.Context(), text, args...)
				if err == nil {
					err = errors.Join(rows.Close(), rows.Err())
				}
				return err
			}
			for what, err := range map[string]error{
				"NUL":       writing(t, db, "a\x00b"),
				"not UTF-8": writing(t, db, "a\xffb"),
				"number":    query(`SELECT ?`, int64(1)<<53),
				"value":     writing(t, db, strings.Repeat("x", 2_000_001)),
				"search":    query(`SELECT 1 WHERE 'a' LIKE ?`, strings.Repeat("x", 51)),
				"statement": query(`SELECT ? -- `+strings.Repeat("x", 100_000), 1),
			} {
				if tenancy.StatusOf(err) != 400 {
					t.Errorf("%s: %v", what, err)
				}
			}
			args := make([]any, 301)
			for i := range args {
				args[i] = fmt.Sprint("it's ? ", i)
			}
			must(t, writing(t, db, "it's ? 300"))
			rows, err := db.QueryContext(t.Context(), `SELECT id FROM roles WHERE id IN (?`+strings.Repeat(`, ?`, 300)+`)`, args...)
			must(t, err)
			defer rows.Close()
			var id string
			if !rows.Next() || rows.Scan(&id) != nil || id != "it's ? 300" {
				t.Errorf("looked for 301 rows and found %q, %v", id, rows.Err())
			}
		})
	}
}
