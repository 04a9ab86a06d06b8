package sync

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// target is what the loop knows of a tenant. It only schedules: the truth is in
// the tenant's database.
type target struct {
	tenant  *tenancy.Tenant
	known   bool  // whether applied is known
	applied int64 // the tenant is applied up to here
	choice  int64 // fingerprint of the switches that were applied; 0 for unknown
	changed int64 // revision at which the registry row changed last

	attempts    int // failed in a row
	lastError   string
	lastSynced  time.Time
	nextAttempt time.Time // of a retry, or of looking again at what is open
	conflicts   int
	skipped     int64
	pending     int64
	problems    int
	rules       int64 // names the configuration that was applied
	quiet       int   // looks at what is open, in a row, that changed nothing

	busy bool // queued or being visited
}

// inScope reports whether the loop takes care of a tenant in this state. One
// that is being made is brought up to date by [Loop.Snapshot].
func inScope(t *tenancy.Tenant) bool {
	return !t.IsControlPlane() && (t.State == tenancy.StateActive || t.State == tenancy.StateSuspended)
}

// behind reports whether the tenant lacks anything of the picture. One that has
// applied more than there is belongs to an older copy of the control plane.
func (t *target) behind(p *picture) bool {
	return !t.known || t.applied < p.shared || t.applied > p.revision || !t.ruled(p) || t.chooses(p)
}

// ruled reports whether the tenant was last compared by this configuration.
func (t *target) ruled(p *picture) bool { return t.rules == p.rules.version }

// chooses reports whether the tenant's switches changed since it was visited.
func (t *target) chooses(p *picture) bool {
	return t.changed > t.applied && t.choice != p.rules.fingerprint(t.tenant)
}

// open reports whether something may follow without any change on the control
// plane: the tenant can rename a row that is in the way.
func (t *target) open() bool { return t.conflicts > 0 || t.pending > 0 }

// due returns when the tenant is to be visited, if it is; the past means now.
func (t *target) due(p *picture) (at time.Time, ok bool) {
	switch {
	case !inScope(t.tenant):
		return time.Time{}, false
	case t.behind(p):
		if t.attempts == 0 {
			return time.Time{}, true
		}
		return t.nextAttempt, true
	case t.open() || t.attempts > 0:
		return t.nextAttempt, true
	}
	return time.Time{}, false
}

// position is the revision that the tenant is at, as people mean it: changes
// that do not concern it need not be applied.
func (t *target) position(p *picture) int64 {
	if t.behind(p) {
		return t.applied
	}
	return p.revision
}

// succeeded takes note of a visit. again is how long to wait before looking at
// what is open: every time for a conflict (contract C6.25), and with growing
// distance for permissions that wait for a scope, of which there can be some in
// every tenant.
func (t *target) succeeded(out outcome, of *tenancy.Tenant, rules *rules, now time.Time, again time.Duration) {
	t.known, t.applied, t.choice = true, out.revision, rules.fingerprint(of)
	t.conflicts, t.skipped, t.pending = out.conflicts, out.skipped, out.pending
	t.problems, t.rules = out.problems, rules.version
	t.attempts, t.lastError, t.lastSynced = 0, out.problem, now
	t.quiet++
	if out.wrote {
		t.quiet = 0
	}
	switch {
	case t.conflicts > 0:
		t.nextAttempt = now.Add(again)
	case t.pending > 0:
		t.nextAttempt = now.Add(again << min(t.quiet, 4))
	default:
		t.nextAttempt = time.Time{}
	}
}

// failed takes note of a visit that went wrong.
func (t *target) failed(err error, now time.Time, wait time.Duration) {
	t.attempts++
	t.lastError, t.nextAttempt = reason(err), now.Add(wait)
}

// backoff is how long to wait after so many failures in a row: 1 s, 2 s, 4 s up
// to 5 minutes, a quarter more or less (contract C6.29).
func backoff(attempts int) time.Duration {
	d := 5 * time.Minute
	if attempts < 10 {
		d = min(d, time.Second<<max(attempts-1, 0))
	}
	return time.Duration(float64(d) * (0.75 + rand.Float64()/2))
}

// reason is an error as operators see it, in at most 2048 bytes.
func reason(err error) string {
	return strings.ToValidUTF8(err.Error()[:min(len(err.Error()), 2048)], "")
}

// record tells the control plane's log about a tenant that fails: the first
// time, and when it is called failed (contract C6.29).
func (r *rules) record(inside context.Context, tenant string, attempts int, err error) {
	if attempts == 1 || attempts == failedAfter {
		r.tell(inside, "sync.failed", map[string]any{"tenant_id": tenant, "attempts": attempts, "error": reason(err)})
	}
}

// tell records something in the control plane's log.
func (r *rules) tell(inside context.Context, text string, details map[string]any) {
	if r.recorder == nil {
		return
	}
	b, err := json.Marshal(details)
	if err != nil {
		b = nil
	}
	r.recorder.Record(inside, tenancy.Event{Type: "gh_sync", Details: b, Description: text})
}

// failedAfter is from how many failures in a row a tenant is called failed.
const failedAfter = 3
