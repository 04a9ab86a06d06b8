package tenancy

import "time"

// SetClock replaces the pool's clock.
func (p *Pool) SetClock(now func() time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

// SetHookPatience has hooks take no longer.
func (l *Lifecycle) SetHookPatience(d time.Duration) { l.hookPatience = d }

// TrimAttempts removes a user's counts of wrong passwords but for the last few.
var TrimAttempts = trimAttempts
