package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// block is a fenced block of a page.
type block struct{ page, kind, text string }

func blocks(t *testing.T, kind string, pages ...string) (list []block) {
	t.Helper()
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			if m[1] == kind {
				list = append(list, block{page, kind, m[2]})
			}
		}
	}
	if len(list) == 0 {
		t.Fatalf("no %s block in %v", kind, pages)
	}
	return list
}

func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("../docs/*.md")
	if err != nil || len(found) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	list := []string{"README.md"}
	for _, f := range found {
		list = append(list, strings.TrimPrefix(f, "../"))
	}
	return list
}

// TestCaddyfilesOfThePages: every Caddyfile that a page shows is one.
func TestCaddyfilesOfThePages(t *testing.T) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	for _, b := range blocks(t, "caddyfile", pages(t)...) {
		if _, warnings, err := adapter.Adapt([]byte(b.text), map[string]any{"filename": b.page}); err != nil {
			t.Errorf("%s: %v\n%s", b.page, err, b.text)
		} else if len(warnings) > 0 {
			t.Errorf("%s: %v", b.page, warnings)
		}
	}
}

// TestOptionsAreDocumented: the page of options has each word of the grammar, and
// no other.
func TestOptionsAreDocumented(t *testing.T) {
	source, err := os.ReadFile("../caddymodule/caddyfile_app.go")
	if err != nil {
		t.Fatal(err)
	}
	grammar := string(source)
	grammar = grammar[strings.Index(grammar, "// UnmarshalCaddyfile reads the global option gatehouse:"):]
	grammar = grammar[:strings.Index(grammar, "func (a *App) UnmarshalCaddyfile")]
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`(?m)^//\t\t([a-z_]+)\b`).FindAllStringSubmatch(grammar, -1)
	if len(words) < 15 {
		t.Fatalf("only %d words found in the grammar", len(words))
	}
	known := map[string]bool{}
	for _, w := range words {
		known[w[1]] = true
		if !strings.Contains(string(page), "\n| `"+w[1]+"` |") {
			t.Errorf("docs/configuration.md has no row for %s", w[1])
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		if !known[row[1]] {
			t.Errorf("docs/configuration.md has a row for %s, which is no option", row[1])
		}
	}
}

// TestBuildingPage: the commands are those that xcaddy.json stands for, and what
// this machine can run of them runs.
func TestBuildingPage(t *testing.T) {
	manifest, err := os.ReadFile("../xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			ModulePath string `json:"module_path"`
			Version    string
		}
		CGO      bool
		Metadata struct {
			Optional map[string]string `json:"optional_plugins"`
		}
	}
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	released, checkout := "xcaddy build "+m.CaddyVersion, "xcaddy build "+m.CaddyVersion
	for _, p := range m.Plugins {
		released += " --with " + p.ModulePath + "@" + p.Version
		checkout += " --with " + p.ModulePath + "=."
	}
	for path := range m.Metadata.Optional {
		checkout += " --with " + path
	}
	want := map[string]bool{released: false, checkout: false}
	for _, b := range blocks(t, "sh", "docs/building.md") {
		command := strings.TrimSpace(b.text)
		if _, ok := want[command]; ok {
			want[command] = true
		} else if strings.HasPrefix(command, "CGO_ENABLED=0 go build -o gatehouse ") && !m.CGO {
			out := filepath.Join(t.TempDir(), "gatehouse")
			run(t, strings.Replace(command, "-o gatehouse", "-o "+out, 1))
			if listed := run(t, out+" list-modules"); !strings.Contains(listed, "http.handlers.gatehouse") {
				t.Errorf("the program lacks the modules: %s", listed)
			}
		} else {
			t.Errorf("docs/building.md has a command that xcaddy.json does not stand for: %s", command)
		}
	}
	for command, found := range want {
		if !found {
			t.Errorf("docs/building.md lacks the command: %s", command)
		}
	}
}

