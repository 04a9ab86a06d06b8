package oauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// grantTokenExchange is the grant of RFC 8693, and tokenTypeAccess the only type
// of token that is taken and given (section 3).
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// gtyTokenExchange is the gty of an exchanged token (contract C2.8).
const gtyTokenExchange = "token-exchange"

// exchangeHandler is the token exchange as a handler of fosite's, which has none
// of its own. There is nothing to store: what comes out is an access token.
type exchangeHandler struct{ machineHandler }

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (exchangeHandler) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantTokenExchange)
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler. All there is
// to judge is judged in one place, [exchange.decideExchange].
func (exchangeHandler) HandleTokenEndpointRequest(context.Context, fosite.AccessRequester) error {
	return nil
}

// decideExchange decides what the token of an exchange may say (contract C4.40 to
// C4.43, C2.44): at most what the subject's token says, what the client's own
// grant for the target lists, and what the person may there now.
func (x *exchange) decideExchange(ctx context.Context) error {
	if err := x.checkExchange(); err != nil {
		return err
	}
	grants, err := clientGrants(ctx, x.client.ID)
	if err != nil {
		return err
	}
	if err := x.readSubject(ctx, grants); err != nil {
		return err
	}
	grant, err := x.exchangeTarget(ctx, grants)
	if err != nil {
		return err
	}
	organization, err := x.exchangeOrganization(ctx)
	if err != nil {
		return err
	}
	requested, err := parseScope(x.request.get("scope"))
	if err != nil {
		return err
	}
	ask := Ask{
		Client: x.client.Client, User: x.user, Audience: x.target, Organization: organization, Bound: true,
		Scopes: exchangeable(x.subject, grant, requested),
	}
	allowance, err := x.server.allowUser(ctx, ask)
	if err != nil {
		return err
	}
	for _, scope := range requested { // never more, and never less without a word
		if !allowance.Has(scope) {
			return refuse(fosite.ErrInvalidScope, "The requested scope exceeds what can be exchanged")
		}
	}
	if allowance.Permissions != nil {
		// Others go by them as by scopes, so they are bounded alike (C4.41): all of the
		// person's would be more than the client was given.
		allowance.Permissions = append([]string{}, allowance.Scopes...)
		slices.Sort(allowance.Permissions)
	}
	x.allowance = allowance
	return nil
}

// checkExchange refuses what the grant is not for: clients that cannot be told
// apart from others, or are somebody else's (contract C4.40), and types of tokens
// that are neither taken nor given.
func (x *exchange) checkExchange() error {
	if x.client.Client.IsPublic() || !x.client.IsFirstParty {
		return refuse(fosite.ErrUnauthorizedClient, "Grant type '%s' not allowed for the client.", grantTokenExchange)
	}
	for _, required := range []string{"subject_token", "subject_token_type"} {
		if x.request.get(required) == "" {
			return refuse(fosite.ErrInvalidRequest, "Missing required parameter: %s", required)
		}
	}
	if kind := x.request.get("subject_token_type"); kind != tokenTypeAccess {
		return refuse(fosite.ErrInvalidRequest, "Unsupported subject_token_type: %s", printable(kind))
	}
	if kind := x.request.get("requested_token_type"); kind != "" && kind != tokenTypeAccess {
		return refuse(fosite.ErrInvalidRequest, "Unsupported requested_token_type: %s", printable(kind))
	}
	if x.request.form.Has("actor_token") || x.request.form.Has("actor_token_type") { // the actor is the client
		return refuse(fosite.ErrInvalidRequest, "The actor_token parameter is not supported")
	}
	return nil
}

// clientGrants are what a client may ask of resource servers by itself, from
// memory when it can.
func clientGrants(ctx context.Context, clientID string) ([]tenancy.ClientGrant, error) {
	return tenancy.Cached(ctx, "oauth.client_grants", clientID, func(ctx context.Context) ([]tenancy.ClientGrant, error) {
		return tenancy.ClientGrants.Find(ctx, tenancy.Filter{Where: "client_id = ?", Args: []any{clientID}})
	})
}

