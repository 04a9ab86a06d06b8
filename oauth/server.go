package oauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Config is what a [Server] depends on. The zero value works.
type Config struct {
	// Recorder is told what happens to tenants. Nil means nobody is.
	Recorder tenancy.Recorder

	// Login is the path of the hosted login page. Default "/u/login".
	Login string

	// Now is the clock by which expiry is judged. Default time.Now.
	Now func() time.Time

	// Keys makes and keeps the tenants' signing keys. Default: a [Keyring]
	// without a reservoir.
	Keys *Keyring

	// Issuers returns the active issuers of the entered tenant, with their
	// trailing slashes, besides the one of the visited host (contract C1.12).
	// Nil means there are none.
	Issuers func(context.Context) []string

	// Limit counts a request of a client of the entered tenant that proved who it
	// is, tells the headers what is left, and returns an [tenancy.Error] with status
	// 429 for one too many. Nil counts nothing.
	Limit func(ctx context.Context, h http.Header, client string) error

	// Client reads what clients publish at addresses of their choice, as in
	// jwks_uri. Nil means that they cannot name any.
	Client HTTPClient

	// Log receives faults, once each. Default slog.Default().
	Log *slog.Logger
}

// Server answers the protocol endpoints of every tenant. It is safe for
// concurrent use and holds nothing of a request.
type Server struct {
	recorder tenancy.Recorder
	login    string
	now      func() time.Time
	keys     *Keyring
	issuers  func(context.Context) []string
	limit    func(ctx context.Context, h http.Header, client string) error
	log      *slog.Logger

	routes   map[string]route
	provider *provider
	verified *verifiedTokens
	web      *clientWeb
}

