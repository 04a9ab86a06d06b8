package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/gatehouse-id/gatehouse"

// layers says what each package may import of this module, itself or through
// others, and why not more. "..." allows everything. A package that is not here
// has no place in the house yet: find it one.
var layers = map[string]struct {
	may []string
	why string
}{
	"tenancy":            {[]string{"tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"}, "the domain knows neither how it is served nor where it is stored"},
	"tenancy/migrations": {[]string{"tenancy/sqltext"}, "it is SQL, read by the providers, and by the domain to carry rows whole"},
	"tenancy/sqltext":    {[]string{}, "it reads SQL, whoever wrote it"},
	"tenancy/liquid":     {[]string{}, "a template sees what it is given and reaches nothing"},
	"tenancy/webhook":    {[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"}, "it tells of the domain, whoever serves it"},
	"tenancy/mail":       {[]string{}, "what is sent does not depend on who asks for it"},
	"tenancy/outbox": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/mail", "tenancy/webhook"},
		"it brings mail away, whoever wrote it, and dials as carefully as webhooks do",
	},
	"tenancy/mail/mailtest": {[]string{}, "it is a server for tests, whoever's they are"},
	"tenancy/sqlite": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"},
		"a provider is one of several: nothing but the domain may be needed to write one",
	},
	"tenancy/postgres": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"},
		"a provider is one of several: nothing but the domain may be needed to write one",
	},
	"tenancy/sqlite/remote": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/sqlite"},
		"it is what providers of remote databases have in common, whichever these are",
	},
	"tenancy/d1": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/sqlite", "tenancy/sqlite/remote"},
		"a provider is one of several: beside what all SQLite has in common, nothing but the domain may be needed to write one",
	},
	"tenancy/d1/d1test": {[]string{}, "it stands for Cloudflare in tests, whoever's they are"},
	"tenancy/libsql": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/sqlite", "tenancy/sqlite/remote"},
		"a provider is one of several: beside what all SQLite has in common, nothing but the domain may be needed to write one",
	},
	"tenancy/libsql/sqldtest":       {[]string{}, "it starts a server for tests, whoever's they are"},
	"tenancy/postgres/postgrestest": {[]string{}, "it starts a server for tests, whoever's they are"},
	"tenancy/tenancytest": {
		[]string{"tenancy", "tenancy/sqlite", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"},
		"the suite tests providers through the domain's interface only",
	},
	"tenancy/management": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/mail"},
		"it declares what it needs of the protocol as interfaces, so that the two can change apart",
	},
	"tenancy/console": {[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/mail", "tenancy/management"}, "it shows what the API has and logs in like any client"},
	"oauth":           {[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"}, "the protocol shares a stored login with the pages, and no code"},
	"oauth/upstream": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/webhook"},
		"it finds out who somebody is elsewhere, whatever is done with it here",
	},
	"oauth/upstream/upstreamtest": {[]string{}, "it is an identity provider for tests, whoever's they are"},
	"oauth/login": {
		[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid", "tenancy/mail", "tenancy/webhook", "oauth/upstream"},
		"the pages store what a person entered; what it means for the protocol is decided at /authorize/resume",
	},
	"tenancy/expr":          {[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"}, "an expression sees what it is given and reaches nothing"},
	"sync":                  {[]string{"tenancy", "tenancy/migrations", "tenancy/sqltext", "tenancy/liquid"}, "it brings rows from one tenant to others, whoever wrote them"},
	"caddymodule":           {[]string{"..."}, "it puts the parts together"},
	"":                      {[]string{"..."}, "it is the modules under one name"},
	"caddymodule/gatehouse": {[]string{"..."}, "it is Caddy with the modules in it"},
	"test":                  {[]string{"..."}, "it looks from outside"},
}

// foreign says who may import what is not ours.
var foreign = []struct {
	path string   // import path, or the beginning of one
	may  []string // packages that import it themselves
	deep bool     // nor may others depend on it through somebody
	why  string
}{
	{
		"github.com/caddyserver/",
		[]string{"", "caddymodule", "caddymodule/gatehouse", "test"},
		true,
		"everything else is a plain Go library, built and tested in seconds",
	},
	{"github.com/ory/fosite", []string{"oauth"}, false, "fosite is behind our own engine, so that it can be replaced"},
	{"github.com/wneessen/go-mail", []string{"tenancy/mail"}, false, "what a message is made of and how it travels is one package's business"},
	{"cel.dev/", []string{"tenancy/expr"}, false, "expressions are bounded where they are compiled"},
	{"gorm.io/", []string{"tenancy", "tenancy/sqlite", "tenancy/sqlite/remote", "tenancy/d1", "tenancy/libsql", "tenancy/postgres", "oauth"}, false, "statements are built where the tenant is bound to them"},
	{"database/sql", []string{"tenancy", "tenancy/sqlite", "tenancy/sqlite/remote", "tenancy/postgres", "tenancy/tenancytest", "oauth"}, false, "a handle to a database outside of a tenant is a way around the tenant"},
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath, Dir, Name string
	GoFiles, Imports      []string
	Deps                  []string
}

func (p goPackage) rel() string { return relative(p.ImportPath) }

// relative is an import path within this module; "" is its root.
func relative(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, modulePath), "/")
}

func ours(path string) bool { return path == modulePath || strings.HasPrefix(path, modulePath+"/") }

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,Deps", "./...")
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// TestImports holds the layers.
func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		layer, ok := layers[p.rel()]
		if !ok {
			t.Errorf("package %s has no place in the layers", p.ImportPath)
			continue
		}
		for _, dep := range p.Deps {
			if ours(dep) && dep != p.ImportPath && !slices.Contains(layer.may, "...") && !slices.Contains(layer.may, relative(dep)) {
				t.Errorf("%s depends on %s; it must not, because %s", p.ImportPath, dep, layer.why)
			}
		}
		for _, f := range foreign {
			if slices.Contains(f.may, p.rel()) {
				continue
			}
			imports := p.Imports
			if f.deep {
				imports = p.Deps
			}
			for _, path := range imports {
				if path == f.path || strings.HasPrefix(path, f.path) {
					t.Errorf("%s imports %s; it must not, because %s", p.ImportPath, path, f.why)
				}
			}
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "model", "models", "types", "dto", "misc"}, p.Name) {
			t.Errorf("package %s is named after nothing it does", p.ImportPath)
		}
	}
}

