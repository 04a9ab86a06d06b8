package tenancy

import "encoding/json"

// SettingsRow is one of a tenant's two rows of settings: what it set itself
// (Row.ID "own") and what came from the control plane (Row.ID "inherited").
// Readers merge the two; nothing is copied from one to the other.
type SettingsRow struct {
	Row
	Values map[string]json.RawMessage `gorm:"serializer:jsontext;column:settings"` // by key, e.g. "session_lifetime" or "flags.dcr_open"
	Origin int64                      // control-plane revision of inherited values
	Choice Inheritance                `gorm:"serializer:jsontext"` // which keys the inherited row follows, resolved

	// Remarks are what transforms did to inherited keys, by key.
	Remarks map[string]Remark `gorm:"serializer:jsontext"`
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
	Pending   int64           // what depends on rows that the tenant itself can change
	Problems  json.RawMessage `gorm:"serializer:jsontext"` // rows and settings that an expression failed for
	Rules     int64           // names the configuration that was applied

	// Detached are former copies that became the tenant's own: the control
	// plane's id by kind and id here, joined with "/".
	Detached map[string]string `gorm:"serializer:jsontext"`
}

// SyncStateID is the id of the one row.
const SyncStateID = "sync"

// SyncStates holds the one row.
var SyncStates = newTable[SyncState]("sync_state")

// SyncTarget is what the control plane remembers of a tenant's [SyncState], so
// that it need not open ten thousand databases to find out who is behind. It
// only schedules: the truth is in the tenant, and this may be older. Row.ID is
// the tenant's id.
type SyncTarget struct {
	Row
	Born          Time   // Tenant.CreatedAt: a later tenant of the same id starts anew
	Applied       int64  // revision up to which changes are applied
	Attempts      int    // failed in a row; 0 when the last one went well
	LastError     string // why the last one failed, or, of one that went well, what was left as it was
	LastSyncedAt  Time
	NextAttemptAt Time // 0 when there is nothing to try
	Conflicts     int
	Skipped       int64
	Pending       int64
	Problems      int
	Rules         int64 // names the configuration that was applied
	Choice        int64 // names what the registry row said; 0 for unknown
}

// SyncTargets has a row for each tenant that was ever synced. It is used inside
// the control plane only.
var SyncTargets = newTable[SyncTarget]("sync_targets")
