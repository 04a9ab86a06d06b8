package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	_ "modernc.org/sqlite"
)

// benchConfig serves tenants by plain HTTP on loopback, so that what is measured
// is the gateway and not TLS, and beside it the floor: Caddy answering a POST
// with as many bytes and nothing else.
const benchConfig = `{
	admin off
	persist_config off
	auto_https off
	storage file_system %[3]q
	grace_period 1s
	log {
		level ERROR
	}
	gatehouse {
		base_domain auth.localhost
		data %[4]q
		client management "a management secret of 256 bits for tests only"
		keys RS256 ES256
		open_databases 64
		sync {
			workers 4
		}
	}
}

http://auth.localhost:%[1]d, http://*.auth.localhost:%[1]d {
	gatehouse
}

http://localhost:%[2]d {
	respond %[5]q 200
}
`

// measurement is a line of the table.
type measurement struct{ what, value, bar string }

// BenchmarkBars measures the project's bars, all in one run on one machine, and
// prints them as a table of ratios:
//
//	go test ./test -run '^$' -bench Bars -benchtime 1x
func BenchmarkBars(b *testing.B) {
	dir := b.TempDir()
	ports, err := freePorts(2)
	if err != nil {
		b.Fatal(err)
	}
	config := fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), strings.Repeat("x", 900))
	for b.Loop() {
		p := startProcess(b, gateway{port: ports[0], plain: true, dir: dir}, config)
		var table []measurement
		table = append(table, p.clientCredentials(b, p.benchMachine(b), ports[1])...)
		table = append(table, p.createTenants(b)...)
		p.stop(b)
		p = startProcess(b, gateway{port: ports[0], plain: true, dir: dir}, config)
		table = append(table, p.idle(b)...)
		table = append(table, p.propagate(b)...)
		p.stop(b)
		printTable(b, table)
	}
}

func printTable(b *testing.B, table []measurement) {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 2, 2, 2, ' ', 0)
	fmt.Fprintln(w, "measured\tvalue\tbar")
	for _, m := range table {
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.what, m.value, m.bar)
	}
	_ = w.Flush()
	fmt.Fprintf(os.Stderr, "\n%s\n", &out)
}

const benchTenants = 1000

const benchAudience = "https://api.example.com"

// benchMachine makes the tenant bench, with a machine client for an API that
// signs by ES256, and returns the client's request for a token.
func (p *process) benchMachine(b *testing.B) url.Values {
	cp := p.platform(b)
	cp.call(b, http.MethodPost, "/tenants", map[string]any{"id": "bench", "friendly_name": "Bench"}).want(b, http.StatusCreated)
	a := cp.on("bench")
	a.create(b, "/resource-servers", map[string]any{"identifier": benchAudience, "name": "API", "signing_alg": "ES256", "scopes": []map[string]string{{"value": "read:all"}}})
	c := a.create(b, "/clients", map[string]any{"name": "Robot", "app_type": "non_interactive"})
	a.create(b, "/client-grants", map[string]any{"client_id": c["client_id"], "audience": benchAudience, "scope": []string{"read:all"}})
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c["client_id"].(string)}, "client_secret": {c["client_secret"].(string)},
		"audience": {benchAudience},
	}
}

// clientCredentials compares a token by client credentials, ES256, with an empty
// POST and one signature.
func (p *process) clientCredentials(b *testing.B, asked url.Values, floorPort int) []measurement {
	form := asked.Encode()
	token := func() *http.Request {
		return post(b, p.issuer("bench")+"oauth/token", form)
	}
	empty := func() *http.Request {
		return post(b, fmt.Sprintf("http://localhost:%d/", floorPort), form)
	}
	const n = 20_000
	p.load(b, token, n/10)
	p.load(b, empty, n/10)
	var ratios []float64
	var ours, floor, sign time.Duration
	for range 3 { // in turn, so that a slow moment of the machine meets both
		ours, floor, sign = p.load(b, token, n), p.load(b, empty, n), signature(b)
		ratios = append(ratios, float64(ours)/float64(floor+sign))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[1], "x-floor")
	return []measurement{
		{"client_credentials ES256, CPU per request", fmt.Sprintf("%.2f x floor (%.2f to %.2f)", ratios[1], ratios[0], ratios[2]), "at most 1.8 x"},
		{"  of which, last round", fmt.Sprintf("%v against %v for an empty POST and %v for a signature", ours, floor, sign), ""},
	}
}

func post(b *testing.B, link, form string) *http.Request {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, link, strings.NewReader(form))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// load sends n requests over 16 connections and returns the processor time that
// the process used for each.
func (p *process) load(b *testing.B, request func() *http.Request, n int) time.Duration {
	b.Helper()
	before := p.cpu(b)
	var wg sync.WaitGroup
	var left, failed atomic.Int64
	left.Store(int64(n))
	for range 16 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				resp, err := p.http.Do(request())
				if err != nil {
					failed.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 {
		b.Fatalf("%d of %d requests failed", failed.Load(), n)
	}
	return (p.cpu(b) - before) / time.Duration(n)
}

// signature is the processor time of one ES256 signature.
func signature(b *testing.B) time.Duration {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("what is signed"))
	return perRun(b, func() bool {
		_, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		return err == nil
	})
}

