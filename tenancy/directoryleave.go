package tenancy

// OnLeave has f told, after every look at the registry, of the hosts that are not
// anymore whose they were: of tenants that are being deleted or gone, and of
// custom domains that were removed, disabled or given to somebody else. A host may
// be somebody's again by then. It is set before the directory is opened, and f
// must not block.
func (d *Directory) OnLeave(f func(hosts []string)) { d.leave = f }

// left are the hosts that these tenants and domains had before and do not have
// now. A nil tenant is none.
func (d *Directory) left(before, now map[string]*Tenant, had, have *domains) (hosts []string) {
	for id, old := range before {
		if old != nil && old.State != StateDeleting && !sameTenant(old, now[id]) {
			hosts = append(hosts, d.hosts.hostsOf(id, nil, d.custom)...)
		}
	}
	if had == have {
		return hosts
	}
	for name, old := range had.byName {
		if is := have.byName[name]; is == nil || is.ID != old.ID || is.Subject != old.Subject || is.Type != old.Type {
			hosts = append(hosts, name)
		}
	}
	return hosts
}

// sameTenant reports whether a registry row is of the tenant that it was of
// before, and still to be served.
func sameTenant(old, now *Tenant) bool {
	return now != nil && now.CreatedAt == old.CreatedAt && now.State != StateDeleting
}

// tellLeft tells of hosts that left; d.mu is not held.
func (d *Directory) tellLeft(hosts []string) {
	if len(hosts) > 0 && d.leave != nil {
		d.leave(hosts)
	}
}
