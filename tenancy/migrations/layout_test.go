package migrations

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestLayout holds that every table of the schema can be read, and so be copied.
func TestLayout(t *testing.T) {
	tables := Layout()
	if len(tables) < 30 {
		t.Fatalf("%d tables", len(tables))
	}
	byName := map[string]Table{}
	for _, table := range tables {
		byName[table.Name] = table
	}
	for name, want := range map[string]struct {
		key    Column
		column Column
	}{
		"users":      {Column{"id", Text, ""}, Column{"email_verified", Boolean, "FALSE"}},
		"change_log": {Column{"revision", Bigint, ""}, Column{"entity_id", Text, ""}},
		"counters":   {Column{"id", Text, ""}, Column{"value", Bigint, ""}},
	} {
		got := byName[name]
		if got.Key != want.key || !slices.Contains(got.Columns, want.column) {
			t.Errorf("%s: %+v", name, got)
		}
		if slices.ContainsFunc(got.Columns, func(c Column) bool { return c.Name == "tenant_id" }) {
			t.Errorf("%s lists tenant_id", name)
		}
	}
}

func TestLayoutOfLaterVersions(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	const first = "CREATE TABLE a (\n\ttenant_id TEXT NOT NULL,\n\tid TEXT NOT NULL,\n\tPRIMARY KEY (tenant_id, id)\n);\n"
	tables, err := readLayout(fstest.MapFS{
		"1_a.sql": file(first), "2_b.sql": file("ALTER TABLE a ADD COLUMN n BIGINT NOT NULL DEFAULT 0;\n"),
	})
	if err != nil || len(tables) != 1 || !slices.Equal(tables[0].Columns, []Column{{"id", Text, ""}, {"n", Bigint, "0"}}) {
		t.Errorf("got %+v, %v", tables, err)
	}
	for text, want := range map[string]string{
		strings.Replace(first, "id TEXT NOT NULL,\n\tPR", "id BLOB NOT NULL,\n\tPR", 1): "cannot read",
		strings.Replace(first, "\tPRIMARY KEY (tenant_id, id)\n", "", 1):                "no key",
		strings.Replace(first, "CREATE TABLE a (", "CREATE TABLE IF NOT EXISTS a (", 1): "0 of 1 tables",
		first + "ALTER TABLE a ADD COLUMN n REAL NOT NULL DEFAULT 0;\n":                 "type REAL",
		first + "ALTER TABLE a ADD COLUMN n BIGINT;\n":                                  "0 of 1 columns",
		first + "ALTER TABLE b ADD COLUMN n BIGINT NOT NULL DEFAULT 0;\n":               "no table",
	} {
		if _, err := readLayout(fstest.MapFS{"1_a.sql": file(text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q for\n%s", err, want, text)
		}
	}
}

// TestLean: tables lose their defaults, and nothing else changes.
func TestLean(t *testing.T) {
	const rest = "CREATE INDEX a_n ON a (tenant_id, n) WHERE n <> ' DEFAULT 1';\nALTER TABLE a ADD COLUMN m TEXT NOT NULL DEFAULT 'null';\n"
	got := Lean("CREATE TABLE a (\n\ttenant_id TEXT NOT NULL,\n\tn BIGINT NOT NULL DEFAULT 0,\n\tb BOOLEAN NOT NULL DEFAULT FALSE,\n\ts TEXT NOT NULL DEFAULT 'null'\n);\n" + rest)
	if want := "CREATE TABLE a(tenant_id TEXT NOT NULL,n BIGINT NOT NULL,b BOOLEAN NOT NULL,s TEXT NOT NULL);\n" + rest; got != want {
		t.Errorf("got %s", got)
	}
	for _, m := range All() {
		for _, table := range createTable.FindAllString(Lean(m.Script), -1) {
			if strings.Contains(table, "DEFAULT") {
				t.Errorf("version %d: %s", m.Version, table)
			}
		}
	}
}
