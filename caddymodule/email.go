package caddymodule

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/outbox"
)

// Email is how mail leaves the installation where neither the tenant nor the
// control plane has an e-mail provider.
type Email struct {
	// "smtp", "file" or "log".
	Kind string `json:"kind"`

	// The mail server as host or host:port (smtp; default port 587), or the
	// directory (file).
	To string `json:"to,omitempty"`

	// Whom mail is from: an address, with or without a name before it in angle
	// brackets. Required for smtp; default no-reply@ the base domain.
	From string `json:"from,omitempty"`

	// User name and password at the mail server, which are sent over TLS only.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// "starttls" (default), "tls" (default on port 465) or "none".
	Security string `json:"security,omitempty"`

	// A file of certificates (PEM) that may have signed the mail server's.
	// Default: those the system trusts.
	Trust string `json:"trust,omitempty"`

	// Whether e-mail providers of tenants and of the control plane may be at
	// addresses that are not public. Default: false.
	AllowPrivate bool `json:"allow_private,omitempty"`

	installation *outbox.Installation
}

// UnmarshalCaddyfile reads
//
//	email smtp <host[:port]> | file <directory> | log {
//		from          <address>
//		login         <user> <password>
//		security      starttls | tls | none
//		trust         <file>
//		allow_private
//	}
//
// Only smtp has login, security and trust.
func (e *Email) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) > 0 {
		e.Kind = args[0]
	}
	switch {
	case e.Kind == "log" && len(args) == 1:
	case (e.Kind == "smtp" || e.Kind == "file") && len(args) == 2:
		e.To = args[1]
	default:
		return d.Err("'email' takes: smtp <host:port>, file <directory>, or log; for instance: email smtp smtp.example.com:587 { from no-reply@example.com }")
	}
	options := words{
		"from": text(&e.From),
		"allow_private": func(d *caddyfile.Dispenser) error {
			e.AllowPrivate = true
			return texts()(d)
		},
	}
	if e.Kind == "smtp" {
		options["login"], options["security"], options["trust"] = texts(&e.Username, &e.Password), text(&e.Security), text(&e.Trust)
	}
	return options.block(d, "email")
}

// complete checks the option and makes what carries mail, without connecting.
func (e *Email) complete(baseDomain string) error {
	if e.From == "" {
		if e.Kind == "smtp" {
			return fmt.Errorf("email: smtp needs whom mail is from; add: from no-reply@%s", baseDomain)
		}
		e.From = "no-reply@" + baseDomain
	}
	from, err := netmail.ParseAddress(e.From)
	if err != nil {
		return fmt.Errorf("email: from: %q is no address such as \"Example <no-reply@example.com>\"", e.From)
	}
	e.installation = &outbox.Installation{From: from.Address, FromName: from.Name}
	switch e.Kind {
	case "log":
		e.installation.Transport = mail.Log{}
	case "file":
		e.installation.Transport = mail.Files{Dir: e.To}
	case "smtp":
		e.installation.Transport, err = e.smtp()
	default:
		err = fmt.Errorf("email: there is no kind %q, only smtp, file and log", e.Kind)
	}
	return err
}

func (e *Email) smtp() (*mail.SMTP, error) {
	host, port := e.To, 587
	if host == "" || strings.ContainsAny(host, "/ ") {
		return nil, fmt.Errorf("email: smtp: %q is no mail server such as smtp.example.com:587", e.To)
	}
	if h, p, err := net.SplitHostPort(e.To); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("email: smtp: %q is no port", p)
		}
		host, port = h, n
	}
	s := &mail.SMTP{Host: host, Port: port, Username: e.Username, Password: e.Password, Security: mail.Security(e.Security)}
	switch s.Security {
	case "", mail.StartTLS, mail.ImplicitTLS:
	case mail.NoTLS:
		if e.Username != "" {
			return nil, fmt.Errorf("email: security none sends no password; remove login, or use starttls or tls")
		}
	default:
		return nil, fmt.Errorf("email: security is starttls, tls or none, not %q", e.Security)
	}
	if e.Trust == "" {
		return s, nil
	}
	pem, err := os.ReadFile(e.Trust)
	if err != nil {
		return nil, fmt.Errorf("email: trust: %w", err)
	}
	if s.Roots = x509.NewCertPool(); !s.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("email: trust: there is no certificate in %s", e.Trust)
	}
	return s, nil
}

// newOutbox makes what sends mail.
func (s *services) newOutbox(e *Email, log *slog.Logger) *outbox.Outbox {
	o := &outbox.Outbox{
		Pool: s.pool, Directory: s.directory, Log: log,
		Count: func(r outbox.Result) { mailsTotal.WithLabelValues(string(r)).Inc() },
	}
	if e != nil {
		o.Installation, o.AllowPrivate = e.installation, e.AllowPrivate
		if e.Kind == "log" {
			o.Installation = &outbox.Installation{Transport: mail.Log{Logger: log}, From: o.Installation.From, FromName: o.Installation.FromName}
		}
	}
	return o
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Email)(nil)
