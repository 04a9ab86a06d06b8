package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var scenarioName = regexp.MustCompile(`SC-(\d{3})(?: to SC-(\d{3}))?`)

// TestScenariosOfSync: each scenario of the contract about synchronisation,
// inheritance and the life of tenants is named by a test that plays it: in what the
// test says about itself, or as the name of one of its parts.
func TestScenariosOfSync(t *testing.T) {
	const first, last = 79, 107
	elsewhere := map[int]string{ // with what proves them as far as there are tests
		96: "logging in by an inherited connection: package oauth/login and the fallback of connections",
		97: "where an inherited secret is sent: as 96",
		99: "a tenant made by a person, whose host works at once: TestTenants has all of it but the login",
	}
	proofs := map[int][]string{}
	files := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "scenarios_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				for _, n := range scenariosOf(f) {
					proofs[n] = append(proofs[n], path+" "+f.Name.Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := first; n <= last; n++ {
		switch why, known := elsewhere[n]; {
		case len(proofs[n]) > 0:
			t.Logf("SC-%03d: %s", n, strings.Join(proofs[n], ", "))
		case known:
			t.Logf("SC-%03d: %s", n, why)
		default:
			t.Errorf("no test names SC-%03d", n)
		}
	}
}

// scenariosOf lists the scenarios that a test names in its comment or in its texts.
func scenariosOf(f *ast.FuncDecl) []int {
	text := f.Doc.Text()
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text += "\n" + lit.Value
		}
		return true
	})
	var list []int
	for _, m := range scenarioName.FindAllStringSubmatch(text, -1) {
		var from, to int
		_, _ = fmt.Sscan(strings.TrimLeft(m[1], "0"), &from) // they are digits
		if to = from; m[2] != "" {
			_, _ = fmt.Sscan(strings.TrimLeft(m[2], "0"), &to)
		}
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
