package tenancy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// ErrInvalidHost is returned for a host that cannot be a name of anything. It is
// answered with 400 `invalid_request`, `Invalid host` (C1.3), before any tenant
// is looked for.
var ErrInvalidHost = errors.New("invalid host")

// DefaultControlPlane is the id of the control plane where none is configured.
const DefaultControlPlane = "control_plane"

// Values of [Hosts.ReservedServe].
const (
	ServeControlPlane = "control_plane" // a reserved label shows the control plane
	ServeNotFound     = "not_found"     // a reserved label is an unknown host
)

// DefaultReservedLabels are the labels that are never a tenant unless
// [Hosts.Reserved] says otherwise (section 1.1 of the contract). It must not be
// changed.
var DefaultReservedLabels = strings.Fields(`www api admin app auth login account cdn static assets docs
	status mail smtp imap ns1 ns2 mx staging dev test internal localhost control-plane`)

// tenantIDPattern is the grammar of tenant ids in the words of C1.8; isTenantID obeys it.
const tenantIDPattern = "^[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?$"

// Lengths, in bytes. Those of names are DNS's own.
const (
	maxHost     = 253
	maxLabel    = 63
	maxTenantID = 50
)

// Hosts says which names are which tenants, without asking any database (C1.1 to
// C1.8). Fill in the exported fields and pass it to [NewHosts]; only what NewHosts
// returns resolves anything, and it is safe for concurrent use as long as nobody
// changes its fields. The zero value resolves nothing and names nothing.
type Hosts struct {
	// BaseDomain is the domain below which every tenant has its label, e.g.
	// "auth.example.com". Required.
	BaseDomain string

	// ControlPlane is the id of the control plane. Default: "control_plane".
	ControlPlane string

	// ControlPlaneHosts are the control plane's own hosts, the first being its
	// primary one. Default (nil or empty): BaseDomain alone.
	ControlPlaneHosts []string

	// Reserved are the labels that are never a tenant. nil means
	// DefaultReservedLabels; any other list, also an empty one, replaces them.
	Reserved []string

	// ReservedServe says what a reserved label shows: "control_plane" (default)
	// or "not_found" (C1.6).
	ReservedServe string

	// Labels gives tenants further labels: label -> tenant id. Default: none. A
	// label given away here can no longer become the id of a new tenant.
	Labels map[string]string

	// Resolvers say which tenant a host is, the first that does being right.
	// Default (nil or empty): CustomDomainResolver, SubdomainResolver.
	Resolvers []HostResolver

	suffix   string              // "." + BaseDomain
	exact    map[string]string   // control-plane host -> ControlPlane
	reserved map[string]struct{} // Reserved as a set
	headers  bool                // whether any of Resolvers reads headers
}

// NewHosts returns c with defaults filled in, every name in lower case, and the
// lookup sets built. The error joins everything that is wrong; each part begins
// with the Caddyfile word to change. c itself is neither kept nor changed.
func NewHosts(c Hosts) (*Hosts, error) {
	h := &Hosts{
		BaseDomain:        lowerASCII(strings.TrimSuffix(c.BaseDomain, ".")),
		ControlPlane:      cmp.Or(c.ControlPlane, DefaultControlPlane),
		ControlPlaneHosts: lowerAll(c.ControlPlaneHosts),
		Reserved:          lowerAll(c.Reserved),
		ReservedServe:     cmp.Or(c.ReservedServe, ServeControlPlane),
		Labels:            make(map[string]string, len(c.Labels)),
		Resolvers:         c.Resolvers,
		exact:             make(map[string]string),
		reserved:          make(map[string]struct{}),
	}
	var errs []error
	for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
		lower := lowerASCII(label)
		if _, twice := h.Labels[lower]; twice {
			errs = append(errs, fmt.Errorf("labels: %q is given twice", lower))
		}
		h.Labels[lower] = c.Labels[label]
	}
	if h.BaseDomain != "" {
		h.suffix = "." + h.BaseDomain
	}
	if len(h.ControlPlaneHosts) == 0 {
		h.ControlPlaneHosts = []string{h.BaseDomain}
	}
	for _, host := range h.ControlPlaneHosts {
		h.exact[host] = h.ControlPlane
	}
	if len(h.Resolvers) == 0 {
		h.Resolvers = builtinResolvers
	}
	if c.Reserved == nil {
		h.Reserved = slices.Clone(DefaultReservedLabels)
	}
	h.headers = slices.ContainsFunc(h.Resolvers, func(r HostResolver) bool { _, reads := r.(HeaderResolver); return reads })
	for _, label := range h.Reserved {
		h.reserved[label] = struct{}{}
	}
	if err := errors.Join(append(errs, h.problems()...)...); err != nil {
		return nil, err
	}
	return h, nil
}

