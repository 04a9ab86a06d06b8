package login

import (
	"context"
	"log/slog"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// verifyByMail sends a new user the link that shows their address to be theirs. That
// it fails is logged and no more: they have their account.
func (p *Pages) verifyByMail(ctx context.Context, u *tenancy.User) {
	if u.Email == "" || u.EmailVerified {
		return
	}
	p.sendTicket(ctx, u, tenancy.TicketVerifyEmail, func(*tenancy.Ticket) {})
}

// sendTicket makes a ticket of a kind, which alter may complete, and hands the mail
// with it over. It reports whether it did.
func (p *Pages) sendTicket(ctx context.Context, u *tenancy.User, kind string, alter func(*tenancy.Ticket)) bool {
	if p.mailer == nil {
		return false
	}
	err := p.trySendTicket(ctx, u, kind, alter)
	if err != nil {
		p.logger.WarnContext(ctx, "mail not sent", slog.String("kind", tenancy.TicketTemplates[kind]), slog.Any("error", err))
	}
	return err == nil
}

func (p *Pages) trySendTicket(ctx context.Context, u *tenancy.User, kind string, alter func(*tenancy.Ticket)) error {
	t, err := tenancy.NewTicket(ctx, u, kind, tenancy.At(p.now()))
	if err != nil {
		return err
	}
	alter(t)
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return err
	}
	address, insert := t.Issue(ctx, tenancy.VisitOf(ctx).Issuer) // contract C1.13
	if err := tenancy.Commit(ctx, insert); err != nil {
		return err
	}
	m := mail.Ticket{
		Kind: tenancy.TicketTemplates[kind], Tenant: settings.String("friendly_name"), Until: t.ExpiresAt.Time(), Link: address, User: u.Described(),
	}.Message(mail.Language(settings.Strings("enabled_locales")), u.Email)
	m.Tenant = u.TenantID
	return p.mailer.Send(ctx, m)
}
