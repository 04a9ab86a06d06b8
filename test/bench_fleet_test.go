package test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// BenchmarkFleet measures what many tenants cost, in one run on one machine, and
// prints a table of it:
//
//	go test ./test -run '^$' -bench Fleet -benchtime 1x -timeout 30m
//
// GATEHOUSE_BENCH_TENANTS sets how many there are instead of 10,000.
func BenchmarkFleet(b *testing.B) {
	for b.Loop() {
		var table []measurement
		table = append(table, benchFiles(b)...)
		table = append(table, benchHandles(b)...)
		table = append(table, benchTrouble(b)...)
		table = append(table, benchSchemas(b)...)
		table = append(table, benchFleet(b)...)
		printTable(b, table)
	}
}

// benchFiles compares the creation of a tenant's file with running the migrations
// in a new one, in turn, to the same durable end.
func benchFiles(b *testing.B) []measurement {
	dir := b.TempDir()
	p := &sqlite.Provider{Dir: filepath.Join(dir, "made")}
	must(b, p.Create(b.Context(), tenancy.Location{Tenant: "first"})) // the template
	const n = 60
	made, migrated := make([]time.Duration, n), make([]time.Duration, n)
	for i := range n {
		began := time.Now()
		must(b, p.Create(b.Context(), tenancy.Location{Tenant: fmt.Sprint("t", i)}))
		made[i] = time.Since(began)
		began = time.Now()
		must(b, migrateFile(b.Context(), filepath.Join(dir, fmt.Sprint("m", i, ".db"))))
		migrated[i] = time.Since(began)
	}
	ratio := float64(percentile(migrated, 50)) / float64(percentile(made, 50))
	size, err := os.Stat(filepath.Join(dir, "made", "t0.db"))
	must(b, err)
	b.ReportMetric(ratio, "x-migrating")
	b.ReportMetric(float64(size.Size())/1024, "KiB/tenant")
	return []measurement{
		{"a tenant's file from the template, against running the migrations", fmt.Sprintf("%.1f x faster (%v against %v)", ratio, percentile(made, 50), percentile(migrated, 50)), "at least 4 x"},
		{"disk for an empty tenant's file", fmt.Sprintf("%d KiB", size.Size()/1024), "at most 110 KiB"},
	}
}

