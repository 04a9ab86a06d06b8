package oauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const tvID = "tv" // public, device grant; made by tvFixture

// tvFixture is a fixture whose tenants have a device's client.
func tvFixture(t testing.TB) *fixture {
	t.Helper()
	f := newFixture(t)
	f.addTV()
	return f
}

func (f *fixture) addTV() {
	for _, tenant := range tenantIDs {
		ctx := f.in(tenant)
		f.must(tenancy.Commit(ctx, tenancy.Clients.Insert(ctx, &tenancy.Client{
			Row: tenancy.Row{ID: tvID}, Name: "Telly", AppType: "native", IsFirstParty: true, TokenEndpointAuthMethod: "none",
			GrantTypes: []string{grantDevice, "refresh_token"}, OrganizationUsage: "allow", JWT: tenancy.JWTConfiguration{Alg: "EdDSA"},
		}), tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(tvID, "con_1"))))
	}
}

// beginDevice has the device ask for a code.
func (f *fixture) beginDevice(tenant string, pairs ...string) *reply {
	f.t.Helper()
	return f.ask(tenant, "/oauth/device/code", append([]string{
		"client_id", tvID, "audience", orders, "scope", "openid profile offline_access read:orders",
	}, pairs...)...)
}

// poll asks for the tokens of a device.
func (f *fixture) poll(tenant string, device *reply) *reply {
	f.t.Helper()
	return f.token(tenant, "grant_type", grantDevice, "client_id", tvID, "device_code", device.text("device_code"))
}

// activate does what the page /activate does with a right code, and returns the
// state of the login for the device.
func (b *browser) activate(device *reply) string {
	b.f.t.Helper()
	ctx := b.f.in(b.tenant)
	id, err := tenancy.DeviceID(ctx, device.text("user_code"))
	b.f.must(err)
	g, err := tenancy.PendingDevice(ctx, id, b.f.clock.now())
	b.f.must(err)
	flow, state := b.jar["__Host-gh_flow"], tenancy.NewToken()
	if flow == nil {
		flow = &http.Cookie{Name: "__Host-gh_flow", Value: tenancy.NewToken()}
		b.jar[flow.Name] = flow
	}
	b.f.must(tenancy.LoginSessions.Create(ctx, &tenancy.LoginSession{
		Row: tenancy.Row{ID: tenancy.HashToken(state)}, BrowserHash: tenancy.HashToken(flow.Value), ClientID: g.ClientID, OrgID: g.OrgID,
		Request: map[string]string{tenancy.RequestDevice: g.ID}, ExpiresAt: tenancy.At(b.f.clock.now().Add(time.Hour)),
	}))
	return state
}

// approve answers what the approval page asks.
func (b *browser) approve(state string) {
	b.f.t.Helper()
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.Approved = l.AskedOf != "" })
}

// letIn has a person let the device in.
func (b *browser) letIn(device *reply) {
	b.f.t.Helper()
	state := b.activate(device)
	stateOf(b.f.t, b.resume(state), "/u/device")
	b.approve(state)
	wantResult(b.f.t, b.resume(state), "connected")
}

func wantResult(t testing.TB, w *httptest.ResponseRecorder, result string) {
	t.Helper()
	if w.Code != http.StatusFound || w.Header().Get("Location") != "/activate?result="+result {
		t.Fatalf("got %d to %q, want the page that it is %s: %s", w.Code, w.Header().Get("Location"), result, w.Body)
	}
}

// SC-055, RFC 8628: poll, approve, poll.
func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	device := f.beginDevice("acme", "organization", "ONE").ok()
	if device.json["interval"] != 5.0 || device.json["expires_in"] != 900.0 || device.text("verification_uri") != issuerOf("acme")+"activate" ||
		device.text("verification_uri_complete") != issuerOf("acme")+"activate?user_code="+device.text("user_code") ||
		len(device.text("user_code")) != 9 || device.text("user_code")[4] != '-' || device.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("C4.51: %v", device.json)
	}
	f.poll("acme", device).refused(400, "authorization_pending", "The user has not approved the device yet")

	b := f.browser("acme")
	state := b.activate(device)
	stateOf(t, b.resume(state), "/u/login")
	b.loginPage(state, ada)
	stateOf(t, b.resume(state), "/u/device")
	stateOf(t, b.resume(state), "/u/device") // nothing happens by coming back
	f.clock.advance(6 * time.Second)
	f.poll("acme", device).refused(400, "authorization_pending", "*")
	l, err := tenancy.LoginSessions.Get(f.in("acme"), tenancy.HashToken(state))
	f.must(err)
	if l.AskedScope != "openid profile offline_access read:orders" {
		t.Errorf("asked for %q", l.AskedScope)
	}
	b.approve(state)
	wantResult(t, b.resume(state), "connected")
	wantPage(t, b.resume(state), http.StatusConflict, "completed before")

	tokens := f.poll("acme", device).ok()
	access, id := tokens.claims("access_token"), tokens.claims("id_token")
	if access["sub"] != ada || access["org_id"] != "org_1" || access["scope"] != "openid profile offline_access read:orders" || access["gty"] != nil ||
		access["sid"] != nil || access["auth_time"] == nil || id["aud"] != tvID || id["org_name"] != "one" || id["name"] != "Ada of acme" {
		t.Errorf("access token %v, ID token %v", access, id)
	}
	f.poll("acme", device).refused(400, "invalid_grant", "Invalid or used device code")
	refreshed := f.token("acme", "grant_type", "refresh_token", "client_id", tvID, "refresh_token", tokens.text("refresh_token")).ok()
	if refreshed.claims("access_token")["org_id"] != "org_1" {
		t.Errorf("refreshed %v", refreshed.claims("access_token"))
	}
	if f.events.last("sede") == nil || f.events.last("fede") == nil {
		t.Errorf("events %v", f.events.types())
	}
}

