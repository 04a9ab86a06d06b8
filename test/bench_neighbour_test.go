package test

import (
	"context"
	"fmt"
	"io"
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

// BenchmarkNeighbour measures what a tenant notices of another one that is flooded
// with twenty times its limit: the p99 of its token endpoint under a steady load,
// alone and then during the flood, by turns in one run on one machine (A29):
//
//	go test ./test -run '^$' -bench Neighbour -benchtime 1x
func BenchmarkNeighbour(b *testing.B) {
	dir := b.TempDir()
	ports, err := freePorts(2)
	if err != nil {
		b.Fatal(err)
	}
	config := fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), "x")
	const limit = 20 // a second, which this many connections surpass by far
	config = strings.Replace(config, "open_databases 64", fmt.Sprintf("open_databases 64\nrate_limit {\n tenant %d 1s\n address off\n }", limit), 1)
	for b.Loop() {
		p := startProcess(b, gateway{port: ports[0], plain: true, dir: dir}, config)
		printTable(b, p.neighbour(b, limit))
		p.stop(b)
	}
}

// neighbour alternates between quiet and flooded rounds.
func (p *process) neighbour(b *testing.B, limit int) []measurement {
	form := p.benchMachine(b)
	p.platform(b).call(b, http.MethodPost, "/tenants", map[string]any{"id": "noisy", "friendly_name": "Noisy"}).want(b, http.StatusCreated)
	const rounds, each = 6, 100
	var alone, flooded []time.Duration
	var sent, refused int64
	for range rounds {
		alone = append(alone, p.steady(b, form, each, limit)...)
		ctx, stop := context.WithCancel(b.Context())
		var flood sync.WaitGroup
		flood.Go(func() {
			s, r := p.flood(ctx, "noisy", 20*limit)
			sent, refused = sent+s, refused+r
		})
		flooded = append(flooded, p.steady(b, form, each, limit)...)
		stop()
		flood.Wait()
	}
	slices.Sort(alone)
	slices.Sort(flooded)
	before, during := percentile(alone, 99), percentile(flooded, 99)
	return []measurement{
		{"flood: requests, and those refused", fmt.Sprintf("%d, %d", sent, refused), fmt.Sprintf("%d a second, of which %d may", 20*limit, limit)},
		{"neighbour's token, p50", fmt.Sprintf("%v, %v alone", percentile(flooded, 50).Round(time.Microsecond), percentile(alone, 50).Round(time.Microsecond)), ""},
		{"neighbour's token, p99", fmt.Sprintf("%.2f x (%v, %v alone)", float64(during)/float64(before), during.Round(time.Microsecond), before.Round(time.Microsecond)), "at most 1.2 x"},
	}
}

// steady asks for n tokens at fewer than limit a second, one after the other, and
// returns how long each took.
func (p *process) steady(b *testing.B, form url.Values, n, limit int) (took []time.Duration) {
	b.Helper()
	every := time.NewTicker(time.Second / time.Duration(limit*9/10))
	defer every.Stop()
	for range n {
		<-every.C
		began := time.Now()
		resp, err := p.http.Do(post(b, p.issuer("bench")+"oauth/token", form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		took = append(took, time.Since(began))
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("the neighbour got %d %s: %v", resp.StatusCode, body, err)
		}
	}
	return took
}

// flood sends so many requests a second to a tenant until ctx ends.
func (p *process) flood(ctx context.Context, tenant string, perSecond int) (sent, refused int64) {
	var all, no atomic.Int64
	var wg sync.WaitGroup
	const visitors = 8
	for range visitors {
		wg.Go(func() {
			every := time.NewTicker(visitors * time.Second / time.Duration(perSecond))
			defer every.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-every.C:
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.issuer(tenant)+"oauth/token", strings.NewReader("grant_type=client_credentials&client_id=x&client_secret=y"))
				if err != nil {
					return
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				resp, err := p.http.Do(req)
				if err != nil {
					continue
				}
				all.Add(1)
				if resp.StatusCode == http.StatusTooManyRequests {
					no.Add(1)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	return all.Load(), no.Load()
}
