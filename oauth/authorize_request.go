package oauth

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// authorization is an authorization request (RFC 6749 section 4.1.1, OpenID
// Connect Core section 3.1.2.1), as far as it has been found good. It is made
// anew from the parameters when the person returns from the hosted pages, so
// that everything is checked again at completion (contract C4.67).
type authorization struct {
	params map[string]string // those of parameterNames, as sent and not empty
	client *tenancy.Client
	to     *destination // nil while errors go to a page (contract C3.1)

	scope      []string // requested, in their order
	org        *tenancy.Organization
	invitation *tenancy.Invitation // the one the person follows; nil for none
	maxAge     time.Duration       // how old the login may be; negative for no limit
	subject    string              // user_id the answer has to be about; "" for anybody
	claims     requestedClaims

	user *tenancy.User // who it turned out to be by; nil until then

	// device is the grant that a login for a device is about, with its data; nil
	// for a request of an application.
	device *tenancy.Grant
	data   grantData
}

// parameterNames are the parameters that are looked at; others are ignored
// (contract C0.9).
var parameterNames = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "audience", "resource", "state", "nonce",
	"code_challenge", "code_challenge_method", "organization", "invitation", "prompt", "max_age",
	"login_hint", "screen_hint", "ui_locales", "acr_values", "id_token_hint", "connection", "connection_scope",
	"claims", "display", "claims_locales", "request", "request_uri",
}

// maxParameter is the longest parameter that is looked at, in bytes; maxOpaque
// the longest state and nonce (contract C4.24).
const (
	maxParameter = 8192
	maxOpaque    = 2048
)

// silent reports whether nothing may be shown to the person.
func (a *authorization) silent() bool {
	return slices.Contains(strings.Fields(a.params["prompt"]), "none")
}

// fresh reports whether the person has to prove who they are, or to choose, even
// if they are logged in (contract C3.30).
func (a *authorization) fresh() bool {
	prompt := strings.Fields(a.params["prompt"])
	return slices.Contains(prompt, "login") || slices.Contains(prompt, "select_account")
}

// readAuthorization reads the parameters from the query of a GET or the form of
// a POST. It returns the first value of each, and the names that were sent more
// than once.
func readAuthorization(r *http.Request) (params map[string]string, twice []string, err error) {
	values, err := authorizationValues(r)
	if err != nil {
		return nil, nil, err
	}
	params = make(map[string]string)
	for name, list := range values {
		if len(list) > 1 {
			twice = append(twice, name)
		}
		// A parameter without a value is one that was not sent (RFC 6749 section 3.1).
		if slices.Contains(parameterNames, name) && list[0] != "" {
			params[name] = list[0]
		}
	}
	slices.Sort(twice)
	return params, twice, nil
}

func authorizationValues(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodPost {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, refuse(fosite.ErrInvalidRequest, "The query is not well-formed").because(err)
		}
		return values, nil
	}
	if r.URL.RawQuery != "" {
		return nil, refuse(fosite.ErrInvalidRequest, "A POST request has its parameters in the body")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, refusal(http.StatusUnsupportedMediaType, "invalid_request", "Content-Type has to be application/x-www-form-urlencoded").because(err)
	}
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, refuse(fosite.ErrInvalidRequest, "The form is not well-formed").because(err)
	}
	return r.PostForm, nil
}

// parseAuthorization checks the parameters. Where it returns an error together
// with a destination, the error is for the client; otherwise for the person.
func (s *Server) parseAuthorization(ctx context.Context, params map[string]string, twice []string) (*authorization, error) {
	a := &authorization{params: params, maxAge: -1}
	if err := a.addressee(ctx, twice); err != nil {
		return a, err
	}
	for _, check := range []func(context.Context) error{
		func(context.Context) error { return a.wellFormed(twice) },
		func(context.Context) error { return a.target() },
		func(context.Context) error { return a.checkResponse() },
		func(context.Context) error { return a.checkPKCE() },
		func(context.Context) error { return a.checkInteraction() },
		a.checkPushed,
		a.checkAudience,
		func(ctx context.Context) error { return s.checkOrganization(ctx, a) },
		a.checkConnection,
		func(ctx context.Context) error { return s.checkSubject(ctx, a) },
	} {
		if err := check(ctx); err != nil {
			return a, err
		}
	}
	return a, nil
}

