package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// receivers are the clients' ends of the back channel: every address answers
// with the status it has here, and 200 without one.
type receivers struct {
	mu     sync.Mutex
	status map[string]int // 0 is no connection
	got    []string       // address and token, separated by a space
	told   chan string
}

// Do implements HTTPClient.
func (r *receivers) Do(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, q.URL.String()+" "+form.Get("logout_token"))
	if r.told != nil {
		r.told <- q.URL.String()
	}
	status, ok := r.status[q.URL.String()]
	switch {
	case !ok:
		status = http.StatusOK
	case status == 0:
		return nil, errors.New("connection refused by 10.0.0.1")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("private text"))}, nil
}

// take returns what was sent since it was last asked, and forgets it.
func (r *receivers) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.got = nil }()
	return r.got
}

type directoryOf map[string]*tenancy.Tenant

func (d directoryOf) ByID(id string) (*tenancy.Tenant, bool) { t, ok := d[id]; return t, ok }

func (f *fixture) teller(r *receivers) *Teller {
	return &Teller{Server: f.server, Pool: f.pool, Directory: directoryOf(f.tenants), Client: r}
}

const webHears, spaHears, alsoHears = "https://web.example.com/out", "https://spa.example.com/out", "https://spa.example.com/also"

// hearing has the fixture's clients of a tenant want to be told.
func (f *fixture) hearing(tenant string) {
	f.updateClient(tenant, webID, func(c *tenancy.Client) { c.Logout = &tenancy.LogoutOptions{BackchannelURLs: []string{webHears}} })
	f.updateClient(tenant, spaID, func(c *tenancy.Client) {
		c.Logout = &tenancy.LogoutOptions{BackchannelURLs: []string{spaHears, alsoHears}}
	})
}

// begin makes a session of ada with the clients.
func (f *fixture) begin(tenant, id string, clients ...string) {
	ctx, now := f.in(tenant), tenancy.At(f.clock.now())
	f.must(tenancy.Sessions.Create(ctx, &tenancy.Session{
		Row: tenancy.Row{ID: id}, TokenHash: tenant + id, Issuer: issuerOf(tenant), UserID: ada, Clients: clients,
		ExpiresAt: now.Add(time.Hour), IdleExpiresAt: now.Add(time.Hour),
	}))
}

func (f *fixture) logouts(tenant string) (ids []string) {
	rows, err := tenancy.Logouts.Find(f.in(tenant), tenancy.Filter{})
	f.must(err)
	for _, r := range rows {
		ids = append(ids, r.SessionID+" "+r.ClientID)
	}
	return ids
}

