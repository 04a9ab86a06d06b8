package caddymodule

import (
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

	// Whether providers may be at addresses that are not public, and without TLS.
	// Default: false.
	AllowPrivate *bool `json:"allow_private,omitempty"`
}

// UnmarshalCaddyfile reads
//
//	connections {
//		shared_callback [on|off]
//		allow_private   [on|off]
//	}
func (c *Connections) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'connections'", d.Val())
	}
	return words{"shared_callback": toggle(&c.SharedCallback), "allow_private": toggle(&c.AllowPrivate)}.block(d, "connections")
}

// newUpstream makes what logs people in through providers elsewhere. like are the
// issuers this installation may be reached under.
func (s *services) newUpstream(c *Connections, controlPlane string) *login.Upstream {
	if c == nil {
		c = new(Connections)
	}
	u := &login.Upstream{Client: upstream.NewClient(isTrue(c.AllowPrivate)), IssuerOf: func(id string) string {
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
