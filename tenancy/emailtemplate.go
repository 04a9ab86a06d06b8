package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy/liquid"
)

// The kinds of mail that a tenant can write itself (contract C5.95).
const (
	TemplateVerifyEmail       = "verify_email"
	TemplateVerifyEmailByCode = "verify_email_by_code"
	TemplateResetEmail        = "reset_email"
	TemplateWelcomeEmail      = "welcome_email"
	TemplateInvitation        = "user_invitation"
	TemplateBlockedAccount    = "blocked_account"
)

// EmailTemplateNames are those kinds.
var EmailTemplateNames = []string{
	TemplateVerifyEmail, TemplateVerifyEmailByCode, TemplateResetEmail, TemplateWelcomeEmail, TemplateInvitation, TemplateBlockedAccount,
}

// EmailTemplate is how mail of one kind is written, where that is not the product's
// own text. Subject, Body and From are templates of package liquid.
//
// It is kept as the setting "email_templates.<name>", and inherited like any other
// (contract C7.6).
type EmailTemplate struct {
	Template      string `json:"template"` // its name
	Body          string `json:"body"`     // HTML
	From          string `json:"from"`     // an address, also with a name before it; "" is that of the provider
	Subject       string `json:"subject"`
	Syntax        string `json:"syntax"`                 // "liquid"
	Lifetime      int64  `json:"urlLifetimeInSeconds"`   // of the link in it; 0 is the product's
	ResultURL     string `json:"resultUrl"`              // where the link leads in the end; "" is a page here
	EmailInResult bool   `json:"includeEmailInRedirect"` // whether ResultURL is told the address
	Enabled       bool   `json:"enabled"`                // false means that no such mail is sent

	Source string `json:"-"` // [SourceOwn] or [SourceControlPlane]

	subject, body, from *liquid.Template
}

// NewEmailTemplate is a template whose members have their defaults.
func NewEmailTemplate(name string) *EmailTemplate {
	return &EmailTemplate{Template: name, Syntax: syntaxLiquid, Enabled: true}
}

const (
	templatePrefix = "email_templates."
	syntaxLiquid   = "liquid"

	// MaxTicketLife is for how long a link in a mail may work, in seconds.
	MaxTicketLife = 432000
)

func isTemplate(key string) bool { return strings.HasPrefix(key, templatePrefix) }

func withTemplates(keys map[string]setting) map[string]setting {
	for _, name := range EmailTemplateNames {
		keys[templatePrefix+name] = setting{inheritable: true, check: func(path string, value json.RawMessage) error {
			return checkTemplate(path+".", name, value)
		}}
	}
	return keys
}

// checkTemplate is the check of such a setting. prefix stands before the names of
// members in messages.
func checkTemplate(prefix, name string, value json.RawMessage) error {
	members := map[string]check{
		"template": oneOf(name), "syntax": oneOf(syntaxLiquid), "resultUrl": webURL, "includeEmailInRedirect": boolean, "enabled": boolean,
		"body": liquidUpTo(liquid.MaxLength), "subject": liquidUpTo(1000), "from": liquidUpTo(1000), "urlLifetimeInSeconds": secondsUpTo(MaxTicketLife),
	}
	var given map[string]json.RawMessage
	if jsonType(value) != "object" || json.Unmarshal(value, &given) != nil {
		return wrongType(strings.TrimSuffix(prefix, "."), "object", value)
	}
	for _, member := range sortedKeys(given) {
		check, ok := members[member]
		if !ok {
			return unknownSetting(prefix + member)
		}
		if err := check(prefix+member, given[member]); err != nil {
			return err
		}
	}
	for _, member := range []string{"body", "subject"} {
		if textOf(given[member]) == "" {
			return Errorf(400, "invalid_body", "Payload validation error: 'Missing required property: %s%s'", prefix, member)
		}
	}
	return nil
}

// liquidUpTo is a text that is a template.
func liquidUpTo(limit int) check {
	return func(path string, value json.RawMessage) error {
		if err := textUpTo(limit)(path, value); err != nil {
			return err
		}
		if _, err := liquid.Parse(textOf(value)); err != nil {
			return invalidSetting(path, err.Error())
		}
		return nil
	}
}

