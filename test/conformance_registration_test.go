package test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// registrationPlan is what oidcc-dynamic-certification-test-plan asks of
// registration and of redirect URIs (contract 4.8).
var registrationPlan = []module{
	{"D03", "oidcc-ensure-redirect-uri-in-authorization-request", func(t testing.TB, o *provider) {
		p := o.registerItself(t, nil)
		wantErrorPage(t, o.look(newVisitor(t), o.request(p, "redirect_uri", "-")), "redirect_uri")
	}},
	{"D04", "oidcc-redirect-uri-query-OK", func(t testing.TB, o *provider) {
		p := o.registerItself(t, nil)
		p.callback += "?registered=1"
		verifier, challenge := pkce("D04")
		v := newVisitor(t)
		back := o.authorize(v, o.request(p, "redirect_uri", p.callback, "scope", "openid profile", "code_challenge", challenge, "code_challenge_method", "S256"))
		if !strings.HasPrefix(back.url.Path, "/u/") || !strings.Contains(back.body, "Itself") {
			t.Fatalf("a client that registered itself is third-party: nobody was asked: %s %.600s", back.url, back.body)
		}
		back = v.submit(back, map[string]string{"action": "accept"})
		if back.url.Query().Get("registered") != "1" {
			t.Errorf("sent to %s", back.url)
		}
		got := o.redeemed(t, p, back.url.Query().Get("code"), "code_verifier", verifier)
		o.userinfo(t, got)
	}},
	{"D05", "oidcc-redirect-uri-query-mismatch", func(t testing.TB, o *provider) {
		p := o.registerItself(t, nil)
		wantErrorPage(t, o.look(newVisitor(t), o.request(p, "redirect_uri", p.callback+"?registered=2")), "redirect_uri")
	}},
	{"D06", "oidcc-redirect-uri-query-added", func(t testing.TB, o *provider) {
		p := o.registerItself(t, nil)
		wantErrorPage(t, o.look(newVisitor(t), o.request(p, "redirect_uri", p.callback+"?registered=1&foo=bar")), "redirect_uri")
	}},
	{"D07", "oidcc-redirect-uri-regfrag", func(t testing.TB, o *provider) {
		a := o.metadata(t, http.MethodPost, o.endpoint("oidc/register"), "", map[string]any{"redirect_uris": []string{"https://itself.rp.example.com/cb#fragment"}})
		if a.want(t, http.StatusBadRequest).member(t, "error") != "invalid_redirect_uri" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s", a.body)
		}
	}},
	{"D23", "client-configuration", func(t testing.TB, o *provider) { // RFC 7592
		a := o.metadata(t, http.MethodPost, o.endpoint("oidc/register"), "", nil).want(t, http.StatusCreated)
		at, token, id := a.member(t, "registration_client_uri"), a.member(t, "registration_access_token"), a.member(t, "client_id")
		if at != o.endpoint("oidc/register/"+id) || o.document(t)["registration_endpoint"] != o.endpoint("oidc/register") {
			t.Errorf("found at %s", at)
		}
		o.metadata(t, http.MethodGet, at, token, nil).want(t, http.StatusOK)
		if o.metadata(t, http.MethodPut, at, token, map[string]any{"client_id": id, "client_name": "Renamed"}).want(t, http.StatusOK).member(t, "client_name") != "Renamed" {
			t.Error("not renamed")
		}
		if a := o.metadata(t, http.MethodGet, at, token+"x", nil).want(t, http.StatusUnauthorized); !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("headers %v", a.header)
		}
		o.metadata(t, http.MethodDelete, at, token, nil).want(t, http.StatusNoContent)
		o.metadata(t, http.MethodGet, at, token, nil).want(t, http.StatusUnauthorized)
		o.api.call(t, http.MethodGet, "/clients/"+id, nil).want(t, http.StatusNotFound)
	}},
}

// TestRegistrationPlan runs modules D03 to D07; D21 is in TestBasicPlan.
func TestRegistrationPlan(t *testing.T) {
	o := startProvider(t)
	o.api.call(t, http.MethodPatch, "/tenants/settings", map[string]any{
		"flags": map[string]any{"enable_dynamic_client_registration": true, "dcr_open": true},
	}).want(t, http.StatusOK)
	var list []map[string]any
	o.api.call(t, http.MethodGet, "/connections?strategy=auth0", nil).want(t, http.StatusOK).json(t, &list)
	o.api.call(t, http.MethodPatch, "/connections/"+list[0]["id"].(string), map[string]any{"is_domain_connection": true}).want(t, http.StatusOK)
	plan(t, o, registrationPlan)
}

// registerItself has a client register itself.
func (o *provider) registerItself(t testing.TB, more map[string]any) relyingParty {
	t.Helper()
	a := o.metadata(t, http.MethodPost, o.endpoint("oidc/register"), "", more).want(t, http.StatusCreated)
	return relyingParty{id: a.member(t, "client_id"), secret: a.member(t, "client_secret"), callback: itself}
}

const itself = "https://itself.rp.example.com/cb"

func (o *provider) metadata(t testing.TB, method, at, token string, more map[string]any) answer {
	t.Helper()
	m := map[string]any{"client_name": "Itself", "redirect_uris": []string{itself, itself + "?registered=1"}, "grant_types": []string{"authorization_code", "refresh_token"}}
	maps.Copy(m, more)
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, at, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return o.do(t, req)
}