// addressee finds the client and where answers go. Until both are known to be
// right, nothing is sent anywhere (RFC 6749 section 4.1.2.1).
func (a *authorization) addressee(ctx context.Context, twice []string) error {
	id, uri := a.params["client_id"], a.params["redirect_uri"]
	switch {
	case id == "":
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: client_id")
	case slices.Contains(twice, "client_id"), slices.Contains(twice, "redirect_uri"):
		return refuse(fosite.ErrInvalidRequest, "client_id and redirect_uri must not be repeated")
	case !utf8.ValidString(id):
		return refuse(fosite.ErrInvalidRequest, "Unknown client")
	}
	client, err := tenancy.CachedClient(ctx, id)
	if errors.Is(err, tenancy.ErrNotFound) {
		return refuse(fosite.ErrInvalidRequest, "Unknown client: %s", truncate(id, 100))
	}
	if err != nil {
		return err
	}
	a.client = client
	if uri == "" {
		// contract C4.19, facts: OpenID Connect Core section 3.1.2.1 has it REQUIRED
		if len(client.Callbacks) != 1 || slices.Contains(strings.Fields(a.params["scope"]), "openid") {
			return refuse(fosite.ErrInvalidRequest, "Missing required parameter: redirect_uri")
		}
		uri = client.Callbacks[0]
	}
	if !redirectAllowed(client, uri) || strings.Contains(uri, "*") {
		return refuse(fosite.ErrInvalidRequest, "redirect_uri is not one of the client's callbacks")
	}
	mode := a.errorMode(twice)
	if mode == modeWebMessage && !originAllowed(client, tenancy.OriginOf(uri)) { // contract C3.3
		return refuse(fosite.ErrInvalidRequest, "origin not allowed")
	}
	a.to = &destination{URI: uri, Mode: mode, State: a.params["state"]}
	if slices.Contains(twice, "state") || !opaque(a.to.State) {
		a.to.State = ""
	}
	return nil
}

// errorMode is the response mode that even a faulty request is answered in: the
// one it asks for, or the default of its response type. Tokens never go into a
// query (contract C4.21).
func (a *authorization) errorMode(twice []string) string {
	frontChannel := a.frontChannel()
	switch mode := a.params["response_mode"]; {
	case slices.Contains(twice, "response_mode"):
	case mode == modeQuery && !frontChannel, mode == modeFragment, mode == modeFormPost, mode == modeWebMessage:
		return mode
	}
	if frontChannel {
		return modeFragment
	}
	return modeQuery
}

// opaque reports whether a value can be carried and returned unchanged.
func opaque(value string) bool { return len(value) <= maxOpaque && utf8.ValidString(value) }

// wellFormed refuses what is wrong with parameters whatever they mean.
func (a *authorization) wellFormed(twice []string) error {
	if len(twice) > 0 { // RFC 6749 section 3.1
		return refuse(fosite.ErrInvalidRequest, "Parameter must not be repeated: %s", truncate(twice[0], 60))
	}
	for _, name := range parameterNames {
		value := a.params[name]
		if len(value) > maxParameter || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return refuse(fosite.ErrInvalidRequest, "Invalid parameter: %s", name)
		}
	}
	for _, name := range []string{"state", "nonce"} {
		if !opaque(a.params[name]) {
			return refuse(fosite.ErrInvalidRequest, "%s must not be longer than %d characters", name, maxOpaque)
		}
	}
	switch {
	case a.params["request"] != "": // OpenID Connect Core section 6
		return refuse(fosite.ErrRequestNotSupported, "The request parameter is not supported")
	}
	var err error
	a.scope, err = parseScope(a.params["scope"])
	return err
}
