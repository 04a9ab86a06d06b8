package tenancy

import (
	"context"
	"slices"
)

// domains are the ready custom domains, in memory. It is replaced whole.
type domains struct {
	version  uint64 // counts how often it was replaced
	byName   map[string]*CustomDomain
	byTenant map[string][]*CustomDomain // the primary one first, then by name
}

// readDomains reads all ready domains of the entered control plane.
func readDomains(inside context.Context) (*domains, error) {
	list, err := CustomDomains.Find(inside, Filter{Where: "status = ?", Args: []any{DomainReady}, Order: "is_primary DESC, domain"})
	if err != nil {
		return nil, err
	}
	ds := &domains{byName: make(map[string]*CustomDomain, len(list)), byTenant: make(map[string][]*CustomDomain)}
	for i := range list {
		ds.add(&list[i])
	}
	return ds, nil
}

func (ds *domains) add(d *CustomDomain) {
	ds.byName[d.Domain] = d
	ds.byTenant[d.Subject] = append(ds.byTenant[d.Subject], d)
}

// freshDomains reads the domains where changes are about any; nil where none is.
// There are few of them, and they change rarely: they are read whole.
func (d *Directory) freshDomains(inside context.Context, changes []Change) (*domains, error) {
	if !slices.ContainsFunc(changes, func(c Change) bool { return c.Kind == KindDomain }) {
		return nil, nil
	}
	return readDomains(inside)
}

// tenantOfDomain returns the tenant of a ready custom domain.
func (d *Directory) tenantOfDomain(host string) (id string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	domain, ok := d.domains.byName[host]
	if !ok {
		return "", false
	}
	return domain.Subject, true
}

// DomainByHost returns the ready custom domain of a normalised host. It is shared
// and must not be changed.
func (d *Directory) DomainByHost(host string) (*CustomDomain, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	domain, ok := d.domains.byName[host]
	return domain, ok
}

// keepDomains replaces the domains; d.mu is held.
func (d *Directory) keepDomains(ds *domains) {
	version := d.domains.version + 1
	d.domains = *ds
	d.domains.version = version
}

// DomainsVersion is another number whenever the ready custom domains may be others,
// for what is made of [Directory.HostsOf].
func (d *Directory) DomainsVersion() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.domains.version
}

// HostsOf returns the names of a tenant's active hosts, the one of its primary
// issuer first (contract C1.11). The list is the caller's.
func (d *Directory) HostsOf(id string) []string {
	d.mu.RLock()
	own := d.domains.byTenant[id]
	d.mu.RUnlock()
	return d.hosts.hostsOf(id, own, d.custom)
}

// hostsOf are the names of a tenant with these ready domains, primary first. custom
// is as for Resolve.
func (h *Hosts) hostsOf(id string, own []*CustomDomain, custom func(host string) (string, bool)) []string {
	var names []string
	add := func(primary bool) {
		for _, domain := range own {
			if domain.Primary == primary {
				names = append(names, domain.Domain)
			}
		}
	}
	add(true)
	if id == h.ControlPlane {
		names = append(names, h.ControlPlaneHosts...)
	} else {
		host := h.PrimaryHost(id)
		if named, _ := h.Resolve(host, nil); named == id {
			names = append(names, host)
		}
	}
	first := len(names)
	for label, tenant := range h.Labels {
		if tenant == id {
			names = append(names, label+h.suffix)
		}
	}
	slices.Sort(names[first:])
	for _, r := range h.Resolvers {
		for _, host := range r.HostsOf(id) {
			if named, _ := h.Resolve(host, custom); named == id { // else somebody before it in the order has it
				names = append(names, host)
			}
		}
	}
	add(false)
	if len(names) == 0 { // links still need one
		names = []string{h.PrimaryHost(id)}
	}
	return names
}
