package tenancy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Copy is a database of a tenant beside the one it lives in. Its registry row
// lists them, so that they are removed with the tenant at the latest.
type Copy struct {
	Placement string `json:"placement"`
	Database  string `json:"database,omitempty"` // what the provider calls it

	// Operation is the move that fills the copy; "" for one that a move left.
	Operation string `json:"operation,omitempty"`

	// DropAt is when the copy is dropped, unless somebody goes on filling it.
	DropAt Time `json:"drop_at"`
}

// copyKept is how long a copy that was left stays (contract C8.17).
const copyKept = 24 * time.Hour

// at returns the tenant as if it lived in the copy.
func (c Copy) at(t *Tenant) *Tenant {
	there := *t
	there.Placement, there.Database = c.Placement, c.Database
	return &there
}

func (c Copy) same(other Copy) bool {
	return c.Placement == other.Placement && c.Database == other.Database
}

// incoming returns the copy that a move fills, if there is one.
func (t *Tenant) incoming() (Copy, bool) {
	for _, c := range t.Copies {
		if c.Operation != "" {
			return c, true
		}
	}
	return Copy{}, false
}

// without returns the tenant's copies but one.
func (t *Tenant) without(c Copy) []Copy {
	return slices.DeleteFunc(slices.Clone(t.Copies), c.same)
}

// newDatabaseName is the name of a tenant's next database. It is never used
// twice, so that what is dropped late is never what was made since.
func newDatabaseName(tenant string) string {
	if len(tenant) > 24 {
		tenant = strings.TrimRight(tenant[:24], "-")
	}
	return tenant + "-" + strings.ToLower(rand.Text()[:10])
}

// engine returns the databases of a placement.
func (p *Pool) engine(placement string) (*engine, error) {
	pl, ok := p.placements[placement]
	if !ok {
		return nil, unconfigured(placement)
	}
	return pl.engine, nil
}

// dropCopy removes a copy of the tenant's database, and then its mention. The
// database the tenant lives in is never taken for a copy.
func (l *Lifecycle) dropCopy(inside context.Context, t *Tenant, c Copy) error {
	if c.same(Copy{Placement: t.Placement, Database: t.Database}) {
		return fmt.Errorf("tenant %s lives in what is listed as its copy", t.ID)
	}
	if err := l.Pool.Drop(inside, c.at(t)); err != nil {
		return fmt.Errorf("dropping a copy of tenant %s in placement %q: %w", t.ID, c.Placement, err)
	}
	_, err := Tenants.Update(inside, t.ID, func(t *Tenant) error {
		rest := t.without(c)
		if len(rest) == len(t.Copies) {
			return ErrUnchanged
		}
		t.Copies = rest
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DropCopies removes the copies that moves left and whose time is over, and those
// that nobody went on filling. What fails is tried again the next time.
func (l *Lifecycle) DropCopies(ctx context.Context, now time.Time) error {
	var errs []error
	for id, t := range l.Directory.All() {
		if !slices.ContainsFunc(t.Copies, func(c Copy) bool { return c.DropAt <= At(now) }) || t.State == StateDeleting {
			continue
		}
		errs = append(errs, l.dropDue(ctx, id, At(now)))
	}
	return errors.Join(errs...)
}

func (l *Lifecycle) dropDue(ctx context.Context, id string, now Time) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, c := range t.Copies {
		if c.DropAt > now {
			continue
		}
		if alive, err := moving(inside, c); err != nil || alive {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, l.dropCopy(inside, t, c))
	}
	return errors.Join(append(errs, l.Directory.Refresh(ctx))...)
}

// dropAllCopies removes every copy of a tenant that is being deleted, after the
// move that fills one has noticed that the tenant goes.
func (l *Lifecycle) dropAllCopies(ctx context.Context, id string) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, c := range t.Copies {
		for {
			alive, err := moving(inside, c)
			if err != nil {
				return err
			}
			if !alive {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := l.dropCopy(inside, t, c); err != nil {
			return err
		}
	}
	return nil
}

// moving reports whether a move is filling the copy at this moment, here or on
// another node.
func moving(inside context.Context, c Copy) (bool, error) {
	if c.Operation == "" {
		return false, nil
	}
	op, err := Operations.Get(inside, c.Operation)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && op.alive(time.Now()), err
}

// pulseEvery is how often work that takes long shows that it goes on; work that
// did not for pulseLost was cut off, and anybody may take it up.
const (
	pulseEvery = time.Second
	pulseLost  = 5 * time.Second
)

// alive reports whether somebody is at the operation.
func (o *Operation) alive(now time.Time) bool {
	return o.Status == OperationRunning && At(now) < o.UpdatedAt.Add(pulseLost)
}

func errMoving(id string) error {
	return Errorf(http.StatusConflict, "operation_conflict", "Tenant '%s' is being moved at this moment", id)
}
