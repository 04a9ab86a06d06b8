package tenancy

import (
	"container/list"
	"log/slog"
	"time"
)

// Filed is the optional ability of a [Provider] to say how many file descriptors
// an open database of its takes at most. One without it takes none that matter.
type Filed interface{ Files() int }

// placement is what the pool counts of a configured database.
type placement struct {
	name   string
	engine *engine
	files  int // file descriptors of one open database
	limit  int // databases open at a time

	queue [2]*list.List // entries that wait to be opened, by rank, in the order they came
	idle  [2]*list.List // open entries nobody is inside of, by rank, longest unused first

	slots                    int // databases being opened, open, or being closed
	opening, lateOpening     int // late ones have taken longer than anybody waits
	closing, lateClosing     int
	refusals                 [refusalKinds]int64
	failed                   int64
	openings                 [len(openBuckets) + 1]uint64
	openCount, openTimeTotal uint64 // the latter in nanoseconds
}

func newPlacement(name string, e *engine) *placement {
	pl := &placement{name: name, engine: e}
	if f, ok := e.provider.(Filed); ok {
		pl.files = f.Files()
	}
	for r := range pl.queue {
		pl.queue[r], pl.idle[r] = list.New(), list.New()
	}
	return pl
}

func (pl *placement) waiting() int { return pl.queue[visitor].Len() + pl.queue[background].Len() }

// What a placement may do at a time. Those that take long are counted apart, so
// that a few that hang do not hold up the rest; and they are few, so that they
// do not use up the budget.
const (
	openingLimit = 16
	lateLimit    = 48
	waitingLimit = 2000 // tenants that wait for one placement; more are refused
)

func (p *Pool) openingLimit() int { return min(max(p.limit/2, 1), openingLimit) }
func (p *Pool) lateLimit() int    { return min(max(p.limit/8, 1), lateLimit) }

// backgroundShare is how many databases may be kept open for EnterIdle at the
// expense of those that visitors used, so that its work goes on: a small part, but
// enough that a pass over all tenants does not wait for each close.
func (p *Pool) backgroundShare() int { return max(p.limit/32, min(p.limit/8, 8), 1) }

// setLimits says how many databases each placement may have open. Each keeps a
// small share of the budget that the others cannot take.
func (p *Pool) setLimits(limits map[string]int, log *slog.Logger) {
	share := p.limit / (4 * len(p.order))
	for _, pl := range p.order {
		pl.limit = max(p.limit-share*(len(p.order)-1), 1)
		if l := limits[pl.name]; l > 0 {
			pl.limit = min(pl.limit, l)
		}
		if most := p.files / max(pl.files, 1); p.files > 0 && pl.files > 0 && most < pl.limit {
			pl.limit = max(most, 1)
			if log != nil {
				log.Warn("fewer databases can be open than configured; raise the limit of open files of this process (ulimit -n, or LimitNOFILE of systemd)",
					"placement", pl.name, "open_databases", pl.limit, "file_descriptors", p.files, "each_takes", pl.files)
			}
		}
	}
}

// waiting returns how many entries wait to be opened; the pool is locked.
func (p *Pool) waiting() (n int) {
	for _, pl := range p.order {
		n += pl.waiting()
	}
	return n
}

// dispatch opens what waits, as far as there is room, and makes room for the
// rest; the pool is locked.
func (p *Pool) dispatch() {
	for _, who := range []rank{visitor, background} {
		for passed := 0; passed < len(p.order); {
			pl := p.order[p.turn%len(p.order)]
			p.turn++
			if !p.admit(pl, who) {
				passed++
				continue
			}
			passed = 0
		}
	}
	p.makeRoom()
}

// admit opens the entry of the rank that has waited longest in the placement, if
// it may be.
func (p *Pool) admit(pl *placement, who rank) bool {
	first := pl.queue[who].Front()
	if first == nil || p.mayOpen(pl) <= 0 || pl.slots >= pl.limit || p.full(pl) {
		return false
	}
	p.start(first.Value.(*entry))
	return true
}

