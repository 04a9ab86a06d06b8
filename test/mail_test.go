package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/mail/mailtest"
)

// TestMailLeaves: an invitation by the API arrives over TLS, through the
// installation's way first, then through the control plane's provider once the
// tenant has it, and through the tenant's own; its link is the one that was
// answered, and no password or ticket is in a log (contract C2.55, C5.48, C5.94,
// C7.17, C7.24).
func TestMailLeaves(t *testing.T) {
	servers := map[string]*mailtest.Server{}
	var trusted []byte
	for _, name := range []string{"installation", "platform", "acme"} {
		servers[name] = (&mailtest.Server{Username: name, Password: "mail password of the " + name}).Start(t)
		if name != "installation" {
			trusted = append(trusted, servers[name].PEM()...)
		}
	}
	program(t) // built before the system's authorities are replaced by the test's
	g, config := withoutAdministrator(t)
	write := func(name string, pem []byte) string {
		path := filepath.Join(g.dir, name)
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("SSL_CERT_FILE", write("system.pem", trusted))
	s := servers["installation"]
	config = strings.Replace(config, "keys RS256 ES256 EdDSA", fmt.Sprintf(`keys RS256
		email smtp %s:%d {
			from "Example <no-reply@example.com>"
			login installation %q
			trust %q
			allow_private
		}`, s.Host(), s.Port(), s.Password, write("own.pem", s.PEM())), 1)
	p := startProcess(t, g, config)
	cp := p.platform(t)
	for _, id := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": strings.ToUpper(id)}).want(t, http.StatusCreated)
	}
	tickets := []string{}
	invited := func(tenant, server, from string) {
		t.Helper()
		in := cp.on(tenant)
		app := in.create(t, "/clients", map[string]any{
			"name": "App", "app_type": "regular_web", "initiate_login_uri": "https://app.example.com/login", "organization_usage": "allow",
		})["client_id"].(string)
		name := fmt.Sprint("org", len(tickets))
		org := in.create(t, "/organizations", map[string]any{"name": name, "display_name": "Größe & Co"})["id"].(string)
		var made map[string]any
		in.call(t, http.MethodPost, "/organizations/"+org+"/invitations", map[string]any{
			"inviter": map[string]any{"name": "Ann"}, "invitee": map[string]any{"email": "ben@example.org"}, "client_id": app,
		}).want(t, http.StatusOK).json(t, &made)
		link := made["invitation_url"].(string)
		_, ticket, _ := strings.Cut(link, "invitation=")
		ticket, _, _ = strings.Cut(ticket, "&")
		tickets = append(tickets, ticket)
		m := servers[server].Next(t)
		if m.To != "ben@example.org" || m.Header.Get("From") != from || !m.TLS || m.User != server || m.Subject() != "You are invited to Größe & Co" {
			t.Errorf("%s: mail to %s from %s, TLS %v, as %s: %s", server, m.To, m.Header.Get("From"), m.TLS, m.User, m.Subject())
		}
		if !strings.Contains(m.Text, "\n\n"+link+"\n\n") || !strings.Contains(m.HTML, strings.ReplaceAll(link, "&", "&amp;")) || !strings.Contains(m.HTML, strings.ToUpper(tenant)) {
			t.Errorf("the mail lacks the link or the look: %s\n%s", m.Text, m.HTML)
		}
	}
	source := func(tenant string) string {
		return string(cp.on(tenant).call(t, http.MethodGet, "/tenants/settings/effective?key=emails.provider", nil).want(t, http.StatusOK).body)
	}
	invited("acme", "installation", `"Example" <no-reply@example.com>`)

	provider := func(a api, name string) {
		t.Helper()
		s := servers[name]
		a.create(t, "/emails/provider", map[string]any{
			"name": "smtp", "default_from_address": "hi@" + name + ".test",
			"credentials": map[string]any{"smtp_host": s.Host(), "smtp_port": s.Port(), "smtp_user": s.Username, "smtp_pass": s.Password},
		})
	}
	provider(cp, "platform")
	for _, id := range []string{"acme", "widgets"} {
		within(t, 10*time.Second, "the provider in "+id, func() bool { return strings.Contains(source(id), `"source":"control_plane","name":"smtp"`) })
	}
	invited("acme", "platform", `"ACME" <hi@platform.test>`)
	provider(cp.on("acme"), "acme")
	invited("acme", "acme", `"ACME" <hi@acme.test>`)
	invited("widgets", "platform", `"WIDGETS" <hi@platform.test>`)

	secrets := append([]string{"ben@example.org"}, tickets...)
	for _, s := range servers {
		secrets = append(secrets, s.Password)
	}
	answers := source("acme") + source("widgets") + string(cp.on("acme").call(t, http.MethodGet, "/emails/provider", nil).want(t, http.StatusOK).body)
	p.stop(t)
	log, err := os.ReadFile(filepath.Join(g.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(log)+p.output.String()+answers, secret) {
			t.Errorf("logged or answered: %q", secret)
		}
	}
}
