package tenancy

import "encoding/json"

// SettingsRow is one of a tenant's two rows of settings: what it set itself
// (Row.ID "own") and what came from the control plane (Row.ID "inherited").
// Readers merge the two; nothing is copied from one to the other.
type SettingsRow struct {
	Row
	Values map[string]json.RawMessage `gorm:"serializer:jsontext;column:settings"` // by key, e.g. "session_lifetime" or "flags.dcr_open"
	Origin int64                      // control-plane revision of inherited values
}

// The ids of the two rows.
const (
	SettingsOwn       = "own"
	SettingsInherited = "inherited"
)

// SettingsRows is the table of settings.
var SettingsRows = newTable[SettingsRow]("settings", configuration(), logged(KindSettings, sameID))

// SyncState is what a tenant knows of the control plane's changes it has
// applied. It is written in the same batch as the rows. Row.ID is "sync".
type SyncState struct {
	Row
	Applied   int64           // revision up to which changes are applied
	Conflicts json.RawMessage `gorm:"serializer:jsontext"` // rows that are not copied, and why
	Skipped   int64           // role permissions whose scope does not exist here
}

// SyncStates holds the one row.
var SyncStates = newTable[SyncState]("sync_state")
