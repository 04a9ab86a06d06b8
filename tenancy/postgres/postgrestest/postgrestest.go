// Package postgrestest gives tests a PostgreSQL server: the one named by
// GATEHOUSE_TEST_POSTGRES, or one started from the binaries on this machine.
package postgrestest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Variable names the environment variable with the connection string of a role
// that may create roles and databases. Without it a server is started.
const Variable = "GATEHOUSE_TEST_POSTGRES"

var shared struct {
	sync.Mutex
	tried bool
	admin string // connection string of an administrator
	err   error  // why there is no server
	stop  func()
}

// DSN returns the connection string of an empty database that belongs to a role
// of its own, which may create databases and is subject to row-level security.
// Both are removed with whatever the role has made when the test ends. Without a
// server the test is skipped; with CI=true it fails.
//
// A server is started once a process. A package whose tests use it calls [Stop]
// in its TestMain.
func DSN(t testing.TB) string {
	t.Helper()
	admin := Admin(t)
	role := "gh_" + strings.ToLower(rand.Text())
	run(t, admin, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD '%[1]s' CREATEDB NOSUPERUSER`, role))
	run(t, admin, fmt.Sprintf(`GRANT %s TO CURRENT_USER`, role))
	run(t, admin, fmt.Sprintf(`CREATE DATABASE %[1]s OWNER %[1]s`, role))
	t.Cleanup(func() { remove(t, admin, role) })
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword(role, role), "/"+role
	return u.String()
}

// Admin returns the connection string, a URL, of an administrator of the server.
func Admin(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		if shared.admin = os.Getenv(Variable); shared.admin == "" {
			shared.admin, shared.stop, shared.err = start()
		}
	}
	switch {
	case shared.err == nil:
		return shared.admin
	case os.Getenv("CI") == "true":
		t.Fatalf("no postgres server: %v", shared.err)
	default:
		t.Skipf("no postgres server: %v; install the Debian package postgresql, or set %s", shared.err, Variable)
	}
	return ""
}

// Stop ends the server that was started, if one was.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.stop != nil {
		shared.stop()
		shared.stop = nil
	}
}

// remove drops the role with all databases it owns.
func remove(t testing.TB, admin, role string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		t.Errorf("removing %s: %v", role, err)
		return
	}
	defer c.Close(ctx)
	list, _ := c.Query(ctx, `SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = $1)`, role)
	names, err := pgx.CollectRows(list, pgx.RowTo[string])
	if err != nil {
		t.Errorf("removing %s: %v", role, err)
	}
	for _, name := range names {
		if _, err := c.Exec(ctx, `DROP DATABASE `+pgx.Identifier{name}.Sanitize()+` WITH (FORCE)`); err != nil {
			t.Errorf("removing %s: %v", name, err)
		}
	}
	if _, err := c.Exec(ctx, `DROP ROLE `+role); err != nil {
		t.Errorf("removing %s: %v", role, err)
	}
}

func run(t testing.TB, dsn, statement string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
