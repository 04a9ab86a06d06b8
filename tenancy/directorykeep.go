package tenancy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Shelf keeps one value outside of every database, for a start at which the
// control plane's does not answer. Its methods are called one at a time.
type Shelf interface {
	// Load returns what was stored last, or an error that is [io/fs.ErrNotExist]
	// where nothing was.
	Load(ctx context.Context) ([]byte, error)

	// Store replaces it, whole or not at all.
	Store(ctx context.Context, value []byte) error
}

// keptTenant is what serving a tenant needs of its registry row. Times are whole
// microseconds: a row is known by when it was made.
type keptTenant struct {
	ID, ControlPlane                  string
	Revision                          int64
	CreatedAt, UpdatedAt              int64
	FriendlyName, OrganizationID      string
	State                             State
	Audience                          string
	Metadata                          map[string]string `json:",omitempty"`
	Quotas                            map[string]int64  `json:",omitempty"`
	Placement, Database, DataKey      string
	FenceFrom, FenceUntil             int64  `json:",omitempty"`
	Copies                            []Copy `json:",omitempty"`
	SchemaVersion                     int64
	SuspendedAt                       int64  `json:",omitempty"`
	SuspendedReason, ProvisioningStep string `json:",omitempty"`
}

// keptDomain is what serving a ready custom domain needs.
type keptDomain struct {
	ID, ControlPlane, Subject, Domain, Type, Token string
	Revision                                       int64
	Primary                                        bool
}

// keptDirectory is what a [Shelf] has, as sealed JSON.
type keptDirectory struct {
	Version      int
	Head         int64
	ControlPlane string // id
	Tenants      []keptTenant
	Domains      []keptDomain
}

// keptVersion is that of the form above. Another one is not read.
const keptVersion = 1

// keptPlace is what the value is sealed for.
const keptPlace = "directory"

// Keep stores what the directory knows on a shelf, sealed: who has the shelf
// neither learns anything nor can say which host is whose.
func (d *Directory) Keep(ctx context.Context, s Shelf, master *Ring) error {
	d.mu.RLock()
	k := keptDirectory{Version: keptVersion, Head: d.head}
	if d.controlPlane != nil {
		k.ControlPlane = d.controlPlane.ID
	}
	for _, t := range d.byID {
		k.Tenants = append(k.Tenants, keptTenant{
			ID: t.ID, ControlPlane: t.TenantID, Revision: t.Revision, CreatedAt: int64(t.CreatedAt), UpdatedAt: int64(t.UpdatedAt),
			FriendlyName: t.FriendlyName, OrganizationID: t.OrganizationID, State: t.State, Audience: t.Audience, Metadata: t.Metadata, Quotas: t.Quotas,
			Placement: t.Placement, Database: t.Database, DataKey: t.DataKey, FenceFrom: int64(t.FenceFrom), FenceUntil: int64(t.FenceUntil), Copies: t.Copies,
			SchemaVersion: t.SchemaVersion, SuspendedAt: int64(t.SuspendedAt), SuspendedReason: t.SuspendedReason, ProvisioningStep: t.ProvisioningStep,
		})
	}
	for _, c := range d.domains.byName {
		k.Domains = append(k.Domains, keptDomain{
			ID: c.ID, ControlPlane: c.TenantID, Subject: c.Subject, Domain: c.Domain, Type: c.Type, Token: c.Token, Revision: c.Revision, Primary: c.Primary,
		})
	}
	d.mu.RUnlock()
	if k.ControlPlane == "" {
		return errors.New("the directory knows nothing yet")
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(k), w.Close()); err != nil {
		return err
	}
	return s.Store(ctx, []byte(master.Seal(keptPlace, b.Bytes())))
}

