package migrations_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		script string
		want   []string
	}{
		{"", nil},
		{" ;; -- nothing;\n", nil},
		{"A; B", []string{"A", "B"}},
		{"-- a; b\nA 'x;''y' \"c;d\" /* e; */ f;\n-- more\nB\n", []string{`A 'x;''y' "c;d" /* e; */ f`, "B"}},
	} {
		if got := migrations.Split(c.script); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.script, got, c.want)
		}
	}
}

// TestAll: every statement of the embedded files is one that makes or changes
// something, and nothing is lost between them.
func TestAll(t *testing.T) {
	all := migrations.All()
	if all.Version() != migrations.Version {
		t.Errorf("there are %d files for version %d", all.Version(), migrations.Version)
	}
	for _, m := range all {
		tables := 0
		for _, s := range m.Statements() {
			switch verb, _, _ := strings.Cut(s, " "); verb {
			case "CREATE", "ALTER", "UPDATE", "INSERT", "DELETE":
			default:
				t.Errorf("version %d: %q", m.Version, s)
			}
			if strings.HasPrefix(s, "CREATE TABLE") {
				tables++
			}
		}
		if tables != len(m.Tables) {
			t.Errorf("version %d: %d statements make tables, of %d", m.Version, tables, len(m.Tables))
		}
	}
}

func TestRead(t *testing.T) {
	for want, files := range map[string]fstest.MapFS{
		"migration 2 is missing":         {"00001_a.sql": {Data: []byte("-- +goose Up\nA")}, "00003_b.sql": {Data: []byte("-- +goose Up\nB")}},
		"begins with no number":          {"a.sql": {Data: []byte("-- +goose Up\nA")}},
		`no line "-- +goose Up"`:         {"00001_a.sql": {Data: []byte("A")}},
		"whole files in one transaction": {"00001_a.sql": {Data: []byte("-- +goose Up\n-- +goose NO TRANSACTION\nA")}},
	} {
		if _, err := migrations.Read(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	l, err := migrations.Read(fstest.MapFS{"00001_a.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (b TEXT);\n-- +goose Down\nDROP TABLE a;")}})
	if err != nil || len(l) != 1 || l[0].Script != "CREATE TABLE a (b TEXT);" || !l.Tables()["a"] {
		t.Errorf("got %+v, %v", l, err)
	}
}
