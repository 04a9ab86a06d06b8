package oauth

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// token is the token endpoint (RFC 6749 section 3.2; contract 4.3).
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := s.parseTokenRequest(r)
	if err != nil {
		return err
	}
	c, err := s.authenticate(ctx, &request.credentials)
	if err != nil {
		s.recordExchange(ctx, &exchange{request: *request}, err)
		return err
	}
	narrowOrigin(w, r, c)
	if err := s.countRequest(ctx, w, c); err != nil {
		return err
	}
	if err := mayUse(c, request.grant); err != nil {
		return err
	}
	x, err := s.exchange(ctx, request, c)
	s.recordExchange(ctx, x, err)
	if err != nil {
		return err
	}
	return x.write(w)
}

// exchange answers a request. Where somebody else was faster it is judged again
// by what is so now: a code or refresh token that was used meanwhile is used
// twice, and refused as such.
func (s *Server) exchange(ctx context.Context, request *tokenRequest, c *tenancy.Client) (*exchange, error) {
	adapted := adapt(c)
	for try := 0; ; try++ {
		x := &exchange{server: s, client: adapted, request: *request}
		err := x.run(ctx)
		if !errors.Is(err, tenancy.ErrStale) {
			return x, err
		}
		if try == 2 { // it keeps changing under us: whoever does that is the winner
			return x, x.lost(err)
		}
	}
}

// lost is the answer to the loser of a race (defect 24).
func (x *exchange) lost(err error) error {
	switch x.request.grant {
	case grantRefreshToken:
		return errInvalidRefreshToken().because(err)
	case grantDevice:
		return errInvalidDevice().because(err)
	}
	return errInvalidCode().because(err)
}

// tokenAnswer is a successful answer (RFC 6749 section 5.1; contract C4.35).
type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	Scope        string `json:"scope"`
	IssuedType   string `json:"issued_token_type,omitempty"` // of an exchange (RFC 8693 section 2.2.1)
}

// write answers with the tokens.
func (x *exchange) write(w http.ResponseWriter) error {
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	b.Reset()
	issuedType := ""
	if x.subject != nil {
		issuedType = tokenTypeAccess
	}
	answer := tokenAnswer{
		AccessToken: x.accessToken, IDToken: x.idToken, RefreshToken: x.refreshToken,
		TokenType: "Bearer", ExpiresIn: x.expiresIn, Scope: strings.Join(x.allowance.Scopes, " "), IssuedType: issuedType,
	}
	_, _ = b.Write(answer.appendJSON(b.AvailableBuffer())) // a buffer never fails
	h := w.Header()
	h["Content-Type"] = typeJSON
	h["Pragma"] = noCache     // contract C0.5, beside no-store
	_, _ = w.Write(b.Bytes()) // the client may be gone; there is nobody left to tell
	return nil
}

// exchangeEvents are the log's codes for the success and failure of each grant
// (contract C5.90).
var exchangeEvents = map[string][2]string{
	grantAuthorizationCode: {"seacft", "feacft"},
	grantRefreshToken:      {"sertft", "fertft"},
	grantClientCredentials: {"seccft", "feccft"},
	grantTokenExchange:     {"secte", "fecte"},
	grantDevice:            {"sede", "fede"},
	grantPassword:          {"sepft", "fepft"},
	grantPasswordRealm:     {"sepft", "fepft"},
}

// reuseEvent is the code for a refresh token that was used again (contract C4.39).
const reuseEvent = "ferrt"

// recordExchange notes what became of a request. Faults are not the client's
// doing: they are in the server's log.
func (s *Server) recordExchange(ctx context.Context, x *exchange, err error) {
	types := exchangeEvents[x.request.grant]
	e := tenancy.Event{Type: types[0], ClientID: x.request.credentials.ClientID}
	if err != nil {
		refused := told(ctx, err)
		if refused.internal() || refused.Code == codePending || refused.Code == codeSlowDown {
			return
		}
		e.Type, e.Description = types[1], refused.Description
		if x.reused && x.request.grant == grantRefreshToken {
			e.Type = reuseEvent
		}
	}
	if x.client != nil {
		e.ClientID, e.ClientName = x.client.ID, x.client.Name
	}
	if x.grant != nil {
		e.UserID, e.Connection, e.OrgID, e.Audience = x.grant.UserID, x.data.Connection, x.grant.OrgID, x.grant.Audience
	}
	if x.user != nil {
		e.UserID, e.UserName = x.user.ID, userName(x.user)
	}
	if a := x.allowance; a != nil {
		e.Audience, e.Scope = a.Audience, strings.Join(a.Scopes, " ")
		if a.Organization != nil {
			e.OrgID, e.OrgName = a.Organization.ID, a.Organization.Name
		}
	}
	s.record(ctx, e)
}
