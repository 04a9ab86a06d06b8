// Package outbox sends tenants' mail: it takes a message over into the tenant's
// own database, and brings it to a mail server afterwards, however often that
// takes within a day (contract C7.17).
package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

const (
	workers = 4                 // tenants at a time
	batch   = 16                // messages of a tenant at a time
	lease   = 2 * mail.Patience // how long a message is one sender's
	longest = 30 * time.Minute  // between two attempts
	round   = time.Hour         // between two looks into open databases
)

// Pool lets in where messages are kept; see [tenancy.Pool].
type Pool interface {
	DoIdle(ctx context.Context, t *tenancy.Tenant, f func(context.Context) error) error
	VisitOpen(ctx context.Context, want func(tenancy.Chance) bool, visit func(ctx context.Context, alone func() bool)) error
}

// Directory knows the tenants and their domains; see [tenancy.Directory].
type Directory interface {
	ByID(id string) (*tenancy.Tenant, bool)
	EnterControlPlane(ctx context.Context) (context.Context, func(), error)
	DomainByHost(host string) (*tenancy.CustomDomain, bool)
}

// Installation is the installation's own way for mail, where neither the tenant nor
// the control plane has one.
type Installation struct {
	Transport mail.Transport // required
	From      string         // an address; required
	FromName  string         // "" for the tenant's name
}

// Result is what became of an attempt.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "failed"   // is tried again
	GivenUp   Result = "given_up" // refused for good, or a day is over
)

// Outbox is a [mail.Sender] and what delivers behind it. Several processes over the
// same databases share the work: a message is one sender's at a time, and one that
// died is succeeded. It is safe for concurrent use.
type Outbox struct {
	Pool         Pool          // required
	Directory    Directory     // required
	Installation *Installation // nil for none

	// AllowPrivate lets tenants' providers be at addresses that are not public.
	AllowPrivate bool

	Recorder  tenancy.Recorder                   // told what was given up; nil for nobody
	Log       *slog.Logger                       // nil drops it
	Count     func(r Result)                     // nil counts nothing
	Now       func() time.Time                   // nil is time.Now
	transport func(*mail.SMTP) mail.Transport    // of tests; nil is the SMTP itself
	backoff   func(attempts int64) time.Duration // nil is [backoff]

	once sync.Once
	wake chan struct{}
	mu   sync.Mutex
	due  map[string]time.Time // when a tenant has mail to send, by its id
}

func (o *Outbox) prepare() {
	o.once.Do(func() {
		o.wake, o.due = make(chan struct{}, 1), map[string]time.Time{}
		if o.Log == nil {
			o.Log = slog.New(slog.DiscardHandler)
		}
		if o.Now == nil {
			o.Now = time.Now
		}
		if o.Count == nil {
			o.Count = func(Result) {}
		}
		if o.backoff == nil {
			o.backoff = backoff
		}
	})
}

// Send implements [mail.Sender], inside the tenant that the message is sent for.
// An error is that the tenant has no way for mail, that it switched mail off, or
// that the message could not be kept.
func (o *Outbox) Send(ctx context.Context, m mail.Message) error {
	o.prepare()
	t, err := tenancy.Current(ctx)
	if err != nil {
		return err
	}
	if _, err := o.wayOf(ctx, t); err != nil {
		return err
	}
	look, err := lookOf(ctx)
	if err != nil {
		return err
	}
	m.Tenant, m.ID = t.ID, tenancy.NewID("", 32)+"@"+idDomain(ctx)
	if err := o.compose(ctx, &m, look); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	now := tenancy.At(o.Now())
	o.noted(ctx, t.ID, func(inside context.Context) error { return tenancy.NoteMail(inside, t.ID, now.Add(onTheWay)) })
	err = tenancy.OutgoingMails.Create(ctx, &tenancy.OutgoingMail{
		Row: tenancy.Row{ID: tenancy.NewID("mail_", 24)}, Kind: m.Kind, Message: string(text), DueAt: now, ExpiresAt: now.Add(tenancy.MailLife),
	})
	if err != nil {
		return err
	}
	o.look(t.ID, o.Now())
	return nil
}

// Sends reports whether the entered tenant has a way for mail.
func (o *Outbox) Sends(ctx context.Context) (bool, error) {
	o.prepare()
	t, err := tenancy.Current(ctx)
	if err != nil {
		return false, err
	}
	_, err = o.wayOf(ctx, t)
	if errors.Is(err, ErrNoWay) || errors.Is(err, ErrOff) || errors.Is(err, ErrNoSender) {
		return false, nil
	}
	return err == nil, err
}

