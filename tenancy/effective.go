package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Settings are a tenant's settings as they are in effect: for each key the
// tenant's own value, else the one inherited from the control plane, else the
// product's default (contract C7.1). They are immutable and safe for concurrent
// use; slices they return must not be changed.
//
// Keys are those of contract C5.35, members of flags written "flags.<name>".
// Asking for a key that does not exist, or as another type than its own, is a
// fault of the program and gives the zero value.
type Settings struct {
	own       map[string]json.RawMessage
	inherited map[string]json.RawMessage
	choice    Inheritance // which keys are inherited, resolved; zero before the first sync
	remarks   map[string]Remark
	changed   Time // when the own values changed last
	tenant    *Tenant
	values    map[string]any // in effect, decoded
}

// EffectiveSettings returns the entered tenant's settings, from memory while
// they are unchanged. Both rows they are merged from are the tenant's own: the
// control plane is not asked (contract C7.3).
func EffectiveSettings(ctx context.Context) (*Settings, error) {
	t, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	// The registry's name is the default of friendly_name, and may change
	// without a change in the tenant's database.
	return Cached(ctx, "settings", t.FriendlyName, readSettings)
}

// readSettings reads both rows of the entered tenant.
func readSettings(ctx context.Context) (*Settings, error) {
	t, err := Current(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := SettingsRows.Find(ctx, Filter{})
	if err != nil {
		return nil, err
	}
	s := &Settings{tenant: t}
	for _, row := range rows {
		switch row.ID {
		case SettingsOwn:
			s.own, s.changed = row.Values, row.UpdatedAt
		case SettingsInherited:
			s.inherited, s.choice, s.remarks = row.Values, row.Choice, row.Remarks
		}
	}
	s.values = make(map[string]any, len(settingKeys))
	for key := range settingKeys {
		if v := s.Raw(key); v != nil && !isTemplate(key) {
			s.values[key] = decodeSetting(v)
		}
	}
	return s, nil
}

func decodeSetting(value json.RawMessage) any {
	if jsonType(value) == "array" {
		var list []string
		if json.Unmarshal(value, &list) != nil {
			return nil
		}
		return list
	}
	var v any
	if json.Unmarshal(value, &v) != nil {
		return nil
	}
	return v
}

// Where a value in effect comes from (contract C7.24).
const (
	SourceOwn          = "own"
	SourceControlPlane = "control_plane"
	SourceDefault      = "default"
)

// Source returns where the value in effect of a key comes from.
func (s *Settings) Source(key string) string {
	if _, ok := s.own[key]; ok {
		return SourceOwn
	}
	if _, ok := s.inherited[key]; ok {
		return SourceControlPlane
	}
	return SourceDefault
}

// Raw returns the value in effect as JSON, or nil where there is none.
func (s *Settings) Raw(key string) json.RawMessage {
	if v, ok := s.own[key]; ok {
		return v
	}
	return s.withoutOwn(key)
}

// withoutOwn is the value a key would have if the tenant had not set it.
func (s *Settings) withoutOwn(key string) json.RawMessage {
	if v, ok := s.inherited[key]; ok {
		return v
	}
	return settingFallback(key, s.tenant)
}

// String returns a text, or "".
func (s *Settings) String(key string) string {
	v, _ := s.values[key].(string)
	return v
}

// Bool returns a switch, or false.
func (s *Settings) Bool(key string) bool {
	v, _ := s.values[key].(bool)
	return v
}

// Switched returns a switch that is a member of an object, and what is given where
// it was never set.
func (s *Settings) Switched(key, member string, unset bool) bool {
	object, _ := s.values[key].(map[string]any)
	if on, ok := object[member].(bool); ok {
		return on
	}
	return unset
}

// Int returns a number, cut to an integer, or 0.
func (s *Settings) Int(key string) int {
	v, _ := s.values[key].(float64)
	return int(v)
}

// Hours returns a lifetime that is given in hours, fractions allowed, or 0.
func (s *Settings) Hours(key string) time.Duration {
	v, _ := s.values[key].(float64)
	return time.Duration(v * float64(time.Hour))
}

// Strings returns a list of texts, or nil.
func (s *Settings) Strings(key string) []string {
	v, _ := s.values[key].([]string)
	return v
}

// Views of settings (contract C5.33).
const (
	ViewEffective = "effective"
	ViewOwn       = "own"
	ViewInherited = "inherited"
)

// View returns settings in the flat form of the management API, with flags as a
// nested object: all that are in effect, only the tenant's own, or only those
// inherited now, which leaves out the overridden (contract C7.22). Another view
// is a 400.
func (s *Settings) View(view string) (map[string]json.RawMessage, error) {
	flat := make(map[string]json.RawMessage)
	switch view {
	case ViewEffective, "":
		for key := range settingKeys {
			if v := s.Raw(key); v != nil {
				flat[key] = v
			}
		}
	case ViewOwn:
		maps.Copy(flat, s.own)
	case ViewInherited:
		for key, v := range s.inherited {
			if s.Source(key) == SourceControlPlane {
				flat[key] = v
			}
		}
	default:
		return nil, Errorf(400, "invalid_query_string", "Query validation error: 'No enum match for: %s' on property view", view)
	}
	return nestFlags(flat)
}

// nestFlags gathers the keys of flags in one object, and leaves those out that
// have routes of their own.
func nestFlags(flat map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	flags := make(map[string]json.RawMessage)
	for key, v := range flat {
		name, ok := strings.CutPrefix(key, flagPrefix)
		if ok {
			flags[name] = v
		}
		if ok || isTemplate(key) {
			delete(flat, key)
		}
	}
	if len(flags) > 0 {
		b, err := json.Marshal(flags)
		if err != nil {
			return nil, err
		}
		flat["flags"] = b
	}
	return flat, nil
}

// Explained says how the value of one key came about (contract C7.24).
type Explained struct {
	Key           string          `json:"key"`
	Value         json.RawMessage `json:"value"`
	Source        string          `json:"source"`
	Own           json.RawMessage `json:"own"`       // null where not set
	Inherited     json.RawMessage `json:"inherited"` // null where not inherited or not set on the control plane
	Default       json.RawMessage `json:"default"`
	IfOwnRemoved  json.RawMessage `json:"if_own_removed"`
	Inheritable   bool            `json:"inheritable"`
	ExcludedBy    *string         `json:"excluded_by"`    // the choice that keeps an inheritable key from being inherited
	TransformedBy *string         `json:"transformed_by"` // the key of the configured transform
	Error         *string         `json:"error"`          // why the transform made no value
	ChangedAt     *Time           `json:"changed_at"`     // of the own values, where the source is own
}

// Explanation is the answer to where a tenant's settings come from.
type Explanation struct {
	TenantID string      `json:"tenant_id"`
	Revision int64       `json:"revision"` // control-plane revision the inherited values are of
	Mode     string      `json:"mode"`
	Settings []Explained `json:"settings"`

	Connections   []ExplainedOption `json:"connections"`    // of connections to elsewhere
	EmailProvider *ExplainedMail    `json:"email_provider"` // null where something else was asked for
}

// ExplainedMail says which e-mail provider a tenant's mail goes through.
type ExplainedMail struct {
	Source string  `json:"source"`
	Name   *string `json:"name"` // null for the installation's own way
}

// ExplainSettings explains every setting of the entered tenant, sorted by key,
// its connections' options and its e-mail provider, or only what is named: a
// setting, "connections", "connections.<strategy>" or "emails.provider". Another
// name is a 400.
func ExplainSettings(ctx context.Context, only string) (*Explanation, error) {
	s, err := EffectiveSettings(ctx)
	if err != nil {
		return nil, err
	}
	keys := sortedKeys(settingKeys)
	strategy, connections := strings.CutPrefix(only, FallbackKey(""))
	connections = connections || only == "connections"
	if connections || only == FallbackEmail {
		keys = nil
	} else if only != "" {
		if _, ok := settingKeys[only]; !ok {
			return nil, Errorf(400, "invalid_query_string", "Query validation error: 'Unknown setting: %s' on property key", only)
		}
		keys = []string{only}
	}
	x := &Explanation{TenantID: s.tenant.ID, Mode: s.choice.Mode, Settings: make([]Explained, 0, len(keys)), Connections: []ExplainedOption{}}
	if connections || only == "" {
		if only == "connections" {
			strategy = ""
		}
		if x.Connections, err = explainConnections(ctx, strategy); err != nil {
			return nil, err
		}
	}
	if only == FallbackEmail || only == "" {
		if x.EmailProvider, err = explainMail(ctx); err != nil {
			return nil, err
		}
	}
	switch state, err := SyncStates.Get(ctx, SyncStateID); {
	case err == nil:
		x.Revision = state.Applied
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	for _, key := range keys {
		x.Settings = append(x.Settings, s.explain(key))
	}
	return x, nil
}

func explainMail(ctx context.Context) (*ExplainedMail, error) {
	route, err := EmailRoute(ctx)
	if err != nil {
		return nil, err
	}
	x := &ExplainedMail{Source: route.Source}
	if route.Provider != nil {
		x.Name = &route.Provider.Name
	}
	return x, nil
}

func (s *Settings) explain(key string) Explained {
	x := Explained{
		Key: key, Value: orNull(s.Raw(key)), Source: s.Source(key),
		Own: orNull(s.own[key]), Inherited: orNull(s.inherited[key]),
		Default: orNull(settingFallback(key, s.tenant)), IfOwnRemoved: orNull(s.withoutOwn(key)),
		Inheritable: settingKeys[key].inheritable,
	}
	if by := s.choice.excludedBy(key); x.Inheritable && by != "" && !s.tenant.IsControlPlane() {
		x.ExcludedBy = &by
	}
	if remark, ok := s.remarks[key]; ok {
		x.TransformedBy = &remark.By
		if remark.Error != "" {
			x.Error = &remark.Error
		}
	}
	if x.Source == SourceOwn {
		x.ChangedAt = &s.changed
	}
	return x
}

func orNull(v json.RawMessage) json.RawMessage {
	if v == nil {
		return json.RawMessage("null")
	}
	return v
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// settingsRow returns one of the two rows, a new one where there is none.
func settingsRow(ctx context.Context, id string) (*SettingsRow, error) {
	row, err := SettingsRows.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return &SettingsRow{Row: Row{ID: id}}, nil
	}
	return row, err
}
