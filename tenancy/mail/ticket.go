package mail

import (
	"fmt"
	"strings"
	"time"
)

// Ticket brings somebody a link that does one thing for them once.
type Ticket struct {
	Kind   string // "verify_email" or "reset_email"
	Tenant string // its name for people
	Until  time.Time
	Link   string
	User   map[string]any // what templates are told of them
}

// Message is the mail, in a language of [Language].
func (t Ticket) Message(language, to string) Message {
	p := in(language)
	subject, text, button := p.verify, p.verifyText, p.verifyLink
	if t.Kind == "reset_email" {
		subject, text, button = p.reset, p.resetText, p.resetLink
	}
	return Message{
		Kind: t.Kind, To: to, Language: language, Subject: subject, Link: t.Link, LinkText: button,
		Variables: map[string]any{"user": t.User, "expires_at": t.Until},
		Text: strings.Join([]string{
			fmt.Sprintf(text, oneLine(t.Tenant), t.Until.UTC().Format("2006-01-02 15:04 UTC")), t.Link, p.unexpected,
		}, "\n\n") + "\n",
	}
}
