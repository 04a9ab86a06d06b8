package oauth

import (
	"cmp"
	"context"
	"net/url"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// codeGrant is an authorization that a code stands for: who, for whom, and with
// what. Client, User, Session and Allowance are required.
type codeGrant struct {
	Client    *tenancy.Client
	User      *tenancy.User
	Session   *tenancy.Session // the code's auth_time and connection are its
	Allowance *Allowance       // what [Server.allowUser] gave

	Requested   []string // scopes asked for, granted or not, in their order
	RedirectURI string   // as it was sent; "" where it was left out
	Challenge   string   // S256 code challenge; "" without PKCE
	Nonce       string
	ACR         string   // acr of the ID token; "" leaves it out
	Claims      []string // standard claims asked for in the ID token, beside those of the scopes
	Family      string   // of tokens that are given out beside the code; "" for a new one
}

// issueCode makes an authorization code and stores what it stands for. The
// further statements are part of the same batch, so that a session and a login
// change with it or not at all; errors are those of [tenancy.Commit] and
// fosite's refusals, PKCE's among them.
//
// The code lives 60 seconds (contract C2.15) and is known by its hash only.
func (s *Server) issueCode(ctx context.Context, g codeGrant, also ...tenancy.Stmt) (code string, err error) {
	x := &exchange{server: s, client: adapt(g.Client), user: g.User, allowance: g.Allowance, code: &g}
	ctx = withExchange(ctx, x)
	redirectURI, err := url.Parse(g.RedirectURI)
	if err != nil {
		return "", refuse(fosite.ErrInvalidRequest, "Invalid redirect_uri").because(err)
	}
	request := fosite.NewAuthorizeRequest()
	request.ID = cmp.Or(g.Family, newFamily())
	request.Client = x.client
	request.ResponseTypes = fosite.Arguments{"code"}
	request.RedirectURI = redirectURI
	request.Form = g.form()
	request.RequestedScope = g.Requested
	request.GrantedScope = g.Allowance.Scopes
	response, err := s.provider.fosite.NewAuthorizeResponse(ctx, request, newSession(x))
	if err != nil {
		return "", err
	}
	if err := tenancy.Commit(ctx, append(x.ops, also...)...); err != nil {
		return "", err
	}
	return response.GetCode(), nil
}

// form is the part of the authorization request that fosite looks at.
func (g *codeGrant) form() url.Values {
	form := url.Values{"redirect_uri": {g.RedirectURI}}
	if g.Challenge != "" {
		form.Set("code_challenge", g.Challenge)
		form.Set("code_challenge_method", "S256")
	}
	return form
}
