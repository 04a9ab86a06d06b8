package test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// people and things of the main job: a control plane with one administrator of
// two tenants, and a tenant with a user, an application and an API.
type mainJob struct {
	*gateway
	ports     [3]int // of the applications' callbacks
	portal    string // SPA client on the control plane
	app       string // SPA client in acme
	webID     string // confidential client in acme
	webSecret string
	ann       string // administrator of acme and widgets, no member of secret
	orders    string // id of acme's own API
}

const (
	annEmail  = "ann@example.com"
	userEmail = "uma@acme.example.com"
	password  = "Gate-house 2026 test"
	ordersAPI = "https://orders.acme.example.com"
)

var job struct {
	once sync.Once
	*mainJob
}

// startMainJob sets the scene once, all of it through the API.
func startMainJob(t *testing.T) *mainJob {
	t.Helper()
	g := startGateway(t)
	job.once.Do(func() {
		j := &mainJob{gateway: g}
		ports, err := freePorts(3)
		if err != nil {
			t.Fatal(err)
		}
		copy(j.ports[:], ports)
		j.tenants(t)
		j.controlPlane(t)
		j.acme(t)
		job.mainJob = j
	})
	if job.mainJob == nil {
		t.Fatal("the scene could not be set; see the test that ran first")
	}
	return job.mainJob
}

func (j *mainJob) tenants(t *testing.T) {
	for _, id := range []string{"acme", "widgets", "secret"} {
		answer := j.platform(t).call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": strings.ToUpper(id)}).want(t, http.StatusCreated)
		if state := answer.member(t, "state"); state != "active" {
			t.Fatalf("tenant %s is %s", id, state)
		}
	}
}

// spa registers a single-page application with callbacks on the ports.
func (a api) spa(t *testing.T, name string, ports []int) string {
	var callbacks, origins, logouts []string
	for _, p := range ports {
		origin := fmt.Sprintf("http://localhost:%d", p)
		callbacks, origins, logouts = append(callbacks, origin+"/callback"), append(origins, origin), append(logouts, origin+"/logged-out")
	}
	c := a.create(t, "/clients", map[string]any{
		"name": name, "app_type": "spa", "callbacks": callbacks, "web_origins": origins,
		"allowed_logout_urls": logouts, "grant_types": []string{"authorization_code", "refresh_token"},
	})
	id := c["client_id"].(string)
	a.enableConnection(t, id)
	return id
}

// enableConnection lets users of the default connection log in to the client.
func (a api) enableConnection(t testing.TB, clientID string) {
	var list []map[string]any
	a.call(t, http.MethodGet, "/connections?strategy=auth0", nil).want(t, http.StatusOK).json(t, &list)
	a.call(t, http.MethodPatch, "/connections/"+list[0]["id"].(string)+"/clients",
		[]map[string]any{{"client_id": clientID, "status": true}}).want(t, http.StatusNoContent)
}

func (a api) user(t *testing.T, email string) string {
	return a.create(t, "/users", map[string]any{
		"connection": "Username-Password-Authentication", "email": email, "password": password,
		"email_verified": true, "given_name": "Test", "name": email,
	})["user_id"].(string)
}

// role returns the id of the role with exactly that name.
func (a api) role(t *testing.T, name string) string {
	var list []map[string]any
	a.call(t, http.MethodGet, "/roles?per_page=100&name_filter="+url.QueryEscape(name), nil).want(t, http.StatusOK).json(t, &list)
	for _, r := range list {
		if r["name"] == name {
			return r["id"].(string)
		}
	}
	return ""
}

func (j *mainJob) controlPlane(t *testing.T) {
	cp := j.platform(t)
	j.portal = cp.spa(t, "Portal", j.ports[:])
	j.ann = cp.user(t, annEmail)
	tenantAdmin := cp.role(t, "Tenant Admin")
	for _, tenant := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/organizations/"+tenant+"/members", map[string]any{"members": []string{j.ann}}).want(t, http.StatusNoContent)
		cp.call(t, http.MethodPost, "/organizations/"+tenant+"/members/"+url.PathEscape(j.ann)+"/roles",
			map[string]any{"roles": []string{tenantAdmin}}).want(t, http.StatusNoContent)
	}
}

func (j *mainJob) acme(t *testing.T) {
	acme := j.platform(t).on("acme")
	j.app = acme.spa(t, "Shop", j.ports[:])
	acme.user(t, userEmail)
	rs := acme.create(t, "/resource-servers", map[string]any{
		"identifier": ordersAPI, "name": "Orders", "allow_offline_access": true,
		"scopes": []map[string]string{{"value": "read:orders", "description": "See orders"}, {"value": "write:orders"}},
	})
	j.orders = rs["id"].(string)
	web := acme.create(t, "/clients", map[string]any{"name": "Back office", "app_type": "regular_web", "callbacks": []string{"https://back.example.com/cb"}})
	j.webID, j.webSecret = web["client_id"].(string), web["client_secret"].(string)
	acme.enableConnection(t, j.webID)
}

