package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(Handler))
	httpcaddyfile.RegisterHandlerDirective("gatehouse", parseHandler)
	// After what changes requests and wraps responses, before what answers.
	httpcaddyfile.RegisterDirectiveOrder("gatehouse", httpcaddyfile.Before, "invoke")
}

// Handler serves the hosts of the tenants: the protocol endpoints, the hosted
// pages and the management API. A request to one of these hosts for another path
// goes to the next handler; one to any other host is answered with 404.
//
// It sets the placeholders of the matcher `tenant`.
type Handler struct {
	runtime *runtime
	port    int
}

// CaddyModule implements [caddy.Module].
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.gatehouse", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements [caddy.Provisioner].
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	h.runtime, h.port = app.runtime, app.Port
	return app.checkOnDemand(ctx)
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	began, id := time.Now(), requestID(r)
	w.Header().Set("X-Request-Id", id) // C0.8
	answer := caddyhttp.NewResponseRecorder(w, nil, nil)
	var t *tenancy.Tenant
	defer func() {
		h.recovered(recover(), answer, r, id)
		observeRequest(r.URL.Path, t, statusOf(answer, err), time.Since(began))
	}()
	s, leave, notReady := h.runtime.visit(r.Context())
	if notReady != nil {
		unavailable(id).answer(answer, r)
		return nil
	}
	defer leave()
	h.runtime.arrived.Add(1)
	if r.Header.Get("X-Forwarded-For") != "" && !fromTrustedProxy(r) {
		h.runtime.forwarded.Add(1)
	}
	var visit *tenancy.Visit
	var refused *refusal
	visit, t, refused = h.arrive(s, r, id)
	if refused != nil {
		refused.answer(answer, r)
		return nil
	}
	return h.serve(s, t, visit, answer, r, next)
}

// arrive finds the tenant of a request, or what the request is answered with.
func (h *Handler) arrive(s *services, r *http.Request, id string) (*tenancy.Visit, *tenancy.Tenant, *refusal) {
	visit, err := visitOf(r, s.directory.Hosts(), h.port, id)
	if err != nil {
		describe(r, nil)
		return nil, nil, &invalidHost
	}
	t, ok := s.named(r, visit)
	if !ok || t.State == tenancy.StateDeleting {
		describe(r, nil)
		return nil, nil, &unknownHost
	}
	describe(r, t)
	switch {
	case misdirected(r, t, func(host string) *tenancy.Tenant { return existing(s.directory.ByHost(host)) }):
		return nil, t, &wrongConnection
	case early(r) && !strings.HasPrefix(r.URL.Path, "/.well-known/"): // those are the same for everybody
		return nil, t, &tooEarly
	}
	return visit, t, nil
}

// serve hands the request, inside its tenant, to whoever answers its path.
func (h *Handler) serve(s *services, t *tenancy.Tenant, visit *tenancy.Visit, w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	endpoint := s.endpoint(r.URL.Path)
	if token, asked := strings.CutPrefix(r.URL.Path, tenancy.ProofPath); asked {
		endpoint = proofOf(s, visit.Host, token)
	}
	if endpoint == nil {
		return orNotFound(w, r, next)
	}
	if refused := s.refuses(t, r.URL.Path, visit.RequestID); refused != nil {
		refused.answer(w, r)
		return nil
	}
	if refused := s.limits(w.Header(), r, t, visit); refused != nil {
		refused.answer(w, r)
		return nil
	}
	inside, leave, err := s.pool.Enter(tenancy.WithVisit(r.Context(), visit), t)
	if err != nil {
		if r.Context().Err() == nil { // else the client gave up waiting
			h.runtime.log.Load().Error("tenant cannot be entered", zap.String("tenant", t.ID), zap.String("request", visit.RequestID), zap.Error(err))
		}
		unavailable(visit.RequestID).answer(w, r)
		return nil
	}
	defer leave()
	endpoint.ServeHTTP(w, r.WithContext(inside))
	return nil
}

// orNotFound asks the next handler, and answers where there is none: Caddy would
// say 200 with nothing in it.
func orNotFound(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := next.ServeHTTP(w, r); err != nil {
		return err
	}
	if unhandled, _ := caddyhttp.GetVar(r.Context(), "unhandled").(bool); unhandled {
		caddyhttp.SetVar(r.Context(), "unhandled", false)
		unknownPath.answer(w, r)
	}
	return nil
}

// recovered turns a panic into a logged fault, and into the answer to one where
// nothing was sent yet; otherwise the connection ends, so that no half of an
// answer is taken for a whole one.
func (h *Handler) recovered(fault any, w caddyhttp.ResponseRecorder, r *http.Request, id string) {
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { // net/http's own signal
		panic(fault)
	}
	h.runtime.log.Load().Error("request failed", zap.String("request", id), zap.String("error", fmt.Sprint("panic: ", fault)), zap.ByteString("stack", debug.Stack()))
	if w.Status() != 0 {
		panic(http.ErrAbortHandler)
	}
	failure(id).answer(w, r)
}

// statusOf is the status of an answer, also of one that Caddy makes of an error.
func statusOf(answer caddyhttp.ResponseRecorder, err error) int {
	var handled caddyhttp.HandlerError
	switch {
	case answer.Status() != 0:
		return answer.Status()
	case errors.As(err, &handled) && handled.StatusCode != 0:
		return handled.StatusCode
	case err != nil:
		return http.StatusInternalServerError
	}
	return http.StatusOK // what net/http sends
}

// requestID is Caddy's own id of the request, so that access logs can show it.
func requestID(r *http.Request) string {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if id, ok := repl.GetString("http.request.uuid"); ok {
			return id
		}
	}
	return tenancy.NewID("", 22)
}

// parseHandler reads the directive, which has no options:
//
//	gatehouse [<matcher>]
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive gatehouse.
func (*Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // gatehouse
	if d.NextArg() {
		return d.Errf("unexpected '%s': the directive gatehouse has no arguments; its options are global", d.Val())
	}
	return noBlock(d)
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
