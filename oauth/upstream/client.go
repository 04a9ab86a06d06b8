package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

const (
	patience   = 10 * time.Second // for one answer
	mostBytes  = 1 << 20          // of an answer
	remembered = 10 * time.Minute // what a provider publishes
	mostKnown  = 1000             // providers
)

// Client talks to identity providers. It connects to public addresses only, by
// HTTPS, follows no redirect, and reads no more than a megabyte. It is safe for
// concurrent use.
type Client struct {
	http  *http.Client
	plain bool // whether addresses may be HTTP

	mu    sync.Mutex
	known map[string]*discovered // by issuer
}

// discovered is what a provider says of itself.
type discovered struct {
	provider *oidc.Provider
	methods  []string // by which clients authenticate at its token endpoint
	at       time.Time
}

// NewClient makes a Client. It may connect to the networks that are named besides
// public addresses, and to those alone without TLS: there is no way to the
// internet at large that others could listen on.
func NewClient(named []netip.Prefix) *Client {
	inside := func(a netip.Addr) bool {
		a = a.Unmap().WithZone("")
		return slices.ContainsFunc(named, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	const remedy = "private_networks <networks>"
	client := webhook.NewClient(patience, remedy, func(a netip.Addr) bool { return webhook.Public(a) || inside(a) })
	client.Transport = short{client.Transport, webhook.NewClient(patience, remedy, inside).Transport}
	return &Client{plain: len(named) > 0, known: map[string]*discovered{}, http: client}
}

// short ends bodies that are too long, and has a way of its own for HTTP.
type short struct{ secure, plain http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	way := s.secure
	if r.URL.Scheme != "https" {
		way = s.plain
	}
	answer, err := way.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, mostBytes), answer.Body}
	}
	return answer, err
}

// allowed refuses an address that nothing secret may be sent to; "" is none.
func (c *Client) allowed(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !c.plain) {
		return fmt.Errorf("%w: not an HTTPS address", ErrNotConfigured)
	}
	return nil
}

// discover reads what an issuer publishes, and remembers it for a while.
func (c *Client) discover(ctx context.Context, issuer string) (*discovered, error) {
	if err := c.allowed(issuer); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	c.mu.Lock()
	known := c.known[issuer]
	c.mu.Unlock()
	if known != nil && time.Since(known.at) < remembered {
		return known, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, c.http), issuer)
	if err != nil {
		return nil, fmt.Errorf("reading %s%s: %w", strings.TrimSuffix(issuer, "/"), discoveryPath, brief(err))
	}
	var says struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		JWKS    string   `json:"jwks_uri"`
	}
	if err := provider.Claims(&says); err != nil {
		return nil, errors.New("the provider's configuration cannot be read")
	}
	if err := c.allowed(says.JWKS); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	known = &discovered{provider, says.Methods, time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= mostKnown {
		clear(c.known)
	}
	c.known[issuer] = known
	return known, nil
}

// brief is an error without what the provider answered, which may be long and
// repeat what it was sent.
func brief(err error) error {
	var network *url.Error
	if errors.As(err, &network) {
		return network
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) > 200 {
		text = text[:200]
	}
	return errors.New(text)
}
