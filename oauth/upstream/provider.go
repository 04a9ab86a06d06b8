// Package upstream is the tenants' connections to identity providers elsewhere, as
// a relying party sees them: the authorization code flow with PKCE of OpenID
// Connect, and of OAuth 2.0 with a user info endpoint. It knows neither pages nor
// users: who somebody is there is all it finds out.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Knows reports whether people can log in through connections of the strategy.
func Knows(strategy string) bool { _, ok := kinds[strategy]; return ok }

// ErrNotConfigured says that a connection lacks what a login needs, be it because
// it names another endpoint than the control plane, whose options it would have
// inherited otherwise.
var ErrNotConfigured = errors.New("the connection lacks options")

// Provider is an identity provider, as one connection knows it.
type Provider struct {
	client   *Client
	kind     kind
	config   oauth2.Config
	issuer   string
	verifier *oidc.IDTokenVerifier // nil where there are no ID tokens
	userinfo string
}

// Transaction is one login under way there.
type Transaction struct {
	RedirectURI string
	State       string
	Nonce       string
	Verifier    string // of PKCE
	LoginHint   string // may be empty
}

// Provider finds out where a connection's provider is. Every address comes from
// one of [tenancy.Destinations], from what is found at one, or from the strategy.
func (c *Client) Provider(ctx context.Context, strategy string, o *tenancy.ConnectionOptions) (*Provider, error) {
	k, ok := kinds[strategy]
	if !ok {
		return nil, fmt.Errorf("nobody logs in through strategy %q", strategy)
	}
	p := &Provider{client: c, kind: k, config: oauth2.Config{ClientID: o.Text("client_id"), ClientSecret: o.Text("client_secret"), Scopes: scopesOf(o, k)}}
	if p.config.ClientID == "" {
		return nil, fmt.Errorf("%w: client_id", ErrNotConfigured)
	}
	p.config.Endpoint = oauth2.Endpoint{
		AuthURL:   cmp.Or(o.Text("authorization_endpoint"), o.Text("authorization_url"), o.Text("authorizationURL"), k.auth),
		TokenURL:  cmp.Or(o.Text("token_endpoint"), o.Text("token_url"), o.Text("tokenURL"), k.token),
		AuthStyle: oauth2.AuthStyleInParams,
	}
	p.userinfo = cmp.Or(o.Text("userinfo_endpoint"), o.Text("userinfo_url"), o.Text("userInfoURL"), k.userinfo)
	if !k.plain {
		if err := p.openID(ctx, o); err != nil {
			return nil, err
		}
	}
	if k.secret != nil {
		secret, err := k.secret(p, o, time.Now())
		if err != nil {
			return nil, err
		}
		p.config.ClientSecret, p.config.Endpoint.AuthStyle = secret, oauth2.AuthStyleInParams
	}
	if o.Text("token_endpoint_auth_method") == "client_secret_basic" {
		p.config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	if k.plain && p.userinfo == "" {
		return nil, fmt.Errorf("%w: userinfo_endpoint", ErrNotConfigured)
	}
	for name, address := range map[string]string{"authorization_endpoint": p.config.Endpoint.AuthURL, "token_endpoint": p.config.Endpoint.TokenURL, "userinfo_endpoint": p.userinfo} {
		if address == "" && name != "userinfo_endpoint" {
			return nil, fmt.Errorf("%w: %s", ErrNotConfigured, name)
		}
		if err := c.allowed(address); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p, nil
}

// openID completes a provider of OpenID Connect by what it publishes, or by the
// options alone where they say everything.
func (p *Provider) openID(ctx context.Context, o *tenancy.ConnectionOptions) error {
	issuer, err := issuerOf(p.kind, o)
	if err != nil {
		return err
	}
	p.issuer = issuer
	e, jwks := &p.config.Endpoint, cmp.Or(o.Text("jwks_uri"), o.Text("jwks_url"))
	if e.AuthURL != "" && e.TokenURL != "" && jwks != "" {
		if err := p.client.allowed(jwks); err != nil {
			return fmt.Errorf("jwks_uri: %w", err)
		}
		keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), p.client.http), jwks)
		p.verifier = oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: p.config.ClientID})
		return nil
	}
	found, err := p.client.discover(ctx, issuer)
	if err != nil {
		return err
	}
	e.AuthURL, e.TokenURL = cmp.Or(e.AuthURL, found.provider.Endpoint().AuthURL), cmp.Or(e.TokenURL, found.provider.Endpoint().TokenURL)
	p.userinfo = cmp.Or(p.userinfo, found.provider.UserInfoEndpoint())
	// OpenID Connect Discovery section 3: where it says nothing, it is basic.
	if len(found.methods) == 0 || !slices.Contains(found.methods, "client_secret_post") {
		e.AuthStyle = oauth2.AuthStyleInHeader
	}
	p.verifier = found.provider.Verifier(&oidc.Config{ClientID: p.config.ClientID})
	return nil
}

const discoveryPath = "/.well-known/openid-configuration"

func issuerOf(k kind, o *tenancy.ConnectionOptions) (string, error) {
	issuer := o.Text("issuer")
	if at := o.Text("discovery_url"); issuer == "" && at != "" {
		base, ok := strings.CutSuffix(at, discoveryPath)
		if !ok {
			return "", fmt.Errorf("%w: discovery_url has to end in %s", ErrNotConfigured, discoveryPath)
		}
		issuer = base
	}
	if domain := o.Text("domain"); issuer == "" && k.domain && domain != "" {
		issuer = "https://" + domain
	}
	if issuer == "" && k.located != nil {
		return k.located(o)
	}
	if issuer = cmp.Or(issuer, k.issuer); issuer == "" {
		return "", fmt.Errorf("%w: issuer", ErrNotConfigured)
	}
	return issuer, nil
}

// scopesOf reads the option scope: texts, or one text separated by spaces.
func scopesOf(o *tenancy.ConnectionOptions, k kind) []string {
	var scopes []string
	switch v := o.Value("scope").(type) {
	case string:
		scopes = strings.Fields(v)
	case []any:
		for _, item := range v {
			if s, ok := item.(string); ok {
				scopes = append(scopes, strings.Fields(s)...)
			}
		}
	}
	if len(scopes) == 0 {
		return k.scopes
	}
	if !k.plain && !slices.Contains(scopes, oidc.ScopeOpenID) {
		scopes = append([]string{oidc.ScopeOpenID}, scopes...)
	}
	return scopes
}

// AuthURL is where the browser goes.
func (p *Provider) AuthURL(t Transaction) string {
	config := p.config
	config.RedirectURL = t.RedirectURI
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(t.Verifier)}
	if p.verifier != nil {
		options = append(options, oidc.Nonce(t.Nonce))
	}
	if p.kind.formPost {
		options = append(options, oauth2.SetAuthURLParam("response_mode", "form_post"))
	}
	if t.LoginHint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", t.LoginHint))
	}
	return config.AuthCodeURL(t.State, options...)
}

// IsIssuer reports whether an answer that names its issuer is this provider's (RFC
// 9207 section 2.4); "" is an answer that names none.
func (p *Provider) IsIssuer(iss string) bool { return iss == "" || p.issuer == "" || iss == p.issuer }

// Host is the host that people are sent to, for those who look at what happens.
func (p *Provider) Host() string {
	u, err := url.Parse(p.config.Endpoint.AuthURL)
	if err != nil {
		return ""
	}
	return u.Host
}
