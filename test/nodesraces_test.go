package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// nodeRacers of each race, half of them at either node.
	nodeRacers = 16
	// nodeRaces of codes, refresh tokens, device codes and pushed requests.
	nodeRaces = 100
	// logoutRaces are fewer, because each needs a login with a password.
	logoutRaces = 25
)

// node is the cluster as its i-th node alone serves it, over connections that
// stay open: what goes through the balancer ends with each change of it.
func (c *cluster) node(i int) *gateway {
	client := loopbackClient()
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", c.balancer.ports[i]))
	}
	return &gateway{port: c.port, dir: c.dir, http: client}
}

// nodeRace is what both nodes race for.
type nodeRace struct {
	*cluster
	t       *testing.T
	at      [2]*gateway
	app, tv string   // clients of acme
	person  *visitor // logged in, at the first node
}

// TestTwoNodesRace: of sixteen at a time, half of them at either of two processes
// over one PostgreSQL, exactly one gets what can be had once; the others get the
// contract's error and nobody an internal one (X10, A16, A17; C4.27, C4.37, C4.39).
func TestTwoNodesRace(t *testing.T) {
	c := startCluster(t)
	r := &nodeRace{cluster: c, t: t, at: [2]*gateway{c.node(0), c.node(1)}}
	cp := r.at[0].platform(t)
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"}).want(t, http.StatusCreated)
	acme := cp.on("acme")
	r.app, r.tv = acme.spa(t, "Shop", []int{1}), acme.television(t)
	for _, client := range []string{r.app, r.tv} { // C3.36: a logout ends their tokens too
		acme.call(t, http.MethodPatch, "/clients/"+client, map[string]any{"revoke_refresh_token_on_logout": true}).want(t, http.StatusOK)
	}
	acme.user(t, userEmail)
	within(t, soon, "both nodes know the tenant and its clients", func() bool {
		return r.knows(0) && r.knows(1)
	})
	r.person = r.visitor(0)
	r.code(r.person.login(r.link(nil), userEmail, password))
	t.Run("A16 codes", r.codes)
	t.Run("A17 refresh tokens", r.refreshTokens)
	t.Run("device polls", r.devicePolls)
	t.Run("pushed requests", r.pushedRequests)
	t.Run("logout against refresh", r.logouts)
}

func (r *nodeRace) knows(i int) bool {
	resp, err := r.at[i].http.Get(r.issuer("acme") + ".well-known/openid-configuration")
	if err != nil {
		return false // no certificate is made for a host of nobody's
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK && r.refresh(i, "x").status == http.StatusBadRequest
}

// visitor is somebody whose browser is led to one node.
func (r *nodeRace) visitor(i int) *visitor {
	v := newVisitor(r.t)
	v.http.Transport = r.at[i].http.Transport
	return v
}

func (r *nodeRace) link(more url.Values) string {
	q := url.Values{"scope": {"openid offline_access"}}
	for k, v := range more {
		q[k] = v
	}
	link, _ := r.authorizeURL("acme", r.app, nodeRedirect, q)
	return link
}

// code is what a browser brings back.
func (r *nodeRace) code(back page) string {
	r.t.Helper()
	code := back.url.Query().Get("code")
	if code == "" {
		r.t.Fatalf("no code came back: %s %d %.300s", back.url, back.status, back.body)
	}
	return code
}

func (r *nodeRace) redeem(i int, code string) answer {
	verifier, _ := pkce("acme" + r.app)
	return r.at[i].token(r.t, "acme", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {r.app}, "code": {code}, "redirect_uri": {nodeRedirect}, "code_verifier": {verifier},
	})
}

func (r *nodeRace) refresh(i int, token string) answer {
	return r.at[i].token(r.t, "acme", url.Values{"grant_type": {"refresh_token"}, "client_id": {r.app}, "refresh_token": {token}})
}

