package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOperationsPage does what docs/operations.md does, in its order, with a
// server of its own, and demands that each command prints what the page says.
func TestOperationsPage(t *testing.T) {
	g, config := withoutAdministrator(t)
	backups := t.TempDir()
	config = strings.Replace(config, "admin off", "admin unix/"+filepath.Join(g.dir, "admin.sock"), 1)
	config = strings.Replace(config, "base_domain auth.localhost", fmt.Sprintf(`base_domain auth.localhost
		admin root@example.com %q
		secret "a newer master secret of 256 bits" "an older master secret of 256 bits"
		backups %q
		database main sqlite %q
		database dedicated sqlite %q`, adminPassword, filepath.Join(backups, "gatehouse"), filepath.Join(g.dir, "main"), filepath.Join(g.dir, "dedicated")), 1)
	p := startProcess(t, g, config)
	env := append(os.Environ(), "CADDY_ADMIN=unix/"+filepath.Join(g.dir, "admin.sock"), "PATH="+filepath.Dir(program(t))+":"+os.Getenv("PATH"))
	commands := 0
	for _, b := range blocks(t, "console", "docs/operations.md") {
		for _, part := range strings.Split("\n"+b.text, "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			commands++
			cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(command, "/var/backups", backups))
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s\n%s", command, err, out, p.output)
			}
			printed := strings.ReplaceAll(string(out), backups, "/var/backups")
			if missing := unmatched(want, printed); missing != "" {
				t.Errorf("%s\nprints no line like %q:\n%s", command, missing, printed)
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands on the page", commands)
	}
}

// unmatched returns the first of the wanted lines that is not among the printed
// ones behind the one before; "..." in it stands for anything. "" means none.
func unmatched(want, printed string) string {
	lines := strings.Split(printed, "\n")
	for _, w := range strings.Split(strings.TrimSpace(want), "\n") {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(w)), `\.\.\.`, ".*") + "$")
		at := 0
		for at < len(lines) && !pattern.MatchString(strings.TrimSpace(lines[at])) {
			at++
		}
		if at == len(lines) {
			return w
		}
		lines = lines[at+1:]
	}
	return ""
}

// TestUnmatched: a page that promises something else is found out.
func TestUnmatched(t *testing.T) {
	const printed = "ID    NAME\nacme  Acme\n"
	for want, missing := range map[string]string{
		"ID...NAME\nacme...": "", "acme...Acme": "", "acme...\nID...": "ID...", "ID": "ID", "acme...Widgets": "acme...Widgets",
	} {
		if got := unmatched(want, printed); got != missing {
			t.Errorf("%q: %q is missing, want %q", want, got, missing)
		}
	}
}