// idDomain is what makes the ids of messages those of this installation (RFC 5322
// section 3.6.4).
func idDomain(ctx context.Context) string {
	if host := tenancy.VisitOf(ctx).Host; host != "" {
		return host
	}
	return "mail.gatehouse.invalid"
}

// look has the tenant's messages looked at, at a time or earlier.
func (o *Outbox) look(id string, at time.Time) {
	o.mu.Lock()
	if known, ok := o.due[id]; !ok || at.Before(known) {
		o.due[id] = at
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// next takes a tenant whose time has come; otherwise it says how long until then.
func (o *Outbox) next() (id string, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, wait := o.Now(), round
	for tenant, at := range o.due {
		if until := at.Sub(now); until <= 0 {
			delete(o.due, tenant)
			return tenant, 0
		} else if until < wait {
			wait = until
		}
	}
	return "", wait
}

// Run delivers until ctx ends, and returns when all workers are gone. What a
// process left behind is found by the control plane's notes, and by looking into
// open databases every hour.
func (o *Outbox) Run(ctx context.Context) {
	o.prepare()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { o.search(ctx) })
	room := make(chan struct{}, workers)
	busy := map[string]bool{}
	var mu sync.Mutex
	for ctx.Err() == nil {
		id, wait := o.next()
		if id == "" {
			select {
			case <-ctx.Done():
			case <-o.wake:
			case <-time.After(wait):
			}
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		mu.Lock()
		taken := busy[id]
		busy[id] = true
		mu.Unlock()
		if taken { // by a worker that has not ended; it is looked at again behind it
			<-room
			o.look(id, o.Now().Add(100*time.Millisecond))
			continue
		}
		wg.Go(func() {
			defer func() {
				mu.Lock()
				delete(busy, id)
				mu.Unlock()
				<-room
			}()
			o.pass(ctx, id)
		})
	}
}

// search finds messages that nobody in this process knows of.
func (o *Outbox) search(ctx context.Context) {
	o.noted(ctx, "", func(inside context.Context) error {
		ids, err := tenancy.MailNoted(inside)
		for _, id := range ids {
			o.look(id, o.Now())
		}
		return err
	})
	tick := time.NewTicker(round)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = o.Pool.VisitOpen(ctx, func(c tenancy.Chance) bool { return c.Tenant.Serves() }, func(inside context.Context, _ func() bool) {
				if t, err := tenancy.Current(inside); err == nil {
					o.schedule(inside, t.ID)
				}
			})
		}
	}
}

// schedule has the entered tenant looked at when its next message is due.
func (o *Outbox) schedule(inside context.Context, id string) {
	var at tenancy.Time
	err := tenancy.QueryRow(inside, `SELECT due_at FROM outgoing_mails WHERE tenant_id = @tenant ORDER BY due_at LIMIT 1`, nil, &at)
	switch {
	case err == nil:
		o.look(id, at.Time())
	case errors.Is(err, tenancy.ErrNotFound):
		o.forget(inside, id)
	}
}

// onTheWay is how long a message takes at most from the note that there is one
// until it is written.
const onTheWay = 30 * time.Second

// forget takes the note away of a tenant that has no mail, or looks again when it
// may go.
func (o *Outbox) forget(ctx context.Context, id string) {
	now := o.Now()
	o.noted(ctx, id, func(inside context.Context) error {
		gone, err := tenancy.ForgetMail(inside, id, tenancy.At(now))
		if err == nil && !gone {
			o.look(id, now.Add(onTheWay+time.Second))
		}
		return err
	})
}

// noted reads or writes the control plane's notes. Without them mail is delivered
// all the same, but after the end of this process it may wait until its tenant sends
// again.
func (o *Outbox) noted(ctx context.Context, tenant string, f func(inside context.Context) error) {
	inside, leave, err := o.Directory.EnterControlPlane(ctx)
	if err == nil {
		defer leave()
		err = f(inside)
	}
	if err != nil && ctx.Err() == nil {
		o.Log.WarnContext(ctx, "the control plane's note of mail that waits failed", "tenant", tenant, "error", err)
	}
}

