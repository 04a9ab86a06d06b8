package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// door is a port that leads to a database server, as long as the server is there.
type door struct {
	t       *testing.T
	address string // of the server
	port    int

	mu       sync.Mutex
	listener net.Listener // nil while the server is stopped
	silent   bool         // connections are taken, and nothing is answered
	open     map[net.Conn]bool
}

func newDoor(t *testing.T, address string) *door {
	t.Helper()
	d := &door{t: t, address: address, open: map[net.Conn]bool{}}
	d.start(false)
	t.Cleanup(d.stop)
	return d
}

// start has the server there, or hanging.
func (d *door) start(silent bool) {
	d.t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", d.port))
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.listener, d.silent, d.port = l, silent, l.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
}

func (d *door) serve(c net.Conn) {
	defer c.Close()
	d.mu.Lock()
	silent := d.silent
	d.open[c] = true
	d.mu.Unlock()
	if silent {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	server, err := net.Dial("tcp", d.address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(c, server); _ = c.Close() }()
	_, _ = io.Copy(server, c)
}

// stop has the server gone: connections end, and none is taken.
func (d *door) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		_ = d.listener.Close()
		d.listener = nil
	}
	for c := range d.open {
		_ = c.Close()
	}
	clear(d.open)
}

// TestStartWithoutControlPlane: the control plane's PostgreSQL is stopped while
// the gateway runs, and is not there, or hangs, when it starts again. Tenants in
// other databases serve on, known names get certificates and others do not, also
// after a kill; and when it is back everything is as before, by itself (C1.10,
// C1.26, A31).
func TestStartWithoutControlPlane(t *testing.T) {
	u, err := url.Parse(postgrestest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	door := newDoor(t, u.Host)
	u.Host = fmt.Sprintf("127.0.0.1:%d", door.port)
	g, config := withoutAdministrator(t)
	config = strings.Replace(config, "keys RS256 ES256 EdDSA", fmt.Sprintf(`keys RS256 ES256 EdDSA
		control_plane control_plane {
			database registry
		}
		database files sqlite %q
		database registry postgres %q`, g.dir+"/tenants", u.String()), 1)
	p := startProcess(t, g, config)
	cp := p.platform(t)
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"}).want(t, http.StatusCreated)
	a := cp.on("acme")
	app := a.spa(t, "Shop", []int{1})
	a.user(t, userEmail)
	const redirect = "http://localhost:1/callback"
	login := func(p *process) string {
		t.Helper()
		link, verifier := p.authorizeURL("acme", app, redirect, url.Values{"scope": {"openid offline_access"}})
		back := newVisitor(t).login(link, userEmail, password)
		return p.redeem(t, "acme", app, redirect, verifier, back).want(t, http.StatusOK).member(t, "refresh_token")
	}
	refresh := func(p *process, token string) string {
		t.Helper()
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {app}, "refresh_token": {token}}
		return p.token(t, "acme", form).want(t, http.StatusOK).member(t, "refresh_token")
	}
	token := login(p)
	time.Sleep(3 * time.Second) // after two seconds a change has been kept, whatever came before it

	serves := func(p *process) {
		t.Helper()
		token = refresh(p, token)
		login(p)
		p.get(t, "acme", "/.well-known/openid-configuration").want(t, http.StatusOK)
		cp.call(t, http.MethodGet, "/tenants", nil).want(t, http.StatusServiceUnavailable)
		if _, err := p.tlsOf(t, "acme."+baseDomain); err != nil {
			t.Errorf("a known name has no certificate: %v", err)
		}
		if _, err := p.tlsOf(t, "nobody."+baseDomain); err == nil {
			t.Error("an unknown name has a certificate")
		}
	}
	door.stop()
	within(t, soon, "the control plane is down", func() bool {
		return cp.call(t, http.MethodGet, "/tenants", nil).status == http.StatusServiceUnavailable
	})
	serves(p)

	for _, silent := range []bool{false, true} {
		p.kill()
		if silent {
			door.start(true)
		}
		p = launch(t, g, config)
		within(t, 30*time.Second, fmt.Sprintf("acme is served, database hangs: %v", silent), func() bool {
			select {
			case <-p.done:
				t.Fatalf("the gateway ended: %s", p.output)
			default:
			}
			return p.tries("acme") == http.StatusOK
		})
		serves(p)
		door.stop()
	}

	door.start(false)
	within(t, 60*time.Second, "the control plane answers again", func() bool { return p.tries("") == http.StatusOK })
	cp = p.platform(t)
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "widgets", "friendly_name": "Widgets"}).want(t, http.StatusCreated)
	p.get(t, "widgets", "/.well-known/openid-configuration").want(t, http.StatusOK)
	cp.call(t, http.MethodDelete, "/tenants/acme", nil).want(t, http.StatusNoContent)
	p.get(t, "acme", "/.well-known/openid-configuration").want(t, http.StatusNotFound)

	p.stop(t) // what it knew last is kept
	door.stop()
	p = launch(t, g, config)
	within(t, 30*time.Second, "widgets is served", func() bool { return p.tries("widgets") == http.StatusOK })
	if _, err := p.tlsOf(t, "acme."+baseDomain); err == nil {
		t.Error("a deleted tenant has a certificate")
	}
}

// tries asks for a tenant's discovery document and returns the status, 0 while
// nobody answers.
func (p *process) tries(tenant string) int {
	resp, err := p.http.Get(p.issuer(tenant) + ".well-known/openid-configuration")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestFirstStartWithoutControlPlane: where nothing was ever known, a start without
// the database fails and says why, and so does one with another secret.
func TestFirstStartWithoutControlPlane(t *testing.T) {
	u, err := url.Parse(postgrestest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	door := newDoor(t, u.Host)
	u.Host = fmt.Sprintf("127.0.0.1:%d", door.port)
	door.stop()
	g, config := withoutAdministrator(t)
	with := func(secret string) string {
		return strings.Replace(config, "keys RS256 ES256 EdDSA", fmt.Sprintf(`keys RS256 ES256 EdDSA
		secret %q
		control_plane control_plane {
			database registry
		}
		database registry postgres %q`, secret, u.String()), 1)
	}
	refused(t, g, with("the first secret, of 256 bits"), "see whether the server is up")
	door.start(false)
	startProcess(t, g, with("the first secret, of 256 bits")).stop(t)
	door.stop()
	refused(t, g, with("another secret, of 256 bits"), "cannot be read")
}
