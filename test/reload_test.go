package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

const (
	reloads     = 50
	reloadEvery = 500 * time.Millisecond
)

// TestReloadsUnderLoad reloads a server 50 times in 25 seconds while clients ask
// for discovery, for tokens by client credentials, and refresh rotating tokens, by
// connections that are kept and by a new one for each request.
//
// A request fails where it is answered with anything but 200, where its answer ends
// early, and where it is not answered at all. What Caddy and net/http do not
// promise is that a connection is served which reaches the sockets of a
// configuration that is just ending: it is closed with nothing said, and every HTTP
// client then asks again on another one (RFC 9110, 9.2.2, allows it where the client
// knows that the request was not acted on). So does this one, up to five times
// within a fifth of a second, and only where not a byte of an answer came. That nothing was acted on is held by
// the rotating tokens: had a refresh been carried out and its answer lost, asking
// again with the old token would be taken for theft, and be refused.
//
// Afterwards the process has as many goroutines and descriptors as before, and has
// not grown: what each of 50 configurations left would show in any of the three.
func TestReloadsUnderLoad(t *testing.T) {
	g, config := withoutAdministrator(t)
	socket := filepath.Join(g.dir, "admin.sock")
	config = strings.Replace(config, "admin off", "admin unix/"+socket, 1)
	p := startProcess(t, g, config)
	l := newReloadLoad(t, p.gateway)
	admin, reload := p.reloader(t, socket, config)
	stop := l.start(true, false)
	for range 5 { // what is made once is there
		reload()
	}
	stop()
	before := p.burden(t, admin, burden{})

	stop = l.start(true, false)
	served := l.served.Load()
	pace := time.NewTicker(reloadEvery)
	defer pace.Stop()
	var slowest time.Duration
	for range reloads {
		<-pace.C
		slowest = max(slowest, reload())
	}
	stop()
	t.Logf("%d requests during %d reloads, %d asked again, %d failed; the slowest reload took %v", l.served.Load()-served, reloads, l.again.Load(), l.failed.Load(), slowest)
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed, the first: %v", n, l.failure())
	}
	if n := l.served.Load() - served; n < 10*reloads {
		t.Errorf("only %d requests: that is no load", n)
	}
	after := p.burden(t, admin, before)
	t.Logf("before %+v, after %+v", before, after)
	if after.goroutines > before.goroutines+5 || after.files > before.files+5 {
		t.Errorf("%d goroutines and %d descriptors, before it were %d and %d", after.goroutines, after.files, before.goroutines, before.files)
	}
	if after.heap > before.heap+8 {
		t.Errorf("%.1f MiB in use, before it were %.1f: each reload leaves %.2f", after.heap, before.heap, (after.heap-before.heap)/reloads)
	}
}

// reloader reloads a process whose admin endpoint is a socket; reload returns how
// long that took.
func (p *process) reloader(t testing.TB, socket, config string) (admin *http.Client, reload func() time.Duration) {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	admin = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	return admin, func() time.Duration {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/load", bytes.NewReader(adapted))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Cache-Control", "must-revalidate") // the same configuration all the same
		began := time.Now()
		resp, err := admin.Do(req)
		if err != nil {
			t.Fatalf("reload: %v\n%s", err, p.output)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			t.Fatalf("reload: %d %s", resp.StatusCode, text)
		}
		return time.Since(began)
	}
}

// burden is what a process holds.
type burden struct {
	goroutines, files int
	heap              float64 // MiB in use
}

// burden measures once nothing goes on, or after ten seconds; it waits for a
// process to be down to what it was before.
func (p *process) burden(t *testing.T, admin *http.Client, before burden) (b burden) {
	t.Helper()
	var last burden
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(250 * time.Millisecond) {
		b = burden{files: len(p.descriptors(t))}
		profile := ask(t, admin, "http://localhost/debug/pprof/goroutine?debug=1")
		if _, err := fmt.Sscanf(profile, "goroutine profile: total %d", &b.goroutines); err != nil {
			t.Fatalf("%v: %.100s", err, profile)
		}
		for line := range strings.Lines(ask(t, admin, "http://localhost/debug/pprof/heap?gc=1&debug=1")) {
			if text, ok := strings.CutPrefix(line, "# HeapAlloc = "); ok {
				n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err != nil {
					t.Fatal(err)
				}
				b.heap = n / (1 << 20)
			}
		}
		settled := b.goroutines == last.goroutines && b.files == last.files
		if before.goroutines > 0 {
			settled = b.goroutines <= before.goroutines+5 && b.files <= before.files+5 && b.heap <= before.heap+8
		}
		if settled || time.Now().After(end) {
			return b
		}
		last = b
	}
}