// Validate reports what is wrong with h, filled in by hand or by NewHosts, as
// [NewHosts] would. nil means that NewHosts accepts it.
func (h *Hosts) Validate() error {
	_, err := NewHosts(*h)
	return err
}

// problems lists what is wrong, given filled-in defaults and built sets.
func (h *Hosts) problems() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if h.BaseDomain == "" {
		wrong("base_domain: is missing; write for instance: base_domain auth.example.com")
	} else if !isDomain(h.BaseDomain) {
		wrong("base_domain: %q is not a domain name; give the bare name, without scheme, port or path", h.BaseDomain)
	} else if len(h.BaseDomain)+1+maxTenantID > maxHost {
		wrong("base_domain: %q is too long; no tenant's label fits in front of it", h.BaseDomain)
	}
	if !isWord(h.ControlPlane, "-_", maxTenantID) || isPathWord(h.ControlPlane) || strings.HasPrefix(h.ControlPlane, "org_") {
		wrong("control_plane: %q cannot be an id; use 1 to 50 of a-z, 0-9, - and _, beginning and ending with a letter or digit",
			h.ControlPlane)
	}
	for _, host := range h.ControlPlaneHosts {
		if host == h.BaseDomain {
			continue // judged above
		}
		if normal, err := NormalizeHost(host); err != nil || normal != host {
			wrong("control_plane: host %q is not a host name; give it without scheme, port or path", host)
		}
	}
	for _, label := range h.Reserved {
		if !isLabel(label) {
			wrong("reserved: %q is not one label of a domain name", label)
		}
	}
	if h.ReservedServe != ServeControlPlane && h.ReservedServe != ServeNotFound {
		wrong("reserved: cannot serve %q; use %s or %s", h.ReservedServe, ServeControlPlane, ServeNotFound)
	}
	for _, label := range slices.Sorted(maps.Keys(h.Labels)) {
		if err := h.labelProblem(label, h.Labels[label]); err != nil {
			wrong("labels: %w", err)
		}
	}
	return errs
}

// labelProblem says why label cannot be a further label of the tenant id.
func (h *Hosts) labelProblem(label, id string) error {
	switch {
	case !isLabel(label):
		return fmt.Errorf("%q is not one label of a domain name", label)
	case h.IsReserved(label):
		return fmt.Errorf("%q is reserved; take it out of reserved first", label)
	case h.exact[label+h.suffix] != "":
		return fmt.Errorf("%q is already a host of the control plane", label)
	case id == h.ControlPlane:
		return nil
	}
	if err := h.ValidTenantID(id); err != nil {
		return fmt.Errorf("%q names no possible tenant: %w", label, err)
	}
	return nil
}

// Resolve returns the id of the tenant that host names, and false when it names
// none (C1.4: first match wins, every comparison is of whole strings). host must
// come from [NormalizeHost]. custom answers for ready custom domains; nil means
// there are none.
//
// The id is what the name says: whether that tenant exists, and in which state,
// is the directory's to know. A name that no tenant can have is false at once, so
// it costs nobody a query. Resolve allocates nothing and takes the same time
// however many tenants there are.
func (h *Hosts) Resolve(host string, custom func(host string) (id string, ok bool)) (id string, ok bool) {
	if id, ok := h.exact[host]; ok {
		return id, true
	}
	for _, r := range h.Resolvers {
		switch {
		case r == SubdomainResolver:
			id, ok = h.subdomain(host)
		case r != CustomDomainResolver:
			id, ok = r.Resolve(host)
		case custom != nil:
			id, ok = custom(host)
		}
		if ok {
			return id, true
		}
	}
	return "", false
}

