package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// adminClient asks the admin endpoint of a server.
type adminClient struct {
	address caddy.NetworkAddress
	origin  string
	http    *http.Client
}

const (
	dialLimit = 5 * time.Second
	silence   = 6 * aliveEvery // a stream that says nothing for so long is lost
)

// newAdminClient reads an address as Caddy writes it: host:port or unix//path.
func newAdminClient(address string) (*adminClient, error) {
	a, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 2019)
	if err != nil || a.PortRangeSize() > 1 {
		return nil, &exit{code: exitUsage, error: fmt.Errorf("%q is no address of an admin endpoint", address), hint: "write it as localhost:2019 or unix//run/caddy/admin.sock"}
	}
	c := &adminClient{address: a, origin: "http://" + a.JoinHostPort(0)}
	target := a.JoinHostPort(0)
	if a.IsUnixNetwork() {
		c.origin = "http://127.0.0.1"
		target, _, _ = strings.Cut(target, "|") // permissions of the socket
	}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, a.Network, target)
		},
		DisableKeepAlives: true,
	}}
	return c, nil
}

// send sends a question; the caller closes the answer's body.
func (c *adminClient) send(ctx context.Context, method, path string, body any, accept string) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, reader)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !c.address.IsUnixNetwork() {
		req.Header.Set("Origin", c.origin)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return resp, nil
}

// unreachable says why there was no answer.
func (c *adminClient) unreachable(ctx context.Context, err error) error {
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return &exit{
			code: exitNoServer, error: fmt.Errorf("no server answers at %s", c.address.String()),
			hint: "start one (" + strings.Fields(commandLine(""))[0] + " run --config Caddyfile), or say where its admin endpoint is: --address, or --config with the configuration it runs; with `admin off` there is none",
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &exit{code: exitFailed, error: errors.New("the server took too long to answer"), hint: "allow more time: --timeout 10m; what was begun may still be going on"}
	case ctx.Err() != nil:
		return &exit{code: exitFailed, error: errors.New("interrupted"), hint: "the command can be run again: it takes up what was begun"}
	}
	return fmt.Errorf("asking %s: %w", c.address.String(), err)
}

// answerLimit bounds what is read of an answer.
const answerLimit = 64 << 20

// call asks for an answer that comes at once and decodes it into v; nil throws
// it away. An error that the server answered is a *trouble.
func (c *adminClient) call(ctx context.Context, method, path string, body, v any) error {
	resp, err := c.send(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	return c.read(resp.StatusCode, text, v)
}

func (c *adminClient) read(status int, text []byte, v any) error {
	if status >= http.StatusBadRequest {
		t := &trouble{Status: status}
		if json.Unmarshal(text, t) != nil || t.Message == "" {
			t.Message = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
			if status == http.StatusNotFound {
				t.Message = "the server at " + c.address.String() + " has no Gatehouse of this version in it"
			}
		}
		return t
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: %w", c.address.String(), err)
	}
	return nil
}

// follow asks for long work and has show called for its progress, until the
// answer comes. A server that falls silent is given up.
func (c *adminClient) follow(ctx context.Context, method, path string, body, v any, show func(progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.send(ctx, method, path, body, streamType)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
		return c.read(resp.StatusCode, text, v)
	}
	lost := time.AfterFunc(silence, cancel)
	defer lost.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, answerLimit)
	for lines.Scan() {
		lost.Reset(silence)
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("the answer of %s cannot be read: %w", c.address.String(), err)
		}
		switch {
		case l.Failure != nil:
			return l.Failure
		case l.Progress != nil:
			show(*l.Progress)
		case l.Result != nil:
			return c.read(http.StatusOK, l.Result, v)
		}
	}
	if ctx.Err() != nil {
		return c.unreachable(ctx, ctx.Err())
	}
	return &exit{code: exitFailed, error: errors.New("the server ended before the work was done"), hint: "run the command again: it takes up what was begun"}
}
