package login

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxSignup is how long the body of a sign-up may be, in bytes (contract C0.6).
const maxSignup = 1 << 20

// signupBody are the members of a sign-up as they were sent, JSON or form.
type signupBody map[string]json.RawMessage

func readSignup(w http.ResponseWriter, r *http.Request) (signupBody, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || (kind != "application/json" && kind != "application/x-www-form-urlencoded") {
		return nil, refused(http.StatusUnsupportedMediaType, "invalid_request", "Content-Type must be application/json or application/x-www-form-urlencoded")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxSignup)
	var given signupBody
	if kind == "application/json" {
		given, err = readObject(r.Body)
	} else {
		given, err = readSignupForm(r)
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refused(http.StatusRequestEntityTooLarge, "invalid_request", "The request body is too large")
	}
	if err != nil {
		return nil, refused(http.StatusBadRequest, "invalid_request", "The request body is malformed: "+err.Error())
	}
	return given, nil
}

// readObject reads one JSON object whose members are named once each: with two
// of a name, readers would disagree on which counts (contract C0.9).
func readObject(body io.Reader) (signupBody, error) {
	decoder := json.NewDecoder(body)
	if open, err := decoder.Token(); err != nil {
		return nil, plainJSONError(err)
	} else if open != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	given := make(signupBody)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, plainJSONError(err)
		}
		key, _ := name.(string) // the decoder allows nothing else here
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, plainJSONError(err)
		}
		if _, twice := given[key]; twice {
			return nil, errors.New("a member is given twice")
		}
		given[key] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, plainJSONError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return given, nil
}

// plainJSONError keeps the decoder's words, and the bytes it quotes, from the
// caller; a body that is too large stays recognizable.
func plainJSONError(err error) error {
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return err
	}
	return errors.New("not valid JSON")
}

func readSignupForm(r *http.Request) (signupBody, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	given := make(signupBody)
	for name, values := range r.PostForm {
		if len(values) > 1 {
			return nil, errors.New("a parameter is given twice")
		}
		if name == "user_metadata" {
			given[name] = json.RawMessage(values[0])
			continue
		}
		text, err := json.Marshal(values[0])
		if err != nil {
			return nil, err
		}
		given[name] = text
	}
	return given, nil
}

// text returns a member that is a string, or "".
func (b signupBody) text(name string) string {
	var s string
	_ = json.Unmarshal(b[name], &s) // account has refused other types
	return s
}

// account reads what a caller may say of themselves. Whatever else is sent
// (email_verified, app_metadata, ...) has no effect.
func (b signupBody) account() (*account, error) {
	for _, name := range []string{
		"client_id", "connection", "email", "password", "username", "name", "given_name",
		"family_name", "nickname", "picture",
	} {
		var s *string
		if v, ok := b[name]; ok && json.Unmarshal(v, &s) != nil {
			return nil, refused(http.StatusBadRequest, "invalid_request", name+" must be a string")
		}
	}
	if b.text("client_id") == "" {
		return nil, refused(http.StatusBadRequest, "invalid_request", "Missing required parameter: client_id")
	}
	a := &account{
		Email: b.text("email"), Username: b.text("username"), Password: b.text("password"), Name: b.text("name"),
		GivenName: b.text("given_name"), FamilyName: b.text("family_name"), Nickname: b.text("nickname"), Picture: b.text("picture"),
	}
	for _, s := range []string{a.Name, a.GivenName, a.FamilyName, a.Nickname} {
		if len(s) > 300 {
			return nil, refused(http.StatusBadRequest, "invalid_request", "name, given_name, family_name and nickname have at most 300 bytes")
		}
	}
	if a.Picture != "" && !strings.HasPrefix(cspSource(a.Picture), "http") || len(a.Picture) > 2048 {
		return nil, refused(http.StatusBadRequest, "invalid_request", "picture must be a URL")
	}
	if v, ok := b["user_metadata"]; ok && (json.Unmarshal(v, &a.UserMetadata) != nil || len(v) > maxMetadata) {
		return nil, refused(http.StatusBadRequest, "invalid_request", "user_metadata must be an object of at most 16 KiB")
	}
	return a, nil
}

// maxMetadata is how long the user_metadata of a sign-up may be, in bytes.
const maxMetadata = 16 << 10
