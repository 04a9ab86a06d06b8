package tenancy

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Directory knows all tenants, in memory: which there are, and which host is
// whose. It answers while the control plane's database does not, with what it
// knew last. It is safe for concurrent use.
type Directory struct {
	hosts *Hosts
	pool  *Pool

	mu             sync.RWMutex
	controlPlane   *Tenant
	byID           map[string]*Tenant
	byOrganization map[string]*Tenant
	domains        domains
	head           int64 // revision of the change log up to which this is true
	stale          error // why the last look at the registry failed; nil when it did not

	looking sync.Mutex // one look at the registry at a time

	custom func(host string) (id string, ok bool) // tenantOfDomain, made once
	leave  func(hosts []string)                   // nil where nobody asks, see OnLeave
}

// NewDirectory makes a directory that knows nobody yet; see [Directory.Open].
func NewDirectory(pool *Pool, hosts *Hosts) *Directory {
	d := &Directory{hosts: hosts, pool: pool, byID: map[string]*Tenant{}, byOrganization: map[string]*Tenant{}}
	d.custom = d.tenantOfDomain
	pool.follow(d.ByID)
	return d
}

// Open reads the registry of a control plane whose database exists.
func (d *Directory) Open(ctx context.Context, controlPlane *Tenant) error {
	d.mu.Lock()
	d.controlPlane = controlPlane
	d.byID[controlPlane.ID] = controlPlane
	d.mu.Unlock()
	return d.reload(ctx)
}

// ControlPlane returns the control plane, or nil before Open.
func (d *Directory) ControlPlane() *Tenant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.controlPlane
}

// EnterControlPlane is [Pool.Enter] for the control plane.
func (d *Directory) EnterControlPlane(ctx context.Context) (context.Context, func(), error) {
	cp := d.ControlPlane()
	if cp == nil {
		return nil, nil, Unavailable(errors.New("the control plane is not open yet"), "")
	}
	return d.pool.Enter(ctx, cp)
}

// Hosts returns the rules by which names belong to tenants.
func (d *Directory) Hosts() *Hosts { return d.hosts }

// ByHost returns the tenant of a normalised host (contract C1.4).
func (d *Directory) ByHost(host string) (*Tenant, bool) {
	id, ok := d.hosts.Resolve(host, d.custom)
	if !ok {
		return nil, false
	}
	return d.ByID(id)
}

// ByRequest is ByHost for a request that came through a trusted proxy, with the
// request's headers. byHeader reports that these say whose it is, and not the host.
func (d *Directory) ByRequest(host string, header http.Header) (t *Tenant, byHeader, ok bool) {
	id, byHeader, ok := d.hosts.ResolveRequest(host, header, d.custom)
	if !ok {
		return nil, false, false
	}
	t, ok = d.ByID(id)
	return t, byHeader, ok
}

// ByID returns the tenant with the id.
func (d *Directory) ByID(id string) (*Tenant, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t, ok := d.byID[id]
	return t, ok
}

// ByOrganization returns the tenant that the control plane's organization with
// the id is linked to.
func (d *Directory) ByOrganization(orgID string) (*Tenant, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t, ok := d.byOrganization[orgID]
	return t, ok
}

// All yields every tenant, the control plane among them, in the order of their
// ids. It is a picture of the moment: changes during the walk do not show.
func (d *Directory) All() iter.Seq2[string, *Tenant] {
	d.mu.RLock()
	picture := maps.Clone(d.byID)
	d.mu.RUnlock()
	return func(yield func(string, *Tenant) bool) {
		for _, id := range slices.Sorted(maps.Keys(picture)) {
			if !yield(id, picture[id]) {
				return
			}
		}
	}
}

// Len returns how many tenants there are.
func (d *Directory) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.byID)
}

// Stale returns why the registry could not be read at the last look, or nil.
func (d *Directory) Stale() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.stale
}

// Run keeps the directory true until ctx ends: it looks at the registry
// whenever this process changed it, and once a second for changes by others.
func (d *Directory) Run(ctx context.Context) {
	hint := make(chan struct{}, 1)
	stop := d.pool.Watch(func() {
		select {
		case hint <- struct{}{}:
		default:
		}
	})
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hint:
		case <-tick.C:
		}
		_ = d.Refresh(ctx) // kept in Stale; the next look comes soon
	}
}

