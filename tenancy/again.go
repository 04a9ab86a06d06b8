package tenancy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// mark tells a repeated wish from another. What the creator may do besides is not
// part of it: they ask for the same.
func (n NewTenant) mark() string {
	n.CreatorIsPlatformAdmin = false
	b, _ := json.Marshal(n) // plain data always has a form in JSON
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// again answers a wish whose id is taken: the same one by the same caller is taken
// up where it failed or was cut off, and left to whoever is at it (contract C8.8).
// In the last case there is no journal.
func (l *Lifecycle) again(inside context.Context, wish NewTenant, mark string) (*Tenant, *journal, error) {
	taken := Errorf(http.StatusConflict, "tenant_conflict", "Tenant with ID '%s' already exists", wish.ID)
	op, err := LastOperation(inside, wish.ID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil, taken
	}
	if err != nil {
		return nil, nil, err
	}
	t, err := Tenants.Get(inside, wish.ID)
	switch {
	case errors.Is(err, ErrNotFound): // it vanished meanwhile
		return nil, nil, taken
	case err != nil:
		return nil, nil, err
	case t.CreatedBy != wish.CreatedBy || op.Kind != OperationProvision || op.Params.Wish != mark:
		return nil, nil, taken
	case t.State == StateProvisioning && op.busy(time.Now()):
		return t, nil, nil
	}
	t, j, err := l.takeUp(inside, wish.ID, func(now *Tenant) error {
		if now.State != StateFailed && (now.State != StateProvisioning || now.Revision != t.Revision) {
			return taken
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil, taken
	}
	return t, j, err
}

// busy reports whether somebody may be at the operation that makes a tenant.
func (o *Operation) busy(now time.Time) bool {
	lost := provisionTime + pulseLost
	if o.Kind == OperationImport {
		lost = pulseLost // it shows every second that it goes on
	}
	return o.Status == OperationRunning && At(now) < o.UpdatedAt.Add(lost)
}

// takeUp begins another attempt at a creation that failed, or was cut off; may
// says which.
func (l *Lifecycle) takeUp(inside context.Context, id string, may func(*Tenant) error) (*Tenant, *journal, error) {
	j, err := pick(inside, OperationProvision, id)
	if err != nil {
		return nil, nil, err
	}
	before := j.revision()
	t, err := Tenants.Update(inside, id, func(t *Tenant) error {
		if err := may(t); err != nil {
			return err
		}
		if t.ProvisioningStep != "" {
			return errHalf(t.ProvisioningStep)
		}
		t.State, t.ProvisioningError = StateProvisioning, ""
		return nil
	}, j.stmts(inside)...)
	if err != nil {
		j.undo(before)
		return nil, nil, err
	}
	j.kept()
	return t, j, nil
}

// mayRetry lets failed creations be taken up, and no other.
func mayRetry(t *Tenant) error {
	if t.State != StateFailed {
		return stateConflict(t, StateProvisioning)
	}
	return nil
}
