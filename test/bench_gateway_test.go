package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// benchAPI is an API behind tenant_auth that answers what the floor answers.
const benchAPI = `
http://*.api.localhost:%[1]d {
	tenant_auth {
		audience %[2]s
		scope read:all
		host_suffix api.localhost
	}
	respond %[3]q 200
}
`

// BenchmarkGateway measures what tenant_auth costs in front of an API, against
// the same request to Caddy's respond alone, all in one run on one machine:
//
//	go test ./test -run '^$' -bench Gateway -benchtime 1x
func BenchmarkGateway(b *testing.B) {
	dir := b.TempDir()
	ports, err := freePorts(2)
	if err != nil {
		b.Fatal(err)
	}
	body := strings.Repeat("x", 900)
	config := fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), body) +
		fmt.Sprintf(benchAPI, ports[0], benchAudience, body)
	for b.Loop() {
		p := startProcess(b, gateway{port: ports[0], plain: true, dir: dir}, config)
		printTable(b, p.tokenChecks(b, ports[1]))
		p.stop(b)
	}
}

// tokenChecks compares requests with a token that was seen before, and with one
// that was not, with the same requests to an API that asks for none.
func (p *process) tokenChecks(b *testing.B, floorPort int) []measurement {
	const repeated, rounds, firsts = 20_000, 3, 3000
	form := p.benchMachine(b)
	tokens := make([]string, rounds*firsts+1)
	for i := range tokens {
		tokens[i] = p.token(b, "bench", form).want(b, http.StatusOK).member(b, "access_token")
	}
	floor := func(token string) *http.Request {
		return bearing(b, fmt.Sprintf("http://localhost:%d/", floorPort), token)
	}
	api := func(token string) *http.Request {
		return bearing(b, fmt.Sprintf("http://bench.api.localhost:%d/", p.port), token)
	}
	known := tokens[0]
	again := func() *http.Request { return api(known) }
	bare := func() *http.Request { return floor(known) }
	var next atomic.Int64
	first := func() *http.Request { return api(tokens[next.Add(1)]) }

	p.load(b, again, repeated/10)
	p.load(b, bare, repeated/10)
	var cached, fresh []float64
	var seen, unseen, respond, check time.Duration
	for range rounds { // in turn, so that a slow moment of the machine meets all
		seen, respond, unseen, check = p.load(b, again, repeated), p.load(b, bare, repeated), p.load(b, first, firsts), verification(b)
		cached = append(cached, float64(seen)/float64(respond))
		fresh = append(fresh, float64(unseen)/float64(respond+check))
	}
	slices.Sort(cached)
	slices.Sort(fresh)
	b.ReportMetric(cached[1], "x-respond")
	b.ReportMetric(fresh[1], "x-respond+check")
	return []measurement{
		{"tenant_auth, token seen before, CPU per request", fmt.Sprintf("%.2f x respond (%.2f to %.2f)", cached[1], cached[0], cached[2]), "at most 1.3 x"},
		{"  of which, last round", fmt.Sprintf("%v against %v", seen, respond), ""},
		{"tenant_auth, first check of a token", fmt.Sprintf("%.2f x (respond + one ES256 check) (%.2f to %.2f)", fresh[1], fresh[0], fresh[2]), "at most 1.3 x"},
		{"  of which, last round", fmt.Sprintf("%v against %v and %v for a check", unseen, respond, check), ""},
	}
}

// bearing is a request with an access token.
func bearing(b *testing.B, link, token string) *http.Request {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, link, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return req
}

// verification is the processor time of one check of an ES256 signature.
func verification(b *testing.B) time.Duration {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("what is signed"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	return perRun(b, func() bool { return ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) })
}
