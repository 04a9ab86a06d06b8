package test

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// balancer leads connections to one of several nodes, from one port.
type balancer struct {
	listener net.Listener
	ports    []int // of the nodes

	mu     sync.Mutex
	target int
	open   map[net.Conn]bool
	health []int // ports; empty while everybody is led to target
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l, open: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); b.to(0) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

func (b *balancer) port() int { return b.listener.Addr().(*net.TCPAddr).Port }

// to leads everybody to a node from now on: connections to the one before end.
func (b *balancer) to(node int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.target = node
	for c := range b.open {
		_ = c.Close()
	}
	clear(b.open)
}

func (b *balancer) serve(c net.Conn) {
	defer c.Close()
	b.mu.Lock()
	b.open[c] = true
	b.mu.Unlock()
	defer func() { b.mu.Lock(); delete(b.open, c); b.mu.Unlock() }()
	node, err := b.dial()
	if err != nil {
		return
	}
	defer node.Close()
	go func() { _, _ = io.Copy(node, c); _ = node.Close() }()
	_, _ = io.Copy(c, node)
}

// dial connects to the target. Of nodes that are asked for their health the next one
// gets what one refuses: a node that starts may be well a moment before it listens.
func (b *balancer) dial() (node net.Conn, err error) {
	for range b.ports {
		b.mu.Lock()
		if len(b.health) > 0 {
			b.next()
		}
		port := b.ports[b.target]
		b.mu.Unlock()
		if node, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return node, nil
		}
	}
	return nil, err
}

// spread leads each connection from now on to the next node that says it is well.
func (b *balancer) spread(health ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.health = health
}

// next makes the target the next node that is well; b.mu is held.
func (b *balancer) next() {
	for range b.ports {
		b.target = (b.target + 1) % len(b.ports)
		if well(b.health[b.target]) {
			return
		}
	}
}

// well asks a node's health.
func well(port int) bool {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/health", port))
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// cluster is two processes over one PostgreSQL behind one port.
type cluster struct {
	gateway
	balancer *balancer
	nodes    [2]*process
	configs  [2]string
	health   []int // ports
}

// startCluster starts both nodes at the same time, on an empty database.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{balancer: newBalancer(t)}
	c.port, c.http = c.balancer.port(), loopbackClient()
	c.http.Transport.(*http.Transport).DisableKeepAlives = true
	dsn := postgrestest.DSN(t)
	for i := range c.nodes {
		g, config := withoutAdministrator(t)
		config = strings.NewReplacer(
			fmt.Sprintf("storage file_system %q", filepath.Join(g.dir, "caddy")), "storage gatehouse",
			"keys RS256 ES256 EdDSA", fmt.Sprintf("keys RS256 ES256 EdDSA\n\t\tsecret %q\n\t\tport %d\n\t\tcontrol_plane control_plane {\n\t\t\tdatabase main\n\t\t}\n\t\tdatabase main postgres %q",
				"one secret for both nodes, as 256 bits are", c.port, dsn),
		).Replace(config)
		ports, err := freePorts(1)
		if err != nil {
			t.Fatal(err)
		}
		c.health, c.configs[i] = append(c.health, ports[0]), withHealth(t, config, ports[0])
		c.balancer.ports = append(c.balancer.ports, g.port)
		c.nodes[i] = launch(t, g, c.configs[i])
	}
	for i := range c.nodes {
		c.await(t, i)
	}
	return c
}

// withHealth adds what the page of options shows for a balancer to ask.
func withHealth(t *testing.T, config string, port int) string {
	t.Helper()
	for _, b := range blocks(t, "caddyfile", "docs/configuration.md") {
		_, site, ok := strings.Cut(b.text, "}\n\nhttp://:8081 {")
		if !ok {
			continue
		}
		return strings.Replace(config, "grace_period 1s", "grace_period 10s\n\tshutdown_delay 1s", 1) + fmt.Sprintf("\nhttp://:%d {", port) + site
	}
	t.Fatal("the page shows no site for a balancer")
	return ""
}

// await waits until a node answers.
func (c *cluster) await(t *testing.T, i int) {
	t.Helper()
	p := c.nodes[i]
	within(t, 60*time.Second, fmt.Sprintf("node %d answers", i), func() bool {
		select {
		case <-p.done:
			t.Fatalf("node %d ended: %s", i, p.output)
		default:
		}
		return p.answers()
	})
}

