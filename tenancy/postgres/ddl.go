package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// migration is one numbered file of package migrations.
type migration struct {
	version int64
	text    string   // its statements, which name tables without a schema
	tables  []string // that it makes
}

// files are the migrations in order.
type files []migration

// loadFiles reads the embedded migrations once. That they can be read is a fact
// of the program, held by a test.
var loadFiles = sync.OnceValue(func() files {
	f, err := readFiles(migrations.FS)
	if err != nil {
		panic("postgres: " + err.Error())
	}
	return f
})

// schemaTables are the names of a tenant's tables.
var schemaTables = sync.OnceValue(func() map[string]bool {
	return loadFiles().tables()
})

const (
	upMark   = "-- +goose Up"
	downMark = "-- +goose Down"
)

// readFiles reads files in goose's form. goose itself runs statements as they
// are written, without a schema, so that it could choose one by search_path only.
func readFiles(from fs.FS) (files, error) {
	var f files
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return nil, err
	}
	for _, file := range names {
		m, err := readFile(from, file)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", file, err)
		}
		f = append(f, m)
	}
	slices.SortFunc(f, func(a, b migration) int { return int(a.version - b.version) })
	for i, m := range f {
		if m.version != int64(i+1) {
			return nil, fmt.Errorf("migration %d is missing", i+1)
		}
	}
	return f, nil
}

func readFile(from fs.FS, file string) (migration, error) {
	number, _, _ := strings.Cut(file, "_")
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return migration{}, errors.New("its name begins with no number")
	}
	content, err := fs.ReadFile(from, file)
	if err != nil {
		return migration{}, err
	}
	_, up, ok := strings.Cut(string(content), upMark)
	if !ok {
		return migration{}, fmt.Errorf("there is no line %q", upMark)
	}
	up, _, _ = strings.Cut(up, downMark)
	if strings.Contains(up, "+goose") {
		return migration{}, errors.New("only whole files in one transaction are supported")
	}
	return migration{version, strings.TrimSpace(up), tablesMade(up)}, nil
}

// version is the newest version.
func (f files) version() int64 { return int64(len(f)) }

// tables are the names of all tables.
func (f files) tables() map[string]bool {
	set := make(map[string]bool)
	for _, m := range f {
		for _, t := range m.tables {
			set[t] = true
		}
	}
	return set
}

// tablesMade returns the names after CREATE TABLE.
func tablesMade(script string) []string {
	var list []string
	var before [2]string
	for at := 0; at < len(script); {
		n, kind := nextToken(script[at:])
		if kind == name {
			w := word(script[at : at+n])
			if before == [2]string{"create", "table"} {
				list = append(list, w)
			}
			before = [2]string{before[1], w}
		}
		at += n
	}
	return list
}

// layout is how the tables of one schema are made.
type layout struct {
	schema string // `"name".`
	// bytewise has every text column compare by bytes, as text does on all our
	// other engines, where the server would not do so by itself.
	bytewise bool
	walled   bool // the tables are shared: row-level security stands between tenants
}

// script returns the statements that make the tables of one migration.
func (l layout) script(m migration, tables map[string]bool) string {
	text := cutAtTables(m.text, tables).in(l.schema) + "\n"
	if l.bytewise {
		text = collated(text)
	}
	if l.walled {
		text += walls(m.tables, l.schema)
	}
	return text
}

// scripts returns the statements that make everything from nothing.
func (l layout) scripts(f files, tenant string) string {
	var b strings.Builder
	b.WriteString(marker(l.schema, tenant, f.version()))
	tables := f.tables()
	for _, m := range f {
		b.WriteString(l.script(m, tables))
	}
	return b.String()
}

// collated gives every column of type TEXT the collation that compares bytes.
func collated(script string) string {
	var b strings.Builder
	for at := 0; at < len(script); {
		n, kind := nextToken(script[at:])
		b.WriteString(script[at : at+n])
		if kind == name && script[at:at+n] == "TEXT" {
			b.WriteString(` COLLATE "C"`)
		}
		at += n
	}
	return b.String()
}

// marker is the table beside a tenant's tables that says whose they are and
// which version they have. Shared tables and templates belong to nobody: "".
func marker(schema, tenant string, version int64) string {
	return fmt.Sprintf("CREATE TABLE %[1]sgatehouse (tenant TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL);\n"+
		"INSERT INTO %[1]sgatehouse (tenant, version) VALUES (%[2]s, %[3]d);\n", schema, quote(tenant), version)
}

// walls are the policies of row-level security over the shared tables. Without a
// tenant set in the transaction no row is visible and none can be written, also
// for the tables' owner.
func walls(tables []string, schema string) string {
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, `ALTER TABLE %[1]s%[2]s ENABLE ROW LEVEL SECURITY;
ALTER TABLE %[1]s%[2]s FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON %[1]s%[2]s;
CREATE POLICY tenant ON %[1]s%[2]s USING (tenant_id = current_setting('gatehouse.tenant', true)) WITH CHECK (tenant_id = current_setting('gatehouse.tenant', true));
`, schema, t)
	}
	return b.String()
}
