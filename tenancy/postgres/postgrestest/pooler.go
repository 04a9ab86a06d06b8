package postgrestest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Pooler starts pgbouncer in transaction mode before the server of a connection
// string that [DSN] returned, and returns the string that leads through it. It
// ends with the test. Without pgbouncer the test is skipped; with CI=true it fails.
func Pooler(t testing.TB, dsn string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		_, err = os.Stat(program)
	}
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal("no pooler for postgres: there is no pgbouncer on this machine")
	case err != nil:
		t.Skip("no pooler for postgres: install the Debian package pgbouncer")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "gatehouse-pooler-")
	if err != nil {
		t.Fatal(err)
	}
	if err := give(dir); err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	config := filepath.Join(dir, "pgbouncer.ini")
	err = os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=%s port=%s user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
`, u.Hostname(), u.Port(), u.User.Username(), password, port), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	stop, err := serve(program, []string{config}, dir, u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return u.String()
}
