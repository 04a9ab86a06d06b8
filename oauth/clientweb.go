package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// How clients' published keys are read (OpenID Connect Core section 10.1.1). A key
// that is withdrawn is good for keysLongest at most, one that is new after
// keysPause.
const (
	keysFresh     = 5 * time.Minute  // used without asking
	keysLongest   = 10 * time.Minute // used where asking fails
	keysPause     = 30 * time.Second // between two times of asking
	fetchPatience = 5 * time.Second  // for one answer, all of it
	mostPublished = 2000             // addresses that are remembered, over all tenants
	mostFetches   = 8                // at the same time for one tenant
)

// clientWeb reads what clients publish at addresses of their choice: nothing but
// HTTPS, no longer than 64 KiB, by a client that reaches public addresses only
// (contract C9.44). It remembers keys within bounds and asks an address once at a
// time, so that tokens asked for in a row, be they refused, are one request there.
// It is safe for concurrent use.
type clientWeb struct {
	client HTTPClient // nil reads nothing
	now    func() time.Time

	mu    sync.Mutex
	known map[string]*publishedKeys // by tenant and address
	busy  map[string]int            // fetches under way, by tenant
}

type publishedKeys struct {
	keys     []clientKey
	read     time.Time     // when the keys were; zero for never
	asked    time.Time     // when they were asked for last
	err      error         // of that
	underway chan struct{} // closed when it ends; nil where nobody is asking
}

func newClientWeb(client HTTPClient, now func() time.Time) *clientWeb {
	return &clientWeb{client: client, now: now, known: map[string]*publishedKeys{}, busy: map[string]int{}}
}

var errNotFetched = errors.New("addresses of clients are not read here")

// keysOf returns the keys at an address of a client of the entered tenant. missing
// says that the one that is needed is not among those remembered: they are asked
// for again unless they just were.
func (c *clientWeb) keysOf(ctx context.Context, uri, alg string, missing bool) ([]clientKey, error) {
	tenant, err := tenancy.Current(ctx)
	if err != nil {
		return nil, err
	}
	e, wait, err := c.look(ctx, tenant.ID, uri, alg, missing)
	if err != nil {
		return nil, err
	}
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !e.read.IsZero() && c.now().Sub(e.read) < keysLongest {
		return e.keys, nil
	}
	return nil, errInvalidClient().because(e.err)
}

// look finds what is remembered of an address, and sees to it that it is asked
// where that is due; wait then is closed when the answer is there.
func (c *clientWeb) look(ctx context.Context, tenant, uri, alg string, missing bool) (e *publishedKeys, wait chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, now := tenancy.Join(tenant, alg, uri), c.now()
	if e = c.known[id]; e == nil {
		if len(c.known) >= mostPublished {
			maps.DeleteFunc(c.known, func(_ string, e *publishedKeys) bool { return e.underway == nil })
		}
		e = &publishedKeys{}
		c.known[id] = e
	}
	due := e.read.IsZero() || now.Sub(e.read) >= keysFresh || missing
	if due && e.underway == nil && (e.asked.IsZero() || now.Sub(e.asked) >= keysPause) {
		if c.busy[tenant] >= mostFetches {
			return nil, nil, tenancy.Unavailable(errors.New("too many clients' keys are being read"), "")
		}
		c.busy[tenant]++
		e.asked, e.underway = now, make(chan struct{})
		go c.ask(context.WithoutCancel(ctx), tenant, uri, alg, e) // others wait for it too
	}
	if !due {
		return e, nil, nil
	}
	return e, e.underway, nil
}

func (c *clientWeb) ask(ctx context.Context, tenant, uri, alg string, e *publishedKeys) {
	var keys []clientKey
	body, err := c.fetch(ctx, uri)
	if err == nil {
		keys, err = parseKeySet(body, alg)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err = err; err == nil {
		e.keys, e.read = keys, c.now()
	}
	close(e.underway)
	e.underway = nil
	if c.busy[tenant]--; c.busy[tenant] == 0 {
		delete(c.busy, tenant)
	}
}

// fetch reads a document. Its errors tell nothing of what was answered, and wrap
// nothing: that somebody else's server was slow is no fault of ours.
func (c *clientWeb) fetch(ctx context.Context, uri string) ([]byte, error) {
	if c.client == nil {
		return nil, errNotFetched
	}
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil || r.URL.Scheme != "https" {
		return nil, errors.New("it is no address beginning with https://")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %v", err) //nolint:errorlint // see above
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, longestKeySet+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("it cannot be read: %v", err) //nolint:errorlint // see above
	case len(body) > longestKeySet:
		return nil, fmt.Errorf("it is longer than %d bytes", longestKeySet)
	}
	return body, nil
}

// checkSector holds that what a client calls its sector knows the client's
// callbacks (OpenID Connect Dynamic Client Registration section 5).
func (c *clientWeb) checkSector(ctx context.Context, m *registration) error {
	if m.SectorIdentifier == "" {
		return nil
	}
	body, err := c.fetch(ctx, m.SectorIdentifier)
	if err != nil {
		return errMetadata("sector_identifier_uri cannot be read").because(err)
	}
	var list []string
	if err := json.Unmarshal(body, &list); err != nil {
		return errMetadata("sector_identifier_uri is no list of addresses").because(err)
	}
	for _, uri := range m.RedirectURIs {
		if !slices.Contains(list, uri) {
			return errMetadata("sector_identifier_uri does not name %s", truncate(uri, 200))
		}
	}
	return nil
}
