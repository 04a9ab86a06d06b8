package tenancy

import (
	"context"
	"slices"
	"strings"
	"time"
)

// UpgradeStatus is how far the upgrade of all tenants is.
type UpgradeStatus struct {
	Versions map[string]int64 `json:"versions"` // what each placement's databases are brought to
	Running  bool             `json:"running"`  // whether a pass is under way
	Total    int              `json:"total"`    // tenants the pass under way, or the last, had to do
	Done     int              `json:"done"`     // of these, upgraded
	Failed   int              `json:"failed"`   // of these, not
	Rate     float64          `json:"rate"`     // tenants a second, in that pass
	Current  []string         `json:"current"`  // ids of those being upgraded
	Stopped  bool             `json:"stopped"`  // the pass ended early because most failed

	StartedAt  Time `json:"started_at"`
	FinishedAt Time `json:"finished_at"`

	// Failures are the tenants that failed and wait for the next try, in the order
	// of their ids.
	Failures []UpgradeFailure `json:"failures"`
}

// UpgradeFailure is a tenant whose database could not be upgraded. It is answered
// 503 alone.
type UpgradeFailure struct {
	TenantID      string `json:"tenant_id"`
	SchemaVersion int64  `json:"schema_version"` // the last it was seen at
	Attempts      int64  `json:"attempts"`       // failed in a row
	LastError     string `json:"last_error"`
	NextAttemptAt Time   `json:"next_attempt_at"`
}

// UpgradeStats counts what an [Upgrader] did since it was made.
type UpgradeStats struct{ Upgraded, Failed int64 }

// Status returns how far it is now. The value is the caller's own.
func (u *Upgrader) Status() UpgradeStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status
	s.Current = append([]string{}, s.Current...)
	s.Failures = append([]UpgradeFailure{}, s.Failures...)
	slices.SortFunc(s.Failures, func(a, b UpgradeFailure) int { return strings.Compare(a.TenantID, b.TenantID) })
	s.Versions = make(map[string]int64)
	for _, pl := range u.Pool.order {
		if v := pl.version(); v > 0 {
			s.Versions[pl.name] = v
		}
	}
	until := s.FinishedAt
	if s.Running {
		until = At(u.now())
	}
	if took := until.Time().Sub(s.StartedAt.Time()).Seconds(); took > 0 {
		s.Rate = float64(s.Done+s.Failed) / took
	}
	return s
}

// Stats returns the counts of now.
func (u *Upgrader) Stats() UpgradeStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	return UpgradeStats{u.done, u.failed}
}

// begin notes that a pass begins. One with nothing to do leaves the figures of
// the last one that had.
func (u *Upgrader) begin(due, later []Tenant) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.status.Failures = nil
	for _, list := range [][]Tenant{due, later} {
		for i := range list {
			if t := &list[i]; t.UpgradeAttempts > 0 {
				u.status.Failures = append(u.status.Failures, UpgradeFailure{t.ID, t.SchemaVersion, t.UpgradeAttempts, t.UpgradeError, t.UpgradeAt})
			}
		}
	}
	if len(due) == 0 {
		return
	}
	u.status.Running, u.status.Stopped, u.status.Total, u.status.Done, u.status.Failed = true, false, len(due), 0, 0
	u.status.StartedAt, u.status.FinishedAt = At(u.now()), 0
}

// count notes what became of a tenant of the pass, and reports whether the pass
// had better end.
func (u *Upgrader) count(r upgraded) (stop bool) {
	u.settled(r)
	u.mu.Lock()
	defer u.mu.Unlock()
	if r.err == nil {
		u.status.Done++
	} else {
		u.status.Failed++
	}
	if s := &u.status; s.Failed >= upgradeStop && s.Failed > s.Done {
		s.Stopped = true
	}
	return u.status.Stopped
}

// settled notes what became of a tenant.
func (u *Upgrader) settled(r upgraded) {
	t := r.tenant
	u.mu.Lock()
	defer u.mu.Unlock()
	u.status.Failures = slices.DeleteFunc(u.status.Failures, func(f UpgradeFailure) bool { return f.TenantID == t.ID })
	if r.err == nil {
		u.done++
		return
	}
	u.failed++
	u.status.Failures = append(u.status.Failures, UpgradeFailure{
		t.ID, t.SchemaVersion, t.UpgradeAttempts + 1, clip(r.err.Error()), r.again,
	})
	if u.Log != nil && t.UpgradeAttempts == 0 {
		u.Log.Warn("a tenant's database could not be upgraded; it is answered 503 until it is, and tried again", "tenant", t.ID, "error", r.err)
	}
}

func (u *Upgrader) end(ctx context.Context) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := &u.status
	s.Running, s.FinishedAt = false, At(u.now())
	if u.Log == nil {
		return
	}
	if s.Stopped {
		u.Log.ErrorContext(ctx, "the upgrade of tenants' databases was stopped, because most failed; it goes on later", "done", s.Done, "failed", s.Failed, "of", s.Total)
		return
	}
	u.Log.InfoContext(ctx, "tenants' databases were upgraded", "done", s.Done, "failed", s.Failed, "of", s.Total)
}

// nextAttempt is when the first tenant is due that failed; zero for none.
func (u *Upgrader) nextAttempt() (at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.status.Stopped {
		return u.now().Add(time.Minute)
	}
	for _, f := range u.status.Failures {
		if t := f.NextAttemptAt.Time(); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}
