package sync

import (
	"context"
	"reflect"
	"slices"
	"strings"

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
	detached  []*T    // copies that became the tenant's own, as such
	inserted  []*T
	conflicts []Conflict
	present   []*T // what is there afterwards, of what was looked at

	was     map[*T]*T     // rows as they were, of those that are changed
	adopted []*T          // among updated: rows that were the tenant's own
	former  map[*T]string // what detached rows were copies of
	waiting int64         // copies under another name than they should have
}

// reconcile compares the rows a tenant has with those it should have, by id.
// have holds, of the selected, every copy and every row in the way of one.
// Copies are matched by origin, never by name (contract C6.8).
func reconcile[T any](w *wish[T], sel selection, have []T) delta[T] {
	r := reconciler[T]{wish: w, kind: w.kind, byOrigin: map[string]*T{}, byID: map[string]*T{}, byUnique: map[string]*T{}}
	r.was, r.former = map[*T]*T{}, map[*T]string{}
	for i := range have {
		m := r.kind.Of(&have[i])
		r.byID[m.Row.ID], r.byUnique[*m.Unique] = &have[i], &have[i]
		if *m.Origin != "" {
			r.byOrigin[*m.Origin] = &have[i]
		}
	}
	ids := w.some(sel)
	for _, id := range ids {
		r.settle(id)
	}
	r.findStuck(ids)
	for _, id := range ids {
		r.place(id)
	}
	for i := range have {
		r.end(&have[i], sel)
	}
	return r.delta
}

type reconciler[T any] struct {
	delta[T]
	wish                     *wish[T]
	kind                     *Kind[T]
	byOrigin, byID, byUnique map[string]*T // what the tenant has
	stuck                    map[*T]bool   // copies that cannot get the unique value they should have
}

// end decides what becomes of a row that is there: whether it goes.
func (r *reconciler[T]) end(row *T, sel selection) {
	m := r.kind.Of(row)
	origin := *m.Origin
	switch {
	case slices.ContainsFunc(r.rekeyed, func(pair [2]*T) bool { return pair[0] == row }):
	case origin == "" || !sel.has(origin) || r.wish.of(origin) != nil || r.wish.held(origin):
		r.present = append(r.present, row)
	case r.wish.detaches(origin):
		r.remember(row)
		*m.Origin, *m.IsSystem = "", false
		r.former[row] = origin
		r.detached, r.present = append(r.detached, row), append(r.present, row)
	default:
		r.removed = append(r.removed, row)
	}
}

// remember keeps a row as it is before it is changed.
func (r *reconciler[T]) remember(row *T) *T {
	if r.was[row] == nil {
		before := *row
		r.was[row] = &before
	}
	return r.was[row]
}

// settle deals with a row of the tenant's own in place of a copy: one that was a
// copy is one again, and the policy says what becomes of others.
func (r *reconciler[T]) settle(id string) {
	unique := *r.kind.Of(r.wish.of(id)).Unique
	copied, holder := r.byOrigin[id], r.byUnique[unique]
	if former := r.formerCopy(id); copied == nil && former != nil && (holder == nil || holder == former) {
		r.take(id, former)
		return
	}
	if copied == nil && holder == nil {
		holder = r.byID[id] // as after an import
	}
	if holder == nil || holder == copied || *r.kind.Of(holder).Origin != "" {
		return
	}
	switch policy := r.wish.rules.policies[r.kind.Name]; {
	case policy == PolicyAdopt && copied == nil && !*r.kind.Of(holder).IsSystem && (r.byID[id] == nil || r.byID[id] == holder):
		r.take(id, holder)
		r.adopted = append(r.adopted, holder)
	case r.kind.Rename != nil:
		r.rename(id, copied, policy)
	}
}