// TestRollingRestart: nodes that are restarted one after the other, behind a
// balancer that asks for their health, drop nothing: every request is answered at
// the first try. (What a killed node takes with it, TestTwoNodes looks at.)
func TestRollingRestart(t *testing.T) {
	c := startCluster(t)
	c.balancer.to(0)
	l := newReloadLoad(t, &c.gateway)
	within(t, soon, "the other node knows the tenant", func() bool { _, err := c.nodes[1].tlsOf(t, c.host("acme")); return err == nil })
	c.balancer.spread(c.health...)
	stop := l.start(false)
	for i := range c.nodes {
		old := c.nodes[i]
		old.stop(t)
		c.nodes[i] = launch(t, *old.gateway, c.configs[i])
		c.await(t, i)
		served := l.served.Load()
		within(t, 20*time.Second, "both nodes serve", func() bool { return l.served.Load() > served+50 })
	}
	stop()
	t.Logf("%d requests, %d asked again, %d failed", l.served.Load(), l.again.Load(), l.failed.Load())
	if l.failed.Load() > 0 || l.again.Load() > 0 {
		t.Errorf("%d requests failed and %d were dropped, the first: %v", l.failed.Load(), l.again.Load(), l.failure())
	}
}

// soon is by when a change at one node is known to the other (C1.9). Nodes look
// once a second; the rest is for a busy machine.
const soon = 10 * time.Second

