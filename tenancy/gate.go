package tenancy

import (
	"context"
	"net/http"
	"slices"
	"sync"
)

// fairGate lets a bounded number of callers work at a time. Callers who wait
// take turns by tenant, not by arrival: a tenant with a thousand callers waiting
// delays another tenant's one by a single turn. It is safe for concurrent use.
type fairGate struct {
	limit   int // how many work at a time
	backlog int // how many of one tenant may wait

	mu      sync.Mutex
	working int
	waiting map[string][]chan struct{} // per tenant, first come first; never empty lists
	turns   []string                   // the tenants in waiting, the next one first
	stats   GateStats
}

// GateStats counts what came to a gate since the process started.
type GateStats struct {
	Entered int64 // callers let in
	Refused int64 // callers turned away because too many of their tenant waited
	Working int   // inside now
	Waiting int   // in front of it now
}

func newFairGate(limit, backlog int) *fairGate {
	return &fairGate{limit: limit, backlog: backlog, waiting: make(map[string][]chan struct{})}
}

// enter waits for the caller's turn. The caller calls leave exactly once.
// Errors are ctx's own, and an [Error] with status 429 where too many callers of
// the same tenant wait already.
func (g *fairGate) enter(ctx context.Context, tenant string) (leave func(), err error) {
	g.mu.Lock()
	if g.working < g.limit { // then nobody waits: leaving hands a place on
		g.working++
		g.stats.Entered++
		g.mu.Unlock()
		return g.leave, nil
	}
	queue := g.waiting[tenant]
	if len(queue) >= g.backlog {
		g.stats.Refused++
		g.mu.Unlock()
		return nil, &Error{
			Status: http.StatusTooManyRequests, Code: "too_many_requests",
			Message: "Too many password checks at once, try again in a moment",
			Header:  map[string]string{"Retry-After": "1"},
		}
	}
	turn := make(chan struct{})
	g.waiting[tenant] = append(queue, turn)
	if len(queue) == 0 {
		g.turns = append(g.turns, tenant)
	}
	g.mu.Unlock()

	select {
	case <-turn:
		return g.leave, nil
	case <-ctx.Done():
		if !g.giveUp(tenant, turn) {
			g.leave() // the turn came at the same moment: hand it on
		}
		return nil, ctx.Err()
	}
}

// leave hands the place to whoever's turn it is.
func (g *fairGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.turns) == 0 {
		g.working--
		return
	}
	tenant := g.turns[0]
	g.turns = g.turns[1:]
	queue := g.waiting[tenant]
	next := queue[0]
	if len(queue) > 1 {
		g.waiting[tenant] = queue[1:]
		g.turns = append(g.turns, tenant)
	} else {
		delete(g.waiting, tenant)
	}
	g.stats.Entered++
	close(next)
}

// giveUp takes a caller out of the queue; false means that its turn has come.
func (g *fairGate) giveUp(tenant string, turn chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	queue := g.waiting[tenant]
	at := slices.Index(queue, turn)
	if at < 0 {
		return false
	}
	if len(queue) > 1 {
		g.waiting[tenant] = slices.Delete(slices.Clone(queue), at, at+1)
		return true
	}
	delete(g.waiting, tenant)
	g.turns = slices.DeleteFunc(g.turns, func(t string) bool { return t == tenant })
	return true
}

func (g *fairGate) statsNow() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Working = g.working
	for _, queue := range g.waiting {
		s.Waiting += len(queue)
	}
	return s
}
