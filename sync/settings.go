package sync

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// inherited brings the tenant's row of inherited settings to what it should
// inherit now (contract C7.3, C7.11). Its own settings are another row.
func (p *plan) inherited() error {
	row, err := tenancy.SettingsRows.Get(p.inside, tenancy.SettingsInherited)
	write := tenancy.SettingsRows.Replace
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		row, write = &tenancy.SettingsRow{Row: tenancy.Row{ID: tenancy.SettingsInherited}}, tenancy.SettingsRows.Insert
	case err != nil:
		return err
	}
	choice := p.tenant.Inheritance.Over(p.rules.inherit)
	values, remarks := tenancy.Inherit(p.picture.settings, choice, p.tenant, p.rules.transforms, row.Values)
	for _, key := range sortedKeys(remarks) {
		if text := remarks[key].Error; text != "" {
			p.problems = append(p.problems, Problem{tenancy.KindSettings, key, text})
		}
	}
	same, err := equalJSON([3]any{row.Values, row.Choice, row.Remarks}, [3]any{values, choice, remarks})
	if err != nil || same && row.Revision > 0 {
		return err
	}
	if p.explain {
		p.explainSettings(row, values)
	}
	row.Values, row.Choice, row.Remarks, row.Origin = values, choice, remarks, p.picture.revision
	p.stmts = append(p.stmts, write(p.inside, row))
	return nil
}

// explainSettings adds to the drift what is different in inherited settings.
func (p *plan) explainSettings(row *tenancy.SettingsRow, values map[string]json.RawMessage) {
	d := Drift{Entity: tenancy.KindSettings, OriginID: tenancy.SettingsOwn, LocalID: row.ID, Kind: DriftModified, Action: "update", Fields: []Difference{}}
	if row.Revision == 0 {
		d.Kind, d.LocalID, d.Action = DriftMissing, "", "create"
	}
	both := maps.Clone(values)
	maps.Copy(both, row.Values)
	for _, key := range sortedKeys(both) {
		if expected, actual := values[key], row.Values[key]; !bytes.Equal(expected, actual) {
			d.Fields = append(d.Fields, Difference{key, expected, actual})
		}
	}
	p.drift = append(p.drift, d)
}

// equalJSON reports whether two values look the same in JSON.
func equalJSON(a, b any) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b)
	return bytes.Equal(x, y), err
}
