package oauth

import (
	"context"
	"crypto/sha512"
	"errors"
	"hash"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// provider is the one fosite provider of all tenants, and its configuration:
// what differs between tenants or requests is a getter over the context.
//
// Every field of the embedded configuration that its getters would fill in
// lazily is set at the start, because they write without a lock (defect 30).
// What is left unset is never reached: clients here do not implement
// fosite.OpenIDConnectClient, so neither request objects nor keys of clients are
// ever fetched (defects 8 to 11, 31).
type provider struct {
	*fosite.Config
	fosite *fosite.Fosite

	authorize fosite.AuthorizeEndpointHandlers
	byGrant   map[string]grantHandlers
}

// grantHandlers are the handlers of one grant. fosite asks every handler it is
// given, and each that is not concerned answers with a stack trace, so it is
// given only those that are.
type grantHandlers struct {
	request fosite.TokenEndpointHandlers // judge the request
	answer  fosite.TokenEndpointHandlers // make the answer
	openid  fosite.TokenEndpointHandlers // the same, with an ID token
}

func newProvider(s *Server) *provider {
	p := &provider{Config: &fosite.Config{
		ScopeStrategy:                  anyScope,
		AudienceMatchingStrategy:       anyAudience,
		ClientSecretsHasher:            noHasher{},
		RedirectSecureChecker:          fosite.IsRedirectURISecure,
		EnforcePKCEForPublicClients:    true, // RFC 9700 section 2.1.1
		EnablePKCEPlainChallengeMethod: false,
		OmitRedirectScopeParam:         true,
		AuthorizeCodeLifespan:          codeLifetime,
		TokenEntropy:                   32,
		HMACHasher:                     func() hash.Hash { return sha512.New512_256() },
	}}
	st, strat := &store{}, &strategy{server: s}
	explicit := codeHandler{&oauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: strat, RefreshTokenStrategy: strat,
		AuthorizeCodeStrategy: strat, CoreStorage: st, TokenRevocationStorage: st, Config: p,
	}}
	proof := proofHandler{&pkce.Handler{AuthorizeCodeStrategy: strat, Storage: st, Config: p}}
	identity := &openid.IDTokenHandleHelper{IDTokenStrategy: strat}
	explicitID := &openid.OpenIDConnectExplicitHandler{
		OpenIDConnectRequestStorage: st, IDTokenHandleHelper: identity,
		OpenIDConnectRequestValidator: openid.NewOpenIDConnectRequestValidator(nil, p), Config: p,
	}
	refresh := &oauth2.RefreshTokenGrantHandler{AccessTokenStrategy: strat, RefreshTokenStrategy: strat, TokenRevocationStorage: st, Config: p}
	refreshID := &openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: identity, Config: p}
	machine := machineHandler{strat}
	exchanged := exchangeHandler{machine}
	device := deviceHandler{strat, st}
	password := fosite.TokenEndpointHandlers{passwordHandler{device}}
	byPassword := grantHandlers{request: password, answer: password, openid: password}

	p.authorize = fosite.AuthorizeEndpointHandlers{explicit, explicitID, proof} // the others need the code of the first
	p.byGrant = map[string]grantHandlers{
		grantAuthorizationCode: {
			request: fosite.TokenEndpointHandlers{explicit, proof},
			answer:  fosite.TokenEndpointHandlers{explicit},
			openid:  fosite.TokenEndpointHandlers{explicit, explicitID},
		},
		grantRefreshToken: {
			request: fosite.TokenEndpointHandlers{refresh},
			answer:  fosite.TokenEndpointHandlers{refresh},
			openid:  fosite.TokenEndpointHandlers{refresh, refreshID},
		},
		grantClientCredentials: {
			request: fosite.TokenEndpointHandlers{machine},
			answer:  fosite.TokenEndpointHandlers{machine},
		},
		grantDevice: {
			request: fosite.TokenEndpointHandlers{device},
			answer:  fosite.TokenEndpointHandlers{device},
			openid:  fosite.TokenEndpointHandlers{device},
		},
		grantPassword:      byPassword,
		grantPasswordRealm: byPassword,
		grantTokenExchange: { // no refresh or ID token, whatever was granted (contract C4.43)
			request: fosite.TokenEndpointHandlers{exchanged},
			answer:  fosite.TokenEndpointHandlers{exchanged},
		},
	}
	p.fosite = fosite.NewOAuth2Provider(st, p)
	return p
}

