package oauth

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// grantResult is how a grant ended: with a token's organization, or with an error
// or a page.
type grantResult struct{ org, err string }

// A beginning does what a grant needs before its last step, and returns that step;
// it is refused where the beginning already is.
type beginning func(f *fixture, user, org string) (finish func() grantResult, refused *grantResult)

const everything = "openid offline_access read:orders"

// answered is what the token endpoint said.
func answered(p *reply) grantResult {
	if p.status != http.StatusOK {
		return grantResult{err: p.text("error")}
	}
	org, _ := p.claims("access_token")["org_id"].(string)
	return grantResult{org: org}
}

// authorized is what the authorization endpoint said: an error, a page, or where it
// gave tokens their organization.
func authorized(f *fixture, w *httptest.ResponseRecorder) (v url.Values, r grantResult) {
	location, err := url.Parse(w.Header().Get("Location"))
	f.must(err)
	switch {
	case location.Path == "" && w.Code >= 400 || strings.HasPrefix(location.Path, "/u/"):
		return nil, grantResult{err: "page " + location.Path}
	}
	v = answerOf(f.t, w)
	r.err = v.Get("error")
	for _, name := range []string{"access_token", "id_token"} {
		if token := v.Get(name); token != "" {
			r.org, _ = payload(f.t, token)["org_id"].(string)
		}
	}
	return v, r
}

// later is a grant of one step.
func later(step func(f *fixture, user, org string) grantResult) beginning {
	return func(f *fixture, user, org string) (func() grantResult, *grantResult) {
		return func() grantResult { return step(f, user, org) }, nil
	}
}

// codeOf is a code of a browser in which the user is logged in.
func codeOf(f *fixture, user, org string, pairs ...string) (string, *grantResult) {
	if org != "" {
		pairs = append(pairs, "organization", org)
	}
	v, r := authorized(f, f.loggedIn("acme", user).authorize(append(pairs, "audience", orders, "scope", everything)...))
	if r.err != "" {
		return "", &r
	}
	return v.Get("code"), nil
}

func byCode(f *fixture, user, org string) (func() grantResult, *grantResult) {
	code, refused := codeOf(f, user, org)
	return func() grantResult { return answered(f.redeem("acme", code)) }, refused
}

// ofToken is a grant that needs tokens of the user, for the organization or for
// none.
func ofToken(bound bool, step func(f *fixture, had *reply, org string) *reply) beginning {
	return func(f *fixture, user, org string) (func() grantResult, *grantResult) {
		first := ""
		if bound {
			first = org
		}
		code, refused := codeOf(f, user, first)
		if refused != nil {
			return nil, refused
		}
		had := f.redeem("acme", code).ok()
		return func() grantResult { return answered(step(f, had, org)) }, nil
	}
}

func byDevice(f *fixture, user, org string) (func() grantResult, *grantResult) {
	device := f.beginDevice("acme", "organization", org)
	if device.status != http.StatusOK {
		r := answered(device)
		return nil, &r
	}
	b := f.loggedIn("acme", user)
	state := b.activate(device)
	if w := b.resume(state); w.Code >= 400 {
		r := grantResult{err: "page "}
		if strings.Contains(w.Body.String(), "is not part of") {
			r.err = "access_denied"
		}
		return nil, &r
	}
	b.approve(state)
	wantResult(f.t, b.resume(state), "connected")
	return func() grantResult { return answered(f.poll("acme", device)) }, nil
}

// byFront is a response type that gives tokens at the authorization endpoint.
func byFront(responseType string) beginning {
	return func(f *fixture, user, org string) (func() grantResult, *grantResult) {
		f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantImplicit) })
		b := f.loggedIn("acme", user)
		return func() grantResult {
			_, r := authorized(f, b.authorize("response_type", responseType, "organization", org, "audience", orders, "scope", "openid read:orders"))
			return r
		}, nil
	}
}

