package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// said is what a command printed, and how it ended.
type said struct {
	out, err string
	failure  error
}

// run runs a command as the program would.
func (s *server) run(args ...string) said {
	s.t.Helper()
	return runCommand(s.t, append(args, "--address", s.admin)...)
}

func runCommand(t testing.TB, args ...string) said {
	t.Helper()
	root := &cobra.Command{Use: "gatehouse"}
	plantCommands(root)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(args)
	root.SetContext(t.Context())
	err := root.Execute()
	return said{out.String(), errs.String(), err}
}

// holds demands that a command did its work and printed every one of the words.
func (x said) holds(t *testing.T, words ...string) said {
	t.Helper()
	if x.failure != nil {
		t.Fatalf("it failed: %v\n%s%s", x.failure, x.out, x.err)
	}
	for _, w := range words {
		if !strings.Contains(x.out, w) {
			t.Errorf("no %q in:\n%s", w, x.out)
		}
	}
	return x
}

// fails demands that a command ended with the code and printed every one of the
// words, and nothing as its result.
func (x said) fails(t *testing.T, code int, words ...string) {
	t.Helper()
	coded := x.failure != nil && x.failure.Error() == fmt.Sprintf("exiting with status %d", code)
	if x.failure == nil || (code != exitFailed) != coded {
		t.Errorf("it ended with %v, want code %d\n%s", x.failure, code, x.err)
	}
	if x.out != "" {
		t.Errorf("it printed: %s", x.out)
	}
	for _, w := range words {
		if !strings.Contains(x.err, w) {
			t.Errorf("no %q in:\n%s", w, x.err)
		}
	}
}

// TestCommands works on tenants as an operator would, over both kinds of admin
// endpoint.
func TestCommands(t *testing.T) {
	for name, admin := range map[string]func(s *server) string{
		"tcp":  func(*server) string { return fmt.Sprintf("localhost:%d", freePort(t)) },
		"unix": func(s *server) string { return "unix/" + filepath.Join(s.dir, "admin.sock") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.admin = admin(s)
			s.start()
			s.run("tenants", "create", "acme", "--name", "Acme Inc.").holds(t, "Tenant acme is active in placement sqlite.", "https://acme.auth.example.com")
			s.run("tenants", "create", "widgets").holds(t, "active")
			s.run("tenants", "create", "acme", "--name", "Other").fails(t, exitFailed, "Tenant with ID 'acme' already exists")
			s.run("tenants", "create", "other", "--placement", "mars").fails(t, exitFailed, "There is no placement 'mars'", "there are: sqlite")
			s.run("tenants", "list").holds(t, "acme", "Acme Inc.", "control_plane", "active")
			if x := s.run("tenants", "list", "--search", "wid"); strings.Contains(x.out, "acme") || !strings.Contains(x.out, "widgets") {
				t.Errorf("search: %s", x.out)
			}
			s.run("tenants", "list", "--per-page", "1", "--page", "1").holds(t, "2 to 2 of 3")
			s.run("tenants", "list", "--state", "happy").fails(t, exitFailed, `there is no state "happy"`)

			s.run("tenants", "suspend", "acme", "unpaid").holds(t, "Tenant acme is suspended")
			s.run("tenants", "show", "acme").holds(t, "suspended", "unpaid", "last operation:", "provision succeeded")
			if r := s.do(http.MethodPost, "acme.auth.example.com", "/oauth/token"); r.status != http.StatusForbidden {
				t.Errorf("a suspended tenant answers %d", r.status)
			}
			s.run("tenants", "resume", "acme").holds(t, "Tenant acme is active")
			var shown tenantView
			if err := json.Unmarshal([]byte(s.run("tenants", "show", "acme", "--json").holds(t).out), &shown); err != nil {
				t.Error(err)
			}
			s.run("operations", "show", shown.LastOperationID).holds(t, "provision succeeded", "reserve", "activate")
			s.run("operations", "cancel", shown.LastOperationID).fails(t, exitFailed, "Operation is succeeded and cannot be cancelled")
			s.run("operations", "retry", shown.LastOperationID).fails(t, exitFailed, "cannot be retried")
			s.run("operations", "cancel", "op_none").fails(t, exitFailed, "There is no operation 'op_none'", "tenants show")

			var list tenantList
			if err := json.Unmarshal([]byte(s.run("tenants", "list", "--json").holds(t).out), &list); err != nil || list.Total != 3 || len(list.Tenants) != 3 {
				t.Errorf("as JSON: %v %+v", err, list)
			}
			s.run("tenants", "delete", "widgets").fails(t, exitFailed, "nothing was done")
			s.run("tenants", "delete", "widgets", "--yes").holds(t, "Tenant widgets is gone")
			s.run("tenants", "show", "widgets").fails(t, exitFailed, "not found", "tenants list")
			s.run("tenants", "delete", "widgets", "--yes").fails(t, exitFailed, "There is no tenant 'widgets'", "tenants list")
			s.run("tenants", "delete", "control_plane", "--yes").fails(t, exitFailed, "always active")
		})
	}
}

