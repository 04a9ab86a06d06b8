package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// userinfo answers GET and POST /userinfo (OpenID Connect Core section 5.3;
// contract C4.53, C4.54).
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	token, err := bearerToken(r)
	if err != nil {
		return err
	}
	claims, err := s.Verify(ctx, token)
	if err != nil {
		return bearerRefusal(err)
	}
	user, session, err := s.tokenHolder(ctx, claims)
	if err != nil {
		return err
	}
	body, err := userinfoOf(user, session, claims)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	return nil
}

// bearerToken finds the access token in the header or, of a POST, in the form
// (RFC 6750 section 2.1, 2.2). One in the query is not looked at.
func bearerToken(r *http.Request) (string, error) {
	token := headerToken(r)
	inHeader := token != ""
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") == "" {
		if inHeader {
			return token, nil
		}
		return "", bearerError(http.StatusUnauthorized, "", "Missing access token")
	}
	form, err := readParameters(r)
	if err != nil {
		return "", err
	}
	switch inForm := form.Get("access_token"); {
	case inHeader && inForm != "":
		return "", bearerError(http.StatusBadRequest, "invalid_request", "The access token must be sent in one way only")
	case inHeader:
		return token, nil
	case inForm != "":
		return inForm, nil
	}
	return "", bearerError(http.StatusUnauthorized, "", "Missing access token")
}

// bearerError is an error of RFC 6750 section 3. code "" is a request without a
// token, which is told no code.
func bearerError(status int, code, description string) *tenancy.Error {
	challenge := "Bearer"
	switch code {
	case "":
		code = "invalid_token"
	case "insufficient_scope":
		challenge += ` error="insufficient_scope", scope="openid"`
	default:
		challenge += ` error="` + code + `", error_description="` + descriptionText(description) + `"`
	}
	return &tenancy.Error{Status: status, Code: code, Message: description, Header: map[string]string{"WWW-Authenticate": challenge}}
}

// bearerRefusal is what a token that is not good is answered with; faults of
// ours stay what they are.
func bearerRefusal(err error) error {
	if tenancy.StatusOf(err) == http.StatusServiceUnavailable {
		return err
	}
	var refused *oauthError
	var shown *tenancy.Error
	if errors.As(err, &refused) && !refused.internal() || errors.As(err, &shown) && shown.Status < 500 {
		return bearerError(http.StatusUnauthorized, "invalid_token", "The access token is invalid")
	}
	return err
}

// tokenHolder is the user an access token with openid speaks for, and the
// session it came from, nil where it came from none. A token whose session has
// ended, or whose user is gone or blocked, is over (contract C3.31).
func (s *Server) tokenHolder(ctx context.Context, claims *Claims) (*tenancy.User, *tenancy.Session, error) {
	over := bearerError(http.StatusUnauthorized, "invalid_token", "The access token is invalid")
	switch {
	case claims.machine() || !hasScope(claims.Scope, scopeOpenID):
		return nil, nil, bearerError(http.StatusForbidden, "insufficient_scope", "The access token has no openid scope")
	case !claims.Audience.Has(claims.Issuer + "userinfo"):
		return nil, nil, over
	}
	h, err := s.holder(ctx, claims)
	switch {
	case err != nil:
		return nil, nil, err
	case h == nil || h.user == nil:
		return nil, nil, over
	}
	return h.user, h.session, nil
}

func hasScope(list, scope string) bool {
	for s := range strings.SplitSeq(list, " ") {
		if s == scope {
			return true
		}
	}
	return false
}

// userinfoOf is the body: sub, the claims of the token's scopes, and those the
// client asked for by the claims parameter (contract C4.26). Values that are
// missing are left out (C2.14).
func userinfoOf(user *tenancy.User, session *tenancy.Session, claims *Claims) ([]byte, error) {
	info := struct {
		Subject string `json:"sub"`
		profile
	}{user.ID, profileOf(user, strings.Fields(claims.Scope))}
	if session != nil {
		notes, err := notesOf(session.Other)
		if err != nil {
			return nil, err
		}
		info.add(user, notes.Claims[claims.ClientID])
	}
	return json.Marshal(info)
}
