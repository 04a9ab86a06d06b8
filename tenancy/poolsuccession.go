package tenancy

import (
	"context"
	"errors"
	"slices"
)

// succession says that a tenant's registry row was replaced by one under which
// its database is opened with other data keys. Whoever still holds the old row
// enters as if they held the new one, so that nothing is sealed with a key that
// is about to be dropped.
type succession struct {
	next *Tenant
	left []*entry // opened under the old row; some may still be inside
}

// succeed has those who come with the old row enter by the next one, and closes
// the database as it was opened under the old row once it is left. Rows of
// different tenants or places are nothing to it, and nor are data keys that are
// the same, only sealed anew: then the open database is the next row's.
//
// A succession is kept while the pool lives: there is one for each time that a
// data key was changed.
func (p *Pool) succeed(old, next *Tenant) {
	if old == nil || next == nil || old.ID != next.ID || old.Placement != next.Placement || old.Database != next.Database ||
		old.DataKey == next.DataKey || old.CreatedAt != next.CreatedAt {
		return
	}
	from, to := entryKey(old), entryKey(next)
	same := p.sameKeys(old, next)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.successions[from]
	if s == nil {
		s = new(succession)
		p.successions[from] = s
	}
	s.next = next
	delete(p.successions, to) // it is the newest
	e, ok := p.entries[from]
	if !ok {
		return
	}
	_, taken := p.entries[to]
	if (same || e.state == queued) && !taken {
		delete(p.entries, from)
		e.key = to
		if e.state == queued {
			e.tenant = next
		}
		p.entries[to] = e
		return
	}
	s.left = append(s.left, e)
	p.discard(e, errors.New("the tenant's data key is being replaced; try again"))
	go p.coherent(e, next)
}

// coherent has the tenant's database as it is opened now forget what it remembers
// once nobody is inside of it as it was opened before: they may have changed it.
func (p *Pool) coherent(before *entry, t *Tenant) {
	<-before.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if e, ok := p.entries[entryKey(p.newest(t))]; ok {
		e.cache.forget()
		e.cache.endings.Add(1)
	}
}

func (p *Pool) sameKeys(a, b *Tenant) bool {
	one, err := p.master.openBundle(a.ID, a.DataKey)
	if err != nil {
		return false
	}
	other, err := p.master.openBundle(b.ID, b.DataKey)
	return err == nil && one.equal(other)
}

// newest returns the row that t was succeeded by; the pool is locked.
func (p *Pool) newest(t *Tenant) *Tenant {
	for s := p.successions[entryKey(t)]; s != nil; s = p.successions[entryKey(t)] {
		t = s.next
	}
	return t
}

// awaitSuccession waits until nobody is inside the tenant under a row before
// this one.
func (p *Pool) awaitSuccession(ctx context.Context, t *Tenant) error {
	to := entryKey(t)
	var leaving []*entry
	p.mu.Lock()
	for _, s := range p.successions {
		s.left = slices.DeleteFunc(s.left, isDone)
		if entryKey(p.newest(s.next)) == to {
			leaving = append(leaving, s.left...)
		}
	}
	p.mu.Unlock()
	return allDone(ctx, leaving)
}

func isDone(e *entry) bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}
