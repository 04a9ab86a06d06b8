package caddymodule

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	testAPI    = "https://api.example.com"
	testSecret = "a secret of a machine client, 32 or more characters"
	testUser   = "auth0|ada"
)

// echoed is what the upstream of these tests answers: what it was told.
const echoed = `"{http.auth.user.id}|{http.auth.user.org_id}|{http.auth.user.org_name}|{http.auth.user.scope}|{http.auth.user.permissions}|{http.auth.user.client_id}|{http.auth.user.tenant_id}|{http.tenant.id}"`

// sentOn is what an upstream would get in headers.
const sentOn = `"{http.request.header.X-User-Id}|{http.request.header.X-Org-Id}|{http.request.header.X-Org-Name}|{http.request.header.X-Scope}|{http.request.header.X-Permissions}|{http.request.header.X-Client-Id}|{http.request.header.X-Tenant-Id}|{http.request.header.Connection}|{http.request.header.X_User_Id}"`

const adaSeen = testUser + "|org_1|one|openid read:orders|read:orders|app|%[1]s|%[1]s"

// newGuarded starts a server with APIs that ask for different things, and two
// tenants in which everything has the same ids.
func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{newServer(t)}
	guard := func(path, options, body string) string {
		return fmt.Sprintf("handle %s* {\n tenant_auth {\n audience %s https://other.example.com\n %s\n }\n respond %s\n }\n", path, testAPI, options, body)
	}
	const suffix = "host_suffix api.example.com\n"
	g.sites = fmt.Sprintf("http://:%d {\n", g.http) +
		guard("/any", suffix, echoed) +
		guard("/api/v2", suffix, echoed) +
		guard("/scope", suffix+"scope read:orders openid", echoed) +
		guard("/more", suffix+"scope openid admin:orders", echoed) +
		guard("/permission", suffix+"permission read:orders", echoed) +
		guard("/no-permission", suffix+"permission read:orders delete:orders", echoed) +
		guard("/required", suffix+"organization required", echoed) +
		guard("/off", suffix+"organization off", echoed) +
		guard("/listed", suffix+"organization org_9 ONE", echoed) +
		guard("/others", suffix+"organization org_9 two", echoed) +
		guard("/hosts", "", echoed) +
		guard("/one", suffix+"tenant acme", echoed) +
		guard("/issuer", suffix+"issuer", echoed) +
		guard("/issuer-one", suffix+"tenant acme control_plane\n issuer", echoed) +
		guard("/quiet", suffix, sentOn) +
		guard("/forward", suffix+"forward", sentOn) +
		"handle {\n gatehouse\n }\n}\n"
	g.start()
	for _, id := range []string{"acme", "widgets"} {
		g.tenant(id)
		g.inside(id, g.fill)
	}
	return g
}

// guarded is a server with APIs behind tenant_auth.
type guarded struct{ *server }

// inside runs f in a tenant.
func (g *guarded) inside(id string, f func(context.Context) error) {
	g.t.Helper()
	found, ok := g.services().directory.ByID(id)
	if !ok {
		g.t.Fatalf("no tenant %s", id)
	}
	if err := g.services().pool.Do(g.t.Context(), found, f); err != nil {
		g.t.Fatal(err)
	}
}