// codeLifetime is how long an authorization code lives (contract C2.15).
const codeLifetime = time.Minute

// grants reports whether the token endpoint knows the grant.
func (p *provider) grants(grant string) bool {
	_, ok := p.byGrant[grant]
	return ok
}

// GetTokenEndpointHandlers implements fosite.TokenEndpointHandlersProvider.
func (p *provider) GetTokenEndpointHandlers(ctx context.Context) fosite.TokenEndpointHandlers {
	x := exchangeOf(ctx)
	handlers := p.byGrant[x.request.grant]
	switch {
	case !x.answering:
		return handlers.request
	case x.allowance.Has(scopeOpenID): // fosite would take "OpenID" for it too (defect 19)
		return handlers.openid
	}
	return handlers.answer
}

// GetAuthorizeEndpointHandlers implements fosite.AuthorizeEndpointHandlersProvider.
func (p *provider) GetAuthorizeEndpointHandlers(context.Context) fosite.AuthorizeEndpointHandlers {
	return p.authorize
}

// GetRefreshTokenScopes implements fosite.RefreshTokenScopesProvider. Whether a
// code gives a refresh token too is decided here: fosite compares scopes without
// regard to case (defect 19). At the refresh grant the question is settled.
func (p *provider) GetRefreshTokenScopes(ctx context.Context) []string {
	x := exchangeOf(ctx)
	if x.request.grant == grantAuthorizationCode && !x.allowance.Has(scopeOffline) {
		return []string{"\x00"} // a scope that nobody is ever granted
	}
	return nil
}

// GetClientAuthenticationStrategy implements
// fosite.ClientAuthenticationStrategyProvider: the client has been authenticated
// by [Server.authenticate].
func (p *provider) GetClientAuthenticationStrategy(context.Context) fosite.ClientAuthenticationStrategy {
	return authenticated
}

// GetAccessTokenLifespan implements fosite.AccessTokenLifespanProvider.
func (p *provider) GetAccessTokenLifespan(ctx context.Context) time.Duration {
	if a := exchangeOf(ctx).allowance; a != nil {
		return a.lifetime(false)
	}
	return defaultTokenLifetime * time.Second
}

// GetAccessTokenIssuer implements fosite.AccessTokenIssuerProvider.
func (p *provider) GetAccessTokenIssuer(ctx context.Context) string {
	return tenancy.VisitOf(ctx).Issuer
}

// GetIDTokenIssuer implements fosite.IDTokenIssuerProvider.
func (p *provider) GetIDTokenIssuer(ctx context.Context) string { return tenancy.VisitOf(ctx).Issuer }

// GetTokenURLs implements fosite.TokenURLProvider.
func (p *provider) GetTokenURLs(ctx context.Context) []string {
	issuer := tenancy.VisitOf(ctx).Issuer
	return []string{issuer + "oauth/token", issuer}
}

// GetGlobalSecret implements fosite.GlobalSecretProvider.
func (p *provider) GetGlobalSecret(ctx context.Context) ([]byte, error) {
	return tenancy.Secret(ctx, "fosite")
}

// anyScope and anyAudience leave the decision to the permission calculation,
// which has been made by then and is the only one.
func anyScope([]string, string) bool { return true }

func anyAudience([]string, []string) error { return nil }

// noHasher refuses every secret: fosite never checks one here.
type noHasher struct{}

// Compare implements fosite.Hasher.
func (noHasher) Compare(context.Context, []byte, []byte) error {
	return errors.New("client secrets are not checked by fosite")
}

// Hash implements fosite.Hasher.
func (noHasher) Hash(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("client secrets are not hashed by fosite")
}

// Interface guards
var (
	_ fosite.Configurator = (*provider)(nil)
	_ fosite.Hasher       = noHasher{}
)