// C4.44, RFC 8628 section 3.5.
func TestDeviceAnswers(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	b := f.loggedIn("acme", ada)

	device := f.beginDevice("acme").ok()
	f.poll("acme", device).refused(400, "authorization_pending", "*")
	f.poll("acme", device).refused(400, "slow_down", "Wait 10 seconds between polls")
	f.clock.advance(6 * time.Second)
	f.poll("acme", device).refused(400, "slow_down", "Wait 15 seconds between polls")
	f.clock.advance(16 * time.Second)
	f.poll("acme", device).refused(400, "authorization_pending", "*")

	// Denied, and then nobody can approve it.
	state := b.activate(device)
	stateOf(t, b.resume(state), "/u/device")
	other := b.activate(device)
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.Denied = true })
	wantResult(t, b.resume(state), "denied")
	wantPage(t, b.resume(other), http.StatusBadRequest, "expired or was used before")
	f.poll("acme", device).refused(400, "access_denied", "The user denied the request")

	// Expired.
	device = f.beginDevice("acme").ok()
	state = b.activate(device)
	f.clock.advance(15 * time.Minute)
	f.poll("acme", device).refused(400, "expired_token", "The device code has expired")
	wantPage(t, b.resume(state), http.StatusBadRequest, "expired or was used before")

	// What is no code, or not this client's.
	f.token("acme", "grant_type", grantDevice, "client_id", tvID).refused(400, "invalid_request", "Missing required parameter: device_code")
	f.token("acme", "grant_type", grantDevice, "client_id", tvID, "device_code", "no").refused(400, "invalid_grant", "Invalid or used device code")
	f.updateClient("acme", nativeID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantDevice) })
	f.token("acme", "grant_type", grantDevice, "client_id", nativeID, "device_code", f.beginDevice("acme").ok().text("device_code")).
		refused(400, "invalid_grant", "Invalid or used device code")

	// What a device may not ask for, before any code is given (C4.51, C2.41).
	f.beginDevice("acme", "client_id", spaID).refused(400, "unauthorized_client", "Grant type '"+grantDevice+"' not allowed for the client.")
	f.beginDevice("acme", "client_id", "nobody").refused(401, "invalid_client", "Client authentication failed")
	f.beginDevice("acme", "audience", "https://nowhere.example.com").refused(403, "access_denied", "Service not found: https://nowhere.example.com")
	f.beginDevice("acme", "organization", "org_9").refused(400, "invalid_request", "parameter organization is invalid")
	f.beginDevice("acme", "client_id", nativeID, "organization", "org_1").refused(400, "invalid_request", "parameter organization is not allowed for this client")
	f.updateClient("acme", tvID, func(c *tenancy.Client) { c.OrganizationUsage = "require" })
	f.beginDevice("acme").refused(400, "invalid_request", "parameter organization is required for this client")
}

// C2.43: the one rule of organizations, when the person approves and when the
// device polls.
func TestDeviceOrganization(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	const notMember = "is not part of the org_1 organization"

	// A stranger cannot approve; the device waits on.
	device := f.beginDevice("acme", "organization", "org_1").ok()
	stranger := f.loggedIn("acme", bob)
	wantPage(t, stranger.resume(stranger.activate(device)), http.StatusForbidden, notMember)
	f.poll("acme", device).refused(400, "authorization_pending", "*")

	// A member approves, and is removed before the device polls.
	b := f.loggedIn("acme", ada)
	b.letIn(device)
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	f.poll("acme", device).refused(403, "access_denied", "user "+ada+" "+notMember)
	f.must(tenancy.Members.Create(f.in("acme"), tenancy.NewMember("org_1", ada)))
	f.poll("acme", device).refused(400, "invalid_grant", "Invalid or used device code") // C2.51: revoked

	// Blocked in between (C2.10).
	device = f.beginDevice("acme").ok()
	b.letIn(device)
	_, err := tenancy.Users.Update(f.in("acme"), ada, func(u *tenancy.User) error { u.Blocked = true; return nil })
	f.must(err)
	f.poll("acme", device).refused(403, "access_denied", "user is blocked")

	// A client that requires one has the person choose (C2.41).
	f = tvFixture(t)
	f.updateClient("acme", tvID, func(c *tenancy.Client) {
		c.OrganizationUsage, c.OrganizationRequireBehavior = "require", "post_login_prompt"
	})
	device = f.beginDevice("acme").ok()
	b = f.loggedIn("acme", ada)
	state := b.activate(device)
	stateOf(t, b.resume(state), "/u/organization-picker")
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_2" })
	stateOf(t, b.resume(state), "/u/device")
	b.approve(state)
	b.alterLogin(state, func(l *tenancy.LoginSession) { l.ChosenOrgID = "org_1" }) // an approval is for one organization
	stateOf(t, b.resume(state), "/u/device")
	b.approve(state)
	wantResult(t, b.resume(state), "connected")
	if org := f.poll("acme", device).ok().claims("access_token")["org_id"]; org != "org_1" {
		t.Errorf("org_id %v", org)
	}
}

