package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(TenantAuth))
	httpcaddyfile.RegisterHandlerDirective("tenant_auth", parseTenantAuth)
	// Where Caddy has its own authentication: after rewriting, before everything
	// that answers or that sets a request's headers.
	httpcaddyfile.RegisterDirectiveOrder("tenant_auth", httpcaddyfile.Before, "basic_auth")
}

// TenantAuth lets requests with a good access token of their tenant through, and
// answers all others by RFC 6750. A token is good where the tenant signed it, for
// one of the audiences, and it has neither expired nor been revoked, its session
// has not ended, and its user is not blocked and still belongs to the token's
// organization.
//
// For the handlers behind it, it sets the placeholders of the matcher `tenant` and
//
//	{http.auth.user.id}           the user, or <client_id>@clients
//	{http.auth.user.org_id}       empty for a token without organization
//	{http.auth.user.org_name}
//	{http.auth.user.scope}        separated by spaces
//	{http.auth.user.permissions}  separated by spaces
//	{http.auth.user.client_id}
//	{http.auth.user.tenant_id}
//
// With Login, a browser without a token is sent to log in at its tenant and comes
// back with a session. From every request it removes the headers X-User-Id, X-Org-Id, X-Org-Name,
// X-Scope, X-Permissions, X-Client-Id and X-Tenant-Id, which an upstream may take
// for the gateway's.
type TenantAuth struct {
	// What the token has to be for: one of these identifiers of APIs. Required.
	Audience []string `json:"audience,omitempty"`

	// Scopes that the token needs, all of them. Default: none.
	Scope []string `json:"scope,omitempty"`

	// Permissions that the token needs, all of them. Default: none.
	Permission []string `json:"permission,omitempty"`

	// "required": the token is for an organization. "off": it is for none. "any":
	// either. Otherwise the ids or names of organizations, one of which the token
	// is for. A name is the one that the token was issued with. Default: any.
	Organization []string `json:"organization,omitempty"`

	// A domain below which the first label is the tenant's: with api.example.com,
	// acme.api.example.com is of the tenant that acme.auth.example.com is. Default:
	// only the hosts that `gatehouse` serves are a tenant's.
	HostSuffix string `json:"host_suffix,omitempty"`

	// Only these tenants. Where there is just one, hosts that name no tenant are
	// its own. Default: all.
	Tenant []string `json:"tenant,omitempty"`

	// Whether on a host that names no tenant the token's issuer says whose it is.
	// Default: false, and such requests are answered with 404.
	Issuer *bool `json:"issuer,omitempty"`

	// Whether the headers that are removed are set anew, from the token. Default:
	// false.
	Forward *bool `json:"forward,omitempty"`

	// Gives browsers a session, so that a request needs no token. Default: none.
	Login *Login `json:"login,omitempty"`

	runtime *runtime
	port    int
	needed  string // Scope as in a challenge
}

// CaddyModule implements [caddy.Module].
func (*TenantAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tenant_auth", New: func() caddy.Module { return new(TenantAuth) }}
}

// Provision implements [caddy.Provisioner].
func (h *TenantAuth) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(h.resolve()...); err != nil {
		return err
	}
	h.runtime, h.port = app.runtime, app.Port
	return app.checkOnDemand(ctx)
}

// resolve replaces the placeholders and lists what is wrong. Errors begin with
// the word to change.
func (h *TenantAuth) resolve() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	replace := func(word string, list []string) {
		for i, text := range list {
			value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
			if err != nil {
				wrong("%s: %w", word, err)
			}
			list[i] = value
		}
	}
	suffix := []string{h.HostSuffix}
	replace("audience", h.Audience)
	replace("organization", h.Organization)
	replace("tenant", h.Tenant)
	if h.HostSuffix != "" {
		replace("host_suffix", suffix)
	}
	if h.HostSuffix = strings.ToLower(strings.Trim(suffix[0], ".")); h.HostSuffix != "" {
		if normal, err := tenancy.NormalizeHost(h.HostSuffix); err != nil || normal != h.HostSuffix {
			wrong("host_suffix: %q is not a domain name; give the bare name, without scheme, port or path", h.HostSuffix)
		}
	}
	if len(h.Audience) == 0 {
		wrong("audience: is missing; write for instance: audience https://api.example.com")
	}
	for word, list := range map[string][]string{"scope": h.Scope, "permission": h.Permission} {
		for _, value := range list {
			if !isScope(value) {
				wrong("%s: %q is no scope; it is one word without quotes or backslashes", word, value)
			}
		}
	}
	if h.Login != nil && h.Login.after() != localPath(h.Login.after()) {
		wrong("login: after_logout: %q is no path of this host", h.Login.AfterLogout)
	}
	h.needed = strings.Join(h.Scope, " ")
	return append(errs, h.resolveOrganization()...)
}

