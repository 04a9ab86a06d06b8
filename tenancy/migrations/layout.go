package migrations

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Table is a table of the newest version.
type Table struct {
	Name    string
	Key     Column   // what rows of one tenant are told apart by, beside tenant_id
	Columns []Column // in order, without tenant_id; the key among them
}

// Column is a column of a [Table].
type Column struct {
	Name string
	Type Type

	// Default is the SQL literal of rows that do not say; "" for a column that
	// every row has to give.
	Default string
}

// Type is one of the three types the schema keeps to, which every engine has.
type Type string

// The types.
const (
	Text    Type = "TEXT"
	Bigint  Type = "BIGINT"
	Boolean Type = "BOOLEAN"
)

// Layout returns the tables of the newest version, in the order in which they
// were first made. It panics for files it cannot read: that they can be read is
// a fact of the program, held by a test. The result is shared.
var Layout = sync.OnceValue(func() []Table {
	tables, err := readLayout(FS)
	if err != nil {
		panic("migrations: " + err.Error())
	}
	return tables
})

var (
	createTable = regexp.MustCompile(`(?ms)^CREATE TABLE (\w+) \(\n(.*?)^\);`)
	addColumn   = regexp.MustCompile(`(?m)^ALTER TABLE (\w+) ADD COLUMN (\w+) (\w+) NOT NULL DEFAULT ('[^']*'|\w+);$`)
	columnLine  = regexp.MustCompile(`^\t(\w+) (TEXT|BIGINT|BOOLEAN) NOT NULL(?: DEFAULT ('[^']*'|\w+))?$`)
	keyLine     = regexp.MustCompile(`^\tPRIMARY KEY \(tenant_id, (\w+)\)$`)
)

func readLayout(from fs.FS) ([]Table, error) {
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var tables []Table
	for _, name := range names {
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, err
		}
		if tables, err = readTables(tables, string(content)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return tables, nil
}

// readTables adds to tables what one file makes.
func readTables(tables []Table, script string) ([]Table, error) {
	made := createTable.FindAllStringSubmatch(script, -1)
	if n := strings.Count(script, "CREATE TABLE "); n != len(made) {
		return nil, fmt.Errorf("%d of %d tables are written in a form that can be read", len(made), n)
	}
	for _, m := range made {
		t, err := readTable(m[1], m[2])
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", m[1], err)
		}
		tables = append(tables, t)
	}
	added := addColumn.FindAllStringSubmatch(script, -1)
	if n := strings.Count(script, " ADD COLUMN "); n != len(added) {
		return nil, fmt.Errorf("%d of %d columns are added in a form that can be read", len(added), n)
	}
	for _, m := range added {
		i := slices.IndexFunc(tables, func(t Table) bool { return t.Name == m[1] })
		if i < 0 {
			return nil, fmt.Errorf("column %s is added to no table", m[2])
		}
		switch Type(m[3]) {
		case Text, Bigint, Boolean:
		default:
			return nil, fmt.Errorf("column %s.%s is of type %s", m[1], m[2], m[3])
		}
		tables[i].Columns = append(tables[i].Columns, Column{m[2], Type(m[3]), m[4]})
	}
	return tables, nil
}

func readTable(name, body string) (Table, error) {
	t := Table{Name: name}
	key := ""
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(strings.TrimRight(line, "\n"), ",")
		if m := keyLine.FindStringSubmatch(line); m != nil {
			key = m[1]
			continue
		}
		m := columnLine.FindStringSubmatch(line)
		if m == nil {
			return t, fmt.Errorf("cannot read %q", strings.TrimSpace(line))
		}
		if m[1] != "tenant_id" {
			t.Columns = append(t.Columns, Column{m[1], Type(m[2]), m[3]})
		}
	}
	i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == key })
	if i < 0 {
		return t, fmt.Errorf("it has no key of tenant_id and one column")
	}
	t.Key = t.Columns[i]
	return t, nil
}

var defaulted = regexp.MustCompile(`(?m)^(\t\w+ (?:TEXT|BIGINT|BOOLEAN) NOT NULL) DEFAULT (?:'[^']*'|\w+)(,?)$`)

// Lean is the script with tables whose columns have no default values, for rows
// that say everything, and whose text, which SQLite keeps, is as short as may be.
func Lean(script string) string {
	return createTable.ReplaceAllStringFunc(script, func(table string) string {
		return short.Replace(defaulted.ReplaceAllString(table, "$1$2"))
	})
}

var short = strings.NewReplacer(" (\n\t", "(", ",\n\t", ",", "\n)", ")", ", ", ",", " (", "(")
