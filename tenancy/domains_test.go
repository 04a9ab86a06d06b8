package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// zone is a DNS: values by kind and name, the final dot included.
type zone struct {
	mu      sync.Mutex
	records map[string]string
	down    bool
}

func (z *zone) set(kind, name, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string]string{}
	}
	z.records[kind+" "+name+"."] = value
}

func (z *zone) look(kind, name string) (string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.down {
		return "", &net.DNSError{Err: "server misbehaving", Name: name, Server: "192.0.2.53:53", IsTemporary: true}
	}
	if value := z.records[kind+" "+name]; value != "" {
		return value, nil
	}
	return "", &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	value, err := z.look("TXT", name)
	return []string{"v=spf1 -all", value}, err
}

func (z *zone) LookupCNAME(_ context.Context, name string) (string, error) {
	return z.look("CNAME", name)
}

// estate is an installation with the tenants acme and widgets and their domains.
type estate struct {
	*world
	*tenancy.Domains
	t    *testing.T
	zone *zone
	now  time.Time
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	e := &estate{world: newWorld(t, t.TempDir(), "0123456789abcdef0123456789abcdef"), t: t, zone: &zone{}, now: time.Now()}
	if err := e.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"acme", "widgets"} {
		if _, err := e.world.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id}); err != nil {
			t.Fatal(err)
		}
	}
	nobody := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is there") }
	e.Domains = &tenancy.Domains{
		Directory: e.world.Directory, Prover: tenancy.Prover{Resolver: e.zone, Dial: nobody}, Now: func() time.Time { return e.now },
	}
	return e
}

func (e *estate) claim(tenant, name string, primary bool) *tenancy.CustomDomain {
	e.t.Helper()
	d, err := e.Domains.Create(e.t.Context(), tenant, tenancy.NewDomain{Domain: name, Primary: primary})
	if err != nil {
		e.t.Fatal(err)
	}
	return d
}

// proof is what of a method verifies the claim.
func (e *estate) proof(d *tenancy.CustomDomain, method string) tenancy.Proof {
	list := e.Proofs(d)
	return list[slices.IndexFunc(list, func(p tenancy.Proof) bool { return p.Method == method })]
}

func (e *estate) publish(d *tenancy.CustomDomain) {
	p := e.proof(d, "txt")
	e.zone.set("TXT", p.Name, p.Value)
}

func (e *estate) verify(d *tenancy.CustomDomain) *tenancy.CustomDomain {
	e.t.Helper()
	d, err := e.Domains.Verify(e.t.Context(), d.Subject, d.ID)
	if err != nil {
		e.t.Fatal(err)
	}
	return d
}

func (e *estate) owner(host string) string {
	t, ok := e.world.Directory.ByHost(host)
	if !ok {
		return ""
	}
	return t.ID
}

// TestOneOwner: of tenants that verify the same name at the same time one gets
// it, and the others 409 (C5.88, C9.47).
func TestOneOwner(t *testing.T) {
	e := newEstate(t)
	z := &everything{}
	e.Prover.Resolver = z
	for round := range 5 {
		name := fmt.Sprintf("r%d.example.net", round)
		var won atomic.Int32
		var wg sync.WaitGroup
		claims := []*tenancy.CustomDomain{e.claim("acme", name, true), e.claim("widgets", name, true)}
		for _, d := range claims {
			z.add(e.proof(d, "txt").Value)
		}
		for _, d := range claims {
			tenant := d.Subject
			for range 3 {
				wg.Go(func() {
					got, err := e.Domains.Verify(t.Context(), tenant, d.ID)
					switch {
					case err == nil && got.Status == tenancy.DomainReady:
						won.Store(int32(len(tenant)))
					case tenancy.StatusOf(err) != http.StatusConflict:
						t.Errorf("%s: %v", tenant, err)
					}
				})
			}
		}
		wg.Wait()
		owner := e.owner(name)
		if owner == "" || int(won.Load()) != len(owner) {
			t.Errorf("%s is of %q", name, owner)
		}
		for _, tenant := range []string{"acme", "widgets"} {
			d, err := e.Domains.Get(t.Context(), tenant, name)
			if err != nil || (d.Status == tenancy.DomainReady) != (tenant == owner) {
				t.Errorf("%s has %+v %v, and %s is of %s", tenant, d, err, name, owner)
			}
		}
	}
}

// everything is a DNS in which every name has all values.
type everything struct {
	zone
	values []string
}

func (z *everything) add(value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.values = append(z.values, value)
}

func (z *everything) LookupTXT(context.Context, string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.values), nil
}

