// Package d1test gives tests what stands for Cloudflare: the Worker of
// docs/d1-worker, run by workerd on this machine, and a D1 HTTP API over it.
package d1test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Secret is what the Worker expects. It is as long as a real one has to be.
const Secret = "a secret for tests, as long as it has to be"

var shared struct {
	sync.Mutex
	tried bool
	url   string
	err   error
	stop  func()
}

// Worker returns the address of the Worker in docs/d1-worker. It is the same for
// all tests of a process: each names its databases apart. Without workerd the
// test is skipped; with CI=true it fails.
//
// A package whose tests use it calls [Stop] in its TestMain.
func Worker(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.url, shared.stop, shared.err = start(Secret)
	}
	need(t, shared.err)
	return shared.url
}

// Another returns the address of one more Worker, with this secret, which ends
// with the test.
func Another(t testing.TB, secret string) string {
	t.Helper()
	address, stop, err := start(secret)
	need(t, err)
	t.Cleanup(stop)
	return address
}

// need ends a test that has no Worker.
func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("no workerd: %v", err)
	default:
		t.Skipf("no workerd: %v; run npm ci --ignore-scripts in test/clients", err)
	}
}

// Stop ends workerd, if it was started.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.stop != nil {
		shared.stop()
		shared.stop = nil
	}
}

// root is the directory of the module.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// config is what workerd is told; it says what wrangler.toml says to Cloudflare.
const config = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .main), (name = "disk", disk = (path = %[1]q, writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);
const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = %[2]q,
  bindings = [%[3]s(name = "LOCATION", text = %[5]q), (name = "SECRET", text = %[6]q)],
  durableObjectNamespaces = [%[4]s],
  durableObjectStorage = (localDisk = "disk")
);
`

// start runs workerd over the files in docs/d1-worker.
func start(secret string) (address string, stop func(), err error) {
	program := filepath.Join(root(), "test/clients/node_modules/@cloudflare/workerd-linux-64/bin/workerd")
	if _, err := os.Stat(program); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-workerd-")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := prepare(dir, secret); err != nil {
		return "", nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return "", nil, err
	}
	defer read.Close()
	var log bytes.Buffer
	server := exec.Command(program, "serve", "config.capnp", "--control-fd=3")
	server.Dir, server.Stdout, server.Stderr, server.ExtraFiles = dir, &log, &log, []*os.File{write}
	err = server.Start()
	_ = write.Close() // now the server's alone: its end is the pipe's
	if err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	}
	_ = read.SetReadDeadline(time.Now().Add(time.Minute))
	var listening struct{ Port int }
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &listening)
	}
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("workerd does not listen: %w: %s", err, log.String())
	}
	return fmt.Sprintf("http://127.0.0.1:%d", listening.Port), stop, nil
}

// prepare writes what workerd reads into dir.
func prepare(dir, secret string) error {
	worker, err := os.ReadFile(filepath.Join(root(), "docs/d1-worker/worker.js"))
	if err != nil {
		return err
	}
	toml, err := os.ReadFile(filepath.Join(root(), "docs/d1-worker/wrangler.toml"))
	if err != nil {
		return err
	}
	said := func(word, after string) string {
		_, text, _ := strings.Cut(string(toml), after)
		m := regexp.MustCompile(`(?m)^` + word + ` = "(.*)"$`).FindStringSubmatch(text)
		if m == nil {
			err = errors.Join(err, fmt.Errorf("wrangler.toml has no %s", word))
			return ""
		}
		return m[1]
	}
	var bindings, namespaces strings.Builder
	for _, m := range regexp.MustCompile(`(?m)^\[\[durable_objects.bindings\]\]\nname = (".*")\nclass_name = (".*")$`).FindAllStringSubmatch(string(toml), -1) {
		fmt.Fprintf(&bindings, `(name = %s, durableObjectNamespace = %s), `, m[1], m[2])
		if regexp.MustCompile(`(?m)^new_sqlite_classes = .*` + m[2]).Match(toml) {
			fmt.Fprintf(&namespaces, `(className = %s, uniqueKey = %s, enableSql = true), `, m[2], m[2])
		}
	}
	text := fmt.Sprintf(config, filepath.Join(dir, "disk"), said("compatibility_date", ""), bindings.String(), namespaces.String(), said("LOCATION", "[vars]"), secret)
	return errors.Join(err,
		os.Mkdir(filepath.Join(dir, "disk"), 0o700),
		os.WriteFile(filepath.Join(dir, "worker.js"), worker, 0o600),
		os.WriteFile(filepath.Join(dir, "config.capnp"), []byte(text), 0o600))
}
