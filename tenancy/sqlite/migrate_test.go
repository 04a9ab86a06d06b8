package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func TestUpgrades(t *testing.T) {
	dir := t.TempDir()
	tenancytest.Upgrades(t, func(next bool) tenancy.Provider {
		p := &sqlite.Provider{Dir: dir}
		if next {
			if err := p.Know(tenancytest.NextVersion(t)); err != nil {
				t.Fatal(err)
			}
		}
		return p
	})
}

// countsRuns is a second version that can be run twice, and then tells.
var countsRuns = fstest.MapFS{"00002_counts.sql": {Data: []byte(`-- +goose Up
CREATE TABLE IF NOT EXISTS runs (tenant_id TEXT NOT NULL);
INSERT INTO runs (tenant_id) SELECT tenant FROM gatehouse;
`)}}

// knowing returns a provider that knows more than the real migrations.
func knowing(dir string, more fstest.MapFS) (*sqlite.Provider, error) {
	first, err := migrations.FS.ReadFile("00001_initial.sql")
	if err != nil {
		return nil, err
	}
	all := maps.Clone(more)
	all["00001_initial.sql"] = &fstest.MapFile{Data: first}
	p := &sqlite.Provider{Dir: dir}
	return p, p.Know(all)
}

// TestProcessesMigrateOnce: two processes that start together bring each file up
// to date once, and both get in.
func TestProcessesMigrateOnce(t *testing.T) {
	const tenants = 40
	dir := t.TempDir()
	before := &sqlite.Provider{Dir: dir}
	for i := range tenants {
		if err := before.Create(t.Context(), tenancy.Location{Tenant: fmt.Sprint("t", i)}); err != nil {
			t.Fatal(err)
		}
	}
	type child struct {
		*exec.Cmd
		in  io.WriteCloser
		out *bufio.Reader
	}
	var children []child
	for range 2 {
		c := child{Cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestMain")} // see TestMain
		c.Env, c.Stderr = append(os.Environ(), "GATEHOUSE_TEST_MIGRATOR="+dir, fmt.Sprint("GATEHOUSE_TEST_TENANTS=", tenants)), os.Stderr
		var err error
		if c.in, err = c.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.out = bufio.NewReader(out)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("a process that should be ready says %q, %v", line, err)
		}
		children = append(children, c)
	}
	for _, c := range children {
		fmt.Fprintln(c.in, "go")
	}
	for _, c := range children {
		rest, _ := io.ReadAll(c.out)
		if err := c.Wait(); err != nil || !strings.HasSuffix(string(rest), fmt.Sprintf("opened %d\n", tenants)) {
			t.Errorf("a process ended with %v: %s", err, rest)
		}
	}
	for i := range tenants {
		if n := runs(t, filepath.Join(dir, fmt.Sprintf("t%d.db", i))); n != 1 {
			t.Errorf("t%d was migrated %d times", i, n)
		}
	}
}

func runs(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=rw")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM runs`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// migrate is the process of TestProcessesMigrateOnce: it opens all files when it
// is told to.
func migrate(dir string, tenants int) error {
	p, err := knowing(dir, countsRuns)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	opened := 0
	for i := range tenants {
		db, err := p.Open(context.Background(), tenancy.Location{Tenant: fmt.Sprint("t", i)})
		if err != nil {
			return err
		}
		opened++
		if err := db.Close(); err != nil {
			return err
		}
	}
	fmt.Println("opened", opened)
	return nil
}

// TestBrokenMigration: nothing of a migration that fails stays, and the file is
// opened by a program in which it is mended.
func TestBrokenMigration(t *testing.T) {
	dir := t.TempDir()
	acme := tenancy.Location{Tenant: "acme"}
	if err := (&sqlite.Provider{Dir: dir}).Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	broken, err := knowing(dir, fstest.MapFS{"00002_breaks.sql": {Data: []byte("-- +goose Up\nCREATE TABLE runs (a TEXT);\nALTER TABLE nothing ADD COLUMN a TEXT;\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Open(t.Context(), acme); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v", err)
	}
	for _, known := range []fstest.MapFS{{}, countsRuns} {
		p, err := knowing(dir, known)
		if err != nil {
			t.Fatal(err)
		}
		db, err := p.Open(t.Context(), acme)
		if err != nil {
			t.Fatalf("with %v: %v", known, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := runs(t, filepath.Join(dir, "acme.db")); n != 1 {
		t.Errorf("migrated %d times", n)
	}
}
