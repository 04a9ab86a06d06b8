// Package mail is the messages that tenants send to people, and what carries
// them.
//
// A [Sender] takes a message over; a [Transport] brings it to a mail server and
// waits for it. What lies between the two, a queue that survives a crash, is
// package outbox.
package mail

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
)

// Message is one e-mail. Its link is a secret: it is for whoever reads the mail.
type Message struct {
	Tenant  string // id of the tenant it is sent for
	Kind    string // what it is about, e.g. "blocked_account": the name of its template
	To      string // one address
	Subject string
	Text    string // plain text, with the link in a paragraph of its own; required

	// What the HTML makes a button of; both empty for none.
	Link, LinkText string

	// Language is that of the texts, as in BCP 47. Empty means English.
	Language string

	// Variables are what a tenant's own template of the kind is written with, beside
	// those that all have. They are not kept.
	Variables map[string]any `json:"-"`

	// Wish is whom a tenant's own template says it is from, as in RFC 5322 section
	// 3.4; whoever sends it looks whether that may be.
	Wish string

	// Whom it is from, an address and a name, which whoever sends it fills in.
	From, FromName string

	// HTML says the same as Text. Empty means that there is only the text.
	HTML string

	// ID is the same however often the message is sent, so that a mailbox can tell
	// that it has it. Empty means that each time is another message.
	ID string
}

// Sender hands messages on for delivery.
type Sender interface {
	// Send takes the message over. It returns soon, without waiting for a mail
	// server, so that whoever waits for an answer cannot tell by the time it
	// took whether a message was sent. An error means that the message will not
	// be delivered.
	Send(ctx context.Context, m Message) error
}

// Transport carries a message away.
type Transport interface {
	// Deliver returns nil once somebody else has taken the responsibility for the
	// message. A [Rejection] as error means that trying again is of no use. Errors
	// hold neither the message nor credentials.
	Deliver(ctx context.Context, m *Message) error
}

// Rejection is an answer that says no for good.
type Rejection struct{ Reason string }

// Error implements error.
func (r *Rejection) Error() string { return r.Reason }

// check refuses what could become a header of its own.
func (m *Message) check() error {
	for name, text := range map[string]string{"recipient": m.To, "sender": m.From, "sender's name": m.FromName, "subject": m.Subject, "id": m.ID} {
		if strings.ContainsFunc(text, unicode.IsControl) {
			return &Rejection{fmt.Sprintf("the message's %s holds a control character", name)}
		}
	}
	if m.To == "" || m.From == "" || m.Text == "" {
		return &Rejection{"the message lacks a recipient, a sender or a text"}
	}
	return nil
}

// Log is a [Sender] and a [Transport] that writes messages to a log, links and
// codes in them included: for trying things out, not for people's mail. A nil
// Logger means slog.Default().
type Log struct {
	Logger *slog.Logger
}

// Send implements [Sender]. It never fails.
func (l Log) Send(ctx context.Context, m Message) error {
	logger := l.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelInfo, "mail",
		slog.String("tenant", m.Tenant), slog.String("kind", m.Kind),
		slog.String("to", m.To), slog.String("subject", m.Subject), slog.String("text", m.Text))
	return nil
}

// Deliver implements [Transport].
func (l Log) Deliver(ctx context.Context, m *Message) error { return l.Send(ctx, *m) }

// Interface guards
var (
	_ Sender    = Log{}
	_ Transport = Log{}
)
