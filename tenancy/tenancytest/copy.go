package tenancytest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// awkward are texts that get lost or changed on the way where one is careless.
var awkward = []string{"", "null", `{"a": [1, "ü"]}`, "line\nbreak\ttab", `it's "quoted" \ $1 ?`, "日本語 🙂", "Z\u001fid", strings.Repeat("long ", 3000)}

// fill writes n rows into every table of the tenant, with ids that another tenant
// filled so has as well, and values that it has not.
func (h *house) fill(t *testing.T, x *tenancy.Tenant, n int) {
	t.Helper()
	db, err := h.provider.Open(t.Context(), x.Location())
	must(t, err)
	for _, table := range migrations.Layout() {
		for i := range n {
			names, args := []string{`"tenant_id"`}, []any{x.ID}
			for j, c := range table.Columns {
				names = append(names, `"`+c.Name+`"`)
				switch {
				case c == table.Key && c.Type == migrations.Text:
					args = append(args, fmt.Sprintf("%c|%d", 'A'+i%50, i)) // "A" to "r": bytes are not the alphabet
				case c.Type == migrations.Text:
					args = append(args, fmt.Sprint(x.ID, i, j, awkward[(i+j)%len(awkward)]))
				case c.Type == migrations.Bigint:
					args = append(args, int64(i)*int64(1_700_000_000_000_000/(n+1))-int64(j))
				default:
					args = append(args, (i+j)%2 == 0)
				}
			}
			insert := `INSERT INTO ` + table.Name + ` (` + strings.Join(names, ", ") + `) VALUES (?` + strings.Repeat(", ?", len(args)-1) + `)`
			if _, err := db.Batch(t.Context(), []tenancy.Stmt{{SQL: h.provider.Rebind(insert), Args: args, Rows: 1}}); err != nil {
				t.Fatalf("filling %s: %v", table.Name, err)
			}
		}
	}
	must(t, db.Close())
}

// insertion is a statement for a row of a table whose arguments are the tenant, the
// id and one column. The others get what the schema says; a provider need not keep
// default values in its tables.
func insertion(table, column string) string {
	names, values := `tenant_id, id, `+column, `?, ?, ?`
	for _, t := range migrations.Layout() {
		for _, c := range t.Columns {
			if t.Name == table && c.Default != "" && c.Name != column {
				names, values = names+`, "`+c.Name+`"`, values+", "+c.Default
			}
		}
	}
	return `INSERT INTO ` + table + ` (` + names + `) VALUES (` + values + `)`
}

// copiedRows: all rows of a tenant go from the provider to another one and back,
// and are equal by count and hash in each place; another tenant's are not touched.
func copiedRows(t *testing.T, h *house) {
	const n = 7
	h.fill(t, h.acme, n)
	h.fill(t, h.widgets, n)
	home := tenancy.Place{Provider: h.provider, Location: h.acme.Location()}
	neighbour := tenancy.Place{Provider: h.provider, Location: h.widgets.Location()}
	files := &sqlite.Provider{Dir: t.TempDir()}
	away := tenancy.Place{Provider: files, Location: tenancy.Location{Tenant: "acme", Name: "acme-away"}}
	spare := tenancy.Place{Provider: files, Location: h.widgets.Location()}
	for _, p := range []tenancy.Place{away, spare} {
		must(t, files.Create(t.Context(), p.Location))
	}
	copied := func(from, to tenancy.Place) map[string]tenancy.Sum {
		t.Helper()
		var last tenancy.Progress
		sums, err := tenancy.CopyRows(t.Context(), from, to, func(p tenancy.Progress) { last = p })
		must(t, err)
		if len(sums) != len(migrations.Layout()) || last.Done == 0 && last.Step == "" {
			t.Errorf("%d tables, progress %+v", len(sums), last)
		}
		for name, sum := range sums {
			if sum.Rows != n {
				t.Errorf("table %s has %d rows, want %d", name, sum.Rows, n)
			}
		}
		return sums
	}
	widgets := copied(neighbour, spare)
	there := copied(home, away)
	// What is not in the source goes, what was changed comes back.
	db, err := files.Open(t.Context(), away.Location)
	must(t, err)
	_, err = db.Batch(t.Context(), []tenancy.Stmt{
		{SQL: `UPDATE users SET email = 'changed', blocked = NOT blocked WHERE id LIKE 'B%'`, Rows: 1},
		{SQL: `DELETE FROM change_log WHERE revision = (SELECT MAX(revision) FROM change_log)`, Rows: 1},
		{SQL: insertion("roles", "name_key"), Args: []any{"acme", "more", "more"}, Rows: 1},
	})
	must(t, err)
	must(t, db.Close())
	if again := copied(home, away); !maps.Equal(there, again) {
		t.Errorf("a second copy: %v, want %v", again, there)
	}
	must(t, h.provider.Drop(t.Context(), home.Location))
	must(t, h.provider.Create(t.Context(), home.Location))
	if back := copied(away, home); !maps.Equal(there, back) {
		t.Errorf("back home: %v, want %v", back, there)
	}
	if after := copied(neighbour, spare); !maps.Equal(widgets, after) {
		t.Errorf("the other tenant has %v, had %v", after, widgets)
	}
}

// snapshots: where the databases can be read at a moment, what is written after it
// does not show, another tenant's rows do not either, and writers do not wait.
func snapshots(t *testing.T, h *house) {
	h.fill(t, h.acme, 2)
	h.fill(t, h.widgets, 3)
	opened, err := h.provider.Open(t.Context(), h.acme.Location())
	must(t, err)
	defer func() { must(t, opened.Close()) }()
	db, ok := opened.(tenancy.SnapshotDatabase)
	if !ok {
		return // an optional ability
	}
	count := func(q tenancy.Querier) (n int) {
		t.Helper()
		rows, err := q.QueryContext(t.Context(), h.provider.Rebind(`SELECT id FROM users WHERE tenant_id = ? ORDER BY id`), "acme")
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			n++
		}
		must(t, rows.Err())
		return n
	}
	for range 2 { // the connection comes back whole
		moment, err := db.Snapshot(t.Context())
		must(t, err)
		before := count(db)
		_, err = db.Batch(t.Context(), []tenancy.Stmt{{
			SQL: h.provider.Rebind(insertion("users", "email")), Args: []any{"acme", fmt.Sprint("new", before), fmt.Sprint("new", before)}, Rows: 1,
		}})
		must(t, err)
		if got := count(moment); got != before {
			t.Errorf("the snapshot shows %d users, there were %d", got, before)
		}
		must(t, moment.Close())
		if got := count(db); got != before+1 {
			t.Errorf("%d users after the snapshot, want %d", got, before+1)
		}
	}
}