// C3.37: the clients of the session that have an address are told, those of other
// sessions and tenants are not, and the session is gone in the same moment.
func TestEndedSessionsAreKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tenant := range []string{"acme", "widgets"} {
		f.hearing(tenant)
		f.begin(tenant, "ses_1", webID, nativeID, "gone")
		f.begin(tenant, "ses_2", spaID, "WEB") // ids are told apart by case
		f.begin(tenant, "ses_3")
	}
	ctx := f.in("acme")
	f.must(f.server.EndSession(ctx, "ses_1", tenancy.LogoutByClient))
	f.must(f.server.EndSession(ctx, "ses_1", tenancy.LogoutByClient)) // once more changes nothing
	if got, want := f.logouts("acme"), []string{"ses_1 web"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	f.meter.failWrites.Store(true)
	if err := f.server.EndSession(ctx, "ses_2", tenancy.LogoutByClient); err == nil {
		t.Error("a session ended without a database")
	}
	f.meter.failWrites.Store(false)
	if got := f.logouts("acme"); len(got) != 1 {
		t.Errorf("kept %q though the session lives", got)
	}
	f.must(tenancy.Commit(ctx, tenancy.EndAccess(ctx, ada, tenancy.AccountDeactivated)...))
	if got, want := f.logouts("acme"), []string{"ses_1 web", "ses_2 spa"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if n, err := tenancy.Sessions.Count(ctx, tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d sessions, %v", n, err)
	}
	if n, err := tenancy.Sessions.Count(f.in("widgets"), tenancy.Filter{}); n != 3 || err != nil || len(f.logouts("widgets")) != 0 {
		t.Errorf("widgets: %d sessions, %v, logouts %q", n, err, f.logouts("widgets"))
	}
	f.must(tenancy.Commit(ctx, tenancy.RemoveClient(ctx, webID)...))
	if got, want := f.logouts("acme"), []string{"ses_2 spa"}; !slices.Equal(got, want) {
		t.Errorf("kept %q after the client was deleted, want %q", got, want)
	}
}

// The token of OpenID Connect Back-Channel Logout 1.0 section 2.4.
func TestLogoutToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hearing("acme")
	f.updateClient("acme", webID, func(c *tenancy.Client) { c.JWT.Alg = "ES256" })
	f.begin("acme", "ses_1", webID)
	f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.LogoutByClient))
	r := &receivers{}
	if at := f.teller(r).turn(t.Context(), "acme"); !at.IsZero() {
		t.Errorf("something is left for %s", at)
	}
	got := r.take()
	if len(got) != 1 || !strings.HasPrefix(got[0], webHears+" ") {
		t.Fatalf("sent %q", got)
	}
	token := strings.TrimPrefix(got[0], webHears+" ")
	if h := header(t, token); h["typ"] != "logout+jwt" || h["alg"] != "ES256" {
		t.Errorf("header %v", h)
	}
	c := payload(t, token)
	iat, _ := c["iat"].(float64)
	for name, want := range map[string]any{
		"iss": issuerOf("acme"), "aud": webID, "sub": ada, "sid": "ses_1", "exp": iat + 120, "nonce": nil, "client_id": nil,
	} {
		if c[name] != want {
			t.Errorf("%s: got %v, want %v", name, c[name], want)
		}
	}
	if b, err := json.Marshal(c["events"]); err != nil || string(b) != `{"http://schemas.openid.net/event/backchannel-logout":{}}` {
		t.Errorf("events %s", b)
	}
	if _, err := f.server.Verify(f.in("acme"), token); err == nil { // C9.51
		t.Error("a logout token passes for an access token")
	}
	if _, err := f.server.verifyHint(f.in("acme"), token); err == nil {
		t.Error("a logout token passes for an ID token")
	}
	if e := f.events.last("oidc_backchannel_logout_succeeded"); e == nil || e.ClientID != webID || e.UserID != ada || strings.Contains(string(e.Details), token) {
		t.Errorf("event %+v", e)
	}
	if len(f.logouts("acme")) != 0 {
		t.Error("the logout is still kept")
	}
}

// Four attempts, and no more of what was taken; what the client answers is told
// to nobody (contract C3.37, A25).
func TestLogoutIsToldAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hearing("acme")
	f.begin("acme", "ses_1", spaID)
	f.must(f.server.EndSession(f.in("acme"), "ses_1", tenancy.SessionRevoked))
	r := &receivers{status: map[string]int{alsoHears: http.StatusFound}}
	teller := f.teller(r)
	want := []int{2, 1, 1, 1}
	for i, n := range want {
		at := teller.turn(t.Context(), "acme")
		got := r.take()
		if len(got) != n || i > 0 && !strings.HasPrefix(got[0], alsoHears+" ") {
			t.Fatalf("attempt %d: sent %q", i+1, got)
		}
		if i == len(want)-1 {
			if !at.IsZero() {
				t.Errorf("a fifth attempt is due at %s", at)
			}
			break
		}
		wait := at.Sub(f.clock.now())
		if most := time.Duration(5*(i+1)*(i+1)) * time.Second; wait > most || wait < most/2-time.Second {
			t.Errorf("attempt %d is followed after %s", i+1, wait)
		}
		if got := teller.turn(t.Context(), "acme"); got.IsZero() || len(r.take()) != 0 {
			t.Error("told before it is due")
		}
		f.clock.advance(wait + time.Millisecond)
	}
	e := f.events.last("oidc_backchannel_logout_failed")
	if e == nil || !strings.Contains(e.Description, "answered 302") || strings.Contains(string(e.Details), "private text") {
		t.Errorf("event %+v", e)
	}
	if len(f.logouts("acme")) != 0 {
		t.Error("the logout is still kept")
	}
}

// An address that cannot be reached does not say where it leads.
func TestLogoutFailureIsShort(t *testing.T) {
	t.Parallel()
	if got := postLogout(t.Context(), &receivers{status: map[string]int{webHears: 0}}, webHears, "x"); got != "the address cannot be reached" {
		t.Errorf("failure %q", got)
	}
}