// Refresh reads what changed in the registry since the last look. Where nothing
// did, that is one read of one row.
func (d *Directory) Refresh(ctx context.Context) error {
	d.looking.Lock()
	defer d.looking.Unlock()
	began := time.Now()
	err := d.refresh(ctx)
	d.mu.Lock()
	d.stale = err
	d.mu.Unlock()
	if err == nil {
		d.pool.outlook.saw(began)
	}
	return err
}

// changesAtOnce is from how many changes on everything is read anew.
const changesAtOnce = 1000

func (d *Directory) refresh(ctx context.Context) error {
	inside, leave, err := d.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	head, err := Head(inside)
	if err != nil {
		return err
	}
	d.mu.RLock()
	known := d.head
	d.mu.RUnlock()
	if head == known {
		return nil
	}
	changes, err := ChangesAfter(inside, known, changesAtOnce)
	if err != nil {
		return err
	}
	// A gap means that the log was shortened meanwhile; going back, that the
	// control plane was restored from a backup.
	if head < known || len(changes) == changesAtOnce || len(changes) == 0 || changes[0].Revision != known+1 {
		return d.load(inside)
	}
	fresh := map[string]*Tenant{}
	domains, err := d.freshDomains(inside, changes)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Kind != KindTenant {
			continue
		}
		t, err := Tenants.Get(inside, c.EntityID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		fresh[c.EntityID] = t // nil where it is gone
	}
	d.mu.Lock()
	var fenced []*Tenant
	before := make(map[string]*Tenant, len(fresh))
	for id, t := range fresh {
		before[id] = d.byID[id]
		if fenceChanged(d.byID[id], t) {
			fenced = append(fenced, t)
		}
		d.put(id, t)
	}
	had, have := d.domains, domains
	if domains != nil {
		d.keepDomains(domains)
	} else {
		have = &had
	}
	d.head = changes[len(changes)-1].Revision
	d.mu.Unlock()
	d.tellLeft(d.left(before, fresh, &had, have))
	for id, t := range fresh {
		d.pool.succeed(before[id], t)
	}
	d.tell(fenced)
	return nil
}

func (d *Directory) reload(ctx context.Context) error {
	d.looking.Lock()
	defer d.looking.Unlock()
	began := time.Now()
	inside, leave, err := d.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := d.load(inside); err != nil {
		return err
	}
	d.pool.outlook.saw(began)
	return nil
}

// load reads the whole registry. The revision is read first: a change that
// comes in between is then read twice, and none is missed.
func (d *Directory) load(inside context.Context) error {
	head, err := Head(inside)
	if err != nil {
		return err
	}
	list, err := Tenants.Find(inside, Filter{})
	if err != nil {
		return err
	}
	domains, err := readDomains(inside)
	if err != nil {
		return err
	}
	d.mu.Lock()
	cp, old, had := d.controlPlane, d.byID, d.domains
	d.byID = make(map[string]*Tenant, len(list))
	d.byOrganization = make(map[string]*Tenant, len(list))
	d.byID[cp.ID] = cp
	var fenced []*Tenant
	for i := range list {
		if fenceChanged(old[list[i].ID], &list[i]) {
			fenced = append(fenced, &list[i])
		}
		d.put(list[i].ID, &list[i])
	}
	d.keepDomains(domains)
	d.head = head
	now := maps.Clone(d.byID)
	d.mu.Unlock()
	d.tellLeft(d.left(old, now, &had, domains))
	for i := range list {
		d.pool.succeed(old[list[i].ID], &list[i])
	}
	d.tell(fenced)
	return nil
}

// tell lets the tenants' open databases hear of their registry rows.
func (d *Directory) tell(list []*Tenant) {
	for _, t := range list {
		d.pool.learnOf(t)
	}
}

// put replaces what is known of a tenant; d.mu is held.
func (d *Directory) put(id string, t *Tenant) {
	if old := d.byID[id]; old != nil {
		delete(d.byOrganization, old.OrganizationID)
		delete(d.byID, id)
	}
	if t == nil {
		return
	}
	d.byID[id] = t
	if t.OrganizationID != "" {
		d.byOrganization[t.OrganizationID] = t
	}
	if t.IsControlPlane() {
		d.controlPlane = t
	}
}
