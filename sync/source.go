package sync

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// picture is what the control plane shares, at a revision or a little later.
// It is immutable: one picture serves the visits to all tenants.
type picture struct {
	rules    *rules
	revision int64 // everything up to here is in it
	shared   int64 // revision of the newest change of something shared; at most revision

	servers     map[string]*tenancy.ResourceServer // by id
	roles       map[string]*tenancy.Role           // by id
	connections map[string]*tenancy.Connection     // by id
	unshared    map[string]map[string]bool         // ids of rows that are not shared, by kind
	permissions map[string][]permission            // by role id
	rolesUsing  map[string][]string                // role ids by the id of a resource server
	settings    map[string]json.RawMessage         // the control plane's own
	offered     []tenancy.Fallback                 // what may be fallen back on, oldest first
	offers      map[string]*tenancy.Fallback       // the same by id

	// latest is the revision at which an entity changed last, of those that
	// changed after since. It may hold changes newer than revision.
	latest map[entity]int64
	since  int64

	works sync.Map // applied revision -> work
}

// entity names a row of the control plane.
type entity struct{ kind, id string }

// permission is one of a role on the control plane. Tenants may have the
// resource server under another id, so it is known by its identifier.
type permission struct {
	serverID, identifier, scope string
}

// source reads the control plane. It is safe for concurrent use.
type source struct {
	rules   *rules
	mu      sync.Mutex
	current *picture
	seen    int64            // newest revision in latest and tenants
	tenants map[string]int64 // revision at which a tenant's registry row changed last
}

// refresh returns a picture of now. inside is the control plane. When nothing
// changed that is one read of one row.
func (s *source) refresh(inside context.Context) (*picture, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The head is read first: what changes while the rows are read is then read
	// once too often, never once too few.
	head, err := tenancy.Head(inside)
	if err != nil {
		return nil, err
	}
	old := s.current
	switch {
	case old != nil && head == old.revision:
		return old, nil
	case old == nil:
		s.seen = head
		return s.reread(inside, startingAt(head), head)
	case head < max(old.revision, old.since): // restored from a backup: nothing known holds
		s.current, s.seen, s.tenants = nil, head, nil
		return s.reread(inside, startingAt(head), head)
	}
	next, err := s.reread(inside, old, head)
	if !errors.Is(err, errCompacted) {
		return next, err
	}
	// What changed up to the horizon cannot be told any more: everything is read,
	// and tenants that have not applied as much are compared in full.
	horizon, err := tenancy.Compacted(inside)
	if err != nil {
		return nil, err
	}
	s.current, s.seen, s.tenants = nil, horizon, map[string]int64{tenancy.AnyID: head}
	return s.reread(inside, startingAt(horizon), head)
}

// startingAt is a picture of nothing, whose history begins at a revision.
func startingAt(revision int64) *picture {
	return &picture{since: revision, shared: revision, revision: -1, latest: map[entity]int64{}}
}

// errCompacted is returned where the log no longer tells what changed.
var errCompacted = errors.New("the change log was compacted")

// start has the history begin at the revision, if the source is new: tenants
// that applied as much can be told what changed since.
func (s *source) start(since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		s.current, s.seen = &picture{since: since, revision: -1, latest: map[entity]int64{}}, since
	}
}

// reread makes the next picture; only what changed is read anew. s.mu is held.
func (s *source) reread(inside context.Context, old *picture, head int64) (*picture, error) {
	next := &picture{
		rules: s.rules, revision: head, shared: old.shared, servers: old.servers, roles: old.roles, permissions: old.permissions,
		connections: old.connections, unshared: maps.Clone(old.unshared),
		rolesUsing: old.rolesUsing, settings: old.settings, offered: old.offered, offers: old.offers, latest: maps.Clone(old.latest), since: old.since,
	}
	seen, err := s.follow(inside, next)
	if err != nil {
		return nil, err
	}
	stale := map[string]bool{}
	for e, revision := range next.latest {
		if revision > old.revision {
			stale[e.kind] = true
		}
		if revision <= head {
			next.shared = max(next.shared, revision)
		}
	}
	if err := next.read(inside, stale); err != nil {
		return nil, err
	}
	if len(stale) > 0 || old.servers == nil {
		// Rows may be of a newer revision than head. Their changes are followed
		// already, so that whoever acts on one of them acts on all of these.
		if seen, err = s.follow(inside, next); err != nil {
			return nil, err
		}
	}
	s.current, s.seen = next, seen
	return next, nil
}

