package libsql

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// maxAnswer bounds what is read of an answer, in bytes. sqld sends at most 10 MB.
const maxAnswer = 64 << 20

// newClient makes the client of one provider. It follows no redirect: a token is
// for the server it was made for.
func newClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: connectTime}).DialContext
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dial,
			TLSHandshakeTimeout: connectTime,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        idleConns,
			MaxIdleConnsPerHost: idleConns,
			IdleConnTimeout:     idleTime,
		},
	}
}

// answer is what a server said.
type answer struct {
	status int
	body   []byte
}

// send sends body as JSON, nil for none, and returns the whole answer. What went
// wrong on the way is remote.ErrUnsent or remote.ErrLost.
func send(ctx context.Context, client *http.Client, method, url, host, authorization string, body any) (*answer, error) {
	content := new(bytes.Buffer)
	if body != nil {
		e := json.NewEncoder(content)
		e.SetEscapeHTML(false)
		if err := e.Encode(body); err != nil {
			return nil, err
		}
	}
	var connected atomic.Bool // without a connection nothing was sent
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(content.Bytes()))
	if err != nil {
		return nil, fmt.Errorf("%w: the address makes no request", remote.ErrUnsent)
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := client.Do(req)
	if err != nil {
		if !connected.Load() {
			return nil, fmt.Errorf("%w: %w", remote.ErrUnsent, err)
		}
		return nil, fmt.Errorf("%w: %w", remote.ErrLost, err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", remote.ErrLost, err)
	case len(read) > maxAnswer:
		return nil, tenancy.Unavailable(fmt.Errorf("an answer of more than %d bytes", maxAnswer), "see what answers at this address")
	}
	return &answer{res.StatusCode, read}, nil
}

// decode reads a good answer's JSON. One that is cut off is lost.
func (a *answer) decode(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%w: it is not JSON: %w", remote.ErrLost, err)
	}
	return nil
}

// text is what the server gave as its reason, in the forms of sqld and Turso.
func (a *answer) text() string {
	var e struct{ Error, Message string }
	if json.Unmarshal(a.body, &e) == nil && e.Error+e.Message != "" {
		return e.Error + e.Message
	}
	short := strings.TrimSpace(string(a.body[:min(len(a.body), 200)]))
	return strings.ToValidUTF8(short, "?")
}

// refused is an error for an answer that is none of those expected. hint says
// what an operator does about it.
func (a *answer) refused(hint string) error {
	err := fmt.Errorf("the server answered %d %s: %s", a.status, http.StatusText(a.status), a.text())
	switch {
	case a.status == http.StatusServiceUnavailable:
		hint = "the service is overloaded or starting: try again in a moment"
	case a.status >= 500: // what stands before the server may have lost its answer
		return fmt.Errorf("%w: %w", remote.ErrLost, err)
	}
	return tenancy.Unavailable(err, hint)
}

// again runs f, which may be repeated, until it does not fail for the network.
func again(ctx context.Context, f func() (*answer, error)) (a *answer, err error) {
	for range 3 {
		a, err = f()
		if ctx.Err() != nil || !errors.Is(err, remote.ErrUnsent) && !errors.Is(err, remote.ErrLost) {
			break
		}
	}
	return a, err
}