// TestTenantHasItsOwnIssuerAndKeys: SC-001, C1.11, C1.12.
func TestTenantHasItsOwnIssuerAndKeys(t *testing.T) {
	j := startMainJob(t)
	kids := map[string]string{}
	for _, tenant := range []string{"", "acme", "widgets"} {
		d := j.get(t, tenant, "/.well-known/openid-configuration").want(t, http.StatusOK)
		if iss := d.member(t, "issuer"); iss != j.issuer(tenant) {
			t.Errorf("issuer of %q is %s", tenant, iss)
		}
		var set struct{ Keys []map[string]any }
		j.get(t, tenant, "/.well-known/jwks.json").want(t, http.StatusOK).json(t, &set)
		if len(set.Keys) < 3 {
			t.Errorf("%q publishes %d keys", tenant, len(set.Keys))
		}
		for _, k := range set.Keys {
			kid := k["kid"].(string)
			if other, shared := kids[kid]; shared {
				t.Errorf("%q and %q share key %s", tenant, other, kid)
			}
			kids[kid] = tenant
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if k[private] != nil {
					t.Errorf("%q publishes the private member %s", tenant, private)
				}
			}
		}
	}
}

// TestCodeFlowInTenant is the whole way of a person in acme by plain HTTP; the
// real browsers go it in clients_run_test.go.
func TestCodeFlowInTenant(t *testing.T) {
	j := startMainJob(t)
	redirect := fmt.Sprintf("http://localhost:%d/callback", j.ports[0])
	link, verifier := j.authorizeURL("acme", j.app, redirect, url.Values{"audience": {ordersAPI}, "scope": {"openid profile email offline_access read:orders delete:everything"}})
	v := newVisitor(t)
	back := v.login(link, userEmail, password)
	q := back.url.Query()
	if q.Get("state") != "the state" || q.Get("iss") != j.issuer("acme") {
		t.Errorf("callback %s", back.url)
	}
	var tokens struct {
		AccessToken  string `json:"access_token"`
		IDToken      string `json:"id_token"`
		RefreshToken string `json:"refresh_token"`
		Scope        string
		ExpiresIn    int `json:"expires_in"`
	}
	j.redeem(t, "acme", j.app, redirect, verifier, back).want(t, http.StatusOK).json(t, &tokens)
	access, id := claims(t, tokens.AccessToken), claims(t, tokens.IDToken)
	for name, want := range map[string]any{
		"iss": j.issuer("acme"), "azp": j.app, "client_id": j.app, "tenant_id": "acme",
		"scope": "openid profile email offline_access read:orders", "org_id": nil, "permissions": nil,
	} {
		if access[name] != want {
			t.Errorf("access token: %s is %v, want %v", name, access[name], want)
		}
	}
	if aud := fmt.Sprint(access["aud"]); aud != "["+ordersAPI+" "+j.issuer("acme")+"userinfo]" {
		t.Errorf("aud is %s", aud)
	}
	for name, want := range map[string]any{"iss": j.issuer("acme"), "aud": j.app, "nonce": "the nonce", "email": userEmail, "sub": access["sub"], "sid": access["sid"]} {
		if id[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, id[name], want)
		}
	}
	if tokens.RefreshToken == "" || tokens.ExpiresIn != int(access["exp"].(float64)-access["iat"].(float64)) {
		t.Errorf("token answer: %+v", tokens)
	}
	// Single sign-on: the same browser needs no password again.
	again := v.open(link)
	if again.url.Query().Get("code") == "" {
		t.Errorf("a second request in the same browser: %s", again.url)
	}
	// C9.31: the code once more, and what it had given is gone.
	j.redeem(t, "acme", j.app, redirect, verifier, back).want(t, http.StatusBadRequest)
	j.token(t, "acme", url.Values{"grant_type": {"refresh_token"}, "client_id": {j.app}, "refresh_token": {tokens.RefreshToken}}).want(t, http.StatusBadRequest)
	// C9.4, C9.7, C9.8: nothing of acme means anything in widgets.
	j.token(t, "widgets", url.Values{"grant_type": {"refresh_token"}, "client_id": {j.app}, "refresh_token": {tokens.RefreshToken}}).want(t, http.StatusUnauthorized)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, j.issuer("widgets")+"userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
	j.do(t, req).want(t, http.StatusUnauthorized)
}

