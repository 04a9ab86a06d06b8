package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Operation is work on a tenant in steps, such as making one (contract C8.9). It
// lives on the control plane and stays when the tenant is gone.
type Operation struct {
	Row
	Subject     string          `json:"tenant_id"` // id of the tenant
	Kind        OperationKind   `json:"kind"`
	Status      OperationStatus `json:"status"`
	CurrentStep string          `json:"current_step"` // the last one that was begun
	InitiatedBy string          `json:"initiated_by"`
	Attempt     int64           `json:"attempt"` // from 1; each run after a failure or an end of the process is one more
	Error       string          `json:"error"`   // names the step; at most 2048 bytes
	FinishedAt  Time            `json:"finished_at"`

	// Params is what a run needs beside the tenant's registry row.
	Params OperationParams `json:"-" gorm:"serializer:jsontext"`
}

// OperationKind tells what an operation does.
type OperationKind string

// OperationStatus is how far an operation is.
type OperationStatus string

// The kinds of operations so far, and their statuses.
const (
	OperationProvision   OperationKind = "provision"
	OperationDeprovision OperationKind = "deprovision"
	OperationRepair      OperationKind = "repair" // of tenants' copies; its tenant is the control plane
	OperationUpgrade     OperationKind = "upgrade"
	OperationMove        OperationKind = "move"
	OperationImport      OperationKind = "import"
	OperationBackup      OperationKind = "backup"

	OperationRunning   OperationStatus = "running"
	OperationSucceeded OperationStatus = "succeeded"
	OperationFailed    OperationStatus = "failed"
	OperationCancelled OperationStatus = "cancelled"
)

// OperationParams are the parameters of all kinds.
type OperationParams struct {
	Settings map[string]json.RawMessage `json:"settings,omitempty"` // a new tenant's own
	Wish     string                     `json:"wish,omitempty"`     // tells a repeated wish for a tenant from another
	Repair   *RepairProgress            `json:"repair,omitempty"`
	Move     *MoveParams                `json:"move,omitempty"`
	Cancel   *Cancellation              `json:"cancel,omitempty"` // of the attempt under way; nil for none
	Backup   *BackupParams              `json:"backup,omitempty"`
}

// OperationEvent is one entry of an operation's history. Its id goes up.
type OperationEvent struct {
	Row
	OperationID string          `json:"-"`
	Step        string          `json:"step"`
	Outcome     string          `json:"outcome"` // started, succeeded, failed, retried
	Attempt     int64           `json:"attempt"`
	Detail      json.RawMessage `json:"detail,omitempty" gorm:"serializer:jsontext"`
}

// Operations and OperationEvents are their tables, of the control plane only.
var (
	Operations      = newTable[Operation]("operations")
	OperationEvents = newTable[OperationEvent]("operation_events")
)

// journal collects what happens in one run of an operation. It is written
// together with the change of the tenant's state that ends the run, so that it
// costs no write of its own; a run that takes long is written in between. The
// methods of a nil journal do nothing. It is used by one goroutine.
type journal struct {
	op      *Operation
	entries []*OperationEvent
	written time.Time
}

// journalEvery is how long a run may go on without being written.
const journalEvery = time.Second

// newOperation begins an operation; the caller stores it with [journal.begin].
func newOperation(kind OperationKind, t *Tenant, by string, params OperationParams) *journal {
	return &journal{written: time.Now(), op: &Operation{
		Row: Row{ID: NewID("op_", 20)}, Subject: t.ID, Kind: kind, Status: OperationRunning, InitiatedBy: by, Attempt: 1, Params: params,
	}}
}

// id is the operation's, "" for a nil journal.
func (j *journal) id() string {
	if j == nil {
		return ""
	}
	return j.op.ID
}

// note adds an entry.
func (j *journal) note(step, outcome string, cause error) {
	if j == nil {
		return
	}
	if outcome == "started" {
		j.op.CurrentStep = step
	}
	e := &OperationEvent{OperationID: j.op.ID, Step: step, Outcome: outcome, Attempt: j.op.Attempt}
	e.ID, e.CreatedAt = logID(time.Now().UnixMicro(), len(j.entries)), At(time.Now())
	if cause != nil {
		e.Detail, _ = json.Marshal(map[string]string{"error": clip(cause.Error())}) // a string always encodes
	}
	j.entries = append(j.entries, e)
}

