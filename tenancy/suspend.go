package tenancy

import (
	"context"
	"net/http"
	"time"
)

// Suspend has a tenant refuse everybody until [Lifecycle.Reactivate]; only its
// keys are still served, so that tokens stay verifiable (contract C1.19). It ends
// nothing: sessions and refresh tokens work again afterwards unless they have
// expired by then (C8.11). A tenant that is suspended is left as it is.
//
// Errors are those of [Lifecycle.Update] and 409 from any other state (C8.2).
func (l *Lifecycle) Suspend(ctx context.Context, id, reason string) (*Tenant, error) {
	return l.turn(ctx, id, StateActive, StateSuspended, "suspended", func(t *Tenant) {
		t.SuspendedAt, t.SuspendedReason = At(time.Now()), reason
	})
}

// Reactivate ends what [Lifecycle.Suspend] began. A tenant that is active is left
// as it is.
func (l *Lifecycle) Reactivate(ctx context.Context, id string) (*Tenant, error) {
	return l.turn(ctx, id, StateSuspended, StateActive, "resumed", func(t *Tenant) {
		t.SuspendedAt, t.SuspendedReason = 0, ""
	})
}

func (l *Lifecycle) turn(ctx context.Context, id string, from, to State, event string, alter func(*Tenant)) (*Tenant, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	turned := false
	about, err := Tenants.Get(inside, id)
	if err != nil {
		return nil, err
	}
	n := l.notice(ctx, about, event, nil, nil)
	t, err := Tenants.Update(inside, id, func(t *Tenant) error {
		turned = false
		switch {
		case t.IsControlPlane():
			return Errorf(http.StatusForbidden, "system_resource", "The control plane is always active")
		case t.State == to:
			return ErrUnchanged
		case t.State != from:
			return stateConflict(t, to)
		}
		turned, t.State = true, to
		alter(t)
		return nil
	}, Deliver(inside, l.Webhooks, n)...)
	if err != nil || !turned {
		return t, err
	}
	l.record(ctx, t, event)
	l.announce(n)
	return t, l.Directory.Refresh(ctx)
}

func stateConflict(t *Tenant, next State) error {
	return Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is %s and cannot become %s", t.ID, t.State, next)
}
