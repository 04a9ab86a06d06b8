package test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// module is one test of a conformance plan, as the OpenID Foundation's suite has
// them: a scripted browser and an HTTP client against the running gateway.
type module struct {
	id   string // of our list, for instance B01
	name string // in the suite; our own where it has none
	run  func(t testing.TB, o *provider)
}

// plan runs the modules against the provider. What is listed in
// testdata/expected-failures.txt has to fail, everything else to pass: a defect
// that is mended takes its line with it.
func plan(t *testing.T, o *provider, modules []module) {
	t.Helper()
	expected := expectedFailures(t)
	for _, m := range modules {
		t.Run(m.id+"_"+m.name, func(t *testing.T) {
			tr := &trial{TB: t}
			tr.attempt(func() { m.run(tr, o) })
			reason, fails := expected[m.id]
			switch {
			case fails && len(tr.failures) == 0:
				t.Errorf("%s passes now: take its line out of the list of expected failures (%s)", m.id, reason)
			case fails:
				t.Logf("fails as expected: %s", reason)
			default:
				for _, f := range tr.failures {
					t.Error(f)
				}
			}
		})
	}
}

// expectedFailures reads the list: a module's id and the reason, a line each.
func expectedFailures(t testing.TB) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/expected-failures.txt")
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			t.Fatalf("expected failure %s has no reason", id)
		}
		list[id] = strings.TrimSpace(reason)
	}
	return list
}

// TestExpectedFailures: every line is about a module that there is.
func TestExpectedFailures(t *testing.T) {
	known := map[string]bool{}
	for _, p := range [][]module{
		basicPlan, configPlan, registrationPlan, logoutPlan, backchannelPlan, attackPlan, serverAttackPlan,
		foreignAttackPlan, memberAttackPlan, addressAttackPlan, redirectAttackPlan, upstreamAttackPlan(nil),
	} {
		for _, m := range p {
			if known[m.id] {
				t.Errorf("module %s is there twice", m.id)
			}
			known[m.id] = true
		}
	}
	for id := range expectedFailures(t) {
		if !known[id] {
			t.Errorf("there is no module %s to fail", id)
		}
	}
}

// trial is a test whose failures are judged by somebody else.
type trial struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

// attempt runs f to its end, or to where it gives up.
func (tr *trial) attempt(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

func (tr *trial) note(text string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failures = append(tr.failures, text)
}

func (tr *trial) Error(args ...any)                 { tr.note(fmt.Sprint(args...)) }
func (tr *trial) Errorf(format string, args ...any) { tr.note(fmt.Sprintf(format, args...)) }
func (tr *trial) Fail()                             { tr.note("failed") }
func (tr *trial) FailNow()                          { tr.note("failed"); runtime.Goexit() }
func (tr *trial) Fatal(args ...any)                 { tr.Error(args...); runtime.Goexit() }
func (tr *trial) Fatalf(format string, args ...any) { tr.Errorf(format, args...); runtime.Goexit() }

// Failed implements testing.TB.
func (tr *trial) Failed() bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.failures) > 0
}

// relyingParty is a client of the plans.
type relyingParty struct {
	id, secret string
	callback   string
	loggedOut  string
	post       bool // authenticates by client_secret_post
}

// provider is the tenant under test: the conformance profile's static clients
// and one user with a value for every claim that there is.
type provider struct {
	*gateway
	tenant string
	mode   string // response_mode of all requests; "" for the default
	api    api    // manages the tenant

	one, two, post relyingParty
	user           string // its id

	spent   string // a code that was used, and when
	spentAt time.Time
}

const conformUser = "conny@conform.example.com"

var conform struct {
	once sync.Once
	*provider
}

// startProvider sets the scene of the plans once.
func startProvider(t *testing.T) *provider {
	t.Helper()
	g := startGateway(t)
	conform.once.Do(func() {
		conform.provider = newProvider(t, g, "conform")
		newProvider(t, g, "conform-other")
	})
	if conform.provider == nil {
		t.Fatal("the scene could not be set; see the test that ran first")
	}
	return conform.provider
}

func newProvider(t testing.TB, g *gateway, tenant string) *provider {
	o := &provider{gateway: g, tenant: tenant}
	g.platform(t).call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": tenant}).want(t, http.StatusCreated)
	o.api = g.platform(t).on(tenant)
	o.one = o.register(t, "one", "client_secret_basic")
	o.two = o.register(t, "two", "client_secret_basic")
	o.post = o.register(t, "post", "client_secret_post")
	o.user = o.person(t, conformUser)
	return o
}

// person makes a user with a value for every claim.
func (o *provider) person(t testing.TB, email string) string {
	name, _, _ := strings.Cut(email, "@")
	return o.api.create(t, "/users", map[string]any{
		"connection": "Username-Password-Authentication", "email": email, "password": password, "email_verified": true,
		"name": "Conny Form", "given_name": "Conny", "family_name": "Form", "nickname": name,
		"picture": "https://conform.example.com/conny.png", "phone_number": "+15551234567", "phone_verified": true,
	})["user_id"].(string)
}

// register makes a static client whose redirect URIs are all its own.
func (o *provider) register(t testing.TB, name, method string, more ...map[string]any) relyingParty {
	at := "https://" + name + ".rp.example.com"
	body := map[string]any{
		"name": "Party " + name, "app_type": "regular_web", "token_endpoint_auth_method": method,
		"callbacks": []string{at + "/cb", at + "/cb?registered=1"}, "allowed_logout_urls": []string{at + "/bye"},
		"grant_types": []string{"authorization_code", "refresh_token"},
	}
	for _, m := range more {
		maps.Copy(body, m)
	}
	c := o.api.create(t, "/clients", body)
	o.api.enableConnection(t, c["client_id"].(string))
	secret, _ := c["client_secret"].(string)
	return relyingParty{
		id: c["client_id"].(string), secret: secret, post: method == "client_secret_post",
		callback: at + "/cb", loggedOut: at + "/bye",
	}
}

// endpoint is a URL of the tenant.
func (o *provider) endpoint(path string) string { return o.issuer(o.tenant) + path }

// request is an authorization request, altered by pairs; a value "-" leaves the
// parameter out.
func (o *provider) request(p relyingParty, pairs ...string) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {p.id}, "redirect_uri": {p.callback}, "scope": {"openid"},
		"state": {longState}, "nonce": {"a nonce"},
	}
	if o.mode != "" {
		q.Set("response_mode", o.mode)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			q.Del(pairs[i])
			continue
		}
		q.Set(pairs[i], pairs[i+1])
	}
	return q
}

// longState is 128 characters, as the suite's error modules have it.
var longState = strings.Repeat("0123456789abcdef", 8)

// authorize opens an authorization request in the browser and logs in where it
// is asked to.
func (o *provider) authorize(v *visitor, q url.Values) page {
	v.t.Helper()
	p := o.look(v, q)
	if asked(p) {
		p = v.submit(p, map[string]string{"username": conformUser, "password": password})
	}
	return p
}

// look opens an authorization request and leaves what comes as it is.
func (o *provider) look(v *visitor, q url.Values) page {
	v.t.Helper()
	return v.open(o.endpoint("authorize?" + q.Encode()))
}

// asked reports whether the browser was asked to log in.
func asked(p page) bool {
	return p.status == http.StatusOK && strings.HasPrefix(p.url.Path, "/u/login")
}
