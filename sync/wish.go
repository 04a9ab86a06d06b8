package sync

import "github.com/gatehouse-id/gatehouse/tenancy"

// Problem is a row of the control plane or a setting for which an expression of
// the configuration failed. What the tenant has of it is left as it was.
type Problem struct {
	Entity   string `json:"entity"`    // kind, e.g. "role"
	OriginID string `json:"origin_id"` // the control plane's row, or the setting's key
	Error    string `json:"error"`
}

// wish is what one tenant should have of a kind: what the control plane shares,
// less what the tenant's switch, the configuration and its expression leave out.
type wish[T any] struct {
	kind     *Kind[T]
	tenant   *tenancy.Tenant
	rules    *rules
	on       bool
	shared   map[string]*T   // by id; of all tenants, so not to be changed
	unshared map[string]bool // ids of rows that opted out
	detached map[string]string

	verdicts map[string]verdict
	renamed  map[string]*T // rows under the name they get in this tenant
	problems []Problem
}

type verdict int

const (
	unjudged verdict = iota
	wanted
	unwanted
	failed // the expression did not say
)

func wishOf[T any](p *plan, k *Kind[T], shared map[string]*T) *wish[T] {
	return &wish[T]{
		kind: k, tenant: p.tenant, rules: p.rules, on: p.rules.enabled(k.Name, k.Switch(p.tenant.Sync)),
		shared: shared, unshared: p.picture.unshared[k.Name], detached: p.state.Detached,
		verdicts: map[string]verdict{}, renamed: map[string]*T{},
	}
}

// of returns what a copy should be like, or nil where there should be none.
func (w *wish[T]) of(id string) *T {
	if row := w.renamed[id]; row != nil {
		return row
	}
	if w.judge(id) != wanted {
		return nil
	}
	return w.shared[id]
}

// held reports whether a copy stays as it is, because nobody can say what it
// should be like.
func (w *wish[T]) held(id string) bool { return w.judge(id) == failed }

// detaches reports whether a copy that should not be becomes the tenant's own: its
// row is there, but no longer for this tenant (contract C6.19, C6.20).
func (w *wish[T]) detaches(id string) bool {
	return w.rules.detach && (w.shared[id] != nil || w.unshared[id])
}

// judge asks once whether the tenant should have a copy.
func (w *wish[T]) judge(id string) verdict {
	row := w.shared[id]
	switch {
	case !w.on || row == nil:
		return unwanted
	case w.rules.exclude == nil:
		return wanted
	}
	v := w.verdicts[id]
	if v == unjudged {
		out, err := w.rules.exclude(w.kind.entity(row), w.tenant)
		switch {
		case err != nil:
			v = failed
			w.problems = append(w.problems, Problem{w.kind.Name, id, reason(err)})
		case out:
			v = unwanted
		default:
			v = wanted
		}
		w.verdicts[id] = v
	}
	return v
}

// some returns the ids among the selected that there should be copies of, in
// order.
func (w *wish[T]) some(sel selection) (list []string) {
	ids := sel.ids
	if sel.all {
		ids = sortedKeys(w.shared)
	}
	for _, id := range ids {
		if w.of(id) != nil {
			list = append(list, id)
		}
	}
	return list
}

// uniques are the unique values that copies of the selected may want, to look for
// what is in the way.
func (w *wish[T]) uniques(sel selection) (list []string) {
	for _, id := range sel.ids {
		row := w.of(id)
		if row == nil {
			continue
		}
		list = append(list, *w.kind.Of(row).Unique)
		if w.kind.Rename != nil {
			other := w.otherName(id)
			list = append(list, *w.kind.Of(&other).Unique)
		}
	}
	return list
}

// locals are ids that rows of the selected may have here.
func (w *wish[T]) locals(sel selection) []string {
	list := sel.ids
	for local, origin := range w.detached {
		if id, ok := cutKind(local, w.kind.Name); ok && !sel.all && sel.has(origin) {
			list = append(list[:len(list):len(list)], id)
		}
	}
	return list
}

// otherName is the row under the name of a copy beside one of the tenant's own.
func (w *wish[T]) otherName(id string) T {
	row := *w.shared[id]
	w.kind.Rename(&row)
	return row
}