func secondsUpTo(limit int64) check {
	return func(path string, value json.RawMessage) error {
		var n int64
		if jsonType(value) != "number" || json.Unmarshal(value, &n) != nil {
			return wrongType(path, "integer", value)
		}
		if n < 0 || n > limit {
			return invalidSetting(path, fmt.Sprintf("Value must be from 0 to %d", limit))
		}
		return nil
	}
}

// template is the one in effect of these settings, or [ErrNotFound].
func (s *Settings) template(name string) (*EmailTemplate, error) {
	value := s.Raw(templatePrefix + name)
	if value == nil || !slices.Contains(EmailTemplateNames, name) {
		return nil, ErrNotFound
	}
	t := NewEmailTemplate(name)
	t.Source = s.Source(templatePrefix + name)
	err := json.Unmarshal(value, t)
	if t.subject, err = parseAfter(err, t.Subject); err != nil {
		return nil, err
	}
	if t.body, err = parseAfter(err, t.Body); err != nil {
		return nil, err
	}
	t.from, err = parseAfter(err, t.From)
	return t, err
}

func parseAfter(err error, source string) (*liquid.Template, error) {
	if err != nil {
		return nil, fmt.Errorf("reading an e-mail template: %w", err)
	}
	return liquid.Parse(source)
}

// EmailTemplateOf returns the entered tenant's template for a kind of mail: its own,
// else the one it inherits, else [ErrNotFound], which means the product's text. It
// is shared, and not to be changed.
func EmailTemplateOf(ctx context.Context, name string) (*EmailTemplate, error) {
	t, err := Cached(ctx, "email template", name, func(ctx context.Context) (*EmailTemplate, error) {
		s, err := EffectiveSettings(ctx)
		if err != nil {
			return nil, err
		}
		t, err := s.template(name)
		if errors.Is(err, ErrNotFound) {
			return nil, nil // that there is none is remembered, too
		}
		return t, err
	})
	if err == nil && t == nil {
		err = ErrNotFound
	}
	return t, err
}

// Write renders a message. What a template cannot make is an error, which says
// nothing of the variables.
func (t *EmailTemplate) Write(variables map[string]any) (subject, html, from string, err error) {
	if subject, err = t.subject.Text(variables); err == nil {
		html, err = t.body.HTML(variables)
	}
	if err == nil {
		from, err = t.from.Text(variables)
	}
	return strings.Join(strings.Fields(subject), " "), html, strings.TrimSpace(from), err
}

// ChangeEmailTemplate changes the entered tenant's template for a kind of mail:
// alter gets the one in effect, nil for none, and returns the tenant's own from now
// on, nil to have none. It may run several times. One that equals what is inherited
// stays inherited (contract C7.14). Errors are 400 for a template that will not do,
// and what alter returns.
func ChangeEmailTemplate(ctx context.Context, name string, alter func(now *EmailTemplate) (*EmailTemplate, error)) error {
	for try := 0; ; try++ {
		err := changeEmailTemplate(ctx, name, alter)
		if err == nil || !errors.Is(err, ErrConflict) || try == 9 {
			return err
		}
	}
}

func changeEmailTemplate(ctx context.Context, name string, alter func(now *EmailTemplate) (*EmailTemplate, error)) error {
	s, row, err := settingsToWrite(ctx)
	if err != nil {
		return err
	}
	now, err := s.template(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	t, err := alter(now)
	if err != nil {
		return err
	}
	value := json.RawMessage("null")
	if t != nil {
		if value, err = json.Marshal(t); err != nil {
			return err
		}
		if err := checkTemplate("", name, value); err != nil {
			return err
		}
		// What is inherited may leave members out.
		if before, err := json.Marshal(now); err == nil && sameJSON(before, value) {
			value = s.Raw(templatePrefix + name)
		}
	}
	return s.write(ctx, row, map[string]json.RawMessage{templatePrefix + name: value}, false)
}
