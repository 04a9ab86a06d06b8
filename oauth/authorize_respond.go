package oauth

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// What a response type asks for (OAuth 2.0 Multiple Response Types; contract
// C4.20). Answers with tokens are for old clients that list the grant implicit:
// RFC 9700 section 2.1.2 advises against them.
const (
	responseCode    = "code"
	responseToken   = "token"
	responseIDToken = "id_token"

	grantImplicit = "implicit"
)

// responds reports whether the request asks for the part in the answer.
func (a *authorization) responds(part string) bool {
	return slices.Contains(strings.Fields(a.params["response_type"]), part)
}

// frontChannel reports whether the response type asks for tokens in the answer.
func (a *authorization) frontChannel() bool {
	return a.responds(responseToken) || a.responds(responseIDToken)
}

// answer makes what the response type asks for, in one batch with the further
// statements. All of it is of one family, so that a code used twice takes the
// tokens beside it along.
func (s *Server) answer(ctx context.Context, a *authorization, p *person, allowance *Allowance, stmts []tenancy.Stmt) ([]parameter, error) {
	g := a.grant(p, allowance)
	g.Family = newFamily()
	front := *allowance // nothing here can be refreshed (OpenID Connect Core section 11)
	front.Scopes = slices.DeleteFunc(slices.Clone(allowance.Scopes), func(scope string) bool { return scope == scopeOffline })

	var list []parameter
	var id idInput
	if a.responds(responseToken) {
		token, expiresIn, err := s.accessToken(ctx, accessInput{
			Client: a.client, User: p.user, Allowance: &front, Family: g.Family,
			SessionID: p.session.ID, AuthTime: p.session.AuthenticatedAt, Front: true,
		})
		if err != nil {
			return nil, err
		}
		id.AccessToken = token
		list = append(list, parameter{"access_token", token}, parameter{"token_type", "Bearer"},
			parameter{"expires_in", strconv.FormatInt(expiresIn, 10)}, parameter{"scope", strings.Join(front.Scopes, " ")})
	}
	var err error
	if a.responds(responseCode) {
		if id.Code, err = s.issueCode(ctx, g, stmts...); err == nil {
			list = append(list, parameter{"code", id.Code})
		}
	} else {
		err = tenancy.Commit(ctx, stmts...)
	}
	if err != nil {
		return nil, err
	}
	if a.responds(responseIDToken) && front.Has(scopeOpenID) {
		id.Client, id.User, id.Allowance, id.SessionID, id.AuthTime = a.client, p.user, &front, p.session.ID, p.session.AuthenticatedAt
		id.Methods, id.Nonce, id.Claims = methodNames(p.session.Methods), g.Nonce, g.Claims
		token, err := s.idToken(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, parameter{"id_token", token})
	}
	return list, nil
}
