package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what came out into the golden files")

// divider separates a Caddyfile from what it is expected to become.
const divider = "\n----------\n"

// TestCaddyfile adapts every file in testdata/caddyfile: a Caddyfile, a line of
// dashes, and the JSON or the error it gives.
func TestCaddyfile(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(content), divider)
			got := adapt(t, input+"\n")
			if *update {
				if err := os.WriteFile(file, []byte(input+divider+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// adapt returns the indented JSON of a Caddyfile, or the text of its error.
func adapt(t *testing.T, caddyfile string) string {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		return err.Error() + "\n"
	}
	for _, w := range warnings {
		if !strings.Contains(w.Message, "not formatted") {
			t.Errorf("warning: %s", w)
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, result, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

var (
	// errorCall is where a parser refuses; the text is a literal everywhere.
	errorCall = regexp.MustCompile(`\bd\.(?:Err|Errf)\("((?:[^"\\]|\\.)*)"`)
	blockCall = regexp.MustCompile(`\.block\(d, "([a-z_0-9]+)"`)
	verb      = regexp.MustCompile(`%[sdq]`)
)

// noGolden are refusals of modules that only another program could register.
var noGolden = []string{"module %s.%s is no database", "module %s.%s is no hook", "module %s.%s is no resolver"}

// TestEveryErrorHasAGolden is generated from the parsers' source: every text that
// one refuses with, and an unknown word of every block, is in a golden file.
func TestEveryErrorHasAGolden(t *testing.T) {
	goldens := ""
	files, err := filepath.Glob("testdata/caddyfile/*error_*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, refusal, _ := strings.Cut(string(content), divider)
		if !strings.Contains(refusal, "at Caddyfile:") {
			t.Errorf("%s gives no error with its line: %s", file, refusal)
		}
		goldens += refusal
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, file := range sources {
		source, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range errorCall.FindAllStringSubmatch(string(source), -1) {
			text, err := strconv.Unquote(`"` + m[1] + `"`)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			texts++
			pattern := regexp.MustCompile(verb.ReplaceAllString(regexp.QuoteMeta(text), ".+"))
			if !slices.Contains(noGolden, text) && !pattern.MatchString(goldens) {
				t.Errorf("%s: no golden file has the error: %s", file, text)
			}
		}
		for _, m := range blockCall.FindAllStringSubmatch(string(source), -1) {
			if !strings.Contains(goldens, "of "+m[1]+"; it has: ") {
				t.Errorf("%s: no golden file has an unknown word of %s", file, m[1])
			}
		}
	}
	if texts < 35 {
		t.Errorf("only %d errors were found in the source", texts)
	}
}
