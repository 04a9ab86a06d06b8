package test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// television registers a client for devices.
func (a api) television(t *testing.T) string {
	t.Helper()
	c := a.create(t, "/clients", map[string]any{
		"name": "Television", "app_type": "native", "token_endpoint_auth_method": "none",
		"grant_types": []string{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"},
	})
	id := c["client_id"].(string)
	a.enableConnection(t, id)
	return id
}

// deviceCode has the television of a tenant ask for a code.
func (g *gateway) deviceCode(t *testing.T, tenant, client string) map[string]any {
	t.Helper()
	var m map[string]any
	form := url.Values{"client_id": {client}, "scope": {"openid profile offline_access"}}
	g.post(t, g.issuer(tenant)+"oauth/device/code", form).want(t, http.StatusOK).json(t, &m)
	return m
}

// SC-055 through the gateway: a person connects a television by the link it shows.
func TestDevice(t *testing.T) {
	j := startMainJob(t)
	client := j.platform(t).on("acme").television(t)
	device := j.deviceCode(t, "acme", client)
	poll := func() answer {
		return j.token(t, "acme", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {client}, "device_code": {device["device_code"].(string)},
		})
	}
	if code := poll().want(t, http.StatusBadRequest).member(t, "error"); code != "authorization_pending" {
		t.Fatalf("error %s", code)
	}
	v := newVisitor(t)
	p := v.open(device["verification_uri_complete"].(string))
	code := regexp.MustCompile(`name="user_code"[^>]* value="([^"]*)"`).FindStringSubmatch(p.body)
	if p.status != http.StatusOK || code == nil || code[1] != device["user_code"] {
		t.Fatalf("%d: the link does not fill in the code: %s", p.status, p.body)
	}
	p = v.submit(p, map[string]string{"user_code": strings.ToLower(code[1])})
	p = v.submit(p, map[string]string{"username": userEmail, "password": password})
	if p.url.Path != "/u/device" || !strings.Contains(p.body, "Television") || !strings.Contains(p.body, userEmail) {
		t.Fatalf("%s: %s", p.url, p.body)
	}
	p = v.submit(p, map[string]string{"action": "accept"})
	if p.status != http.StatusOK || !strings.Contains(p.body, "Your device is connected") {
		t.Fatalf("%s: %s", p.url, p.body)
	}
	tokens := poll().want(t, http.StatusOK)
	if got := claims(t, tokens.member(t, "id_token")); got["email"] != nil || got["aud"] != client || got["name"] != userEmail {
		t.Errorf("ID token %v", got)
	}
	if code := poll().want(t, http.StatusBadRequest).member(t, "error"); code != "invalid_grant" {
		t.Errorf("a second poll: %s", code)
	}
	j.token(t, "acme", url.Values{"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {tokens.member(t, "refresh_token")}}).want(t, http.StatusOK)

	// The same browser is logged in now, and refuses the next one.
	device = j.deviceCode(t, "acme", client)
	p = v.submit(v.open(j.issuer("acme")+"activate"), map[string]string{"user_code": device["user_code"].(string)})
	p = v.submit(p, map[string]string{"action": "deny"})
	if !strings.Contains(p.body, "was not connected") {
		t.Fatalf("%s: %s", p.url, p.body)
	}
	if code := poll().want(t, http.StatusBadRequest).member(t, "error"); code != "access_denied" {
		t.Errorf("error %s", code)
	}
}

// What a person meets on the pages of a device, with a real browser: no complaint
// of the policy, everything named, nothing wider than a phone. With SCREENSHOTS set
// to a directory the pictures stay there.
func TestDevicePages(t *testing.T) {
	requireClients(t)
	requireChromium(t)
	j := startMainJob(t)
	client := j.platform(t).on("acme").television(t)
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	for _, viewport := range []string{"desktop", "phone"} {
		device := j.deviceCode(t, "acme", client)
		for name, c := range map[string]struct {
			config map[string]any
			status int
			text   string
		}{
			"activate":  {map[string]any{"url": device["verification_uri_complete"]}, 200, "Connect a device"},
			"wrong":     {map[string]any{"url": j.issuer("acme") + "activate", "fill": map[string]string{"user_code": "ZZZZ-ZZZZ"}, "submit": true, "withoutScript": false}, 400, "This code is not right"},
			"login":     {map[string]any{"url": device["verification_uri_complete"], "submit": true, "fill": map[string]string{}, "withoutScript": false}, 200, "to continue to Television"},
			"connected": {map[string]any{"url": j.issuer("acme") + "activate?result=connected"}, 200, "Your device is connected"},
		} {
			t.Run(name+" on "+viewport, func(t *testing.T) {
				var got struct {
					Status        int
					Text, Aria    string
					Overflow      bool
					CSPViolations []string
					PageErrors    []string
					Form          struct{ Labelled bool }
					WithoutScript *struct{ Same bool }
				}
				c.config["viewport"], c.config["screenshot"] = viewport, filepath.Join(dir, "device-"+name+"-"+viewport+".png")
				runClient(t, "look.mjs", c.config, &got)
				if got.Status != c.status || !strings.Contains(got.Text, c.text) || got.Overflow || len(got.CSPViolations)+len(got.PageErrors) > 0 ||
					!got.Form.Labelled || got.WithoutScript != nil && !got.WithoutScript.Same {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}
