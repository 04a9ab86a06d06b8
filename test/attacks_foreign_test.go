package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// foreignAttackPlan is the attacks with what belongs to another tenant, or did.
var foreignAttackPlan = []module{
	{"A01", "another-tenants-credentials", anotherTenantsCredentials},
	{"A02", "another-tenants-keys", anotherTenantsKeys},
	{"A03", "another-tenants-ids", anotherTenantsIDs},
	{"A04", "recycled-names", recycledNames},
}

const (
	grantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	sharedAPI     = "https://api.conform.example.com"
)

// neighbour is the other tenant of the plans, in which everything is called the same.
func (o *provider) neighbour(t testing.TB) *provider {
	t.Helper()
	other := *o
	other.tenant = "conform-other"
	other.api = o.platform(t).on(other.tenant)
	other.one = other.clientNamed(t, "Party one", o.one)
	var users []map[string]any
	other.api.call(t, http.MethodGet, "/users-by-email?email="+conformUser, nil).want(t, http.StatusOK).json(t, &users)
	other.user = users[0]["user_id"].(string)
	return &other
}

// versed is a client that may do everything there is to do.
func (o *provider) versed(t testing.TB, name string) relyingParty {
	t.Helper()
	p := o.register(t, name, "client_secret_basic", map[string]any{
		"grant_types":        []string{"authorization_code", "refresh_token", grantDevice, grantExchange, "client_credentials"},
		"organization_usage": "allow", "initiate_login_uri": "https://" + name + ".rp.example.com/login",
	})
	if a := o.api.call(t, http.MethodGet, "/resource-servers/"+url.PathEscape(sharedAPI), nil); a.status != http.StatusOK {
		o.api.create(t, "/resource-servers", map[string]any{
			"identifier": sharedAPI, "name": "Shared", "allow_offline_access": true, "scopes": []map[string]string{{"value": "read:all"}},
		})
	}
	o.api.create(t, "/client-grants", map[string]any{"client_id": p.id, "audience": sharedAPI, "scope": []string{"read:all"}})
	o.api.create(t, "/client-grants", map[string]any{"client_id": p.id, "audience": o.issuer(o.tenant) + "api/v2/", "scope": []string{"read:users"}})
	return p
}

// openRegistration has clients register themselves, or not.
func (o *provider) openRegistration(t testing.TB, on bool) {
	t.Helper()
	o.api.call(t, http.MethodPatch, "/tenants/settings", map[string]any{
		"flags": map[string]any{"enable_dynamic_client_registration": on, "dcr_open": on},
	}).want(t, http.StatusOK)
}

// organization is the tenant's organization of the name, with the members.
func (o *provider) organization(t testing.TB, name string, members ...string) string {
	t.Helper()
	id := o.api.create(t, "/organizations", map[string]any{"name": name})["id"].(string)
	if len(members) > 0 {
		o.api.call(t, http.MethodPost, "/organizations/"+id+"/members", map[string]any{"members": members}).want(t, http.StatusNoContent)
	}
	return id
}

// ticket is that of a new invitation.
func (o *provider) ticket(t testing.TB, p relyingParty, organization, email string, more ...any) (ticket, id string) {
	t.Helper()
	body := map[string]any{"inviter": map[string]any{"name": "Ann"}, "invitee": map[string]any{"email": email}, "client_id": p.id}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	a := o.api.call(t, http.MethodPost, "/organizations/"+organization+"/invitations", body).want(t, http.StatusOK)
	u, err := url.Parse(a.member(t, "invitation_url"))
	if err != nil || u.Query().Get("invitation") == "" {
		t.Fatalf("an invitation without a ticket: %s", a.body)
	}
	return u.Query().Get("invitation"), a.member(t, "id")
}

// holder is a client of a tenant and everything that it and one person were given
// there: the credentials by their kinds.
type holder struct {
	*provider
	party      relyingParty
	org        string
	registered string // a client that registered itself
	browser    *visitor
	held       map[string]string
}

