package caddymodule

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestReload checks that equal configurations hand the runtime on: under load
// nothing is opened anew, no request that got through is answered wrongly, and
// nothing is left behind.
func TestReload(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	rt, serving := runningRuntime(t), s.services()
	before := goroutines(t)

	var stop atomic.Bool
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for !stop.Load() {
				req, _ := http.NewRequestWithContext(t.Context(), "GET", fmt.Sprintf("http://127.0.0.1:%d%s", s.http, discovery), nil)
				req.Host = "acme.auth.example.com"
				resp, err := client.Do(req)
				if err != nil {
					continue // Caddy may drop a connection that comes at the very moment
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("got %d during a reload", resp.StatusCode)
				}
				served.Add(1)
			}
		})
	}
	for range 20 {
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		// Every configuration serves somebody before the next one comes.
		for n, limit := served.Load(), time.Now().Add(10*time.Second); served.Load() == n && time.Now().Before(limit); {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	clients.Wait()
	if served.Load() < 20 {
		t.Errorf("only %d requests were served during 20 reloads", served.Load())
	}
	if now := runningRuntime(t); now != rt || s.services() != serving {
		t.Error("the runtime is another one after reloads of the same configuration")
	}
	eventually(t, "one configuration holds the runtime", func() bool {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		return len(rt.started) == 1 && poolSize(runtimes) == 1 && poolSize(stores) == 1
	})
	eventually(t, "the goroutines of old configurations are gone", func() bool { return goroutines(t) <= before+2 })

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left after the end", func() bool { return poolSize(runtimes) == 0 && poolSize(stores) == 0 })
	if stats := serving.pool.Stats(); stats.Open != 0 {
		t.Errorf("%d databases are open after the end", stats.Open)
	}
}

// goroutines counts them once they have settled.
func goroutines(t *testing.T) int {
	t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	n := goruntime.NumGoroutine()
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		if now := goruntime.NumGoroutine(); now >= n {
			return n
		} else {
			n = now
		}
	}
	return n
}

func poolSize(p *caddy.UsagePool) (n int) {
	p.Range(func(any, any) bool { n++; return true })
	return n
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestReloadOtherOptions checks that a request which began under the old options
// ends under them, and that the same databases serve the new ones.
func TestReloadOtherOptions(t *testing.T) {
	s := newServer(t).start()
	old, serving := runningRuntime(t), s.services()

	slow := make(chan reply, 1)
	go func() { slow <- s.get("auth.example.com", "/slow") }()
	<-slowly.arrived
	s.options = "port 9443"
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old configuration stopped", func() bool { return !old.going.Load() })
	if got := s.get("auth.example.com", discovery).member(t, "issuer"); got != "https://auth.example.com:9443/" {
		t.Errorf("got issuer %s, want the new port", got)
	}
	if s.services() == serving {
		t.Error("the services are the old ones")
	}
	if s.services().pool != serving.pool {
		t.Error("the databases were opened a second time")
	}
	if old.visitors.none() {
		t.Error("the old runtime does not know of the request in it")
	}
	close(slowly.release)
	defer func() { slowly.release = make(chan struct{}) }()
	if got := <-slow; got.status != http.StatusOK || got.body != "control_plane" {
		t.Errorf("the request under way: got %d %q", got.status, got.body)
	}
	eventually(t, "the old runtime was closed", func() bool {
		old.visitors.mu.Lock() // to enter, as a request does, would keep it open
		defer old.visitors.mu.Unlock()
		return old.visitors.closed
	})
	if got := s.get("auth.example.com", discovery); got.status != http.StatusOK {
		t.Errorf("after the old runtime closed: got %d %s", got.status, got.body)
	}
}

// TestReloadFailed checks that a configuration which cannot be started leaves
// the running one as it is.
func TestReloadFailed(t *testing.T) {
	s := newServer(t).start()
	rt := runningRuntime(t)
	other := *s
	other.options = "secret \"a secret that the databases were not made with\""
	if err := other.load(); err == nil {
		t.Fatal("started with the wrong secret")
	}
	if got := s.get("auth.example.com", discovery); got.status != http.StatusOK {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if now := runningRuntime(t); now != rt || poolSize(runtimes) != 1 || poolSize(stores) != 1 {
		t.Errorf("%d runtimes and %d stores are left", poolSize(runtimes), poolSize(stores))
	}
}

// TestValidate checks that `caddy validate` writes nothing.
func TestValidate(t *testing.T) {
	s := newServer(t)
	s.options = "database main sqlite " + filepath.Join(s.dir, "main")
	var cfg caddy.Config
	if err := json.Unmarshal(s.config(), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.data, filepath.Join(s.dir, "main")} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was made", path)
		}
	}
	if poolSize(runtimes) != 0 || poolSize(stores) != 0 {
		t.Error("a runtime is left")
	}
}

