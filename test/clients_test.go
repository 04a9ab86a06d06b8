package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// clientTimeout is the outermost limit of one script. The scripts have shorter ones of their own (clients/script.mjs) and say in which
// step they hung, so this one is only met by a script that is broken itself.
const clientTimeout = 2 * time.Minute

// clientRun is what every script in clients/ prints: its own members when OK, and these when not.
type clientRun struct {
	OK            bool     `json:"ok"`
	Step          string   `json:"step"`       // what was being tried
	Error         string   `json:"error"`      // one line
	URL           string   `json:"url"`        // where the browser was, if there was one
	Text          string   `json:"text"`       // the first lines of the page it showed
	Screenshot    string   `json:"screenshot"` // a PNG that outlives the test
	CSPViolations []string `json:"cspViolations"`

	document []byte // the whole of stdout
	trace    []byte // stderr: the steps and their times
}

// clientTokens is one set of tokens as the scripts report it: as issued, and the JWTs' headers and claims.
type clientTokens struct {
	AccessToken       string         `json:"accessToken"`
	AccessTokenHeader map[string]any `json:"accessTokenHeader"`
	AccessTokenClaims map[string]any `json:"accessTokenClaims"`
	IDToken           string         `json:"idToken"`
	IDTokenHeader     map[string]any `json:"idTokenHeader"`
	IDTokenClaims     map[string]any `json:"idTokenClaims"`
	RefreshToken      string         `json:"refreshToken"` // auth0-spa-js never shows it
	TokenType         string         `json:"tokenType"`
	Scope             string         `json:"scope"`
	ExpiresIn         float64        `json:"expiresIn"` // seconds
}

// clientRefusal is an OAuth error that a script expected and got.
type clientRefusal struct {
	Error            string `json:"error"`
	ErrorDescription string `json:"errorDescription"`
}

// codeFlowResult is what code-flow.mjs prints on success.
type codeFlowResult struct {
	Metadata    map[string]any          `json:"metadata"` // the discovery document
	Screens     []string                `json:"screens"`  // paths of the hosted pages that were filled in
	Tokens      clientTokens            `json:"tokens"`
	UserInfo    map[string]any          `json:"userinfo"`
	Silent      map[string]clientTokens `json:"silent"`    // by entry of silentOrganizations
	Refreshed   *clientTokens           `json:"refreshed"` // nil without offline_access, like Revoked
	Revoked     *clientRefusal          `json:"revoked"`
	AfterLogout clientRefusal           `json:"afterLogout"`
}

// spaResult is what spa.mjs prints on success. Some members exist only with third-party cookies, others only without.
type spaResult struct {
	Screens     []string                `json:"screens"`
	Login       clientTokens            `json:"login"`
	Switched    map[string]clientTokens `json:"switched"`  // by entry of organizations; through iframes, or without cookies by refresh
	Forbidden   *clientRefusal          `json:"forbidden"` // nil without forbiddenOrganization
	Refreshed   *clientTokens           `json:"refreshed"` // without cookies
	Iframe      *clientRefusal          `json:"iframe"`    // without cookies
	Redirect    *clientTokens           `json:"redirect"`  // without cookies: the session answers a redirect with no login page
	AfterLogout clientRefusal           `json:"afterLogout"`

	// Fallback is what useRefreshTokensFallback comes to once a reload has lost the refresh token: tokens with cookies, else a refusal.
	Fallback struct {
		clientTokens
		clientRefusal
	} `json:"fallback"`
}

// requireClients makes sure that the scripts in clients/ can run, installing their packages once per process when there are none. What
// is missing skips the test, and fails it under CI=true.
func requireClients(t *testing.T) {
	t.Helper()
	version, err := exec.Command("node", "--version").Output()
	if err != nil {
		missing(t, "needs Node.js 20 or later: %v", err)
	}
	// Debian 12 itself has 18, where the scripts do not run.
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		missing(t, "needs Node.js 20 or later, not %s", strings.TrimSpace(string(version)))
	}
	if err := installClients(); err != nil {
		missing(t, "needs the npm packages of test/clients: %v", err)
	}
}

var installClients = sync.OnceValue(func() error {
	// npm writes this file last, so a half-finished installation has none.
	if _, err := os.Stat(filepath.Join("clients", "node_modules", ".package-lock.json")); err == nil {
		return nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = "clients"
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// runClient runs clients/<script> with config, a value that marshals to the JSON object the script documents, and unmarshals what it
// prints into result. Anything but success ends the test with the script's trace and the path of its screenshot.
func runClient(t *testing.T, script string, config, result any) {
	t.Helper()
	run := tryClient(t, script, config)
	if !run.OK {
		t.Fatalf("%s failed in step %q: %s\npage: %s %s\nCSP violations: %q\nscreenshot: %s\n%s",
			script, run.Step, run.Error, run.URL, run.Text, run.CSPViolations, run.Screenshot, run.trace)
	}
	if err := json.Unmarshal(run.document, result); err != nil {
		t.Fatalf("%s printed what does not fit %T: %v\n%s", script, result, err, run.document)
	}
}

// tryClient is runClient for scripts that may fail: only a script that does not keep to the protocol ends the test.
func tryClient(t *testing.T, script string, config any) clientRun {
	t.Helper()
	chromium := requireChromium(t)
	requireClients(t)
	input, err := json.Marshal(config)
	if err != nil {
		t.Fatalf("configuration of %s: %v", script, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Dir = "clients"
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	// Libraries that cannot be told whom to trust verify by what Node.js trusts.
	if members, ok := config.(map[string]any); ok && members["caFile"] != nil {
		cmd.Env = append(cmd.Env, fmt.Sprint("NODE_EXTRA_CA_CERTS=", members["caFile"]))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	// A killed script would leave its browser behind; on SIGTERM it takes the browser with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()

	run := clientRun{document: stdout.Bytes(), trace: stderr.Bytes()}
	if unmarshalErr := json.Unmarshal(run.document, &run); unmarshalErr != nil {
		t.Fatalf("%s printed no JSON document (%v, exit: %v): %q\n%s", script, unmarshalErr, err, stdout.String(), stderr.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || run.OK != (err == nil) {
		t.Fatalf("%s says ok:%v and ended with %v\n%s", script, run.OK, err, stderr.String())
	}
	return run
}

// clientPort returns a port on 127.0.0.1 that was free a moment ago, for a script's redirectPort: callbacks are registered before the
// script listens.
func clientPort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("no free port: %v", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}