func (o *provider) holding(t testing.TB, name string) *holder {
	t.Helper()
	h := &holder{provider: o, party: o.versed(t, name), browser: newVisitor(t)}
	h.org = o.organization(t, name, o.user)
	o.openRegistration(t, true)
	got := o.tokensIn(h.browser, h.party, "scope", "openid offline_access read:all", "audience", sharedAPI)
	ticket, _ := o.ticket(t, h.party, h.org, conformUser)
	device := o.asks(t, h.party, "oauth/device/code", url.Values{"client_id": {h.party.id}, "scope": {"openid"}}).want(t, http.StatusOK)
	itself := o.metadata(t, http.MethodPost, o.endpoint("oidc/register"), "", nil).want(t, http.StatusCreated)
	h.registered = itself.member(t, "client_id")
	h.held = map[string]string{
		"access token": got.Access, "ID token": got.ID, "refresh token": got.Refresh,
		"code":               o.wantCode(t, o.authorize(h.browser, o.request(h.party))),
		"device code":        device.member(t, "device_code"),
		"user code":          device.member(t, "user_code"),
		"request_uri":        o.asks(t, h.party, "oauth/par", o.request(h.party)).want(t, http.StatusCreated).member(t, "request_uri"),
		"invitation":         ticket,
		"session cookie":     cookie(t, h.browser, &url.URL{Scheme: "https", Host: o.host(o.tenant), Path: "/"}, "__Host-gh_session"),
		"management token":   o.machineToken(t, o.tenant, h.party.id, h.party.secret, o.issuer(o.tenant)+"api/v2/"),
		"machine's token":    o.machineToken(t, o.tenant, h.party.id, h.party.secret, sharedAPI),
		"client secret":      h.party.secret,
		"registration token": itself.member(t, "registration_access_token"),
	}
	return h
}

// place is where a tenant takes credentials of a kind. try reports whether what
// was given there was taken for something, and what was said.
type place struct {
	name, kind string
	try        func(secret string) (taken bool, said string)
}

func said(a answer) string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

// anotherTenantsCredentials: every credential of one tenant at every place of the
// other that takes any, and none of it is taken for anything, nor used up (C9.4 to
// C9.8). Each place takes what is its own, so that none refuses everything. (ZITADEL
// CVE-2026-33132 and GHSA-pfrf-9r5f-73f5, Casdoor CVE-2026-9094, Entra CVE-2025-55241.)
func anotherTenantsCredentials(t testing.TB, o *provider) {
	own, foreign := o.holding(t, "a01"), o.neighbour(t).holding(t, "a01")
	defer own.openRegistration(t, false)
	defer foreign.openRegistration(t, false)
	for _, p := range foreign.places(t) {
		for kind, secret := range own.held {
			if taken, said := p.try(secret); taken {
				t.Errorf("%s takes the other tenant's %s: %s", p.name, kind, said)
			}
		}
	}
	if a := foreign.ask(t, own.party, url.Values{"grant_type": {"client_credentials"}, "audience": {sharedAPI}}); a.status != http.StatusUnauthorized || a.member(t, "error") != "invalid_client" { // C9.6
		t.Errorf("the other tenant's client: %s", said(a))
	}
	for _, p := range own.places(t) {
		secret, there := own.held[p.kind]
		if !there {
			t.Fatalf("%s takes a %s, which nobody holds", p.name, p.kind)
		}
		if taken, said := p.try(secret); !taken {
			t.Errorf("%s does not take the tenant's own %s: %s", p.name, p.kind, said)
		}
	}
}

