package mail_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/mail/mailtest"
)

const password = "a mail password nobody logs"

// to is the way to a test's server.
func to(s *mailtest.Server, security mail.Security) *mail.SMTP {
	return &mail.SMTP{
		Host: s.Host(), Port: s.Port(), Username: s.Username, Password: s.Password, Security: security, Roots: s.Roots(), Patience: 5 * time.Second,
	}
}

func message() *mail.Message {
	m := mail.Invitation{
		Inviter: "Ann <b>Bold</b>", Organization: "Zoë & Söhne", Until: time.Unix(1e9, 0), Link: "https://acme.test/login?invitation=tick&organization=org_1",
	}.Message("en", "ben@example.com")
	m.From, m.FromName, m.ID = "no-reply@acme.test", "Acme, Inc.", "1@acme.test"
	return &m
}

// A message arrives over TLS, whichever way that is begun, as text and as HTML.
func TestSMTP(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server   *mailtest.Server
		security mail.Security
		tls      bool
	}{
		"STARTTLS":            {&mailtest.Server{Username: "ann", Password: password}, "", true},
		"implicit TLS":        {&mailtest.Server{Username: "ann", Password: password, Implicit: true}, mail.ImplicitTLS, true},
		"nothing, as allowed": {&mailtest.Server{Plain: true}, mail.NoTLS, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, m := c.server.Start(t), message()
			if err := m.Dress(mail.Look{Name: "Acme", Logo: "javascript:alert(1)", Accent: "#123456", OnAccent: "#ffffff"}); err != nil {
				t.Fatal(err)
			}
			if err := to(server, c.security).Deliver(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			got := server.Next(t)
			if got.From != "no-reply@acme.test" || got.To != "ben@example.com" || got.TLS != c.tls || got.User != server.Username {
				t.Errorf("envelope: %+v", got)
			}
			if got.Subject() != "You are invited to Zoë & Söhne" || got.Header.Get("From") != `"Acme, Inc." <no-reply@acme.test>` || got.Header.Get("Message-ID") != "<1@acme.test>" {
				t.Errorf("header: %+v", got.Header)
			}
			if got.Text != m.Text || !strings.Contains(got.Text, "\n\n"+m.Link+"\n\n") {
				t.Errorf("text: %q, want %q", got.Text, m.Text)
			}
			for _, want := range []string{"Ann &lt;b&gt;Bold&lt;/b&gt;", `href="https://acme.test/login?invitation=tick&amp;organization=org_1"`, "background:#123456", "Zoë &amp; Söhne"} {
				if !strings.Contains(got.HTML, want) {
					t.Errorf("HTML lacks %q: %s", want, got.HTML)
				}
			}
			if strings.Contains(got.HTML, "javascript") || strings.Contains(got.HTML, "<script") {
				t.Errorf("HTML: %s", got.HTML)
			}
		})
	}
}

