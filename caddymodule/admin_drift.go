package caddymodule

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	tenantsync "github.com/gatehouse-id/gatehouse/sync"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/sync/drift", syncDrift},
		operation{"POST /gatehouse/sync/repair", syncRepair},
	)
}

// driftShown is how many differences an answer holds where nobody asks for
// another number; all are counted.
const driftShown = 200

// driftView is how tenants differ from what they should have.
type driftView struct {
	Checked   int                `json:"checked"`   // tenants that were compared
	Differing int                `json:"differing"` // of these, with any difference
	Found     int                `json:"found"`     // differences in all
	Kinds     map[string]int     `json:"kinds"`     // how many of them, by kind
	Drift     []tenantsync.Drift `json:"drift"`     // the first ones
	Unchecked []unreached        `json:"unchecked"` // tenants that could not be compared
	CheckedAt tenancy.Time       `json:"checked_at"`

	limit int
}

// unreached is a tenant that could not be compared.
type unreached struct {
	TenantID string `json:"tenant_id"`
	Error    string `json:"error"`
}

func newDriftView(q *question) (*driftView, error) {
	v := &driftView{
		Kinds: map[string]int{}, Drift: []tenantsync.Drift{}, Unchecked: []unreached{}, CheckedAt: tenancy.At(time.Now()), limit: driftShown,
	}
	if text := q.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 100_000 {
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_query_string", "limit has to be a number from 0 to 100000, not %q", text)
		}
		v.limit = n
	}
	return v, nil
}

// adder returns what takes in one tenant after the other, and reports how far it is.
func (v *driftView) adder(q *question) func(tenantsync.TenantDrift) error {
	return func(d tenantsync.TenantDrift) error {
		if d.Err != nil {
			v.Unchecked = append(v.Unchecked, unreached{d.TenantID, d.Err.Error()})
		} else {
			v.Checked++
		}
		if len(d.Drift) > 0 {
			v.Differing++
		}
		v.Found += len(d.Drift)
		for _, one := range d.Drift {
			v.Kinds[one.Kind]++
		}
		room := max(v.limit-len(v.Drift), 0)
		v.Drift = append(v.Drift, d.Drift[:min(len(d.Drift), room)]...)
		q.report(progress{"tenants compared", int64(v.Checked + len(v.Unchecked)), int64(d.Of)})
		return nil
	}
}

// syncDrift compares tenants and writes nothing. It ends with whoever asked.
func syncDrift(ctx context.Context, s *services, q *question) (any, error) {
	v, err := newDriftView(q)
	if err != nil {
		return nil, err
	}
	var wish tenancy.Repair
	if id := q.URL.Query().Get("tenant_id"); id != "" {
		wish.TenantIDs = strings.Split(id, ",")
	}
	if entity := q.URL.Query().Get("entity"); entity != "" {
		wish.Entities = strings.Split(entity, ",")
	}
	return v, s.sync.Plan(ctx, wish, v.adder(q))
}

// repairWish is what a repair is told.
type repairWish struct {
	tenancy.Repair
	DryRun bool `json:"dry_run,omitempty"`
}

// repairView is what came of a repair, or its plan.
type repairView struct {
	OperationID string                  `json:"operation_id,omitempty"`
	Status      tenancy.OperationStatus `json:"status,omitempty"`
	Checked     int                     `json:"checked"`
	Repaired    int                     `json:"repaired"` // tenants in which something was different
	Failed      int                     `json:"failed"`
	Failure     string                  `json:"failure,omitempty"`

	Plan *driftView `json:"plan,omitempty"` // of a dry run
}

// syncRepair plans a repair, or does it and waits for its end. The repair is an
// operation: it goes on when whoever asked is gone.
func syncRepair(ctx context.Context, s *services, q *question) (any, error) {
	var wish repairWish
	if err := q.body(&wish); err != nil {
		return nil, err
	}
	if wish.DryRun {
		plan, err := newDriftView(q)
		if err != nil {
			return nil, err
		}
		return &repairView{Plan: plan}, s.sync.Plan(ctx, wish.Repair, plan.adder(q))
	}
	var view *repairView
	cp := s.directory.ControlPlane()
	err := s.pool.Do(ctx, cp, func(inside context.Context) error {
		op, err := s.sync.Repair(inside, wish.Repair)
		if err == nil {
			view, err = awaitRepair(inside, op.ID, q)
		}
		return err
	})
	return view, err
}

// awaitRepair looks at a repair until it is over. Whichever process does it, how
// far it is stands in its row.
func awaitRepair(inside context.Context, id string, q *question) (*repairView, error) {
	look := time.NewTicker(reportEvery)
	defer look.Stop()
	for {
		op, err := tenancy.Operations.Get(inside, id)
		if err != nil {
			return nil, err
		}
		p := op.Params.Repair
		if op.Status != tenancy.OperationRunning {
			return &repairView{OperationID: id, Status: op.Status, Checked: p.Checked, Repaired: p.Written, Failed: p.Failed, Failure: p.Failure}, nil
		}
		q.report(progress{"tenants repaired", int64(p.Checked), int64(p.Total)})
		select {
		case <-look.C:
		case <-inside.Done():
			return nil, inside.Err()
		}
	}
}

// kindsLine is how many differences there are of each kind, in words.
func (v *driftView) kindsLine() string {
	var parts []string
	for _, kind := range []string{tenantsync.DriftMissing, tenantsync.DriftExtra, tenantsync.DriftModified, tenantsync.DriftConflict} {
		if n := v.Kinds[kind]; n > 0 {
			parts = append(parts, strconv.Itoa(n)+" "+kind)
		}
	}
	return strings.Join(parts, ", ")
}