// mayOpen returns how many more the placement may open at this time.
func (p *Pool) mayOpen(pl *placement) int {
	if pl.lateOpening >= p.lateLimit() {
		return 0
	}
	return p.openingLimit() - pl.opening
}

// full reports whether the budget has no room for one more of the placement.
func (p *Pool) full(pl *placement) bool {
	return p.slots >= p.limit || p.scarce(pl)
}

func (p *Pool) scarce(pl *placement) bool {
	return p.files > 0 && pl.files > 0 && p.slots > 0 && p.taken+pl.files > p.files
}

// makeRoom has as many idle databases closed as are needed for what waits and
// could be opened then. Closing takes a moment, during which they count.
func (p *Pool) makeRoom() {
	wanted, under := 0, 0
	for _, pl := range p.order {
		under += pl.closing
	}
	for _, who := range []rank{visitor, background} {
		for _, pl := range p.order {
			n := min(pl.queue[who].Len(), p.mayOpen(pl))
			if who == background { // it stands behind visitors, and takes little of what they used
				n = min(n, p.mayEvict(pl))
			}
			if n <= 0 {
				continue
			}
			if pl.slots >= pl.limit { // only one of its own makes room
				own := func(other *placement) bool { return other == pl }
				for pl.closing < n && p.evict(own, who) {
				}
				continue
			}
			fits := func(other *placement) bool { return other.files > 0 || !p.scarce(pl) }
			for wanted += n; under < wanted && p.evict(fits, who); under++ {
			}
		}
	}
}

// mayEvict returns how many databases may be closed for what waits in the
// background of the placement.
func (p *Pool) mayEvict(pl *placement) int {
	if pl.queue[visitor].Len() > 0 {
		return 0
	}
	n := max(p.backgroundShare()-p.idlers, 0)
	for _, other := range p.order {
		n += other.idle[background].Len()
	}
	return n
}

// evict closes the longest unused database among those of the placements, if
// there is one that may be closed for somebody of the rank.
func (p *Pool) evict(from func(*placement) bool, who rank) bool {
	e := p.oldest(from, background)
	if e == nil && (who == visitor || p.idlers < p.backgroundShare()) {
		e = p.oldest(from, visitor)
	}
	if e == nil {
		return false
	}
	p.shut(e)
	return true
}

func (p *Pool) oldest(from func(*placement) bool, r rank) (oldest *entry) {
	for _, pl := range p.order {
		first := pl.idle[r].Front()
		if first == nil || !from(pl) || pl.lateClosing >= p.lateLimit() {
			continue
		}
		if e := first.Value.(*entry); oldest == nil || e.left < oldest.left {
			oldest = e
		}
	}
	return oldest
}

// idleTimeOf is how long an entry of the rank stays open unused.
func (p *Pool) idleTimeOf(r rank) time.Duration {
	if r == background {
		return min(p.idleTime, 10*time.Second)
	}
	return p.idleTime
}

func (p *Pool) overdue(e *entry, r rank) bool { return p.now().Sub(e.since) >= p.idleTimeOf(r) }

const (
	sweepMost    = 10 * time.Second // between two looks at the idle ones
	closingPause = 50 * time.Millisecond
)

// sweepIn has the idle entries looked at after a while, unless that is due
// already; the pool is locked.
func (p *Pool) sweepIn(d time.Duration) {
	if p.sweeping || p.closed {
		return
	}
	p.sweeping = true
	time.AfterFunc(min(max(d, time.Millisecond), sweepMost), p.sweep)
}

// sweep closes what nobody has used for long, a few at a time.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeping = false
	left, wait := 0, p.idleTime
	for _, pl := range p.order {
		for r, idle := range pl.idle {
			for first := idle.Front(); first != nil && p.overdue(first.Value.(*entry), rank(r)); first = idle.Front() {
				if pl.closing >= openingLimit || pl.lateClosing >= p.lateLimit() {
					wait = closingPause
					break
				}
				p.shut(first.Value.(*entry))
			}
			left += idle.Len()
		}
	}
	if left > 0 {
		p.sweepIn(wait)
	}
}