// A01, C9.7: the codes of one tenant are unknown in another.
func TestDeviceOfAnotherTenant(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	device := f.beginDevice("acme").ok()
	f.poll("widgets", device).refused(400, "invalid_grant", "Invalid or used device code")
	acme, err := tenancy.DeviceID(f.in("acme"), device.text("user_code"))
	f.must(err)
	widgets, err := tenancy.DeviceID(f.in("widgets"), device.text("user_code"))
	f.must(err)
	for _, id := range []string{acme, widgets} {
		if _, err := tenancy.PendingDevice(f.in("widgets"), id, f.clock.now()); err != tenancy.ErrNotFound {
			t.Errorf("widgets knows the user code: %v", err)
		}
	}
	if acme == widgets {
		t.Error("user codes have the same hash in two tenants")
	}
	f.loggedIn("acme", ada).letIn(device)
	f.poll("widgets", device).refused(400, "invalid_grant", "Invalid or used device code")
	f.poll("acme", device).ok()
}

// RFC 8628 section 6.1 and the setting device_flow (C4.51).
func TestDeviceUserCodes(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	ctx := f.in("acme")
	device := f.beginDevice("acme").ok()
	code := device.text("user_code")
	if strings.Trim(code, "BCDFGHJKLMNPQRSTVWXZ-") != "" {
		t.Errorf("user code %q", code)
	}
	want, err := tenancy.DeviceID(ctx, code)
	f.must(err)
	for _, typed := range []string{strings.ToLower(code), strings.ReplaceAll(code, "-", ""), " " + strings.ReplaceAll(code, "-", " – ") + "\n"} {
		if id, err := tenancy.DeviceID(ctx, typed); id != want || err != nil {
			t.Errorf("%q is another code than %q (%v)", typed, code, err)
		}
	}
	rows, err := tenancy.Grants.Find(ctx, tenancy.Filter{})
	f.must(err)
	for _, g := range rows {
		if strings.Contains(g.ID+g.Hash+g.Data, tenancy.PlainUserCode(code)) || strings.Contains(g.ID+g.Hash+g.Data, device.text("device_code")) {
			t.Errorf("the database knows the code: %+v", g)
		}
	}
	for mask, length := range map[string]int{"": 13, "***": 13, "<b>*************": 13, "*** *** *** ***": 15} {
		if code := tenancy.NewUserCode(true, mask); len(code) != length || strings.Trim(code, "0123456789- ") != "" {
			t.Errorf("mask %q gives %q", mask, code)
		}
	}
}

// Of 16 parallel polls after each of 200 approvals exactly one gets tokens (RFC
// 8628 section 3.5; conformance 2, RFC 8628 number 8).
func TestRaceDevicePolls(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	f.useAlg("acme", "rs_orders", "EdDSA")
	b := f.loggedIn("acme", ada)
	for range races {
		device := f.beginDevice("acme").ok()
		b.letIn(device)
		f.race(func(int) *reply { return f.poll("acme", device) }, "Invalid or used device code")
	}
}

// Two browsers approve and deny one device: one of them decides.
func TestRaceDeviceApprovals(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	b := f.loggedIn("acme", ada)
	for range 10 {
		device := f.beginDevice("acme").ok()
		states := make([]string, racers)
		for i := range states {
			states[i] = b.activate(device)
			stateOf(t, b.resume(states[i]), "/u/device")
			if i%2 == 0 {
				b.approve(states[i])
			} else {
				b.alterLogin(states[i], func(l *tenancy.LoginSession) { l.Denied = true })
			}
		}
		connected, denied := 0, 0
		for _, a := range f.together(func(i int) *reply {
			w := f.browser("acme").with(b).resume(states[i])
			return &reply{status: w.Code, header: w.Header(), body: w.Body.String()}
		}) {
			switch {
			case a.header.Get("Location") == "/activate?result=connected":
				connected++
			case a.header.Get("Location") == "/activate?result=denied":
				denied++
			case a.status != http.StatusBadRequest:
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if connected+denied != 1 {
			t.Errorf("%d connected, %d denied", connected, denied)
		}
		if a := f.poll("acme", device); (a.status == 200) != (connected == 1) {
			t.Errorf("poll %d %s after %d approvals", a.status, a.body, connected)
		}
	}
}
