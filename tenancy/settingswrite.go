package tenancy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"strings"
)

// WriteSettings changes the entered tenant's own settings (contract C7.13): a
// member that is absent stays, null removes the own value so that the tenant
// inherits again, anything else becomes its own value. patch has the flat form
// of the management API, with flags as a nested object.
//
// A member that equals what is in effect without being set stays as it is, so
// that writing back what was read freezes nothing (contract C7.14); pin stores
// it nevertheless.
//
// Errors are 400 for unknown members, invalid values and missing references, in
// which case nothing is changed, [ErrUnavailable], and [ErrStale] after several
// lost races.
func WriteSettings(ctx context.Context, patch map[string]json.RawMessage, pin bool) error {
	changes, err := flattenPatch(patch)
	if err != nil {
		return err
	}
	for key, value := range changes {
		if jsonType(value) == "null" {
			continue
		}
		if err := settingKeys[key].check(key, value); err != nil {
			return err
		}
	}
	delete(changes, fixedSetting)
	for try := 0; ; try++ {
		err := writeSettings(ctx, changes, pin)
		if err == nil || !errors.Is(err, ErrConflict) || try == 9 {
			return err
		}
	}
}

// writeSettings tries once; [ErrConflict] means that somebody was faster.
func writeSettings(ctx context.Context, changes map[string]json.RawMessage, pin bool) error {
	references, err := checkReferences(ctx, changes)
	if err != nil {
		return err
	}
	s, row, err := settingsToWrite(ctx)
	if err != nil {
		return err
	}
	return s.write(ctx, row, changes, pin, references...)
}

// settingsToWrite are the entered tenant's settings with the row of its own, as it
// is now.
func settingsToWrite(ctx context.Context) (*Settings, *SettingsRow, error) {
	s, err := readSettings(ctx)
	if err != nil {
		return nil, nil, err
	}
	row, err := settingsRow(ctx, SettingsOwn)
	if err != nil {
		return nil, nil, err
	}
	s.own = row.Values
	return s, row, nil
}

// write stores changes of the own settings if nobody else changed any since row was
// read.
func (s *Settings) write(ctx context.Context, row *SettingsRow, changes map[string]json.RawMessage, pin bool, also ...Stmt) error {
	own := maps.Clone(row.Values)
	if own == nil {
		own = make(map[string]json.RawMessage)
	}
	for key, value := range changes {
		switch {
		case jsonType(value) == "null":
			delete(own, key)
		case pin || !s.staysInherited(key, value):
			own[key] = value
		}
	}
	if maps.EqualFunc(own, row.Values, sameJSON) {
		return nil
	}
	row.Values = own
	write := SettingsRows.Replace
	if row.Revision == 0 {
		write = SettingsRows.Insert
	}
	return Commit(ctx, append(also, write(ctx, row))...)
}

// staysInherited reports whether writing the value to the key changes nothing:
// the tenant has not set it, it follows something, and that has this value. A
// key that could be inherited but is not, by the tenant's choice, follows
// nothing: written, it is the tenant's own, also when equal to the default.
func (s *Settings) staysInherited(key string, value json.RawMessage) bool {
	if _, set := s.own[key]; set {
		return false
	}
	if settingKeys[key].inheritable && !s.tenant.IsControlPlane() && !s.choice.Covers(key) {
		return false
	}
	return sameJSON(value, s.withoutOwn(key))
}

// flattenPatch turns the members of flags into keys and refuses unknown ones.
func flattenPatch(patch map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	changes := make(map[string]json.RawMessage, len(patch))
	for _, name := range sortedKeys(patch) {
		value := patch[name]
		if name != "flags" {
			if _, ok := settingKeys[name]; !ok || strings.HasPrefix(name, flagPrefix) || isTemplate(name) {
				return nil, unknownSetting(name)
			}
			changes[name] = value
			continue
		}
		flags, err := flagPatch(value)
		if err != nil {
			return nil, err
		}
		maps.Copy(changes, flags)
	}
	return changes, nil
}

func flagPatch(value json.RawMessage) (map[string]json.RawMessage, error) {
	flags := make(map[string]json.RawMessage)
	switch jsonType(value) {
	case "null": // all of them inherit again
		for key := range settingKeys {
			if strings.HasPrefix(key, flagPrefix) {
				flags[key] = value
			}
		}
		return flags, nil
	case "object":
	default:
		return nil, wrongType("flags", "object", value)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(value, &given); err != nil {
		return nil, wrongType("flags", "object", value)
	}
	for _, name := range sortedKeys(given) {
		if _, ok := settingKeys[flagPrefix+name]; !ok {
			return nil, unknownSetting(flagPrefix + name)
		}
		flags[flagPrefix+name] = given[name]
	}
	return flags, nil
}

// checkReferences refuses a default client or audience that does not exist
// (contract C5.37), and returns guards that they still do when it is written.
func checkReferences(ctx context.Context, changes map[string]json.RawMessage) ([]Stmt, error) {
	var guards []Stmt
	if id := textOf(changes["default_client_id"]); id != "" {
		client, err := Clients.Get(ctx, id)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, Errorf(400, "invalid_body", "Client with id '%s' not found", id)
		case err != nil:
			return nil, err
		case client.AppType == "non_interactive" || client.AppType == "resource_server":
			return nil, Errorf(400, "invalid_body",
				"Client '%s' is not an interactive client and cannot be used as the default client", id)
		}
		guards = append(guards, Require(ctx, `EXISTS (SELECT 1 FROM clients WHERE tenant_id = @tenant AND id = ?)`, id))
	}
	if audience := textOf(changes["default_audience"]); audience != "" {
		identifier := IdentifierOf(ctx, audience)
		_, err := ResourceServers.First(ctx, "identifier = ?", identifier)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, Errorf(400, "invalid_body", "Resource server with identifier '%s' not found", audience)
		case err != nil:
			return nil, err
		}
		guards = append(guards, Require(ctx, `EXISTS (SELECT 1 FROM resource_servers WHERE tenant_id = @tenant AND identifier = ?)`, identifier))
	}
	return guards, nil
}

// textOf is the text a JSON value is; anything else is "".
func textOf(value json.RawMessage) string {
	var s string
	_ = json.Unmarshal(value, &s) // not a string: nothing to look up
	return s
}

// sameJSON reports whether two JSON values are equal whatever their layout.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return len(a) > 0 && len(b) > 0 && json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