// New makes a server.
func New(c Config) (*Server, error) {
	s := &Server{
		recorder: c.Recorder, login: c.Login, now: c.Now, keys: c.Keys, issuers: c.Issuers, limit: c.Limit, log: c.Log,
		verified: newVerifiedTokens(),
	}
	if s.recorder == nil {
		s.recorder = tenancy.Recorders{}
	}
	if s.login == "" {
		s.login = "/u/login"
	}
	if !strings.HasPrefix(s.login, "/") {
		return nil, fmt.Errorf("login page %q is not a path", s.login)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.keys == nil {
		s.keys = &Keyring{Now: s.now}
	}
	if err := s.keys.check(); err != nil {
		return nil, err
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.web = newClientWeb(c.Client, s.now)
	s.provider = newProvider(s)
	s.routes = s.table()
	return s, nil
}

// route is one path of the protocol and what is done there. GET implies HEAD.
type route struct {
	methods []string
	cors    corsRule
	handle  func(http.ResponseWriter, *http.Request) error

	// suspended routes answer for suspended tenants too, so that tokens issued
	// before stay verifiable (contract C1.19).
	suspended bool

	// refuse writes an error where people look at it. Nil means as JSON, in
	// envelope A (contract C0.3).
	refuse func(http.ResponseWriter, *http.Request, error)
}

// table is every path this package answers (contract 4.1).
func (s *Server) table() map[string]route {
	get, post, both := []string{http.MethodGet}, []string{http.MethodPost}, []string{http.MethodGet, http.MethodPost}
	return map[string]route{
		"/authorize":        {methods: both, handle: s.authorize, refuse: s.failPage},
		"/authorize/resume": {methods: get, handle: s.resume, refuse: s.failPage},
		"/userinfo":         {methods: both, cors: corsClients, handle: s.userinfo},
		"/v2/logout":        {methods: get, handle: s.logout, refuse: s.failPage},
		"/oidc/logout":      {methods: both, handle: s.oidcLogout, refuse: s.failPage},

		"/oauth/token":  {methods: post, cors: corsClients, handle: s.token},
		"/oauth/revoke": {methods: post, cors: corsClients, handle: s.revoke},

		pathDevice:          {methods: post, cors: corsClients, handle: s.device},
		pathPush:            {methods: post, handle: s.push},
		"/oauth/introspect": {methods: post, handle: s.introspect},

		pathRegister: {methods: post, handle: s.register},
		pathClient:   {methods: []string{http.MethodGet, http.MethodPut, http.MethodDelete}, handle: s.clientConfiguration},

		"/.well-known/openid-configuration":       {methods: get, cors: corsAnyone, handle: s.discovery, suspended: true},
		"/.well-known/oauth-authorization-server": {methods: get, cors: corsAnyone, handle: s.discovery, suspended: true},
		"/.well-known/jwks.json":                  {methods: get, cors: corsAnyone, handle: s.jwks, suspended: true},
	}
}

// Handles reports whether the path, as in URL.Path, is one of this package's.
func (s *Server) Handles(path string) bool {
	_, ok := s.route(path)
	return ok
}

// route finds what a path is for. There is one kind that has a name in it.
func (s *Server) route(path string) (route, bool) {
	if id, found := strings.CutPrefix(path, pathClient); found {
		return s.routes[pathClient], id != "" && !strings.Contains(id, "/")
	}
	rt, ok := s.routes[path]
	return rt, ok
}

// Header values that nearly every answer has, made once. They are as long as
// their capacity, so that adding to a header leaves them alone.
var (
	noStore  = []string{"no-store"}
	noCache  = []string{"no-cache"}
	typeJSON = []string{"application/json"}
	byOrigin = []string{"Origin"}
)

// maxBody is the largest request body that is read, in bytes (contract C0.6).
const maxBody = 1 << 20

// ServeHTTP answers a request whose context is inside a tenant and carries a
// [tenancy.Visit].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if id := tenancy.VisitOf(r.Context()).RequestID; id != "" {
		h["X-Request-Id"] = []string{id} // contract C0.8
	}
	path, ok := routePath(r.URL)
	rt, known := s.route(path)
	if !ok || !known {
		s.fail(w, r, refusal(http.StatusNotFound, "not_found", "Not Found"))
		return
	}
	h["Cache-Control"] = noStore // contract C0.5; documents that may be cached say so
	if r.Method == http.MethodHead {
		w = bodiless{w}
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	defer s.recovered(w, r, rt)
	if err := s.dispatch(rt, w, r); err != nil {
		s.refuse(w, r, rt, err)
	}
}

func (s *Server) dispatch(rt route, w http.ResponseWriter, r *http.Request) error {
	tenant, err := tenancy.Current(r.Context())
	if err != nil {
		return err
	}
	if err := s.allowOrigin(rt, w, r); err != nil {
		return err
	}
	allowed := rt.allowed()
	switch {
	case r.Method == http.MethodOptions: // CORS only, never reaches a handler (contract C0.7)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		w.WriteHeader(http.StatusNoContent)
		return nil
	case !slices.Contains(allowed, r.Method):
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return refusal(http.StatusMethodNotAllowed, "method_not_allowed", "Method Not Allowed")
	}
	if err := serves(tenant, rt.suspended); err != nil {
		return err
	}
	return rt.handle(w, r)
}

// serves refuses for a tenant that does not answer now (contract 1.3).
func serves(t *tenancy.Tenant, suspended bool) error {
	switch {
	case t.Serves(), t.State == tenancy.StateSuspended && suspended:
		return nil
	case t.State == tenancy.StateSuspended:
		return refusal(http.StatusForbidden, "access_denied", "Tenant is suspended")
	}
	return tenancy.Unavailable(fmt.Errorf("tenant %s is %s", t.ID, t.State), "")
}

// allowed is the methods of the route, GET's HEAD among them.
func (rt route) allowed() []string {
	if slices.Contains(rt.methods, http.MethodGet) {
		return append([]string{http.MethodGet, http.MethodHead}, rt.methods[1:]...)
	}
	return rt.methods
}

// refuse answers with an error, where the route has people as JSON or as a page.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, rt route, err error) {
	if rt.refuse != nil {
		rt.refuse(w, r, err)
		return
	}
	s.fail(w, r, err)
}

// recovered turns a panic into the answer to a fault (contract C0.4).
func (s *Server) recovered(w http.ResponseWriter, r *http.Request, rt route) {
	switch fault := recover(); fault {
	case nil:
	case http.ErrAbortHandler:
		panic(fault) // net/http's own signal to drop the connection
	default:
		s.refuse(w, r, rt, fmt.Errorf("panic: %v\n%s", fault, debug.Stack()))
	}
}

// routePath is the path in which percent-encoding was decoded once per segment;
// false where a segment hides a slash (contract C0.7).
func routePath(u *url.URL) (string, bool) {
	if u.RawPath == "" {
		return u.Path, true
	}
	segments := strings.Split(u.RawPath, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil || strings.Contains(decoded, "/") {
			return "", false
		}
		segments[i] = decoded
	}
	return strings.Join(segments, "/"), true
}

// bodiless drops the body, for HEAD: every check of GET has run by then
// (contract C0.7).
type bodiless struct{ http.ResponseWriter }

// Write implements http.ResponseWriter.
func (bodiless) Write(b []byte) (int, error) { return len(b), nil }

// Unwrap lets http.ResponseController reach the connection.
func (b bodiless) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// record notes an event of the visit.
func (s *Server) record(ctx context.Context, e tenancy.Event) {
	v := tenancy.VisitOf(ctx)
	e.Date, e.IP, e.UserAgent, e.Hostname = tenancy.At(s.now()), v.ClientIP, v.UserAgent, v.Host
	s.recorder.Record(ctx, e)
}

// Interface guards
var _ http.Handler = (*Server)(nil)
