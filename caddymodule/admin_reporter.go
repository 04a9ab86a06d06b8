package caddymodule

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// progress is how far long work is.
type progress struct {
	Step  string `json:"step"`            // what is being done
	Done  int64  `json:"done"`            // so many of what Step counts
	Total int64  `json:"total,omitempty"` // 0 where it is not known
}

// line is one line of a streamed answer: one of its members is set. A line of
// none says that the work goes on.
type line struct {
	Progress *progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Failure  *trouble        `json:"failure,omitempty"`
}

const (
	streamType  = "application/x-ndjson"
	reportEvery = 100 * time.Millisecond // lines of the same step are no closer than this
	aliveEvery  = 5 * time.Second        // a stream is silent no longer than this
)

// reporter writes an answer: as JSON with a status, or, where the client accepts
// [streamType], as lines: progress at any time, and at the end the result or the
// failure. Its methods are safe for concurrent use.
type reporter struct {
	w       http.ResponseWriter
	streams bool
	end     chan struct{} // closed when a streamed answer is over

	mu   sync.Mutex
	last progress
	at   time.Time
}

func newReporter(w http.ResponseWriter, r *http.Request) *reporter {
	rep := &reporter{w: w, streams: strings.Contains(r.Header.Get("Accept"), streamType)}
	w.Header().Set("Cache-Control", "no-store")
	if rep.streams {
		rep.end = make(chan struct{})
		w.Header().Set("Content-Type", streamType)
		go rep.stayAlive()
	}
	return rep
}

// report tells how far the work is. Reports that come fast are thinned out: the
// first and the last of a step are told.
func (r *reporter) report(p progress) {
	if !r.streams {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Step == r.last.Step && time.Since(r.at) < reportEvery && (p.Total == 0 || p.Done < p.Total) {
		return
	}
	r.last, r.at = p, time.Now()
	r.write(line{Progress: &p})
}

// steps is report in the form of a [tenancy.Report].
func (r *reporter) steps(step string, done, total int64) { r.report(progress{step, done, total}) }

func (r *reporter) stayAlive() {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.end:
			return
		case <-tick.C:
			r.mu.Lock()
			select {
			case <-r.end:
			default:
				r.write(line{})
			}
			r.mu.Unlock()
		}
	}
}

// write sends a line; r.mu is held. Who asked may be gone.
func (r *reporter) write(l line) {
	_ = json.NewEncoder(r.w).Encode(l)
	_ = http.NewResponseController(r.w).Flush()
}

// finish ends the answer.
func (r *reporter) finish(result any, err error) {
	if result == nil {
		result = struct{}{}
	}
	text, encoding := json.Marshal(result)
	if err == nil {
		err = encoding
	}
	if r.streams {
		r.mu.Lock()
		defer r.mu.Unlock()
		close(r.end)
		if err != nil {
			r.write(line{Failure: troubleOf(err)})
		} else {
			r.write(line{Result: text})
		}
		return
	}
	r.w.Header().Set("Content-Type", "application/json")
	if err != nil {
		t := troubleOf(err)
		r.w.WriteHeader(t.Status)
		_ = json.NewEncoder(r.w).Encode(t)
		return
	}
	_, _ = r.w.Write(append(text, '\n'))
}
