package test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy/management"
)

// anotherTenantsKeys: no key is in two tenants, a token says nothing in another
// under whatever key's name, and no address in a token's header is asked for a
// key (C1.12, C9.51).
func anotherTenantsKeys(t testing.TB, o *provider) {
	foreign := o.neighbour(t)
	ours, theirs := o.keysOf(t), foreign.keysOf(t)
	for kid, key := range ours {
		for other, theirKey := range theirs {
			if kid == other || key["n"] != nil && key["n"] == theirKey["n"] || key["x"] != nil && key["x"] == theirKey["x"] {
				t.Errorf("both tenants have the key %s", kid)
			}
		}
	}
	got := o.tokensIn(newVisitor(t), o.one)
	o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access).want(t, http.StatusOK)
	body, head := claims(t, got.Access), header(t, got.Access)
	asked := newListener(t, "127.0.0.2") // which tenants' addresses may name here
	seen := map[string]bool{}
	for _, rewritten := range []map[string]any{{}, {"iss": o.issuer(foreign.tenant)}, {"iss": o.issuer(foreign.tenant), "tenant_id": foreign.tenant}} {
		for kid := range theirs {
			for _, more := range []string{"", "jku", "x5u", "jwk", "x5c"} {
				for _, token := range renamed(t, body, head, rewritten, kid, more, asked.address, got.Access) {
					for _, at := range []*provider{o, foreign} {
						if a := at.send(t, "userinfo", nil, "Authorization", "Bearer "+token); a.status != http.StatusUnauthorized {
							t.Errorf("%s takes a token with %v, kid %s, %s: %s", at.tenant, rewritten, kid, more, said(a))
						}
						seen[token] = true
					}
				}
			}
		}
	}
	if n := asked.count(); n != 0 || len(seen) < 30 {
		t.Errorf("of %d tokens, %d had an address asked for a key", len(seen), n)
	}
}

// renamed is a token with other claims and another key's name: once with the
// signature it had, once signed by a key that is nobody's.
func renamed(t testing.TB, body, head, claims map[string]any, kid, member, address, token string) []string {
	t.Helper()
	forge(t, kid, nil) // there is a key now
	altered := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{})
	for _, m := range []map[string]any{body, claims} {
		for name, value := range m {
			altered.Claims.(jwt.MapClaims)[name] = value
		}
	}
	for name, value := range head {
		altered.Header[name] = value
	}
	altered.Header["kid"] = kid
	switch member {
	case "":
	case "jwk":
		altered.Header["jwk"] = map[string]any{"kty": "RSA", "n": encoded(string(foreignKey.key.N.Bytes())), "e": "AQAB"}
	case "x5c":
		altered.Header["x5c"] = []string{"MIIB"}
	default:
		altered.Header[member] = address
	}
	unsigned, err := altered.SigningString()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := altered.SignedString(foreignKey.key)
	if err != nil {
		t.Fatal(err)
	}
	return []string{unsigned + "." + token[strings.LastIndexByte(token, '.')+1:], signed}
}

// anotherTenantsIDs: whatever a tenant's administrator asks of an id that another
// tenant has is answered as for one that nobody has, byte for byte. It is generated
// from the table of routes; what bodies name is in the tests of the management API.
// (ZITADEL CVE-2025-64431 and CVE-2025-27507, Keycloak CVE-2026-4630 and -4636.)
func anotherTenantsIDs(t testing.TB, o *provider) {
	foreign := o.neighbour(t).holding(t, "a03")
	defer foreign.openRegistration(t, false)
	var grants, connections []map[string]any
	foreign.api.call(t, http.MethodGet, "/client-grants?client_id="+foreign.party.id, nil).want(t, http.StatusOK).json(t, &grants)
	foreign.api.call(t, http.MethodGet, "/connections", nil).want(t, http.StatusOK).json(t, &connections)
	domain := foreign.api.create(t, "/custom-domains", map[string]any{"domain": "a03.conform.example.org", "type": "auth0_managed_certs"})
	api := foreign.api.call(t, http.MethodGet, "/resource-servers/"+url.PathEscape(sharedAPI), nil).want(t, http.StatusOK)
	role := foreign.api.create(t, "/roles", map[string]any{"name": "A03"})
	ids := map[string]string{
		"roles": role["id"].(string), "resource-servers": api.member(t, "id"), "clients": foreign.party.id,
		"client-grants": grants[0]["id"].(string), "connections": connections[0]["id"].(string), "organizations": foreign.org,
		"users": foreign.user, "sessions": claims(t, foreign.held["ID token"])["sid"].(string), "custom-domains": domain["custom_domain_id"].(string),
	}
	tried := 0
	for _, r := range management.Routes() {
		path := strings.TrimPrefix(r.Path, "/api/v2")
		id := ids[strings.Split(path, "/")[1]]
		if r.ControlPlaneOnly || r.Team || id == "" || !strings.Contains(path, "{id}") {
			continue
		}
		var answers []string
		for _, named := range []string{id, strangerTo(id)} {
			filled := parameter.ReplaceAllString(strings.Replace(path, "{id}", url.PathEscape(named), 1), url.PathEscape(named))
			a := o.api.call(t, r.Method, filled, bodyFor(r.Method))
			if a.status < 400 || a.status >= 500 {
				t.Errorf("%s %s: %s", r.Method, filled, said(a))
			}
			answers = append(answers, strings.NewReplacer(named, "ID", url.PathEscape(named), "ID", url.QueryEscape(named), "ID").Replace(said(a)))
		}
		if answers[0] != answers[1] {
			t.Errorf("%s %s tells that another tenant has the id\n%s\n%s", r.Method, path, answers[0], answers[1])
		}
		tried++
	}
	if tried < 50 {
		t.Errorf("only %d routes with an id were asked", tried)
	}
	foreign.signedInStill(t)
}

