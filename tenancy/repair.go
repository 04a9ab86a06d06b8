package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Repair asks for tenants to be brought to what the control plane says, whatever
// they were told before (contract C5.103). The zero value means everything in all
// tenants.
type Repair struct {
	TenantIDs []string `json:"tenant_ids,omitempty"` // nil for all
	Entities  []string `json:"entities,omitempty"`   // kinds as in the change log; nil for all

	// OnConflict is the policy in place of the configured ones; "" for these.
	OnConflict string `json:"on_conflict,omitempty"`
}

// RepairProgress is a repair with how far it is.
type RepairProgress struct {
	Repair
	After   string `json:"after,omitempty"` // tenants up to this id are done
	Checked int    `json:"checked"`
	Total   int    `json:"total"`
	Written int    `json:"written"` // tenants in which something was different
	Failed  int    `json:"failed"`
	Failure string `json:"failure,omitempty"` // the first one's
}

// repairLease is how long a repair that makes no progress is left to whoever took
// it up.
const repairLease = 30 * time.Second

// BeginRepair records that a repair was asked for. It is asked inside the control
// plane, and [ClaimRepair] finds it.
func BeginRepair(inside context.Context, wish Repair) (*Operation, error) {
	cp, err := Current(inside)
	if err != nil {
		return nil, err
	}
	j := newOperation(OperationRepair, cp, actor(inside), OperationParams{Repair: &RepairProgress{Repair: wish}})
	return j.op, j.commit(inside)
}

// ClaimRepair takes up a repair that nobody is at: one just asked for, or one
// whose process went. None is [ErrNotFound].
func ClaimRepair(inside context.Context) (*Operation, error) {
	open, err := Operations.Find(inside, Filter{
		Where: "kind = ? AND status = ? AND (current_step = '' OR updated_at < ?)",
		Args:  []any{OperationRepair, OperationRunning, At(time.Now().Add(-repairLease))}, Order: "created_at, id",
	})
	if err != nil {
		return nil, err
	}
	for i := range open {
		op := &open[i]
		if op.Params.Repair == nil {
			continue
		}
		if op.Params.Cancel != nil {
			if err := cancelRepair(inside, &journal{op: op}); !errors.Is(err, ErrStale) && err != nil {
				return nil, err
			}
			continue
		}
		outcome := "started"
		if op.CurrentStep != "" {
			outcome = "retried"
			op.Attempt++
		}
		err := NoteRepair(inside, op, outcome, "")
		if !errors.Is(err, ErrStale) { // else somebody else was faster
			return op, err
		}
	}
	return nil, ErrNotFound
}

// NoteRepair writes how far a repair is; whoever does not for half a minute loses
// it. outcome "" notes no entry in its history. [ErrStale] means that it is
// somebody else's by now.
func NoteRepair(inside context.Context, op *Operation, outcome, failure string) error {
	op.CurrentStep = "tenants"
	before := op.Revision
	j := &journal{op: op}
	if outcome != "" {
		var cause error
		if failure != "" {
			cause = errors.New(failure)
		}
		j.note("tenants", outcome, cause)
		if failure == "" && outcome == "succeeded" {
			j.entries[0].Detail, _ = json.Marshal(op.Params.Repair) // plain data always has a form in JSON
		}
	}
	err := j.commit(inside)
	if errors.Is(err, ErrStale) && errors.Is(j.asked(inside), errCancelled) {
		j.entries = nil
		return errors.Join(errCancelled, cancelRepair(inside, j))
	}
	if err != nil {
		op.Revision = before
	}
	return err
}

// cancelRepair records that a repair is cancelled. What it did stays.
func cancelRepair(inside context.Context, j *journal) error {
	j.aside("cancel", "succeeded")
	j.finish(OperationCancelled, "")
	return j.commit(inside)
}

// EndRepair writes that a repair is over. One in which a tenant failed has failed.
func EndRepair(inside context.Context, op *Operation) error {
	j := &journal{op: op}
	outcome := "succeeded"
	if failure := op.Params.Repair.Failure; failure != "" {
		outcome = "failed"
		j.finish(OperationFailed, "tenants: "+failure)
	} else {
		j.finish(OperationSucceeded, "")
	}
	return NoteRepair(inside, op, outcome, op.Params.Repair.Failure)
}

// retryRepair has a failed repair begin once more.
func retryRepair(inside context.Context, id string) (*Operation, error) {
	return Operations.Update(inside, id, func(op *Operation) error {
		if op.Status != OperationFailed || op.Params.Repair == nil {
			return Errorf(409, "operation_conflict", "Operation is %s and cannot be retried", op.Status)
		}
		op.again()
		op.CurrentStep = ""
		op.Params.Repair = &RepairProgress{Repair: op.Params.Repair.Repair}
		return nil
	})
}
