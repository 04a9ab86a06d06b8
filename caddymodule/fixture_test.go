package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// There is one Caddy in a process, so tests that run one take turns.

// server is a Caddy in this process, with files of its own in a temporary
// directory and a port for https and one for http.
type server struct {
	t           testing.TB
	dir         string
	data        string // the option data
	http, https int
	options     string // further lines of the option gatehouse
	global      string // further global options
	sites       string // "" for both schemes of every host, see config
	admin       string // the admin endpoint; "" for none
	storage     string // the global option; "" for files below dir
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), http: freePort(t), https: freePort(t)}
	s.data = filepath.Join(s.dir, "data")
	notice, lookup := notices, lookupHost
	notices = io.Discard
	lookupHost = func(context.Context, string) ([]string, error) { return nil, errors.New("tests have no DNS") }
	t.Cleanup(func() { notices, lookupHost = notice, lookup })
	return s
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// config is the adapted configuration.
func (s *server) config() []byte {
	s.t.Helper()
	sites := s.sites
	if sites == "" {
		sites = fmt.Sprintf(`
			http://:%[1]d {
				gatehouse
				test_slow /slow
			}
			https://:%[2]d {
				tls internal {
					on_demand
				}
				gatehouse
			}`, s.http, s.https)
	}
	admin := s.admin
	if admin == "" {
		admin = "off"
	}
	storage := s.storage
	if storage == "" {
		storage = fmt.Sprintf("storage file_system %q", filepath.Join(s.dir, "caddy"))
	}
	caddyfile := fmt.Sprintf(`{
		admin %s
		persist_config off
		skip_install_trust
		http_port %d
		https_port %d
		auto_https disable_redirects
		grace_period 5s
		%s
		log {
			output file %q {
				mode 0600
			}
		}
		on_demand_tls {
			permission gatehouse
		}
		%s
		gatehouse {
			base_domain auth.example.com
			data %q
			%s
		}
	}
	%s`, admin, s.http, s.https, storage, filepath.Join(s.dir, "log"), s.global, s.data, s.options, sites)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return adapted
}

// start runs the server until the test is over.
func (s *server) start() *server {
	s.t.Helper()
	if err := s.load(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			s.t.Error(err)
		}
	})
	return s
}

// load loads the configuration, and waits until only one has its listeners open.
// Every configuration has sockets of its own: for a moment after a load those of
// the old one, or of one that failed, are open too, and a connection that the
// kernel gives to them then is closed unserved. Clients come again; requests of
// tests are made once.
func (s *server) load() error {
	err := caddy.Load(s.config(), true)
	for _, port := range []int{s.http, s.https} {
		eventually(s.t, fmt.Sprintf("one listener is on port %d", port), func() bool { return listeners(s.t, port) <= 1 })
	}
	return err
}

// listeners counts the TCP sockets that listen on a port, over IPv4 and IPv6; 0
// where the system does not tell.
func listeners(t testing.TB, port int) (n int) {
	t.Helper()
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line) // number, local address, remote address, state
			if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "0A" {
				n++
			}
		}
	}
	return n
}

// services returns what serves now.
func (s *server) services() *services {
	s.t.Helper()
	if found := newest(); found != nil {
		return found
	}
	s.t.Fatal("nothing serves")
	return nil
}

// tenant makes an active tenant.
func (s *server) tenant(id string) *tenancy.Tenant {
	s.t.Helper()
	made, err := s.services().lifecycle.Create(s.t.Context(), tenancy.NewTenant{ID: id, FriendlyName: "Tenant " + id})
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

// member returns a text member of a JSON body.
func (r reply) member(t testing.TB, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("status %d: %v: %s", r.status, err, r.body)
	}
	text, _ := m[name].(string)
	return text
}

// do sends a request over plain http, whatever its host, to this server.
func (s *server) do(method, host, path string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d%s", s.http, path), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return s.send(http.DefaultClient, req)
}

func (s *server) get(host, path string) reply {
	s.t.Helper()
	return s.do(http.MethodGet, host, path)
}

func (s *server) send(c *http.Client, req *http.Request) reply {
	s.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// secure is a client that reaches this server for every host, by TLS, naming
// sni; "" names the host.
func (s *server) secure(sni string) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", s.https))
		},
		TLSClientConfig:   &tls.Config{ServerName: sni, InsecureSkipVerify: true}, // by an authority made a moment ago
		ForceAttemptHTTP2: true,
	}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

const discovery = "/.well-known/openid-configuration"

// slow is a handler that waits, for requests that are under way for long.
type slow struct{}

var slowly = struct {
	arrived, release chan struct{}
}{arrived: make(chan struct{}, 100), release: make(chan struct{})}

func init() {
	caddy.RegisterModule(new(slow))
	httpcaddyfile.RegisterHandlerDirective("test_slow", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(slow), nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_slow", httpcaddyfile.Before, "respond")
}

func (*slow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_slow", New: func() caddy.Module { return new(slow) }}
}

func (*slow) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	slowly.arrived <- struct{}{}
	<-slowly.release
	// What the request was served by at its beginning is still there.
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	id, _ := repl.GetString("http.tenant.id")
	_, err := io.WriteString(w, id)
	return err
}

// observe returns a logger and what was logged with it.
func observe() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return zap.New(core), logs
}

func runningRuntime(t testing.TB) (rt *runtime) {
	t.Helper()
	runtimes.Range(func(_, value any) bool {
		rt = value.(*runtime)
		return !rt.going.Load()
	})
	if rt == nil {
		t.Fatal("nothing runs")
	}
	return rt
}

// request is one that came through Caddy's own preparation.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, &caddyhttp.Server{})
}