func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), 2048)], "") }

// stmts are the statements that write the operation and what was noted since.
func (j *journal) stmts(inside context.Context) []Stmt {
	if j == nil {
		return nil
	}
	var list []Stmt
	if j.op.Revision == 0 {
		list = append(append(list, spendKey(inside, j.op.ID)...), Operations.Insert(inside, j.op))
	} else {
		list = append(list, Operations.Replace(inside, j.op))
	}
	for _, e := range j.entries {
		list = append(list, OperationEvents.Insert(inside, e))
	}
	return list
}

// kept notes that what stmts returned was written.
func (j *journal) kept() {
	if j != nil {
		j.entries, j.written = nil, time.Now()
	}
}

// undo takes back that stmts gave the operation a revision, for a batch that was
// not written.
func (j *journal) undo(revision int64) {
	if j != nil {
		j.op.Revision = revision
	}
}

func (j *journal) revision() int64 {
	if j == nil {
		return 0
	}
	return j.op.Revision
}

// commit writes the journal together with other statements.
func (j *journal) commit(inside context.Context, stmts ...Stmt) error {
	before := j.revision()
	if err := Commit(inside, append(stmts, j.stmts(inside)...)...); err != nil {
		j.undo(before)
		return err
	}
	j.kept()
	return nil
}

// lasting writes the journal of a run that takes long. Where it cannot be
// written now, it is at the end. Its error is [errCancelled].
func (j *journal) lasting(ctx context.Context, d *Directory) error {
	if j == nil || time.Since(j.written) < journalEvery {
		return nil
	}
	inside, leave, err := d.EnterControlPlane(ctx)
	if err != nil {
		return nil
	}
	defer leave()
	if err := j.commit(inside); errors.Is(err, ErrStale) && errors.Is(j.asked(inside), errCancelled) {
		return errCancelled
	}
	return nil
}

// finish sets how the operation ended.
func (j *journal) finish(status OperationStatus, reason string) {
	if j != nil {
		j.op.Status, j.op.Error, j.op.FinishedAt = status, clip(reason), At(time.Now())
	}
}

// pick takes up the tenant's latest unfinished or failed operation of a kind for
// another attempt; there may be none, for a tenant of an earlier version.
func pick(inside context.Context, kind OperationKind, id string) (*journal, error) {
	list, err := Operations.Find(inside, Filter{
		Where: "subject = ? AND kind = ? AND status <> ?", Args: []any{id, kind, OperationSucceeded}, Order: "created_at DESC, id", Limit: 1,
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	op := &list[0]
	op.again()
	return &journal{op: op, written: time.Now()}, nil
}

// again begins another attempt.
func (o *Operation) again() {
	o.Status, o.Error, o.FinishedAt, o.Attempt, o.Params.Cancel = OperationRunning, "", 0, o.Attempt+1, nil
}

// resume takes up a creation that was cut off.
func (l *Lifecycle) resume(ctx context.Context, t *Tenant) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if t.ProvisioningStep != "" {
		return l.endedImport(inside, t)
	}
	if op, err := LastOperation(inside, t.ID); err == nil && op.Kind == OperationProvision && op.cancelled() {
		return l.endCancelled(inside, &journal{op: op, written: time.Now()})
	}
	j, err := pick(inside, OperationProvision, t.ID)
	if err != nil {
		return err
	}
	if j == nil { // begun by a version that recorded none
		j = newOperation(OperationProvision, t, t.CreatedBy, OperationParams{})
	}
	_, err = l.provision(ctx, t, j)
	return err
}

// deprovision begins or takes up the removal of a tenant.
func (l *Lifecycle) deprovision(ctx context.Context, id string) (*journal, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	j, err := pick(inside, OperationDeprovision, id)
	if err != nil {
		return nil, err
	}
	if j == nil {
		j = newOperation(OperationDeprovision, &Tenant{Row: Row{ID: id}}, actor(ctx), OperationParams{})
	}
	j.note("fence", "succeeded", nil)
	return j, nil
}

// unregister removes what the control plane has of a tenant: its organization, its
// domains and its registry row with the data key, without which no copy can be read.
func (l *Lifecycle) unregister(ctx context.Context, t *Tenant, j *journal) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, step := range []string{"organization", "domains", "keys", "registry"} { // one batch
		j.note(step, "succeeded", nil)
	}
	j.finish(OperationSucceeded, "")
	n := l.notice(ctx, t, "deleted", j, nil)
	remove := func() []Stmt {
		stmts := RemoveOrganization(inside, t.OrganizationID)
		stmts[0].Rows = AnyRows // a creation that failed may have made none
		stmts = append(stmts, CustomDomains.RemoveWhere(inside, "subject = ?", t.ID), forgetMail(inside, t.ID, movedAway), Tenants.Remove(inside, t.ID))
		return append(stmts, Deliver(inside, l.Webhooks, n)...)
	}
	err = j.commit(inside, remove()...)
	if errors.Is(err, ErrStale) { // another process was at the same operation
		err = Commit(inside, remove()...)
	}
	if err != nil {
		return err
	}
	l.announce(n)
	// The tenant is gone either way. What could not be scrubbed now, because
	// somebody reads, is with the next tenant or with the next start.
	_ = scrub(inside)
	return nil
}

