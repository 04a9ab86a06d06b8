package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/mail/mailtest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// town is a control plane with the tenants acme and widgets.
type town struct {
	*testing.T
	pool      *tenancy.Pool
	directory *tenancy.Directory
	life      *tenancy.Lifecycle
	log       lockedBuffer
	events    recorder
	results   sync.Map // Result -> *atomic.Int64
}

type noKeys struct{}

func (noKeys) EnsureKeys(context.Context) error { return nil }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type recorder struct {
	mu   sync.Mutex
	list []tenancy.Event
}

func (r *recorder) Record(_ context.Context, e tenancy.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

func (r *recorder) all() []tenancy.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]tenancy.Event(nil), r.list...)
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{T: t}
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	w.must(err)
	w.pool, err = tenancy.NewPool(tenancy.PoolConfig{Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: filepath.Join(t.TempDir(), "data")}}, Master: ring})
	w.must(err)
	t.Cleanup(func() { _ = w.pool.Close(context.WithoutCancel(t.Context())) })
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.test"})
	w.must(err)
	w.directory = tenancy.NewDirectory(w.pool, hosts)
	w.life = &tenancy.Lifecycle{Pool: w.pool, Directory: w.directory, Master: ring, Keys: noKeys{}}
	w.must(w.life.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{}))
	for _, id := range []string{"acme", "widgets"} {
		_, err := w.life.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: "Tenant " + id})
		w.must(err)
	}
	return w
}

func (w *town) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *town) in(id string, f func(ctx context.Context)) {
	w.Helper()
	t, ok := w.directory.ByID(id)
	if !ok {
		w.Fatalf("no tenant %s", id)
	}
	w.must(w.pool.Do(context.WithoutCancel(w.Context()), t, func(ctx context.Context) error { f(ctx); return nil }))
}

// outbox makes one whose providers' servers are the test's.
func (w *town) outbox(server *mailtest.Server) *Outbox {
	return &Outbox{
		Pool: w.pool, Directory: w.directory, AllowPrivate: true, Recorder: &w.events, Log: slog.New(slog.NewJSONHandler(&w.log, nil)),
		Count:   func(r Result) { n, _ := w.results.LoadOrStore(r, new(atomic.Int64)); n.(*atomic.Int64).Add(1) },
		backoff: func(int64) time.Duration { return 20 * time.Millisecond },
		transport: func(s *mail.SMTP) mail.Transport {
			if server != nil {
				s.Roots = server.Roots()
			}
			return s
		},
	}
}

func (w *town) count(r Result) int64 {
	n, ok := w.results.Load(r)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// run has an outbox deliver until the returned function is called.
func (w *town) run(o *Outbox) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { o.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	w.Cleanup(stop)
	return stop
}

func (w *town) until(what string, f func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); !f(); {
		select {
		case <-deadline:
			w.Fatalf("%s does not happen; the log: %s", what, w.log.String())
		case <-tick.C:
		}
	}
}

func (w *town) waiting(id string) (n int64) {
	w.in(id, func(ctx context.Context) {
		var err error
		n, err = tenancy.OutgoingMails.Count(ctx, tenancy.Filter{})
		w.must(err)
	})
	return n
}

const ticket = "ticket-of-256-bits"

func invitation(to string) mail.Message {
	return mail.Invitation{Inviter: "Ann", Organization: "Acme", Link: "https://app.test/?invitation=" + ticket}.Message("en", to)
}

func (w *town) send(o *Outbox, id, to string) (err error) {
	w.in(id, func(ctx context.Context) { err = o.Send(ctx, invitation(to)) })
	return err
}

// provide gives a tenant a provider of its own.
func (w *town) provide(id, from string, server *mailtest.Server) {
	w.in(id, func(ctx context.Context) {
		w.must(tenancy.EmailProviders.Create(ctx, &tenancy.EmailProvider{
			Row: tenancy.Row{ID: tenancy.EmailProviderID}, Name: "smtp", Enabled: true, DefaultFromAddress: from,
			Credentials: map[string]any{"smtp_host": server.Host(), "smtp_port": float64(server.Port()), "smtp_user": server.Username, "smtp_pass": server.Password},
		}))
	})
}

// inherit gives a tenant what the sync loop copies of the control plane's provider.
func (w *town) inherit(id, from string, server *mailtest.Server) {
	w.in(id, func(ctx context.Context) {
		w.must(tenancy.Fallbacks.Create(ctx, &tenancy.Fallback{
			Row: tenancy.Row{ID: tenancy.FallbackEmail}, Covers: tenancy.FallbackEmail,
			Options: map[string]any{"name": "smtp", "enabled": true, "default_from_address": from},
			Secrets: map[string]any{"smtp_host": server.Host(), "smtp_port": float64(server.Port()), "smtp_user": server.Username, "smtp_pass": server.Password},
		}))
	})
}