// readSubject finds the person whom the subject token speaks for. It has to be a
// live access token of the tenant (contract C1.12), of a person themselves, and
// the client's business: issued to it, or for a resource server that it has a
// grant for.
func (x *exchange) readSubject(ctx context.Context, grants []tenancy.ClientGrant) error {
	claims, err := x.server.Verify(ctx, x.request.get("subject_token"))
	var refused *tenancy.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		return errInvalidSubject().because(err)
	case err != nil:
		return err
	case claims.machine(), claims.Actor != nil: // nobody acts for one who acts for somebody
		return errInvalidSubject()
	}
	involved := claims.ClientID == x.client.ID || slices.ContainsFunc(grants, func(g tenancy.ClientGrant) bool {
		return slices.ContainsFunc(claims.Audience, func(aud string) bool { return tenancy.IdentifierOf(ctx, aud) == g.Audience })
	})
	if !involved {
		return errInvalidSubject()
	}
	holder, err := x.server.holder(ctx, claims)
	if err != nil {
		return err
	}
	if holder == nil || holder.user == nil {
		user, err := tenancy.Users.Get(ctx, claims.Subject)
		if err == nil && user.Blocked {
			return errBlocked() // contract C2.10
		}
		if err := ignoreMissing(err); err != nil {
			return err
		}
		return errInvalidSubject()
	}
	x.subject, x.user = claims, holder.user
	return nil
}

func errInvalidSubject() *oauthError { // contract C4.40
	return refuse(fosite.ErrInvalidGrant, "Invalid subject token")
}

// exchangeTarget finds the resource server the new token is for, and the client's
// grant for it (contract C4.40, C4.41). Where none is named there has to be one
// only.
func (x *exchange) exchangeTarget(ctx context.Context, grants []tenancy.ClientGrant) (*tenancy.ClientGrant, error) {
	x.target = x.request.get("audience")
	switch {
	case x.target != "":
	case len(grants) == 1:
		x.target = grants[0].Audience
	case len(grants) > 1:
		return nil, refuse(fosite.ErrInvalidRequest, "audience is required")
	default:
		return nil, errNoExchangeGrant()
	}
	rs, err := tenancy.CachedResourceServer(ctx, tenancy.IdentifierOf(ctx, x.target))
	if errors.Is(err, tenancy.ErrNotFound) { // RFC 8693 section 2.2.2
		return nil, refusal(http.StatusBadRequest, "invalid_target", "Service not found: %s", x.target)
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(grants, func(g tenancy.ClientGrant) bool { return g.Audience == rs.Identifier })
	if i < 0 {
		return nil, errNoExchangeGrant()
	}
	return &grants[i], nil
}

func errNoExchangeGrant() *oauthError {
	return refuse(fosite.ErrUnauthorizedClient, "The client has no grant for the audience")
}

// exchangeOrganization is the organization the new token is for: that of the
// subject's token, or, where that is bound to none, the one named (contract
// C4.42, C2.44). A token for one organization never becomes one for another, and
// never one for none, which would speak for more.
func (x *exchange) exchangeOrganization(ctx context.Context) (string, error) {
	name, bound := x.request.get("organization"), x.subject.OrgID
	if name == "" && bound == "" {
		return "", nil // whether the client requires one is for allowUser to say
	}
	usage, err := organizationUsage(ctx, x.client.Client)
	if err != nil {
		return "", err
	}
	if usage == organizationDeny {
		return "", refuse(fosite.ErrUnauthorizedClient, "The client is not allowed to use organizations")
	}
	if name == "" {
		return bound, nil
	}
	org, err := findOrganization(ctx, name)
	switch {
	case err != nil:
		return "", err
	case bound != "" && org.ID != bound:
		return "", errInvalidSubject()
	}
	return org.ID, nil
}

// exchangeable is what of the subject's scope can be asked for at all: what the
// client's grant lists too, and of that what is requested, if anything is. Scopes
// of OpenID Connect are about the person's own login and stay behind.
func exchangeable(subject *Claims, grant *tenancy.ClientGrant, requested []string) []string {
	return slices.DeleteFunc(strings.Fields(subject.Scope), func(scope string) bool {
		return isOIDCScope(scope) || !slices.Contains(grant.Scope, scope) || requested != nil && !slices.Contains(requested, scope)
	})
}

// Interface guards
var _ fosite.TokenEndpointHandler = exchangeHandler{}
