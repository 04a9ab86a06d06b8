package tenancy

import (
	"context"
	"encoding/json"
	"time"
)

// Event is something that happened to a tenant: one entry of its log.
// It holds no secrets; codes and tokens appear by their last three characters.
type Event struct {
	Row
	Date        Time            `json:"date"`
	Type        string          `json:"type"` // codes of contract C5.90, e.g. "s", "fsa", "sapi"
	Description string          `json:"description"`
	IP          string          `json:"ip" gorm:"column:ip"`
	UserAgent   string          `json:"user_agent"`
	ClientID    string          `json:"client_id"`
	ClientName  string          `json:"client_name"`
	Connection  string          `json:"connection"`
	UserID      string          `json:"user_id"`
	UserName    string          `json:"user_name"`
	Audience    string          `json:"audience"`
	Scope       string          `json:"scope"`
	OrgID       string          `json:"organization_id"`
	OrgName     string          `json:"organization_name"`
	Hostname    string          `json:"hostname"`
	Details     json.RawMessage `json:"details,omitempty" gorm:"serializer:jsontext"`
}

// Events is a tenant's log.
var Events = newTable[Event]("logs")

// Recorder takes note of events. It must not block, and it fails silently for
// the caller: an event that cannot be kept never fails the request it is about.
type Recorder interface {
	Record(ctx context.Context, e Event)
}

// Recorders sends every event to each of them, in order.
type Recorders []Recorder

// Record implements [Recorder].
func (rs Recorders) Record(ctx context.Context, e Event) {
	if e.Date == 0 {
		e.Date = At(time.Now())
	}
	for _, r := range rs {
		r.Record(ctx, e)
	}
}
