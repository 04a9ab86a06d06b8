package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// reply is what a machine endpoint answered.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	json   map[string]any
}

// ask posts a form to a machine endpoint of the tenant. Pairs are names and
// values; a value "-" leaves the parameter out.
func (f *fixture) ask(tenant, path string, pairs ...string) *reply {
	f.t.Helper()
	return f.send(tenant, newForm(path, values(pairs...)))
}

// token asks the token endpoint.
func (f *fixture) token(tenant string, pairs ...string) *reply {
	f.t.Helper()
	return f.ask(tenant, "/oauth/token", pairs...)
}

// send sends a request to the tenant and reads the answer.
func (f *fixture) send(tenant string, r *http.Request) *reply {
	f.t.Helper()
	return readReply(f.t, f.serve(tenant, r))
}

func readReply(t testing.TB, w *httptest.ResponseRecorder) *reply {
	t.Helper()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := &reply{t: t, status: w.Code, header: w.Result().Header, body: string(body)}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &p.json); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return p
}

func values(pairs ...string) url.Values {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			form.Del(pairs[i])
			continue
		}
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

func newForm(path string, form url.Values) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// text is a member of the answer.
func (p *reply) text(name string) string {
	s, _ := p.json[name].(string)
	return s
}

// claims are those of a token in the answer, unverified.
func (p *reply) claims(name string) map[string]any {
	p.t.Helper()
	return payload(p.t, p.text(name))
}

// ok fails the test unless the answer is a success.
func (p *reply) ok() *reply {
	p.t.Helper()
	if p.status != http.StatusOK {
		p.t.Fatalf("got %d %s, want 200", p.status, p.body)
	}
	return p
}

// refused fails the test unless the answer is this error, in envelope A.
func (p *reply) refused(status int, code, description string) *reply {
	p.t.Helper()
	if p.status != status || p.text("error") != code || (description != "*" && p.text("error_description") != description) {
		p.t.Fatalf("got %d %s, want %d %s %q", p.status, p.body, status, code, description)
	}
	if len(p.json) != 2 || p.header.Get("Cache-Control") != "no-store" {
		p.t.Errorf("not envelope A, or may be stored: %s %v", p.body, p.header)
	}
	return p
}

// machineToken asks for a program's own token, of the machine client.
func (f *fixture) machineToken(tenant string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{
		"grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret,
		"audience", orders,
	}, pairs...)...)
}

// authorization is what a test's code is for. The zero value is ada at the single
// page application, without organization.
type codeFor struct {
	client, user, org, audience, scope string
	alter                              func(*codeGrant)
}

// code issues a code without a browser.
func (f *fixture) code(tenant string, c codeFor) string {
	f.t.Helper()
	ctx := f.in(tenant)
	if c.client == "" {
		c.client = spaID
	}
	if c.user == "" {
		c.user = ada
	}
	if c.scope == "" {
		c.scope = "openid profile email offline_access read:orders write:orders"
	}
	client, err := tenancy.CachedClient(ctx, c.client)
	f.must(err)
	user, err := tenancy.Users.Get(ctx, c.user)
	f.must(err)
	scopes, err := parseScope(c.scope)
	f.must(err)
	allowance, err := f.server.allowUser(ctx, Ask{Client: client, User: user, Audience: c.audience, Scopes: scopes, Organization: c.org})
	f.must(err)
	g := codeGrant{
		Client: client, User: user, Allowance: allowance, Requested: scopes, RedirectURI: callback, Nonce: "n-1",
		Challenge: challenge, Session: &tenancy.Session{
			Row: tenancy.Row{ID: "ses_1"}, UserID: user.ID,
			Connection: connectionName, AuthenticatedAt: tenancy.At(f.clock.now()), Methods: []tenancy.AuthMethod{{Name: "pwd"}},
		},
	}
	if c.alter != nil {
		c.alter(&g)
	}
	f.session(tenant, g.Session)
	code, err := f.server.issueCode(ctx, g)
	f.must(err)
	return code
}

// session stores the session of codes that are issued without a browser, unless
// it is there.
func (f *fixture) session(tenant string, s *tenancy.Session) {
	f.t.Helper()
	row := *s
	row.TokenHash = tenancy.HashToken(row.ID)
	row.ExpiresAt = row.AuthenticatedAt.Add(10 * 365 * 24 * time.Hour)
	row.IdleExpiresAt = row.ExpiresAt
	if err := tenancy.Sessions.Create(f.in(tenant), &row); !errors.Is(err, tenancy.ErrConflict) {
		f.must(err)
	}
}

// redeem exchanges a code of the single page application.
func (f *fixture) redeem(tenant, code string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{
		"grant_type", grantAuthorizationCode, "client_id", spaID, "code", code,
		"redirect_uri", callback, "code_verifier", verifier,
	}, pairs...)...)
}

// refresh uses a refresh token of the single page application.
func (f *fixture) refresh(tenant, token string, pairs ...string) *reply {
	f.t.Helper()
	return f.token(tenant, append([]string{"grant_type", grantRefreshToken, "client_id", spaID, "refresh_token", token}, pairs...)...)
}

// header is the first part of a JWT.
func header(t testing.TB, token string) map[string]any {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var h map[string]any
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func newGet(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }
