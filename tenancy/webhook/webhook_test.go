package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

const secret = "a secret of the test"

// world is a control plane whose life cycle keeps deliveries for the endpoints.
type world struct {
	*tenancy.Lifecycle
	sender *Sender
	clock  atomic.Int64 // seconds ahead
}

type noKeys struct{}

func (noKeys) EnsureKeys(context.Context) error { return nil }

func newWorld(t *testing.T, endpoints ...Endpoint) *world {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: t.TempDir()}}, Master: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.WithoutCancel(t.Context())) })
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	d := tenancy.NewDirectory(pool, hosts)
	w := &world{Lifecycle: &tenancy.Lifecycle{Pool: pool, Directory: d, Master: ring, Keys: noKeys{}}}
	for _, e := range endpoints {
		w.Webhooks = append(w.Webhooks, e.Subscription)
	}
	w.sender = &Sender{
		ControlPlane: d, Endpoints: endpoints, Every: 20 * time.Millisecond, backoff: func(int64) time.Duration { return 0 },
		Now: func() time.Time { return time.Now().Add(time.Duration(w.clock.Load()) * time.Second) },
	}
	w.Announce = func(tenancy.Notice) { w.sender.Wake() }
	if err := w.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{}); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs the sender until the test ends.
func (w *world) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { w.sender.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (w *world) create(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := w.Create(tenancy.WithActor(t.Context(), "auth0|ann"), tenancy.NewTenant{ID: id, FriendlyName: "Tenant " + id}); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) pending(t *testing.T) int64 {
	t.Helper()
	inside, leave, err := w.Directory.EnterControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	n, err := tenancy.Deliveries.Count(inside, tenancy.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// receiver takes what is sent, once it says so.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	got    []tenancy.Notice
	refuse func(tenancy.Notice) bool
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || Verify(secret, q.Header.Get(SignatureHeader), body, time.Now(), 48*time.Hour) != nil {
			t.Errorf("signature %q of %s", q.Header.Get(SignatureHeader), body)
		}
		var n tenancy.Notice
		if err := json.Unmarshal(body, &n); err != nil || n.Type != q.Header.Get("Gatehouse-Event") {
			t.Errorf("%s: %v", body, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.refuse != nil && r.refuse(n) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.got = append(r.got, n)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) endpoint(events ...string) Endpoint {
	return Endpoint{Subscription: tenancy.Subscription{URL: r.URL + "/in", Events: events}, Secret: secret, AllowPrivate: true}
}

// typesOf are the types taken about a tenant, in order.
func (r *receiver) typesOf(tenant string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, n := range r.got {
		if n.TenantID == tenant {
			list = append(list, n.Type)
		}
	}
	return list
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestLife: everything that happens to a tenant is told in order, though the
// endpoint refuses every first attempt; what failed is not told as done.
func TestLife(t *testing.T) {
	r := newReceiver(t)
	seen := map[string]bool{}
	r.refuse = func(n tenancy.Notice) bool { defer func() { seen[n.ID] = true }(); return !seen[n.ID] }
	w := newWorld(t, r.endpoint())
	w.create(t, "acme", "widgets")
	if _, err := w.Suspend(t.Context(), "acme", "unpaid"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Suspend(t.Context(), "acme", "unpaid"); err != nil { // changes nothing: nothing to tell
		t.Fatal(err)
	}
	if _, err := w.Reactivate(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Update(t.Context(), "acme", func(t *tenancy.Tenant) error { t.FriendlyName = "New"; return nil }); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("no")
	if _, err := w.Update(t.Context(), "acme", func(*tenancy.Tenant) error { return refused }); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	w.run(t) // only now: what was kept is not lost by a sender that was away
	until(t, "not everything was delivered", func() bool { return w.pending(t) == 0 })
	want := []string{
		"tenant.provisioning", "tenant.created", "tenant.suspended", "tenant.resumed", "tenant.updated", "tenant.deleting", "tenant.deleted",
	}
	if got := r.typesOf("acme"); !slices.Equal(got, want) {
		t.Errorf("acme was told as\n%v, want\n%v", got, want)
	}
	if got := r.typesOf("widgets"); !slices.Equal(got, want[:2]) {
		t.Errorf("widgets was told as %v", got)
	}
	for _, n := range r.got {
		if n.Type == "tenant.provisioning" && (n.OperationID == "" || n.Actor != "auth0|ann") {
			t.Errorf("%+v", n)
		}
	}
}

// TestEvents: a webhook is told of what it asked for.
func TestEvents(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, r.endpoint("tenant.created"))
	w.run(t)
	w.create(t, "acme")
	until(t, "not delivered", func() bool { return w.pending(t) == 0 })
	if got := r.typesOf("acme"); !slices.Equal(got, []string{"tenant.created"}) {
		t.Errorf("told %v", got)
	}
}

// TestBadEndpoint: one that hangs delays nobody else, and a refusal about one
// tenant holds back no other.
func TestBadEndpoint(t *testing.T) {
	hang := make(chan struct{})
	bad := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(func() { close(hang); bad.Close() })
	r := newReceiver(t)
	r.refuse = func(n tenancy.Notice) bool { return n.TenantID == "acme" }
	w := newWorld(t, Endpoint{Subscription: tenancy.Subscription{URL: bad.URL}, Secret: secret, AllowPrivate: true}, r.endpoint())
	w.run(t)
	begun := time.Now()
	w.create(t, "acme", "widgets")
	until(t, "widgets waits for others", func() bool { return len(r.typesOf("widgets")) == 2 })
	if took := time.Since(begun); took > Patience/2 {
		t.Errorf("it took %s", took)
	}
	if got := r.typesOf("acme"); len(got) != 0 {
		t.Errorf("acme: %v", got)
	}
}

// TestGivenUp: after a day nobody tries any more.
func TestGivenUp(t *testing.T) {
	r := newReceiver(t)
	r.refuse = func(tenancy.Notice) bool { return true }
	w := newWorld(t, r.endpoint())
	var results sync.Map
	w.sender.Count = func(_ string, r Result) { results.Store(r, true) }
	w.create(t, "acme")
	w.run(t)
	until(t, "no attempt", func() bool { _, ok := results.Load(Failed); return ok })
	if w.pending(t) != 2 {
		t.Errorf("%d pending, want 2", w.pending(t))
	}
	w.clock.Store(int64(tenancy.DeliveryLife/time.Second) + 60)
	until(t, "tried for more than a day", func() bool { return w.pending(t) == 0 })
	if _, ok := results.Load(GivenUp); !ok {
		t.Error("not counted as given up")
	}
}

// TestTwoSenders: two processes share the work; nothing is told twice while both
// live.
func TestTwoSenders(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, r.endpoint())
	w.create(t, "acme", "widgets", "gamma", "delta")
	second := &Sender{ControlPlane: w.Directory, Endpoints: w.sender.Endpoints, Every: 20 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { second.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	w.run(t)
	until(t, "not everything was delivered", func() bool { return w.pending(t) == 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != 8 {
		t.Errorf("%d told, want 8", len(r.got))
	}
}

// C9.44: no address of a private network is connected to, whichever name leads
// there, and no redirect followed.
func TestAddresses(t *testing.T) {
	for address, public := range map[string]bool{
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.100.100.200": false, "192.0.0.192": false, "0.0.0.0": false, "::": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false,
		"::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "224.0.0.1": false, "255.255.255.255": false, "ff02::1": false,
		"93.184.216.34": true, "2606:2800:220:1::1": true,
	} {
		if got := Public(netip.MustParseAddr(address)); got != public {
			t.Errorf("Public(%s) = %t", address, got)
		}
	}
	var reached atomic.Int64
	private := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer private.Close()
	d := &tenancy.Delivery{Payload: "{}"}
	s := &Sender{}
	s.prepare()
	for _, address := range []string{private.URL, strings.Replace(private.URL, "127.0.0.1", "localhost", 1)} {
		e := &Endpoint{Subscription: tenancy.Subscription{URL: address}, Secret: secret}
		if err := s.send(t.Context(), e, newClient(false), d); err == nil || !strings.Contains(err.Error(), "allow_private") {
			t.Errorf("%s: %v", address, err)
		}
	}
	redirect := httptest.NewServer(http.RedirectHandler(private.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	e := &Endpoint{Subscription: tenancy.Subscription{URL: redirect.URL}, Secret: secret, AllowPrivate: true}
	if err := s.send(t.Context(), e, newClient(true), d); err == nil {
		t.Error("a redirect is a success")
	}
	if reached.Load() != 0 {
		t.Errorf("reached %d times", reached.Load())
	}
}

func TestSignature(t *testing.T) {
	now := time.Unix(1700000000, 0)
	const begin = "t=1700000000,v1="
	header := Sign(secret, now, []byte(`{"id":"evt_1"}`))
	if !strings.HasPrefix(header, begin) || len(header) != len(begin)+64 {
		t.Errorf("header %s", header)
	}
	for name, c := range map[string]struct {
		secret, header, body string
		later                time.Duration
		good                 bool
	}{
		"good":         {secret, header, `{"id":"evt_1"}`, time.Minute, true},
		"other secret": {"another secret here", header, `{"id":"evt_1"}`, 0, false},
		"other body":   {secret, header, `{"id":"evt_2"}`, 0, false},
		"old":          {secret, header, `{"id":"evt_1"}`, time.Hour, false},
		"other time":   {secret, strings.Replace(header, "17000", "17001", 1), `{"id":"evt_1"}`, 0, false},
		"none":         {secret, "", `{"id":"evt_1"}`, 0, false},
	} {
		if err := Verify(c.secret, c.header, []byte(c.body), now.Add(c.later), 5*time.Minute); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
