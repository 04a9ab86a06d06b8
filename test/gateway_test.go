package test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-id/gatehouse"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// gateway is a whole Gatehouse: Caddy in this process, HTTPS by its own CA, and
// SQLite files in a directory of its own. All tests of this package share one.
type gateway struct {
	port  int
	plain bool // reached by HTTP
	dir   string
	http  *http.Client

	binary string   // run instead of the program, where it is given
	env    []string // of a process, beside this one's
	base   string   // the base domain; "" is baseDomain
}

const (
	baseDomain    = "auth.localhost"
	adminEmail    = "root@example.com"
	adminPassword = "correct horse battery 9"
	managerID     = "management"
	managerSecret = "a management secret of 256 bits for tests only"
)

// gatewayConfig is Caddyfile.example with what a test has of its own: a free
// port, a directory, and neither files nor listeners elsewhere.
const gatewayConfig = `{
	admin off
	persist_config off
	skip_install_trust
	https_port %[1]d
	http_port %[2]d
	auto_https disable_redirects
	storage file_system %[3]q
	grace_period 1s
	on_demand_tls {
		permission gatehouse
	}
	servers {
		strict_sni_host on
		0rtt off
		max_header_size 64KB
		protocols h1 h2
	}
	log {
		output file %[4]q {
			mode 0600
		}
		level DEBUG
	}
	gatehouse {
		base_domain auth.localhost
		data %[5]q
		admin root@example.com "correct horse battery 9"
		client management "a management secret of 256 bits for tests only"
		keys RS256 ES256 EdDSA
		private_networks 127.0.0.2/32
	}
}

https://auth.localhost:%[1]d, https://*.auth.localhost:%[1]d {
	tls internal {
		on_demand
	}
	gatehouse
}
`

var shared struct {
	once sync.Once
	g    *gateway
	err  error
}

// startGateway returns the gateway of this process, starting it once.
func startGateway(t testing.TB) *gateway {
	t.Helper()
	shared.once.Do(func() { shared.g, shared.err = newGateway() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.g
}

func newGateway() (*gateway, error) {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(gatewayConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "caddy.log"), filepath.Join(dir, "data"))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		return nil, err
	}
	if err := caddy.Load(adapted, true); err != nil {
		return nil, err
	}
	return &gateway{port: ports[0], dir: dir, http: loopbackClient()}, nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	d1test.Stop()
	if shared.g != nil {
		if secret := shared.g.logged(adminPassword, managerSecret, password, "eyJ"); secret != "" {
			fmt.Fprintf(os.Stderr, "FAIL: the log of the tests holds %q\n", secret)
			code = 1
		}
		if err := caddy.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping:", err)
			code = 1
		}
		_ = os.RemoveAll(shared.g.dir)
	}
	os.Exit(code)
}

// logged returns the first of the secrets that the gateway wrote to its log, at
// level DEBUG. All tests' tokens begin with "eyJ".
func (g *gateway) logged(secrets ...string) string {
	text, err := os.ReadFile(filepath.Join(g.dir, "caddy.log"))
	if err != nil {
		return err.Error()
	}
	for _, s := range secrets {
		if bytes.Contains(text, []byte(s)) {
			return s
		}
	}
	return ""
}

// freePorts returns ports that nobody listened on a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// loopbackClient reaches every host on this machine, follows no redirect, and
// trusts any certificate: which one is served is what other tests look at.
func loopbackClient() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
			},
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // this machine only
			MaxIdleConnsPerHost: 64,
		},
	}
}

// host is the name of a tenant; "" is the control plane.
func (g *gateway) host(tenant string) string {
	base := cmp.Or(g.base, baseDomain)
	if tenant == "" {
		return base
	}
	return tenant + "." + base
}

// issuer is the tenant's issuer, which ends in a slash.
func (g *gateway) issuer(tenant string) string {
	scheme := "https"
	if g.plain {
		scheme = "http"
	}
	return fmt.Sprintf("%s://%s:%d/", scheme, g.host(tenant), g.port)
}

// answer is an HTTP response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// json decodes the body into v.
func (a answer) json(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("status %d, %v: %s", a.status, err, a.body)
	}
}

// member returns a text member of the body.
func (a answer) member(t testing.TB, name string) string {
	t.Helper()
	var m map[string]any
	a.json(t, &m)
	s, _ := m[name].(string)
	return s
}

// want fails the test unless the answer has the status.
func (a answer) want(t testing.TB, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %.500s", a.status, status, a.body)
	}
	return a
}

func (g *gateway) do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := g.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func (g *gateway) get(t testing.TB, tenant, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.issuer(tenant)+strings.TrimPrefix(path, "/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.do(t, req)
}

// token posts to a tenant's token endpoint.
func (g *gateway) token(t testing.TB, tenant string, form url.Values) answer {
	t.Helper()
	return g.post(t, g.issuer(tenant)+"oauth/token", form)
}

// post sends a form.
func (g *gateway) post(t testing.TB, link string, form url.Values) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, link, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return g.do(t, req)
}

// machineToken returns an access token by client credentials.
func (g *gateway) machineToken(t testing.TB, tenant, client, secret, audience string) string {
	t.Helper()
	return g.token(t, tenant, url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "audience": {audience}}).
		want(t, http.StatusOK).member(t, "access_token")
}

// api is a caller of a management API.
type api struct {
	g     *gateway
	host  string // tenant whose host is called; "" is the control plane
	as    string // tenant-id header; may be empty
	token string
}

// platform is the bootstrap client, which may manage every tenant.
func (g *gateway) platform(t testing.TB) api {
	t.Helper()
	return api{g: g, token: g.machineToken(t, "", managerID, managerSecret, g.issuer("")+"api/v2/")}
}

// on returns the same caller acting on a tenant by header.
func (a api) on(tenant string) api {
	a.as = tenant
	return a
}

func (a api) call(t testing.TB, method, path string, body any) answer {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, a.g.issuer(a.host)+"api/v2"+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if a.as != "" {
		req.Header.Set("tenant-id", a.as)
	}
	return a.g.do(t, req)
}

// create posts and returns the new object's id, whatever its name.
func (a api) create(t testing.TB, path string, body any) map[string]any {
	t.Helper()
	answer := a.call(t, http.MethodPost, path, body)
	if answer.status != http.StatusCreated && answer.status != http.StatusOK {
		t.Fatalf("POST %s: status %d: %s", path, answer.status, answer.body)
	}
	var m map[string]any
	answer.json(t, &m)
	return m
}
