package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// pushedPrefix begins the request_uri of a pushed request; 256 random bits follow
// (RFC 9126 section 2.2).
const pushedPrefix = "urn:ietf:params:oauth:request_uri:"

// pushedLifetime is how long a pushed request can be used (contract C2.15).
const pushedLifetime = 90 * time.Second

// pushedRequest is the member of a kept request that tells one that was pushed
// from a plain one. It is no parameter.
const pushedRequest = " pushed"

// push is the pushed authorization request endpoint (RFC 9126 section 2; contract
// C4.50). What is pushed is checked as at the authorization endpoint, and again
// there: a client hears of its mistakes before a browser does.
func (s *Server) push(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	offered, err := pushingOffered(ctx)
	if err != nil {
		return err
	}
	if !offered {
		return refusal(http.StatusNotFound, "not_found", "Not Found")
	}
	request, err := parseFormRequest(r)
	if err != nil {
		return err
	}
	request.credentials.Endpoint = pathPush[1:]
	client, err := s.authenticate(ctx, &request.credentials)
	if err != nil {
		return err
	}
	if err := s.countRequest(ctx, w, client); err != nil {
		return err
	}
	params, err := request.authorization(client)
	if err != nil {
		return err
	}
	if _, err := s.parseAuthorization(ctx, params, nil); err != nil {
		return pushRefusal(err)
	}
	secret, now := tenancy.NewToken(), tenancy.At(s.now())
	err = tenancy.Commit(ctx,
		tenancy.PushedRequests.RemoveWhere(ctx, "expires_at < ?", now), // of anybody: they are of no more use
		tenancy.PushedRequests.Insert(ctx, &tenancy.PushedRequest{
			Row:      tenancy.Row{ID: tenancy.HashToken(secret)},
			ClientID: client.ID, Request: params, ExpiresAt: now.Add(pushedLifetime),
		}))
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		URI       string `json:"request_uri"`
		ExpiresIn int64  `json:"expires_in"` // seconds
	}{pushedPrefix + secret, int64(pushedLifetime / time.Second)})
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = typeJSON
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	return nil
}

// pathPush is the endpoint's path.
const pathPush = "/oauth/par"

// pushingOffered reports whether the tenant takes pushed requests.
func pushingOffered(ctx context.Context) (bool, error) {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return false, err
	}
	return settings.Bool("pushed_authorization_requests_supported"), nil
}

// authorization is the authorization request in the body of a client that has been
// authenticated, whose name it cannot take from another (RFC 9126 section 2.1).
func (t *tokenRequest) authorization(client *tenancy.Client) (map[string]string, error) {
	if t.form.Has("request_uri") {
		return nil, refuse(fosite.ErrInvalidRequest, "The request_uri parameter must not be pushed")
	}
	params := map[string]string{pushedRequest: "1"}
	for name, list := range t.form {
		if slices.Contains(parameterNames, name) && list[0] != "" {
			params[name] = list[0]
		}
	}
	params["client_id"] = client.ID
	return params, nil
}

// pushRefusal is what is wrong with a pushed request. The endpoint answers 400
// whatever that is (RFC 9126 section 2.3): it refuses the request, not the person.
func pushRefusal(err error) error {
	var refused *oauthError
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
		return err
	}
	e := *refused
	e.Status = http.StatusBadRequest
	return &e
}

// readPushed takes the request that a request_uri stands for (RFC 9126 section 4).
// It alone counts; parameters beside it are ignored (RFC 9101 section 6.3), except
// that an error goes where they say, if they say so and that is one of the
// client's callbacks (contract C3.1).
func (s *Server) readPushed(ctx context.Context, plain map[string]string, twice []string) (*authorization, error) {
	params, err := s.takePushed(ctx, plain, twice)
	if err == nil {
		return s.parseAuthorization(ctx, params, nil)
	}
	a := &authorization{params: plain, maxAge: -1}
	if missing := a.addressee(ctx, twice); a.client == nil {
		return a, missing
	}
	if plain["redirect_uri"] == "" { // how the answer was to go is in the request that is not there
		a.to = nil
	}
	return a, err
}

// takePushed uses a pushed request up, and returns its parameters. Of any number
// of browsers one gets them: the update affects the row or does not.
func (s *Server) takePushed(ctx context.Context, plain map[string]string, twice []string) (map[string]string, error) {
	secret, ok := strings.CutPrefix(plain["request_uri"], pushedPrefix)
	switch {
	case len(twice) > 0:
		return nil, refuse(fosite.ErrInvalidRequest, "Parameter must not be repeated: %s", truncate(twice[0], 60))
	case plain["client_id"] == "":
		return nil, refuse(fosite.ErrInvalidRequest, "Missing required parameter: client_id")
	case !ok || len(secret) != tokenLength || !isText(plain["client_id"]):
		return nil, errRequestURI()
	}
	id, now := tenancy.HashToken(secret), tenancy.At(s.now())
	row, err := tenancy.PushedRequests.Get(ctx, id)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return nil, errRequestURI()
	case err != nil:
		return nil, err
	case row.ClientID != plain["client_id"], row.Request == nil: // of another client, or used
		return nil, errRequestURI()
	}
	n, err := tenancy.CommitCount(ctx, tenancy.SQL(ctx, `UPDATE pushed_requests
		SET consumed_at = ?, updated_at = ?, revision = revision + 1, request = 'null'
		WHERE tenant_id = @tenant AND id = ? AND client_id = ? AND consumed_at = 0 AND expires_at > ?`,
		now, now, id, row.ClientID, now))
	switch {
	case err != nil:
		return nil, err
	case n != 1:
		return nil, errRequestURI()
	}
	return row.Request, nil
}

// errRequestURI is the one answer to a request_uri that stands for nothing: it
// does not say whether it ever did, or for whom (contract C4.27).
func errRequestURI() *oauthError {
	return refuse(fosite.ErrInvalidRequestURI, "The request_uri is unknown, expired, or was used before")
}
