package management

import (
	"context"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	corsHeaders = "Authorization, Content-Type, Auth0-Client, Tenant-Id, X-Tenant-ID, If-Match, Idempotency-Key"
	corsExposed = "ETag, Link, Location, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Gatehouse-Sync-Revision"
)

// cors lets browsers of registered origins in (contract C5.12). The origins are
// those of the clients of the host's tenant, because a preflight carries no
// header's value. Where they cannot be read, none is let in.
func (a *API) cors(c *Call) {
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header.Get("Origin")
	if origin == "" {
		return
	}
	origins, err := tenancy.Cached(c.host, "management_origins", "", loadOrigins)
	if err != nil || !origins[origin] {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsExposed)
	if c.r.Method != http.MethodOptions {
		return
	}
	if routes, _ := a.router.match(c.r.URL.EscapedPath()); routes != nil {
		h.Set("Access-Control-Allow-Methods", allow(routes))
	}
	h.Set("Access-Control-Allow-Headers", corsHeaders)
	h.Set("Access-Control-Max-Age", "600")
}

// loadOrigins collects the origins of all clients.
func loadOrigins(ctx context.Context) (map[string]bool, error) {
	all, err := tenancy.Clients.Find(ctx, tenancy.Filter{})
	if err != nil {
		return nil, err
	}
	origins := make(map[string]bool)
	for _, client := range all {
		for _, list := range [][]string{client.WebOrigins, client.AllowedOrigins} {
			for _, o := range list {
				origins[strings.TrimSuffix(o, "/")] = true
			}
		}
	}
	return origins, nil
}
