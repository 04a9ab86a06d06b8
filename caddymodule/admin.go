package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(AdminAPI))
}

// AdminAPI answers below /gatehouse/ on Caddy's admin endpoint, for operators and
// the command `gatehouse`. Like everything there it asks for no credential: who
// reaches the endpoint rules the server.
//
// Answers are JSON. Errors are {"error", "code", "hint"} and, unlike those of the
// management API, they say everything that is known. A client that accepts
// application/x-ndjson is told of the progress in between, see [reporter].
type AdminAPI struct{}

// CaddyModule implements [caddy.Module].
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.gatehouse", New: func() caddy.Module { return new(AdminAPI) }}
}

// Routes implements [caddy.AdminRouter].
func (*AdminAPI) Routes() []caddy.AdminRoute {
	mux := http.NewServeMux()
	for _, o := range operations {
		mux.Handle(o.route, o)
	}
	return []caddy.AdminRoute{{Pattern: "/gatehouse/", Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		mux.ServeHTTP(w, r)
		return nil
	})}}
}

// operation is something the admin API does.
type operation struct {
	route string // "GET /gatehouse/tenants/{id}"

	// run returns what is answered, encoded as JSON; nil answers {}.
	run func(ctx context.Context, s *services, q *question) (any, error)
}

// operations are all there are; files add theirs when the program begins.
var operations []operation

// question is a request to the admin API.
type question struct {
	*http.Request
	*reporter
}

// id is the tenant in the path.
func (q *question) id() string { return q.PathValue("id") }

// body reads the request's JSON object into v. No body leaves v as it is; a
// member that v does not have is an error.
func (q *question) body(v any) error {
	text, err := io.ReadAll(http.MaxBytesReader(nil, q.Body, 1<<20))
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The body cannot be read: %v", err)
	}
	return nil
}

// ServeHTTP answers one question. It finds the app anew each time: this handler
// may belong to a configuration that failed or is long gone.
func (o operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rep := newReporter(w, r)
	result, err := o.answer(r, rep)
	rep.finish(result, err)
}

func (o operation) answer(r *http.Request, rep *reporter) (result any, err error) {
	app, err := appOf(caddy.ActiveContext())
	if err != nil {
		return nil, &tenancy.Error{Status: http.StatusServiceUnavailable, Code: "not_configured", Message: err.Error()}
	}
	s, leave, err := app.runtime.visit(r.Context())
	if err != nil {
		return nil, &tenancy.Error{Status: http.StatusServiceUnavailable, Code: "not_ready", Message: err.Error(), Hint: "try again in a moment"}
	}
	defer leave()
	defer func() {
		if fault := recover(); fault != nil {
			app.runtime.log.Load().Error("admin request failed", zap.Any("error", fault), zap.ByteString("stack", debug.Stack()))
			result, err = nil, errors.New("internal error; the log has it")
		}
	}()
	return o.run(tenancy.WithActor(r.Context(), adminActor), s, &question{Request: r, reporter: rep})
}

// adminActor is who is noted to have done what was asked for here.
const adminActor = "admin-api"

// trouble is an error as the admin API answers it.
type trouble struct {
	Status  int    `json:"-"`
	Message string `json:"error"`
	Code    string `json:"code,omitempty"`
	Hint    string `json:"hint,omitempty"` // the next command or Caddyfile line
}

// Error implements error.
func (t *trouble) Error() string { return t.Message }

// troubleOf says everything about an error: whoever asks is an operator.
func troubleOf(err error) *trouble {
	t := &trouble{Status: tenancy.StatusOf(err), Message: err.Error()}
	var shown *tenancy.Error
	if errors.As(err, &shown) {
		t.Message, t.Code, t.Hint = shown.Message, shown.Code, shown.Hint
		if shown.Cause != nil {
			t.Message += ": " + shown.Cause.Error()
		}
	}
	switch {
	case t.Hint != "":
	case t.Code == "tenant_not_found" || t.Message == tenancy.ErrNotFound.Error():
		t.Hint = "see which there are: " + commandLine("tenants list")
	case errors.Is(err, tenancy.ErrUnavailable):
		t.Hint = "see what is wrong: " + commandLine("doctor")
	}
	return t
}

// registered finds a tenant for an operation.
func (s *services) registered(id string) (*tenancy.Tenant, error) {
	t, ok := s.directory.ByID(id)
	if !ok {
		return nil, tenancy.Errorf(http.StatusNotFound, "tenant_not_found", "There is no tenant '%s'", id)
	}
	return t, nil
}

// inTenant runs f inside the tenant with the id.
func (s *services) inTenant(ctx context.Context, id string, f func(context.Context) error) error {
	t, err := s.registered(id)
	if err != nil {
		return err
	}
	return s.pool.Do(ctx, t, f)
}

// commandLine is how a command of ours is typed in this program.
func commandLine(words string) string {
	if strings.EqualFold(caddy.CustomBinaryName, "gatehouse") {
		return "gatehouse " + words
	}
	return "caddy gatehouse " + words
}

// Interface guards
var (
	_ caddy.Module      = (*AdminAPI)(nil)
	_ caddy.AdminRouter = (*AdminAPI)(nil)
)
