package oauth

import (
	"context"
	"errors"
	"strings"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// codeHandler is fosite's authorization-code grant, with the contract's words for
// a redirect_uri that differs (contract C4.37).
type codeHandler struct {
	*oauth2.AuthorizeExplicitGrantHandler
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h codeHandler) HandleTokenEndpointRequest(ctx context.Context, request fosite.AccessRequester) error {
	err := h.AuthorizeExplicitGrantHandler.HandleTokenEndpointRequest(ctx, request)
	x := exchangeOf(ctx)
	if errors.Is(err, fosite.ErrInvalidGrant) && x.grant != nil && !x.reused && x.grant.RevokedAt == 0 &&
		!expired(x.grant, tenancy.At(x.server.now())) && x.data.RedirectURI != x.request.get("redirect_uri") {
		return refuse(fosite.ErrInvalidGrant, "Invalid redirect_uri").because(err)
	}
	return err
}

// proofHandler is fosite's PKCE (RFC 7636). A code that is presented with a wrong
// verifier is used up: whoever has it may try once (contract C4.37).
type proofHandler struct{ *pkce.Handler }

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h proofHandler) HandleTokenEndpointRequest(ctx context.Context, request fosite.AccessRequester) error {
	err := h.Handler.HandleTokenEndpointRequest(ctx, request)
	if err == nil || fosite.ErrorToRFC6749Error(err).CodeField >= 500 {
		return err
	}
	x := exchangeOf(ctx)
	x.spoiled = true
	x.ops = append(x.ops, consumeStmt(ctx, x.grant, tenancy.At(x.server.now())))
	return refuse(fosite.ErrInvalidGrant, "Failed to verify code verifier").because(err)
}

// decideCode decides what the tokens of a code may say. Everything that was true
// when the code was issued is found out again (contract C2.10, C2.38).
func (x *exchange) decideCode(ctx context.Context) error {
	if err := x.sameTarget(ctx); err != nil {
		return err
	}
	if err := x.sameOrganization(ctx); err != nil {
		return err
	}
	return x.decideUser(ctx, errInvalidCode(), Ask{
		Audience: x.grant.Audience, Scopes: strings.Fields(x.grant.Scope),
		Organization: x.grant.OrgID,
	})
}

// sameOrganization refuses an organization parameter that is not the code's
// (contract C2.38). It may repeat that one, by id or name.
func (x *exchange) sameOrganization(ctx context.Context) error {
	name := x.request.get("organization")
	if name == "" {
		return nil
	}
	differs := refuse(fosite.ErrInvalidRequest, "Organization parameter does not match the authorization request")
	org, err := findOrganization(ctx, name)
	var refused *oauthError
	switch {
	case errors.As(err, &refused):
		return differs.because(err)
	case err != nil:
		return err
	case org.ID != x.grant.OrgID:
		return differs
	}
	return nil
}

// decideUser makes the permission calculation for the grant's user. gone is the
// answer where there is no such user any more. A membership that has ended ends
// the grant that was bound to it (contract C2.42, C2.51).
func (x *exchange) decideUser(ctx context.Context, gone *oauthError, ask Ask) error {
	user, err := tenancy.Users.Get(ctx, x.grant.UserID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return gone
	}
	if err != nil {
		return err
	}
	ask.Client, ask.User, ask.Connection, ask.Bound = x.client.Client, user, x.data.Connection, true
	allowance, err := x.server.allowUser(ctx, ask)
	if errors.Is(err, errMember) && ask.Organization == x.grant.OrgID {
		if err := tenancy.Commit(ctx, revokeStmt(ctx, x.grant.ID, tenancy.At(x.server.now()))); err != nil {
			return err
		}
	}
	if errors.Is(err, errConsent) { // taken back: the grant gives nothing any more
		return gone.because(err)
	}
	if err != nil {
		return err
	}
	x.user, x.allowance = user, allowance
	return nil
}

// Interface guards
var (
	_ fosite.TokenEndpointHandler     = codeHandler{}
	_ fosite.AuthorizeEndpointHandler = codeHandler{}
	_ fosite.TokenEndpointHandler     = proofHandler{}
	_ fosite.AuthorizeEndpointHandler = proofHandler{}
)
