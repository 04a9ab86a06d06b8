package management

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Call is one request on its way through the API.
type Call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	host  context.Context // inside the tenant of the host
	route *route
	query url.Values

	params     []string // the path's, decoded
	request    tenancy.AccessRequest
	credential *tenancy.Credential // nil until verified
	tenant     *tenancy.Tenant     // acted on; nil until let in
	visible    tenancy.Visible     // which tenants may be listed
	team       *tenancy.Tenant     // whose team is managed, on team routes; the tenant acted on is the control plane

	sent     []byte         // the body of a request with a key, to be read again
	used     usage          // of the quota that a creation counts towards
	made     string         // id of the tenant that an earlier request with the key made
	extra    map[string]any // members of the body that are no field of the row
	hash     string         // of the password in the body
	changed  []string       // names of the body's members, for the log
	status   int            // of success, where it is not the route's
	answered bool           // somebody else wrote the answer
}

// run checks what every handler relies on and calls it.
func (c *Call) run(ctx context.Context) (any, error) {
	for _, p := range c.params {
		if strings.IndexFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) >= 0 || len(p) > 2048 {
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_uri", "The path is not valid")
		}
	}
	return c.route.handle(ctx, c)
}

// param returns a parameter of the path by its name in the route.
func (c *Call) param(name string) string {
	next := 0
	for _, s := range c.route.segments {
		if !strings.HasPrefix(s, "{") {
			continue
		}
		if s[1:len(s)-1] == name {
			return c.params[next]
		}
		next++
	}
	panic("management: " + c.route.path + " has no " + name)
}

// bodyLimit is the most bytes a body may have (contract C0.6).
const bodyLimit = 1 << 20

func errTooLarge() error {
	return tenancy.Errorf(http.StatusRequestEntityTooLarge, "invalid_body", "Payload content length greater than maximum allowed: %d", bodyLimit)
}

// raw reads the body; nil is none.
func (c *Call) raw() (json.RawMessage, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, bodyLimit))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, errTooLarge()
		}
		return nil, errNotJSON
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil, nil
	}
	if t := c.r.Header.Get("Content-Type"); t != "" {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
			return nil, tenancy.Errorf(http.StatusUnsupportedMediaType, "invalid_body", "Unsupported Media Type")
		}
	}
	return raw, whole(raw)
}

// object reads the body as an object; no body is null.
func (c *Call) object() (document, error) {
	raw, err := c.raw()
	if err != nil {
		return nil, err
	}
	if raw == nil {
		raw = json.RawMessage("null")
	}
	return c.names(raw)
}

// names reads an object and notes the names of its members, for the log.
func (c *Call) names(raw json.RawMessage) (document, error) {
	doc, err := parseObject(raw, "")
	for _, p := range doc {
		c.changed = append(c.changed, p.name)
	}
	return doc, err
}

// Handle makes a handler of a function over a typed body. In is a struct, whose
// JSON members are the body's, strictly; or a slice; or struct{} for no body at
// all. An absent body is {}.
func Handle[In, Out any](f func(ctx context.Context, c *Call, in *In) (Out, error)) handler {
	return func(ctx context.Context, c *Call) (any, error) {
		in := new(In)
		t := reflect.TypeFor[In]()
		if t.Kind() != reflect.Struct || t.NumField() > 0 {
			raw, err := c.raw()
			if err != nil {
				return nil, err
			}
			if raw == nil {
				raw = json.RawMessage("{}")
			}
			if err := decode(raw, reflect.ValueOf(in).Elem(), ""); err != nil {
				return nil, err
			}
			if t.Kind() == reflect.Struct {
				if _, err := c.names(raw); err != nil {
					return nil, err
				}
			}
		}
		out, err := f(ctx, c, in)
		if err != nil {
			return nil, err
		}
		return out, nil
	}
}

// none is the body of an answer without one.
type none struct{}

// succeed writes the answer of success.
func (c *Call) succeed(body any) {
	status := c.status
	if status == 0 {
		status = c.route.status
	}
	if _, empty := body.(none); empty || body == nil {
		c.head(status)
		return
	}
	c.send(status, encode(body))
}

// fail writes an error in the contract's form (C0.4).
func (c *Call) fail(ctx context.Context, err error) {
	status := tenancy.StatusOf(err)
	var shown *tenancy.Error
	if errors.As(err, &shown) {
		for name, value := range shown.Header {
			c.w.Header().Set(name, value)
		}
	} else if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusServiceUnavailable
	}
	if status >= http.StatusInternalServerError && err != errPanic {
		c.api.config.Log.ErrorContext(ctx, "management request failed", "error", err, "request", tenancy.VisitOf(ctx).RequestID)
	}
	if status == http.StatusServiceUnavailable && c.w.Header().Get("Retry-After") == "" {
		c.w.Header().Set("Retry-After", "1")
	}
	c.send(status, encode(refusal(ctx, status, err)))
}

// refusal is the body of an error's answer.
func refusal(ctx context.Context, status int, err error) object {
	code, message := "internal_error", ""
	var more map[string]string
	var shown *tenancy.Error
	switch {
	case errors.As(err, &shown):
		code, message, more = shown.Code, shown.Message, shown.More
	case errors.Is(err, tenancy.ErrNotFound):
		code, message = "not_found", "Not found"
	case errors.Is(err, tenancy.ErrConflict):
		code, message = "conflict", "The entity was changed by somebody else at the same time; try again"
	case status == http.StatusServiceUnavailable:
		code = "service_unavailable"
	}
	if message == "" {
		message = "Internal error (request " + tenancy.VisitOf(ctx).RequestID + ")"
	}
	body := object{}
	body.set("statusCode", status)
	body.set("error", http.StatusText(status))
	body.set("message", message)
	body.set("errorCode", code)
	for name, value := range more {
		body.set(name, value)
	}
	return body
}

// send writes a body; to HEAD its headers only.
func (c *Call) send(status int, body []byte) {
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.head(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body) // a caller who is gone reads nothing
	}
}

func (c *Call) head(status int) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if id := tenancy.VisitOf(c.host).RequestID; id != "" && h.Get("X-Request-Id") == "" {
		h.Set("X-Request-Id", id)
	}
	c.w.WriteHeader(status)
	c.answered = true
}

// missing is the answer for an entity that the tenant does not have, whether or
// not another has it (contract C5.3).
func missing(entity string) error {
	return tenancy.Errorf(http.StatusNotFound, "inexistent_"+slug(entity), "%s not found", entity)
}

// found replaces [tenancy.ErrNotFound] by the answer for the entity.
func found[T any](row *T, err error) func(entity string) (*T, error) {
	return func(entity string) (*T, error) {
		if errors.Is(err, tenancy.ErrNotFound) {
			return nil, missing(entity)
		}
		return row, err
	}
}

// inexistent is the answer for an entity that only the body names.
func inexistent(entity, format string, args ...any) error {
	return tenancy.Errorf(http.StatusBadRequest, "inexistent_"+slug(entity), format, args...)
}

// slug is an entity's name in error codes.
func slug(entity string) string { return strings.ReplaceAll(strings.ToLower(entity), " ", "_") }
