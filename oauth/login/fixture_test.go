package login

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// The ids every tenant of a fixture has, so that whatever crosses from one to
// the other meets a row there (style rule 15).
const (
	clientID = "spa"
	ada      = "auth0|ada" // member of org_1 and org_2
	password = "Correct-horse-7"
	state    = "state-of-the-login"
	browser  = "value-of-the-flow-cookie"
)

// house is Pages over two tenants with equal ids: acme and widgets.
type house struct {
	t      *testing.T
	pages  *Pages
	pool   *tenancy.Pool
	inside map[string]context.Context
	log    *bytes.Buffer

	mu     sync.Mutex
	now    time.Time
	events []tenancy.Event
	mails  []mail.Message
}

func (h *house) Record(_ context.Context, e tenancy.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *house) Send(_ context.Context, m mail.Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mails = append(h.mails, m)
	return nil
}

// adasHash is the hash of ada's password, made once: hashing is slow.
var adasHash = sync.OnceValue(func() string {
	hash, err := tenancy.HashPassword(context.Background(), password)
	if err != nil {
		panic(err)
	}
	return hash
})

// provider makes the databases of all houses, which saves the schema being built
// for each; every house has files of its own names.
var (
	provider = &sqlite.Provider{}
	houses   atomic.Int64
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gatehouse-login-")
	if err != nil {
		panic(err)
	}
	provider.Dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func newHouse(t *testing.T) *house {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{
		Master:     ring,
		Placements: map[string]tenancy.Provider{"": provider},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.Background()) })
	h := &house{
		t: t, pool: pool, inside: make(map[string]context.Context), log: new(bytes.Buffer),
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	h.pages = New(Config{
		Recorder: h, Mailer: h, Now: func() time.Time { return h.now },
		Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	h.pages.nonce = func() string { return "test-nonce" }
	number := houses.Add(1)
	for _, id := range []string{"acme", "widgets"} {
		tenant := &tenancy.Tenant{
			Database: fmt.Sprintf("%s-%d", id, number),
			Row:      tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive,
			FriendlyName: strings.ToUpper(id[:1]) + id[1:], DataKey: ring.NewDataKey(id),
		}
		if err := pool.Create(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
		ctx, leave, err := pool.Enter(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(leave)
		h.inside[id] = tenancy.WithVisit(ctx, &tenancy.Visit{
			Issuer: "https://" + id + ".auth.example.com:8443/",
			Host:   id + ".auth.example.com", ClientIP: "203.0.113.7", UserAgent: "test", RequestID: "req-1",
		})
		h.seed(id)
	}
	return h
}

// seed fills one tenant.
func (h *house) seed(id string) {
	h.t.Helper()
	ctx := h.inside[id]
	h.commit(id,
		tenancy.Clients.Insert(ctx, &tenancy.Client{
			Row: tenancy.Row{ID: clientID}, Name: "Notes",
			Callbacks: []string{"https://app.example.com/callback"}, WebOrigins: []string{"https://app.example.com"},
		}),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_1"}, Name: "people", Strategy: tenancy.StrategyDatabase}),
		tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_1")),
		tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: ada}, Connection: "people", Email: "ada@example.com", Username: "ada"}),
		tenancy.PasswordStmt(ctx, ada, adasHash()),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: "org_1"}, Name: "first", DisplayName: "First & Co"}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: "org_2"}, Name: "second"}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: "org_3"}, Name: "third"}),
		tenancy.Members.Insert(ctx, tenancy.NewMember("org_1", ada)),
		tenancy.Members.Insert(ctx, tenancy.NewMember("org_2", ada)),
	)
}

func (h *house) commit(id string, stmts ...tenancy.Stmt) {
	h.t.Helper()
	if err := tenancy.Commit(h.inside[id], stmts...); err != nil {
		h.t.Fatal(err)
	}
}