// TestSwitchTenants: SC-012 to SC-015 and the truth table's rows of org tokens: one login on the
// control plane, then a token for each organization by silent authentication.
func TestSwitchTenants(t *testing.T) {
	j := startMainJob(t)
	redirect := fmt.Sprintf("http://localhost:%d/callback", j.ports[0])
	audience := j.issuer("") + "api/v2/"
	scope := "openid profile read:users update:resource_servers read:resource_servers"
	v := newVisitor(t)
	silent := func(organization string) page {
		more := url.Values{"audience": {audience}, "scope": {scope}, "prompt": {"none"}}
		if organization != "" {
			more.Set("organization", organization)
		}
		link, _ := j.authorizeURL("", j.portal, redirect, more)
		return v.open(link)
	}
	token := func(p page) string {
		_, verifier := j.authorizeURL("", j.portal, redirect, nil)
		return j.redeem(t, "", j.portal, redirect, verifier, p).want(t, http.StatusOK).member(t, "access_token")
	}
	if e := silent("acme").url.Query().Get("error"); e != "login_required" {
		t.Fatalf("before the login: %s", e)
	}
	link, _ := j.authorizeURL("", j.portal, redirect, url.Values{"audience": {audience}, "scope": {scope}})
	plain := token(v.login(link, annEmail, password))
	if c := claims(t, plain); c["org_id"] != nil || len(c["permissions"].([]any)) != 0 {
		t.Errorf("SC-011: token without organization: %v", c)
	}
	orgs := map[string]string{}
	tokens := map[string]string{}
	for _, org := range []string{"acme", "WIDGETS"} {
		name := strings.ToLower(org)
		tokens[name] = token(silent(org))
		c := claims(t, tokens[name])
		if c["org_name"] != name || !strings.HasPrefix(fmt.Sprint(c["org_id"]), "org_") {
			t.Errorf("token for %s: %v", org, c)
		}
		orgs[name] = fmt.Sprint(c["org_id"])
		if held := c["permissions"].([]any); !slices.Contains(held, any("read:users")) || slices.Contains(held, any("create:tenants")) {
			t.Errorf("permissions in %s: %v", org, held)
		}
		if life := c["exp"].(float64) - c["iat"].(float64); life > 3600 {
			t.Errorf("C2.15: an organization's management token lives %v s", life)
		}
	}
	if orgs["acme"] == orgs["widgets"] {
		t.Error("both tokens name the same organization")
	}
	// C3.8: a forbidden organization is refused and the session stays.
	if q := silent("secret").url.Query(); q.Get("error") != "access_denied" || !strings.Contains(q.Get("error_description"), "is not part of") {
		t.Errorf("forbidden organization: %v", q)
	}
	if silent("").url.Query().Get("code") == "" {
		t.Error("SC-015: the session is gone after a forbidden switch")
	}
	for row, c := range map[string]struct {
		api    api
		status int
	}{
		"TT05/7 plain at acme":         {api{token: plain, host: "acme"}, 403},
		"TT06 plain, header acme":      {api{token: plain, as: "acme"}, 403},
		"TT13 acme at CP":              {api{token: tokens["acme"]}, 200},
		"TT14 acme, header ACME":       {api{token: tokens["acme"], as: "ACME"}, 200},
		"TT15 acme, header widgets":    {api{token: tokens["acme"], as: "widgets"}, 403},
		"TT15 acme, header ghost":      {api{token: tokens["acme"], as: "ghost"}, 403},
		"TT16 acme, header CP":         {api{token: tokens["acme"], as: "control_plane"}, 403},
		"TT17 acme at acme":            {api{token: tokens["acme"], host: "acme"}, 200},
		"TT18 acme at widgets":         {api{token: tokens["acme"], host: "widgets"}, 403},
		"TT19 acme at acme, header w.": {api{token: tokens["acme"], host: "acme", as: "widgets"}, 400},
		"widgets at widgets":           {api{token: tokens["widgets"], host: "widgets"}, 200},
		"widgets at acme":              {api{token: tokens["widgets"], host: "acme"}, 403},
		"widgets at secret":            {api{token: tokens["widgets"], host: "secret"}, 403},
	} {
		c.api.g = j.gateway
		if got := c.api.call(t, http.MethodGet, "/users", nil); got.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", row, got.status, c.status, got.body)
		}
	}
	// C1.10: for a name of nobody's there is no certificate, and so no answer at all.
	if _, err := j.tlsOf(t, "nope."+baseDomain); err == nil {
		t.Error("a host of nobody's was given a certificate")
	}
	// SC-013: the rows are acme's.
	if a := (api{g: j.gateway, token: tokens["acme"]}).call(t, http.MethodGet, "/users", nil); !strings.Contains(string(a.body), userEmail) || strings.Contains(string(a.body), annEmail) {
		t.Errorf("acme's users by its organization's token: %s", a.body)
	}
}

