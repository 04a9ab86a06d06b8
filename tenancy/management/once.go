package management

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// perform runs the request; one with an Idempotency-Key once, however often it is
// sent within a day (contract C5.14). Who sends it again is let in as with any
// request, and gets the first answer again: everything but what a server could not
// do, which may be tried again with the same key.
func (c *Call) perform(ctx context.Context) (any, error) {
	k, err := c.takeKey(ctx)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.run(ctx)
	}
	return c.with(ctx, k)
}

// with answers the request by what its key says became of it so far.
func (c *Call) with(outer context.Context, k *tenancy.RequestKey) (any, error) {
	if k.Status != 0 {
		c.replay(k)
		return nil, nil
	}
	ctx := tenancy.WithRequestKey(outer, k)
	c.r.Body = io.NopCloser(bytes.NewReader(c.sent))
	c.changed, c.extra = nil, nil
	var body any
	var err error
	if k.OperationID != "" {
		body, err = c.begun(ctx, k.OperationID)
	} else {
		body, err = c.run(ctx)
	}
	if c.answered {
		return body, err
	}
	if err != nil {
		if faster, lost := tenancy.SpentBefore(ctx); lost == nil && faster != nil {
			return c.with(outer, faster)
		}
	}
	return c.keep(ctx, body, err)
}

// begun answers a request that has begun an operation.
func (c *Call) begun(ctx context.Context, id string) (any, error) {
	op, err := tenancy.Operations.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.route.begun != nil {
		return c.route.begun(ctx, c, op)
	}
	c.location(op)
	return operationView(c, op), nil
}

// answerHeaders are those of an answer that are kept with it.
var answerHeaders = []string{"Location", "ETag", "Gatehouse-Sync-Revision"}

// keep has the answer given again to the same key. That it cannot be kept undoes
// nothing: it is made again from what was begun.
func (c *Call) keep(ctx context.Context, body any, err error) (any, error) {
	status, content := c.status, json.RawMessage(nil)
	if status == 0 {
		status = c.route.status
	}
	if err != nil {
		status = tenancy.StatusOf(err)
		if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
			return nil, err
		}
		content = encode(refusal(ctx, status, err))
	} else if _, empty := body.(none); !empty && body != nil {
		content = encode(body)
		body = content
	}
	header := make(map[string]string)
	for _, name := range answerHeaders {
		if value := c.w.Header().Get(name); value != "" {
			header[name] = value
		}
	}
	if lost := tenancy.KeepAnswer(ctx, status, header, content); lost != nil {
		c.api.config.Log.WarnContext(ctx, "an answer could not be kept for its Idempotency-Key", "error", lost)
	}
	return body, err
}

// replay gives the first answer again.
func (c *Call) replay(k *tenancy.RequestKey) {
	c.status = int(k.Status)
	for name, value := range k.Header {
		c.w.Header().Set(name, value)
	}
	c.w.Header().Set("Gatehouse-Replayed", "true")
	if len(k.Body) == 0 {
		c.head(c.status)
		return
	}
	c.send(c.status, k.Body)
}

// takeKey returns the key of the request; nil is none, or a route for which it
// means nothing.
func (c *Call) takeKey(ctx context.Context) (*tenancy.RequestKey, error) {
	values := c.r.Header.Values("Idempotency-Key")
	if len(values) == 0 || !c.route.keyed {
		return nil, nil
	}
	key := values[0]
	if len(values) > 1 || key == "" || len(key) > 255 || strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Idempotency-Key has to be given once, with 1 to 255 printable ASCII characters")
	}
	var err error
	if c.sent, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, bodyLimit)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, errTooLarge()
		}
		return nil, errNotJSON
	}
	who := c.credential
	id := digest(append([]string{who.TenantID, who.Subject, who.ClientID, who.OrgID, c.route.method, c.route.path, key}, c.params...)...)
	return tenancy.TakeRequestKey(ctx, id, digest(sameJSON(c.sent), c.r.URL.RawQuery))
}

// digest is one name for several texts.
func digest(texts ...string) string {
	sum := sha256.Sum256(encode(texts))
	return hex.EncodeToString(sum[:])
}

// sameJSON is a form that is equal for equal JSON, whatever its spaces and the
// order of its members. What is no JSON stays as it is.
func sameJSON(raw []byte) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return string(raw)
	}
	return string(encode(v))
}