// stuck records that the removal of a tenant failed. The tenant stays deleting.
func (l *Lifecycle) stuck(ctx context.Context, j *journal, cause error) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	j.note("database", "failed", cause)
	j.finish(OperationFailed, "database: "+cause.Error())
	return j.commit(inside)
}

type actorKey struct{}

// WithActor returns a context that says who asked for what is done with it, by
// subject; operations note it.
func WithActor(ctx context.Context, subject string) context.Context {
	return context.WithValue(ctx, actorKey{}, subject)
}

func actor(ctx context.Context) string {
	subject, _ := ctx.Value(actorKey{}).(string)
	return subject
}

// LastOperation returns the newest operation on a tenant, or [ErrNotFound]. It is
// asked inside the control plane.
func LastOperation(inside context.Context, id string) (*Operation, error) {
	list, err := Operations.Find(inside, Filter{Where: "subject = ?", Args: []any{id}, Order: "created_at DESC, id", Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// Retry runs a failed operation once more, and returns it as it began. The work
// goes on behind the caller, and records how it ends (contract C5.28).
//
// Errors: [ErrNotFound], and 409 for an operation that has not failed.
func (l *Lifecycle) Retry(ctx context.Context, operationID string) (*Operation, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	op, err := Operations.Get(inside, operationID)
	if err != nil {
		return nil, err
	}
	if op.Status != OperationFailed {
		return nil, Errorf(http.StatusConflict, "operation_conflict", "Operation is %s and cannot be retried", op.Status)
	}
	if op.Kind == OperationRepair {
		return retryRepair(inside, op.ID)
	}
	switch t, err := Tenants.Get(inside, op.Subject); {
	case errors.Is(err, ErrNotFound):
		return nil, Errorf(http.StatusConflict, "operation_conflict", "The tenant of this operation is gone")
	case err != nil:
		return nil, err
	case op.Kind == OperationProvision:
		t, j, err := l.takeUp(inside, t.ID, mayRetry)
		if err != nil {
			return nil, err
		}
		if j.id() != op.ID {
			return nil, Errorf(http.StatusConflict, "operation_conflict", "There is a later operation for this tenant")
		}
		began := *j.op
		go func() { _, _ = l.provision(context.WithoutCancel(ctx), t, j) }() // it records how it ends
		return &began, nil
	case op.Kind == OperationUpgrade:
		return l.upgradeAgain(ctx, inside, t, op)
	case op.Kind == OperationBackup:
		return l.backupAgain(ctx, inside, op)
	case op.Kind == OperationMove && op.Params.Move != nil:
		o := MoveOptions{Placement: op.Params.Move.Placement, DropOld: op.Params.Move.DropOld}
		began, err := l.StartMove(WithActor(ctx, op.InitiatedBy), t.ID, o)
		if err == nil && began == nil {
			err = Errorf(http.StatusConflict, "operation_conflict", "The tenant is in placement '%s' already", o.Placement)
		}
		return began, err
	case op.Kind != OperationDeprovision:
		return nil, Errorf(http.StatusConflict, "operation_conflict", "Operations of kind %q cannot be retried", op.Kind)
	default:
		op.Status, op.Error = OperationRunning, ""
		go func() { _ = l.Delete(context.WithoutCancel(ctx), op.Subject) }()
		return op, nil
	}
}