// ResolveRequest is Resolve for a request that came through a trusted proxy, whose
// headers some resolvers read. byHeader reports that it was one of those that
// answered, so that the host is not known to be the tenant's.
func (h *Hosts) ResolveRequest(host string, header http.Header, custom func(host string) (id string, ok bool)) (id string, byHeader, ok bool) {
	if !h.headers {
		id, ok = h.Resolve(host, custom)
		return id, false, ok
	}
	for i, r := range h.Resolvers {
		named, reads := r.(HeaderResolver)
		if !reads {
			continue
		}
		before := *h // what comes before it in the order is asked first
		before.Resolvers = h.Resolvers[:i]
		if id, ok := before.Resolve(host, custom); ok {
			return id, false, true
		}
		if id, ok := named.ResolveHeader(header); ok {
			return id, true, true
		}
	}
	id, ok = h.Resolve(host, custom)
	return id, false, ok
}

// subdomain returns the id of the tenant whose label is in front of the base domain.
func (h *Hosts) subdomain(host string) (id string, ok bool) {
	label, below := strings.CutSuffix(host, h.suffix)
	if !below || h.suffix == "" { // the suffix begins with the dot: C1.5
		return "", false
	}
	if h.IsReserved(label) {
		if h.ReservedServe == ServeControlPlane {
			return h.ControlPlane, true
		}
		return "", false
	}
	if id, ok := h.Labels[label]; ok {
		return id, true
	}
	// isTenantID allows no dot: names with a second label end here.
	if !isTenantID(label) || isPathWord(label) || label == h.ControlPlane {
		return "", false
	}
	return label, true
}

// IsReserved reports whether label, in any case, is never a tenant (C1.6).
func (h *Hosts) IsReserved(label string) bool {
	_, ok := h.reserved[lowerASCII(label)]
	return ok
}

// ValidTenantID returns nil when id may be the id of a tenant other than the
// control plane (C1.8), and otherwise an [*Error] with status 400 that a create
// request is answered with (C8.3). Taken, too, are labels that already lead
// elsewhere: to the control plane or, by Labels, to another tenant.
func (h *Hosts) ValidTenantID(id string) error {
	switch {
	case id != h.ControlPlane && !isWord(id, "-", maxTenantID):
		return Errorf(http.StatusBadRequest, "invalid_body",
			"Payload validation error: 'String does not match pattern %s' on property id", tenantIDPattern)
	case id == h.ControlPlane || !isTenantID(id) || h.taken(id):
		return Errorf(http.StatusBadRequest, "invalid_body", "Tenant id '%s' is reserved", id)
	}
	return nil
}

// taken reports whether the well-formed id already means something else.
func (h *Hosts) taken(id string) bool {
	tenant, alias := h.Labels[id]
	named, ok := h.Resolve(id+h.suffix, nil)
	return ok && named != id || isPathWord(id) || h.IsReserved(id) || alias && tenant != id || h.exact[id+h.suffix] != ""
}

// PrimaryHost returns the host of a tenant that has no primary custom domain:
// its id below the base domain, for the control plane its first host (C1.11). It
// does not check the id.
func (h *Hosts) PrimaryHost(id string) string {
	if id == h.ControlPlane && len(h.ControlPlaneHosts) > 0 {
		return h.ControlPlaneHosts[0]
	}
	return id + h.suffix
}

// Issuer returns the issuer of a normalised host, ending in a slash (C1.11). The
// empty scheme means https; http is for loopback development only. port is the
// public port; "" and the scheme's own port are left out.
func Issuer(scheme, host, port string) string {
	scheme = cmp.Or(scheme, "https")
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return scheme + "://" + host + "/"
	}
	return scheme + "://" + host + ":" + port + "/"
}
