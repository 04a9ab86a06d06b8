package postgres

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestMigrationFiles: the embedded files can be read, and say which version is
// the newest.
func TestMigrationFiles(t *testing.T) {
	f, err := migrations.Read(migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	if f.Version() != migrations.Version {
		t.Errorf("there are %d files for version %d", f.Version(), migrations.Version)
	}
	for _, m := range f {
		for _, table := range m.Tables {
			if !strings.Contains(m.Script, table+" (\n\ttenant_id TEXT NOT NULL,") || table == "gatehouse" {
				t.Errorf("table %s does not begin with tenant_id", table)
			}
		}
	}
	if len(f.Tables()) < 28 {
		t.Errorf("only %d tables were found", len(f.Tables()))
	}
}

// refused is what CockroachDB, YugabyteDB or Citus do not have, have only in
// part, or do in another way (design 4), and what hides tables from cutAtTables.
var refused = map[string]*regexp.Regexp{
	"advisory locks":               regexp.MustCompile(`(?i)\bpg_(try_)?advisory`),
	"LISTEN and NOTIFY":            regexp.MustCompile(`(?i)^\s*(LISTEN|NOTIFY)\b|pg_notify`),
	"triggers":                     regexp.MustCompile(`(?i)\bTRIGGER\b`),
	"functions and procedures":     regexp.MustCompile(`(?i)\b(FUNCTION|PROCEDURE|plpgsql)\b|^\s*DO\s+\$`),
	"dollar quoting":               regexp.MustCompile(`\$\w*\$`),
	"escape strings":               regexp.MustCompile(`(?i)\bE'`),
	"sequences":                    regexp.MustCompile(`(?i)\b(SERIAL|BIGSERIAL|IDENTITY|nextval|SEQUENCE)\b`),
	"foreign keys":                 regexp.MustCompile(`(?i)\bREFERENCES\b`),
	"deferrable constraints":       regexp.MustCompile(`(?i)\bDEFERR(ABLE|ED)\b`),
	"LOCK TABLE":                   regexp.MustCompile(`(?i)\bLOCK\s+TABLE\b`),
	"temporary and unlogged":       regexp.MustCompile(`(?i)\b(TEMP|TEMPORARY|UNLOGGED)\s+TABLE\b`),
	"extensions":                   regexp.MustCompile(`(?i)\bEXTENSION\b`),
	"search_path":                  regexp.MustCompile(`(?i)search_path`),
	"session settings":             regexp.MustCompile(`(?i)^\s*SET\s|\bSET\s+(LOCAL|SESSION)\b`),
	"two-phase commit":             regexp.MustCompile(`(?i)\bPREPARE\s+TRANSACTION\b`),
	"exclusion constraints":        regexp.MustCompile(`(?i)\bEXCLUDE\s+USING\b`),
	"inheritance and partitions":   regexp.MustCompile(`(?i)\b(INHERITS|PARTITION\s+BY)\b`),
	"table names behind WITH":      regexp.MustCompile(`(?i)^\s*WITH\b`),
	"SQLite's own":                 regexp.MustCompile(`(?i)\b(IFNULL|json_extract|strftime|rowid|AUTOINCREMENT|INSERT\s+OR)\b`),
	"rows told apart by place":     regexp.MustCompile(`(?i)\bctid\b`),
	"columns without their names":  regexp.MustCompile(`(?i)SELECT\s+\*`),
	"MERGE":                        regexp.MustCompile(`(?i)^\s*MERGE\b`),
	"truncation":                   regexp.MustCompile(`(?i)\bTRUNCATE\b`),
	"moves of rows between shards": regexp.MustCompile(`(?i)SET\s+tenant_id\s*=`),
}

func refusedIn(text string) []string {
	var list []string
	for what, pattern := range refused {
		if pattern.MatchString(text) {
			list = append(list, what)
		}
	}
	return list
}

func TestPortableMigrations(t *testing.T) {
	for _, m := range migrations.All() {
		for _, what := range refusedIn(m.Script) {
			t.Errorf("migration %d uses %s", m.Version, what)
		}
	}
	// What this package adds of its own.
	for _, text := range []string{marker("s.", "acme", 1), columns, walls([]string{"x"}, "s."), begin, setTenant} {
		for _, what := range refusedIn(text) {
			t.Errorf("%q uses %s", text, what)
		}
	}
}

func TestLintFinds(t *testing.T) {
	for what, text := range map[string]string{
		"advisory locks": "SELECT pg_advisory_lock(1)", "LISTEN and NOTIFY": "NOTIFY x", "triggers": "CREATE TRIGGER x", "sequences": "id BIGSERIAL",
		"search_path": "SELECT set_config('search_path', 'x', true)", "dollar quoting": "DO $$ BEGIN END $$", "SQLite's own": "INSERT OR REPLACE INTO x",
	} {
		if got := strings.Join(refusedIn(text), ", "); !strings.Contains(got, what) {
			t.Errorf("%q: found %q, want %q", text, got, what)
		}
	}
}

// statement is a constant text in the module's code.
type statement struct {
	where string
	text  string
	whole bool // the argument of a function that takes whole statements
}

// isSQL finds statements and parts of them among the texts of the program.
var isSQL = regexp.MustCompile(`^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH)\b[^.]*\b(FROM|SET|INTO)\b|@tenant|tenant_id = `)

// statements returns the SQL texts of all code that is shipped, except of the
// other providers.
func statements(t *testing.T) []statement {
	t.Helper()
	root := filepath.Join("..", "..")
	var list []statement
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "node_modules", "test", "testdata", "sqlite", "libsql", "d1", "postgres", "tenancytest", ".git":
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, content, 0)
		if err != nil {
			return nil // somebody's work; the compiler complains
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				list = append(list, wholeStatement(set, n)...)
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && isSQL.MatchString(text) {
					list = append(list, statement{where: set.Position(n.Pos()).String(), text: text})
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wholeStatement returns the statement a call is given, where it is a constant.
func wholeStatement(set *token.FileSet, call *ast.CallExpr) []statement {
	function := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		function = f.Name
	case *ast.SelectorExpr:
		function = f.Sel.Name
	}
	if len(call.Args) < 2 {
		return nil
	}
	text, ok := constant(call.Args[1])
	if !ok || !strings.Contains(text, "@tenant") {
		return nil
	}
	switch function {
	case "Require":
		text = "SELECT 1 WHERE " + text
	case "SQL", "Query", "QueryRow":
	default:
		return nil
	}
	return []statement{{set.Position(call.Pos()).String(), text, true}}
}

// constant returns the value of a literal, or of several that are joined.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, ok := constant(e.X)
		right, ok2 := constant(e.Y)
		return left + right, ok && ok2 && e.Op == token.ADD
	}
	return "", false
}

func TestPortableStatements(t *testing.T) {
	list := statements(t)
	for _, s := range list {
		for _, what := range refusedIn(s.text) {
			t.Errorf("%s uses %s: %s", s.where, what, s.text)
		}
	}
	if len(list) < 60 {
		t.Errorf("only %d statements were found", len(list))
	}
}

// TestStatements has the server read every statement of the code that stands
// there whole: no table is missed, and the types of all arguments are known.
func TestStatements(t *testing.T) {
	p := &Provider{DSN: postgrestest.DSN(t), Isolation: Row}
	defer p.Close()
	if err := p.start(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	whole := 0
	err := withConn(t.Context(), p.main, func(c *pgx.Conn) error {
		for _, s := range statements(t) {
			if !s.whole {
				continue
			}
			whole++
			text := p.texts.pieces(p.Rebind(strings.ReplaceAll(s.text, "@tenant", "?"))).in(p.schema())
			if _, err := c.Prepare(t.Context(), "", text); err != nil {
				t.Errorf("%s: %v\n%s", s.where, err, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if whole < 25 {
		t.Errorf("only %d statements were read", whole)
	}
}
