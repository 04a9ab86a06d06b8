package test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkPeers measures a token by client credentials here and at node
// oidc-provider, which is in memory altogether, by turns in one run on one machine:
//
//	go test ./test -run '^$' -bench Peers -benchtime 1x
func BenchmarkPeers(b *testing.B) {
	dir := b.TempDir()
	ports, err := freePorts(3)
	if err != nil {
		b.Fatal(err)
	}
	config := fmt.Sprintf(benchConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "data"), strings.Repeat("x", 900))
	for b.Loop() {
		peer := startPeer(b, ports[2])
		ours := startProcess(b, gateway{port: ports[0], plain: true, dir: dir}, config)
		form := ours.benchMachine(b)
		ours.benchRSA(b, form.Get("client_id"))
		table := slices.Concat(
			ours.clientCredentials(b, form, ports[1]),
			against(b, ours, peer, "ES256", form, signature, "at least 5 x"),
			against(b, ours, peer, "RS256", form, rsaSignature, ""),
		)
		printTable(b, table)
		ours.stop(b)
		peer.stop(b)
	}
}

const (
	peerID     = "robot"
	peerSecret = "a secret of 256 bits that is for this comparison only"
	rsaAPI     = "https://rsa.example.com"
)

// startPeer runs node oidc-provider until the test ends.
func startPeer(b *testing.B, port int) *process {
	b.Helper()
	if err := installClients(); err != nil {
		b.Fatalf("needs the npm packages of test/clients: %v", err)
	}
	p := &process{gateway: &gateway{port: port, plain: true, http: loopbackClient()}, output: new(lockedBuffer), done: make(chan struct{})}
	p.cmd = exec.Command("node", "peer.mjs", fmt.Sprint(port), peerID, peerSecret)
	p.cmd.Dir = "clients"
	p.cmd.Env = append(os.Environ(), "NODE_ENV=production")
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		b.Fatalf("needs Node.js: %v", err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	b.Cleanup(func() { p.stop(b) })
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(p.output.String(), "listening"); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			b.Fatalf("the peer ended: %s", p.output)
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("the peer does not listen: %s", p.output)
		}
	}
	return p
}

// benchRSA lets the client have tokens for an API that signs by RS256.
func (p *process) benchRSA(b *testing.B, client string) {
	a := p.platform(b).on("bench")
	a.create(b, "/resource-servers", map[string]any{"identifier": rsaAPI, "name": "RSA", "signing_alg": "RS256", "scopes": []map[string]string{{"value": "read:all"}}})
	a.create(b, "/client-grants", map[string]any{"client_id": client, "audience": rsaAPI, "scope": []string{"read:all"}})
}

// against compares both by one algorithm.
func against(b *testing.B, ours, peer *process, alg string, form url.Values, floor func(*testing.B) time.Duration, bar string) []measurement {
	here, there := cloned(form), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {peerID}, "client_secret": {peerSecret}, "scope": {"read:all"}, "resource": {"urn:api:" + strings.ToLower(alg)},
	}
	if alg == "RS256" {
		here.Set("audience", rsaAPI)
	}
	for who, a := range map[string]answer{"here": ours.token(b, "bench", here), "there": peer.post(b, fmt.Sprintf("http://localhost:%d/token", peer.port), there)} {
		token := a.want(b, 200).member(b, "access_token")
		if got := header(b, token)["alg"]; got != alg || claims(b, token)["scope"] != "read:all" {
			b.Fatalf("%s: a token by %v of %v", who, got, claims(b, token))
		}
	}
	const n, rounds = 4000, 3
	requests := map[*process]func() *http.Request{
		ours: func() *http.Request { return post(b, ours.issuer("bench")+"oauth/token", here.Encode()) },
		peer: func() *http.Request {
			return post(b, fmt.Sprintf("http://localhost:%d/token", peer.port), there.Encode())
		},
	}
	for p, request := range requests {
		p.load(b, request, n/4)
	}
	cpu, wall := map[*process]time.Duration{}, map[*process]time.Duration{}
	var times, faster, share []float64
	var sign time.Duration
	for range rounds { // in turn, so that a slow moment of the machine meets both
		for p, request := range requests {
			began := time.Now()
			cpu[p] = p.load(b, request, n)
			wall[p] = time.Since(began) / n
		}
		sign = floor(b)
		times = append(times, float64(cpu[peer])/float64(cpu[ours]))
		faster = append(faster, float64(wall[peer])/float64(wall[ours]))
		share = append(share, float64(sign)/float64(cpu[ours])*100)
	}
	for _, list := range [][]float64{times, faster, share} {
		slices.Sort(list)
	}
	b.ReportMetric(times[1], "x-peer-"+alg)
	return []measurement{
		{"client_credentials " + alg + ", CPU of node oidc-provider against ours", fmt.Sprintf("%.1f x (%.1f to %.1f)", times[1], times[0], times[2]), bar},
		{"  tokens a second, ours against its", fmt.Sprintf("%.1f x (%.1f to %.1f)", faster[1], faster[0], faster[2]), ""},
		{"  one raw signature in Go, share of ours", fmt.Sprintf("%.0f%% (%.0f to %.0f)", share[1], share[0], share[2]), ""},
		{"  of which, last round", fmt.Sprintf("%v a token against %v, a signature %v", cpu[ours], cpu[peer], sign), ""},
	}
}

// rsaSignature is the processor time of one RS256 signature in Go.
func rsaSignature(b *testing.B) time.Duration {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("what is signed"))
	return perRun(b, func() bool {
		_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		return err == nil
	})
}