// perRun is the processor time of this process that f takes, which must not fail.
func perRun(b *testing.B, f func() bool) time.Duration {
	const n = 5000
	before := ownCPU(b)
	for range n {
		if !f() {
			b.Fatal("what is measured fails")
		}
	}
	return (ownCPU(b) - before) / n
}

func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// createTenants makes a thousand tenants one after the other.
func (p *process) createTenants(b *testing.B) []measurement {
	cp := p.platform(b)
	took := make([]time.Duration, benchTenants)
	for i := range took {
		began := time.Now()
		cp.call(b, http.MethodPost, "/tenants", map[string]any{"id": fmt.Sprintf("t%04d", i), "friendly_name": "T"}).want(b, http.StatusCreated)
		took[i] = time.Since(began)
	}
	first, last := percentile(took[:200], 50), percentile(took[benchTenants-200:], 50)
	all := percentile(took, 50)
	b.ReportMetric(float64(all.Microseconds())/1000, "create-ms")
	return []measurement{
		{fmt.Sprintf("create a tenant, SQLite, %d in a row, p50", benchTenants), fmt.Sprintf("%v (p99 %v)", all, percentile(took, 99)), "at most 25 ms"},
		{"  last 200 against first 200", fmt.Sprintf("%.2f x", float64(last)/float64(first)), "flat"},
	}
}

func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)*p/100].Round(10 * time.Microsecond)
}

// idle is what tenants cost that nobody visits.
func (p *process) idle(b *testing.B) []measurement {
	time.Sleep(2 * time.Second)
	rss := p.rss(b)
	b.ReportMetric(rss, "idle-MiB")
	return []measurement{{fmt.Sprintf("resident memory after a start with %d idle tenants", benchTenants), fmt.Sprintf("%.0f MiB", rss), "at most 150 MB"}}
}

// propagate changes one role and waits until every tenant has it, from closed
// databases, and compares with writing as much into the files directly.
func (p *process) propagate(b *testing.B) []measurement {
	cp := p.platform(b)
	cp.create(b, "/roles", map[string]any{"name": "Warm"}) // what is done once
	p.synced(b, cp, 0)
	began := time.Now()
	answer := cp.call(b, http.MethodPost, "/roles", map[string]any{"name": "Measured", "description": "One change"})
	api := time.Since(began)
	p.synced(b, cp, revision(b, answer))
	took := time.Since(began)
	raw := p.rawApply(b, benchTenants, "raw")
	share := raw.Seconds() / took.Seconds()
	b.ReportMetric(share*100, "%-of-raw")
	return []measurement{
		{
			fmt.Sprintf("one role to %d closed tenants, share of the raw apply rate", benchTenants),
			fmt.Sprintf("%.0f%% (%.0f tenants/s against %.0f)", share*100, benchTenants/took.Seconds(), benchTenants/raw.Seconds()), "at least 50%",
		},
		{"  the API call itself", api.Round(10 * time.Microsecond).String(), "at once"},
	}
}

func revision(b *testing.B, a answer) (n int) {
	b.Helper()
	if _, err := fmt.Sscan(a.header.Get("Gatehouse-Sync-Revision"), &n); err != nil {
		b.Fatalf("no revision in the answer (status %d): %s", a.status, a.body)
	}
	return n
}

// synced waits until every tenant has applied the revision; 0 is the newest.
func (p *process) synced(b *testing.B, cp api, revision int) {
	b.Helper()
	for range 20 {
		path := "/sync/status?wait=10&per_page=1"
		if revision > 0 {
			path += fmt.Sprintf("&revision=%d", revision)
		}
		var status struct {
			Revision int
			Complete bool
		}
		cp.call(b, http.MethodGet, path, nil).want(b, http.StatusOK).json(b, &status)
		if status.Complete {
			return
		}
		if revision == 0 {
			revision = status.Revision
		}
	}
	b.Fatal("tenants do not catch up")
}

// rawApply opens each tenant's file, writes one row and a watermark in one
// durable transaction, and closes it, with as many workers as the sync has: what
// the disk and SQLite allow.
func (p *process) rawApply(b *testing.B, tenants int, role string) time.Duration {
	files, err := filepath.Glob(filepath.Join(p.dir, "data", "*", "t*.db"))
	if err != nil || len(files) < tenants {
		b.Fatalf("%d files, %v", len(files), err)
	}
	next := make(chan string)
	var wg sync.WaitGroup
	began := time.Now()
	for range 4 {
		wg.Go(func() {
			for f := range next {
				if err := writeRaw(b.Context(), f, role); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, f := range files[:tenants] {
		next <- f
	}
	close(next)
	wg.Wait()
	return time.Since(began)
}

func writeRaw(ctx context.Context, file, role string) (err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=rw&_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	metadata, _ := json.Marshal(map[string]string{"raw": "1"})
	for _, stmt := range []string{
		fmt.Sprintf(`INSERT INTO roles (tenant_id, id, revision, created_at, updated_at, name, name_key, description, is_system, origin, metadata)
			SELECT tenant, '%[1]s', 1, 0, 0, '%[1]s', '%[1]s', '', FALSE, '', '%[2]s' FROM gatehouse`, role, metadata),
		`UPDATE sync_state SET updated_at = updated_at + 1`,
	} {
		if _, err := tx.ExecContext(ctx, stmt); err != nil {
			_ = tx.Rollback()
			return err
		}
	}
	return tx.Commit()
}
