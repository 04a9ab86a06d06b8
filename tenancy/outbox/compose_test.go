package outbox

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail/mailtest"
)

// write gives a tenant a template of its own.
func (w *town) write(id string, t *tenancy.EmailTemplate) {
	w.Helper()
	w.in(id, func(ctx context.Context) {
		w.must(tenancy.ChangeEmailTemplate(ctx, t.Template, func(*tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) { return t, nil }))
	})
}

// A tenant's own template writes its mail, and no other tenant's (contract C5.95).
func TestTemplates(t *testing.T) {
	w := newTown(t)
	server := (&mailtest.Server{}).Start(t)
	for _, id := range []string{"acme", "widgets"} {
		w.provide(id, "no-reply@"+id+".test", server)
	}
	o := w.outbox(server)
	w.run(o)
	template := tenancy.NewEmailTemplate(tenancy.TemplateInvitation)
	template.Subject = "{{ inviter.name }} wants\nyou at {{ organization.name }}"
	template.Body = `<a href="{{ url }}">{{ friendly_name }}</a> <i>{{ user.email }}</i>`
	template.From = `"{{ friendly_name }}" <team@acme.test>`
	w.write("acme", template)
	w.set("acme", `{"friendly_name":"A & <Co>"}`)

	w.must(w.send(o, "acme", "ben@acme.example"))
	m := server.Next(t)
	if want := `<a href="https://app.test/?invitation=` + ticket + `">A &amp; &lt;Co&gt;</a> <i>ben@acme.example</i>`; !strings.Contains(m.HTML, want) {
		t.Errorf("HTML %s, want %s", m.HTML, want)
	}
	if m.Subject() != "Ann wants you at Acme" || m.Header.Get("From") != `"A & <Co>" <team@acme.test>` || !strings.Contains(m.Text, ticket) {
		t.Errorf("subject %q from %s, text %s", m.Subject(), m.Header.Get("From"), m.Text)
	}
	w.must(w.send(o, "widgets", "ben@widgets.example"))
	if m := server.Next(t); m.Subject() != "You are invited to Acme" || m.From != "no-reply@widgets.test" {
		t.Errorf("widgets: subject %q from %s", m.Subject(), m.From)
	}

	// What cannot be rendered costs no mail.
	template.Body = `{% assign x = "ab" %}` + strings.Repeat(`{% assign x = x | append: x %}`, 60)
	w.write("acme", template)
	w.must(w.send(o, "acme", "ben@acme.example"))
	if m := server.Next(t); m.Subject() != "You are invited to Acme" || !strings.Contains(w.log.String(), "too many steps") {
		t.Errorf("subject %q, log %s", m.Subject(), w.log.String())
	}
	template.Enabled = false
	w.write("acme", template)
	if err := w.send(o, "acme", "ben@acme.example"); !errors.Is(err, ErrKindOff) {
		t.Errorf("switched off: %v", err)
	}
	w.quiet()
}

// Whom a template says mail is from counts where the tenant sends through its own
// provider, or has proved that the domain is its own (contract C7.17).
func TestTemplatesSender(t *testing.T) {
	w := newTown(t)
	above := (&mailtest.Server{}).Start(t)
	for _, id := range []string{"acme", "widgets"} {
		w.inherit(id, "cp@auth.test", above)
		template := tenancy.NewEmailTemplate(tenancy.TemplateInvitation)
		template.Subject, template.Body, template.From = "Hi", "Hi", "Team <team@login.acme.test>"
		w.write(id, template)
	}
	w.in("control_plane", func(ctx context.Context) {
		w.must(tenancy.CustomDomains.Create(ctx, &tenancy.CustomDomain{
			Row: tenancy.Row{ID: "cd_1"}, Subject: "acme", Domain: "login.acme.test", Held: "login.acme.test", Status: tenancy.DomainReady,
		}))
	})
	w.must(w.directory.Refresh(t.Context()))
	o := w.outbox(above)
	w.run(o)
	for id, want := range map[string]string{"acme": `"Team" <team@login.acme.test>`, "widgets": `"Team" <cp@auth.test>`} {
		w.must(w.send(o, id, "ben@example.com"))
		if got := above.Next(t).Header.Get("From"); got != want {
			t.Errorf("%s: from %s, want %s", id, got, want)
		}
	}
}
