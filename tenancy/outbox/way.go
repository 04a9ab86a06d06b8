package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	address "net/mail"
	"net/netip"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// The errors of a tenant whose mail has no way out.
var (
	// ErrNoWay says that nobody has told how mail is sent.
	ErrNoWay = errors.New("there is no way for mail; add the option email to the Caddyfile, or POST /api/v2/emails/provider")

	// ErrOff says that the tenant's provider, or the one it inherits, is not enabled.
	ErrOff = errors.New("mail is switched off; enable it with PATCH /api/v2/emails/provider")

	// ErrNoSender says that there is a provider, and no address to send from.
	ErrNoSender = errors.New("mail has no sender; set default_from_address with PATCH /api/v2/emails/provider")
)

// way is how a tenant's mail goes at this moment.
type way struct {
	transport mail.Transport
	from      string
	name      string
	may       func(address string) bool // whether mail can be from it
}

// nowhere is the transport of a tenant that has none.
type nowhere struct{ err error }

// Deliver implements [mail.Transport].
func (n nowhere) Deliver(context.Context, *mail.Message) error { return n.err }

func (w *way) send(ctx context.Context, d *tenancy.OutgoingMail) error {
	m := new(mail.Message)
	if err := json.Unmarshal([]byte(d.Message), m); err != nil {
		return &mail.Rejection{Reason: "the message cannot be read"}
	}
	m.From, m.FromName = w.from, w.name
	if wish, err := address.ParseAddress(m.Wish); err == nil {
		if m.FromName = cmp.Or(wish.Name, w.name); w.may != nil && w.may(wish.Address) {
			m.From = wish.Address
		}
	}
	return w.transport.Deliver(ctx, m)
}

// wayOf finds the way of the entered tenant's mail, and whom it is from: the
// address of whose way it is, unless the tenant has one on a domain that it proved
// to be its own (contract C7.17).
func (o *Outbox) wayOf(ctx context.Context, t *tenancy.Tenant) (*way, error) {
	route, err := tenancy.EmailRoute(ctx)
	if err != nil {
		return nil, err
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return nil, err
	}
	sender, name := settings.String("sender_email"), cmp.Or(settings.String("sender_name"), settings.String("friendly_name"), t.ID)
	w := &way{name: name, may: func(address string) bool { return route.Source == tenancy.SourceOwn || o.proven(t, address) }}
	if route.Source == tenancy.SourceDefault {
		if o.Installation == nil {
			return nil, ErrNoWay
		}
		w.transport, w.from = o.Installation.Transport, o.Installation.From
		w.name = cmp.Or(settings.String("sender_name"), o.Installation.FromName, name)
	} else {
		p := route.Provider
		if !p.Enabled {
			return nil, ErrOff
		}
		if w.transport, err = o.through(p); err != nil {
			return nil, err
		}
		w.from = p.DefaultFromAddress
		if route.Source == tenancy.SourceOwn {
			w.from = cmp.Or(w.from, sender)
		}
	}
	if route.Source != tenancy.SourceOwn && o.proven(t, sender) {
		w.from = sender
	}
	if w.from == "" {
		return nil, ErrNoSender
	}
	return w, nil
}

// through makes the way through a provider, which connects to public addresses only.
func (o *Outbox) through(p *tenancy.EmailProvider) (mail.Transport, error) {
	way, err := mail.Relay(p.Name, p.Credentials, p.Settings)
	const remedy = "email ... { allow_private }"
	allowed := func(a netip.Addr) bool { return o.AllowPrivate || webhook.Public(a) }
	switch way := way.(type) {
	case *mail.SMTP:
		way.Dial = webhook.NewDialer(remedy, allowed).DialContext
		if o.transport != nil {
			return o.transport(way), nil
		}
	case *mail.Mailgun:
		way.Client = webhook.NewClient(mail.Patience, remedy, allowed)
	}
	return way, err
}

// proven reports whether an address is on a ready custom domain of the tenant's.
func (o *Outbox) proven(t *tenancy.Tenant, address string) bool {
	_, host, ok := strings.Cut(address, "@")
	if !ok {
		return false
	}
	domain, ok := o.Directory.DomainByHost(strings.ToLower(host))
	return ok && domain.Subject == t.ID
}

// lookOf is how the entered tenant's mail looks.
func lookOf(ctx context.Context) (mail.Look, error) {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return mail.Look{}, err
	}
	return mail.Look{
		Name: settings.String("friendly_name"), Logo: settings.String("picture_url"),
		SupportURL: settings.String("support_url"), SupportEmail: settings.String("support_email"),
	}, nil
}
