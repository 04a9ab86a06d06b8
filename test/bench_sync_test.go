package test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSyncFleet measures how a change on the control plane reaches many
// tenants whose databases are closed, and what it costs those who come meanwhile,
// in one run on one machine, and prints a table of it:
//
//	go test ./test -run '^$' -bench SyncFleet -benchtime 1x -timeout 60m
//
// GATEHOUSE_BENCH_TENANTS sets how many there are instead of 10,000.
func BenchmarkSyncFleet(b *testing.B) {
	n := fleetSize(b)
	for b.Loop() {
		small, large := newFleet(b, 10), newFleet(b, n)
		large.grow(b)
		small.start(b)
		var table []measurement
		table = append(table, large.restart(b))
		table = append(table, compareTails(b, small, large))
		small.stop(b)
		table = append(table, large.pages(b)...)
		table = append(table, large.passes(b)...)
		table = append(table, large.drift(b))
		large.stop(b)
		printTable(b, table)
	}
}

// fleet is a gateway with so many tenants, whose process starts and stops.
type fleet struct {
	*process
	gateway gateway
	config  string
	tenants int
	form    url.Values // asks for a token in tenant bench
	cp      api
	round   int
}

// newFleet starts a gateway and makes its tenants, a few at a time.
func newFleet(b *testing.B, n int) *fleet {
	dir := b.TempDir()
	ports, err := freePorts(2)
	must(b, err)
	config := fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), "x")
	f := &fleet{
		tenants: n, gateway: gateway{port: ports[0], plain: true, dir: dir},
		config: strings.Replace(config, "open_databases 64", "open_databases 1000", 1),
	}
	f.start(b)
	f.form = f.benchMachine(b)
	for i := range min(n, 10) {
		f.make(b, i)
	}
	return f
}

func (f *fleet) start(b *testing.B) {
	if f.process == nil || f.ended() {
		f.process = startProcess(b, f.gateway, f.config)
	}
	f.cp = f.platform(b)
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (f *fleet) make(b *testing.B, i int) {
	f.cp.call(b, http.MethodPost, "/tenants", map[string]any{"id": fmt.Sprintf("t%05d", i), "friendly_name": "T"}).want(b, http.StatusCreated)
}

// grow makes the rest of the tenants.
func (f *fleet) grow(b *testing.B) {
	var next atomic.Int64
	next.Store(9)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1); i < int64(f.tenants); i = next.Add(1) {
				f.make(b, int(i))
			}
		})
	}
	wg.Wait()
}

// restart starts the program anew and waits for the first token.
func (f *fleet) restart(b *testing.B) measurement {
	f.stop(b)
	began := time.Now()
	f.process = startProcess(b, f.gateway, f.config)
	f.token(b, "bench", f.form).want(b, http.StatusOK)
	took := time.Since(began)
	f.cp = f.platform(b)
	return measurement{fmt.Sprintf("from a start with %d tenants to the first token", f.tenants), took.Round(time.Millisecond).String(), "at most 2 s"}
}

