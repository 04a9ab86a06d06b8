package sync

import (
	"context"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// readFallbacks reads what tenants may fall back on (contract 7.5).
func (p *picture) readFallbacks(inside context.Context) error {
	list, err := tenancy.OfferedFallbacks(inside)
	if err != nil {
		return err
	}
	p.offered, p.offers = list, make(map[string]*tenancy.Fallback, len(list))
	for i := range list {
		p.offers[list[i].ID] = &list[i]
	}
	return nil
}

// wantedFallbacks are those that the tenant should have, by id: of each strategy
// it inherits the oldest connection, what its copies are copies of, and the e-mail
// provider. A secret that nothing in the tenant can use is not taken there. held
// are those of copies of which nobody can say whether they should be.
func (p *plan) wantedFallbacks() (wanted, held map[string]bool) {
	choice := p.tenant.Inheritance.Over(p.rules.inherit)
	copies := wishOf(p, &connections, p.picture.connections)
	wanted, held = map[string]bool{}, map[string]bool{}
	covered := map[string]bool{}
	for i := range p.picture.offered {
		f := &p.picture.offered[i]
		switch {
		case !choice.Covers(f.Covers):
		case !covered[f.Covers], copies.of(f.ID) != nil:
			wanted[f.ID], covered[f.Covers] = true, true
		case copies.held(f.ID):
			held[f.ID] = true
		}
	}
	return wanted, held
}

// fallbacks brings what the tenant falls back on to what it should be, in the same
// batch as everything else: what the control plane takes back or replaces is gone
// with the revision that says so (contract C7.21).
func (p *plan) fallbacks() error {
	wanted, held := p.wantedFallbacks()
	have, err := tenancy.Fallbacks.Find(p.inside, tenancy.Filter{})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range have {
		row := &have[i]
		there[row.ID] = true
		offer := p.picture.offers[row.ID]
		switch {
		case offer == nil, !wanted[row.ID] && !held[row.ID]:
			p.stmts = append(p.stmts, tenancy.Fallbacks.Remove(p.inside, row.ID))
			p.fellBack(row, DriftExtra, "delete")
			continue
		case held[row.ID]:
			continue
		}
		same, err := equalJSON(contentOf(row), contentOf(offer))
		if err != nil {
			return err
		}
		if !same {
			row.Covers, row.Born, row.Options, row.Secrets = offer.Covers, offer.Born, offer.Options, offer.Secrets
			p.stmts = append(p.stmts, tenancy.Fallbacks.Replace(p.inside, row))
			p.fellBack(row, DriftModified, "update")
		}
	}
	for _, id := range sortedKeys(wanted) {
		if there[id] {
			continue
		}
		row := *p.picture.offers[id]
		row.Row = tenancy.Row{ID: id}
		p.stmts = append(p.stmts, tenancy.Fallbacks.Insert(p.inside, &row))
		p.fellBack(&row, DriftMissing, "create")
	}
	return nil
}

func contentOf(f *tenancy.Fallback) any { return []any{f.Covers, f.Born, f.Options, f.Secrets} }

// fellBack adds to the drift that a fallback differs, not in what (contract C7.18).
func (p *plan) fellBack(row *tenancy.Fallback, kind, action string) {
	if !p.explain {
		return
	}
	d := Drift{
		Entity: tenancy.KindSettings, OriginID: row.ID, LocalID: row.ID, Kind: kind, Action: action,
		Fields: []Difference{{Name: row.Covers}},
	}
	if kind == DriftMissing {
		d.LocalID = ""
	}
	p.drift = append(p.drift, d)
}
