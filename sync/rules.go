package sync

import (
	"encoding/json"
	"hash/fnv"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Policies for a row that has no copy in a tenant, because the tenant owns a row
// in its place (contract C6.21).
const (
	PolicyRefuse = "refuse" // leaves the tenant's row alone and lists the conflict; the default
	PolicyAdopt  = "adopt"  // makes the tenant's row the copy (C6.23)
	PolicyRename = "rename" // makes the copy under another name, where the kind can (C6.24)
)

// Entity is a row of the control plane as [Config.Exclude] is asked about it.
type Entity struct {
	Kind       string // as in the change log
	ID         string
	Name       string
	Identifier string // of a resource server; of other kinds ""
	Metadata   map[string]any
}

// Kinds are the synced kinds with the policies that each can have.
var Kinds = map[string][]string{
	tenancy.KindResourceServer: {PolicyRefuse, PolicyAdopt},
	tenancy.KindRole:           {PolicyRefuse, PolicyAdopt, PolicyRename},
	tenancy.KindConnection:     {PolicyRefuse, PolicyAdopt, PolicyRename},
}

// rules are what the configuration says about all tenants.
type rules struct {
	off        map[string]bool // by kind
	inherit    tenancy.Inheritance
	policies   map[string]string // by kind; absent for refuse
	detach     bool
	exclude    func(Entity, *tenancy.Tenant) (bool, error)
	transforms tenancy.Transforms
	recorder   tenancy.Recorder
	version    int64 // names all of the above
}

func rulesOf(c Config) rules {
	r := rules{
		off: map[string]bool{
			tenancy.KindResourceServer: c.ResourceServersOff, tenancy.KindRole: c.RolesOff, tenancy.KindConnection: c.ConnectionsOff,
		},
		inherit: c.Inherit, policies: c.OnConflict, detach: c.Detach,
		exclude: c.Exclude, transforms: c.Transforms, recorder: c.Recorder,
	}
	// Plain data always has a form in JSON.
	b, _ := json.Marshal([]any{r.off, r.inherit, r.policies, r.detach, r.exclude != nil, len(r.transforms), c.Expressions})
	h := fnv.New64a()
	_, _ = h.Write(b)
	r.version = max(int64(h.Sum64()&exact), 1)
	return r
}

// judges reports whether what a tenant is called decides what it gets.
func (r *rules) judges() bool { return r.exclude != nil || len(r.transforms) > 0 }

// enabled reports whether a kind is on for a tenant: all conditions must allow
// (contract C6.1, C6.20).
func (r *rules) enabled(kind string, own *bool) bool { return !r.off[kind] && (own == nil || *own) }

// exact is the largest number that databases behind JSON keep as it is.
const exact = 1<<53 - 1

// fingerprint tells apart what a tenant's registry row says about sync.
func (r *rules) fingerprint(t *tenancy.Tenant) int64 {
	members := []any{t.Inheritance, t.Sync}
	if r.judges() {
		members = append(members, t.FriendlyName, t.Metadata, t.State, t.Placement)
	}
	b, _ := json.Marshal(members) // plain data always has a form in JSON
	h := fnv.New64a()
	_, _ = h.Write(b)
	return max(int64(h.Sum64()&exact), 1)
}