// tokens asks for a token at a steady pace, whether the one before is there or not,
// until ctx ends, and returns how long each took.
func (f *fleet) tokens(ctx context.Context, b *testing.B) []time.Duration {
	const pace = 5 * time.Millisecond
	form := f.form.Encode()
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for due := time.Now(); ; {
		select {
		case <-ctx.Done():
			wg.Wait()
			return took
		case <-tick.C:
		}
		for ; !due.After(time.Now()); due = due.Add(pace) { // also those that a busy machine had no time for
			began := due
			wg.Go(func() {
				resp, err := f.http.Do(post(b, f.issuer("bench")+"oauth/token", form))
				if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("no token: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
	}
}

// tokensFor is tokens for a while.
func (f *fleet) tokensFor(b *testing.B, d time.Duration) []time.Duration {
	ctx, cancel := context.WithTimeout(b.Context(), d)
	defer cancel()
	return f.tokens(ctx, b)
}

// compareTails compares the slowest tokens of a gateway with many tenants with
// those of one with few, in rounds of each.
func compareTails(b *testing.B, few, many *fleet) measurement {
	var ratios []float64
	few.tokensFor(b, time.Second)
	many.tokensFor(b, time.Second)
	var last [2]time.Duration
	for range 5 {
		last = [2]time.Duration{percentile(few.tokensFor(b, 3*time.Second), 99), percentile(many.tokensFor(b, 3*time.Second), 99)}
		ratios = append(ratios, float64(last[1])/float64(last[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[2], "x-tenants-p99")
	return measurement{
		fmt.Sprintf("token p99 with %d tenants, against %d", many.tenants, few.tenants),
		fmt.Sprintf("%.2f x (%.2f to %.2f; %v against %v)", ratios[2], ratios[0], ratios[4], last[1], last[0]), "at most 1.3 x",
	}
}

// pages reads all pages of GET /tenants.
func (f *fleet) pages(b *testing.B) []measurement {
	var took []time.Duration
	seen := 0
	for page := 0; page == 0 || seen < page*100+1 && page*100 < f.tenants+2; page++ {
		var list struct{ Tenants []map[string]any }
		began := time.Now()
		f.cp.call(b, http.MethodGet, fmt.Sprintf("/tenants?per_page=100&page=%d&include_totals=true", page), nil).want(b, http.StatusOK).json(b, &list)
		took = append(took, time.Since(began))
		seen += len(list.Tenants)
	}
	if seen != f.tenants+2 { // with bench and the control plane
		b.Errorf("%d tenants are listed, want %d", seen, f.tenants+2)
	}
	return []measurement{{fmt.Sprintf("GET /tenants, 100 of %d, slowest page", f.tenants), fmt.Sprintf("%v (p50 %v)", percentile(took, 100), percentile(took, 50)), "at most 100 ms"}}
}

// closed waits until next to no tenant's database is open.
func (f *fleet) closed(b *testing.B) {
	for deadline := time.Now().Add(2 * time.Minute); f.files(b) > 60; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d files are open", f.files(b))
		}
	}
}

// change makes a role, and returns how long the call took and, once every tenant has
// it, how long that took.
func (f *fleet) change(b *testing.B) (api, all time.Duration) {
	f.round++
	began := time.Now()
	answer := f.cp.call(b, http.MethodPost, "/roles", map[string]any{"name": fmt.Sprint("Measured ", f.round), "description": "One change"})
	api = time.Since(began)
	f.synced(b, f.cp, revision(b, answer))
	return api, time.Since(began)
}

// passes compares one change to all tenants with writing as much into the files
// directly, by turns; then has one happen while people come, and a hundred.
func (f *fleet) passes(b *testing.B) []measurement {
	f.change(b) // what is done once
	var shares []float64
	var one, raw []time.Duration
	for range 3 {
		f.closed(b)
		_, took := f.change(b)
		f.closed(b)
		direct := f.rawApply(b, f.tenants, fmt.Sprint("raw", f.round))
		one, raw = append(one, took), append(raw, direct)
		shares = append(shares, direct.Seconds()/took.Seconds())
	}
	slices.Sort(shares)
	f.closed(b)
	calm := f.tokensFor(b, 5*time.Second)
	busy, calls := f.changeMeanwhile(b)
	f.closed(b)
	began := time.Now()
	var last answer
	for range 100 {
		f.round++
		last = f.cp.call(b, http.MethodPost, "/roles", map[string]any{"name": fmt.Sprint("Measured ", f.round)})
	}
	f.synced(b, f.cp, revision(b, last))
	hundred, median := time.Since(began), percentile(one, 50)
	b.ReportMetric(shares[1]*100, "%-of-raw")
	b.ReportMetric(float64(f.tenants)/median.Seconds(), "tenants/s")
	tail := float64(percentile(busy, 99)) / float64(percentile(calm, 99))
	b.ReportMetric(tail, "x-calm-p99")
	return []measurement{
		{
			fmt.Sprintf("one role to %d closed tenants, share of the raw apply rate", f.tenants),
			fmt.Sprintf("%.0f%% (%.0f%% to %.0f%%; %.0f tenants/s against %.0f)", shares[1]*100, shares[0]*100, shares[2]*100,
				float64(f.tenants)/median.Seconds(), float64(f.tenants)/percentile(raw, 50).Seconds()), "at least 80%",
		},
		{"  until the last one has it", median.Round(time.Millisecond).String(), "15 s for 10,000"},
		{"  calls of the API meanwhile, slowest of the control plane's", fmt.Sprintf("%v (p50 %v)", percentile(calls, 100), percentile(calls, 50)), "below 20 ms"},
		{"  token p99 of a busy tenant meanwhile, against before", fmt.Sprintf("%.2f x (%v against %v)", tail, percentile(busy, 99), percentile(calm, 99)), "at most 1.3 x"},
		{"100 changes in a row, until the last tenant has the last", fmt.Sprintf("%.2f x one (%v)", hundred.Seconds()/median.Seconds(), hundred.Round(time.Millisecond)), "calls and one pass"},
	}
}

// changeMeanwhile has one change reach all tenants while tokens are asked for and
// the control plane's API is used, and returns how long each took.
func (f *fleet) changeMeanwhile(b *testing.B) (tokens, calls []time.Duration) {
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { tokens = f.tokens(ctx, b) })
	f.round++
	began := time.Now()
	answer := f.cp.call(b, http.MethodPost, "/roles", map[string]any{"name": fmt.Sprint("Measured ", f.round)})
	calls = append(calls, time.Since(began))
	wg.Go(func() {
		for path := 0; ctx.Err() == nil; path++ {
			began := time.Now()
			f.cp.call(b, http.MethodGet, []string{"/roles", "/tenants?per_page=5", "/clients"}[path%3], nil).want(b, http.StatusOK)
			calls = append(calls, time.Since(began))
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	f.synced(b, f.cp, revision(b, answer))
	cancel()
	wg.Wait()
	return tokens, calls
}

// drift compares all tenants with the control plane, page by page.
func (f *fleet) drift(b *testing.B) measurement {
	f.closed(b)
	began := time.Now()
	checked, steps := 0, 0
	for next := ""; steps == 0 || next != ""; steps++ {
		var page struct {
			Drift   []any
			Checked int
			Next    string
		}
		f.cp.call(b, http.MethodGet, "/sync/drift?take=500&from="+next, nil).want(b, http.StatusOK).json(b, &page)
		if len(page.Drift) > 0 {
			b.Fatalf("tenants differ: %v", page.Drift[0])
		}
		checked += page.Checked
		next = page.Next
	}
	took := time.Since(began)
	if checked < f.tenants {
		b.Errorf("%d tenants were compared, want %d", checked, f.tenants)
	}
	return measurement{
		fmt.Sprintf("comparing %d closed tenants row by row, %d steps", f.tenants, steps),
		fmt.Sprintf("%v (%.0f tenants/s)", took.Round(time.Millisecond), float64(checked)/took.Seconds()), "progress at each step",
	}
}