// follow takes the changes after s.seen into the picture's history, one per
// entity, and returns the newest revision among them.
func (s *source) follow(inside context.Context, p *picture) (seen int64, err error) {
	rows, err := tenancy.Query(inside, `SELECT kind, entity_id, MAX(revision) FROM change_log
		WHERE tenant_id = @tenant AND revision > ? GROUP BY kind, entity_id`, s.seen)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	seen = s.seen
	for rows.Next() {
		var e entity
		var revision int64
		if err := rows.Scan(&e.kind, &e.id, &revision); err != nil {
			return 0, err
		}
		seen = max(seen, revision)
		if e.kind == tenancy.KindDomain { // the directory's alone; no tenant has a copy
			continue
		}
		if e.kind != tenancy.KindTenant {
			p.latest[e] = revision
			continue
		}
		if s.tenants == nil {
			s.tenants = map[string]int64{}
		}
		s.tenants[e.id] = revision
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, err
	}
	// Asked after the log was read: what it lacked is known then.
	if horizon, err := tenancy.Compacted(inside); err != nil || horizon > s.seen {
		return 0, errors.Join(err, errCompacted)
	}
	return seen, nil
}

// tenantsSince returns the tenants whose registry row changed after a revision,
// with the revision up to which that is known.
func (s *source) tenantsSince(revision int64) (changed map[string]int64, seen int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = map[string]int64{}
	for id, at := range s.tenants {
		if at > revision {
			changed[id] = at
		}
	}
	return changed, s.seen
}

// read reads the kinds that are stale, or not read yet.
func (p *picture) read(inside context.Context, stale map[string]bool) error {
	if p.servers == nil || stale[tenancy.KindResourceServer] {
		list, err := readShared(inside, p, &resourceServers)
		if err != nil {
			return err
		}
		p.servers = list
	}
	if p.roles == nil || stale[tenancy.KindRole] {
		list, err := readShared(inside, p, &roles)
		if err != nil {
			return err
		}
		p.roles = list
		if p.permissions, err = readPermissions(inside, list); err != nil {
			return err
		}
		p.rolesUsing = usersOf(p.permissions)
	}
	if p.connections == nil || stale[tenancy.KindConnection] {
		list, err := readShared(inside, p, &connections)
		if err != nil {
			return err
		}
		p.connections = list
	}
	if p.offers == nil || stale[tenancy.KindConnection] || stale[tenancy.KindEmailProvider] {
		if err := p.readFallbacks(inside); err != nil {
			return err
		}
	}
	if p.settings == nil || stale[tenancy.KindSettings] {
		p.settings = map[string]json.RawMessage{}
		row, err := tenancy.SettingsRows.Get(inside, tenancy.SettingsOwn)
		switch {
		case err == nil:
			maps.Copy(p.settings, row.Values)
		case !errors.Is(err, tenancy.ErrNotFound):
			return err
		}
	}
	return nil
}

// usersOf turns permissions by role into roles by resource server.
func usersOf(permissions map[string][]permission) map[string][]string {
	using := map[string][]string{}
	for role, list := range permissions {
		for _, perm := range list { // sorted by resource server
			if roles := using[perm.serverID]; len(roles) == 0 || roles[len(roles)-1] != role {
				using[perm.serverID] = append(roles, role)
			}
		}
	}
	return using
}

// readShared reads the rows of a kind that are shared, and notes the ids of the
// others.
func readShared[T any](inside context.Context, p *picture, k *Kind[T]) (map[string]*T, error) {
	list, err := k.Table.Find(inside, tenancy.Filter{Where: "is_system = ?", Args: []any{false}})
	if err != nil {
		return nil, err
	}
	byID, others := make(map[string]*T, len(list)), map[string]bool{}
	for i := range list {
		if id := k.Of(&list[i]).Row.ID; k.shared(&list[i]) {
			byID[id] = &list[i]
		} else {
			others[id] = true
		}
	}
	if p.unshared == nil {
		p.unshared = map[string]map[string]bool{}
	}
	p.unshared[k.Name] = others
	return byID, nil
}

// readPermissions reads the permissions of shared roles, sorted.
func readPermissions(inside context.Context, roles map[string]*tenancy.Role) (map[string][]permission, error) {
	rows, err := tenancy.Query(inside, `SELECT p.role_id, p.resource_server_id, s.identifier, p.permission
		FROM role_permissions p
		JOIN resource_servers s ON s.tenant_id = p.tenant_id AND s.id = p.resource_server_id
		JOIN roles r ON r.tenant_id = p.tenant_id AND r.id = p.role_id
		WHERE p.tenant_id = @tenant AND r.is_system = ?
		ORDER BY p.role_id, p.resource_server_id, p.permission`, false)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byRole := map[string][]permission{}
	for rows.Next() {
		var role string
		var p permission
		if err := rows.Scan(&role, &p.serverID, &p.identifier, &p.scope); err != nil {
			return nil, err
		}
		if roles[role] != nil {
			byRole[role] = append(byRole[role], p)
		}
	}
	return byRole, errors.Join(rows.Err(), rows.Close())
}
