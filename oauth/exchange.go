package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	fositejwt "github.com/ory/fosite/token/jwt"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// exchange is what is known of one request at the token endpoint, or of one code
// being issued, while fosite works on it. fosite's stores and strategies find it
// in their context: they read the row through it once, and what they write they
// only note down, so that all of it is committed in one batch or not at all.
type exchange struct {
	server  *Server
	client  *client
	request tokenRequest
	code    *codeGrant // when a code is being issued

	grant *tenancy.Grant // the code or refresh token presented
	data  grantData
	view  *fosite.Request // the same as fosite sees it

	subject *Claims // token exchange: of the token presented
	target  string  // token exchange: the audience, as asked for

	user      *tenancy.User // nil for a program
	allowance *Allowance    // set before the answer is made
	answering bool          // fosite makes the answer now

	reused  bool // the grant was used before: ops revoke what descends from it
	spoiled bool // the grant is consumed though there is no answer

	ops []tenancy.Stmt // to be committed, the consuming one first

	// What the answer holds.
	accessToken  string
	expiresIn    int64
	idToken      string
	refreshToken string
}

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// exchangeOf returns the exchange that ctx belongs to. Without one it is an empty
// one, with which every read fails.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// decisions are what each grant decides between fosite's judging the request and
// making the answer: who the token is for and what it may say.
var decisions = map[string]func(*exchange, context.Context) error{
	grantAuthorizationCode: (*exchange).decideCode,
	grantRefreshToken:      (*exchange).decideRefresh,
	grantClientCredentials: (*exchange).decideMachine,
	grantTokenExchange:     (*exchange).decideExchange,
	grantDevice:            (*exchange).decideDevice,
	grantPassword:          (*exchange).decidePassword,
	grantPasswordRealm:     (*exchange).decidePassword,
}

// run answers the request. [tenancy.ErrStale] means that somebody else used or
// revoked the grant meanwhile, and that nothing was written.
func (x *exchange) run(ctx context.Context) error {
	ctx = withExchange(ctx, x)
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{}, Form: x.request.form, PostForm: x.request.form}
	access, err := x.server.provider.fosite.NewAccessRequest(ctx, r, newSession(x))
	if err != nil {
		return x.refused(ctx, err)
	}
	if err := decisions[x.request.grant](x, ctx); err != nil {
		return err
	}
	x.grantTo(access)
	x.answering = true
	if _, err := x.server.provider.fosite.NewAccessResponse(ctx, access); err != nil {
		return err
	}
	if len(x.ops) == 0 {
		return nil
	}
	return tenancy.Commit(ctx, x.ops...)
}

// grantTo tells fosite what the permission calculation gave.
func (x *exchange) grantTo(access fosite.AccessRequester) {
	if r, ok := access.(*fosite.AccessRequest); ok {
		r.GrantedScope, r.GrantedAudience = x.allowance.Scopes, nil
	}
	if x.view != nil {
		x.view.GrantedScope, x.view.GrantedAudience = x.allowance.Scopes, nil
	}
}

// refused is the error for a request that fosite refused, after what follows
// from the refusal was written: a grant that was used twice takes everything
// that descends from it along (RFC 6749 section 4.1.2, RFC 9700 section
// 4.14.2), and a code that was presented with a wrong verifier is used up.
func (x *exchange) refused(ctx context.Context, err error) error {
	if (x.reused || x.spoiled) && len(x.ops) > 0 {
		if err := tenancy.Commit(ctx, x.ops...); err != nil {
			return err
		}
	}
	if x.reused {
		x.server.verified.forget()
	}
	return x.invalidGrant(err)
}

// invalidGrant is fosite's refusal in the words of the contract. Faults, and
// refusals that have their words already, stay as they are.
func (x *exchange) invalidGrant(err error) error {
	var own *oauthError
	if errors.As(err, &own) || errors.Is(err, tenancy.ErrUnavailable) {
		return err
	}
	if rfc := fosite.ErrorToRFC6749Error(err); rfc.CodeField >= 500 {
		return err
	}
	switch x.request.grant {
	case grantAuthorizationCode:
		return errInvalidCode().because(err)
	case grantRefreshToken:
		return errInvalidRefreshToken().because(err)
	}
	return err
}

func errInvalidCode() *oauthError { // contract C4.37
	return refuse(fosite.ErrInvalidGrant, "Invalid authorization code")
}

func errInvalidRefreshToken() *oauthError { // contract C4.38; SDKs match the text
	return refuse(fosite.ErrInvalidGrant, "Unknown or invalid refresh token.")
}

// client is a client as fosite sees it.
type client struct{ *tenancy.Client }

func adapt(c *tenancy.Client) *client { return &client{c} }

// GetID implements fosite.Client.
func (c *client) GetID() string { return c.ID }

// GetHashedSecret implements fosite.Client.
func (c *client) GetHashedSecret() []byte { return nil }

// GetRedirectURIs implements fosite.Client.
func (c *client) GetRedirectURIs() []string { return c.Callbacks }

// GetGrantTypes implements fosite.Client.
func (c *client) GetGrantTypes() fosite.Arguments { return c.GrantTypes }

// GetResponseTypes implements fosite.Client.
func (c *client) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }

// GetScopes implements fosite.Client.
func (c *client) GetScopes() fosite.Arguments { return nil }

// GetAudience implements fosite.Client.
func (c *client) GetAudience() fosite.Arguments { return nil }

// authenticated is fosite's client authentication: it has been done.
func authenticated(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	if c := exchangeOf(ctx).client; c != nil {
		return c, nil
	}
	return nil, fosite.ErrInvalidClient
}

// session is an exchange as fosite's session. It keeps no expiry times: the row
// has them, and the allowance has the life of the tokens.
type session struct {
	x       *exchange
	claims  fositejwt.IDTokenClaims
	headers fositejwt.Headers
}

func newSession(x *exchange) *session { return &session{x: x} }

// IDTokenClaims implements openid.Session. fosite wants to see a subject; the ID
// token itself is made by [Server.idToken].
func (s *session) IDTokenClaims() *fositejwt.IDTokenClaims {
	s.claims.Subject = s.GetSubject()
	return &s.claims
}

// IDTokenHeaders implements openid.Session.
func (s *session) IDTokenHeaders() *fositejwt.Headers { return &s.headers }

// SetExpiresAt implements fosite.Session.
func (s *session) SetExpiresAt(fosite.TokenType, time.Time) {}

// GetExpiresAt implements fosite.Session.
func (s *session) GetExpiresAt(fosite.TokenType) time.Time { return time.Time{} }

// GetUsername implements fosite.Session.
func (s *session) GetUsername() string { return s.GetSubject() }

// GetSubject implements fosite.Session.
func (s *session) GetSubject() string {
	if s.x.user == nil {
		return ""
	}
	return s.x.user.ID
}

// Clone implements fosite.Session. fosite's own copies by reflection.
func (s *session) Clone() fosite.Session { return newSession(s.x) }

// Interface guards
var (
	_ fosite.Client  = (*client)(nil)
	_ openid.Session = (*session)(nil)
)