// Recall is Open with what was kept, for when the control plane's database does
// not answer. What has changed since is not known until it does: [Directory.Run]
// then reads it.
func (d *Directory) Recall(ctx context.Context, s Shelf, master *Ring) error {
	value, err := s.Load(ctx)
	if err != nil {
		return err
	}
	k, err := openKept(master, string(value))
	if err != nil {
		return fmt.Errorf("what was kept of the directory cannot be read: %w", err)
	}
	d.looking.Lock()
	defer d.looking.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range k.Tenants {
		t := k.Tenants[i].tenant()
		d.put(t.ID, t)
	}
	if d.controlPlane == nil || d.controlPlane.ID != k.ControlPlane {
		return errors.New("what was kept of the directory has no control plane")
	}
	ds := &domains{byName: make(map[string]*CustomDomain, len(k.Domains)), byTenant: make(map[string][]*CustomDomain)}
	for i := range k.Domains {
		ds.add(k.Domains[i].domain())
	}
	d.keepDomains(ds)
	d.head = k.Head
	d.stale = Unavailable(errors.New("the control plane has not answered since the start"), "")
	return nil
}

func openKept(master *Ring, sealed string) (*keptDirectory, error) {
	plain, err := master.Open(keptPlace, sealed)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(plain))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	k := new(keptDirectory)
	if err := json.Unmarshal(text, k); err != nil {
		return nil, err
	}
	if k.Version != keptVersion {
		return nil, fmt.Errorf("it has version %d, not %d", k.Version, keptVersion)
	}
	return k, nil
}

func (k *keptTenant) tenant() *Tenant {
	return &Tenant{
		Row:          Row{TenantID: k.ControlPlane, ID: k.ID, Revision: k.Revision, CreatedAt: Time(k.CreatedAt), UpdatedAt: Time(k.UpdatedAt)},
		FriendlyName: k.FriendlyName, OrganizationID: k.OrganizationID, State: k.State, Audience: k.Audience, Metadata: k.Metadata, Quotas: k.Quotas,
		Placement: k.Placement, Database: k.Database, DataKey: k.DataKey, FenceFrom: Time(k.FenceFrom), FenceUntil: Time(k.FenceUntil), Copies: k.Copies,
		SchemaVersion: k.SchemaVersion, SuspendedAt: Time(k.SuspendedAt), SuspendedReason: k.SuspendedReason, ProvisioningStep: k.ProvisioningStep,
	}
}

func (k *keptDomain) domain() *CustomDomain {
	return &CustomDomain{
		Row: Row{TenantID: k.ControlPlane, ID: k.ID, Revision: k.Revision}, Subject: k.Subject, Domain: k.Domain, Held: k.Domain,
		Type: k.Type, Token: k.Token, Primary: k.Primary, Status: DomainReady,
	}
}

// A change is kept soon after it was made, and in a row of many the next one a
// while later: a large directory is a large value.
const (
	keepSoon  = 200 * time.Millisecond
	keepEvery = 2 * time.Second
)

// RunKeeper keeps the directory on a shelf whenever it has changed, until ctx
// ends. failed is told of each change that could not be kept, once.
func (d *Directory) RunKeeper(ctx context.Context, s Shelf, master *Ring, failed func(error)) {
	tick := time.NewTicker(keepSoon)
	defer tick.Stop()
	kept, told := int64(-1), int64(-1)
	var last time.Time
	look := func(ctx context.Context) {
		d.mu.RLock()
		head, known := d.head, d.stale == nil
		d.mu.RUnlock()
		if known && head != kept {
			last = time.Now()
			switch err := d.Keep(ctx, s, master); {
			case err == nil:
				kept = head
			case ctx.Err() == nil && head != told:
				told = head
				failed(err)
			}
		}
	}
	for {
		if time.Since(last) >= keepEvery {
			look(ctx)
		}
		select {
		case <-ctx.Done():
			final, stop := context.WithTimeout(context.WithoutCancel(ctx), keepEvery)
			defer stop()
			look(final)
			return
		case <-tick.C:
		}
	}
}
