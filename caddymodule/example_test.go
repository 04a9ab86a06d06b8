package caddymodule

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestExample checks that Caddyfile.example is a configuration, is laid out as
// `caddy fmt` does it, and has what it should have (facts that bite otherwise).
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if want := caddyfile.Format(text); string(want) != string(text) {
		t.Errorf("caddy fmt makes of it:\n%s", want)
	}
	adapted := adapt(t, string(text))
	for what, part := range map[string]string{
		"SNI has to agree with Host":     `"strict_sni_host": true`,
		"nothing is answered too early":  `"allow_0rtt": false`,
		"long requests fit":              `"max_header_bytes": 64000`,
		"certificates need a permission": `"module": "gatehouse"`,
		"other hosts are turned away":    `"status_code": 421`,
		"nothing is installed":           `"install_trust": false`,
		"the config stays in its file":   `"persist": false`,
		"a reload ends":                  `"grace_period"`,
		"queries are filtered":           `"request\u003euri"`,
	} {
		if !strings.Contains(adapted, part) {
			t.Errorf("%s: %s is missing", what, part)
		}
	}
	var cfg caddy.Config
	if err := json.Unmarshal([]byte(adapted), &cfg); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
}

// buildManifest is xcaddy.json: what xcaddy's own Builder reads, and a block for
// people and tools.
type buildManifest struct {
	CaddyVersion string `json:"caddy_version"`
	Plugins      []struct {
		ModulePath string `json:"module_path"`
		Version    string `json:"version"`
	} `json:"plugins"`
	Cgo        bool   `json:"cgo"`
	BuildFlags string `json:"build_flags"`
	Metadata   struct {
		Name          string            `json:"name"`
		Description   string            `json:"description"`
		License       string            `json:"license"`
		Modules       []string          `json:"modules"`
		Directives    []string          `json:"directives"`
		GlobalOptions []string          `json:"global_options"`
		Optional      map[string]string `json:"optional_plugins"`
		Compatibility struct {
			Caddy string `json:"caddy"`
			Go    string `json:"go"`
		} `json:"compatibility"`
	} `json:"metadata"`
}

// TestBuildManifest holds xcaddy.json to go.mod and to the registered modules.
func TestBuildManifest(t *testing.T) {
	f, err := os.Open("../xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m buildManifest
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	module, goVersion, caddyVersion := goMod(t)
	if m.CaddyVersion != caddyVersion || m.Metadata.Compatibility.Caddy != caddyVersion {
		t.Errorf("got Caddy %s and %s, go.mod has %s", m.CaddyVersion, m.Metadata.Compatibility.Caddy, caddyVersion)
	}
	if m.Metadata.Compatibility.Go != goVersion {
		t.Errorf("got Go %s, go.mod has %s", m.Metadata.Compatibility.Go, goVersion)
	}
	if len(m.Plugins) == 0 || m.Plugins[0].ModulePath != module {
		t.Errorf("the first plugin is not %s: %v", module, m.Plugins)
	}
	if m.Cgo {
		t.Error("it asks for cgo; nothing here needs it")
	}
	ofTests := func(id string) bool { return strings.Contains(id, ".test_") }
	if got, want := m.Metadata.Modules, slices.DeleteFunc(ourModules(), ofTests); !slices.Equal(got, want) {
		t.Errorf("modules: got %q, registered are %q", got, want)
	}
	for _, d := range m.Metadata.Directives {
		if got := adapt(t, "localhost {\n\t"+d+"\n}\n"); strings.Contains(got, "unrecognized directive") {
			t.Errorf("directive %s: %s", d, got)
		}
	}
	for _, o := range m.Metadata.GlobalOptions {
		if got := adapt(t, "{\n\t"+o+" {\n\t}\n}\n"); strings.Contains(got, "unrecognized global option") {
			t.Errorf("global option %s: %s", o, got)
		}
	}
}

// goMod reads three lines of go.mod.
func goMod(t *testing.T) (module, goVersion, caddyVersion string) {
	t.Helper()
	f, err := os.Open("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch words := strings.Fields(lines.Text()); {
		case len(words) == 2 && words[0] == "module":
			module = words[1]
		case len(words) == 2 && words[0] == "go":
			goVersion = words[1]
		case len(words) >= 2 && words[0] == "github.com/caddyserver/caddy/v2":
			caddyVersion = words[1]
		}
	}
	return module, goVersion, caddyVersion
}

// ourModules are the registered modules of this package, sorted.
func ourModules() (ids []string) {
	for _, id := range caddy.Modules() {
		if id == "gatehouse" || strings.HasPrefix(id, "gatehouse.") || strings.HasSuffix(id, ".gatehouse") || strings.HasPrefix(id, "http.matchers.tenant") || strings.HasPrefix(id, "http.handlers.tenant_") {
			ids = append(ids, id)
		}
	}
	return ids
}
