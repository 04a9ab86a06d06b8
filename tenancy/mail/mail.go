// Package mail is the messages that tenants send to people, and what carries
// them.
package mail

import (
	"context"
	"log/slog"
)

// Message is one e-mail.
type Message struct {
	Tenant  string // id of the tenant it is sent for
	Kind    string // what it is about, e.g. "blocked_account": the name of its template
	To      string // one address
	Subject string
	Text    string // plain text; required
}

// Sender hands messages on for delivery.
type Sender interface {
	// Send takes the message over. It returns soon, without waiting for a mail
	// server, so that whoever waits for an answer cannot tell by the time it
	// took whether a message was sent. An error means that the message will not
	// be delivered.
	Send(ctx context.Context, m Message) error
}

// Log is a [Sender] that writes messages to a log, links and codes in them
// included: for trying things out, not for people's mail. A nil Logger means
// slog.Default().
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

// Interface guard
var _ Sender = Log{}
