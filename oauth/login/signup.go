package login

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// signupError is the body of a sign-up that is refused (contract C4.58): the
// form Auth0's SDKs know, and the protocol's error members (C0.3).
type signupError struct {
	Name             string `json:"name"`
	Code             string `json:"code"`
	Message          string `json:"message,omitempty"`
	Policy           string `json:"policy,omitempty"`
	Description      any    `json:"description"`
	StatusCode       int    `json:"statusCode"`
	Error_           string `json:"error"`
	ErrorDescription string `json:"error_description"`
}

// Error implements error.
func (e *signupError) Error() string { return e.ErrorDescription }

func refused(status int, code, description string) *signupError {
	return &signupError{
		Name: "BadRequestError", Code: code, Description: description, StatusCode: status,
		Error_: code, ErrorDescription: description,
	}
}

var (
	errSignupClosed = refused(http.StatusBadRequest, "invalid_request", "public signup is disabled")
	errSignupExists = refused(http.StatusBadRequest, "invalid_signup", "Invalid sign up")
)

func weakPassword(e *tenancy.PasswordStrengthError) *signupError {
	return &signupError{
		Name: "PasswordStrengthError", Code: "invalid_password", Message: weakMessage, Policy: e.Policy(),
		Description: map[string]any{"rules": e.Rules, "verified": false}, StatusCode: http.StatusBadRequest,
		Error_: "invalid_password", ErrorDescription: weakMessage,
	}
}

// signedUp is the answer to a sign-up.
type signedUp struct {
	ID            string         `json:"_id"` // the user id without its provider
	Email         string         `json:"email"`
	EmailVerified bool           `json:"email_verified"`
	Username      string         `json:"username,omitempty"`
	UserMetadata  map[string]any `json:"user_metadata,omitempty"`
}

// serveSignup is POST /dbconnections/signup: an application's own page makes an
// account. Nobody is logged in by it.
func (p *Pages) serveSignup(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method == http.MethodOptions {
		p.preflight(w, r)
		return
	}
	answer, err := p.signUp(w, r)
	if err == nil {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	p.refuse(w, r, err)
}

// refuse answers an error of the sign-up endpoint.
func (p *Pages) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var body *signupError
	var shown *tenancy.Error
	requestID := tenancy.VisitOf(r.Context()).RequestID
	switch {
	case errors.As(err, &body):
	case errors.As(err, &shown) && shown.Status != 0 && shown.Status < 500:
		for name, value := range shown.Header {
			w.Header().Set(name, value)
		}
		body = refused(shown.Status, shown.Code, shown.Message)
	case errors.Is(err, tenancy.ErrUnavailable):
		w.Header().Set("Retry-After", "5")
		body = refused(http.StatusServiceUnavailable, "temporarily_unavailable", "The service is temporarily unavailable (request "+requestID+")")
		p.logger.ErrorContext(r.Context(), "sign-up", slog.Any("error", err), slog.String("request_id", requestID))
	default:
		body = refused(http.StatusInternalServerError, "server_error", "Internal error (request "+requestID+")")
		p.logger.ErrorContext(r.Context(), "sign-up", slog.Any("error", err), slog.String("request_id", requestID))
	}
	writeJSON(w, body.StatusCode, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // bodies are made of plain values
		http.Error(w, "Internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the caller is gone: nobody to tell
}

func (p *Pages) signUp(w http.ResponseWriter, r *http.Request) (*signedUp, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return nil, refused(http.StatusMethodNotAllowed, "method_not_allowed", "Method Not Allowed")
	}
	if err := serves(r.Context()); err != nil {
		return nil, err
	}
	given, err := readSignup(w, r)
	if err != nil {
		return nil, err
	}
	if err := p.allowOrigin(w, r, given.text("client_id")); err != nil {
		return nil, err
	}
	a, err := given.account()
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	client, err := tenancy.CachedClient(ctx, given.text("client_id"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, refused(http.StatusBadRequest, "invalid_request", "Unknown client: "+given.text("client_id"))
	}
	if err != nil {
		return nil, err
	}
	c, err := openConnection(r, client.ID, given.text("connection"))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"email", "username", "password"} {
		if reason := a.check(c)[name]; reason != "" {
			return nil, refused(http.StatusBadRequest, "invalid_request", name+": "+reason)
		}
	}
	return p.createAccount(r, client, c, a)
}

// openConnection returns the client's database connection of the name, if it
// takes sign-ups. One that exists and one that does not look alike.
func openConnection(r *http.Request, clientID, name string) (offered, error) {
	list, err := connectionsOf(r.Context(), clientID, "")
	if err != nil {
		return offered{}, err
	}
	at := slices.IndexFunc(list, func(o offered) bool { return o.Name == name && o.signUp })
	if at < 0 {
		return offered{}, errSignupClosed
	}
	return list[at], nil
}

func (p *Pages) createAccount(r *http.Request, client *tenancy.Client, c offered, a *account) (*signedUp, error) {
	ctx := r.Context()
	event := tenancy.Event{Type: "fs", ClientID: client.ID, ClientName: client.Name, Connection: c.Name, UserName: a.Email}
	if weak := a.weakness(c); weak != nil {
		event.Description = weakMessage
		p.record(ctx, event)
		return nil, weakPassword(weak)
	}
	user, hash, err := a.create(ctx, c)
	if err == nil {
		err = p.oneMore(ctx, func(guards []tenancy.Stmt) error {
			return tenancy.Commit(ctx, append(guards, insert(ctx, user, hash)...)...)
		})
	}
	switch {
	case errors.Is(err, tenancy.ErrConflict) && !errors.Is(err, tenancy.ErrStale):
		event.Description = "Invalid sign up"
		p.record(ctx, event)
		return nil, errSignupExists
	case err != nil:
		return nil, err
	}
	event.Type, event.Description, event.UserID = "ss", "Success Signup", user.ID
	p.record(ctx, event)
	p.verifyByMail(ctx, user)
	_, id, _ := strings.Cut(user.ID, "|")
	return &signedUp{ID: id, Email: user.Email, Username: user.Username, UserMetadata: user.UserMetadata}, nil
}
