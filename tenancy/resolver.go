package tenancy

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// HostResolver says which tenant a host is. The control plane's own hosts are known
// before any resolver is asked. It is asked at every request and TLS handshake,
// by anybody and with any name: it answers from memory, and is safe for concurrent
// use.
type HostResolver interface {
	// Resolve returns the id of the tenant that a normalised host is of, whether or
	// not there is such a tenant; false asks the next resolver.
	Resolve(host string) (id string, ok bool)

	// HostsOf returns the hosts that Resolve says are the tenant's, which are
	// issuers of its tokens then. None where they cannot be listed: a token that
	// was issued at such a host is good at that host only.
	HostsOf(id string) []string
}

// HeaderResolver is what a [HostResolver] is too that reads what a trusted proxy says
// of a request. It is not asked about anybody else's.
type HeaderResolver interface {
	// ResolveHeader returns the id of the tenant that the headers name; false asks
	// the next resolver.
	ResolveHeader(h http.Header) (id string, ok bool)
}

// The resolvers that are asked where none are configured, in this order: ready
// custom domains, and labels below the base domain.
var (
	CustomDomainResolver HostResolver = builtinResolver("custom_domain")
	SubdomainResolver    HostResolver = builtinResolver("subdomain")
)

var builtinResolvers = []HostResolver{CustomDomainResolver, SubdomainResolver}

// builtinResolver is a resolver that only [Hosts] can ask.
type builtinResolver string

// Resolve implements [HostResolver].
func (builtinResolver) Resolve(string) (string, bool) { return "", false }

// HostsOf implements [HostResolver].
func (builtinResolver) HostsOf(string) []string { return nil }

// NamedByHeader is a [HeaderResolver] of the header of its name, whose only value
// is a tenant's id.
type NamedByHeader string

// Resolve implements [HostResolver].
func (NamedByHeader) Resolve(string) (string, bool) { return "", false }

// HostsOf implements [HostResolver].
func (NamedByHeader) HostsOf(string) []string { return nil }

// ResolveHeader implements [HeaderResolver]. A header that is given twice, or has
// what can be no id, names a tenant that there is not, so that nobody else is
// taken for it.
func (n NamedByHeader) ResolveHeader(h http.Header) (string, bool) {
	switch values := h.Values(string(n)); {
	case len(values) == 0:
		return "", false
	case len(values) > 1:
		return "", true
	default:
		return strings.TrimSpace(lowerASCII(values[0])), true
	}
}

// HostMap is a [HostResolver] of hosts written out, and of patterns of hosts with a
// tenant's id in them.
type HostMap struct {
	exact    map[string]string
	patterns []hostPattern // the longest first, so that of several the closest matches
}

// hostPattern is a host with the id of any tenant between two texts.
type hostPattern struct{ before, after string }

// PlaceOfTenant stands in a pattern where the tenant's id is.
const PlaceOfTenant = "{tenant}"

// NewHostMap makes a resolver of hosts, each with the id of its tenant, or with
// [PlaceOfTenant] where the host has that in one of its labels:
//
//	app.{tenant}.auth.example.com      {tenant}
//	{tenant}-staging.auth.example.com  {tenant}
//	shop.example.com                   acme
func NewHostMap(hosts map[string]string) (*HostMap, error) {
	m := &HostMap{exact: make(map[string]string)}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		before, after, pattern := strings.Cut(host, PlaceOfTenant)
		tenant := hosts[host]
		example := host
		if pattern {
			example = before + "t" + after
		}
		switch normal, err := NormalizeHost(example); {
		case err != nil || normal != example || !isDomain(example):
			return nil, fmt.Errorf("map: %q is no host; write it in small letters, without scheme or port, with %s at most once", host, PlaceOfTenant)
		case pattern && !ownDomain(after):
			return nil, fmt.Errorf("map: %q would take in domains of anybody; put %s further left", host, PlaceOfTenant)
		case pattern != (tenant == PlaceOfTenant):
			return nil, fmt.Errorf("map: %q is of %q; with %s in the host it is of %s, without of one tenant by its id", host, tenant, PlaceOfTenant, PlaceOfTenant)
		case !pattern && !isWord(tenant, "-_", maxTenantID):
			return nil, fmt.Errorf("map: %q can be no tenant's id", tenant)
		case pattern:
			m.patterns = append(m.patterns, hostPattern{before, after})
		default:
			m.exact[host] = tenant
		}
	}
	slices.SortStableFunc(m.patterns, func(a, b hostPattern) int { return len(b.before+b.after) - len(a.before+a.after) })
	return m, nil
}

// ownDomain reports whether behind the label that a text ends is a domain and not
// only one that everybody has a name below.
func ownDomain(after string) bool {
	_, domain, _ := strings.Cut(after, ".")
	return domain == "localhost" || strings.Contains(domain, ".")
}

// Resolve implements [HostResolver].
func (m *HostMap) Resolve(host string) (string, bool) {
	if id, ok := m.exact[host]; ok {
		return id, true
	}
	for _, p := range m.patterns {
		rest, ok := strings.CutPrefix(host, p.before)
		if !ok {
			continue
		}
		// An id has no dot, so that the pattern's labels are the host's.
		if id, ok := strings.CutSuffix(rest, p.after); ok && isTenantID(id) && !isPathWord(id) {
			return id, true
		}
	}
	return "", false
}

// HostsOf implements [HostResolver].
func (m *HostMap) HostsOf(id string) (names []string) {
	for host, tenant := range m.exact {
		if tenant == id {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	for _, p := range m.patterns {
		host := p.before + id + p.after
		if found, ok := m.Resolve(host); ok && found == id { // else a closer pattern has it, or it is no host
			names = append(names, host)
		}
	}
	return names
}

// Interface guards
var (
	_ HostResolver   = (*HostMap)(nil)
	_ HostResolver   = NamedByHeader("")
	_ HeaderResolver = NamedByHeader("")
)