// pass sends what is due of a tenant's.
func (o *Outbox) pass(ctx context.Context, id string) {
	t, ok := o.Directory.ByID(id)
	if !ok || !t.Serves() {
		if !ok {
			o.forget(ctx, id)
		}
		return // a tenant that is back sends again
	}
	var due []tenancy.OutgoingMail
	var w *way
	err := o.Pool.DoIdle(ctx, t, func(inside context.Context) (err error) {
		if due, err = o.claim(inside); err != nil || len(due) == 0 {
			return err
		}
		// What was configured since the message was taken over is what counts. A
		// tenant without a way may get one.
		if w, err = o.wayOf(inside, t); err != nil {
			w = &way{transport: nowhere{err}}
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			o.Log.WarnContext(ctx, "reading mail failed", "tenant", id, "error", err)
			o.look(id, o.Now().Add(o.backoff(4)))
		}
		return
	}
	var outcomes []func(context.Context) error
	for i := range due {
		outcomes = append(outcomes, o.deliver(ctx, w, t, &due[i]))
	}
	ctx = context.WithoutCancel(ctx) // how it ended is written also at the end of the process
	ctx, cancel := context.WithTimeout(ctx, lease/4)
	defer cancel()
	_ = o.Pool.DoIdle(ctx, t, func(inside context.Context) error {
		for _, outcome := range outcomes {
			if err := outcome(inside); err != nil { // it is due again when the lease is over
				o.Log.WarnContext(ctx, "noting what became of mail failed", "tenant", id, "error", err)
			}
		}
		o.schedule(inside, id)
		return nil
	})
}

// claim makes messages that are due this sender's for a while.
func (o *Outbox) claim(inside context.Context) ([]tenancy.OutgoingMail, error) {
	due, err := tenancy.OutgoingMails.Find(inside, tenancy.Filter{
		Where: "due_at <= ?", Args: []any{tenancy.At(o.Now())}, Order: "due_at, id", Limit: batch,
	})
	if err != nil {
		return nil, err
	}
	var mine []tenancy.OutgoingMail
	for i := range due {
		d := &due[i]
		d.Attempts++
		d.DueAt = tenancy.At(o.Now().Add(time.Duration(len(due)) * lease))
		switch err := tenancy.Commit(inside, tenancy.OutgoingMails.Replace(inside, d)); {
		case err == nil:
			mine = append(mine, *d)
		case !errors.Is(err, tenancy.ErrStale): // another sender was faster
			return nil, err
		}
	}
	return mine, nil
}

// deliver makes one attempt and returns what to write down of it.
func (o *Outbox) deliver(ctx context.Context, w *way, t *tenancy.Tenant, d *tenancy.OutgoingMail) func(inside context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = w.send(ctx, d)
	}
	var refused *mail.Rejection
	note := []any{"tenant", t.ID, "mail", d.ID, "kind", d.Kind, "attempts", d.Attempts}
	switch {
	case err == nil:
		o.Count(Delivered)
		return func(inside context.Context) error {
			return tenancy.Commit(inside, tenancy.OutgoingMails.Remove(inside, d.ID))
		}
	case errors.As(err, &refused) || tenancy.At(o.Now()) >= d.ExpiresAt:
		o.Count(GivenUp)
		o.Log.ErrorContext(ctx, "mail could not be delivered and is given up", append(note, "error", err)...)
		return func(inside context.Context) error {
			if o.Recorder != nil {
				o.Recorder.Record(inside, tenancy.Event{
					Date: tenancy.At(o.Now()), Type: "fn", Description: fmt.Sprintf("Failed to send mail of kind %s: %v", d.Kind, err),
				})
			}
			return tenancy.Commit(inside, tenancy.OutgoingMails.Remove(inside, d.ID))
		}
	}
	o.Count(Failed)
	if ctx.Err() == nil {
		o.Log.WarnContext(ctx, "mail was not delivered and is tried again", append(note, "error", err)...)
	}
	d.DueAt = tenancy.At(o.Now().Add(o.backoff(d.Attempts)))
	return func(inside context.Context) error {
		return tenancy.Commit(inside, tenancy.OutgoingMails.Replace(inside, d))
	}
}

// backoff is how long to wait after so many attempts: their square in seconds, with
// jitter, at most half an hour.
func backoff(attempts int64) time.Duration {
	wait := min(time.Duration(attempts*attempts)*time.Second, longest)
	return wait/2 + rand.N(wait/2+1)
}

// Interface guard
var _ mail.Sender = (*Outbox)(nil)