// Whatever is wrong with a server ends within the patience, says what to mend, and
// says nothing of the password or the message.
func TestSMTPFailures(t *testing.T) {
	t.Parallel()
	refuse := func(verb, answer string) func(string) string {
		return func(command string) string {
			if strings.HasPrefix(command, verb) {
				return answer
			}
			return ""
		}
	}
	const echo = " for ben@example.com, ticket tick, password " + password
	for name, c := range map[string]struct {
		server   *mailtest.Server
		answer   func(string) string
		alter    func(*mail.SMTP)
		want     string
		rejected bool
	}{
		"no TLS offered":        {&mailtest.Server{Plain: true, Username: "ann", Password: password}, nil, nil, "no TLS; the server has to offer STARTTLS", false},
		"TLS refused":           {&mailtest.Server{}, refuse("STARTTLS", "454 no"+echo), nil, "no TLS", false},
		"unknown authority":     {&mailtest.Server{}, nil, func(s *mail.SMTP) { s.Roots = x509.NewCertPool() }, "TLS or login failed", false},
		"another's certificate": {&mailtest.Server{Implicit: true}, nil, func(s *mail.SMTP) { s.Host, s.Security = "127.0.0.2", mail.ImplicitTLS }, "127.0.0.2", false},
		"wrong password":        {&mailtest.Server{Username: "ann", Password: "other"}, nil, func(s *mail.SMTP) { s.Password = password }, "TLS or login failed", false},
		"recipient unknown":     {&mailtest.Server{}, refuse("RCPT", "550 5.1.1 nobody"+echo), nil, "refused with 550", true},
		"mailbox full":          {&mailtest.Server{}, refuse("RCPT", "452 4.2.2 full"+echo), nil, "failed with 452", false},
		"content refused":       {&mailtest.Server{}, refuse(".", "554 5.7.1 spam"+echo), nil, "refused with 554", true},
		"nobody listens":        {&mailtest.Server{}, nil, func(s *mail.SMTP) { s.Port = 1 }, "connecting", false},
		"hangs":                 {&mailtest.Server{}, nil, func(s *mail.SMTP) { s.Patience = 300 * time.Millisecond }, "exceeded|timeout", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := c.server.Start(t)
			server.Answer(c.answer)
			if name == "hangs" {
				server.Hang()
			}
			smtp := to(server, "")
			if c.alter != nil {
				c.alter(smtp)
			}
			begun := time.Now()
			err := smtp.Deliver(t.Context(), message())
			var rejection *mail.Rejection
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) || errors.As(err, &rejection) != c.rejected {
				t.Errorf("error %v (rejected: %v), want %q", err, errors.As(err, &rejection), c.want)
			}
			if took := time.Since(begun); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
			for _, secret := range []string{password, "tick", "ben@example"} {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, smtp), secret) {
					t.Errorf("the error tells: %v", err)
				}
			}
			if len(server.Mails()) > 0 {
				t.Error("the message was taken all the same")
			}
			for _, line := range server.Unprotected() {
				if strings.HasPrefix(line, "AUTH") || strings.HasPrefix(line, "MAIL") && !server.Plain {
					t.Errorf("sent without TLS: %s", line)
				}
			}
		})
	}
}

// Nothing in a message becomes a header or a recipient of its own.
func TestHeadersStayWhole(t *testing.T) {
	t.Parallel()
	server := (&mailtest.Server{}).Start(t)
	for name, alter := range map[string]func(*mail.Message){
		"subject":              func(m *mail.Message) { m.Subject = "Hi\r\nBcc: eve@evil.test" },
		"name":                 func(m *mail.Message) { m.FromName = "Acme\nBcc: eve@evil.test" },
		"recipient":            func(m *mail.Message) { m.To = "ben@example.com\r\nRCPT TO:<eve@evil.test>" },
		"two recipients":       func(m *mail.Message) { m.To = "ben@example.com, eve@evil.test" },
		"sender":               func(m *mail.Message) { m.From = "a@acme.test>\r\nDATA" },
		"id":                   func(m *mail.Message) { m.ID = "1>\r\nBcc: eve@evil.test" },
		"no recipient":         func(m *mail.Message) { m.To = "" },
		"sender is no address": func(m *mail.Message) { m.From = "acme" },
	} {
		m := message()
		alter(m)
		var rejection *mail.Rejection
		if err := to(server, "").Deliver(t.Context(), m); !errors.As(err, &rejection) {
			t.Errorf("%s: %v, want a rejection", name, err)
		}
	}
	if len(server.Unprotected()) > 0 {
		t.Error("the server was talked to")
	}
	m := mail.Invitation{Inviter: "Ann\r\nBcc: eve@evil.test", Organization: "A\u2028B\r\n\r\nC", Link: "https://x.test"}.Message("en", "b@x.test")
	if strings.ContainsAny(m.Subject, "\r\n\u2028") || strings.Count(m.Text, "\n\n") != 3 {
		t.Errorf("subject %q, text %q", m.Subject, m.Text)
	}
}

// The languages all say everything, and a locale finds its language.
func TestLanguages(t *testing.T) {
	t.Parallel()
	for locales, want := range map[string]string{"": "en", "de-AT en": "de", "fi fr": "fr", "EN_us": "en", "fi": "en", "es": "es"} {
		if got := mail.Language(strings.Fields(locales)); got != want {
			t.Errorf("%q: %s, want %s", locales, got, want)
		}
	}
	for _, language := range []string{"en", "de", "fr", "es"} {
		i := mail.Invitation{Inviter: "Ann", Organization: "Acme", Until: time.Unix(1e9, 0), Link: "https://x.test"}.Message(language, "b@x.test")
		b := mail.Blocked{Tenant: "Acme", Address: "192.0.2.1"}.Message(language, "b@x.test")
		for _, text := range []string{i.Subject + i.Text + i.LinkText, b.Subject + b.Text} {
			if strings.Contains(text, "%!") || !strings.Contains(text, "Acme") {
				t.Errorf("%s: %s", language, text)
			}
		}
		if i.LinkText == "" || !strings.Contains(i.Text, "2001-09-09 01:46 UTC") || !strings.Contains(b.Text, "192.0.2.1") {
			t.Errorf("%s: %+v %+v", language, i, b)
		}
	}
}