// formerCopy returns the tenant's row that was a copy of the control plane's and was
// detached, or nil.
func (r *reconciler[T]) formerCopy(id string) *T {
	for local, origin := range r.wish.detached {
		if of, ok := cutKind(local, r.kind.Name); ok && origin == id {
			if row := r.byID[of]; row != nil && *r.kind.Of(row).Origin == "" {
				return row
			}
		}
	}
	return nil
}

// take makes a row of the tenant's own the copy.
func (r *reconciler[T]) take(id string, row *T) {
	r.remember(row)
	*r.kind.Of(row).Origin = id
	r.byOrigin[id] = row
}

// rename has a copy made, or kept, under its other name, if that is free.
func (r *reconciler[T]) rename(id string, copied *T, policy string) {
	row := r.wish.otherName(id)
	unique := *r.kind.Of(&row).Unique
	if policy != PolicyRename && (copied == nil || *r.kind.Of(copied).Unique != unique) {
		return
	}
	if holder := r.byUnique[unique]; holder != nil && holder != copied {
		return
	}
	for other, from := range r.wish.shared {
		if other != id && *r.kind.Of(from).Unique == unique {
			return
		}
	}
	r.wish.renamed[id] = &row
	r.waiting++
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
			unique := *r.kind.Of(r.wish.of(id)).Unique
			if holder := r.byUnique[unique]; holder != nil && holder != row && !r.yields(holder, unique) {
				r.stuck[row], again = true, true
			}
		}
	}
}

// place decides what becomes of one row of the control plane in the tenant.
func (r *reconciler[T]) place(id string) {
	from := r.wish.of(id)
	wanted := r.kind.Of(from)
	holder, held := r.byUnique[*wanted.Unique]
	if row := r.byOrigin[id]; row != nil {
		if r.stuck[row] {
			r.conflict(id, holder)
			return
		}
		before := r.remember(row)
		m := r.kind.Of(row)
		*m.IsSystem = true
		r.kind.Copy(row, from)
		if reflect.DeepEqual(before, row) {
			return
		}
		if *r.kind.Of(before).Unique != *m.Unique {
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
	case r.kind.Rekey != nil && r.wish.of(*r.kind.Of(holder).Origin) == nil:
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
	if origin == "" || r.stuck[holder] || r.wish.held(origin) {
		return false
	}
	if from := r.wish.of(origin); from != nil {
		return *r.kind.Of(from).Unique != unique
	}
	return !r.wish.detaches(origin)
}

func (r *reconciler[T]) conflict(id string, holder *T) {
	m := r.kind.Of(r.wish.of(id))
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
	for _, row := range slices.Concat(d.detached, d.updated) {
		list = append(list, k.Table.Replace(ctx, row))
	}
	for _, row := range d.inserted {
		list = append(list, k.Table.Insert(ctx, row))
	}
	return list
}

// haveOf reads what reconcile needs to see of a tenant's rows: all, or those
// that are copies of the selected or stand in their place. uniques are further
// unique values to look at.
func haveOf[T any](ctx context.Context, w *wish[T], sel selection, uniques ...string) ([]T, error) {
	k, origins, ids := w.kind, sel.ids, w.locals(sel)
	uniques = append(uniques, w.uniques(sel)...)
	switch {
	case sel.all:
		return k.Table.Find(ctx, tenancy.Filter{})
	case len(uniques) == 0 && len(ids) == 0:
		return nil, nil
	case len(uniques) == 0:
		return k.Table.Find(ctx, tenancy.Filter{Where: "id IN ? OR origin IN ?", Args: []any{ids, origins}})
	case len(ids) == 0:
		return k.Table.Find(ctx, tenancy.Filter{Where: k.Column + " IN ?", Args: []any{uniques}})
	}
	return k.Table.Find(ctx, tenancy.Filter{Where: "id IN ? OR origin IN ? OR " + k.Column + " IN ?", Args: []any{ids, origins, uniques}})
}

// cutKind returns the id in a key of [tenancy.SyncState.Detached], where it is one
// of the kind.
func cutKind(key, kind string) (string, bool) { return strings.CutPrefix(key, kind+"/") }
