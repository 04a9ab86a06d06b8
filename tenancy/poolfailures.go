package tenancy

import "time"

// failures remembers which databases could not be opened, so that their visitors
// are answered from memory and cannot keep the disk or a server busy. After each
// failure in a row the next try is further away.
type failures map[string]*failure

type failure struct {
	placement string
	err       error
	count     int
	until     time.Time // refuse visitors until then
	last      time.Time
}

const (
	refusal     = time.Second // after the first failure; it doubles
	refusalMost = 30 * time.Second
	failureTime = 10 * time.Minute // after that it is forgotten
	failureMost = 10_000           // remembered at a time, about
)

// recent returns the failure for which the key is refused now, or nil.
func (f failures) recent(key string, now time.Time) error {
	if x := f[key]; x != nil && now.Before(x.until) {
		return x.err
	}
	return nil
}

// add notes one more failure.
func (f failures) add(key, placement string, err error, now time.Time) {
	if len(f) >= failureMost {
		for k, x := range f {
			if now.Sub(x.last) > refusalMost {
				delete(f, k)
			}
		}
	}
	x := f[key]
	if x == nil || now.Sub(x.last) > failureTime {
		x = &failure{placement: placement}
		f[key] = x
	}
	x.err, x.last = err, now
	x.until = now.Add(min(refusal<<min(x.count, 10), refusalMost))
	x.count++
}