// parameter is one of a route's path.
var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// bodyFor is a body that gets as far as it can.
func bodyFor(method string) any {
	if method == http.MethodGet || method == http.MethodDelete {
		return nil
	}
	return map[string]any{}
}

// strangerTo is an id of the same form that nobody has.
func strangerTo(id string) string {
	text := []byte(id)
	for i := len(id) - 6; i < len(id); i++ {
		text[i] = map[bool]byte{true: '1', false: '0'}[text[i] == '0']
	}
	return string(text)
}

// signedInStill: what was held before is still good.
func (h *holder) signedInStill(t testing.TB) {
	t.Helper()
	h.wantSession(h.browser, true)
	h.send(t, "userinfo", nil, "Authorization", "Bearer "+h.held["access token"]).want(t, http.StatusOK)
	h.api.call(t, http.MethodGet, "/organizations/"+h.org, nil).want(t, http.StatusOK)
}

// recycledNames: a tenant that was deleted and one that was made under its name
// have nothing in common, and neither have people, organizations and domains
// (C9.54; ZITADEL CVE-2026-55670).
func recycledNames(t testing.TB, o *provider) {
	before := newProvider(t, o.gateway, "recycled")
	held := before.holding(t, "a04")
	keys := before.keysOf(t)
	domain := map[string]any{"domain": "a04.conform.example.org", "type": "auth0_managed_certs"}
	first := before.api.create(t, "/custom-domains", domain)
	o.platform(t).call(t, http.MethodDelete, "/tenants/recycled", nil)
	eventually(t, "the tenant is gone", func() bool {
		return o.platform(t).call(t, http.MethodGet, "/tenants/recycled", nil).status == http.StatusNotFound
	})
	for path, a := range map[string]answer{
		"userinfo":  before.send(t, "userinfo", nil, "Authorization", "Bearer "+held.held["access token"]),
		"discovery": before.get(t, before.tenant, "/.well-known/openid-configuration"),
	} {
		if a.status != http.StatusNotFound { // C1.21
			t.Errorf("%s of a tenant that is gone: %s", path, said(a))
		}
	}

	after := newProvider(t, o.gateway, "recycled")
	again := after.holding(t, "a04")
	for kid := range after.keysOf(t) {
		if keys[kid] != nil {
			t.Errorf("the key %s lives on", kid)
		}
	}
	for _, p := range again.places(t) {
		for kind, secret := range held.held {
			if taken, said := p.try(secret); taken {
				t.Errorf("%s takes the former tenant's %s: %s", p.name, kind, said)
			}
		}
	}
	second := after.api.create(t, "/custom-domains", domain)
	if second["custom_domain_id"] == first["custom_domain_id"] || second["status"] != "pending_verification" || records(t, second) == records(t, first) {
		t.Errorf("a domain claimed anew: %v after %v", second, first)
	}
	recycledPeople(t, after)
}

func records(t testing.TB, domain map[string]any) string {
	t.Helper()
	text, err := json.Marshal(domain["verification"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recycledPeople: a user and an organization made anew under an old name are others.
func recycledPeople(t testing.TB, o *provider) {
	const email = "a04@conform.example.com"
	p := o.versed(t, "a04-people")
	user := o.person(t, email)
	org := o.organization(t, "a04-people", user)
	v := newVisitor(t)
	got := o.redeemed(t, p, o.wantCode(t, v.login(o.endpoint("authorize?"+o.request(p, "scope", "openid offline_access", "organization", org).Encode()), email, password)))
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.Refresh}}
	o.ask(t, p, refresh).want(t, http.StatusOK)
	o.api.call(t, http.MethodDelete, "/organizations/"+org, nil).want(t, http.StatusNoContent)
	if anew := o.organization(t, "a04-people"); anew == org {
		t.Errorf("the organization's id %s is used again", org)
	}
	if a := o.ask(t, p, refresh); a.status == http.StatusOK {
		t.Errorf("tokens of an organization that is gone: %s", said(a))
	}
	o.api.call(t, http.MethodDelete, "/users/"+url.PathEscape(user), nil).want(t, http.StatusNoContent)
	if anew := o.person(t, email); anew == user {
		t.Errorf("the user's id %s is used again", user)
	}
	o.wantSession(v, false)
	o.send(t, "userinfo", nil, "Authorization", "Bearer "+got.Access).want(t, http.StatusUnauthorized)
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
