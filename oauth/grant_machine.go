package oauth

import (
	"context"

	"github.com/ory/fosite"
)

// machineHandler is the client-credentials grant (RFC 6749 section 4.4) as a
// handler of fosite's. fosite's own copies the request for a row that access
// tokens do not have, and checks scopes and audiences that are settled here.
type machineHandler struct{ strategy *strategy }

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (machineHandler) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantClientCredentials)
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (machineHandler) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (machineHandler) HandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) error {
	if r.GetClient().IsPublic() { // RFC 6749 section 4.4.2; refused before, by mayUse
		return fosite.ErrUnauthorizedClient
	}
	return nil
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler. There is
// never a refresh or ID token (RFC 6749 section 4.4.3).
func (h machineHandler) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	token, _, err := h.strategy.GenerateAccessToken(ctx, r)
	if err != nil {
		return err
	}
	answer.SetAccessToken(token)
	answer.SetTokenType("Bearer")
	return nil
}

// decideMachine decides what a program's own token may say.
func (x *exchange) decideMachine(ctx context.Context) (err error) {
	x.allowance, err = x.server.allowClient(ctx, machineAsk{
		Client: x.client.Client, Audience: x.request.get("audience"),
		Scope: x.request.get("scope"), Organization: x.request.get("organization"),
	})
	return err
}

// Interface guards
var _ fosite.TokenEndpointHandler = machineHandler{}
