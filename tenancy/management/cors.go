package management

import (
	"net/http"

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
	origins, err := tenancy.CachedListedOrigins(c.host)
	if err != nil || !origins.Allow(origin) {
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