// TestForeignDomains: what one tenant has, another cannot see, change or remove.
func TestForeignDomains(t *testing.T) {
	e := newEstate(t)
	d := e.claim("acme", "login.example.net", false)
	e.publish(d)
	e.verify(d)
	for _, id := range []string{d.ID, d.Domain} {
		_, err := e.Domains.Get(t.Context(), "widgets", id)
		_, err2 := e.Domains.Verify(t.Context(), "widgets", id)
		_, err3 := e.Domains.Update(t.Context(), "widgets", id, func(*tenancy.CustomDomain) error { return errors.New("it was read") })
		err4 := e.Domains.Delete(t.Context(), "widgets", id)
		for i, err := range []error{err, err2, err3, err4} {
			if !errors.Is(err, tenancy.ErrNotFound) {
				t.Errorf("%s, call %d: got %v, want not found", id, i, err)
			}
		}
	}
	if list, err := e.Domains.List(t.Context(), "widgets"); err != nil || len(list) != 0 {
		t.Errorf("widgets has %v %v", list, err)
	}
	if e.owner("login.example.net") != "acme" {
		t.Error("acme lost its domain")
	}
}

// TestReverification: a ready domain is proven again once a day by one node, keeps
// working for seven days without a proof, and is disabled then (C5.88).
func TestReverification(t *testing.T) {
	e := newEstate(t)
	d := e.claim("acme", "login.example.net", true)
	e.publish(d)
	e.verify(d)
	status := func(want tenancy.DomainStatus, problem bool) {
		t.Helper()
		got, err := e.Domains.Get(t.Context(), "acme", d.ID)
		if err != nil || got.Status != want || (got.Problem != "") != problem {
			t.Fatalf("domain %+v %v, want %s, a problem %t", got, err, want, problem)
		}
		if ready := e.owner(d.Domain) == "acme"; ready != (want == tenancy.DomainReady) {
			t.Errorf("it routes: %t", ready)
		}
	}
	again := func(after time.Duration) {
		t.Helper()
		e.now = e.now.Add(after)
		other := *e.Domains // another node at the same time
		var wg sync.WaitGroup
		for _, node := range []*tenancy.Domains{e.Domains, &other} {
			wg.Go(func() {
				if err := node.Reverify(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	e.zone.down = true
	again(23 * time.Hour)
	status(tenancy.DomainReady, false) // not due
	again(2 * time.Hour)
	status(tenancy.DomainReady, true)
	e.zone.down = false
	again(25 * time.Hour)
	status(tenancy.DomainReady, false) // the seven days begin anew
	e.zone.set("TXT", "_gatehouse.login.example.net", "something else")
	for range 6 {
		again(25 * time.Hour)
		status(tenancy.DomainReady, true)
	}
	again(25 * time.Hour)
	status(tenancy.DomainDisabled, true)
	if hosts := e.world.Directory.HostsOf("acme"); !slices.Equal(hosts, []string{"acme.auth.example.com"}) {
		t.Errorf("hosts %v", hosts)
	}
	// A disabled claim is in nobody's way, and can be proven again.
	w := e.claim("widgets", "login.example.net", false)
	e.publish(w)
	if got := e.verify(w); got.Status != tenancy.DomainReady || e.owner(d.Domain) != "widgets" {
		t.Errorf("another owner: %+v", got)
	}
	e.publish(d)
	if _, err := e.Domains.Verify(t.Context(), "acme", d.ID); tenancy.StatusOf(err) != http.StatusConflict {
		t.Errorf("the first owner again: %v", err)
	}
}

// TestDirectoryFollowsDomains: another node knows a domain, its rank and its end
// at its next look, and after a start.
func TestDirectoryFollowsDomains(t *testing.T) {
	e := newEstate(t)
	other := tenancy.NewDirectory(e.Pool, e.world.Directory.Hosts())
	cp := e.world.Directory.ControlPlane()
	if err := other.Open(t.Context(), cp); err != nil {
		t.Fatal(err)
	}
	d := e.claim("acme", "login.example.net", true)
	e.publish(d)
	e.verify(d)
	look := func(want string) {
		t.Helper()
		started := tenancy.NewDirectory(e.Pool, e.world.Directory.Hosts())
		if err := errors.Join(other.Refresh(t.Context()), started.Open(t.Context(), cp)); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []*tenancy.Directory{other, started} {
			if got := strings.Join(dir.HostsOf("acme"), " "); got != want {
				t.Errorf("hosts %q, want %q", got, want)
			}
		}
	}
	look("login.example.net acme.auth.example.com")
	if n := testing.AllocsPerRun(100, func() { other.ByHost("login.example.net") }); n > 0 {
		t.Errorf("finding a domain's tenant allocates %v times", n)
	}
	if _, err := e.Domains.Update(t.Context(), "acme", d.ID, func(d *tenancy.CustomDomain) error { d.Primary = false; return nil }); err != nil {
		t.Fatal(err)
	}
	look("acme.auth.example.com login.example.net")
	if err := e.Domains.Delete(t.Context(), "acme", d.ID); err != nil {
		t.Fatal(err)
	}
	look("acme.auth.example.com")
}

// TestProofs: each proof alone verifies, and nothing that only looks like one.
func TestProofs(t *testing.T) {
	t.Parallel()
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	d := &tenancy.CustomDomain{Domain: "login.example.net", Token: strings.Repeat("a1", 20)}
	var answer http.HandlerFunc
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	t.Cleanup(web.Close)
	address, _ := url.Parse(web.URL)
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		if to != "login.example.net:80" {
			return nil, fmt.Errorf("asked for %s", to)
		}
		return new(net.Dialer).DialContext(ctx, network, address.Host)
	}
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "login.example.net" || r.URL.Path != tenancy.ProofPath+d.Token {
				status = http.StatusTeapot
			}
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}
	}
	to := func(place string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, place, http.StatusFound) }
	}
	other := strings.Repeat("b2", 20)
	for _, tc := range []struct {
		name       string
		txt, cname string
		web        http.HandlerFunc
		want, says string
	}{
		{name: "nothing", says: "_gatehouse.login.example.net has no TXT record"},
		{name: "TXT", txt: "gatehouse-verify=" + d.Token, want: "txt"},
		{name: "TXT of another claim", txt: "gatehouse-verify=" + other, says: "no TXT record of _gatehouse.login.example.net is the one asked for"},
		{name: "TXT without its name", txt: d.Token},
		{name: "CNAME", cname: d.Token + ".verify.auth.example.com.", want: "cname"},
		{name: "CNAME in another case", cname: strings.ToUpper(d.Token) + ".Verify.auth.example.com.", want: "cname"},
		{name: "CNAME of another claim", cname: other + ".verify.auth.example.com.", says: "is not the one asked for"},
		{name: "CNAME to a tenant", cname: "acme.auth.example.com."},
		{name: "HTTP", web: says(200, d.Token+"\n"), want: "http"},
		{name: "HTTP not found", web: says(404, d.Token), says: "does not answer 200 with the body asked for"},
		{name: "HTTP of another claim", web: says(200, other)},
		{name: "HTTP with more", web: says(200, d.Token+" and more")},
		{name: "HTTP endless", web: says(200, strings.Repeat(" ", 4096)+d.Token)},
		{name: "HTTP redirects to another host", web: to("https://evil.example.org" + tenancy.ProofPath + d.Token), says: "it redirects elsewhere"},
		{name: "HTTP redirects to another path", web: to("https://login.example.net/"), says: "it redirects elsewhere"},
		{name: "HTTP redirects to another port", web: to("https://login.example.net:8443" + tenancy.ProofPath + d.Token), says: "it redirects elsewhere"},
		{name: "HTTP redirects in plain", web: to("http://login.example.net" + tenancy.ProofPath + d.Token + "?x"), says: "it redirects elsewhere"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := &zone{}
			z.set("TXT", "_gatehouse.login.example.net", tc.txt)
			z.set("CNAME", "_gatehouse.login.example.net", tc.cname)
			if answer = tc.web; answer == nil {
				answer = says(404, "")
			}
			got, problem := tenancy.Prover{Resolver: z, Dial: dial}.Prove(t.Context(), hosts, d)
			if got != tc.want || (problem == "") != (got != "") || !strings.Contains(problem, tc.says) {
				t.Errorf("proven by %q, problem %q; want %q and %q", got, problem, tc.want, tc.says)
			}
		})
	}
}

// TestProofIsNoWayIn: a claim on a name that leads behind this server asks nobody
// there (C9: requests forged by a tenant).
func TestProofIsNoWayIn(t *testing.T) {
	t.Parallel()
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(web.Close)
	for _, name := range []string{strings.TrimPrefix(web.URL, "http://"), "127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1", "100.64.0.1", "[64:ff9b::a00:1]", "[::ffff:127.0.0.1]", "[2002:7f00:1::]"} {
		d := &tenancy.CustomDomain{Domain: name, Token: "token", Method: "http"}
		began := time.Now()
		got, problem := tenancy.Prover{Resolver: &zone{}}.Prove(t.Context(), hosts, d)
		if got != "" || !strings.Contains(problem, "could not be asked") || strings.Contains(problem, "refused") {
			t.Errorf("%s: %q %q", name, got, problem)
		}
		if time.Since(began) > 2*time.Second {
			t.Errorf("%s: it was tried for %v", name, time.Since(began))
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("a server behind this one was asked %d times", n)
	}
}
