package outbox

import (
	"context"
	"errors"
	"maps"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// ErrKindOff says that the tenant's template of a kind of mail is not enabled, or the
// one it inherits: such mail is not sent.
var ErrKindOff = errors.New("mail of this kind is switched off; enable it with PATCH /api/v2/email-templates/{name}")

// compose makes the HTML of a message by the entered tenant's template of its kind
// (contract C5.95), or by the product's where it has none. A template that cannot be
// rendered costs its look and no mail. The plain text stays the product's.
func (o *Outbox) compose(ctx context.Context, m *mail.Message, look mail.Look) error {
	t, err := tenancy.EmailTemplateOf(ctx, m.Kind)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return m.Dress(look)
	case err != nil:
		return err
	case !t.Enabled:
		return ErrKindOff
	}
	subject, html, from, err := t.Write(variables(m, look))
	if err != nil || subject == "" || html == "" {
		o.Log.WarnContext(ctx, "an e-mail template made nothing; the product's text is sent", "tenant", m.Tenant, "kind", m.Kind, "error", err)
		return m.Dress(look)
	}
	m.Subject, m.HTML, m.Wish = subject, html, from
	return nil
}

// variables are what every template can use, and what its kind brings.
func variables(m *mail.Message, look mail.Look) map[string]any {
	all := map[string]any{
		"tenant": m.Tenant, "friendly_name": look.Name, "support_email": look.SupportEmail, "support_url": look.SupportURL,
		"picture_url": look.Logo, "url": m.Link, "request_language": m.Language,
	}
	maps.Copy(all, m.Variables)
	return all
}