// places are those of the tenant, for what is held in another.
func (h *holder) places(t testing.TB) []place {
	grant := func(kind string, form url.Values, field string) place {
		return place{"the grant " + form.Get("grant_type"), kind, func(secret string) (bool, string) {
			form.Set(field, secret)
			a := h.ask(t, h.party, form)
			code := a.member(t, "error")
			return a.status == http.StatusOK || code != "invalid_grant" && code != "invalid_request", said(a)
		}}
	}
	bearer := func(name, kind string, get func(token string) answer) place {
		return place{name, kind, func(secret string) (bool, string) {
			a := get(secret)
			return a.status != http.StatusUnauthorized, said(a)
		}}
	}
	asked := url.Values{"grant_type": {grantDevice}}
	return append([]place{
		grant("code", url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {h.party.callback}}, "code"),
		grant("refresh token", url.Values{"grant_type": {"refresh_token"}}, "refresh_token"),
		grant("access token", url.Values{"grant_type": {grantExchange}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "audience": {sharedAPI}}, "subject_token"),
		{"the device grant", "device code", func(secret string) (bool, string) {
			asked.Set("device_code", secret)
			a := h.ask(t, h.party, asked)
			return a.status == http.StatusOK || a.member(t, "error") == "authorization_pending", said(a)
		}},
		{"introspection", "access token", func(secret string) (bool, string) {
			a := h.asks(t, h.party, "oauth/introspect", url.Values{"token": {secret}}).want(t, http.StatusOK)
			return string(a.body) != `{"active":false}`, said(a)
		}},
		bearer("userinfo", "access token", func(token string) answer { return h.send(t, "userinfo", nil, "Authorization", "Bearer "+token) }),
		bearer("the management API", "management token", func(token string) answer {
			return api{g: h.gateway, host: h.tenant, token: token}.call(t, http.MethodGet, "/users", nil)
		}),
		bearer("client registration", "registration token", func(token string) answer {
			return h.metadata(t, http.MethodGet, h.endpoint("oidc/register/"+h.registered), token, nil)
		}),
		bearer("client authentication", "client secret", func(secret string) answer {
			p := h.party
			p.secret = secret
			return h.ask(t, p, url.Values{"grant_type": {"client_credentials"}, "audience": {sharedAPI}})
		}),
		{"revocation", "refresh token", func(secret string) (bool, string) { // the last with tokens; it never says whether there was anything to revoke
			a := h.asks(t, h.party, "oauth/revoke", url.Values{"token": {secret}}).want(t, http.StatusOK)
			return secret == h.held["refresh token"], said(a)
		}},
	}, h.pages(t)...)
}

// pages are the places for browsers.
func (h *holder) pages(t testing.TB) []place {
	look := func(v *visitor, pairs ...string) (bool, string) {
		p := h.look(v, h.request(h.party, pairs...))
		return p.url.Query().Get("error") == "" && p.status < 400, fmt.Sprint(p.status, p.url)
	}
	return []place{
		{"a pushed request", "request_uri", func(secret string) (bool, string) {
			p := newVisitor(t).open(h.endpoint("authorize?" + pairsOf("client_id", h.party.id, "request_uri", secret).Encode()))
			return p.status != http.StatusBadRequest && p.url.Query().Get("error") == "", fmt.Sprint(p.status, p.url)
		}},
		{"an invitation", "invitation", func(secret string) (bool, string) {
			return look(newVisitor(t), "invitation", secret, "organization", h.org)
		}},
		{"a hint of who it is", "ID token", func(secret string) (bool, string) {
			return look(h.browser, "prompt", "none", "id_token_hint", secret)
		}},
		{"a session", "session cookie", func(secret string) (bool, string) {
			v := newVisitor(t)
			v.http.Jar.SetCookies(&url.URL{Scheme: "https", Host: h.host(h.tenant), Path: "/"}, []*http.Cookie{{Name: "__Host-gh_session", Value: secret, Path: "/", Secure: true}})
			return h.signedIn(v), "silent authentication"
		}},
		{"a device's page", "user code", func(secret string) (bool, string) {
			v := newVisitor(t)
			p := v.submit(v.open(h.endpoint("activate")), map[string]string{"user_code": secret})
			return asked(p), fmt.Sprintf("%d %s", p.status, p.url)
		}},
		{"a logout", "ID token", func(secret string) (bool, string) { // the last: it ends the session
			p := h.logout(h.browser, "id_token_hint", secret, "post_logout_redirect_uri", h.party.loggedOut)
			return p.status != http.StatusBadRequest && strings.HasPrefix(p.url.String(), h.party.loggedOut), fmt.Sprint(p.status, p.url)
		}},
	}
}