// TestKeyCommands: rotating keeps old tokens valid and revoking does not; each
// tenant has keys of its own.
func TestKeyCommands(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.options = "keys RS256 ES256"
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	keys := func(command ...string) map[string]tenancy.KeyUse {
		t.Helper()
		var list keyList
		if err := json.Unmarshal([]byte(s.run(append(command, "--json")...).holds(t).out), &list); err != nil {
			t.Fatal(err)
		}
		found := map[string]tenancy.KeyUse{}
		for _, k := range list.Keys {
			if k.Alg == "ES256" {
				found[k.KID] = k.Use
			}
		}
		return found
	}
	before, others := keys("keys", "list", "acme"), keys("keys", "list", "widgets")
	if len(before) != 2 {
		t.Fatalf("keys at first: %v", before)
	}
	after := keys("keys", "rotate", "acme")
	var old string
	for kid, use := range before {
		if want := map[tenancy.KeyUse]tenancy.KeyUse{tenancy.KeyCurrent: tenancy.KeyPrevious, tenancy.KeyNext: tenancy.KeyCurrent}[use]; after[kid] != want {
			t.Errorf("a key that was %s is %s, want %s", use, after[kid], want)
		}
		if use == tenancy.KeyCurrent {
			old = kid
		}
	}
	if got := keys("keys", "list", "widgets"); fmt.Sprint(got) != fmt.Sprint(others) {
		t.Errorf("the other tenant's keys changed: %v, were %v", got, others)
	}
	s.run("keys", "revoke", "widgets", old).fails(t, exitFailed, "not found")
	for kid, use := range after {
		if use == tenancy.KeyCurrent {
			s.run("keys", "revoke", "acme", kid).fails(t, exitFailed, "cannot be revoked; rotate first")
		}
	}
	if got := keys("keys", "revoke", "acme", old); got[old] != "revoked" {
		t.Errorf("after revoking: %v", got)
	}
}

// TestSecretCommands replaces the master secret and a data key of a server that
// goes on serving.
func TestSecretCommands(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.options = `secret "the first master secret of 256 bits"`
	s.start()
	s.tenant("acme")
	s.run("keys", "status").holds(t, "number 1", "seals")
	s.options = `secret "the newer master secret of 256 bits" "the first master secret of 256 bits"`
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	s.run("keys", "status").holds(t, "number 2", "still needed; run: caddy gatehouse keys rewrap")
	if x := s.run("keys", "rewrap").holds(t, "2 data keys were sealed anew", "can be removed from the option secret"); !strings.Contains(x.err, "2 of 2 (100%)") {
		t.Errorf("no progress: %s", x.err)
	}
	s.options = `secret "the newer master secret of 256 bits"`
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if r := s.get("acme.auth.example.com", discovery); r.status != http.StatusOK {
		t.Errorf("with the new secret alone: %d", r.status)
	}
	s.services().lifecycle.Settle = -1
	x := s.run("keys", "rotate-data-key", "acme").holds(t, "Tenant acme has a new data key")
	for _, step := range []string{"making the new key known", "sealing with the new key", "dropping the old key"} {
		if !strings.Contains(x.err, step) {
			t.Errorf("no step %q: %s", step, x.err)
		}
	}
	s.run("keys", "rotate-data-key", "ghost").fails(t, exitFailed, "not found", "tenants list")
	if r := s.get("acme.auth.example.com", "/.well-known/jwks.json"); r.status != http.StatusOK {
		t.Errorf("afterwards: %d", r.status)
	}
}

