package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Report is told how far long work is: so many of what step names are done; total
// is 0 where it is not known. It must not block for long.
type Report func(step string, done, total int64)

// tell tells nobody where there is nobody.
func (r Report) tell(step string, done, total int64) {
	if r != nil {
		r(step, done, total)
	}
}

// elsewhere is how long other processes over the same control plane may need to
// notice a change of the registry and to end what they had begun before: they
// look once a second.
const elsewhere = 2 * time.Second

// resealRounds is how often everything is looked at before a rotation gives up.
const resealRounds = 10

// RotateDataKey gives a tenant a new data key: everything that is sealed in it is
// sealed with the new one, what is derived is made from the new one, and then the
// old one is gone. The tenant serves all the while, and nothing that it gave out
// becomes invalid: sessions, codes and refresh tokens depend on no key, and hashes
// of client secrets are made anew. Only cursors of lists and the link for the first
// administrator are lost.
//
// It goes in steps, so that at no time somebody holds a value that they have no
// key for:
//
//  1. the registry has old and new; old seals. Wait until everybody knows new.
//  2. new seals. Wait until nobody seals with old.
//  3. reseal, in small batches, until nothing is left that old sealed.
//  4. the registry has new alone.
//
// An end at any point leaves a tenant that works; RotateDataKey again goes on from
// there. Errors: [ErrNotFound], 409 for a tenant that is neither active nor
// suspended, ctx's, and those of the tenant's database.
func (l *Lifecycle) RotateDataKey(ctx context.Context, id string, report Report) error {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	steps := []struct {
		name   string
		change func(*bundle) error
		wait   time.Duration
	}{
		{"making the new key known", func(b *bundle) error {
			if len(b.Keys) > 1 {
				return ErrUnchanged
			}
			b.Keys = append(b.Keys, newDataKey())
			return nil
		}, elsewhere},
		{"sealing with the new key", func(b *bundle) error {
			if b.Seals == len(b.Keys)-1 {
				return ErrUnchanged
			}
			b.Seals = len(b.Keys) - 1
			return nil
		}, elsewhere},
	}
	for _, s := range steps {
		report.tell(s.name, 0, 0)
		if err := l.advance(ctx, id, s.change, l.Settle.or(s.wait)); err != nil {
			return err
		}
	}
	if err := l.resealTenant(ctx, id, report); err != nil {
		return err
	}
	report.tell("dropping the old key", 0, 0)
	err := l.advance(ctx, id, func(b *bundle) error {
		if b.Seals != len(b.Keys)-1 {
			return fmt.Errorf("rotating the data key of tenant %s: somebody else changed it", id)
		}
		b.Keys, b.Seals = b.Keys[b.Seals:], 0
		return nil
	}, 0)
	if err != nil {
		return err
	}
	t, ok := l.Directory.ByID(id)
	if !ok {
		return nil // deleted meanwhile, with both keys
	}
	l.record(ctx, t, "data_key_rotated")
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil // it is done all the same
	}
	defer leave()
	// The old key seals nothing any more. What could not be scrubbed now, because
	// somebody reads, is overwritten by and by.
	report.tell("removing old values from files", 0, 0)
	_ = errors.Join(scrub(inside), l.Pool.Do(ctx, t, scrub), l.Pool.Do(ctx, t, rewrite))
	return nil
}

// scrub has the entered tenant's database forget what was deleted, if it can.
func scrub(ctx context.Context) error {
	s, err := spaceOf(ctx)
	if err != nil {
		return err
	}
	if x, ok := s.entry.db.(Scrubber); ok {
		return x.Scrub(ctx)
	}
	return nil
}

// rewrite has the entered tenant's database forget what was sealed before, if it can.
func rewrite(ctx context.Context) error {
	s, err := spaceOf(ctx)
	if err != nil {
		return err
	}
	x, ok := s.entry.db.(Rewriter)
	if !ok {
		return nil
	}
	tables := make([]string, len(sealedTables))
	for i, t := range sealedTables {
		tables[i] = t.name
	}
	return x.Rewrite(ctx, tables)
}

// Settle is a time to wait, see [Lifecycle]: zero means the default, and less
// none at all.
type Settle time.Duration

func (s Settle) or(instead time.Duration) time.Duration {
	switch {
	case s < 0:
		return 0
	case s == 0:
		return instead
	}
	return time.Duration(s)
}

// advance changes a tenant's data keys and waits until nobody is inside with the
// keys from before.
func (l *Lifecycle) advance(ctx context.Context, id string, change func(*bundle) error, wait time.Duration) error {
	if err := l.changeBundle(ctx, id, change); err != nil {
		return err
	}
	if err := l.Directory.Refresh(ctx); err != nil {
		return err
	}
	t, ok := l.Directory.ByID(id)
	if !ok {
		return ErrNotFound
	}
	if err := l.Pool.awaitSuccession(ctx, t); err != nil {
		return err
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	// Those who were inside with the keys before may have changed what is
	// remembered with the new ones.
	return l.Pool.Do(ctx, t, Forget)
}

func (l *Lifecycle) changeBundle(ctx context.Context, id string, change func(*bundle) error) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = Tenants.Update(inside, id, func(t *Tenant) error {
		if t.State != StateActive && t.State != StateSuspended {
			return Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is %s; its data key can be replaced while it is active or suspended", id, t.State)
		}
		if _, moving := t.incoming(); moving {
			return Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is being moved; replace its data key afterwards", id)
		}
		b, err := l.Master.openBundle(id, t.DataKey)
		if err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		t.DataKey = l.Master.sealBundle(id, b)
		return nil
	})
	return err
}

// resealTenant reseals until a whole round finds nothing more to do.
func (l *Lifecycle) resealTenant(ctx context.Context, id string, report Report) error {
	t, ok := l.Directory.ByID(id)
	if !ok {
		return ErrNotFound
	}
	var seen int64
	for range resealRounds {
		var changed int64
		err := l.Pool.Do(ctx, t, func(ctx context.Context) (err error) {
			changed, err = reseal(ctx, func(rows int64) {
				seen += rows
				report.tell("rows looked at", seen, 0)
			})
			return err
		})
		if err != nil {
			return err
		}
		if changed == 0 {
			return nil
		}
	}
	return Unavailable(fmt.Errorf("tenant %s changes faster than it is resealed", id), "run the rotation again when it is quieter; both keys work until then")
}
