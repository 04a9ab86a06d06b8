package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestLogOfATenant: C3.13, C5.15 end to end. A silent login that works and one that
// does not are found by the API, in the tenant they happened in only, and no
// entry holds a code, token or password.
func TestLogOfATenant(t *testing.T) {
	j := startMainJob(t)
	redirect := fmt.Sprintf("http://localhost:%d/callback", j.ports[0])
	v := newVisitor(t)
	silently, verifier := j.authorizeURL("acme", j.app, redirect, url.Values{"prompt": {"none"}, "scope": {"openid offline_access"}, "audience": {ordersAPI}})
	if e := v.open(silently).url.Query().Get("error"); e != "login_required" {
		t.Fatalf("silently before the login: %s", e)
	}
	link, _ := j.authorizeURL("acme", j.app, redirect, nil)
	v.login(link, userEmail, password)
	callback := v.open(silently)
	var tokens map[string]any
	j.redeem(t, "acme", j.app, redirect, verifier, callback).want(t, http.StatusOK).json(t, &tokens)
	acme := j.platform(t).on("acme")
	var me string
	within(t, 3*time.Second, "entries fsa, s, ssa and seacft", func() bool {
		var list []map[string]any
		acme.call(t, http.MethodGet, "/logs?per_page=100&q="+url.QueryEscape(`client_id:"`+j.app+`"`), nil).want(t, http.StatusOK).json(t, &list)
		kinds := map[string]map[string]any{}
		for _, e := range list {
			kinds[e["type"].(string)] = e
		}
		for _, kind := range []string{"fsa", "s", "ssa", "seacft"} {
			if kinds[kind] == nil {
				return false
			}
		}
		if d, _ := kinds["fsa"]["details"].(map[string]any); d["error"] != "login_required" {
			t.Errorf("fsa: %v", kinds["fsa"])
		}
		if kinds["ssa"]["user_name"] != userEmail || kinds["ssa"]["tenant_name"] != "acme" {
			t.Errorf("ssa: %v", kinds["ssa"])
		}
		me, _ = kinds["ssa"]["user_id"].(string)
		return true
	})
	all := string(acme.call(t, http.MethodGet, "/logs?take=100", nil).want(t, http.StatusOK).body)
	for what, secret := range map[string]string{
		"code": callback.url.Query().Get("code"), "verifier": verifier, "password": password, "client secret": j.webSecret,
		"refresh token": fmt.Sprint(tokens["refresh_token"]), "access token": fmt.Sprint(tokens["access_token"]),
	} {
		if secret == "" || strings.Contains(all, secret) {
			t.Errorf("the log holds the %s %q", what, secret)
		}
	}
	if strings.Contains(all, `"seccft"`) {
		t.Error("the log holds tokens of machines, which write nothing")
	}
	mine := acme.call(t, http.MethodGet, "/users/"+url.PathEscape(me)+"/logs?q=type:ssa", nil).want(t, http.StatusOK)
	if !strings.Contains(string(mine.body), me) {
		t.Errorf("C5.80: %s", mine.body)
	}
	if other := string(j.platform(t).on("widgets").call(t, http.MethodGet, "/logs?take=100", nil).want(t, http.StatusOK).body); strings.Contains(other, j.app) {
		t.Errorf("widgets' log has entries of acme: %s", other)
	}
}
