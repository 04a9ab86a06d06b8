package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/ory/fosite"
)

// The grants of the token endpoint (RFC 6749 section 4).
const (
	grantAuthorizationCode = "authorization_code"
	grantRefreshToken      = "refresh_token"
	grantClientCredentials = "client_credentials"
)

// credentials is how a client says who it is (RFC 6749 section 2.3). At most one
// of Secret and Assertion is set.
type credentials struct {
	ClientID  string
	Secret    string
	RawSecret string // Basic only: the password before it was form-decoded
	HasSecret bool   // a secret was sent, be it empty
	Assertion string // RFC 7523 section 2.2
	Basic     bool   // sent by HTTP Basic
	Endpoint  string // path below the issuer that an assertion may name too; "" for none
}

// tokenRequest is a request to a machine endpoint that was found well-formed.
type tokenRequest struct {
	grant       string
	form        url.Values // one value each
	credentials credentials
}

// get returns a parameter, "" where it is missing.
func (t *tokenRequest) get(name string) string { return t.form.Get(name) }

// parseTokenRequest reads a request to the token endpoint. Whatever can be
// refused without knowing anything of the tenant is refused here, before
// anything is consumed (fosite's defects 1, 3, 4, 16 and 26).
func (s *Server) parseTokenRequest(r *http.Request) (*tokenRequest, error) {
	t, err := parseMachineRequest(r)
	if err != nil {
		return nil, err
	}
	t.grant = t.get("grant_type")
	switch {
	case t.grant == "":
		return nil, refuse(fosite.ErrInvalidRequest, "Missing required parameter: grant_type")
	case !s.provider.grants(t.grant): // contract C4.34
		return nil, refuse(fosite.ErrUnsupportedGrantType, "Unsupported grant type: %s", truncate(t.grant, 100))
	}
	return t, t.target()
}

// parseMachineRequest reads parameters and client credentials.
func parseMachineRequest(r *http.Request) (*tokenRequest, error) {
	if err := refuseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	form, err := readParameters(r)
	if err != nil {
		return nil, err
	}
	t := &tokenRequest{form: form}
	t.credentials, err = readCredentials(r, form)
	return t, err
}

// parseFormRequest is [parseMachineRequest] for endpoints that take forms only
// (RFC 7662 section 2.1, RFC 9126 section 2.1).
func parseFormRequest(r *http.Request) (*tokenRequest, error) {
	kind, err := mediaType(r.Header)
	if err == nil && kind != mediaForm {
		err = refusal(http.StatusUnsupportedMediaType, fosite.ErrInvalidRequest.ErrorField, "Content-Type must be "+mediaForm)
	}
	if err != nil {
		return nil, err
	}
	return parseMachineRequest(r)
}

// inBodyOnly are the parameters that must not be in a URL, where logs and
// histories keep them (RFC 6749 section 2.3.1, RFC 9700 section 4.3).
var inBodyOnly = []string{
	"client_secret", "client_assertion", "code", "code_verifier", "refresh_token",
	"password", "token", "device_code", "subject_token", "actor_token",
}

func refuseQuery(query string) error {
	if query == "" {
		return nil
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return refuse(fosite.ErrInvalidRequest, "Malformed query").because(err)
	}
	for _, name := range inBodyOnly {
		if given.Has(name) {
			return refuse(fosite.ErrInvalidRequest, "Parameter %s must not be sent in the URL", name)
		}
	}
	return nil
}

// readParameters reads the body, form or JSON alike (contract C4.36).
func readParameters(r *http.Request) (url.Values, error) {
	kind, err := mediaType(r.Header)
	if err != nil {
		return nil, err
	}
	body, err := readBody(r)
	if err != nil {
		return nil, unreadable(err)
	}
	var form url.Values
	switch kind {
	case mediaForm:
		if form, err = url.ParseQuery(body); err != nil {
			return nil, refuse(fosite.ErrInvalidRequest, "Malformed request body").because(err)
		}
	case "application/json":
		if form, err = parseJSON(body); err != nil {
			return nil, err
		}
	}
	return form, checkParameters(form)
}

// readBody reads a body, which ServeHTTP has bounded.
func readBody(r *http.Request) (string, error) {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	_, err := b.ReadFrom(r.Body)
	return b.String(), err
}

const mediaForm = "application/x-www-form-urlencoded"

