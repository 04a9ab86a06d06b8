package caddymodule

import (
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/oauth/login"
	"github.com/gatehouse-id/gatehouse/oauth/upstream"
)

// Connections says how people log in through identity providers elsewhere.
type Connections struct {
	// Whether a login with credentials that a tenant inherits comes back to the
	// control plane's /login/callback, which sends it on to the tenant: for
	// providers where only that address is registered. Default: false; each tenant's
	// own is used.
	SharedCallback *bool `json:"shared_callback,omitempty"`
}

// UnmarshalCaddyfile reads
//
//	connections {
//		shared_callback [on|off]
//	}
func (c *Connections) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'connections'", d.Val())
	}
	return words{
		"shared_callback": toggle(&c.SharedCallback),
		"allow_private": func(d *caddyfile.Dispenser) error {
			return d.Err("connections have no 'allow_private'; name the networks that providers are in, beside 'connections': private_networks 10.1.0.0/16")
		},
	}.block(d, "connections")
}

// newUpstream makes what logs people in through providers elsewhere, which may be
// in the networks that are named besides the internet.
func (s *services) newUpstream(c *Connections, named []netip.Prefix, controlPlane string) *login.Upstream {
	if c == nil {
		c = new(Connections)
	}
	u := &login.Upstream{Client: upstream.NewClient(named), IssuerOf: func(id string) string {
		t, ok := s.directory.ByID(id)
		if !ok || !t.Serves() {
			return ""
		}
		if list := s.issuersOf(t); len(list) > 0 {
			return list[0]
		}
		return ""
	}}
	if isTrue(c.SharedCallback) {
		u.Shared = strings.TrimSuffix(controlPlane, "/") + "/login/callback"
	}
	return u
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Connections)(nil)
