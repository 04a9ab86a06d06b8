package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Lifecycle makes, changes and removes tenants. Its methods are safe for
// concurrent use, also by several processes over one control plane: of two that
// create the same tenant one gets [ErrConflict].
type Lifecycle struct {
	Pool      *Pool      // required
	Directory *Directory // required
	Master    *Ring      // required: seals new tenants' data keys
	Keys      KeyMaker   // required
	Sync      Snapshotter
	Verify    func(ctx context.Context, t *Tenant) error // inside the tenant, before it becomes active: its keys; nil for none
	Recorder  Recorder

	// Hooks are asked before a tenant is created, changed or deleted.
	Hooks []Hook

	// Webhooks are told of what happens to tenants, through [Deliveries] that are
	// written together with it. Announce, which must not block, is told of it at
	// once; nil tells nobody.
	Webhooks []Subscription
	Announce func(Notice)

	Upgrader *Upgrader    // of operations of kind upgrade; nil for none
	Backups  *BackupStore // of operations of kind backup; nil for none

	// Placement is where new tenants' databases go when none is named.
	Placement string

	// OwnerRoles and OwnerPermissions are given to a tenant's first
	// administrator within its linked organization. Nil roles mean Tenant Admin.
	OwnerRoles       []string
	OwnerPermissions []string

	// Invite tells an owner who is no user of the control plane yet of their
	// invitation, inside the control plane. What goes wrong is its own affair; nil
	// tells nobody, and an administrator of the platform invites once more.
	Invite func(inside context.Context, t *Tenant, i *Invitation, ticket string)

	// NoAPIExplorer leaves out the machine client that a new tenant's management
	// API can be used with.
	NoAPIExplorer bool

	// Settle is how long replacing a data key waits for other processes over the
	// same control plane. Default 2 s; negative where there are none.
	Settle Settle

	hookPatience time.Duration // of tests; 0 means [HookPatience]

	rotating sync.Mutex // one data key is replaced at a time
}

// KeyMaker sees to it that the entered tenant has signing keys.
type KeyMaker interface {
	// EnsureKeys makes the keys that are missing. Doing it again, or twice at a
	// time, makes none more.
	EnsureKeys(ctx context.Context) error
}

// Snapshotter brings a tenant up to date with the control plane.
type Snapshotter interface {
	// Snapshot applies everything the control plane shares with the tenant.
	Snapshot(ctx context.Context, t *Tenant) error
}

// NewTenant is a wish for a tenant.
type NewTenant struct {
	ID           string // generated when empty
	FriendlyName string // required, 1 to 100 characters
	Audience     string
	Metadata     map[string]string
	Owner        *Owner
	Inheritance  Inheritance
	Sync         SyncSwitches
	Placement    string
	Settings     map[string]json.RawMessage

	// CreatedBy is the subject who asks. Where it is a user of the control
	// plane, CreatorIsUser is set, and they become the owner unless another is
	// named or they are a platform administrator.
	CreatedBy              string
	CreatorIsUser          bool
	CreatorIsPlatformAdmin bool
}

// Create makes a tenant and returns it active. Every step can be repeated:
// where one fails the tenant is left failed, with the reason, and the same wish
// again goes on from there. Where somebody is at the same wish at this moment, the
// tenant is returned as it is, provisioning (contract C8.8).
//
// Errors: an [Error] 400 for a wish that cannot be granted, 409 for an id that
// is taken, and 503 provisioning_failed when a step failed.
func (l *Lifecycle) Create(ctx context.Context, wish NewTenant) (*Tenant, error) {
	mark := wish.mark()
	if err := l.ask(ctx, &Proposal{Action: "create", New: &wish}); err != nil {
		return nil, err
	}
	if err := l.validate(&wish); err != nil {
		return nil, err
	}
	t, j, err := l.reserve(ctx, wish, mark)
	if err != nil || j == nil {
		return t, err
	}
	return l.provision(ctx, t, j)
}

func (l *Lifecycle) validate(wish *NewTenant) error {
	if wish.ID == "" {
		wish.ID = NewTenantID()
	}
	if n := len([]rune(strings.TrimSpace(wish.FriendlyName))); n < 1 || n > 100 {
		return Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: 'String must have 1 to 100 characters' on property friendly_name")
	}
	if err := l.Directory.Hosts().ValidTenantID(wish.ID); err != nil {
		return Errorf(http.StatusBadRequest, "invalid_body", "%s", err)
	}
	if wish.Placement == "" {
		wish.Placement = l.Placement
	}
	if _, ok := l.Pool.placements[wish.Placement]; !ok {
		return Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: 'unknown provider' on property placement.provider")
	}
	if wish.Audience == "" {
		wish.Audience = "urn:gatehouse:tenant:" + wish.ID
	}
	return nil
}