// mediaType is the body's type. Multipart bodies, which OAuth does not know, are
// refused with all others (contract C0.6).
func mediaType(h http.Header) (string, error) {
	value := h.Get("Content-Type")
	if value == mediaForm {
		return value, nil
	}
	kind, _, err := mime.ParseMediaType(value)
	if err != nil || kind != mediaForm && kind != "application/json" {
		return "", refusal(http.StatusUnsupportedMediaType, fosite.ErrInvalidRequest.ErrorField,
			"Content-Type must be application/x-www-form-urlencoded or application/json")
	}
	return kind, nil
}

// unreadable says why a body could not be read: it was too large, or the client
// went away.
func unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return refuse(fosite.ErrInvalidRequest, "The request body could not be read").because(err)
}

// checkParameters refuses what no parameter may be: given twice (RFC 6749
// section 3.2, contract C0.9), or text that no database can hold.
func checkParameters(form url.Values) error {
	for name, values := range form {
		if len(values) > 1 {
			return refuse(fosite.ErrInvalidRequest, "Parameter %s was given more than once", printable(name))
		}
		if !isText(name) || !isText(values[0]) {
			return refuse(fosite.ErrInvalidRequest, "Parameter %s is not valid text", printable(name))
		}
	}
	return nil
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// printable is a name out of a request as it may stand in an error.
func printable(name string) string { return descriptionText(truncate(name, 100)) }

// textParameters are the parameters that must be strings in a JSON body. Others
// are not ours, so whatever they are is ignored (contract C0.9).
var textParameters = func() map[string]bool {
	m := make(map[string]bool)
	for _, name := range append([]string{
		"grant_type", "client_id", "client_assertion_type", "redirect_uri", "scope",
		"audience", "organization", "resource", "token_type_hint", "username", "realm", "otp",
		"subject_token_type", "actor_token_type", "requested_token_type",
	}, inBodyOnly...) {
		m[name] = true
	}
	return m
}()

// parseJSON reads an object whose members are parameters. A member that is given
// twice is found here, because a map would hide it.
func parseJSON(body string) (url.Values, error) {
	malformed := refuse(fosite.ErrInvalidRequest, "Malformed request body")
	d := json.NewDecoder(strings.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed.because(err)
	}
	form := make(url.Values)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed.because(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, malformed.because(err)
		}
		key := name.(string) // the decoder gives nothing else before a colon
		var text string
		if value[0] == '"' {
			if err := json.Unmarshal(value, &text); err != nil {
				return nil, malformed.because(err)
			}
		} else if textParameters[key] {
			return nil, refuse(fosite.ErrInvalidRequest, "Parameter %s must be a string", printable(key))
		}
		form.Add(key, text)
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed.because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed.because(err)
	}
	return form, nil
}

// readCredentials finds the one way in which the client says who it is. More
// than one is refused (RFC 6749 section 2.3; contract C4.32).
func readCredentials(r *http.Request, form url.Values) (credentials, error) {
	c := credentials{
		ClientID: form.Get("client_id"), Secret: form.Get("client_secret"),
		HasSecret: form.Has("client_secret"), Assertion: form.Get("client_assertion"),
	}
	switch kind := form.Get("client_assertion_type"); {
	case c.HasSecret && c.Assertion != "":
		return c, errSeveralMethods()
	case c.Assertion != "" && kind == "":
		return c, refuse(fosite.ErrInvalidRequest, "Missing required parameter: client_assertion_type")
	case c.Assertion == "" && kind != "":
		return c, refuse(fosite.ErrInvalidRequest, "Missing required parameter: client_assertion")
	case kind != "" && kind != assertionType: // RFC 7521 section 4.2.1
		return c, errInvalidClient()
	}
	if c.Assertion != "" && c.ClientID == "" { // RFC 7521 section 4.2: the subject identifies the client
		c.ClientID = assertedClient(c.Assertion)
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return c, nil
	}
	id, password, ok := r.BasicAuth()
	if !ok || len(headers) > 1 {
		err := errInvalidClient()
		err.Basic = true
		return c, err
	}
	if c.HasSecret || c.Assertion != "" {
		return c, errSeveralMethods()
	}
	basic := credentials{ClientID: formDecoded(id), Secret: formDecoded(password), RawSecret: password, HasSecret: true, Basic: true}
	if c.ClientID != "" && c.ClientID != basic.ClientID { // defect 3
		return c, refuse(fosite.ErrInvalidRequest, "client_id differs from the one in the Authorization header")
	}
	return basic, nil
}

func errSeveralMethods() *oauthError {
	return refuse(fosite.ErrInvalidRequest, "Only one client authentication method may be used")
}

// formDecoded undoes the form encoding that RFC 6749 section 2.3.1 puts inside
// Basic, and leaves alone what cannot have been encoded so.
func formDecoded(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}
