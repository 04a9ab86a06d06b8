package sync

import (
	"maps"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// work says what has to be compared in a tenant.
type work struct {
	servers, roles, connections selection
	settings                    bool
	fallbacks                   bool // what the tenant falls back on
}

// everything compares all there is.
var everything = work{servers: selection{all: true}, roles: selection{all: true}, connections: selection{all: true}, settings: true, fallbacks: true}

// selection is some entities of a kind, by their ids on the control plane, or
// all of them.
type selection struct {
	all bool
	ids []string // sorted
}

func (s selection) any() bool { return s.all || len(s.ids) > 0 }

func (s selection) has(id string) bool {
	if s.all {
		return true
	}
	_, found := slices.BinarySearch(s.ids, id)
	return found
}

// selectionLimit is up to how many entities are looked up one by one; more are
// compared by reading the whole table. It also bounds the number of different
// statements that databases keep prepared.
const selectionLimit = 16

// selected makes a selection of a set of ids, where [tenancy.AnyID] means all.
func selected(ids map[string]bool) selection {
	if ids[tenancy.AnyID] || len(ids) > selectionLimit {
		return selection{all: true}
	}
	return selection{ids: sortedKeys(ids)}
}

// workAfter returns what a tenant that applied everything up to a revision has
// to compare. However often an entity changed since, it is compared once.
func (p *picture) workAfter(applied int64) work {
	if applied < p.since {
		return everything
	}
	if w, ok := p.works.Load(applied); ok {
		return w.(work)
	}
	servers, roles, connections := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var w work
	for e, revision := range p.latest {
		if revision <= applied {
			continue
		}
		switch e.kind {
		case tenancy.KindResourceServer:
			servers[e.id] = true
			// What its scopes are decides which permissions roles have of it.
			for _, role := range p.rolesUsing[e.id] {
				roles[role] = true
			}
		case tenancy.KindRole:
			roles[e.id] = true
		case tenancy.KindConnection:
			connections[e.id] = true
			w.fallbacks = true
		case tenancy.KindEmailProvider:
			w.fallbacks = true
		case tenancy.KindSettings:
			w.settings = w.settings || e.id == tenancy.SettingsOwn || e.id == tenancy.AnyID
		}
	}
	w.servers, w.roles, w.connections = selected(servers), selected(roles), selected(connections)
	if w.servers.all {
		w.roles = selection{all: true}
	}
	p.works.Store(applied, w)
	return w
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// identifiersOf returns the identifiers of the resource servers that matter to
// the work: those selected and those that selected roles have permissions of.
// The second result is false where they are too many to look up one by one.
func (p *picture) identifiersOf(w work) ([]string, bool) {
	set := map[string]bool{}
	for _, id := range w.servers.ids {
		if server := p.servers[id]; server != nil {
			set[server.Identifier] = true
		}
	}
	for _, id := range w.roles.ids {
		for _, perm := range p.permissions[id] {
			set[perm.identifier] = true
		}
	}
	return sortedKeys(set), !w.servers.all && !w.roles.all && len(set) <= selectionLimit
}
