package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// start makes an empty cluster below the directory for temporary files and runs
// a server over it, on a loopback port.
func start() (admin string, stop func(), err error) {
	bin, err := binaries()
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "gatehouse-pg-")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := give(dir); err != nil {
		return "", nil, err
	}
	data := filepath.Join(dir, "data")
	if err := makeCluster(bin, dir, data); err != nil {
		return "", nil, err
	}
	// Nobody else reaches the server. Only its administrator needs no password.
	access := "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 password\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(access), 0o600); err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", dir, "-c", "max_connections=300", "-c", "max_locks_per_transaction=256"}
	if !benchmarking() { // nothing is kept
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	admin = (&url.URL{Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable"}).String()
	stop, err = serve(filepath.Join(bin, "postgres"), args, dir, admin)
	return admin, stop, err
}

// makeCluster makes an empty cluster. Where the server can, it sorts text as
// people do and not by bytes, because most servers in use do so.
func makeCluster(bin, dir, data string) error {
	args := []string{"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"}
	var errs []error
	for _, locale := range [][]string{{"--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"}, {"--locale=C.UTF-8"}, {"--locale=C"}} {
		initdb := exec.Command(filepath.Join(bin, "initdb"), append(args, locale...)...)
		initdb.Dir = dir
		unprivileged(initdb)
		out, err := initdb.CombinedOutput()
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("initdb %v: %w: %s", locale, err, out))
		if err := os.RemoveAll(data); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// serve runs the server until stop is called, and returns when it answers.
func serve(program string, args []string, dir, admin string) (stop func(), err error) {
	var log bytes.Buffer
	server := exec.Command(program, args...)
	server.Dir, server.Stdout, server.Stderr = dir, &log, &log
	unprivileged(server)
	started, ended := make(chan error, 1), make(chan struct{})
	go supervise(server, started, ended)
	if err := <-started; err != nil {
		return nil, err
	}
	stop = func() {
		_ = server.Process.Signal(os.Interrupt) // fast shutdown
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = server.Process.Kill()
			<-ended
		}
		_ = os.RemoveAll(dir)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		select {
		case <-ended:
			stop()
			return nil, fmt.Errorf("the server ended: %s", log.String())
		default:
		}
		if err = answers(admin); err == nil {
			return stop, nil
		}
		if time.Now().After(deadline) {
			stop()
			return nil, fmt.Errorf("the server does not answer: %w: %s", err, log.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func answers(dsn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// binaries returns the directory of the newest server programs on this machine.
func binaries() (string, error) {
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb", "/opt/homebrew/opt/postgresql*/bin/initdb"} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		found = append(found, list...)
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		found = append(found, initdb)
	}
	if len(found) == 0 {
		return "", errors.New("there is no initdb on this machine")
	}
	return filepath.Dir(slices.Max(found)), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// benchmarking reports whether benchmarks are run: these pay for durability.
func benchmarking() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool { return len(a) > 12 && a[:12] == "-test.bench=" })
}
