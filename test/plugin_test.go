package test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pluginMain is the program xcaddy makes for --with a plugin of a third party.
const pluginMain = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ %q
	_ "github.com/gatehouse-id/gatehouse"
)

func main() { caddycmd.Main() }
`

// gatewayWith builds a gateway, as xcaddy does, with the plugin in a directory of
// this package. Further programs are run by what it returns, in that workspace.
func gatewayWith(t *testing.T, plugin, dir string) (binary string, run func(in string, args ...string)) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	built := t.TempDir()
	for name, content := range map[string]string{
		"main.go": fmt.Sprintf(pluginMain, plugin),
		"go.mod":  "module gateway\n\ngo 1.26.0\n",
		"go.work": fmt.Sprintf("go 1.26.0\n\nuse (\n\t.\n\t%[1]s\n\t%[1]s/test/%[2]s\n)\n\nreplace github.com/gatehouse-id/gatehouse v0.0.0 => %[1]s\n", root, dir),
	} {
		if err := os.WriteFile(filepath.Join(built, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run = func(in string, args ...string) {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+filepath.Join(built, "go.work"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	binary = filepath.Join(built, "gateway")
	run(built, "build", "-o", binary, ".")
	return binary, run
}

// TestDatabaseOfAThirdParty: the module in plugin/, which is one file and knows
// nothing but exported names, passes the provider suite, is built into a gateway
// without a C compiler, and serves a tenant there beside the built-in databases.
func TestDatabaseOfAThirdParty(t *testing.T) {
	binary, run := gatewayWith(t, "example.com/gatehouse-memory", "plugin")
	run("plugin", "test", "-count=1", "./...")

	g, config := withoutAdministrator(t)
	g.binary = binary
	p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA", "keys RS256 ES256 EdDSA\n\t\tdatabase scratch memory", 1))
	cp := p.platform(t)
	for _, tenant := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
		a := cp.on(tenant)
		app := a.spa(t, "Shop", []int{1, 2})
		a.user(t, userEmail)
		const redirect = "http://localhost:1/callback"
		link, verifier := p.authorizeURL(tenant, app, redirect, url.Values{})
		back := newVisitor(t).login(link, userEmail, password)
		if got := claims(t, p.redeem(t, tenant, app, redirect, verifier, back).want(t, http.StatusOK).member(t, "id_token")); got["iss"] != p.issuer(tenant) {
			t.Errorf("ID token: %v", got)
		}
	}
	left, err := filepath.Glob(filepath.Join(g.dir, "data", "*", "acme.db"))
	if len(left) != 0 || err != nil {
		t.Errorf("a tenant in memory left %q, %v", left, err)
	}
}
