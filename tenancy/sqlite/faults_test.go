package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// install makes a pool over the directory, and its one tenant.
func install(t testing.TB, dir string) (*tenancy.Pool, *tenancy.Tenant) {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: dir}}, Master: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.Background()) })
	// The data key is the same in every process, so that one reads what another wrote.
	return pool, &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: "acme"}, DataKey: ring.NewDataKey("acme")}
}

// TestDamagedFiles: each kind of damage is one clear error for that tenant that
// says what to do, and the file is left as it is.
func TestDamagedFiles(t *testing.T) {
	header := func(b []byte) []byte { copy(b, strings.Repeat("x", 100)); return b }
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		hint   string
	}{
		{"truncated to nothing", func([]byte) []byte { return nil }, "from a backup"},
		{"truncated to half", func(b []byte) []byte { return b[:len(b)/2] }, "from a backup"},
		{"header overwritten", header, "from a backup"},
		{"another program's database", func(b []byte) []byte { copy(b[68:72], "\x00\x00\x00\x00"); return b }, "from a backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			pool, acme := install(t, dir)
			if err := pool.Create(t.Context(), acme); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "acme.db")
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := c.damage(whole)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			err = pool.Do(t.Context(), acme, func(ctx context.Context) error {
				_, err := tenancy.Clients.Count(ctx, tenancy.Filter{})
				return err
			})
			if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), c.hint) {
				t.Errorf("entering: %v", err)
			}
			if err := pool.Create(t.Context(), acme); err == nil && c.name != "truncated to half" {
				t.Error("a damaged file was taken for the tenant's own")
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(damaged) {
				t.Errorf("the damaged file was changed (%v)", err)
			}
		})
	}
}

// TestUnwritableDirectory: the error names the directory and the remedy.
func TestUnwritableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pool, acme := install(t, filepath.Join(file, "tenants"))
	err := pool.Create(t.Context(), acme)
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "data directory") {
		t.Errorf("got %v", err)
	}
}

// TestNames: what is no plain name never becomes a path.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	pool, acme := install(t, filepath.Join(dir, "tenants"))
	for _, name := range []string{"../up", "a/b", "a b", "A", "ü", ".", "a\x00b"} {
		acme.Database = name
		if err := pool.Create(t.Context(), acme); err == nil {
			t.Errorf("created %q", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tenants")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was written")
	}
}

// TestKilled kills a process that writes, again and again, and demands that
// every batch it was told of is there, and none in part.
func TestKilled(t *testing.T) {
	const kills = 12
	dir := t.TempDir()
	pool, acme := install(t, dir)
	if err := pool.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	if err := pool.Forget(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	var told []string
	for i := range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestMain") // see TestMain
		cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_WRITER="+dir, fmt.Sprint("GATEHOUSE_TEST_ROUND=", i))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if told = append(told, lines.Text()); kill == nil { // it writes: let it, for a while
				kill = time.AfterFunc(time.Duration(i*7)*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait()
	}
	ctx, leave, err := pool.Enter(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if len(told) < kills {
		t.Fatalf("%d processes told of %d batches", kills, len(told))
	}
	for _, id := range told {
		if _, err := tenancy.Organizations.Get(ctx, id); err != nil {
			t.Errorf("%s was committed and is not there: %v", id, err)
		}
	}
	orgs, err := tenancy.Organizations.Count(ctx, tenancy.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	members, err := tenancy.Members.Count(ctx, tenancy.Filter{})
	if err != nil || members != 2*orgs {
		t.Errorf("%d organizations with %d members: a batch was torn (%v)", orgs, members, err)
	}
	t.Logf("%d batches told, %d found after %d kills", len(told), orgs, kills)
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("GATEHOUSE_TEST_WRITER"); dir != "" {
		if err := writeUntilKilled(dir, os.Getenv("GATEHOUSE_TEST_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	if dir := os.Getenv("GATEHOUSE_TEST_MIGRATOR"); dir != "" {
		tenants, err := strconv.Atoi(os.Getenv("GATEHOUSE_TEST_TENANTS"))
		if err == nil {
			err = migrate(dir, tenants)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir, round string) error {
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	if err != nil {
		return err
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: dir}}, Master: ring})
	if err != nil {
		return err
	}
	acme := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: "acme"}, DataKey: ring.NewDataKey("acme")}
	ctx, _, err := pool.Enter(context.Background(), acme)
	if err != nil {
		return err
	}
	for i := range 100_000 {
		id := fmt.Sprint("org_", round, "_", i)
		if err := tenancy.Commit(ctx,
			tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: id}, Name: id}),
			tenancy.Members.Insert(ctx, tenancy.NewMember(id, "a")),
			tenancy.Members.Insert(ctx, tenancy.NewMember(id, "b"))); err != nil {
			return err
		}
		fmt.Println(id)
	}
	return nil
}

func BenchmarkCreateTenantFile(b *testing.B) {
	pool, acme := install(b, b.TempDir())
	for i := 0; b.Loop(); i++ {
		acme.ID = fmt.Sprint("t", i)
		if err := pool.Create(b.Context(), acme); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit shows what writing together saves: 16 at a time.
func BenchmarkCommit(b *testing.B) {
	pool, acme := install(b, b.TempDir())
	if err := pool.Create(b.Context(), acme); err != nil {
		b.Fatal(err)
	}
	ctx, leave, err := pool.Enter(b.Context(), acme)
	if err != nil {
		b.Fatal(err)
	}
	defer leave()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := tenancy.NewID("g", 16)
			if err := tenancy.Grants.Create(ctx, &tenancy.Grant{Row: tenancy.Row{ID: id}, Kind: tenancy.GrantCode, Hash: id}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
