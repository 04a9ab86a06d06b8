package libsql_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
)

// house is a pool over one provider.
type house struct {
	pool *tenancy.Pool
	ring *tenancy.Ring
}

func newHouse(t testing.TB, p tenancy.Provider) *house {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("a master secret for tests, 256 bits"))
	must(t, err)
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": p}, Master: ring})
	must(t, err)
	t.Cleanup(func() { must(t, pool.Close(context.Background())) })
	return &house{pool, ring}
}

// tenant creates a tenant and returns a context inside until the test ends.
func (h *house) tenant(t testing.TB, id string) context.Context {
	t.Helper()
	x := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: h.ring.NewDataKey(id)}
	must(t, h.pool.Create(t.Context(), x))
	ctx, leave, err := h.pool.Enter(t.Context(), x)
	must(t, err)
	t.Cleanup(leave)
	return ctx
}

func client(id, name string) *tenancy.Client {
	return &tenancy.Client{Row: tenancy.Row{ID: id}, Name: name}
}

// proxy stands before a server and does with requests what the test wants.
type proxy struct {
	*httptest.Server
	way atomic.Pointer[func(w http.ResponseWriter, r *http.Request, forward http.Handler)]
}

func newProxy(t testing.TB, s *sqldtest.Server) *proxy {
	t.Helper()
	target, err := url.Parse(s.URL)
	must(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	p := new(proxy)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if way := p.way.Load(); way != nil {
			(*way)(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) set(way func(w http.ResponseWriter, r *http.Request, forward http.Handler)) {
	p.way.Store(&way)
}

// over returns a provider that reaches the databases through the proxy.
func (p *proxy) over(t testing.TB, s *sqldtest.Server) *libsql.Provider {
	x := over(t, s)
	x.URL = p.URL
	return x
}

// cut answers with the first half of what the server said.
func cut(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	whole := httptest.NewRecorder()
	forward.ServeHTTP(whole, r)
	w.Header().Set("Content-Length", fmt.Sprint(whole.Body.Len()))
	w.WriteHeader(whole.Code)
	_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	panic(http.ErrAbortHandler)
}

// admin sends a request to sqld's admin API.
func admin(t testing.TB, s *sqldtest.Server, path string) {
	t.Helper()
	res, err := http.Post(s.Admin+"/v1/namespaces/"+path, "application/json", bytes.NewReader([]byte("{}")))
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
}

// execute sends a statement to a namespace.
func execute(t testing.TB, s *sqldtest.Server, namespace, statement string) {
	t.Helper()
	body := fmt.Sprintf(`{"requests":[{"type":"execute","stmt":{"sql":%q}},{"type":"close"}]}`, statement)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v2/pipeline", bytes.NewReader([]byte(body)))
	must(t, err)
	req.Host = namespace + ".test"
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", statement, res.Status)
	}
}