func (w *town) set(id string, settings string) {
	var members map[string]json.RawMessage
	w.must(json.Unmarshal([]byte(settings), &members))
	w.in(id, func(ctx context.Context) { w.must(tenancy.WriteSettings(ctx, members, false)) })
}

// Whose way a tenant's mail goes, and whom it is from (contract C7.17).
func TestWays(t *testing.T) {
	w := newTown(t)
	own := (&mailtest.Server{Username: "acme", Password: "acme's password"}).Start(t)
	above := (&mailtest.Server{Username: "cp", Password: "the control plane's"}).Start(t)
	installation := (&mailtest.Server{}).Start(t)
	o := w.outbox(nil)
	roots := map[string]*mailtest.Server{"acme": own, "cp": above}
	o.transport = func(s *mail.SMTP) mail.Transport { s.Roots = roots[s.Username].Roots(); return s }
	w.run(o)
	from := func(id string, server *mailtest.Server) string {
		t.Helper()
		w.must(w.send(o, id, "ben@example.com"))
		m := server.Next(t)
		if len(m.Header.Get("Message-Id")) < 30 || !strings.Contains(m.HTML, "Tenant "+id) {
			t.Errorf("header %v, HTML %s", m.Header, m.HTML)
		}
		return m.Header.Get("From")
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: from %s, want %s", what, got, want)
		}
	}
	if err := w.send(o, "acme", "ben@example.com"); !errors.Is(err, ErrNoWay) {
		t.Errorf("nobody's: %v", err)
	}
	o.Installation = &Installation{
		Transport: &mail.SMTP{Host: installation.Host(), Port: installation.Port(), Roots: installation.Roots()}, From: "no-reply@installation.test",
	}
	want("installation", from("acme", installation), `"Tenant acme" <no-reply@installation.test>`)
	w.set("acme", `{"sender_email":"hi@login.acme.test","sender_name":"Acme"}`)
	want("address of nobody's", from("acme", installation), `"Acme" <no-reply@installation.test>`)
	for _, id := range []string{"acme", "widgets"} {
		w.inherit(id, "cp@auth.test", above)
	}
	want("control plane", from("acme", above), `"Acme" <cp@auth.test>`)

	w.in("control_plane", func(ctx context.Context) {
		w.must(tenancy.CustomDomains.Create(ctx, &tenancy.CustomDomain{
			Row: tenancy.Row{ID: "cd_1"}, Subject: "acme", Domain: "login.acme.test", Held: "login.acme.test", Status: tenancy.DomainReady,
		}))
	})
	w.must(w.directory.Refresh(t.Context()))
	want("on a proven domain", from("acme", above), `"Acme" <hi@login.acme.test>`)
	w.set("widgets", `{"sender_email":"hi@login.acme.test"}`)
	want("on another's domain", from("widgets", above), `"Tenant widgets" <cp@auth.test>`)

	w.provide("acme", "own@acme.test", own)
	want("own", from("acme", own), `"Acme" <own@acme.test>`)
	w.in("acme", func(ctx context.Context) {
		_, err := tenancy.EmailProviders.Update(ctx, tenancy.EmailProviderID, func(p *tenancy.EmailProvider) error { p.Enabled = false; return nil })
		w.must(err)
	})
	if err := w.send(o, "acme", "ben@example.com"); !errors.Is(err, ErrOff) {
		t.Errorf("switched off: %v", err)
	}
	w.until("removing what was sent", func() bool { return w.waiting("acme")+w.waiting("widgets") == 0 })
}

// The control plane notes who has mail that waits, so that a start looks for no
// other; the note goes with the last message, or with the tenant.
func TestNotes(t *testing.T) {
	w := newTown(t)
	server := (&mailtest.Server{Username: "u", Password: "p"}).Start(t)
	w.provide("acme", "no-reply@acme.test", server)
	noted := func() (ids []string) {
		t.Helper()
		w.in("control_plane", func(ctx context.Context) {
			var err error
			ids, err = tenancy.MailNoted(ctx)
			w.must(err)
		})
		return ids
	}
	var ahead atomic.Int64
	o := w.outbox(server)
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.must(w.send(o, "acme", "ben@acme.example"))
	if got := noted(); !slices.Equal(got, []string{"acme"}) {
		t.Errorf("noted: %v", got)
	}
	stop := w.run(o)
	server.Next(t)
	w.until("removing what was sent", func() bool { return w.waiting("acme") == 0 })
	stop()
	ahead.Store(int64(time.Hour)) // the message may have been on its way for as long as the note stayed
	w.run(o)
	w.until("removing the note", func() bool { return len(noted()) == 0 })

	w.must(w.send(o, "acme", "ben@acme.example"))
	w.must(w.life.Delete(t.Context(), "acme"))
	w.until("removing the note with the tenant", func() bool { return len(noted()) == 0 })
}

