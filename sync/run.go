package sync

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	pause        = 20 * time.Millisecond // between looks, so that a storm of hints costs little
	visitTimeout = 30 * time.Second
	retryWorkers = 2 // for tenants that failed last time, so that they hold up no other
)

// job is a visit to be made.
type job struct {
	target  *target
	tenant  *tenancy.Tenant
	picture *picture
	full    bool
	retry   bool // it failed the last time
}

type result struct {
	job
	out outcome
	err error
}

// run is one call of Run. Everything in it belongs to the goroutine of the
// scheduler, which decides; workers only visit.
type run struct {
	*Loop
	queue, retries  []*target // to be visited now
	waiting         map[*target]time.Time
	jobs, retryJobs chan job
	results         chan result
	busy            int // jobs handed out
	lookAt, wakeAt  time.Time
	looked          time.Time
	whole           bool // the next look goes over all tenants
	troubles        int  // looks in a row that failed
	notes           notes
	pass            pass
	compaction      compaction
	turn            turn
	group           sync.WaitGroup
}

func newRun(l *Loop) *run {
	return &run{
		Loop: l, waiting: map[*target]time.Time{}, jobs: make(chan job), retryJobs: make(chan job),
		results: make(chan result, l.workers+retryWorkers), turn: turn{answer: make(chan error, 1)},
	}
}

func (r *run) run(ctx context.Context) {
	for i := range r.workers + retryWorkers {
		jobs := r.jobs
		if i >= r.workers {
			jobs = r.retryJobs
		}
		r.group.Go(func() {
			for j := range jobs {
				r.results <- r.work(ctx, j)
			}
		})
	}
	every := time.NewTicker(r.every)
	defer every.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	r.lookAt, r.whole = time.Now(), true
	for ctx.Err() == nil {
		r.takeTurns(ctx)
		r.writeNotes(ctx)
		timer.Reset(r.next())
		jobs, first := r.head(&r.queue, r.jobs)
		retryJobs, firstRetry := r.head(&r.retries, r.retryJobs)
		select {
		case <-ctx.Done():
		case <-r.kick:
			r.lookSoon()
		case <-every.C:
			r.whole = true
			r.lookSoon()
			r.compact(ctx)
		case <-timer.C:
			r.timeIsUp(ctx)
		case jobs <- first:
			r.queue = r.queue[1:]
			r.busy++
		case retryJobs <- firstRetry:
			r.retries = r.retries[1:]
			r.busy++
		case res := <-r.results:
			r.busy--
			r.finish(ctx, res)
		case err := <-r.turn.answer:
			r.gotTurn(ctx, err)
		case err := <-r.notes.written:
			r.wroteNotes(err)
		}
	}
	r.end(ctx)
}

// lookSoon has the control plane looked at, but not too often.
func (r *run) lookSoon() {
	at := r.looked.Add(pause)
	if r.troubles > 0 {
		return // the retry is on its way
	}
	if r.lookAt.IsZero() || at.Before(r.lookAt) {
		r.lookAt = at
	}
}

// next is how long until something is due by itself.
func (r *run) next() time.Duration {
	at := time.Now().Add(time.Hour)
	for _, t := range []time.Time{r.lookAt, r.wakeAt, r.notesDue()} {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return max(time.Until(at), 0)
}

// timeIsUp does what is due.
func (r *run) timeIsUp(ctx context.Context) {
	now := time.Now()
	if !r.lookAt.IsZero() && !now.Before(r.lookAt) {
		r.lookAt, r.looked = time.Time{}, now
		if err := r.lookAround(ctx); err != nil {
			r.troubles++
			r.lookAt = now.Add(min(r.backoff(r.troubles), 30*time.Second))
		} else {
			r.troubles = 0
		}
	}
	if !r.wakeAt.IsZero() && !now.Before(r.wakeAt) {
		r.wake()
	}
}

// lookAround reads the control plane and finds out who has to be visited.
func (r *run) lookAround(ctx context.Context) error {
	p, err := r.look(ctx)
	if err == nil {
		err = r.directory.Refresh(ctx)
	}
	changed, seen := r.source.tenantsSince(r.listed) // r.listed is written here only
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble = err; err != nil {
		return err
	}
	if r.picture != nil && p.revision < r.picture.revision {
		r.whole = true // the control plane was restored from a backup
	}
	// Changes may be known that are newer than the registry just read; they will
	// be looked at again.
	r.listed = min(seen, p.revision)
	whole := r.whole || r.picture == nil || r.picture.shared != p.shared
	if r.whole {
		r.listAll()
	}
	for id, revision := range changed {
		if id == tenancy.AnyID {
			r.listAll()
			whole = true
			continue
		}
		t, _ := r.directory.ByID(id)
		r.list(id, t)
		if known := r.targets[id]; known != nil {
			known.changed = revision
			r.consider(known)
		}
	}
	r.picture = p
	if whole {
		for _, t := range r.targets {
			r.consider(t)
		}
	}
	r.whole = false
	r.changed()
	return nil
}

// consider queues a target that has to be visited, or has it wait until then;
// r.mu is held.
func (r *run) consider(t *target) {
	if t.busy || r.picture == nil || r.targets[t.tenant.ID] != t {
		return
	}
	at, due := t.due(r.picture)
	now := r.now()
	switch {
	case !due:
		delete(r.waiting, t)
	case at.After(now):
		r.waiting[t] = at
		if wake := time.Now().Add(max(at.Sub(now), pause)); r.wakeAt.IsZero() || wake.Before(r.wakeAt) {
			r.wakeAt = wake
		}
	default:
		delete(r.waiting, t)
		t.busy = true
		if t.attempts > 0 {
			r.retries = append(r.retries, t)
		} else {
			r.queue = append(r.queue, t)
		}
	}
}

// wake looks at those who wait.
func (r *run) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeAt = time.Time{}
	for t := range r.waiting {
		r.consider(t)
	}
}

// head returns the job to hand out next, and the channel for it; nil while there
// is none or it is not this process's turn. Targets that meanwhile need no visit
// are passed over.
func (r *run) head(queue *[]*target, jobs chan job) (chan job, job) {
	if r.turn.state != turnOurs {
		return nil, job{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(*queue) > 0 {
		t := (*queue)[0]
		if at, due := t.due(r.picture); due && !at.After(r.now()) && r.targets[t.tenant.ID] == t {
			return jobs, job{
				target: t, tenant: t.tenant, picture: r.picture, retry: t.attempts > 0,
				full: !t.known || !t.ruled(r.picture) || t.chooses(r.picture) || !t.behind(r.picture),
			}
		}
		t.busy = false
		*queue = (*queue)[1:]
		r.consider(t)
	}
	return nil, job{}
}

// finish takes note of a visit.
func (r *run) finish(ctx context.Context, res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := res.target
	t.busy = false
	switch {
	case res.err == nil:
		r.visits++
		if res.out.wrote {
			r.pass.tenants++
			r.pass.revision = max(r.pass.revision, res.out.revision)
		}
		t.succeeded(res.out, res.tenant, &r.rules, r.now(), r.every)
	case ctx.Err() != nil:
		return // called off
	default:
		r.failures++
		r.pass.failed++
		t.failed(res.err, r.now(), r.backoff(t.attempts+1))
	}
	if r.targets[res.tenant.ID] != t {
		return // the tenant is gone
	}
	r.unnoted[t] = true
	r.changed()
	if t.applied > r.picture.revision { // a worker knew more
		r.lookSoon()
		return
	}
	r.consider(t)
}