// isScope reports whether the text is a scope-token (RFC 6749 section 3.3).
func isScope(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

// Words of [TenantAuth.Organization] that are no organization's name where they
// stand alone.
const (
	organizationRequired = "required"
	organizationAny      = "any"
	organizationOff      = "off"
)

func (h *TenantAuth) resolveOrganization() (errs []error) {
	for i, name := range h.Organization {
		if tenancy.IsOrganizationID(name) {
			continue
		}
		lower := strings.ToLower(name) // C2.6
		h.Organization[i] = lower
		word := lower == organizationRequired || lower == organizationAny || lower == organizationOff
		switch {
		case word && len(h.Organization) > 1:
			errs = append(errs, fmt.Errorf("organization: %q stands alone; name an organization that is called so by its id", lower))
		case !tenancy.ValidOrganizationName(lower):
			errs = append(errs, fmt.Errorf("organization: %q can be no organization's id or name", name))
		}
	}
	return errs
}

// parseTenantAuth reads the directive tenant_auth.
func parseTenantAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(TenantAuth)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads
//
//	tenant_auth [<matcher>] {
//		audience     <audiences...>
//		scope        <scopes...>
//		permission   <permissions...>
//		organization required | off | any | <ids or names...>
//		host_suffix  <domain>
//		tenant       <ids...>
//		issuer       [on|off]
//		forward      [on|off]
//		login {
//			after_logout <path>
//		}
//	}
func (h *TenantAuth) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // tenant_auth
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'tenant_auth'; its options stand in a block", d.Val())
	}
	return words{
		"audience":     list(&h.Audience),
		"scope":        list(&h.Scope),
		"permission":   list(&h.Permission),
		"organization": list(&h.Organization),
		"host_suffix":  text(&h.HostSuffix),
		"tenant":       list(&h.Tenant),
		"issuer":       toggle(&h.Issuer),
		"forward":      toggle(&h.Forward),
		"login":        nested(&h.Login),
	}.block(d, "tenant_auth")
}

func isTrue(b *bool) bool { return b != nil && *b }

// serves reports whether the tenant is among those that are let in.
func (h *TenantAuth) serves(t *tenancy.Tenant) bool {
	return len(h.Tenant) == 0 || slices.Contains(h.Tenant, t.ID)
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler].
func (h *TenantAuth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	removeIdentity(r.Header)
	t, claims, to, refused := h.check(r)
	describe(r, t)
	describeUser(r, claims)
	if refused != nil {
		observeCheck(refused.status)
		w.Header().Set("X-Request-Id", requestID(r)) // C0.8
		refused.answer(w, r)
		return nil
	}
	if to != nil {
		observeCheck(http.StatusSeeOther)
		to.answer(w)
		return nil
	}
	observeCheck(http.StatusOK)
	if h.Login != nil {
		removeAppCookies(r.Header)
	}
	if isTrue(h.Forward) {
		addIdentity(r.Header, claims)
	}
	return next.ServeHTTP(w, r)
}

// Interface guards
var (
	_ caddy.Module                = (*TenantAuth)(nil)
	_ caddy.Provisioner           = (*TenantAuth)(nil)
	_ caddyhttp.MiddlewareHandler = (*TenantAuth)(nil)
	_ caddyfile.Unmarshaler       = (*TenantAuth)(nil)
)