// within polls until the condition holds, at most d, and says how long it took.
func within(t *testing.T, d time.Duration, what string, condition func() bool) {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > d {
			t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%s: after %v", what, time.Since(began).Round(time.Millisecond))
}

// TestSync: SC-079 to SC-082 end to end, and the promise of two seconds.
func TestSync(t *testing.T) {
	j := startMainJob(t)
	cp := j.platform(t)
	const identifier = "https://shared.example.com/api?v=1"
	rs := cp.create(t, "/resource-servers", map[string]any{
		"identifier": identifier, "name": "Shared",
		"scopes": []map[string]string{{"value": "read:things"}, {"value": "write:things"}},
	})
	id := rs["id"].(string)
	name := `Support Desk "A" OR B`
	role := cp.create(t, "/roles", map[string]any{"name": name, "description": "First line"})["id"].(string)
	cp.call(t, http.MethodPost, "/roles/"+role+"/permissions", map[string]any{"permissions": []map[string]string{
		{"resource_server_identifier": identifier, "permission_name": "read:things"},
	}}).want(t, http.StatusCreated)

	has := func(tenant, name string, permissions int) bool {
		a := cp.on(tenant)
		r := a.call(t, http.MethodGet, "/roles/"+role, nil)
		if r.status != http.StatusOK || r.member(t, "name") != name || !strings.Contains(string(r.body), `"is_system":true`) {
			return false
		}
		var list []map[string]any
		a.call(t, http.MethodGet, "/roles/"+role+"/permissions", nil).want(t, http.StatusOK).json(t, &list)
		return len(list) == permissions
	}
	everywhere := func(what string, condition func(tenant string) bool) {
		t.Helper()
		within(t, 2*time.Second, what, func() bool { return condition("acme") && condition("widgets") && condition("secret") })
	}
	everywhere("a new resource server and role", func(tenant string) bool { return has(tenant, name, 1) })
	acme := cp.on("acme")
	for _, path := range []string{id, url.PathEscape(identifier)} {
		for _, method := range []string{http.MethodPatch, http.MethodDelete} {
			a := acme.call(t, method, "/resource-servers/"+path, map[string]any{}).want(t, http.StatusForbidden)
			if m := a.member(t, "message"); m != "This resource server is a system resource and cannot be modified" {
				t.Errorf("%s %s: %s", method, path, m)
			}
		}
	}
	if m := acme.call(t, http.MethodPatch, "/roles/"+role, map[string]any{"name": "mine"}).want(t, http.StatusForbidden).member(t, "message"); m != "This role is a system resource and cannot be modified" {
		t.Error(m)
	}
	cp.call(t, http.MethodPatch, "/roles/"+role, map[string]any{"name": "Help desk"}).want(t, http.StatusOK)
	cp.call(t, http.MethodPost, "/roles/"+role+"/permissions", map[string]any{"permissions": []map[string]string{
		{"resource_server_identifier": identifier, "permission_name": "write:things"},
	}}).want(t, http.StatusCreated)
	everywhere("a renamed role with one more permission", func(tenant string) bool { return has(tenant, "Help desk", 2) })

	// A tenant created later has everything when it becomes active.
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "later", "friendly_name": "Later"}).want(t, http.StatusCreated)
	if !has("later", "Help desk", 2) {
		t.Error("a tenant created later lacks the role")
	}
	cp.call(t, http.MethodPatch, "/resource-servers/"+id, map[string]any{"scopes": []map[string]string{{"value": "read:things"}}}).want(t, http.StatusOK)
	everywhere("a scope that was removed", func(tenant string) bool { return has(tenant, "Help desk", 1) })
	cp.call(t, http.MethodDelete, "/roles/"+role, nil).want(t, http.StatusOK)
	cp.call(t, http.MethodDelete, "/resource-servers/"+id, nil).want(t, http.StatusNoContent)
	everywhere("deleted entities", func(tenant string) bool {
		a := cp.on(tenant)
		return a.call(t, http.MethodGet, "/roles/"+role, nil).status == http.StatusNotFound &&
			a.call(t, http.MethodGet, "/resource-servers/"+id, nil).status == http.StatusNotFound
	})
	status := cp.call(t, http.MethodGet, "/sync/status", nil).want(t, http.StatusOK)
	if !strings.Contains(string(status.body), `"acme"`) {
		t.Errorf("sync status: %s", status.body)
	}
}
