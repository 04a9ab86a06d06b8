package sync

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Kinds of [Drift].
const (
	DriftMissing  = "missing"  // the tenant has no copy
	DriftExtra    = "extra"    // the tenant has a copy of what it should not have
	DriftModified = "modified" // the copy differs
	DriftConflict = "conflict" // a row of the tenant's own is in the way
)

// Drift is one difference between what a tenant has and what it should have
// (contract C5.102).
type Drift struct {
	TenantID string       `json:"tenant_id"`
	Entity   string       `json:"entity"`    // kind as in the change log
	OriginID string       `json:"origin_id"` // the control plane's row
	LocalID  string       `json:"local_id"`  // the tenant's row; "" where there is none
	Kind     string       `json:"kind"`
	Fields   []Difference `json:"fields"`

	// Action is what a repair does: create, update, adopt, delete, detach, or
	// none. It is left out of what only looks.
	Action string `json:"action,omitempty"`
}

// Difference is a member of a row that differs. Of permissions only those that
// are missing are expected, and those too many actual.
type Difference struct {
	Name     string `json:"name"`
	Expected any    `json:"expected"`
	Actual   any    `json:"actual"`
}

// DriftFilter asks for the drift of some tenants. The zero DriftFilter means all.
type DriftFilter struct {
	TenantIDs []string // nil for all
	Entities  []string // kinds as in the change log; nil for all
	From      string   // only tenants with a later id
	Take      int      // how many tenants, at most; 0 for all
}

// TenantDrift is what was found in one tenant.
type TenantDrift struct {
	TenantID string
	Drift    []Drift
	Err      error // why the tenant could not be compared
	Of       int   // how many tenants are compared in all, so that progress can be shown
}

// Drift compares tenants with the control plane, a bounded number at a time, and
// writes nothing. It yields them in the order of their ids until yield returns an
// error, which it returns. Errors are those of [Loop.Status], and a 404 for a
// tenant that is not there.
func (l *Loop) Drift(ctx context.Context, f DriftFilter, yield func(TenantDrift) error) error {
	return l.differences(ctx, f, &l.rules, yield)
}

// Plan is [Loop.Drift] as a repair would see it: by its policy, of the tenants and
// kinds it names. Each [Drift.Action] is what the repair would do. Another error is
// a 400 for a repair that cannot be.
func (l *Loop) Plan(ctx context.Context, wish tenancy.Repair, yield func(TenantDrift) error) error {
	if err := CheckRepair(wish); err != nil {
		return err
	}
	return l.differences(ctx, DriftFilter{TenantIDs: wish.TenantIDs, Entities: wish.Entities}, l.rules.with(wish.OnConflict), yield)
}

func (l *Loop) differences(ctx context.Context, f DriftFilter, by *rules, yield func(TenantDrift) error) error {
	p, err := l.look(ctx)
	if err != nil {
		return err
	}
	list, err := l.chosen(ctx, f.TenantIDs)
	if err != nil {
		return err
	}
	list = page(list, f)
	return inOrder(ctx, l.workers, list, func(ctx context.Context, t *tenancy.Tenant) TenantDrift {
		found, err := l.driftOf(ctx, t, p, by, f.Entities)
		if err == nil {
			l.compared.Add(1)
			l.differing.Add(int64(len(found)))
		}
		return TenantDrift{t.ID, found, err, len(list)}
	}, yield)
}

// page is the part of the tenants that a filter means.
func page(list []*tenancy.Tenant, f DriftFilter) []*tenancy.Tenant {
	begin, _ := slices.BinarySearchFunc(list, f.From, func(t *tenancy.Tenant, id string) int { return compare(t.ID, id) })
	if begin < len(list) && list[begin].ID == f.From {
		begin++
	}
	list = list[begin:]
	if f.Take > 0 {
		list = list[:min(f.Take, len(list))]
	}
	return list
}

