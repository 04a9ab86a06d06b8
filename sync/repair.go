package sync

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// repairNotes is how often a repair writes how far it is.
const repairNotes = time.Second

// Repair records that tenants are to be repaired; [Loop.RunRepairs] does it, in
// this process or another. inside is the control plane. Errors are a 400 for what
// cannot be, and a 404 for a tenant that is not there.
func (l *Loop) Repair(inside context.Context, wish tenancy.Repair) (*tenancy.Operation, error) {
	if err := CheckRepair(wish); err != nil {
		return nil, err
	}
	if _, err := l.chosen(inside, wish.TenantIDs); err != nil {
		return nil, err
	}
	op, err := tenancy.BeginRepair(inside, wish)
	if err == nil {
		select {
		case l.repairs <- struct{}{}:
		default:
		}
	}
	return op, err
}

// RunRepairs does the repairs that were asked for until ctx ends. A repair that is
// cut off, by the end of the process or a kill, is gone on with from where it was
// by whichever process looks next; that a tenant is repaired twice changes nothing.
func (l *Loop) RunRepairs(ctx context.Context) {
	every := time.NewTicker(l.every)
	defer every.Stop()
	for ctx.Err() == nil {
		for l.repairNext(ctx) == nil {
		}
		select {
		case <-l.repairs:
		case <-every.C:
		case <-ctx.Done():
		}
	}
}

// repairNext does one repair. Any error means that there is nothing to do now.
func (l *Loop) repairNext(ctx context.Context) error {
	inside, leave, err := l.enterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	op, err := tenancy.ClaimRepair(inside)
	if err != nil {
		return err
	}
	return l.repair(inside, op)
}

// repair brings the tenants in question to the control plane's state, one after
// the other with a bounded number at a time. One that fails does not stop it.
func (l *Loop) repair(inside context.Context, op *tenancy.Operation) error {
	progress := op.Params.Repair
	list, err := l.chosen(inside, progress.TenantIDs)
	if tenancy.StatusOf(err) == 404 { // gone meanwhile
		list, err = nil, nil
	}
	if err != nil {
		return err
	}
	p, err := l.look(inside)
	if err != nil {
		return err
	}
	progress.Total = len(list)
	by, noted := l.rules.with(progress.OnConflict), time.Now()
	err = inOrder(inside, l.workers, page(list, DriftFilter{From: progress.After}),
		func(ctx context.Context, t *tenancy.Tenant) repaired {
			return l.repairOne(ctx, t, p, by, progress.Entities)
		},
		func(r repaired) error {
			progress.After, progress.Checked = r.tenant, progress.Checked+1
			switch {
			case inside.Err() != nil:
				return inside.Err() // called off: not this tenant's failure
			case r.err != nil:
				progress.Failed++
				l.repairsFailed.Add(1)
				if progress.Failure == "" {
					progress.Failure = r.tenant + ": " + reason(r.err)
				}
			case r.wrote:
				progress.Written++
				l.repairedOnes.Add(1)
			}
			if time.Since(noted) < repairNotes {
				return nil
			}
			noted = time.Now()
			return tenancy.NoteRepair(inside, op, "", "")
		})
	if err != nil {
		return err
	}
	if progress.Failed > 0 {
		progress.Failure = fmt.Sprintf("%d of %d failed, the first one was %s", progress.Failed, progress.Total, progress.Failure)
	}
	return tenancy.EndRepair(inside, op)
}

// repaired is what came of one tenant.
type repaired struct {
	tenant string
	wrote  bool
	err    error
}

func (l *Loop) repairOne(ctx context.Context, t *tenancy.Tenant, p *picture, by *rules, entities []string) repaired {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	out, err := l.visitBy(ctx, job{tenant: t, picture: p, full: true}, by, partOf(entities), l.pool.EnterIdle)
	if err == nil && len(entities) == 0 {
		l.visited(t, out)
	}
	l.Kick()
	return repaired{t.ID, out.wrote, err}
}

// partOf is the work for some kinds, nil for all. Resource servers and roles are
// compared together, because what a role can have depends on the scopes there are.
func partOf(entities []string) *work {
	if len(entities) == 0 {
		return nil
	}
	w := work{settings: slices.Contains(entities, tenancy.KindSettings)}
	w.connections.all = slices.Contains(entities, tenancy.KindConnection)
	w.fallbacks = w.settings || w.connections.all
	w.servers.all = slices.Contains(entities, tenancy.KindResourceServer) || slices.Contains(entities, tenancy.KindRole)
	w.roles.all = w.servers.all
	return &w
}