// A message that was taken over survives the process, is tried until a server takes
// it, arrives once, and its tries tell nothing of it. Two tenants' messages with
// equal ids do not know each other.
func TestOutboxRetries(t *testing.T) {
	w := newTown(t)
	server := (&mailtest.Server{Username: "u", Password: "the mail password"}).Start(t)
	for _, id := range []string{"acme", "widgets"} {
		w.provide(id, "no-reply@"+id+".test", server)
	}
	dead := w.outbox(server) // takes over, and never runs
	w.must(w.send(dead, "acme", "ben@acme.example"))
	w.must(w.send(dead, "widgets", "ben@widgets.example"))
	for _, id := range []string{"acme", "widgets"} {
		w.in(id, func(ctx context.Context) {
			w.must(tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE outgoing_mails SET id = 'same' WHERE tenant_id = @tenant`).Once()))
			var stored string
			w.must(tenancy.QueryRow(ctx, `SELECT message FROM outgoing_mails WHERE tenant_id = @tenant`, nil, &stored))
			if strings.Contains(stored, "@") || strings.Contains(stored, ticket) {
				t.Errorf("stored unsealed: %s", stored)
			}
		})
	}
	var busy atomic.Int64
	server.Answer(func(command string) string {
		if strings.HasPrefix(command, "RCPT") && busy.Add(1) <= 6 {
			return "451 4.7.1 later, " + command
		}
		return ""
	})
	first, second := w.outbox(server), w.outbox(server) // two nodes
	w.run(first)
	w.run(second)
	server.Next(t)
	server.Next(t)
	w.until("emptying", func() bool { return w.waiting("acme")+w.waiting("widgets") == 0 })
	to := map[string]int{}
	for _, m := range server.Mails() {
		to[m.From+" "+m.To]++
	}
	if len(to) != 2 || to["no-reply@acme.test ben@acme.example"] != 1 || to["no-reply@widgets.test ben@widgets.example"] != 1 {
		t.Errorf("arrived: %v", to)
	}
	if w.count(Failed) != 6 || w.count(Delivered) != 2 || w.count(GivenUp) != 0 || len(w.events.all()) != 0 {
		t.Errorf("%d failed, %d delivered, %d given up", w.count(Failed), w.count(Delivered), w.count(GivenUp))
	}
	if log := w.log.String(); !strings.Contains(log, "451") {
		t.Errorf("the log says nothing of the failures: %s", log)
	}
	w.quiet()
}

// quiet checks what was logged and recorded.
func (w *town) quiet() {
	w.Helper()
	text := w.log.String()
	for _, e := range w.events.all() {
		text += e.Description + string(e.Details)
	}
	for _, secret := range []string{ticket, "the mail password", "ben@"} {
		if strings.Contains(text, secret) {
			w.Errorf("told: %s in %s", secret, text)
		}
	}
}

// What is refused for good, or was tried for a day, is given up and noted in the
// tenant's log.
func TestOutboxGivesUp(t *testing.T) {
	w := newTown(t)
	server := (&mailtest.Server{}).Start(t)
	w.provide("acme", "no-reply@acme.test", server)
	var ahead atomic.Int64
	o := w.outbox(server)
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	w.run(o)
	server.Answer(func(command string) string {
		if strings.HasPrefix(command, "RCPT") && strings.Contains(command, "nobody") {
			return "550 5.1.1 there is no " + command
		}
		if strings.HasPrefix(command, "RCPT") {
			return "450 4.2.0 later"
		}
		return ""
	})
	w.must(w.send(o, "acme", "nobody@example.com"))
	w.until("giving up", func() bool { return w.count(GivenUp) == 1 && w.waiting("acme") == 0 })
	w.must(w.send(o, "acme", "ben@example.com"))
	w.until("failing", func() bool { return w.count(Failed) > 1 })
	ahead.Store(int64(tenancy.MailLife + time.Hour))
	w.until("giving up after a day", func() bool { return w.count(GivenUp) == 2 && w.waiting("acme") == 0 })
	events := w.events.all()
	if len(events) != 2 || events[0].Type != "fn" || !strings.Contains(events[0].Description, "user_invitation") || !strings.Contains(events[0].Description, "550") {
		t.Errorf("events: %+v", events)
	}
	if len(server.Mails()) != 0 {
		t.Error("something arrived")
	}
	w.quiet()
}

// A tenant's provider cannot be inside the installation's own network (contract
// C9.44), unless the operator allows it.
func TestOutboxStaysOutside(t *testing.T) {
	w := newTown(t)
	server := (&mailtest.Server{}).Start(t)
	w.provide("acme", "no-reply@acme.test", server)
	o := w.outbox(server)
	o.AllowPrivate = false
	w.run(o)
	w.must(w.send(o, "acme", "ben@example.com"))
	w.until("refusing", func() bool { return w.count(Failed) > 0 })
	if log := w.log.String(); !strings.Contains(log, "is not public; allow it with: email") {
		t.Errorf("log: %s", log)
	}
	if len(server.Unprotected()) > 0 {
		t.Error("the server was talked to")
	}
}
