package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Where clients register themselves (RFC 7591), and where each finds itself again
// (RFC 7592), with its id behind.
const (
	pathRegister = "/oidc/register"
	pathClient   = pathRegister + "/"
)

// scopeCreateClients is the scope of an access token for the management API that
// may register clients: the initial access token of RFC 7591 section 3.
const scopeCreateClients = "create:clients"

// clientInformation is the answer of RFC 7591 section 3.2.1 and RFC 7592 section 3.
type clientInformation struct {
	ClientID        string `json:"client_id"`
	Secret          string `json:"client_secret,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	SecretExpiresAt int64  `json:"client_secret_expires_at"` // 0 is never
	Token           string `json:"registration_access_token"`
	URI             string `json:"registration_client_uri"`
	registration
}

// registers reports whether the tenant lets clients register themselves, and
// whether anybody may (contract C4.62).
func registers(ctx context.Context) (on, open bool, err error) {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return false, false, err
	}
	return settings.Bool("flags.enable_dynamic_client_registration"), settings.Bool("flags.dcr_open"), nil
}

func errNotFound() *oauthError { return refusal(http.StatusNotFound, "not_found", "Not Found") }

// register answers POST /oidc/register (contract 4.8).
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	on, open, err := registers(ctx)
	switch {
	case err != nil:
		return err
	case !on:
		return errNotFound()
	}
	if err := s.mayRegister(r, open); err != nil {
		return err
	}
	m, _, err := s.readRegistration(r)
	if err != nil {
		return err
	}
	token := tenancy.NewToken()
	c := &tenancy.Client{
		Row: tenancy.Row{ID: tenancy.NewID("", 32), CreatedAt: tenancy.At(s.now())}, JWT: tenancy.DefaultJWTConfiguration(),
		Registration: &tenancy.Registration{}, RegistrationHash: tenancy.HashToken(token),
	}
	m.into(c)
	if err := giveSecret(ctx, c); err != nil {
		return err
	}
	stmts := []tenancy.Stmt{tenancy.Clients.Insert(ctx, c)}
	connections, err := tenancy.Connections.Find(ctx, tenancy.Filter{Where: "is_domain_connection = ?", Args: []any{true}})
	if err != nil {
		return err
	}
	for _, x := range connections { // those that are there for third-party clients
		stmts = append(stmts, tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(c.ID, x.ID)))
	}
	if err := tenancy.Commit(ctx, stmts...); err != nil {
		return err
	}
	s.recordRegistration(ctx, c, "registered itself")
	return writeClient(ctx, w, http.StatusCreated, c, token)
}

// mayRegister asks for an initial access token, or counts who needs none: by the
// address, so that one visitor cannot fill a tenant with clients.
func (s *Server) mayRegister(r *http.Request, open bool) error {
	ctx := r.Context()
	if r.Header.Get("Authorization") == "" && open {
		err := tenancy.CountRegistration(ctx, tenancy.VisitOf(ctx).ClientIP, s.now())
		if errors.Is(err, tenancy.ErrTooManyAttempts) {
			return refusal(http.StatusTooManyRequests, "too_many_attempts", "Too many clients were registered from this address")
		}
		return err
	}
	token := headerToken(r)
	if token == "" {
		return bearerError(http.StatusUnauthorized, "", "Missing initial access token")
	}
	claims, err := s.Verify(ctx, token)
	if err != nil {
		return bearerRefusal(err)
	}
	switch manages := slices.ContainsFunc(claims.Audience, func(a string) bool { return tenancy.IsManagementAudience(a, claims.Issuer) }); {
	case !manages, claims.OrgID != "":
		return bearerError(http.StatusUnauthorized, "invalid_token", "The access token is invalid")
	case !slices.Contains(claims.Permissions, scopeCreateClients) && !hasScope(claims.Scope, scopeCreateClients):
		return &tenancy.Error{
			Status: http.StatusForbidden, Code: "insufficient_scope", Message: "Insufficient scope, expected any of: " + scopeCreateClients,
			Header: map[string]string{"WWW-Authenticate": `Bearer error="insufficient_scope", scope="` + scopeCreateClients + `"`},
		}
	}
	return nil
}

// headerToken is the bearer token of the Authorization header, or "" (RFC 6750
// section 2.1).
func headerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// readRegistration reads and checks client metadata. The members of RFC 7592
// section 2.2 come beside.
func (s *Server) readRegistration(r *http.Request) (*registration, *clientInformation, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, nil, refusal(http.StatusUnsupportedMediaType, "invalid_request", "Content-Type has to be application/json").because(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, unreadable(err)
	}
	// Two members of one name would be two opinions of what was asked for.
	var given clientInformation
	if err := checkMembers(body); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(body, &given); err != nil {
		return nil, nil, errMetadata("The client metadata is not well-formed").because(err)
	}
	m := &given.registration
	if err := m.complete(); err != nil {
		return nil, nil, err
	}
	if m.JWKSURI != "" && s.web.client == nil {
		return nil, nil, errMetadata("jwks_uri is not supported")
	}
	return m, &given, s.web.checkSector(r.Context(), m)
}

// checkMembers refuses a body that is no object, or has a member twice.
func checkMembers(body []byte) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	malformed := errMetadata("The client metadata is not well-formed")
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return malformed.because(err)
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return malformed.because(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return malformed.because(err)
		}
		key := name.(string) // the decoder gives nothing else before a colon
		if seen[key] {
			return errMetadata("%s was given more than once", printable(key))
		}
		seen[key] = true
	}
	return nil
}

func usesSecret(c *tenancy.Client) bool {
	return c.TokenEndpointAuthMethod == authBasic || c.TokenEndpointAuthMethod == authPost
}

// giveSecret sees to it that a client has a secret if it proves itself by one, and
// else none.
func giveSecret(ctx context.Context, c *tenancy.Client) (err error) {
	switch {
	case !usesSecret(c):
		c.Secret, c.SecretHash, c.PreviousSecret, c.PreviousSecretHash, c.PreviousUntil = "", "", "", "", 0
	case c.Secret == "":
		c.Secret = tenancy.NewID("", 64)
		c.SecretHash, err = tenancy.HashSecret(ctx, c.Secret)
	}
	return err
}

// registered finds the client of the path by the token of its registration
// (RFC 7592 section 2). A token that is another's, or of a client that is gone,
// has the same answer.
func (s *Server) registered(r *http.Request) (c *tenancy.Client, token string, err error) {
	ctx := r.Context()
	if on, _, err := registers(ctx); err != nil || !on {
		return nil, "", errors.Join(err, errUnless(on))
	}
	if token = headerToken(r); token == "" {
		return nil, "", bearerError(http.StatusUnauthorized, "", "Missing registration access token")
	}
	path, _ := routePath(r.URL)
	c, err = tenancy.Clients.Get(ctx, strings.TrimPrefix(path, pathClient))
	if errors.Is(err, tenancy.ErrNotFound) {
		c, err = &tenancy.Client{}, nil
	}
	// Both are hashes of 256 random bits: there is nothing to time.
	if err == nil && (c.RegistrationHash == "" || c.RegistrationHash != tenancy.HashToken(token) || c.Registration == nil) {
		err = bearerError(http.StatusUnauthorized, "invalid_token", "The registration access token is invalid")
	}
	return c, token, err
}

func errUnless(on bool) error {
	if on {
		return nil
	}
	return errNotFound()
}

// clientConfiguration answers GET, PUT and DELETE of a registered client (RFC 7592
// section 2).
func (s *Server) clientConfiguration(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	c, token, err := s.registered(r)
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodPut:
		return s.replaceClient(w, r, c, token)
	case http.MethodDelete:
		if err := tenancy.Commit(ctx, tenancy.RemoveClient(ctx, c.ID)...); err != nil && !errors.Is(err, tenancy.ErrStale) {
			return err
		}
		s.recordRegistration(ctx, c, "deleted itself")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeClient(ctx, w, http.StatusOK, c, token)
}

// replaceClient replaces the metadata whole: what is left out is as it would be in
// a new client (RFC 7592 section 2.2).
func (s *Server) replaceClient(w http.ResponseWriter, r *http.Request, c *tenancy.Client, token string) error {
	ctx := r.Context()
	m, given, err := s.readRegistration(r)
	switch {
	case err != nil:
		return err
	case given.ClientID != c.ID:
		return errMetadata("client_id does not match")
	case given.Token != "" || given.URI != "" || given.IssuedAt != 0 || given.SecretExpiresAt != 0:
		return refuse(fosite.ErrInvalidRequest, "registration_access_token, registration_client_uri, client_id_issued_at and client_secret_expires_at cannot be given")
	case given.Secret != "" && given.Secret != c.Secret:
		return errMetadata("client_secret cannot be chosen")
	}
	c, err = tenancy.Clients.Update(ctx, c.ID, func(c *tenancy.Client) error {
		if c.RegistrationHash != tenancy.HashToken(token) {
			return bearerError(http.StatusUnauthorized, "invalid_token", "The registration access token is invalid")
		}
		m.into(c)
		return giveSecret(ctx, c)
	})
	if errors.Is(err, tenancy.ErrNotFound) { // deleted meanwhile
		return bearerError(http.StatusUnauthorized, "invalid_token", "The registration access token is invalid")
	}
	if err != nil {
		return err
	}
	s.recordRegistration(ctx, c, "changed itself")
	return writeClient(ctx, w, http.StatusOK, c, token)
}

func writeClient(ctx context.Context, w http.ResponseWriter, status int, c *tenancy.Client, token string) error {
	body, err := json.Marshal(&clientInformation{
		ClientID: c.ID, Secret: c.Secret, IssuedAt: c.CreatedAt.Unix(), Token: token,
		URI: tenancy.VisitOf(ctx).Issuer + pathClient[1:] + c.ID, registration: metadataOf(c),
	})
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"], h["Pragma"] = typeJSON, noCache
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	return nil
}

// recordRegistration notes what a client did to itself, beside what
// administrators do.
func (s *Server) recordRegistration(ctx context.Context, c *tenancy.Client, what string) {
	s.record(ctx, tenancy.Event{Type: "sapi", Description: "A client " + what, ClientID: c.ID, ClientName: c.Name})
}