// What a client wants to hear of, and how long there is something to tell.
func TestLogoutReasons(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hears := func(i *tenancy.LogoutInitiators) {
		f.updateClient("acme", webID, func(c *tenancy.Client) {
			c.Logout = &tenancy.LogoutOptions{BackchannelURLs: []string{webHears}, Initiators: i}
		})
	}
	for _, c := range []struct {
		name       string
		initiators *tenancy.LogoutInitiators
		why        tenancy.LogoutReason
		wait       time.Duration
		told       int
	}{
		{"all by default", nil, tenancy.AccountDeleted, 0, 1},
		{"all", &tenancy.LogoutInitiators{Mode: "all"}, tenancy.AccountDeleted, 0, 1},
		{"selected", &tenancy.LogoutInitiators{Mode: "custom", Selected: []string{"rp-logout"}}, tenancy.LogoutByClient, 0, 1},
		{"not selected", &tenancy.LogoutInitiators{Selected: []string{"rp-logout"}}, tenancy.AccountDeleted, 0, 0},
		{"too late", nil, tenancy.LogoutByClient, 2 * time.Hour, 0},
	} {
		hears(c.initiators)
		f.begin("acme", "ses_"+c.name, webID)
		f.must(f.server.EndSession(f.in("acme"), "ses_"+c.name, c.why))
		f.clock.advance(c.wait)
		r := &receivers{}
		f.teller(r).turn(t.Context(), "acme")
		if got := r.take(); len(got) != c.told || len(f.logouts("acme")) != 0 {
			t.Errorf("%s: told %d times, want %d; kept %q", c.name, len(got), c.told, f.logouts("acme"))
		}
	}
}

// Two processes over one database: a logout is one teller's at a time, and that
// of one that died is another's when its time is over.
func TestLogoutIsOneTellers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hearing("acme")
	for _, id := range []string{"ses_1", "ses_2", "ses_3"} {
		f.begin("acme", id, webID)
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.EndAccess(f.in("acme"), ada, tenancy.PasswordChanged)...))
	first, _, err := f.server.dueLogouts(f.in("acme"))
	f.must(err)
	second, _, err := f.server.dueLogouts(f.in("acme"))
	f.must(err)
	if len(first) != 3 || len(second) != 0 {
		t.Fatalf("%d and %d logouts, want 3 and none", len(first), len(second))
	}
	f.clock.advance(logoutLease + time.Second)
	r := &receivers{}
	f.teller(r).turn(t.Context(), "acme")
	if got := r.take(); len(got) != 3 {
		t.Errorf("told %d times, want 3", len(got))
	}
	first[0].done = []toldAddress{{webHears, ""}}
	if err := f.server.settleLogout(f.in("acme"), first[0]); err != nil { // who was slow does no harm
		t.Errorf("settling what another teller has settled: %v", err)
	}
}

// The loop: what this process ends is told at once, what another left behind is
// found in a database that is open, and it ends when it is told to.
func TestTeller(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hearing("acme")
	f.hearing("widgets")
	r := &receivers{told: make(chan string, 100)}
	teller := &Teller{Server: f.server, Pool: f.pool, Directory: directoryOf(f.tenants), Client: r}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	over := make(chan struct{})
	f.begin("widgets", "ses_1", webID)
	f.must(f.server.EndSession(f.in("widgets"), "ses_1", tenancy.LogoutByClient)) // by a process that is gone
	go func() { teller.Run(ctx); close(over) }()
	defer func() { cancel(); <-over }()
	want := func(n int) {
		t.Helper()
		for range n {
			select {
			case <-r.told:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody is told")
			}
		}
	}
	const many = 3 * logoutBatch
	for i := range many {
		f.begin("acme", "ses_"+string(rune('a'+i)), webID)
	}
	teller.look(ctx)
	want(1)
	if asked := teller.asked(); !slices.Contains(asked, "acme") || !slices.Contains(asked, "widgets") {
		t.Errorf("asked %q", asked)
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.EndAccess(f.in("acme"), ada, tenancy.AccountDeleted)...))
	want(many)
}

func (t *Teller) asked() (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.looked {
		ids = append(ids, id)
	}
	return ids
}
