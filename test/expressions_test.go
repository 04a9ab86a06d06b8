package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExpressionsAtLoad: an expression that cannot be used is refused before anything
// runs, by the program's own adapt and validate, from a Caddyfile and from JSON: with
// the file and line, where in the expression, and the variables that there are.
func TestExpressionsAtLoad(t *testing.T) {
	const app = `{"apps": {"gatehouse": {"base_domain": "auth.localhost", %s}}}`
	caddyfile := func(options string) string {
		return "{\n\tadmin off\n\tgatehouse {\n\t\tbase_domain auth.localhost\n" + options + "\t}\n}\n"
	}
	for name, c := range map[string]struct {
		command, file, content string
		says                   []string
	}{
		"exclude, adapt": {
			"adapt", "Caddyfile", caddyfile("\t\tsync {\n\t\t\texclude `tenant.id == \"acme\" && role.name == \"x\"`\n\t\t}\n"),
			[]string{"Caddyfile:6", "line 1, column 24", "undeclared reference to 'role'", "entity.name", "tenant.id"},
		},
		"exclude of several lines, validate": {
			"validate", "Caddyfile", caddyfile("\t\tsync {\n\t\t\texclude `tenant.id == \"acme\" ||\nvalue == 1`\n\t\t}\n"),
			[]string{"Caddyfile:6", "line 2, column 1", "undeclared reference to 'value'", "entity.metadata"},
		},
		"transform, adapt": {
			"adapt", "other.caddyfile", caddyfile("\t\tinherit {\n\t\t\ttransform support_email `\"help@\" + tenant.plan`\n\t\t}\n"),
			[]string{"other.caddyfile:6", "support_email", "line 1, column 11", "undeclared reference to 'tenant'", "value, tenant.id", "tenant.metadata"},
		},
		"exclude in JSON, validate": {
			"validate", "config.json", strings.Replace(app, "%s", `"sync": {"exclude": ["true", "entity.nam == ''"]}`, 1),
			[]string{"sync: exclude", "line 1, column 1", "undeclared reference to 'entity'", "entity.name"},
		},
		"transform in JSON, validate": {
			"validate", "config.json", strings.Replace(app, "%s", `"inherit": {"transform": {"support_url": "value +"}}`, 1),
			[]string{"inherit: transform: support_url", "line 1, column 8", "Syntax error", "tenant.friendly_name"},
		},
		"no boolean, validate": {
			"validate", "config.json", strings.Replace(app, "%s", `"sync": {"exclude": ["entity.name"]}`, 1),
			[]string{"the expression gives string, wanted is bool"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{c.command, "--config", file}
			if !strings.HasSuffix(c.file, ".json") {
				args = append(args, "--adapter", "caddyfile")
			}
			cmd := exec.CommandContext(t.Context(), program(t), args...)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("it is taken:\n%s", out)
			}
			for _, want := range c.says {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.db")); err != nil || len(left) > 0 {
				t.Errorf("databases were made: %v %v", left, err)
			}
		})
	}
}
