package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// logins are one person after another who logs in, until they are stopped.
type logins struct {
	done    chan struct{}
	ended   sync.WaitGroup
	mu      sync.Mutex
	good    int
	refused []time.Time
	failed  []string
}

// once is one login without a browser kept: the page, the password, the code and
// its exchange. It reports whether it succeeded; a 503 that says when to come back
// is no failure.
func (l *logins) once(p *process, link, verifier, app, redirect string) {
	client := loopbackClient()
	client.Timeout = 20 * time.Second
	status, retry, text := p.tryLogin(client, link, verifier, app, redirect)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case status == http.StatusOK:
		l.good++
	case status == http.StatusServiceUnavailable && retry == "1":
		l.refused = append(l.refused, time.Now())
	default:
		l.failed = append(l.failed, text)
	}
}

// tryLogin goes the way of visitor.login, and returns the first answer that is
// not as it should be.
func (p *process) tryLogin(client *http.Client, link, verifier, app, redirect string) (status int, retry, text string) {
	cookies := map[string]string{}
	send := func(method, to string, form url.Values) (*http.Response, string, error) {
		req, err := http.NewRequest(method, to, strings.NewReader(form.Encode()))
		if err != nil {
			return nil, "", err
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
		}
		for name, value := range cookies {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, "", err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		for _, c := range resp.Cookies() {
			cookies[c.Name] = c.Value
		}
		return resp, string(body), err
	}
	method, to, form := http.MethodGet, link, url.Values(nil)
	for range 10 {
		resp, body, err := send(method, to, form)
		if err != nil {
			return 0, "", err.Error()
		}
		here := resp.Request.URL
		switch {
		case resp.StatusCode >= 300 && resp.StatusCode <= 399:
			next, err := here.Parse(resp.Header.Get("Location"))
			if err != nil {
				return 0, "", err.Error()
			}
			if strings.HasPrefix(next.String(), redirect) {
				resp, body, err = send(http.MethodPost, p.issuer("acme")+"oauth/token", url.Values{
					"grant_type": {"authorization_code"}, "client_id": {app}, "code": {next.Query().Get("code")},
					"redirect_uri": {redirect}, "code_verifier": {verifier},
				})
				if err != nil {
					return 0, "", err.Error()
				}
				return resp.StatusCode, resp.Header.Get("Retry-After"), "token: " + body + " " + next.String()
			}
			method, to, form = http.MethodGet, next.String(), nil
		case resp.StatusCode == http.StatusOK && strings.HasPrefix(here.Path, "/u/login") && method == http.MethodGet:
			form = url.Values{"username": {userEmail}, "password": {password}}
			for _, h := range hidden.FindAllStringSubmatch(body, -1) {
				form.Set(h[1], h[2])
			}
			method, to = http.MethodPost, here.String()
		default:
			return min(resp.StatusCode, 599) + map[bool]int{true: 1000}[resp.StatusCode == http.StatusOK], resp.Header.Get("Retry-After"), method + " " + here.Path + " " + resp.Status + ": " + body[:min(len(body), 300)]
		}
	}
	return 0, "", "redirected for ever"
}

// keys are the tenant's published keys by their ids.
func (p *process) keys(t *testing.T, tenant string) map[string]string {
	t.Helper()
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	p.get(t, tenant, "/.well-known/jwks.json").want(t, http.StatusOK).json(t, &set)
	keys := make(map[string]string)
	for _, key := range set.Keys {
		var named struct {
			ID string `json:"kid"`
		}
		if err := json.Unmarshal(key, &named); err != nil || named.ID == "" {
			t.Fatalf("key %s: %v", key, err)
		}
		keys[named.ID] = string(key)
	}
	if len(keys) == 0 {
		t.Fatalf("%s publishes no keys", tenant)
	}
	return keys
}

// TestMoveUnderLogins: a tenant goes from SQLite to PostgreSQL's shared tables, to a
// schema, to libSQL and back to SQLite while people log in: no login fails but at the
// fence, which stands for a short while, and a refresh token from before
// works after each (contract C8.17).
func TestMoveUnderLogins(t *testing.T) {
	dsn, s := postgrestest.DSN(t), sqldtest.Start(t)
	g, config := withoutAdministrator(t)
	option := "keys RS256 ES256 EdDSA\n\t\tdatabase files sqlite \"" + filepath.Join(g.dir, "more") + "\"\n\t\tdatabase rows postgres \"" + dsn + "\" {\n\t\t\tisolation row\n\t\t}\n\t\tdatabase schemas postgres \"" + dsn +
		"\" {\n\t\t\tisolation schema\n\t\t}\n\t\tdatabase edge libsql " + s.URL + " {\n\t\t\tadmin " + s.Admin + "\n\t\t}"
	p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA", option, 1))
	cp := p.platform(t)
	for _, id := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": id}).want(t, http.StatusCreated)
	}
	acme := cp.on("acme")
	app := acme.spa(t, "Shop", []int{1, 2})
	acme.user(t, userEmail)
	acme.create(t, "/resource-servers", map[string]any{"identifier": ordersAPI, "name": "Orders", "allow_offline_access": true})
	const redirect = "http://localhost:1/callback"
	offline, verifier := p.authorizeURL("acme", app, redirect, url.Values{"audience": {ordersAPI}, "scope": {"openid offline_access"}})
	refresh := p.redeem(t, "acme", app, redirect, verifier, newVisitor(t).login(offline, userEmail, password)).want(t, http.StatusOK).member(t, "refresh_token")
	keys := p.keys(t, "acme")
	link, verifier := p.authorizeURL("acme", app, redirect, nil)

	for _, placement := range []string{"rows", "schemas", "edge", "files"} {
		t.Run(placement, func(t *testing.T) {
			l := &logins{done: make(chan struct{})}
			for range 2 {
				l.ended.Go(func() {
					for {
						select {
						case <-l.done:
							return
						default:
							l.once(p, link, verifier, app, redirect)
						}
					}
				})
			}
			op := cp.call(t, http.MethodPost, "/tenants/acme/move", map[string]any{"provider": placement}).want(t, http.StatusAccepted).member(t, "id")
			deadline := time.Now().Add(60 * time.Second)
			for {
				now := cp.call(t, http.MethodGet, "/operations/"+op, nil).want(t, http.StatusOK)
				if status := now.member(t, "status"); status == "succeeded" {
					break
				} else if status != "running" || time.Now().After(deadline) {
					t.Fatalf("the move: %s", now.body)
				}
				time.Sleep(50 * time.Millisecond)
			}
			close(l.done)
			l.ended.Wait()
			if len(l.failed) > 0 {
				t.Errorf("%d logins failed: %s", len(l.failed), l.failed[0])
			}
			if l.good == 0 {
				t.Error("nobody logged in")
			}
			stood := time.Duration(0)
			if n := len(l.refused); n > 0 {
				stood = l.refused[n-1].Sub(l.refused[0])
			}
			t.Logf("%d logins, %d refused within %v", l.good, len(l.refused), stood)
			if stood > 10*time.Second { // two seconds on a machine with time
				t.Errorf("the fence stood %v", stood)
			}
			fresh := p.token(t, "acme", url.Values{"grant_type": {"refresh_token"}, "client_id": {app}, "refresh_token": {refresh}}).want(t, http.StatusOK)
			if next := fresh.member(t, "refresh_token"); next != "" {
				refresh = next
			}
			now := p.keys(t, "acme")
			for id, key := range keys {
				if now[id] != key {
					t.Errorf("key %s was %s, is %s", id, key, now[id])
				}
			}
			keys = now // an RSA key that was still owed may have been made since
		})
	}
	var users []map[string]any
	cp.on("widgets").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
	if len(users) != 0 {
		t.Errorf("widgets has %d users", len(users))
	}
}
