package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/oauth"
)

// field is one thing that a token says.
type field struct {
	header, placeholder string
	value               func(*oauth.Claims) string
}

// identity is what upstreams are told of a token: the header and the placeholder
// of each value. The headers are in their canonical form.
var identity = []field{
	{"X-User-Id", "http.auth.user.id", func(c *oauth.Claims) string { return c.Subject }},
	{"X-Org-Id", "http.auth.user.org_id", func(c *oauth.Claims) string { return c.OrgID }},
	{"X-Org-Name", "http.auth.user.org_name", func(c *oauth.Claims) string { return c.OrgName }},
	{"X-Scope", "http.auth.user.scope", func(c *oauth.Claims) string { return c.Scope }},
	{"X-Permissions", "http.auth.user.permissions", func(c *oauth.Claims) string { return strings.Join(c.Permissions, " ") }},
	{"X-Client-Id", "http.auth.user.client_id", func(c *oauth.Claims) string { return c.ClientID }},
	{"X-Tenant-Id", "http.auth.user.tenant_id", func(c *oauth.Claims) string { return c.TenantID }},
}

// removeIdentity removes what a client says of itself in the headers of
// identity. It also takes them out of Connection: a proxy removes the headers
// that are named there, and would remove those that are set afterwards (RFC 9110
// section 7.6.1).
func removeIdentity(h http.Header) {
	for i := range identity {
		delete(h, identity[i].header)
	}
	if _, named := h["Connection"]; !named {
		return
	}
	var kept []string
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			if option = strings.TrimSpace(option); option != "" && !isIdentity(option) {
				kept = append(kept, option)
			}
		}
	}
	delete(h, "Connection")
	if len(kept) > 0 {
		h.Set("Connection", strings.Join(kept, ", "))
	}
}

func isIdentity(header string) bool {
	return slices.ContainsFunc(identity, func(f field) bool { return strings.EqualFold(f.header, header) })
}

// addIdentity sets the headers from a verified token. A value that the token does
// not have has no header.
func addIdentity(h http.Header, c *oauth.Claims) {
	for i := range identity {
		if value := identity[i].value(c); value != "" {
			h[identity[i].header] = []string{value}
		}
	}
}

// describeUser sets the placeholders; nil is nobody. Those without a value are
// empty, because Caddy writes unknown placeholders as they stand.
func describeUser(r *http.Request, c *oauth.Claims) {
	if said := toldOf(r, "http.auth.user."); said != nil {
		said.claims, said.judged = c, true
	}
}
