package tenancy

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// LockTiming is how locks of a [FileStore] behave. Nodes judge by their own
// clocks how long a lock showed no sign of life, never by each other's.
type LockTiming struct {
	// Lease is how long a lock outlives its owner's last sign of life. Default 30 s;
	// all nodes have the same.
	Lease time.Duration

	// Poll is how often a waiter looks, at most. Default 500 ms.
	Poll time.Duration
}

func (t LockTiming) lease() time.Duration { return cmp.Or(t.Lease, 30*time.Second) }
func (t LockTiming) poll() time.Duration  { return cmp.Or(t.Poll, 500*time.Millisecond) }

// heldLocks are the locks of this process, by name.
type heldLocks struct {
	mu     sync.Mutex
	byName map[string]*heldFileLock
}

type heldFileLock struct {
	owner string
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// Lock takes the lock of a name, waiting until whoever has it unlocks it, or has
// given no sign of life for a lease. A holder that cannot reach the database for
// so long may lose it unawares.
func (s *FileStore) Lock(ctx context.Context, name string) error {
	w := waiter{name: name, owner: rand.Text(), lease: s.Timing.lease()}
	for {
		var got bool
		err := s.write(ctx, func(inside context.Context) (err error) {
			got, err = w.try(inside, time.Now())
			return err
		})
		if err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		if got {
			s.hold(ctx, name, w.owner)
			return nil
		}
		poll := s.Timing.poll()
		timer := time.NewTimer(poll/4 + mathrand.N(poll*3/4))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// TryLock takes the lock of a name unless somebody has it.
func (s *FileStore) TryLock(ctx context.Context, name string) (got bool, err error) {
	w := waiter{name: name, owner: rand.Text(), lease: s.Timing.lease()}
	err = s.write(ctx, func(inside context.Context) error {
		got, err = w.try(inside, time.Now())
		return err
	})
	if err == nil && got {
		s.hold(ctx, name, w.owner)
	}
	return got, err
}

// waiter is one attempt at a lock.
type waiter struct {
	name, owner string
	lease       time.Duration

	seen  fileLock // the lock as it was last
	since time.Time
}

// try takes the lock if it is free or its owner gives no sign of life.
func (w *waiter) try(inside context.Context, now time.Time) (bool, error) {
	at := At(now)
	err := Commit(inside, SQL(inside, `INSERT INTO file_locks (tenant_id, id, revision, created_at, updated_at, owner)
		VALUES (@tenant, ?, 1, ?, ?, ?) ON CONFLICT (tenant_id, id) DO NOTHING`, w.name, at, at, w.owner).Once())
	if !errors.Is(err, ErrStale) {
		return err == nil, err
	}
	lock, err := fileLocks.Get(inside, w.name)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil // unlocked in between
	case err != nil:
		return false, err
	case lock.Owner != w.seen.Owner || lock.Revision != w.seen.Revision:
		w.seen, w.since = *lock, now
		return false, nil
	case now.Sub(w.since) < w.lease:
		return false, nil
	}
	err = Commit(inside, SQL(inside, `UPDATE file_locks SET owner = ?, revision = revision + 1, updated_at = ?
		WHERE tenant_id = @tenant AND id = ? AND owner = ? AND revision = ?`, w.owner, at, w.name, lock.Owner, lock.Revision).Once())
	if errors.Is(err, ErrStale) {
		return false, nil // another waiter was faster, or its owner lives
	}
	return err == nil, err
}

// hold gives signs of life until the lock is unlocked or lost.
func (s *FileStore) hold(ctx context.Context, name, owner string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &heldFileLock{owner: owner, stop: cancel}
	h.done.Go(func() {
		tick := time.NewTicker(s.Timing.lease() / 5)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := s.write(ctx, func(inside context.Context) error {
				return Commit(inside, SQL(inside, `UPDATE file_locks SET revision = revision + 1, updated_at = ?
					WHERE tenant_id = @tenant AND id = ? AND owner = ?`, At(time.Now()), name, owner).Once())
			})
			if errors.Is(err, ErrStale) {
				return // lost; Unlock leaves the other's alone
			}
		}
	})
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	if s.held.byName == nil {
		s.held.byName = make(map[string]*heldFileLock)
	}
	s.held.byName[name] = h
}

// Unlock releases a lock that Lock or TryLock took. It does so even if ctx is
// over, so that nobody has to wait for the lease.
func (s *FileStore) Unlock(ctx context.Context, name string) error {
	s.held.mu.Lock()
	h := s.held.byName[name]
	delete(s.held.byName, name)
	s.held.mu.Unlock()
	if h == nil {
		return fmt.Errorf("lock %s is not held", name)
	}
	h.stop()
	h.done.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.write(ctx, func(inside context.Context) error {
		return Commit(inside, SQL(inside, `DELETE FROM file_locks WHERE tenant_id = @tenant AND id = ? AND owner = ?`, name, h.owner))
	})
}