// TestSyncName: package sync shares its name with the standard library's, so
// only caddymodule and tests import it, under another.
func TestSyncName(t *testing.T) {
	for _, p := range listPackages(t) {
		if slices.Contains(p.Imports, modulePath+"/sync") && p.rel() != "caddymodule" {
			t.Errorf("%s imports sync; only caddymodule does", p.ImportPath)
		}
		for _, file := range goFiles(t, p.Dir) {
			for _, spec := range parse(t, file, parser.ImportsOnly).Imports {
				if strings.Trim(spec.Path.Value, `"`) == modulePath+"/sync" && (spec.Name == nil || spec.Name.Name != "tenantsync") {
					t.Errorf("%s imports sync under its own name; call it tenantsync", file)
				}
			}
		}
	}
}

// TestDocumentation: every package says once what it is for.
func TestDocumentation(t *testing.T) {
	for _, p := range listPackages(t) {
		var documented []string
		for _, name := range p.GoFiles {
			file := parse(t, filepath.Join(p.Dir, name), parser.PackageClauseOnly|parser.ParseComments)
			if file.Doc == nil {
				continue
			}
			documented = append(documented, name)
			want := "Package " + p.Name + " "
			if p.Name == "main" {
				want = "Command "
			}
			if !strings.HasPrefix(file.Doc.Text(), want) {
				t.Errorf("%s: the comment of %s does not begin with %q", p.ImportPath, name, want)
			}
		}
		if len(documented) != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s is documented in %d files, want one: %q", p.ImportPath, len(documented), documented)
		}
	}
}

// TestModule: what xcaddy builds is what is tested here, because it takes no
// notice of replace lines; and who uses it can read under which licence.
func TestModule(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mod), "\n") {
		if words := strings.Fields(line); len(words) > 0 && (words[0] == "replace" || words[0] == "exclude") {
			t.Errorf("go.mod has a line that holds for nobody else: %s", line)
		}
	}
	licence, err := os.ReadFile("../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(licence), "Apache License") || !strings.Contains(string(licence), "Version 2.0, January 2004") {
		t.Error("LICENSE is not the Apache License 2.0")
	}
}

func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func parse(t *testing.T, file string, mode parser.Mode) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
