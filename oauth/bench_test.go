package oauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// discard is a response that nobody reads, so that the benchmark counts the
// endpoint and not a recorder.
type discard struct {
	header http.Header
	status int
	bytes  int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(s int)   { d.status = s }
func (d *discard) Write(b []byte) (int, error) {
	d.bytes += len(b)
	return len(b), nil
}

// BenchmarkClientCredentialsES256 is the whole endpoint without the network: one
// request, one ES256 signature, no SQL. Compare with BenchmarkSignES256.
func BenchmarkClientCredentialsES256(b *testing.B) { benchmarkMachine(b, "ES256") }

// BenchmarkClientCredentialsEdDSA is the same with EdDSA.
func BenchmarkClientCredentialsEdDSA(b *testing.B) { benchmarkMachine(b, "EdDSA") }

// BenchmarkClientCredentialsRS256 is the same with RS256.
func BenchmarkClientCredentialsRS256(b *testing.B) { benchmarkMachine(b, "RS256") }

func benchmarkMachine(b *testing.B, alg string) {
	f := newFixture(b)
	_, err := tenancy.ResourceServers.Update(f.in("acme"), "rs_orders", func(rs *tenancy.ResourceServer) error {
		rs.SigningAlg = alg
		return nil
	})
	f.must(err)
	body := values("grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders).Encode()
	ctx := f.in("acme")
	f.server.recorder = tenancy.Recorders{} // the test's log would grow with the benchmark
	once := func() *discard {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/oauth/token", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := &discard{header: make(http.Header, 8), status: http.StatusOK}
		f.server.ServeHTTP(w, r)
		return w
	}
	if w := once(); w.status != http.StatusOK || w.bytes < 300 {
		b.Fatalf("status %d, %d bytes", w.status, w.bytes)
	}
	b.ReportAllocs()
	for b.Loop() {
		if once().status != http.StatusOK {
			b.Fatal("refused")
		}
	}
}

// BenchmarkSignES256 is the floor: one raw signature.
func BenchmarkSignES256(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("what is signed"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify is a token seen before; BenchmarkVerifyCold one seen for the
// first time.
func BenchmarkVerify(b *testing.B)     { benchmarkVerify(b, false) }
func BenchmarkVerifyCold(b *testing.B) { benchmarkVerify(b, true) }

func benchmarkVerify(b *testing.B, cold bool) {
	f := newFixture(b)
	_, err := tenancy.ResourceServers.Update(f.in("acme"), "rs_orders", func(rs *tenancy.ResourceServer) error {
		rs.SigningAlg = "ES256"
		return nil
	})
	f.must(err)
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, newForm("/oauth/token", values("grant_type", grantClientCredentials, "client_id", m2mID,
		"client_secret", m2mSecret, "audience", orders)).WithContext(f.in("acme")))
	token := readReply(b, w).ok().text("access_token")
	b.ReportAllocs()
	for b.Loop() {
		if cold {
			f.server.verified = newVerifiedTokens()
		}
		if _, err := f.server.Verify(f.in("acme"), token); err != nil {
			b.Fatal(err)
		}
	}
}
