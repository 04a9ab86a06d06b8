package tenancy

import (
	"encoding/json"
	"strings"
	"time"
)

// Row is embedded in every entity. It holds the key, the revision that
// compare-and-swap works on, and the two times every entity has.
type Row struct {
	// TenantID is filled in by the store from the entered tenant and checked on
	// every statement. Setting it has no effect.
	TenantID string `gorm:"primaryKey" json:"-"`

	// ID is unique within the tenant. For a row that links others it is their
	// ids joined by [Join], so that a link exists at most once.
	ID string `gorm:"primaryKey" json:"-"`

	// Revision counts the writes of this row, from 1.
	Revision int64 `json:"-"`

	CreatedAt Time `json:"created_at"`
	UpdatedAt Time `json:"updated_at"`
}

// Meta gives the store access to the embedded row.
func (r *Row) Meta() *Row { return r }

// Entity is what a [Table] can hold: a struct that embeds [Row].
type Entity interface{ Meta() *Row }

// Join makes the id of a linking row from the ids it links. Ids may hold "|"
// (user ids do), so the parts are separated by a byte no id may hold.
func Join(ids ...string) string { return strings.Join(ids, linkSeparator) }

const linkSeparator = "\x1f"

// Time is a point in time in microseconds since 1970, UTC. Zero means never.
// Stored as an integer, because text times compare wrongly across zones.
type Time int64

// At converts t; the zero time becomes the zero Time.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMicro())
}

// Time converts back, in UTC; zero becomes the zero time.Time.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t)).UTC()
}

// Add returns t moved by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Unix returns seconds since 1970, as token claims carry them.
func (t Time) Unix() int64 { return int64(t) / 1e6 }

// MarshalJSON writes RFC 3339 in UTC with milliseconds, or null for never
// (contract C0.1).
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return t.Time().AppendFormat(nil, `"2006-01-02T15:04:05.000Z"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes, and any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error {
	var parsed *time.Time
	if err := json.Unmarshal(b, &parsed); err != nil {
		return err
	}
	*t = 0
	if parsed != nil {
		*t = At(*parsed)
	}
	return nil
}
