package d1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// api is the part of Cloudflare's HTTP API that is about D1. The Worker of
// docs/d1-worker speaks the same. It is safe for concurrent use.
type api struct {
	base   string // up to and with "/d1/database"
	token  string
	worker bool  // of the Worker, not of Cloudflare; only hints differ
	limit  int64 // bytes an answer may have
	client *http.Client

	// blocked is when requests are taken again, in nanoseconds since 1970: the
	// whole account is refused for minutes once it asked too often, and longer
	// if it goes on asking.
	blocked atomic.Int64
}

const (
	// requestTime is how long one request may take. D1 ends a batch after 30 s.
	requestTime = 40 * time.Second

	// answerLimit bounds an answer that is read into memory, in bytes.
	answerLimit = 64 << 20

	// patience is how long a request waits for its turn after a refusal; longer
	// ones fail at once, so that nobody hangs.
	patience = 3 * time.Second

	attempts = 3
)

// newAPI returns the API at base, an URL without a closing slash.
func newAPI(base, account, token string, worker bool) *api {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 32
	transport.IdleConnTimeout = time.Minute // before the other side ends it: a write over a dead connection has no known outcome
	return &api{
		base: base + "/accounts/" + url.PathEscape(account) + "/d1/database", token: token, worker: worker, limit: answerLimit,
		client: &http.Client{
			Transport: transport, Timeout: requestTime,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
		},
	}
}

// request is one call. Its zero value with Method set asks the collection of
// databases.
type request struct {
	method string
	path   string // behind the base
	body   any    // sent as JSON; nil for none

	// repeat allows to send the request again where it may have been carried out.
	repeat bool
}

// envelope is what every answer of the API is in.
type envelope struct {
	Success bool `json:"success"`
	Errors  []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
	Result json.RawMessage `json:"result"`
}

// do sends the request and decodes the result of its answer into result, which
// may be nil. A *failure says what went wrong. What was refused because of a limit
// of requests is tried again if that is soon, and so is what may be repeated.
func (a *api) do(ctx context.Context, r request, result any) error {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return fmt.Errorf("encoding a request to D1: %w", err)
		}
	}
	for attempt := 1; ; attempt++ {
		if err := a.turn(ctx); err != nil {
			return err
		}
		err := a.send(ctx, r, body, result)
		var f *failure
		switch {
		case err == nil, attempt == attempts, !errors.As(err, &f):
			return err
		case f.status == http.StatusTooManyRequests:
			continue // turn knows how long to wait
		case !r.repeat || f.known() && !f.unsent:
			return err
		}
		wait := time.Duration(attempt*attempt) * 100 * time.Millisecond
		if pause(ctx, wait/2+rand.N(wait)) != nil {
			return err
		}
	}
}

// turn waits until requests are taken again, if that is soon.
func (a *api) turn(ctx context.Context) error {
	wait := time.Until(time.Unix(0, a.blocked.Load()))
	if wait > patience {
		return &failure{api: a, status: http.StatusTooManyRequests, message: fmt.Sprintf("no requests are taken for %v", wait.Round(time.Second))}
	}
	return pause(ctx, wait)
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *api) send(ctx context.Context, r request, body []byte, result any) error {
	req, err := http.NewRequestWithContext(ctx, r.method, a.base+r.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gatehouse")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return a.unanswered(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		a.blocked.Store(time.Now().Add(retryAfter(resp.Header)).UnixNano())
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, a.limit+1))
	if err != nil {
		return a.unanswered(ctx, err)
	}
	if int64(len(text)) > a.limit {
		return &failure{api: a, status: resp.StatusCode, message: fmt.Sprintf("the answer is longer than %d bytes", a.limit)}
	}
	return a.read(resp.StatusCode, text, result)
}

// read takes an answer apart.
func (a *api) read(status int, text []byte, result any) error {
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return &failure{api: a, status: status, garbled: true, message: "the answer is not whole or not of this API: " + err.Error()}
	}
	if status != http.StatusOK || !e.Success {
		f := &failure{api: a, status: status}
		if len(e.Errors) > 0 {
			f.code, f.message = e.Errors[0].Code, e.Errors[0].Message
		}
		return f
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(e.Result, result); err != nil {
		return &failure{api: a, status: status, garbled: true, message: "the answer is not one of this API: " + err.Error()}
	}
	return nil
}

// unanswered is the failure of a request without an answer.
func (a *api) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var address *url.Error
	if errors.As(err, &address) {
		err = address.Err // the URL is in the message already
	}
	var op *net.OpError
	unsent := errors.As(err, &op) && op.Op == "dial"
	return &failure{api: a, unsent: unsent, cause: err}
}

// retryAfter is how long a refused caller has to wait. Where it is not said, it
// is the time in which Cloudflare counts requests.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 5 * time.Minute
	}
	return min(time.Duration(seconds)*time.Second, time.Hour)
}
