package sync

import (
	"context"
	"reflect"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Conflict is a row of the control plane that has no copy in a tenant, or one
// under an older name, because the tenant owns a row in its place (contract
// C6.21). The tenant's row is not touched.
type Conflict struct {
	Entity   string `json:"entity"`    // kind, e.g. "role"
	OriginID string `json:"origin_id"` // the control plane's row
	LocalID  string `json:"local_id"`  // the tenant's row
	Value    string `json:"value"`     // the name or identifier both want
}

// delta is the difference between what a tenant has of a kind and what it
// should have.
type delta[T any] struct {
	removed   []*T
	rekeyed   [][2]*T // from, to
	parked    []*T    // copies to take their unique value from, until they get the new one
	updated   []*T    // with the new members set
	inserted  []*T
	conflicts []Conflict
	present   []*T // what is there afterwards, of what was looked at
}

// reconcile compares the rows a tenant has with the control plane's, by id.
// have holds, of the selected, every copy and every row in the way of one.
// Copies are matched by origin, never by name (contract C6.8).
func reconcile[T any](k *Kind[T], want map[string]*T, sel selection, have []T) delta[T] {
	r := reconciler[T]{kind: k, want: want, byOrigin: map[string]*T{}, byID: map[string]*T{}, byUnique: map[string]*T{}}
	for i := range have {
		m := k.Of(&have[i])
		r.byID[m.Row.ID], r.byUnique[*m.Unique] = &have[i], &have[i]
		if *m.Origin != "" {
			r.byOrigin[*m.Origin] = &have[i]
		}
	}
	ids := sel.ids
	if sel.all {
		ids = sortedKeys(want)
	}
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return want[id] == nil })
	r.findStuck(ids)
	for _, id := range ids {
		r.place(id)
	}
	for i := range have {
		row := &have[i]
		origin := *k.Of(row).Origin
		switch {
		case slices.ContainsFunc(r.rekeyed, func(pair [2]*T) bool { return pair[0] == row }):
		case origin == "" || !sel.has(origin) || want[origin] != nil:
			r.present = append(r.present, row)
		default:
			r.removed = append(r.removed, row)
		}
	}
	return r.delta
}

type reconciler[T any] struct {
	delta[T]
	kind                     *Kind[T]
	want                     map[string]*T // by id
	byOrigin, byID, byUnique map[string]*T // what the tenant has
	stuck                    map[*T]bool   // copies that cannot get the unique value they should have
}

// findStuck finds the copies that have to keep their old name, because what
// they would be called now is the tenant's own or belongs to a copy that is
// itself stuck.
func (r *reconciler[T]) findStuck(ids []string) {
	r.stuck = map[*T]bool{}
	for again := true; again; {
		again = false
		for _, id := range ids {
			row := r.byOrigin[id]
			if row == nil || r.stuck[row] {
				continue
			}
			unique := *r.kind.Of(r.want[id]).Unique
			if holder := r.byUnique[unique]; holder != nil && holder != row && !r.yields(holder, unique) {
				r.stuck[row], again = true, true
			}
		}
	}
}

// place decides what becomes of one row of the control plane in the tenant.
func (r *reconciler[T]) place(id string) {
	from := r.want[id]
	wanted := r.kind.Of(from)
	holder, held := r.byUnique[*wanted.Unique]
	if row := r.byOrigin[id]; row != nil {
		if r.stuck[row] {
			r.conflict(id, holder)
			return
		}
		before := *row
		m := r.kind.Of(row)
		*m.IsSystem = true
		r.kind.Copy(row, from)
		if reflect.DeepEqual(before, *row) {
			return
		}
		if *r.kind.Of(&before).Unique != *m.Unique {
			r.parked = append(r.parked, row)
		}
		r.updated = append(r.updated, row)
		return
	}
	row := new(T)
	r.kind.Copy(row, from)
	m := r.kind.Of(row)
	m.Row.ID, *m.IsSystem, *m.Origin = id, true, id
	switch {
	case r.byID[id] != nil: // a row of the tenant's own that has this id, as after an import
		r.conflict(id, r.byID[id])
		return
	case !held:
	case !r.yields(holder, *wanted.Unique):
		r.conflict(id, holder)
		return
	case r.kind.Rekey != nil && r.want[*r.kind.Of(holder).Origin] == nil:
		r.rekeyed = append(r.rekeyed, [2]*T{holder, row})
	}
	r.inserted = append(r.inserted, row)
	r.present = append(r.present, row)
}

// yields reports whether the holder of a unique value gives it up: it is a copy
// that will be removed, or that is called otherwise on the control plane now and
// can be here.
func (r *reconciler[T]) yields(holder *T, unique string) bool {
	origin := *r.kind.Of(holder).Origin
	if origin == "" || r.stuck[holder] {
		return false
	}
	from := r.want[origin]
	return from == nil || *r.kind.Of(from).Unique != unique
}

func (r *reconciler[T]) conflict(id string, holder *T) {
	m := r.kind.Of(r.want[id])
	r.conflicts = append(r.conflicts, Conflict{
		Entity: r.kind.Name, OriginID: id,
		LocalID: r.kind.Of(holder).Row.ID, Value: m.Title,
	})
}

// statements gives the batch that applies a difference. Removals come first and
// unique values that move from one copy to another are parked in between, so
// that no order of names breaks uniqueness on the way.
func (d delta[T]) statements(ctx context.Context, k *Kind[T]) []tenancy.Stmt {
	var list []tenancy.Stmt
	for _, row := range d.removed {
		list = append(list, k.Remove(ctx, row)...)
	}
	for _, pair := range d.rekeyed {
		list = append(list, k.Rekey(ctx, pair[0], pair[1])...)
	}
	if len(d.parked) > 1 {
		for _, row := range d.parked {
			id := k.Of(row).Row.ID
			list = append(list, tenancy.SQL(ctx, "UPDATE "+k.Table.Name()+" SET "+k.Column+" = ? WHERE tenant_id = @tenant AND id = ?",
				tenancy.Join("", id), id))
		}
	}
	for _, row := range d.updated {
		list = append(list, k.Table.Replace(ctx, row))
	}
	for _, row := range d.inserted {
		list = append(list, k.Table.Insert(ctx, row))
	}
	return list
}

// haveOf reads what reconcile needs to see of a tenant's rows: all, or those
// that are copies of the selected or stand in their place.
func haveOf[T any](ctx context.Context, k *Kind[T], ids, uniques []string, all bool) ([]T, error) {
	switch {
	case all:
		return k.Table.Find(ctx, tenancy.Filter{})
	case len(uniques) == 0 && len(ids) == 0:
		return nil, nil
	case len(uniques) == 0:
		return k.Table.Find(ctx, tenancy.Filter{Where: "id IN ? OR origin IN ?", Args: []any{ids, ids}})
	case len(ids) == 0:
		return k.Table.Find(ctx, tenancy.Filter{Where: k.Column + " IN ?", Args: []any{uniques}})
	}
	return k.Table.Find(ctx, tenancy.Filter{Where: "id IN ? OR origin IN ? OR " + k.Column + " IN ?", Args: []any{ids, ids, uniques}})
}
