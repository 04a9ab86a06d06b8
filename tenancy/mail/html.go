package mail

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strings"
)

// Look is how a tenant's mail looks: whom it speaks for. The zero Look has no
// name and the product's colours.
type Look struct {
	Name         string
	Logo         string // https URL; anything else is left out
	Accent       string // colour of buttons, "#rrggbb"; anything else is the product's
	OnAccent     string // colour of text on Accent
	SupportURL   string // http or https URL; anything else is left out
	SupportEmail string
}

//go:embed templates/mail.html
var templates embed.FS

var layout = template.Must(template.ParseFS(templates, "templates/mail.html"))

var hexColour = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// paragraph is a piece of a message's text, or its button.
type paragraph struct{ Text, Link string }

// Dress makes the HTML of a message from its text: paragraph by paragraph, the one
// that is the link as a button, in the tenant's look. No part of it is anything but
// text there, whoever wrote it, and nothing is loaded but the logo.
func (m *Message) Dress(look Look) error {
	if u, err := url.Parse(look.Logo); err != nil || u.Scheme != "https" || u.Host == "" {
		look.Logo = ""
	}
	if u, err := url.Parse(look.SupportURL); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		look.SupportURL = ""
	}
	if !hexColour.MatchString(look.Accent) || !hexColour.MatchString(look.OnAccent) {
		look.Accent, look.OnAccent = "#1d4ed8", "#ffffff"
	}
	var paragraphs []paragraph
	for text := range strings.SplitSeq(strings.TrimSpace(m.Text), "\n\n") {
		p := paragraph{Text: text}
		if m.Link != "" && strings.TrimSpace(text) == m.Link {
			p = paragraph{Text: cmp.Or(m.LinkText, m.Link), Link: m.Link}
		}
		paragraphs = append(paragraphs, p)
	}
	var b bytes.Buffer
	err := layout.Execute(&b, map[string]any{
		"Language": cmp.Or(m.Language, "en"), "Subject": m.Subject, "Paragraphs": paragraphs, "Look": look,
	})
	if err != nil {
		return fmt.Errorf("rendering a message of kind %s: %w", m.Kind, err)
	}
	m.HTML = b.String()
	return nil
}
