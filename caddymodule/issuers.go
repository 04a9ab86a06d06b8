package caddymodule

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// issuers returns the issuers of hosts, in their order, with the scheme and port
// of each of the issuers given (contract C1.11, C1.12).
func issuers(names []string, like ...string) []string {
	list := make([]string, 0, len(names)*len(like))
	for _, issuer := range like {
		scheme, host, _ := strings.Cut(strings.TrimSuffix(issuer, "/"), "://")
		port, _ := portOf(host) // made here, so it has none or a good one
		for _, name := range names {
			if made := tenancy.Issuer(scheme, name, port); !slices.Contains(list, made) {
				list = append(list, made)
			}
		}
	}
	return list
}

// reachable returns issuers of the control plane with every scheme and port that
// it may be reached under, the one for links first. Where no public port is
// configured, Caddy's ports may be the public ones or be mapped to the default.
func (a *App) reachable() []string {
	host := a.hosts.PrimaryHost(a.hosts.ControlPlane)
	if a.Port != 0 {
		return []string{tenancy.Issuer("https", host, strconv.Itoa(a.Port))}
	}
	https, plain := caddyhttp.DefaultHTTPSPort, caddyhttp.DefaultHTTPPort
	// Apps are provisioned in no particular order, but all of them before any is
	// started.
	if app, err := a.ctx.AppIfConfigured("http"); err == nil {
		https = cmp.Or(app.(*caddyhttp.App).HTTPSPort, https)
		plain = cmp.Or(app.(*caddyhttp.App).HTTPPort, plain)
	}
	list := []string{tenancy.Issuer("https", host, strconv.Itoa(https)), tenancy.Issuer("https", host, "")}
	if isLoopback(host) {
		list = append(list, tenancy.Issuer("http", host, strconv.Itoa(plain)))
	}
	return slices.Compact(list)
}

// issuerMemo remembers the issuers of tenants under the hosts they were visited at,
// because every request to an API needs them. Domains that come and go are known by
// the directory's version; resolvers of third parties, whose hosts may change, are
// asked again after a second. It is safe for concurrent use.
type issuerMemo struct {
	mu    sync.RWMutex
	known map[issuerVisit]issuerList
}

type issuerVisit struct{ tenant, issuer string }

type issuerList struct {
	version uint64 // of the directory's domains
	until   time.Time
	list    []string // must not be changed
}

// rememberedIssuers bounds an [issuerMemo]: anybody may name ports at will.
const rememberedIssuers = 4096

// visited returns the issuers of a tenant that was visited under the issuer. The
// list is shared.
func (s *services) visited(t *tenancy.Tenant, issuer string) []string {
	key, version, now := issuerVisit{t.ID, issuer}, s.directory.DomainsVersion(), time.Now()
	m := &s.issuers
	m.mu.RLock()
	known, ok := m.known[key]
	m.mu.RUnlock()
	if ok && known.version == version && now.Before(known.until) {
		return known.list
	}
	known = issuerList{version, now.Add(time.Second), s.issuersOf(t, issuer)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= rememberedIssuers {
		m.known = make(map[issuerVisit]issuerList)
	}
	m.known[key] = known
	return known.list
}
