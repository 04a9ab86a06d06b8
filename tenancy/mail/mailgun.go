package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
)

// Mailgun is a [Transport] through Mailgun's API, which takes a message as it would
// travel ("Send an email in MIME format"). Printed it is the domain's address there.
type Mailgun struct {
	Base   string // of the API, by region
	Domain string
	Key    string

	// Client sends the requests; nil is http.DefaultClient. It decides which
	// addresses may be connected to.
	Client *http.Client
}

// mailgunBases are the API's addresses by region, "" being the default.
var mailgunBases = map[string]string{"": "https://api.mailgun.net", "us": "https://api.mailgun.net", "eu": "https://api.eu.mailgun.net"}

func mailgunRelay(c map[string]any) (*Mailgun, error) {
	key, err := required(c, "api_key")
	if err != nil {
		return nil, err
	}
	domain, err := required(c, "domain")
	if err != nil {
		return nil, err
	}
	if !hostForm.MatchString(domain) {
		return nil, fmt.Errorf("domain: Not a host name")
	}
	region, err := word(c, "region")
	if err != nil {
		return nil, err
	}
	base, ok := mailgunBases[region]
	if !ok {
		return nil, fmt.Errorf("region: No enum match for: %s", region)
	}
	return &Mailgun{Base: base, Domain: domain, Key: key}, nil
}

// String implements fmt.Stringer.
func (g *Mailgun) String() string { return "mailgun " + g.Domain }

// GoString implements fmt.GoStringer.
func (g *Mailgun) GoString() string { return g.String() }

// Deliver implements [Transport].
func (g *Mailgun) Deliver(ctx context.Context, m *Message) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	body, kind, err := g.form(m)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.Base+"/v3/"+url.PathEscape(g.Domain)+"/messages.mime", body)
	if err != nil {
		return fmt.Errorf("%s: the request cannot be made", g)
	}
	r.Header.Set("Content-Type", kind)
	r.SetBasicAuth("api", g.Key)
	client := g.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		var network *url.Error
		if errors.As(err, &network) {
			err = network.Err // without the address, which says nothing new
		}
		return fmt.Errorf("%s: connection: %w", g, err)
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<16) // so that the connection can be used again
	switch status := answer.StatusCode; {
	case status/100 == 2:
		return nil
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge:
		return &Rejection{fmt.Sprintf("%s: refused with %d", g, status)}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%s: refused with %d; compare api_key, domain and region", g, status)
	default: // also what the region does not know: it may be put right
		return fmt.Errorf("%s: failed with %d", g, status)
	}
}

func (g *Mailgun) form(m *Message) (body *bytes.Buffer, kind string, err error) {
	msg, err := m.mime()
	if err != nil {
		return nil, "", err
	}
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	err = w.WriteField("to", m.To)
	var part io.Writer
	if err == nil {
		part, err = w.CreateFormFile("message", "message.eml")
	}
	if err == nil {
		_, err = msg.WriteTo(part)
	}
	return body, w.FormDataContentType(), errors.Join(err, w.Close())
}

// Interface guard
var _ Transport = (*Mailgun)(nil)
