package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// hookNamespace holds the guest modules that are hooks.
const hookNamespace = "gatehouse.hooks"

// HookModule is a guest module in the namespace gatehouse.hooks: a hook that is
// built into the gateway.
type HookModule interface {
	// Hook returns what is asked before tenants are created, changed and
	// deleted. It is called once, after the module was provisioned. The hook
	// outlives the module, as a provider does, see [DatabaseModule].
	Hook() (tenancy.Hook, error)
}

// Hook is either a webhook or a module that is built in.
type Hook struct {
	// Where to POST what happened. It is HTTPS, unless allow_private is set.
	URL string `json:"url,omitempty"`

	// The types of events to tell of. Default: all.
	Events []string `json:"events,omitempty"`

	// Signs the requests. Required for a URL, with at least 16 characters.
	Secret string `json:"secret,omitempty"`

	// Whether addresses that are not public may be connected to. Default: false.
	AllowPrivate bool `json:"allow_private,omitempty"`

	// A hook that is built in, in place of a URL.
	Raw json.RawMessage `json:"module,omitempty" caddy:"namespace=gatehouse.hooks inline_key=hook"`

	module HookModule
}

// UnmarshalCaddyfile reads
//
//	hook <url> {
//		events        <types...>
//		secret        <secret>
//		allow_private
//	}
//
// or `hook <module> ...`, what stands behind the name being read by the module
// gatehouse.hooks.<module>.
func (h *Hook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("'hook' takes an address or the name of a module, for instance: hook https://ops.example.com/in { secret {env.HOOK_SECRET} }")
	}
	name := d.Val()
	if !strings.Contains(name, "/") && !strings.Contains(name, "{") {
		module, err := caddyfile.UnmarshalModule(d, hookNamespace+"."+name)
		if err != nil {
			return err
		}
		if _, ok := module.(HookModule); !ok {
			return d.Errf("module %s.%s is no hook", hookNamespace, name)
		}
		h.Raw = caddyconfig.JSONModuleObject(module, "hook", name, nil)
		return nil
	}
	h.URL = name
	if d.NextArg() {
		return d.Errf("unexpected '%s' after the address of 'hook'; its options stand in a block", d.Val())
	}
	return words{
		"events": list(&h.Events),
		"secret": text(&h.Secret),
		"allow_private": func(d *caddyfile.Dispenser) error {
			h.AllowPrivate = true
			return texts()(d)
		},
	}.block(d, "hook")
}

// check says what is wrong with the hook, each with the word to change.
func (h *Hook) check() error {
	if h.Raw != nil {
		if h.URL != "" || h.Secret != "" || len(h.Events) > 0 || h.AllowPrivate {
			return fmt.Errorf("hook: a module has none of the options of an address")
		}
		return nil
	}
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
		return fmt.Errorf("hook: %q is no address such as https://ops.example.com/in", h.URL)
	case u.Scheme == "http" && !h.AllowPrivate:
		return fmt.Errorf("hook: %s is not HTTPS; only a hook with allow_private may be HTTP", u.Host)
	case len(h.Secret) < 16:
		return fmt.Errorf("hook: %s needs a secret of at least 16 characters; make one with: openssl rand -hex 32", u.Host)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !h.AllowPrivate && !webhook.Public(a) {
		return fmt.Errorf("hook: %s is not a public address; if it is meant, add: allow_private", u.Host)
	}
	for _, e := range h.Events {
		if !slices.Contains(tenancy.NoticeTypes, e) {
			return fmt.Errorf("hook: events: unknown type %q; there are %s", e, strings.Join(tenancy.NoticeTypes, ", "))
		}
	}
	return nil
}

// loadHooks loads the modules among the hooks.
func (a *App) loadHooks(ctx caddy.Context) error {
	seen := map[string]bool{}
	for _, h := range a.Hooks {
		if h.URL != "" && seen[h.URL] {
			return fmt.Errorf("hook: %s is given twice", h.URL)
		}
		seen[h.URL] = true
		if h.Raw == nil {
			continue
		}
		written := h.Raw // loading takes it out of the field, and key wants it
		module, err := ctx.LoadModule(h, "Raw")
		if err != nil {
			return fmt.Errorf("hook: %w", err)
		}
		m, ok := module.(HookModule)
		if !ok {
			return fmt.Errorf("hook: %T is no hook", module)
		}
		h.module, h.Raw = m, written
	}
	return nil
}

// builtIn are the hooks that are part of the program.
func (a *App) builtIn() ([]tenancy.Hook, error) {
	var list []tenancy.Hook
	for _, h := range a.Hooks {
		if h.module == nil {
			continue
		}
		hook, err := h.module.Hook()
		if err != nil {
			return nil, fmt.Errorf("hook: %w", err)
		}
		list = append(list, hook)
	}
	return list, nil
}

// endpoints are the webhooks.
func (a *App) endpoints() []webhook.Endpoint {
	var list []webhook.Endpoint
	for _, h := range a.Hooks {
		if h.module == nil {
			list = append(list, webhook.Endpoint{
				Subscription: tenancy.Subscription{URL: h.URL, Events: h.Events}, Secret: h.Secret, AllowPrivate: h.AllowPrivate,
			})
		}
	}
	return list
}

func (a *App) parseHook(d *caddyfile.Dispenser) error {
	h := new(Hook)
	if err := h.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	a.Hooks = append(a.Hooks, h)
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Hook)(nil)