// run runs a command in the project's root as a person would type it.
func run(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", "set -euo pipefail; "+command)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// TestREADMECommands does what README tells a new user, in its order: start the
// gateway, start it again with a machine client, get a token, make a tenant. It
// changes the port and the directory, which may be in use, and nothing else.
func TestREADMECommands(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "README's commands need curl: %v", err)
	}
	list := blocks(t, "sh", "README.md")
	if len(list) != 4 || strings.TrimSpace(list[1].text) != "go test ./..." {
		t.Fatalf("README has %d commands to run; the second is the tests', which run this one", len(list))
	}
	home := t.TempDir()
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer("8443", fmt.Sprint(ports[0]), "8444", fmt.Sprint(ports[1]))
	config := filepath.Join(home, "Caddyfile.example")
	if err := os.WriteFile(config, []byte(moved.Replace(string(example))), 0o600); err != nil {
		t.Fatal(err)
	}
	rewrite := func(command string) string {
		return moved.Replace(strings.Replace(command, "--config Caddyfile.example", "--config "+config+" --adapter caddyfile", 1))
	}
	g := &gateway{port: ports[0], http: loopbackClient()}

	first, stop := shell(t, home, rewrite(list[0].text))
	waitFor(t, g, first)
	if setupLink.FindString(first.String()) == "" {
		t.Errorf("the first start prints no setup link: %s", first)
	}
	stop()

	second, stop := shell(t, home, rewrite(list[2].text))
	defer stop()
	waitFor(t, g, second)
	secret := regexp.MustCompile(`SECRET is (\w+)`).FindStringSubmatch(second.String())
	if secret == nil {
		t.Fatalf("no secret: %s", second)
	}
	out := run(t, fmt.Sprintf("export GATEHOUSE_CLIENT_ID=management GATEHOUSE_CLIENT_SECRET=%s\n%s", secret[1], rewrite(list[3].text)))
	for _, want := range []string{`"state":"active"`, fmt.Sprintf(`"issuer":"https://acme.auth.localhost:%d/"`, ports[0])} {
		if !strings.Contains(out, want) {
			t.Errorf("README's commands print no %s: %s", want, out)
		}
	}
}

// shell runs a command in the background until stop is called, with the home
// directory given, and Go's own directories where they are.
func shell(t *testing.T, home, command string) (output *lockedBuffer, stop func()) {
	t.Helper()
	goEnv := run(t, "go env GOPATH GOCACHE GOMODCACHE")
	dirs := strings.Fields(goEnv)
	// The client's secret is random: the test reads it here, as a user would from their shell.
	command = strings.Replace(command, "\ngo run", "\necho SECRET is $GATEHOUSE_CLIENT_SECRET\ngo run", 1)
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "GOPATH="+dirs[0], "GOCACHE="+dirs[1], "GOMODCACHE="+dirs[2])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output = new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	return output, func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Errorf("the gateway does not end: %s", output)
		}
	}
}

func waitFor(t *testing.T, g *gateway, output *lockedBuffer) {
	t.Helper()
	p := &process{gateway: g}
	for deadline := time.Now().Add(5 * time.Minute); !p.answers(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not answer: %s", output)
		}
	}
}

// TestMeasurementsPage: the benchmarks that the page names are there.
func TestMeasurementsPage(t *testing.T) {
	command := regexp.MustCompile(`^go test \./(\w+) -run '\^\$' -bench (\w+) -benchtime \d+x(?: -timeout \d+m)?\n$`)
	for _, b := range blocks(t, "sh", "docs/measurements.md") {
		m := command.FindStringSubmatch(b.text)
		if m == nil {
			t.Fatalf("a command that no benchmark stands for: %s", b.text)
		}
		files, err := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", m[1], len(files), err)
		}
		there := slices.ContainsFunc(files, func(f string) bool {
			source, err := os.ReadFile(f)
			return err == nil && strings.Contains(string(source), "func Benchmark"+m[2]+"(b *testing.B)")
		})
		if !there {
			t.Errorf("%s has no benchmark %s", m[1], m[2])
		}
	}
}
