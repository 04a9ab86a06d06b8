package tenancy

import (
	"context"
	"errors"
	"time"
)

// Exclusive is implemented by providers whose databases one process writes at a
// time. Of all others it is assumed that further nodes write them too, and what
// [Cached] remembers is compared with the database once a second.
type Exclusive interface {
	// Exclusive reports whether nobody else writes these databases.
	Exclusive() bool
}

// cacheTrust is how long what is remembered is used without asking the database
// whether another node has changed it.
const cacheTrust = time.Second

// settle is the statement that tells the other nodes of a change of the entered
// tenant's configuration: it is part of the batch that changes it.
func settle(ctx context.Context) Stmt {
	return SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'configuration', 1)
		ON CONFLICT (tenant_id, id) DO UPDATE SET value = counters.value + 1`)
}

// trust makes sure that what the cache holds was true within [cacheTrust]. One
// caller at a time asks the database; where it does not answer, that is an
// error, for a secret may have been withdrawn meanwhile.
func (c *cache) trust(ctx context.Context, now time.Time) error {
	last := c.checked.Load()
	if now.UnixNano()-last < int64(cacheTrust) || !c.checked.CompareAndSwap(last, now.UnixNano()) {
		return nil
	}
	var value int64
	err := QueryRow(ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = 'configuration'`, nil, &value)
	if err != nil && !errors.Is(err, ErrNotFound) {
		c.checked.Store(last)
		return err
	}
	if c.seen.Swap(value) != value {
		c.forget()
	}
	return nil
}
