package tenancy

import (
	"encoding/json"
	"maps"
	"slices"
)

// CheckSettings returns the own settings a new tenant begins with, by key, from
// the flat form of the management API (contract C5.35); members that are null
// are left out. Errors are those of [WriteSettings]. Nothing can refer to a
// client or an API yet, because the tenant has none.
func CheckSettings(flat map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	values, err := flattenPatch(flat)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		if jsonType(value) == "null" {
			delete(values, key)
			continue
		}
		if err := settingKeys[key].check(key, value); err != nil {
			return nil, err
		}
		if (key == "default_client_id" || key == "default_audience") && string(value) != `""` {
			return nil, invalidSetting(key, "A new tenant has nothing that could be named here")
		}
	}
	delete(values, fixedSetting)
	return values, nil
}
