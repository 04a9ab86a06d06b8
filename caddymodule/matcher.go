package caddymodule

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(MatchTenant))
}

// MatchTenant matches requests to the host of a tenant. It also sets, whether it
// matches or not, the placeholders
//
//	{http.tenant.id}
//	{http.tenant.name}             its friendly name
//	{http.tenant.organization_id}  the control plane's organization linked to it
//	{http.tenant.state}
//
// which are empty where the host is no tenant's.
type MatchTenant struct {
	// Only these tenants. Default: all.
	ID []string `json:"id,omitempty"`

	// Only tenants in these states, e.g. "active". Default: every state in which
	// a tenant's host is known.
	State []string `json:"state,omitempty"`

	runtime *runtime
}

// CaddyModule implements [caddy.Module].
func (*MatchTenant) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.tenant", New: func() caddy.Module { return new(MatchTenant) }}
}

// Provision implements [caddy.Provisioner].
func (m *MatchTenant) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	for _, s := range m.State {
		if !slices.Contains([]tenancy.State{tenancy.StateProvisioning, tenancy.StateActive, tenancy.StateSuspended, tenancy.StateFailed}, tenancy.State(s)) {
			return fmt.Errorf("state: a tenant with a host is provisioning, active, suspended or failed, not %q", s)
		}
	}
	m.runtime = app.runtime
	return nil
}

// MatchWithError implements [caddyhttp.RequestMatcherWithError]. While it cannot
// be known, the error is answered with 503: a request is neither let through nor
// turned away by mistake.
func (m *MatchTenant) MatchWithError(r *http.Request) (bool, error) {
	s, leave, err := m.runtime.visit(r.Context())
	if err != nil {
		return false, caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	defer leave()
	t := s.tenantOf(r)
	describe(r, t)
	return t != nil &&
		(len(m.ID) == 0 || slices.Contains(m.ID, t.ID)) &&
		(len(m.State) == 0 || slices.Contains(m.State, string(t.State))), nil
}

// tenantOf returns the tenant of a request's host, or nil.
func (s *services) tenantOf(r *http.Request) *tenancy.Tenant {
	visit, err := visitOf(r, s.directory.Hosts(), 0, "")
	if err != nil {
		return nil
	}
	return existing(s.named(r, visit))
}

// named returns the tenant that a request names: by its host, or by what a trusted
// proxy says where the configuration asks for that. Then the visit's issuer is the
// tenant's primary one, because the host is not known to be its own.
func (s *services) named(r *http.Request, visit *tenancy.Visit) (*tenancy.Tenant, bool) {
	if !fromTrustedProxy(r) {
		return s.directory.ByHost(visit.Host)
	}
	t, byHeader, ok := s.directory.ByRequest(visit.Host, r.Header)
	if ok && byHeader {
		visit.Issuer = s.issuersOf(t)[0]
	}
	return t, ok
}

// describe tells the access log and placeholders of the tenant; nil is none.
func describe(r *http.Request, t *tenancy.Tenant) {
	if t == nil {
		t = new(tenancy.Tenant)
	}
	if said := toldOf(r, "http.tenant."); said != nil {
		said.tenant = t
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("tenant", t.ID))
	}
}

// UnmarshalCaddyfile reads
//
//	tenant [<ids...>] {
//		id    <ids...>
//		state <states...>
//	}
func (m *MatchTenant) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() { // once for every line of a named matcher
		var first, ids, states []string
		if d.CountRemainingArgs() > 0 {
			if err := list(&first)(d); err != nil {
				return err
			}
		}
		if err := (words{"id": list(&ids), "state": list(&states)}).block(d, "tenant"); err != nil {
			return err
		}
		if len(first) > 0 && len(ids) > 0 {
			return d.Errf("'tenant' has ids behind it and in its block; name them in one place")
		}
		m.ID, m.State = slices.Concat(m.ID, first, ids), slices.Concat(m.State, states)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module                      = (*MatchTenant)(nil)
	_ caddy.Provisioner                 = (*MatchTenant)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchTenant)(nil)
	_ caddyfile.Unmarshaler             = (*MatchTenant)(nil)
)