// reserve writes the registry row and the operation: from then on the id is
// taken, and the work is found again after an end of the process.
func (l *Lifecycle) reserve(ctx context.Context, wish NewTenant, mark string) (*Tenant, *journal, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	owner := wish.Owner
	if owner == nil && wish.CreatorIsUser && !wish.CreatorIsPlatformAdmin {
		owner = &Owner{UserID: wish.CreatedBy}
	}
	if owner != nil {
		if owner, err = findOwner(inside, *owner); err != nil {
			return nil, nil, err
		}
	}
	t := &Tenant{
		Row: Row{ID: wish.ID}, FriendlyName: wish.FriendlyName, State: StateProvisioning,
		OrganizationID: NewID("org_", 16), Audience: wish.Audience, Metadata: wish.Metadata, Inheritance: wish.Inheritance,
		Sync: wish.Sync, Placement: wish.Placement, DataKey: l.Master.NewDataKey(wish.ID), Owner: owner, CreatedBy: wish.CreatedBy,
	}
	t.SchemaVersion = l.Pool.SchemaVersion(t)
	// An organization of that name that is linked to no tenant would let its
	// members in (contract C8.3).
	free := Require(inside, `NOT EXISTS (SELECT 1 FROM organizations WHERE tenant_id = @tenant AND name = ?)
		OR EXISTS (SELECT 1 FROM tenants WHERE tenant_id = @tenant AND id = ?)`, wish.ID, wish.ID)
	j := newOperation(OperationProvision, t, wish.CreatedBy, OperationParams{Settings: wish.Settings, Wish: mark})
	j.note("reserve", "succeeded", nil)
	n := l.notice(ctx, t, "provisioning", j, nil)
	err = j.commit(inside, append(Deliver(inside, l.Webhooks, n), free, Tenants.Insert(inside, t))...)
	if errors.Is(err, ErrConflict) {
		return l.again(inside, wish, mark)
	}
	if err == nil {
		l.announce(n)
	}
	return t, j, err
}

// Update changes a tenant's registry row; a new friendly name becomes the linked
// organization's display name in the same step (contract C8.10). alter may run
// several times.
func (l *Lifecycle) Update(ctx context.Context, id string, alter func(*Tenant) error) (*Tenant, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		t, err := Tenants.Get(inside, id)
		if err != nil {
			return nil, err
		}
		switch err := alter(t); {
		case errors.Is(err, ErrUnchanged):
			return t, nil
		case err != nil:
			return nil, err
		}
		if err := l.ask(ctx, &Proposal{Action: "update", Tenant: t}); err != nil {
			return nil, err
		}
		n := l.notice(ctx, t, "updated", nil, nil)
		err = Commit(inside, append(Deliver(inside, l.Webhooks, n), Tenants.Replace(inside, t),
			SQL(inside, `UPDATE organizations SET display_name = ?, revision = revision + 1, updated_at = ?
				WHERE tenant_id = @tenant AND id = ? AND display_name <> ?`,
				t.FriendlyName, At(time.Now()), t.OrganizationID, t.FriendlyName).Settled())...)
		if errors.Is(err, ErrStale) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.record(ctx, t, "updated")
		l.announce(n)
		return t, l.Directory.Refresh(ctx)
	}
}

// Delete removes a tenant with everything that is its own: first its hosts cease
// to answer, then its database goes with its backups in [BackupStore], and last its organization, its registry row
// and with it the key without which no copy can be read (contract C8.12).
// Where a step fails the tenant stays deleting, and Delete again goes on. A tenant
// that is being made is deleted only once nobody is at it any more.
func (l *Lifecycle) Delete(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	// Hooks are asked about the registry as it is, and before anything is written:
	// a refusal also leaves alone what only looks given up.
	t, err := l.fresh(ctx, id)
	if err != nil {
		return err
	}
	if t.State != StateDeleting && !t.IsControlPlane() {
		if err := l.ask(ctx, &Proposal{Action: "delete", Tenant: t}); err != nil {
			return err
		}
	}
	if err := l.giveUp(ctx, id); err != nil {
		return err
	}
	j, err := l.deprovision(ctx, id)
	if err != nil {
		return err
	}
	if t, err = l.setState(ctx, id, StateDeleting, "", j); err != nil {
		return err
	}
	j.note("database", "started", nil)
	if err := errors.Join(l.dropAllCopies(ctx, id), l.Pool.Drop(ctx, t), l.forsaken(ctx, id)); err != nil {
		return errors.Join(fmt.Errorf("deleting tenant %s: %w", id, err), l.stuck(ctx, j, err))
	}
	j.note("database", "succeeded", nil)
	if err := l.unregister(ctx, t, j); err != nil {
		return err
	}
	l.record(ctx, t, "deleted")
	return l.Directory.Refresh(ctx)
}

// fresh reads a tenant's registry row; the [Directory] may know an older one.
func (l *Lifecycle) fresh(ctx context.Context, id string) (*Tenant, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return Tenants.Get(inside, id)
}

// Resume takes up the creations, deletions, moves, upgrades and backups that an end of
// the process cut off, and removes half of what was restored or imported. It returns
// the errors of those that failed again, joined.
func (l *Lifecycle) Resume(ctx context.Context) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
		room = make(chan struct{}, 4)
	)
	for _, t := range l.Directory.All() {
		if t.State != StateProvisioning && t.State != StateDeleting {
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			var err error
			if t.State == StateDeleting {
				err = l.Delete(ctx, t.ID)
			} else {
				err = l.resume(ctx, t)
			}
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	wg.Wait()
	return errors.Join(append(errs, l.resumeUpgrades(ctx), l.resumeMoves(ctx), l.endCutOff(ctx), l.resumeBackups(ctx))...)
}