// TestDataCommands backs a tenant up and restores it, exports and imports it, moves
// it, and upgrades what there is.
func TestDataCommands(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.options = fmt.Sprintf("database other sqlite %q", filepath.Join(s.dir, "other"))
	s.start()
	s.run("tenants", "create", "acme", "--placement", "other").holds(t, "placement other")
	file, lines := filepath.Join(s.dir, "acme.backup"), filepath.Join(s.dir, "acme.jsonl")
	s.run("backup", "acme", file).holds(t, "rows of tenant acme")
	s.run("backup", "acme", file).fails(t, exitFailed, "There is a file")
	s.run("backup", "ghost", file+"2").fails(t, exitFailed, "not found")
	s.run("export", "acme", lines).holds(t, "rows of tenant acme")
	s.run("export", "acme", lines).fails(t, exitFailed, "There is a file")
	s.run("export", "acme", lines+"2", "--secrets").fails(t, exitFailed)
	if _, err := os.Stat(lines + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an export that failed left a file: %v", err)
	}
	s.run("restore", file).fails(t, exitFailed)
	s.run("tenants", "delete", "acme", "--yes").holds(t)
	s.run("restore", lines).fails(t, exitFailed)
	s.run("restore", file).holds(t, "Tenant acme is active in placement other")
	s.run("tenants", "delete", "acme", "--yes").holds(t)
	s.run("import", lines, "--placement", "sqlite").holds(t, "Tenant acme is active in placement sqlite")
	s.run("move", "acme", "mars").fails(t, exitFailed, "unknown placement 'mars'")
	if x := s.run("move", "acme", "other", "--drop-old").holds(t, "Tenant acme is in placement other"); !strings.Contains(x.err, "copy") {
		t.Errorf("no progress: %s", x.err)
	}
	if r := s.get("acme.auth.example.com", discovery); r.status != http.StatusOK {
		t.Errorf("after all that: %d", r.status)
	}
	s.run("migrate", "status").holds(t, "databases done", "other")
	s.run("migrate", "run").holds(t, "0 failed")
	s.run("migrate", "run", "acme").holds(t, "0 failed")
	s.run("migrate", "run", "ghost").fails(t, exitFailed, "not found")
}

// TestSyncCommand waits for changes, and says where they are.
func TestSyncCommand(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	s.tenant("acme")
	x := s.run("sync", "status", "--wait", "--timeout", "10s").holds(t, "1 of 1 tenants have everything", "acme", "in_sync")
	if !strings.Contains(x.err, "tenants in sync: 1 of 1 (100%)") {
		t.Errorf("no progress: %s", x.err)
	}
	s.run("sync", "status", "acme").holds(t, "acme")
	s.run("sync", "status", "--state", "lost").fails(t, exitFailed, "No enum match")
}

// TestCommandsWithoutServer: what is wrong and what to do about it, at once.
func TestCommandsWithoutServer(t *testing.T) {
	nobody := fmt.Sprintf("localhost:%d", freePort(t))
	for name, address := range map[string]string{"tcp": nobody, "unix": "unix/" + filepath.Join(t.TempDir(), "none.sock")} {
		t.Run(name, func(t *testing.T) {
			runCommand(t, "tenants", "list", "--address", address).fails(t, exitNoServer, "no server answers at "+address, "run --config Caddyfile", "--address")
		})
	}
	runCommand(t, "sync", "status", "--wait", "--address", nobody).fails(t, exitNoServer, "no server answers")
	runCommand(t, "tenants", "list", "--address", "1.2.3.4:70-80").fails(t, exitUsage, "is no address")
	runCommand(t, "tenants", "create", "--address", nobody).fails(t, exitUsage, "tenants create TENANT", "--help")
	runCommand(t, "tenants", "build").fails(t, exitUsage, `there is no command "build"`)
	runCommand(t, "tenants", "list", "--sate", "x").fails(t, exitUsage, "unknown flag: --sate")

	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	runCommand(t, "tenants", "list", "--timeout", "50ms", "--address", silent.Addr().String()).fails(t, exitFailed, "took too long", "--timeout")
}