// migrateFile makes a file by running the migrations, one transaction each.
func migrateFile(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=page_size(1024)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, m := range migrations.All() {
		for _, statement := range m.Statements() { // as AutoMigrate does
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	return nil
}

// benchHandles measures what an open database costs: memory and the time until
// the first row is read.
func benchHandles(b *testing.B) []measurement {
	const n = 400
	h := newBenchHouse(b, &sqlite.Provider{Dir: b.TempDir()}, n+1)
	list := h.tenants(b, n)
	h.read(b, list[0]) // what is done once
	before := ownRSS(b)
	took := make([]time.Duration, 0, n)
	for _, t := range list[1:] {
		began := time.Now()
		h.read(b, t)
		took = append(took, time.Since(began))
	}
	each := (ownRSS(b) - before) / float64(len(took))
	b.ReportMetric(each, "KiB/handle")
	return []measurement{
		{fmt.Sprintf("resident memory of an open SQLite database, %d of them", len(took)), fmt.Sprintf("%.0f KiB", each), "at most 260 KiB"},
		{"  opening it and reading the first row, p50", fmt.Sprintf("%v (p99 %v)", percentile(took, 50), percentile(took, 99)), "at most 1.5 ms"},
	}
}

// ownRSS is this process's resident memory in KiB, without what can be given back.
func ownRSS(b *testing.B) float64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skipf("needs /proc: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	must(b, err)
	return float64(pages*os.Getpagesize()) / 1024
}

// benchHouse is a pool with tenants that have one client each.
type benchHouse struct {
	pool *tenancy.Pool
	ring *tenancy.Ring
}

func newBenchHouse(b *testing.B, p tenancy.Provider, limit int) *benchHouse {
	ring, err := tenancy.NewRing([]byte("a master secret for benchmarks, 256 bits"))
	must(b, err)
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": p}, Master: ring, Limit: limit})
	must(b, err)
	b.Cleanup(func() { _ = pool.Close(context.Background()) })
	return &benchHouse{pool, ring}
}

func (h *benchHouse) tenants(b *testing.B, n int) (list []*tenancy.Tenant) {
	for i := range n {
		id := fmt.Sprint("t", i)
		t := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: h.ring.NewDataKey(id)}
		must(b, h.pool.Create(b.Context(), t))
		list = append(list, t)
	}
	return list
}

func (h *benchHouse) read(b *testing.B, t *tenancy.Tenant) {
	err := h.pool.Do(b.Context(), t, func(ctx context.Context) error {
		_, err := tenancy.Clients.Get(ctx, "c")
		return err
	})
	if !errors.Is(err, tenancy.ErrNotFound) {
		b.Fatal(err)
	}
}

// benchSchemas compares reading of 20 tenants in schemas of their own, by turns,
// with reading of one, in rounds of each.
func benchSchemas(b *testing.B) []measurement {
	dsn := postgrestest.DSN(b)
	p := &postgres.Provider{DSN: dsn, Isolation: postgres.Schema, MaxConns: 8}
	b.Cleanup(func() { _ = p.Close() })
	h := newBenchHouse(b, p, 30)
	list := h.tenants(b, 20)
	round := func(of []*tenancy.Tenant, reads int) time.Duration {
		var wg sync.WaitGroup
		var turn atomic.Int64
		began := time.Now()
		for range 4 {
			wg.Go(func() {
				for i := turn.Add(1); i <= int64(reads); i = turn.Add(1) {
					h.read(b, of[int(i)%len(of)])
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	const reads = 10_000
	round(list, reads)
	var ratios []float64
	for range 5 {
		ratios = append(ratios, float64(round(list[:1], reads))/float64(round(list, reads)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[2], "x-one-schema")
	return []measurement{{"PostgreSQL, reads of 20 tenants in schemas, against one schema", fmt.Sprintf("%.2f x (%.2f to %.2f)", ratios[2], ratios[0], ratios[4]), "at least 0.9 x"}}
}

func fleetSize(b *testing.B) int {
	text := os.Getenv("GATEHOUSE_BENCH_TENANTS")
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 {
		b.Fatalf("GATEHOUSE_BENCH_TENANTS=%s is no number from 100 on", text)
	}
	return n
}

// benchFleet makes a fleet through the API, starts the program anew, and sees
// what it costs while nobody is there.
func benchFleet(b *testing.B) []measurement {
	n, dir := fleetSize(b), b.TempDir()
	ports, err := freePorts(2)
	must(b, err)
	config := strings.Replace(fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), "x"), "open_databases 64", "open_databases 1000", 1)
	socket := filepath.Join(dir, "admin.sock")
	config = strings.Replace(config, "admin off", "admin unix/"+socket, 1)
	g := gateway{port: ports[0], plain: true, dir: dir}
	p := startProcess(b, g, config)
	cp := p.platform(b)
	form := p.benchMachine(b)
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		cp.call(b, http.MethodPost, "/tenants", map[string]any{"id": fmt.Sprintf("t%05d", i), "friendly_name": "T"}).want(b, http.StatusCreated)
		took[i] = time.Since(began)
	}
	tenth := max(n/10, 50)
	first, last := percentile(took[10:10+tenth], 50), percentile(took[n-tenth:], 50)
	p.stop(b)
	began := time.Now()
	p = startProcess(b, g, config)
	p.token(b, "bench", form).want(b, http.StatusOK)
	token := time.Since(began)
	time.Sleep(3 * time.Second) // what a start does behind the first answer
	rss, files := p.rss(b), p.files(b)
	var reloaded []time.Duration
	for _, c := range []string{config, strings.Replace(config, "keys RS256 ES256\n", "keys RS256 ES256\n\t\tport 443\n", 1)} {
		_, reload := p.reloader(b, socket, c)
		for range 10 {
			reloaded = append(reloaded, reload())
		}
	}
	slowest := slices.Max(reloaded)
	p.stop(b)
	b.ReportMetric(float64(slowest.Microseconds())/1000, "reload-ms")
	b.ReportMetric(float64(percentile(took, 50).Microseconds())/1000, "create-ms")
	b.ReportMetric(rss, "idle-MiB")
	return []measurement{
		{fmt.Sprintf("create a tenant through the API, %d in a row, p50", n), fmt.Sprintf("%v (p99 %v)", percentile(took, 50), percentile(took, 99)), "at most 15 ms"},
		{fmt.Sprintf("  last %d against first %d", tenth, tenth), fmt.Sprintf("%.2f x (%v against %v)", float64(last)/float64(first), last, first), "flat"},
		{fmt.Sprintf("from the start with %d tenants to the first token", n), token.Round(time.Millisecond).String(), "at most 2 s"},
		{fmt.Sprintf("slowest of 20 reloads with %d tenants, one of them to other options", n), fmt.Sprintf("%v (to other options %v)", slowest.Round(time.Millisecond), reloaded[10].Round(time.Millisecond)), "at most 1 s"},
		{fmt.Sprintf("resident memory with %d idle tenants", n), fmt.Sprintf("%.0f MiB", rss), "at most 200 MB"},
		{"  file descriptors", strconv.Itoa(files), "within the budget"},
	}
}

// files is how many file descriptors the process has.
func (p *process) files(b *testing.B) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		b.Skipf("needs /proc: %v", err)
	}
	return len(list)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
