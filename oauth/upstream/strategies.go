package upstream

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// kind is a strategy: what its options may leave out.
type kind struct {
	issuer   string // where options name none
	domain   bool   // the issuer may be named by its domain alone
	auth     string // endpoints, of one that is not OpenID Connect
	token    string
	userinfo string
	subject  string   // the member of user info that says who it is
	plain    bool     // no ID token
	scopes   []string // where options name none

	// located finds the issuer from options of the strategy's own; nil for none.
	located func(o *tenancy.ConnectionOptions) (string, error)

	// secret makes the client's secret for one request; nil is the option's.
	secret func(p *Provider, o *tenancy.ConnectionOptions, now time.Time) (string, error)

	// formPost has the provider answer with a form.
	formPost bool

	// proves sends user info requests with a proof that the secret is known.
	proves bool
}

var openID = []string{oidc.ScopeOpenID, "email", "profile"}

// kinds are the strategies that people can log in through.
var kinds = map[string]kind{
	"oidc":          {scopes: openID},
	"okta":          {domain: true, scopes: openID},
	"google-oauth2": {issuer: "https://accounts.google.com", scopes: openID},
	"waad":          {located: directory, scopes: openID},
	"windowslive":   {issuer: microsoft + personal + "/v2.0", scopes: openID},
	"apple":         {issuer: "https://appleid.apple.com", scopes: []string{oidc.ScopeOpenID, "email", "name"}, secret: signedSecret, formPost: true},
	"oauth2":        {plain: true, subject: "sub", scopes: nil},
	"github": {
		plain: true, subject: "id", scopes: []string{"read:user", "user:email"},
		auth: "https://github.com/login/oauth/authorize", token: "https://github.com/login/oauth/access_token", userinfo: "https://api.github.com/user",
	},
	"facebook": {
		plain: true, subject: "id", scopes: []string{"email", "public_profile"}, proves: true,
		auth: "https://www.facebook.com/v23.0/dialog/oauth", token: "https://graph.facebook.com/v23.0/oauth/access_token",
		userinfo: "https://graph.facebook.com/v23.0/me?fields=id,name,first_name,last_name,email",
	},
}

const (
	microsoft = "https://login.microsoftonline.com/"
	personal  = "9188040d-6c67-4c5b-b112-36a304b66dad" // the directory of Microsoft's own accounts
)

var directoryForm = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// directory is the issuer of one directory of Microsoft Entra. Its id is required:
// tokens of the endpoints for all directories, and of a name, have the issuer of
// whichever directory the person is in, and would let in everybody's.
func directory(o *tenancy.ConnectionOptions) (string, error) {
	id := o.Text("tenantid")
	if id == "" {
		id = o.Text("tenant_id")
	}
	if !directoryForm.MatchString(id) {
		return "", fmt.Errorf("%w: tenantid, the directory's id in lower case such as %s", ErrNotConfigured, personal)
	}
	return microsoft + id + "/v2.0", nil
}

// secretLife is for how long a signed secret is good: one request.
const secretLife = 5 * time.Minute

// signedSecret is Apple's client secret: a JWT signed with the key of the developer's
// team ("Creating a client secret", Sign in with Apple REST API).
func signedSecret(p *Provider, o *tenancy.ConnectionOptions, now time.Time) (string, error) {
	for _, name := range []string{"team_id", "kid"} {
		if o.Text(name) == "" {
			return "", fmt.Errorf("%w: %s", ErrNotConfigured, name)
		}
	}
	pem := o.Text("app_secret")
	if pem == "" {
		pem = o.Text("private_key")
	}
	var key *ecdsa.PrivateKey
	key, err := jwt.ParseECPrivateKeyFromPEM([]byte(pem))
	if err != nil || key.Curve.Params().BitSize != 256 {
		return "", fmt.Errorf("%w: app_secret, the private key of curve P-256 in PEM", ErrNotConfigured)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": o.Text("team_id"), "sub": p.config.ClientID, "aud": p.issuer, "iat": now.Unix(), "exp": now.Add(secretLife).Unix(),
	})
	t.Header["kid"] = o.Text("kid")
	secret, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("signing the client secret: %w", err)
	}
	return secret, nil
}

// proven is the address of user info with the proof that the access token was not
// stolen from somebody else's app ("Secure Graph API calls", Facebook Login).
func (p *Provider) proven(address, token string) string {
	if !p.kind.proves {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	mac := hmac.New(sha256.New, []byte(p.config.ClientSecret))
	mac.Write([]byte(token))
	q := u.Query()
	q.Set("appsecret_proof", hex.EncodeToString(mac.Sum(nil)))
	u.RawQuery = q.Encode()
	return u.String()
}