// together has all racers do the same at once; node is where each of them is.
func (r *nodeRace) together(do func(racer, node int) answer) []answer {
	answers := make([]answer, nodeRacers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range nodeRacers {
		wg.Go(func() { <-start; answers[i] = do(i, i%2) })
	}
	close(start)
	wg.Wait()
	return answers
}

// races runs a race for each of nodeRaces things and demands one winner, and of
// the losers the error; it tells how often each node won.
func (r *nodeRace) races(t *testing.T, description string, prepare func(race int) func(node int) answer) {
	began, wins := time.Now(), [2]int{}
	for i := range nodeRaces {
		do, won := prepare(i), 0
		for racer, a := range r.together(func(_, node int) answer { return do(node) }) {
			switch {
			case a.status == http.StatusOK:
				won++
				wins[racer%2]++
			case a.status != http.StatusBadRequest || a.member(t, "error") != "invalid_grant" || a.member(t, "error_description") != description:
				t.Errorf("loser: %d %s", a.status, a.body)
			}
		}
		if won != 1 {
			t.Fatalf("race %d has %d winners", i, won)
		}
	}
	r.told(t, began, wins)
}

// told demands that both nodes took part: a race that one of them always wins
// was none.
func (r *nodeRace) told(t *testing.T, began time.Time, wins [2]int) {
	t.Logf("%d races of %d in %v; won by the nodes: %v", nodeRaces, nodeRacers, time.Since(began).Round(time.Millisecond), wins)
	if wins[0] == 0 || wins[1] == 0 {
		t.Errorf("one node won all: %v", wins)
	}
}

func (r *nodeRace) codes(t *testing.T) {
	r.races(t, "Invalid authorization code", func(int) func(int) answer {
		code := r.code(r.person.open(r.link(nil)))
		return func(node int) answer { return r.redeem(node, code) }
	})
}

func (r *nodeRace) refreshTokens(t *testing.T) {
	r.races(t, "Unknown or invalid refresh token.", func(i int) func(int) answer {
		token := r.redeem(i%2, r.code(r.person.open(r.link(nil)))).want(t, http.StatusOK).member(t, "refresh_token")
		return func(node int) answer { return r.refresh(node, token) }
	})
}

func (r *nodeRace) devicePolls(t *testing.T) {
	r.races(t, "Invalid or used device code", func(i int) func(int) answer {
		device := r.at[i%2].deviceCode(t, "acme", r.tv)
		p := r.person.submit(r.person.open(r.issuer("acme")+"activate"), map[string]string{"user_code": device["user_code"].(string)})
		if p = r.person.submit(p, map[string]string{"action": "accept"}); !strings.Contains(p.body, "Your device is connected") {
			t.Fatalf("%s: %d %s", p.url, p.status, p.body)
		}
		return func(node int) answer {
			return r.at[node].token(t, "acme", url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {r.tv}, "device_code": {device["device_code"].(string)},
			})
		}
	})
}

// pushedRequests are used by one browser in two of its tabs and more: RFC 9126
// section 4, C4.27. The losers see a page, for nobody knows where to send them.
func (r *nodeRace) pushedRequests(t *testing.T) {
	began, wins := time.Now(), [2]int{}
	for i := range nodeRaces {
		link, err := url.Parse(r.link(nil))
		if err != nil {
			t.Fatal(err)
		}
		uri := r.at[i%2].post(t, r.issuer("acme")+"oauth/par", link.Query()).want(t, http.StatusCreated).member(t, "request_uri")
		used, won := r.issuer("acme")+"authorize?"+url.Values{"client_id": {r.app}, "request_uri": {uri}}.Encode(), 0
		for racer, a := range r.together(func(_, node int) answer { return r.browse(node, used) }) {
			switch {
			case a.status == http.StatusFound && strings.Contains(a.header.Get("Location"), "code="):
				won++
				wins[racer%2]++
			case a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "was used before"):
				t.Errorf("loser: %d %v %s", a.status, a.header, a.body)
			}
		}
		if won != 1 {
			t.Fatalf("race %d has %d winners", i, won)
		}
	}
	r.told(t, began, wins)
}

// browse opens a page with the cookies of the person, at either node.
func (r *nodeRace) browse(node int, link string) answer {
	client := *r.at[node].http
	client.Jar = r.person.http.Jar
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, link, nil)
	if err != nil {
		r.t.Error(err)
		return answer{}
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Error(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// logouts has eight tabs log out while eight refresh, four of each at either node:
// at most one of these is in time, and what it got is worth nothing once a logout
// was answered (C3.36, C4.39).
func (r *nodeRace) logouts(t *testing.T) {
	began, inTime := time.Now(), 0
	for i := range logoutRaces {
		r.person = r.visitor(i % 2)
		token := r.redeem(i%2, r.code(r.person.login(r.link(nil), userEmail, password))).want(t, http.StatusOK).member(t, "refresh_token")
		leaves := func(racer int) bool { return (racer/2+i)%2 == 0 }
		won := 0
		for racer, a := range r.together(func(racer, node int) answer {
			if leaves(racer) {
				return r.browse(node, r.issuer("acme")+"v2/logout?client_id="+r.app)
			}
			return r.refresh(node, token)
		}) {
			switch {
			case leaves(racer):
				a.want(t, http.StatusOK)
			case a.status == http.StatusOK:
				won++
				next := a.member(t, "refresh_token")
				for node := range r.at {
					if b := r.refresh(node, next); b.status != http.StatusBadRequest || b.member(t, "error") != "invalid_grant" {
						t.Errorf("a token of after the logout, at node %d: %d %s", node, b.status, b.body)
					}
				}
			case a.status != http.StatusBadRequest || a.member(t, "error") != "invalid_grant":
				t.Errorf("loser: %d %s", a.status, a.body)
			}
		}
		if won > 1 {
			t.Fatalf("race %d has %d winners", i, won)
		}
		inTime += won
		for node := range r.at {
			if back := r.browse(node, r.link(url.Values{"prompt": {"none"}})); !strings.Contains(back.header.Get("Location"), "error=login_required") {
				t.Errorf("still logged in at node %d: %d %v", node, back.status, back.header)
			}
		}
	}
	t.Logf("%d races of %d in %v; a refresh was in time in %d", logoutRaces, nodeRacers, time.Since(began).Round(time.Millisecond), inTime)
}