// fill gives a tenant a user with a session and an organization, and a machine.
func (g *guarded) fill(ctx context.Context) error {
	hash, err := tenancy.HashSecret(ctx, testSecret)
	if err != nil {
		return err
	}
	end := tenancy.At(time.Now().Add(time.Hour))
	row := func(id string) tenancy.Row { return tenancy.Row{ID: id} }
	return tenancy.Commit(ctx,
		tenancy.Users.Insert(ctx, &tenancy.User{Row: row(testUser), Connection: "db", Email: "ada@example.com"}),
		tenancy.Sessions.Insert(ctx, &tenancy.Session{Row: row("ses_1"), UserID: testUser, ExpiresAt: end, IdleExpiresAt: end}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: row("org_1"), Name: "one"}),
		tenancy.Members.Insert(ctx, tenancy.NewMember("org_1", testUser)),
		tenancy.ResourceServers.Insert(ctx, &tenancy.ResourceServer{
			Row: row("rs_1"), Name: "API", Identifier: testAPI, Scopes: []tenancy.Scope{{Value: "read:orders"}},
			SigningAlg: "ES256", TokenLifetime: 3600, TokenDialect: tenancy.DialectRFC9068,
		}),
		tenancy.Clients.Insert(ctx, &tenancy.Client{
			Row: row("robot"), Name: "Robot", AppType: "non_interactive", IsFirstParty: true, SecretHash: hash, Secret: testSecret,
			TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"client_credentials"},
		}),
		tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{Row: row("cgr_1"), ClientID: "robot", Audience: testAPI, Scope: []string{"read:orders"}}),
	)
}

type claims = map[string]any

// token is one of the tenant's own, for ada, with what alter changes in it,
// signed by the tenant's key.
func (g *guarded) token(tenant string, alter func(header, c claims)) (token string) {
	g.t.Helper()
	g.inside(tenant, func(ctx context.Context) error {
		key, err := tenancy.SigningKeys.First(ctx, "alg = 'ES256' AND use_state = ?", tenancy.KeyCurrent)
		if err != nil {
			return err
		}
		private, err := x509.ParsePKCS8PrivateKey(key.Private)
		if err != nil {
			return err
		}
		now := time.Now().Unix()
		c := claims{
			"iss": "https://" + tenant + ".auth.example.com/", "sub": testUser, "aud": testAPI, "azp": "app", "client_id": "app", "jti": "jti-1",
			"iat": now, "exp": now + 600, "scope": "openid read:orders", "permissions": []string{"read:orders"},
			"org_id": "org_1", "org_name": "one", "tenant_id": tenant, "sid": "ses_1",
		}
		made := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims(c))
		made.Header["kid"] = key.ID
		if alter != nil {
			alter(made.Header, c)
		}
		token, err = made.SignedString(private)
		return err
	})
	return token
}

func without(names ...string) func(claims, claims) {
	return func(_, c claims) {
		for _, name := range names {
			delete(c, name)
		}
	}
}

func with(name string, value any) func(claims, claims) {
	return func(_, c claims) { c[name] = value }
}

// api asks an API as a tenant's host below api.example.com.
func (g *guarded) api(tenant, path, token string, header ...string) reply {
	g.t.Helper()
	if token != "" {
		header = append(header, "Authorization", "Bearer "+token)
	}
	return g.do(http.MethodGet, tenant+".api.example.com", path, header...)
}

// wantRefused fails the test unless the answer is this refusal: envelope A with
// nothing more than the contract says, and a challenge where there is one.
func wantRefused(t *testing.T, what string, got reply, status int, code, text, challenge string) {
	t.Helper()
	body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, code, text)
	if got.status != status || got.body != body || got.header.Get("Content-Type") != "application/json" ||
		got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Request-Id") == "" || got.header.Get("WWW-Authenticate") != challenge {
		t.Errorf("%s: got %d %s %v, want %d %s and challenge %q", what, got.status, got.body, got.header, status, body, challenge)
	}
}

// wantBad is [wantRefused] of a token that is no good, whatever is wrong with it.
func wantBad(t *testing.T, what string, got reply) {
	t.Helper()
	const text = "The access token is invalid"
	wantRefused(t, what, got, 401, "invalid_token", text, `Bearer error="invalid_token", error_description="`+text+`"`)
}

func wantPassed(t *testing.T, what string, got reply, body string) {
	t.Helper()
	if got.status != http.StatusOK || got.body != body || got.header.Get("WWW-Authenticate") != "" {
		t.Errorf("%s: got %d %s, want %s", what, got.status, got.body, body)
	}
}
