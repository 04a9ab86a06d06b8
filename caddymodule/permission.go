package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(Permission))
}

// Permission lets certificates be obtained on demand for the hosts of tenants
// and of the control plane, and for no other name. It answers from memory, also
// while the control plane's database does not.
type Permission struct {
	runtime *runtime
}

// CaddyModule implements [caddy.Module].
func (*Permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.gatehouse", New: func() caddy.Module { return new(Permission) }}
}

// Provision implements [caddy.Provisioner].
func (p *Permission) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	p.runtime, app.permits = app.runtime, true
	return nil
}

// errOnDemand is why a configuration is refused that has certificates made on
// demand for whoever asks. Caddy refuses only some such configurations itself.
var errOnDemand = errors.New("certificates are made on demand, and not by Gatehouse's permission, so anybody could have them made for any name; add to the global options: on_demand_tls { permission gatehouse }")

// checkOnDemand refuses certificates on demand without the permission. The app tls
// is provisioned by then: http provisions it before its handlers.
func (a *App) checkOnDemand(ctx caddy.Context) error {
	loaded, err := ctx.AppIfConfigured("tls")
	if err != nil {
		return nil // no certificates at all
	}
	automatic, ok := loaded.(*caddytls.TLS)
	if !ok || a.permits || automatic.Automation == nil {
		return nil
	}
	if slices.ContainsFunc(automatic.Automation.Policies, func(p *caddytls.AutomationPolicy) bool { return p.OnDemand }) {
		return errOnDemand
	}
	return nil
}

// CertificateAllowed implements [caddytls.OnDemandPermission]: nil for a host of
// the control plane, of a tenant that exists, or that is a custom domain in status
// ready (contract C1.10). It is asked at
// every handshake for a name without a certificate in memory, by anybody.
func (p *Permission) CertificateAllowed(ctx context.Context, name string) error {
	s, leave, err := p.runtime.visit(ctx)
	if err != nil {
		return fmt.Errorf("whether %s is a tenant's cannot be told yet: %w", name, err)
	}
	defer leave()
	host, err := tenancy.NormalizeHost(name)
	if err != nil || host != name || !s.certifies(host) {
		return fmt.Errorf("%w: %s is no tenant's host", caddytls.ErrPermissionDenied, name)
	}
	return nil
}

// certifies reports whether a host gets a certificate of its own. A reserved
// label, which shows the control plane, does not: it has one only where there is
// a wildcard certificate.
func (s *services) certifies(host string) bool {
	t, ok := s.directory.ByHost(host)
	if !ok || t.State == tenancy.StateDeleting {
		return false
	}
	if d, ok := s.directory.DomainByHost(host); ok {
		return d.Type != tenancy.DomainSelfManaged
	}
	return issuerHost(s.directory.Hosts(), host) == host
}

// UnmarshalCaddyfile reads
//
//	permission gatehouse
func (*Permission) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // gatehouse
	if d.NextArg() {
		return d.Errf("unexpected '%s': the permission gatehouse has no arguments", d.Val())
	}
	return noBlock(d)
}

// Interface guards
var (
	_ caddy.Module                = (*Permission)(nil)
	_ caddy.Provisioner           = (*Permission)(nil)
	_ caddytls.OnDemandPermission = (*Permission)(nil)
	_ caddyfile.Unmarshaler       = (*Permission)(nil)
)
