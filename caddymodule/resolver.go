package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(CustomDomainResolver))
	caddy.RegisterModule(new(SubdomainResolver))
	caddy.RegisterModule(new(HeaderResolver))
	caddy.RegisterModule(new(MapResolver))
}

// resolverNamespace holds the guest modules that say whose host a host is.
const resolverNamespace = "gatehouse.resolvers"

// ResolverModule is a guest module in the namespace gatehouse.resolvers. One of a
// third party is such a module in its own repository.
type ResolverModule interface {
	// Resolver returns what this configuration describes. It is called once, after
	// the module was provisioned. The resolver outlives the module, as a provider
	// does, see [DatabaseModule].
	Resolver() (tenancy.HostResolver, error)
}

// loadResolvers loads the modules.
func (a *App) loadResolvers(ctx caddy.Context) error {
	if len(a.Resolve) == 0 {
		return nil
	}
	written := a.Resolve // loading takes it out of the field, and key wants it
	modules, err := ctx.LoadModule(a, "Resolve")
	if err != nil {
		return fmt.Errorf("resolve: %w", err)
	}
	a.Resolve = written
	for _, module := range modules.([]any) {
		m, ok := module.(ResolverModule)
		if !ok {
			return fmt.Errorf("resolve: %T is no resolver", module)
		}
		r, err := m.Resolver()
		if err != nil {
			return fmt.Errorf("resolve: %w", err)
		}
		a.resolvers = append(a.resolvers, r)
	}
	return nil
}

// parseResolve reads
//
//	resolve <resolvers...>
//
// or, for those that have options, which the modules read themselves:
//
//	resolve {
//		<resolver> ...
//	}
func (a *App) parseResolve(d *caddyfile.Dispenser) error {
	var names []string
	if d.CountRemainingArgs() > 0 {
		if err := list(&names)(d); err != nil {
			return err
		}
		for _, name := range names {
			alone := caddyfile.NewDispenser([]caddyfile.Token{{File: d.File(), Line: d.Line(), Text: name}})
			alone.Next()
			if err := a.addResolver(alone, name); err != nil {
				return err
			}
		}
		return noBlock(d)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if slices.Contains(names, name) {
			return d.Errf("'resolve' names '%s' twice", name)
		}
		names = append(names, name)
		if err := a.addResolver(d, name); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return d.Err("'resolve' takes one resolver or more, for instance: resolve custom_domain subdomain")
	}
	return nil
}

// addResolver reads a resolver whose name is the current token.
func (a *App) addResolver(d *caddyfile.Dispenser, name string) error {
	module, err := caddyfile.UnmarshalModule(d, resolverNamespace+"."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(ResolverModule); !ok {
		return d.Errf("module %s.%s is no resolver", resolverNamespace, name)
	}
	a.Resolve = append(a.Resolve, caddyconfig.JSONModuleObject(module, "resolver", name, nil))
	return nil
}

// CustomDomainResolver resolves tenants' own domains that are ready.
type CustomDomainResolver struct{}

// CaddyModule implements [caddy.Module].
func (*CustomDomainResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: resolverNamespace + ".custom_domain", New: func() caddy.Module { return new(CustomDomainResolver) }}
}

// Resolver implements [ResolverModule].
func (*CustomDomainResolver) Resolver() (tenancy.HostResolver, error) {
	return tenancy.CustomDomainResolver, nil
}

// UnmarshalCaddyfile reads
//
//	custom_domain
func (*CustomDomainResolver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return bare(d)
}

// SubdomainResolver resolves labels below the base domain: tenants' ids, reserved
// labels, and further labels of tenants.
type SubdomainResolver struct{}

// CaddyModule implements [caddy.Module].
func (*SubdomainResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: resolverNamespace + ".subdomain", New: func() caddy.Module { return new(SubdomainResolver) }}
}

// Resolver implements [ResolverModule].
func (*SubdomainResolver) Resolver() (tenancy.HostResolver, error) {
	return tenancy.SubdomainResolver, nil
}

// UnmarshalCaddyfile reads
//
//	subdomain
func (*SubdomainResolver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// HeaderResolver resolves what a proxy in front says that is among Caddy's
// trusted_proxies. The header of anybody else has no effect. The tenant's URLs are
// those of its primary host then.
type HeaderResolver struct {
	// The header with the tenant's id. Default: Gatehouse-Tenant.
	Name string `json:"name,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*HeaderResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: resolverNamespace + ".header", New: func() caddy.Module { return new(HeaderResolver) }}
}

// Resolver implements [ResolverModule].
func (h *HeaderResolver) Resolver() (tenancy.HostResolver, error) {
	name := cmp.Or(h.Name, "Gatehouse-Tenant")
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return nil, fmt.Errorf("header: %q can be no header's name", name)
	case http.CanonicalHeaderKey(name) == "Tenant-Id", http.CanonicalHeaderKey(name) == "X-Tenant-Id": // C1.14
		return nil, fmt.Errorf("header: %s says which tenant the management API acts on; take another name", name)
	}
	return tenancy.NamedByHeader(http.CanonicalHeaderKey(name)), nil
}

// UnmarshalCaddyfile reads
//
//	header [<name>]
func (h *HeaderResolver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // header
	if d.CountRemainingArgs() > 0 {
		if err := text(&h.Name)(d); err != nil {
			return err
		}
	}
	return noBlock(d)
}

// MapResolver resolves hosts that are written out, and patterns of hosts with a
// tenant's id in them.
type MapResolver struct {
	// Host to tenant id. A host with {tenant} in one of its labels is of the tenant
	// with that id; the value then is {tenant} too.
	Hosts map[string]string `json:"hosts,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*MapResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: resolverNamespace + ".map", New: func() caddy.Module { return new(MapResolver) }}
}

// Resolver implements [ResolverModule].
func (m *MapResolver) Resolver() (tenancy.HostResolver, error) {
	if len(m.Hosts) == 0 {
		return nil, errors.New("map: has no hosts; write for instance: map { app.{tenant}.auth.example.com {tenant} }")
	}
	return tenancy.NewHostMap(m.Hosts)
}

// UnmarshalCaddyfile reads
//
//	map {
//		<host>                <tenant id>
//		<host with {tenant}>  [{tenant}]
//	}
func (m *MapResolver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // map
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'map'; each host stands in a line of its block", d.Val())
	}
	m.Hosts = make(map[string]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		host, tenant := d.Val(), tenancy.PlaceOfTenant
		if _, twice := m.Hosts[host]; twice {
			return d.Errf("'map' names '%s' twice", host)
		}
		if !strings.Contains(host, tenancy.PlaceOfTenant) || d.CountRemainingArgs() > 0 {
			if err := text(&tenant)(d); err != nil {
				return err
			}
		}
		m.Hosts[host] = tenant
	}
	if _, err := m.Resolver(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// bare reads a name without options.
func bare(d *caddyfile.Dispenser) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		return d.Errf("unexpected '%s' after '%s', which has no options", d.Val(), name)
	}
	return noBlock(d)
}

// Interface guards
var (
	_ ResolverModule        = (*CustomDomainResolver)(nil)
	_ ResolverModule        = (*SubdomainResolver)(nil)
	_ ResolverModule        = (*HeaderResolver)(nil)
	_ ResolverModule        = (*MapResolver)(nil)
	_ caddyfile.Unmarshaler = (*CustomDomainResolver)(nil)
	_ caddyfile.Unmarshaler = (*SubdomainResolver)(nil)
	_ caddyfile.Unmarshaler = (*HeaderResolver)(nil)
	_ caddyfile.Unmarshaler = (*MapResolver)(nil)
)