// orgGrants is every way to a token, by grant type or response type.
func orgGrants() map[string]beginning {
	all := map[string]beginning{
		grantAuthorizationCode: byCode,
		"code, silent": func(f *fixture, user, org string) (func() grantResult, *grantResult) {
			b := f.loggedIn("acme", user)
			return func() grantResult {
				v, r := authorized(f, b.authorize("prompt", "none", "organization", org, "audience", orders))
				if r.err != "" {
					return r
				}
				return answered(f.redeem("acme", v.Get("code")))
			}, nil
		},
		grantRefreshToken: ofToken(true, func(f *fixture, had *reply, _ string) *reply { return f.refresh("acme", had.text("refresh_token")) }),
		"refresh_token, switched": ofToken(false, func(f *fixture, had *reply, org string) *reply {
			return f.refresh("acme", had.text("refresh_token"), "organization", org)
		}),
		grantDevice: byDevice,
		grantTokenExchange: ofToken(false, func(f *fixture, had *reply, org string) *reply {
			return f.exchangeToken("acme", had.text("access_token"), "organization", org)
		}),
		"token exchange, bound": ofToken(true, func(f *fixture, had *reply, _ string) *reply {
			return f.exchangeToken("acme", had.text("access_token"))
		}),
		grantPassword: later(func(f *fixture, _, org string) grantResult { return answered(f.password("acme", "organization", org)) }),
		grantPasswordRealm: later(func(f *fixture, _, org string) grantResult {
			return answered(f.password("acme", "organization", org, "grant_type", grantPasswordRealm, "realm", connectionName))
		}),
		grantClientCredentials: later(func(f *fixture, _, org string) grantResult {
			return answered(f.machineToken("acme", "organization", org))
		}),
	}
	for _, responseType := range responseTypesSupported {
		if responseType != responseCode {
			all[responseType] = byFront(responseType)
		}
	}
	return all
}

// The one rule of organizations (issue 5; C2.10, C2.24, C2.38 to C2.51): the same
// cases over every grant there is, generated from what the server can do, so that a
// new one without them fails. What happens to the user happens before the last step.
func TestOrganizationRule(t *testing.T) {
	t.Parallel()
	grants := orgGrants()
	for _, name := range slices.Concat(slices.Collect(maps.Keys(newFixture(t).server.provider.byGrant)), responseTypesSupported[1:]) {
		if grants[name] == nil {
			t.Errorf("%s gives tokens and is not tried", name)
		}
	}
	for _, c := range []orgCase{
		{name: "member", org: "org_1"},
		{name: "member, by name", org: "ONE"},
		{name: "no member", org: "org_3", want: []string{"access_denied"}},
		{name: "of another tenant", org: "org_w", want: []string{"invalid_request"}},
		{name: "removed", org: "org_1", want: []string{"access_denied"}, meanwhile: func(f *fixture) {
			f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
			f.must(tenancy.GrantOrganizations.Delete(f.in("acme"), tenancy.Join("cgr_1", "org_1")))
		}},
		{name: "suspended", org: "org_1", want: []string{"access_denied", "page "}, meanwhile: func(f *fixture) {
			f.tenants["acme"].State = tenancy.StateSuspended
		}},
		{name: "blocked", org: "org_1", want: []string{"access_denied", "page /u/login"}, people: true, meanwhile: func(f *fixture) {
			f.block("acme", ada, true)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := ruledFixture(t)
			for name, begin := range grants {
				if c.people && name == grantClientCredentials {
					continue
				}
				if c.meanwhile != nil { // it is not undone
					f = ruledFixture(t)
				}
				got, err := c.try(f, begin)
				if err != "" || c.want == nil && got != (grantResult{org: "org_1"}) || c.want != nil && (got.org != "" || !slices.Contains(c.want, got.err)) {
					t.Errorf("%s: got %+v %s, want %q, or if that is none a token for org_1", name, got, err, c.want)
				}
			}
		})
	}
}

// orgCase is one of the cases of the rule.
type orgCase struct {
	name, org string
	meanwhile func(*fixture) // before the last step
	want      []string       // errors; none is a token for the organization
	people    bool           // no matter for programs
}

// try goes through a grant. err says that it was refused before it was due.
func (c *orgCase) try(f *fixture, begin beginning) (got grantResult, err string) {
	finish, refused := begin(f, ada, c.org)
	if refused != nil {
		if c.meanwhile != nil {
			err = "too early"
		}
		return *refused, err
	}
	if c.meanwhile != nil {
		c.meanwhile(f)
	}
	return finish(), ""
}

// ruledFixture is a fixture in which ada can use every grant, and in which widgets
// has an organization of hers that acme does not have.
func ruledFixture(t *testing.T) *fixture {
	t.Helper()
	f := passwordFixture(t)
	f.addTV()
	f.allowExchange()
	f.must(tenancy.Commit(f.in("widgets"),
		tenancy.Organizations.Insert(f.in("widgets"), &tenancy.Organization{Row: tenancy.Row{ID: "org_w"}, Name: "elsewhere"}),
		tenancy.Members.Insert(f.in("widgets"), tenancy.NewMember("org_w", ada))))
	return f
}
