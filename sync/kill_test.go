package sync

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// victim names the directory of a house in which the test binary works as a
// process of its own, to be killed. With victimDSN the house is in PostgreSQL, and
// the process changes nothing on the control plane.
const (
	victim      = "GATEHOUSE_SYNC_VICTIM"
	victimDSN   = "GATEHOUSE_SYNC_VICTIM_DSN"
	victimLocks = "GATEHOUSE_SYNC_VICTIM_LOCKS" // a lease: processes take turns by locks in the control plane
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if err := beVictim(dir, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// beVictim changes the control plane and brings tenants up to date until it is
// killed, or until who started it is gone.
func beVictim(dir string, started io.Reader) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, started); cancel() }()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		return err
	}
	var provider tenancy.Provider = &sqlite.Provider{Dir: dir}
	dsn := os.Getenv(victimDSN)
	if dsn != "" {
		provider = &postgres.Provider{DSN: dsn}
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": provider}, Master: ring})
	if err != nil {
		return err
	}
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.test"})
	if err != nil {
		return err
	}
	key, err := os.ReadFile(dir + "/key-of-control-plane")
	if err != nil {
		return err
	}
	directory := tenancy.NewDirectory(pool, hosts)
	cp := &tenancy.Tenant{Row: tenancy.Row{TenantID: platform, ID: platform}, State: tenancy.StateActive, DataKey: string(key)}
	if err := directory.Open(ctx, cp); err != nil {
		return err
	}
	every := time.Second
	if dsn != "" {
		every = 20 * time.Millisecond // it hears of changes in no other way
	} else if err := pool.Do(ctx, cp, edit); err != nil {
		return err
	}
	fmt.Println("changed")
	c := Config{Directory: directory, Pool: pool, Every: every, Workers: 4}
	if lease, err := time.ParseDuration(os.Getenv(victimLocks)); err == nil {
		c.Locker = locksOf(directory, lease)
	}
	New(c).Run(ctx)
	return nil
}

// locksOf are locks in the control plane, as those of a Caddy storage there.
func locksOf(d *tenancy.Directory, lease time.Duration) Locker {
	return &tenancy.FileStore{
		Enter:  func(ctx context.Context, _ bool) (context.Context, func(), error) { return d.EnterControlPlane(ctx) },
		Timing: tenancy.LockTiming{Lease: lease, Poll: lease / 10},
	}
}

// edit changes something of each kind, another way each time: names swap, scopes
// and permissions come and go, a role is removed and made again.
func edit(ctx context.Context) error {
	r, err := tenancy.Roles.Get(ctx, "rol1")
	if err != nil {
		return err
	}
	n := int(r.Revision)
	r.Description = "round " + strconv.Itoa(n)
	one, err := tenancy.ResourceServers.Get(ctx, "rs1")
	if err != nil {
		return err
	}
	one.Name = r.Description
	stmts := []tenancy.Stmt{tenancy.Roles.Replace(ctx, r), tenancy.ResourceServers.Replace(ctx, one)}
	write := perm("rol1", "rs1", "write")
	if n%2 == 0 {
		stmts = append(stmts, tenancy.RolePermissions.Remove(ctx, write.ID).Marked(tenancy.KindRole, "rol1"))
		if _, err := tenancy.Roles.Get(ctx, "rol3"); err == nil {
			stmts = append(stmts, tenancy.RemoveRole(ctx, "rol3")...)
		}
	} else {
		stmts = append(stmts, tenancy.RolePermissions.Insert(ctx, write), tenancy.Roles.Insert(ctx, role("rol3", "Come and go")))
	}
	return tenancy.Commit(ctx, stmts...)
}

// launch starts the victim, and returns when it has begun. Killing it is SIGKILL.
func launch(t *testing.T, dir string, env ...string) (kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), victim+"="+dir), env...)
	alive, err := cmd.StdinPipe()
	must(t, err)
	says, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	line, err := bufio.NewReader(says).ReadString('\n')
	if err != nil || line != "changed\n" {
		_ = cmd.Wait()
		t.Fatalf("the process says %q, %v", line, err)
	}
	return func() {
		t.Helper()
		must(t, cmd.Process.Kill())
		if err := cmd.Wait(); err == nil {
			t.Fatal("the process ended by itself")
		}
		_ = alive.Close()
	}
}

// SC-088: a process is killed at random points of passes over all tenants, again
// and again. Afterwards a pass brings every tenant to the control plane's state,
// nothing was written twice, and one more writes nothing (contract C6.4).
func TestKilledAgainAndAgain(t *testing.T) {
	const (
		tenants = 60
		kills   = 200
		limit   = 45 * time.Second // on a busy machine fewer kills have to do
		least   = 30
	)
	var ids []string
	for i := range tenants {
		ids = append(ids, fmt.Sprintf("t%03d", i))
	}
	dir := t.TempDir()
	h := newHouseIn(t, dir, 0, ids...)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "A"), perm("rol1", "rs1", "read"), perm("rol1", "rs1", "write"))
	h.addRole(role("rol2", "B"), perm("rol2", "rs1", "read"))
	h.onCP(func(ctx context.Context) {
		must(t, tenancy.Commit(ctx, tenancy.RolePermissions.Remove(ctx, perm("rol1", "rs1", "write").ID).Marked(tenancy.KindRole, "rol1")))
	})
	must(t, h.pool.Close(t.Context()))

	random := rand.New(rand.NewPCG(88, 1))
	done := 0
	for begun := time.Now(); done < kills && time.Since(begun) < limit; done++ {
		began := time.Now()
		kill := launch(t, dir)
		pass := max(300*time.Millisecond, 3*time.Since(began))  // about as long, also on a slow machine
		<-time.After(time.Duration(random.Int64N(int64(pass)))) // a point of the pass, or of its notes
		kill()
	}
	if done < least {
		t.Errorf("the process was killed %d times in %s only, want at least %d", done, limit, least)
	}

	h = newHouseIn(t, dir, 0)
	marks, visits := map[int64]int{}, int64(0)
	for _, id := range ids {
		revision, writes := h.applied(id)
		marks[revision]++
		visits += writes
	}
	t.Logf("%d kills, %d batches in tenants, tenants by what they had applied after the last kill: %v of %d", done, visits, marks, h.head())
	if visits < tenants/4 || visits >= int64(done*tenants) {
		t.Error("no pass was under way when the process was killed; the scenario is too fast or too slow")
	}
	l := h.loop()
	start(t, l)
	settle(t, l)

	h.tenant("fresh", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	must(t, l.Snapshot(t.Context(), h.byID("fresh")))
	want := h.dump("fresh")
	source := find(h, tenancy.Roles, platform, "rol1")
	p, err := l.look(t.Context())
	must(t, err)
	for _, id := range ids {
		equal(t, id, h.dump(id), want)
		if copied := find(h, tenancy.Roles, id, "rol1"); copied.Revision > source.Revision {
			t.Errorf("%s: the copy was written %d times, its row on the control plane %d times", id, copied.Revision, source.Revision)
		}
		out, err := l.visit(t.Context(), job{tenant: h.byID(id), picture: p, full: true}, l.pool.Enter)
		must(t, err)
		if out.wrote {
			t.Errorf("%s: a second pass writes", id)
		}
	}
	if source.Revision != int64(done)+1 {
		t.Errorf("the control plane was changed %d times by %d processes", source.Revision-1, done)
	}
}

// Two processes share a control plane and tenants in PostgreSQL, one of them being
// killed and started again, without locks and taking turns by leases, of which a
// killed one takes some with it. Every tenant gets everything, and no batch is
// written twice: what one wrote the other finds done (contract C6.4).
func TestProcessesCompete(t *testing.T) {
	for name, lease := range map[string]string{"without locks": "", "by leases": "300ms"} {
		t.Run(name, func(t *testing.T) { processesCompete(t, lease) })
	}
}

func processesCompete(t *testing.T, lease string) {
	dsn, dir := postgrestest.DSN(t), t.TempDir()
	const tenants, rounds = 12, 8
	var ids []string
	for i := range tenants {
		ids = append(ids, fmt.Sprintf("t%02d", i))
	}
	h := newHouseWith(t, &postgres.Provider{DSN: dsn}, dir, 0, ids...)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "A"), perm("rol1", "rs1", "read"))
	kills := []func(){launch(t, dir, victimDSN+"="+dsn, victimLocks+"="+lease), launch(t, dir, victimDSN+"="+dsn, victimLocks+"="+lease)}
	watcher := h.loop(func(c *Config) { c.Locker = &turns{held: make(chan struct{}, 1)} }) // never runs; reads what others note
	random := rand.New(rand.NewPCG(5, 5))
	for round := range rounds {
		h.onCP(func(ctx context.Context) { must(t, edit(ctx)) })
		<-time.After(time.Duration(random.IntN(100)) * time.Millisecond)
		one := round % 2
		kills[one]()
		kills[one] = launch(t, dir, victimDSN+"="+dsn, victimLocks+"="+lease)
		h.onCP(func(ctx context.Context) { must(t, edit(ctx)) })
	}
	settle(t, watcher)
	head := h.head()
	eventually(t, "every tenant applied everything", func() bool {
		for _, id := range ids {
			if revision, _ := h.applied(id); revision < head {
				return false
			}
		}
		return true
	})
	for _, kill := range kills {
		kill()
	}
	l := h.loop()
	h.tenant("fresh", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
	must(t, l.Snapshot(t.Context(), h.byID("fresh")))
	want, source := h.dump("fresh"), find(h, tenancy.Roles, platform, "rol1")
	for _, id := range ids {
		equal(t, id, h.dump(id), want)
		if copied := find(h, tenancy.Roles, id, "rol1"); copied.Revision > source.Revision {
			t.Errorf("%s: the copy was written %d times, its row on the control plane %d times", id, copied.Revision, source.Revision)
		}
	}
	equal(t, "edits", source.Revision, 1+2*rounds)
}