// TestFailingStart checks that what an operator can mend is one error that says
// how, and that nothing is overwritten.
func TestFailingStart(t *testing.T) {
	prepare := func(t *testing.T) *server {
		t.Helper()
		s := newServer(t)
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	controlPlane := func(s *server) string { return filepath.Join(s.data, "tenants", "control_plane.db") }
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, s *server)
		want  []string // parts of the one error
	}{
		{"data directory is a file", func(t *testing.T, s *server) {
			write(t, filepath.Join(s.dir, "file"), "")
			s.data = filepath.Join(s.dir, "file", "below")
		}, []string{"not a directory", "data <directory>"}},
		{"wrong secret", func(_ *testing.T, s *server) {
			s.options = "secret \"a secret that the databases were not made with\""
		}, []string{"master secret", "set the same secret again"}},
		{
			"truncated control plane", func(t *testing.T, s *server) { write(t, controlPlane(s), "") },
			[]string{"control_plane.db", "truncated", "restore the file from a backup"},
		},
		{
			"damaged control plane", func(t *testing.T, s *server) { write(t, controlPlane(s), strings.Repeat("no database ", 1000)) },
			[]string{"control_plane.db", "restore"},
		},
		{"control plane of a newer program", func(t *testing.T, s *server) {
			db, err := sql.Open("sqlite", "file:"+controlPlane(s))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.ExecContext(t.Context(), `PRAGMA user_version = 99`); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}, []string{"control_plane.db", "has schema version 99", "run the newer program that wrote it"}},
		{"connection string that means nothing", func(_ *testing.T, s *server) {
			s.options = `database main postgres "postgres://user:hidden@host:port/name"`
		}, []string{"database", "main", "connection string"}},
		{"server that is not there", func(_ *testing.T, s *server) {
			s.options = "database main postgres \"postgres://user:hidden@127.0.0.1:1/name\"\ncontrol_plane control_plane {\ndatabase main\n}"
			if err := os.RemoveAll(filepath.Join(s.dir, "caddy")); err != nil { // else tenants are served as they were known last
				t.Fatal(err)
			}
		}, []string{"127.0.0.1:1", "see whether the server is up and can be reached"}},
		{"secret file is gone", func(t *testing.T, s *server) {
			if err := os.Remove(filepath.Join(s.data, "secret")); err != nil {
				t.Fatal(err)
			}
		}, []string{"secret is missing", "restore the file from a backup"}},
		{
			"secret file is empty", func(t *testing.T, s *server) { write(t, filepath.Join(s.data, "secret"), "") },
			[]string{"secret holds 0 bytes", "restore the file from a backup"},
		},
		{"another process", func(t *testing.T, s *server) {
			f, err := os.OpenFile(filepath.Join(s.data, "lock"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if err := lockFile(f); err != nil {
				t.Fatal(err)
			}
		}, []string{"is in use by process", "data <directory>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := prepare(t)
			c.spoil(t, s)
			before := contents(t, s.data)
			err := s.load()
			if err == nil {
				_ = caddy.Stop()
				t.Fatal("started")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got: %v\nwant it to say: %s", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hidden") {
				t.Errorf("more than one line, or a password: %v", err)
			}
			after := contents(t, s.data)
			for path, text := range before {
				if after[path] != text {
					t.Errorf("%s was changed", path)
				}
			}
			if poolSize(runtimes) != 0 || poolSize(stores) != 0 {
				t.Error("a runtime is left")
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// contents are the files below a directory, by path; but what SQLite keeps
// beside a database belongs to nobody.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "-wal") || strings.HasSuffix(path, "-shm") {
			return nil
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGreeting checks the one line of a first start, and the files it makes.
func TestGreeting(t *testing.T) {
	s := newServer(t)
	var out strings.Builder
	notices = &out
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("https://auth.example.com:%d/u/setup?token=", s.https)
	if line := out.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, want) {
		t.Errorf("got %q, want one line with %s", line, want)
	}
	info, err := os.Stat(filepath.Join(s.data, "secret"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: got %v, %v, want mode 0600", info, err)
	}
	secret, err := os.ReadFile(filepath.Join(s.data, "secret"))
	if err != nil {
		t.Fatal(err)
	}

	out.Reset()
	s.options = "admin root@example.com \"correct horse battery\""
	for range 2 { // the administrator is made, and is there already
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("a later start says %q", &out)
	}
	if again, err := os.ReadFile(filepath.Join(s.data, "secret")); err != nil || string(again) != string(secret) {
		t.Errorf("the secret was changed: %v", err)
	}
	if log, err := os.ReadFile(filepath.Join(s.dir, "log")); err != nil || strings.Contains(string(log), "token=") {
		t.Errorf("the link is in the log: %v", err)
	}
}