// begin stores a login under way in the tenant, as /authorize does.
func (h *house) begin(id string, alter ...func(*tenancy.LoginSession)) {
	h.t.Helper()
	ls := &tenancy.LoginSession{
		Row: tenancy.Row{ID: tenancy.HashToken(state)}, BrowserHash: tenancy.HashToken(browser),
		ClientID: clientID, Request: map[string]string{"redirect_uri": "https://app.example.com/callback"},
		ExpiresAt: tenancy.At(h.now.Add(time.Hour)),
	}
	for _, f := range alter {
		f(ls)
	}
	h.commit(id, tenancy.LoginSessions.Insert(h.inside[id], ls))
}

// session reads the login under way.
func (h *house) session(id string) *tenancy.LoginSession {
	h.t.Helper()
	ls, err := tenancy.LoginSessions.Get(h.inside[id], tenancy.HashToken(state))
	if err != nil {
		h.t.Fatal(err)
	}
	return ls
}

// call is a request to the pages of one tenant; its zero value with To set is a
// GET from the browser that began the login.
type call struct {
	to       string // path and query; the state is added
	method   string // default GET, or POST where form is set
	form     url.Values
	body     io.Reader // instead of form
	header   http.Header
	noCookie bool
	noState  bool
}

func (h *house) do(id string, c call) *httptest.ResponseRecorder {
	h.t.Helper()
	target := c.to
	if !c.noState {
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + "state=" + state
	}
	if c.method == "" {
		c.method = http.MethodGet
		if c.form != nil || c.body != nil {
			c.method = http.MethodPost
		}
	}
	if c.form != nil {
		c.body = strings.NewReader(c.form.Encode())
	}
	r := httptest.NewRequestWithContext(h.inside[id], c.method, "https://"+id+".auth.example.com:8443"+target, c.body)
	if c.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if !c.noCookie {
		r.AddCookie(&http.Cookie{Name: "__Host-gh_flow", Value: browser})
	}
	for name, values := range c.header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.pages.ServeHTTP(w, r)
	return w
}

// post submits a screen's form as a browser does.
func (h *house) post(id, path string, fields ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	form := url.Values{"state": {state}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return h.do(id, call{to: path, form: form, header: http.Header{"Origin": {"https://" + id + ".auth.example.com:8443"}}})
}

// wantPage fails the test unless the answer is a page with the status and text.
func wantPage(t *testing.T, w *httptest.ResponseRecorder, status int, text string) {
	t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		t.Errorf("answer = %d, want %d with %q:\n%s", w.Code, status, text, w.Body)
	}
}

// wantResume fails the test unless the answer leads to the dispatcher.
func wantResume(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if want := "/authorize/resume?state=" + state; w.Code != http.StatusFound || w.Header().Get("Location") != want {
		t.Errorf("answer = %d to %q, want 302 to %q:\n%s", w.Code, w.Header().Get("Location"), want, w.Body)
	}
}

// kinds are the types of the events so far, which are forgotten.
func (h *house) kinds() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []string
	for _, e := range h.events {
		list = append(list, e.Type)
	}
	h.events = nil
	return strings.Join(list, " ")
}

// headings finds what a page is about.
var heading = regexp.MustCompile(`<h1>(.*?)</h1>`)

func headingOf(w *httptest.ResponseRecorder) string {
	if m := heading.FindStringSubmatch(w.Body.String()); m != nil {
		return m[1]
	}
	return ""
}

// directive returns one directive of the answer's policy.
func directive(w *httptest.ResponseRecorder, name string) string {
	for part := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
		if value, ok := strings.CutPrefix(part, name+" "); ok {
			return value
		}
	}
	return ""
}

// request makes a request inside the tenant, from no particular browser.
func (h *house) request(id, target string) *http.Request {
	return httptest.NewRequestWithContext(h.inside[id], http.MethodGet, "https://"+id+".auth.example.com:8443"+target, nil)
}

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// step is a screen's view of the login under way.
func (h *house) step(id string) *step {
	h.t.Helper()
	r := h.request(id, "/u/login?state="+state)
	r.AddCookie(&http.Cookie{Name: "__Host-gh_flow", Value: browser})
	s, err := h.pages.begin(newRecorder(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// signUp posts a JSON body to the sign-up endpoint.
func (h *house) signUp(id, body string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(id, call{
		to: signupPath, body: strings.NewReader(body), noState: true, noCookie: true,
		header: http.Header{"Content-Type": {"application/json"}},
	})
}