// chosen returns the tenants in question by their ids, in order. One that is not
// there is a 404.
func (l *Loop) chosen(ctx context.Context, ids []string) ([]*tenancy.Tenant, error) {
	if err := l.directory.Refresh(ctx); err != nil {
		return nil, err
	}
	var list []*tenancy.Tenant
	if ids == nil {
		for _, t := range l.directory.All() {
			if inScope(t) {
				list = append(list, t)
			}
		}
	}
	for _, id := range ids {
		t, ok := l.directory.ByID(id)
		if !ok || !inScope(t) {
			return nil, tenancy.Errorf(http.StatusNotFound, "not_found", "Tenant not found")
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *tenancy.Tenant) int { return compare(a.ID, b.ID) })
	return slices.Compact(list), nil
}

// driftOf compares one tenant.
func (l *Loop) driftOf(ctx context.Context, t *tenancy.Tenant, p *picture, by *rules, entities []string) ([]Drift, error) {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	inside, leave, err := l.pool.EnterIdle(ctx, t)
	if err != nil {
		return nil, err
	}
	defer leave()
	state, err := syncState(inside)
	if err != nil {
		return nil, err
	}
	pl := &plan{visitor: &visitor{rules: by, tenant: t, inside: inside}, picture: p, work: everything, state: state, explain: true}
	if err := pl.compare(); err != nil {
		return nil, err
	}
	found := []Drift{}
	for _, d := range pl.drift {
		if len(entities) == 0 || slices.Contains(entities, d.Entity) {
			d.TenantID = t.ID
			found = append(found, d)
		}
	}
	return found, nil
}

// drifted lists what was found of a kind.
func drifted[T any](w *wish[T], d delta[T]) (list []Drift) {
	found := func(row *T, kind, action string, fields []Difference) {
		m := w.kind.Of(row)
		one := Drift{Entity: w.kind.Name, OriginID: *m.Origin, LocalID: m.Row.ID, Kind: kind, Action: action, Fields: fields}
		if origin, ok := d.former[row]; ok {
			one.OriginID = origin
		}
		if kind == DriftMissing {
			one.LocalID = ""
		}
		list = append(list, one)
	}
	for _, row := range d.inserted {
		found(row, DriftMissing, "create", []Difference{})
	}
	for _, row := range d.updated {
		action := "update"
		if slices.Contains(d.adopted, row) {
			action = "adopt"
		}
		found(row, DriftModified, action, differing(d.was[row], row))
	}
	for _, row := range d.removed {
		found(row, DriftExtra, "delete", []Difference{})
	}
	for _, pair := range d.rekeyed {
		found(pair[0], DriftExtra, "delete", []Difference{})
	}
	for _, row := range d.detached {
		found(row, DriftExtra, "detach", []Difference{})
	}
	for _, c := range d.conflicts {
		list = append(list, Drift{
			Entity: c.Entity, OriginID: c.OriginID, LocalID: c.LocalID, Kind: DriftConflict, Action: "none", Fields: []Difference{},
		})
	}
	return list
}

// differing lists the members that differ between a row as it is and as it should
// be, by the names they have in the management API.
func differing(is, should any) []Difference {
	actual, expected := membersOf(is), membersOf(should)
	list := []Difference{}
	for _, name := range sortedKeys(expected) {
		if !reflect.DeepEqual(actual[name], expected[name]) {
			list = append(list, Difference{name, expected[name], actual[name]})
		}
	}
	return list
}

// membersOf has none of the secrets, which are in no row's JSON.
func membersOf(row any) map[string]any {
	members := map[string]any{}
	if b, err := json.Marshal(row); err == nil {
		_ = json.Unmarshal(b, &members) // it was JSON a moment ago
	}
	delete(members, "created_at")
	delete(members, "updated_at")
	return members
}

// inOrder has work done for each of a list, at most n at a time, and done called
// with the results in the order of the list. It returns the first error of done, or
// ctx's, when all that was begun has ended.
func inOrder[T, R any](ctx context.Context, n int, list []T, work func(context.Context, T) R, done func(R) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots, results := make(chan struct{}, n), make(chan chan R, n)
	go func() {
		defer close(results)
		for _, item := range list {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			result := make(chan R, 1)
			go func() { result <- work(ctx, item); <-slots }()
			results <- result
		}
	}()
	var failure error
	for result := range results {
		r := <-result
		if failure == nil {
			failure = done(r)
		}
		if failure != nil {
			cancel()
		}
	}
	if failure == nil {
		failure = ctx.Err()
	}
	return failure
}