// TestWithoutGatehouse: a server that runs no such app says so, in the words of
// the admin API.
func TestWithoutGatehouse(t *testing.T) {
	w := httptest.NewRecorder()
	operations[0].ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/gatehouse/tenants", nil))
	var answer trouble
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusServiceUnavailable ||
		answer.Code != "not_configured" || !strings.Contains(answer.Message, "the global option gatehouse is missing") {
		t.Errorf("it answers %d: %s", w.Code, w.Body)
	}
}

// TestCommandTable: every command teaches, and none has a name of Caddy's, so that
// CommandLine takes none of Caddy's for ours.
func TestCommandTable(t *testing.T) {
	for _, c := range commands {
		first, _, _ := strings.Cut(c.name, " ")
		if _, taken := caddycmd.Commands()[first]; taken {
			t.Errorf("%s: Caddy has a command %s", c.name, first)
		}
		if first != c.name && groups[first] == "" {
			t.Errorf("%s: nobody says what %s is about", c.name, first)
		}
		if c.short == "" || strings.HasSuffix(c.short, ".") || len(c.examples) == 0 {
			t.Errorf("%s: short %q, %d examples", c.name, c.short, len(c.examples))
		}
		for _, e := range c.examples {
			if !slices.ContainsFunc(commands, func(o command) bool { return strings.HasPrefix(e+" ", o.name+" ") }) {
				t.Errorf("%s: example of another program: %s", c.name, e)
			}
		}
		if len(strings.Fields(c.long)) < 5 || !strings.HasSuffix(strings.TrimSpace(c.long), ".") {
			t.Errorf("%s: long %q", c.name, c.long)
		}
		runCommand(t, append(strings.Fields(c.name), "--help")...).holds(t, c.short, "Examples:", "--json")
	}
	for line, want := range map[string]string{
		"gatehouse tenants list":           "gatehouse gatehouse tenants list",
		"gatehouse run --config x":         "gatehouse run --config x",
		"caddy gatehouse tenants list":     "caddy gatehouse tenants list",
		"gatehouse gatehouse tenants list": "gatehouse gatehouse tenants list",
		"gatehouse":                        "gatehouse",
	} {
		if got := strings.Join(CommandLine(strings.Fields(line)), " "); got != want {
			t.Errorf("%s means %s, want %s", line, got, want)
		}
	}
}

// TestBar draws what a person and what a log file get to see.
func TestBar(t *testing.T) {
	var plain, live bytes.Buffer
	now := time.Unix(0, 0)
	b := &bar{w: &plain, now: func() time.Time { return now }}
	l := &bar{w: &live, live: true, now: time.Now}
	for _, p := range []progress{{"copying", 1, 4}, {"copying", 2, 4}, {"copying", 4, 4}, {Step: "switching"}, {"counting", 7, 0}} {
		b.show(p)
		l.show(p)
	}
	now = now.Add(plainEvery)
	b.show(progress{"counting", 9, 0})
	l.done()
	if want := "copying: 1 of 4 (25%)\ncopying: 4 of 4 (100%)\nswitching\ncounting: 7\ncounting: 9\n"; plain.String() != want {
		t.Errorf("got %q, want %q", plain.String(), want)
	}
	if got := live.String(); !strings.Contains(got, "["+strings.Repeat("#", 15)+strings.Repeat(".", 15)+"] copying: 2 of 4 (50%)") || !strings.HasSuffix(got, "\n") {
		t.Errorf("got %q", got)
	}
}
