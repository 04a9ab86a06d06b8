package postgres

import (
	"context"
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// lease is the right to make, migrate or drop an item. It is renewed until it is
// released; that of a process that died runs out.
type lease struct {
	list  registry
	item  item // as it was when the lease was taken
	owner string
	stop  func()
}

const (
	leaseTime = 30 * time.Second
	renewTime = leaseTime / 3
)

// hold waits for the item's lease, as long as ctx lasts, and returns the item as
// it is then. An item that is gone is errMissing.
func (r registry) hold(ctx context.Context, isolation Isolation, name string) (*lease, error) {
	l := &lease{list: r, owner: rand.Text()}
	for try := 1; ; try++ {
		n, err := r.exec(ctx, `UPDATE `+r.table+` SET lease_owner = $3, lease_until = `+now+` + $4
			WHERE isolation = $1 AND name = $2 AND lease_until < `+now, string(isolation), name, l.owner, int64(leaseTime/time.Second))
		if err != nil {
			return nil, err
		}
		if l.item, err = r.get(ctx, isolation, name); err != nil {
			return nil, err
		}
		if n == 1 {
			l.keep(ctx)
			return l, nil
		}
		// Most are held for a few milliseconds.
		wait := min(time.Duration(math.Pow(float64(try), 2))*5*time.Millisecond, time.Second)
		select {
		case <-time.After(wait/2 + mathrand.N(wait)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// keep renews the lease until it is released.
func (l *lease) keep(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(renewTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// One that fails is tried again; what the lease is for ends with a
				// condition on it.
				_ = l.update(ctx, `lease_until = `+now+` + $4`, int64(leaseTime/time.Second))
			case <-ctx.Done():
				return
			}
		}
	})
	l.stop = sync.OnceFunc(func() { cancel(); done.Wait() })
}

// update changes the item's row, if the lease is still held. Arguments are $4
// and on.
func (l *lease) update(ctx context.Context, change string, args ...any) error {
	return l.once(ctx, `UPDATE `+l.list.table+` SET `+change, args...)
}

// once runs a statement over the item's row on condition that the lease is held.
func (l *lease) once(ctx context.Context, statement string, args ...any) error {
	n, err := l.list.exec(ctx, statement+` WHERE isolation = $1 AND name = $2 AND lease_owner = $3`,
		append([]any{string(l.item.isolation), l.item.name, l.owner}, args...)...)
	if err == nil && n != 1 {
		return errLeaseLost
	}
	return err
}

// mark sets the item's state under the lease.
func (l *lease) mark(ctx context.Context, state string) error {
	return l.update(ctx, `state = $4`, state)
}

// finish sets the item's state and ends the lease.
func (l *lease) finish(ctx context.Context, state string) error {
	l.stop()
	return l.update(ctx, `state = $4, lease_owner = '', lease_until = 0`, state)
}

// forget removes the item, and with it the lease.
func (l *lease) forget(ctx context.Context) error {
	l.stop()
	return l.once(ctx, `DELETE FROM `+l.list.table)
}

// release lets others have the lease, whatever became of what it was for.
func (l *lease) release(ctx context.Context) {
	l.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	_ = l.update(ctx, `lease_owner = '', lease_until = 0`) // else it runs out
}

// condition is what once asks for, in a script that takes no arguments.
func (l *lease) condition() string {
	return ` WHERE isolation = ` + sqltext.Quote(string(l.item.isolation)) + ` AND name = ` + sqltext.Quote(l.item.name) + ` AND lease_owner = ` + sqltext.Quote(l.owner)
}