// Files get one message each, for their owner only.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "mail")
	for range 2 {
		if err := (mail.Files{Dir: dir}).Deliver(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 2 || list[0].Name() != "000001.eml" || list[1].Name() != "000002.eml" {
		t.Fatalf("%v, %v", list, err)
	}
	info, err := list[1].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "000002.eml"))
	if err != nil || !strings.Contains(string(b), "To: <ben@example.com>\r\n") {
		t.Errorf("%s, %v", b, err)
	}
	bad := message()
	bad.Subject = "a\nb"
	if err := (mail.Files{Dir: dir}).Deliver(context.Background(), bad); err == nil {
		t.Error("a broken message was written")
	}
}

// What the management API is given makes the way, or says which member is wrong.
func TestRelay(t *testing.T) {
	t.Parallel()
	type of = map[string]any
	for _, c := range []struct {
		name                  string
		credentials, settings of
		want                  string
	}{
		{"smtp", of{"smtp_host": "mail.test", "smtp_port": 465.0, "smtp_user": "u", "smtp_pass": "p"}, nil, "smtp mail.test:465"},
		{"smtp", of{"smtp_host": "mail.test"}, nil, "smtp mail.test:587"},
		{"sendgrid", of{"api_key": "k"}, nil, "smtp smtp.sendgrid.net:587"},
		{"postmark", of{"api_key": "k"}, nil, "smtp smtp.postmarkapp.com:587"},
		{"ses", of{"accessKeyId": "i", "secretAccessKey": "s", "region": "eu-central-1"}, nil, "smtp email-smtp.eu-central-1.amazonaws.com:587"},
		{"smtp", of{}, nil, "credentials.smtp_host: Missing required property"},
		{"smtp", of{"smtp_host": "a b"}, nil, "credentials.smtp_host: Not a host name"},
		{"smtp", of{"smtp_host": "mail.test", "smtp_port": 70000.0}, nil, "credentials.smtp_port: Expected an integer from 1 to 65535"},
		{"smtp", of{"smtp_host": "mail.test", "smtp_port": "25"}, nil, "credentials.smtp_port: Expected an integer from 1 to 65535"},
		{"smtp", of{"smtp_host": "mail.test", "smtp_pass": 1.0}, nil, "credentials.smtp_pass: Expected type string"},
		{"smtp", of{"smtp_host": "mail.test", "smtp_user": "a\r\nb"}, nil, "credentials.smtp_user: Expected one line of text"},
		{"smtp", of{"smtp_host": "mail.test"}, of{"security": "rot13"}, "settings.security: No enum match for: rot13"},
		{"smtp", of{"smtp_host": "mail.test", "smtp_user": "u"}, of{"security": "none"}, "settings.security: A password is sent over TLS only"},
		{"ses", of{"accessKeyId": "i", "secretAccessKey": "s", "region": "evil.test#"}, nil, "credentials.region: Not a region such as eu-central-1"},
		{"pigeon", of{"api_key": "k"}, nil, "name: Mail cannot be sent through 'pigeon'; there are smtp, sendgrid, mailgun, ses, postmark"},
		{"mailgun", of{"api_key": "k"}, nil, "credentials.domain: Missing required property"},
		{"mailgun", of{"api_key": "k", "domain": "a/../b"}, nil, "credentials.domain: Not a host name"},
		{"mailgun", of{"api_key": "k", "domain": "mg.acme.test", "region": "mars"}, nil, "credentials.region: No enum match for: mars"},
		{"mailgun", of{"api_key": "k", "domain": "mg.acme.test", "region": "eu"}, nil, "mailgun mg.acme.test"},
	} {
		s, err := mail.Relay(c.name, c.credentials, c.settings)
		got := fmt.Sprint(s)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %v: %s, want %s", c.name, c.credentials, got, c.want)
		}
	}
	// Made by the program in the SES developer guide.
	way, err := mail.Relay("ses", of{"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "region": "us-east-1"}, nil)
	if s, ok := way.(*mail.SMTP); err != nil || !ok || s.Password != "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9" {
		t.Errorf("%v, %v", way, err)
	}
}
