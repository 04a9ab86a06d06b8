package tenancy

import "time"

// Why visitors were refused, by which [PlacementStats] counts them.
const (
	refusedBudget = iota
	refusedCrowd
	refusedSlow
	refusedBroken
	refusalKinds
)

var refusalNames = [refusalKinds]string{"budget", "crowd", "slow", "broken"}

// openBuckets are the upper bounds of the classes of opening times, in seconds.
var openBuckets = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// PoolStats counts what a pool holds.
type PoolStats struct {
	Open       int // databases open, being opened or being closed
	InUse      int // of these, entered by somebody
	Limit      int
	Placements []PlacementStats // in the order of their names
}

// PlacementStats counts what a pool holds of one placement.
type PlacementStats struct {
	Name    string
	Limit   int // how many databases may be open
	Open    int // databases open, being opened or being closed
	InUse   int // of these, entered by somebody
	Opening int // of these, being opened
	Closing int // of these, being closed
	Waiting int // tenants that wait for room
	Failing int // tenants refused because their database failed lately

	// Refusals counts the visitors refused, by reason: "budget" for want of
	// room, "crowd" because too many waited, "slow" because the database did not
	// open in time, and "broken" because it had failed just before.
	Refusals map[string]int64

	Failures int64 // openings that failed

	// OpenTimes counts the openings, failed ones too, by how long they took: the
	// keys are upper bounds in seconds, the counts cumulative.
	OpenTimes   map[float64]uint64
	OpenCount   uint64
	OpenSeconds float64 // all of them together
}

// Stats returns the counts of now.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PoolStats{Open: p.slots, Limit: p.limit}
	failing := make(map[string]int)
	for _, x := range p.failures {
		if p.now().Before(x.until) {
			failing[x.placement]++
		}
	}
	for _, pl := range p.order {
		one := pl.stats()
		one.Failing = failing[pl.name]
		s.InUse += one.InUse
		s.Placements = append(s.Placements, one)
	}
	return s
}

func (pl *placement) stats() PlacementStats {
	s := PlacementStats{
		Name: pl.name, Limit: pl.limit, Open: pl.slots, Opening: pl.opening + pl.lateOpening, Closing: pl.closing + pl.lateClosing,
		Waiting: pl.waiting(), Failures: pl.failed, Refusals: make(map[string]int64, refusalKinds),
		OpenTimes: make(map[float64]uint64, len(openBuckets)), OpenCount: pl.openCount, OpenSeconds: time.Duration(pl.openTimeTotal).Seconds(),
	}
	s.InUse = pl.slots - s.Opening - s.Closing - pl.idle[visitor].Len() - pl.idle[background].Len()
	for kind, n := range pl.refusals {
		s.Refusals[refusalNames[kind]] = n
	}
	var sum uint64
	for i, bound := range openBuckets {
		sum += pl.openings[i]
		s.OpenTimes[bound] = sum
	}
	return s
}

// observe counts an opening that took so long.
func (pl *placement) observe(took time.Duration) {
	pl.openCount++
	pl.openTimeTotal += uint64(took)
	for i, bound := range openBuckets {
		if took.Seconds() <= bound {
			pl.openings[i]++
			return
		}
	}
	pl.openings[len(openBuckets)]++
}

// refuse counts a visitor refused, and returns why.
func (p *Pool) refuse(pl *placement, kind int, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl.refusals[kind]++
	return err
}

func (p *Pool) isQueued(e *entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.state == queued
}
