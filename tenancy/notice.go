package tenancy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Notice is something that happened to a tenant, as the outside is told of it:
// Caddy's events, webhooks and hooks (contract C8.15). It holds no secrets.
type Notice struct {
	ID          string         `json:"id"` // the same however often it is delivered
	Type        string         `json:"type"`
	Time        Time           `json:"time"`
	TenantID    string         `json:"tenant_id"`
	OperationID string         `json:"operation_id"` // "" where no operation did it
	Actor       string         `json:"actor"`        // subject of who asked for it; "" for the platform itself
	Data        map[string]any `json:"data"`
}

// NoticeTypes are the types there are.
var NoticeTypes = []string{
	"tenant.provisioning", "tenant.created", "tenant.failed", "tenant.updated", "tenant.suspended", "tenant.resumed",
	"tenant.deleting", "tenant.deleted", "tenant.moved", "tenant.settings.updated", "sync.applied", "sync.failed", "tenant.domain.verified", "tenant.domain.disabled",
}

// NewNotice makes a notice of now.
func NewNotice(what, tenantID string, data map[string]any) *Notice {
	now := time.Now()
	return &Notice{ID: "evt_" + logID(now.UnixMicro(), 0), Type: what, Time: At(now), TenantID: tenantID, Data: data}
}

// Subscription is a webhook that wants to be told.
type Subscription struct {
	URL    string
	Events []string // types; empty means all
}

// ID names the subscription in the database.
func (s Subscription) ID() string {
	sum := sha256.Sum256([]byte(s.URL))
	return hex.EncodeToString(sum[:8])
}

func (s Subscription) wants(what string) bool {
	return len(s.Events) == 0 || slices.Contains(s.Events, what)
}

// Delivery is a notice that a webhook has yet to be told of. It is on the control
// plane, written in one batch with what it tells of, and removed once it was
// taken or is given up. The ids of one tenant's go up.
type Delivery struct {
	Row
	Hook      string // id of the subscription
	Subject   string // id of the tenant
	Type      string
	Payload   string // the body as it is sent
	Attempts  int64
	DueAt     Time // while it is being sent: when it may be tried again if nobody says how that ended
	ExpiresAt Time
}

// Deliveries is their table.
var Deliveries = newTable[Delivery]("deliveries")

// DeliveryLife is for how long a delivery is tried (contract C8.15).
const DeliveryLife = 24 * time.Hour

// Deliver returns the statements that keep a notice for the webhooks that want
// it, for the batch that makes it true. It is asked inside the control plane.
func Deliver(inside context.Context, hooks []Subscription, n *Notice) []Stmt {
	if n == nil {
		return nil
	}
	var stmts []Stmt
	for _, h := range hooks {
		if !h.wants(n.Type) {
			continue
		}
		body, err := json.Marshal(n)
		if err != nil {
			return []Stmt{{err: err}}
		}
		stmts = append(stmts, Deliveries.Insert(inside, &Delivery{
			Row: Row{ID: n.ID + "-" + h.ID()}, Hook: h.ID(), Subject: n.TenantID, Type: n.Type, Payload: string(body),
			DueAt: n.Time, ExpiresAt: n.Time.Add(DeliveryLife),
		}))
	}
	return stmts
}

// notice makes a notice about a tenant, done by the operation of the journal, if
// any.
func (l *Lifecycle) notice(ctx context.Context, t *Tenant, what string, j *journal, data map[string]any) *Notice {
	all := map[string]any{"friendly_name": t.FriendlyName, "organization_id": t.OrganizationID}
	for k, v := range data {
		all[k] = v
	}
	n := NewNotice("tenant."+what, t.ID, all)
	n.OperationID, n.Actor = j.id(), actor(ctx)
	if j != nil {
		n.Actor = cmp.Or(n.Actor, j.op.InitiatedBy)
	}
	return n
}

// announce tells what was committed. No notice is nothing to tell.
func (l *Lifecycle) announce(n *Notice) {
	if n != nil && l.Announce != nil {
		l.Announce(*n)
	}
}

// notices are what a change of state is told as, by the state it leads to.
var notices = map[State]string{StateActive: "created", StateFailed: "failed", StateDeleting: "deleting"}

// noticeOf is the notice of a change of state, nil where the tenant is in that
// state already.
func (l *Lifecycle) noticeOf(ctx, inside context.Context, id string, next State, j *journal) (*Notice, error) {
	t, err := Tenants.Get(inside, id)
	if err != nil || t.State == next {
		return nil, err
	}
	var data map[string]any
	if next == StateFailed && j != nil { // the reason may name files and machines of the platform
		data = map[string]any{"step": j.op.CurrentStep}
	}
	return l.notice(ctx, t, notices[next], j, data), nil
}
