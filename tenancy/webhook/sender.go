package webhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	// Patience is how long an endpoint may take to answer.
	Patience = 10 * time.Second

	workers = 4               // per endpoint
	lease   = 2 * Patience    // how long a delivery is one sender's
	round   = 2 * time.Second // between two looks, where nobody wakes the sender
	longest = 30 * time.Minute
)

// Endpoint is where to tell.
type Endpoint struct {
	tenancy.Subscription
	Secret       string // signs the bodies; required
	AllowPrivate bool   // addresses that are not public may be dialed
}

// Result is what became of an attempt.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "failed"   // is tried again
	GivenUp   Result = "given_up" // a day is over
)

// ControlPlane lets in where deliveries are kept; see [tenancy.Directory].
type ControlPlane interface {
	EnterControlPlane(ctx context.Context) (inside context.Context, leave func(), err error)
}

// Sender delivers. Several processes over one control plane share the work: a
// delivery is one sender's at a time, and one that died is succeeded.
type Sender struct {
	ControlPlane ControlPlane // required
	Endpoints    []Endpoint
	Log          *slog.Logger                       // nil drops it
	Count        func(url string, r Result)         // nil counts nothing
	Now          func() time.Time                   // nil is time.Now
	Every        time.Duration                      // 0 means 2 s
	backoff      func(attempts int64) time.Duration // nil is [backoff]

	once sync.Once
	wake chan struct{}
}

func (s *Sender) prepare() {
	s.once.Do(func() {
		s.wake = make(chan struct{}, 1)
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
		if s.Now == nil {
			s.Now = time.Now
		}
		if s.Count == nil {
			s.Count = func(string, Result) {}
		}
		if s.Every == 0 {
			s.Every = round
		}
		if s.backoff == nil {
			s.backoff = backoff
		}
	})
}

// Wake has the sender look at once. It does not block.
func (s *Sender) Wake() {
	s.prepare()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and returns when all workers are gone.
func (s *Sender) Run(ctx context.Context) {
	s.prepare()
	if len(s.Endpoints) == 0 {
		return
	}
	var wg sync.WaitGroup
	wakes := make([]chan struct{}, len(s.Endpoints))
	for i := range s.Endpoints {
		wakes[i] = make(chan struct{}, 1)
		wg.Go(func() { s.serve(ctx, &s.Endpoints[i], wakes[i]) })
	}
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case <-s.wake:
			for _, w := range wakes {
				select {
				case w <- struct{}{}:
				default:
				}
			}
		}
	}
}

// serve delivers to one endpoint.
func (s *Sender) serve(ctx context.Context, e *Endpoint, wake <-chan struct{}) {
	client := newClient(e.AllowPrivate)
	defer client.CloseIdleConnections()
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		n, err := s.pass(ctx, e, client)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "reading deliveries failed", "hook", e.URL, "error", err)
		}
		if n > 0 && err == nil {
			continue // behind each there may be a next
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
	}
}

// pass sends the first of each tenant's deliveries that are due, and returns how
// many were delivered.
func (s *Sender) pass(ctx context.Context, e *Endpoint, client *http.Client) (int, error) {
	inside, leave, err := s.ControlPlane.EnterControlPlane(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	due, err := tenancy.Deliveries.Find(inside, tenancy.Filter{
		Where: `hook = ? AND due_at <= ? AND NOT EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.tenant_id = deliveries.tenant_id
			AND earlier.hook = deliveries.hook AND earlier.subject = deliveries.subject AND earlier.id < deliveries.id)`,
		Args: []any{e.ID(), tenancy.At(s.Now())}, Order: "due_at, id", Limit: 16 * workers,
	})
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	delivered := 0
	room := make(chan struct{}, workers)
	for i := range due {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if s.deliver(ctx, inside, e, client, &due[i]) {
				mu.Lock()
				delivered++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return delivered, nil
}

// deliver makes one attempt, if no other sender does, and reports whether the
// delivery is done with.
func (s *Sender) deliver(ctx, inside context.Context, e *Endpoint, client *http.Client, d *tenancy.Delivery) bool {
	if ctx.Err() != nil {
		return false
	}
	d.Attempts++
	d.DueAt = tenancy.At(s.Now().Add(lease))
	if err := tenancy.Commit(inside, tenancy.Deliveries.Replace(inside, d)); err != nil {
		return false // another sender was faster, or the database is away
	}
	err := s.send(ctx, e, client, d)
	keep := context.WithoutCancel(inside) // how it ended is written also at the end of the process
	switch {
	case err == nil:
		s.Count(e.URL, Delivered)
		return tenancy.Commit(keep, tenancy.Deliveries.Remove(keep, d.ID)) == nil
	case tenancy.At(s.Now()) >= d.ExpiresAt:
		s.Count(e.URL, GivenUp)
		s.Log.ErrorContext(ctx, "a webhook was not told for a day", "hook", e.URL, "event", d.ID, "type", d.Type, "tenant", d.Subject, "attempts", d.Attempts, "error", err)
		return tenancy.Commit(keep, tenancy.Deliveries.Remove(keep, d.ID)) == nil
	}
	s.Count(e.URL, Failed)
	s.Log.WarnContext(ctx, "a webhook did not take a delivery", "hook", e.URL, "event", d.ID, "type", d.Type, "tenant", d.Subject, "attempts", d.Attempts, "error", err)
	d.DueAt = tenancy.At(s.Now().Add(s.backoff(d.Attempts)))
	_ = tenancy.Commit(keep, tenancy.Deliveries.Replace(keep, d)) // otherwise it is due when the lease is over
	return false
}

// backoff is how long to wait after so many attempts: their square in seconds,
// with jitter, at most half an hour.
func backoff(attempts int64) time.Duration {
	wait := min(time.Duration(attempts*attempts)*time.Second, longest)
	return wait/2 + rand.N(wait/2+1)
}

// send posts the body. Any answer but 2xx is a failure, a redirect too.
func (s *Sender) send(ctx context.Context, e *Endpoint, client *http.Client, d *tenancy.Delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, strings.NewReader(d.Payload))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Gatehouse-Webhook")
	r.Header.Set("Gatehouse-Event", d.Type)
	r.Header.Set(SignatureHeader, Sign(e.Secret, s.Now(), []byte(d.Payload)))
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 64<<10) // so that the connection can be used again
	_ = answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}