// TestTwoNodes: two processes over one PostgreSQL are one installation. Whatever
// one begins the other goes on with, and of two that start together on an empty
// database one makes the control plane. Killed, a node takes nothing with it.
func TestTwoNodes(t *testing.T) {
	c := startCluster(t)
	// One control plane: each node's token and keys are the other's too.
	c.balancer.to(0)
	cp, keys := c.platform(t), string(c.get(t, "", "/.well-known/jwks.json").want(t, http.StatusOK).body)
	c.balancer.to(1)
	if other := string(c.get(t, "", "/.well-known/jwks.json").want(t, http.StatusOK).body); other != keys {
		t.Errorf("the nodes have other keys:\n%s\n%s", keys, other)
	}
	cp.call(t, http.MethodGet, "/tenants", nil).want(t, http.StatusOK)

	c.balancer.to(0)
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"}).want(t, http.StatusCreated)
	c.balancer.to(1)
	within(t, soon, "the other node knows the new tenant", func() bool {
		resp, err := c.http.Get(c.issuer("acme") + ".well-known/openid-configuration")
		if err != nil {
			return false // no certificate is made for a host of nobody's
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	acme := cp.on("acme")
	app := acme.spa(t, "Shop", []int{1, 2})
	acme.user(t, userEmail)
	t.Run("code and refresh token", func(t *testing.T) { c.codeAndRefresh(t, app) })
	t.Run("client secret", func(t *testing.T) { c.clientSecret(t, acme) })
	t.Run("certificates", func(t *testing.T) { c.certificates(t, cp) })
	t.Run("sessions", func(t *testing.T) { c.sessions(t, app) })
}

// certificates has a tenant deleted at one node whose certificate both have in
// memory, and made anew.
func (c *cluster) certificates(t *testing.T, cp api) {
	c.balancer.to(0)
	host := c.host("brief")
	serial := func(node int) string {
		state, err := c.nodes[node].tlsOf(t, host)
		if err != nil {
			return ""
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	everywhere := func(what string, holds func(serial string) bool) {
		t.Helper()
		for i := range c.nodes {
			within(t, soon, fmt.Sprintf("%s at node %d", what, i), func() bool { return holds(serial(i)) })
		}
	}
	cp.create(t, "/tenants", map[string]any{"id": "brief", "friendly_name": "Brief"})
	first := ""
	everywhere("one certificate", func(s string) bool {
		first = cmp.Or(first, s)
		return s != "" && s == first
	})
	cp.call(t, http.MethodDelete, "/tenants/brief", nil)
	everywhere("no certificate of a tenant that is gone", func(s string) bool { return s == "" })
	within(t, soon, "the tenant is made anew", func() bool {
		return cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "brief", "friendly_name": "Brief"}).status == http.StatusCreated
	})
	second := ""
	everywhere("another certificate", func(s string) bool {
		second = cmp.Or(second, s)
		return s != "" && s == second && s != first
	})
}

const nodeRedirect = "http://localhost:1/callback"

func (c *cluster) refresh(t *testing.T, app, token string) answer {
	t.Helper()
	return c.token(t, "acme", url.Values{"grant_type": {"refresh_token"}, "client_id": {app}, "refresh_token": {token}})
}

// codeAndRefresh has every step of a person's way done by the other node.
func (c *cluster) codeAndRefresh(t *testing.T, app string) {
	link, verifier := c.authorizeURL("acme", app, nodeRedirect, url.Values{"scope": {"openid offline_access"}})
	c.balancer.to(0)
	back := c.visitor(t).login(link, userEmail, password)
	c.balancer.to(1)
	first := c.redeem(t, "acme", app, nodeRedirect, verifier, back).want(t, http.StatusOK)
	access, token := first.member(t, "access_token"), first.member(t, "refresh_token")
	c.balancer.to(0)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.issuer("acme")+"userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+access)
	c.do(t, req).want(t, http.StatusOK)
	again := c.refresh(t, app, token).want(t, http.StatusOK)
	if next := again.member(t, "refresh_token"); next != "" {
		token = next
	}
	c.balancer.to(1)
	c.refresh(t, app, token).want(t, http.StatusOK)
	req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, c.issuer("acme")+"oauth/revoke",
		strings.NewReader(url.Values{"client_id": {app}, "token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c.do(t, req).want(t, http.StatusOK)
	c.balancer.to(0)
	c.refresh(t, app, token).want(t, http.StatusBadRequest)
	// C9.31: a code works once, wherever.
	c.redeem(t, "acme", app, nodeRedirect, verifier, back).want(t, http.StatusBadRequest)
}

// clientSecret rotates a secret at one node while the other has the client in
// memory.
func (c *cluster) clientSecret(t *testing.T, acme api) {
	c.balancer.to(0)
	acme.create(t, "/resource-servers", map[string]any{"identifier": ordersAPI, "name": "Orders"})
	m := acme.create(t, "/clients", map[string]any{"name": "Robot", "app_type": "non_interactive", "grant_types": []string{"client_credentials"}})
	id, old := m["client_id"].(string), m["client_secret"].(string)
	acme.create(t, "/client-grants", map[string]any{"client_id": id, "audience": ordersAPI, "scope": []string{}})
	token := func(secret string) int {
		return c.token(t, "acme", url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "audience": {ordersAPI}}).status
	}
	c.balancer.to(1)
	within(t, soon, "the other node knows the client", func() bool { return token(old) == http.StatusOK })
	c.balancer.to(0)
	rotated := acme.call(t, http.MethodPost, "/clients/"+id+"/rotate-secret", nil).want(t, http.StatusOK).member(t, "client_secret")
	c.balancer.to(1)
	within(t, soon, "the old secret is refused by the other node", func() bool { return token(old) == http.StatusUnauthorized })
	if got := token(rotated); got != http.StatusOK {
		t.Errorf("the new secret: %d", got)
	}
}

// sessions logs people in at one node, kills it, and lets them go on at the other.
func (c *cluster) sessions(t *testing.T, app string) {
	link, verifier := c.authorizeURL("acme", app, nodeRedirect, url.Values{"scope": {"openid offline_access"}})
	c.balancer.to(0)
	var visitors []*visitor
	var tokens []string
	for range 10 {
		v := c.visitor(t)
		back := v.login(link, userEmail, password)
		tokens = append(tokens, c.redeem(t, "acme", app, nodeRedirect, verifier, back).want(t, http.StatusOK).member(t, "refresh_token"))
		visitors = append(visitors, v)
	}
	c.nodes[0].kill()
	c.balancer.to(1)
	lost := 0
	for i, v := range visitors {
		back := v.open(link)
		if back.url.Query().Get("code") == "" {
			lost++
			t.Logf("visitor %d: %s %.300s", i, back.url, back.body)
			continue
		}
		c.redeem(t, "acme", app, nodeRedirect, verifier, back).want(t, http.StatusOK)
		c.refresh(t, app, tokens[i]).want(t, http.StatusOK)
	}
	if lost > 0 {
		t.Errorf("%d of %d sessions are lost", lost, len(visitors))
	}
}

// visitor is somebody with a browser that keeps no connection.
func (c *cluster) visitor(t *testing.T) *visitor {
	v := newVisitor(t)
	v.http.Transport.(*http.Transport).DisableKeepAlives = true
	return v
}