func (p *process) descriptors(t *testing.T) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	return list
}

func ask(t *testing.T, c *http.Client, link string) string {
	t.Helper()
	resp, err := c.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", link, resp.StatusCode, err)
	}
	return string(text)
}

// reloadLoad is clients that go on asking.
type reloadLoad struct {
	g       *gateway
	machine url.Values
	people  []*person

	served, again, failed atomic.Int64
	first, dropped        atomic.Pointer[error] // failure, and connection that ended with nothing said
}

// person has a refresh token that is replaced at each use.
type person struct{ client, token string }

func newReloadLoad(t *testing.T, g *gateway) *reloadLoad {
	t.Helper()
	cp := g.platform(t)
	cp.create(t, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"})
	acme := cp.on("acme")
	acme.create(t, "/resource-servers", map[string]any{"identifier": ordersAPI, "name": "Orders", "signing_alg": "ES256"})
	m := acme.create(t, "/clients", map[string]any{"name": "Robot", "app_type": "non_interactive", "grant_types": []string{"client_credentials"}})
	acme.create(t, "/client-grants", map[string]any{"client_id": m["client_id"], "audience": ordersAPI, "scope": []string{}})
	l := &reloadLoad{g: g, machine: url.Values{
		"grant_type": {"client_credentials"}, "client_id": {m["client_id"].(string)}, "client_secret": {m["client_secret"].(string)}, "audience": {ordersAPI},
	}}
	app := acme.spa(t, "Shop", []int{1})
	acme.call(t, http.MethodPatch, "/clients/"+app, map[string]any{"refresh_token": map[string]any{
		"rotation_type": "rotating", "expiration_type": "expiring", "leeway": 0,
	}}).want(t, http.StatusOK)
	acme.user(t, userEmail)
	for range 2 {
		link, verifier := g.authorizeURL("acme", app, nodeRedirect, url.Values{"scope": {"openid offline_access"}})
		back := newVisitor(t).login(link, userEmail, password)
		token := g.redeem(t, "acme", app, nodeRedirect, verifier, back).want(t, http.StatusOK).member(t, "refresh_token")
		l.people = append(l.people, &person{app, token})
	}
	return l
}

// start has everybody ask until stop is called, which waits for them: by
// connections that are kept, or not, or some of each.
func (l *reloadLoad) start(keep ...bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	run := func(kept bool, step func(c *http.Client) error) {
		c := loopbackClient()
		c.Transport.(*http.Transport).DisableKeepAlives = !kept
		clients.Go(func() {
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := step(c); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &err)
				}
				l.served.Add(1)
			}
		})
	}
	for _, kept := range keep {
		run(kept, func(c *http.Client) error {
			_, err := l.send(c, http.MethodGet, l.g.issuer("acme")+".well-known/openid-configuration", nil)
			return err
		})
		run(kept, func(c *http.Client) error { _, err := l.token(c, l.machine); return err })
	}
	for i, person := range l.people {
		run(keep[i%len(keep)], func(c *http.Client) error {
			next, err := l.token(c, url.Values{"grant_type": {"refresh_token"}, "client_id": {person.client}, "refresh_token": {person.token}})
			if err == nil {
				person.token = next["refresh_token"].(string)
			}
			return err
		})
	}
	return func() { cancel(); clients.Wait() }
}

// failure is the first one; where none failed, why the first was asked again.
func (l *reloadLoad) failure() error {
	for _, p := range []*atomic.Pointer[error]{&l.first, &l.dropped} {
		if err := p.Load(); err != nil {
			return *err
		}
	}
	return nil
}

func (l *reloadLoad) token(c *http.Client, form url.Values) (m map[string]any, err error) {
	body, err := l.send(c, http.MethodPost, l.g.issuer("acme")+"oauth/token", form)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	if _, ok := m["access_token"].(string); !ok {
		return nil, errors.New("an answer without a token")
	}
	return m, nil
}

// send asks, and asks again where the connection ended with nothing said.
func (l *reloadLoad) send(c *http.Client, method, link string, form url.Values) ([]byte, error) {
	for try := 1; ; try++ {
		req, err := http.NewRequest(method, link, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := c.Do(req)
		if err != nil {
			var timeout net.Error
			if try == 5 || errors.As(err, &timeout) && timeout.Timeout() {
				return nil, fmt.Errorf("%s %s, try %d: %w", method, link, try, err)
			}
			l.again.Add(1)
			l.dropped.CompareAndSwap(nil, &err)
			time.Sleep(time.Duration(try) * 20 * time.Millisecond)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s %s: status %d, %v, %.300s", method, link, resp.StatusCode, err, body)
		}
		return body, nil
	}
}
