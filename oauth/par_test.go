package oauth

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// push pushes a good request of the web client; pairs change it.
func (f *fixture) push(tenant string, pairs ...string) *reply {
	f.t.Helper()
	form := request(append([]string{"client_id", webID, "client_secret", webSecret}, pairs...)...)
	return f.send(tenant, newForm(pathPush, form))
}

// pushed is the request_uri of the answer.
func (p *reply) pushed() string {
	p.t.Helper()
	if p.status != http.StatusCreated || len(p.json) != 2 || p.json["expires_in"] != 90.0 || p.header.Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(p.text("request_uri"), pushedPrefix) || len(p.text("request_uri")) != len(pushedPrefix)+tokenLength {
		p.t.Fatalf("got %d %s %v, want a request_uri for 90 s", p.status, p.body, p.header)
	}
	return p.text("request_uri")
}

// open opens a pushed request in the browser, with nothing beside it but the
// client.
func (b *browser) open(client, uri string, pairs ...string) *reply {
	b.f.t.Helper()
	return readReply(b.f.t, b.get("/authorize?"+values(append([]string{"client_id", client, "request_uri", uri}, pairs...)...).Encode()))
}

const gone = "The request_uri is unknown, expired, or was used before"

// RFC 9126, contract C4.50, C4.27, B33: a pushed request is what the browser's is
// about, whatever else that says, from the login to the code.
func TestPushedRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	uri := f.push("acme", "audience", orders, "scope", "openid read:orders", "organization", "one", "state", "state-1").pushed()
	b := f.browser("acme")
	w := b.get("/authorize?" + values("client_id", webID, "request_uri", uri, "scope", "openid write:orders", "organization", "two",
		"redirect_uri", "https://evil.example/", "state", "other", "response_mode", "fragment", "prompt", "none").Encode())
	state := stateOf(t, w, "/u/login")
	b.loginPage(state, ada)
	code := b.wantCode(b.resume(state))
	answer := f.redeem("acme", code, "client_id", webID, "client_secret", webSecret).ok()
	if claims := answer.claims("access_token"); claims["org_id"] != "org_1" || claims["scope"] != "openid read:orders" {
		t.Errorf("claims %v", claims)
	}
	for name, again := range map[string]*reply{
		"used": b.open(webID, uri), "used, another browser": f.browser("acme").open(webID, uri),
	} {
		if again.status != http.StatusBadRequest || !strings.Contains(again.body, gone) || again.header.Get("Location") != "" {
			t.Errorf("%s: %d %s", name, again.status, again.body)
		}
	}

	// A person who is logged in goes straight back; POST is like GET; public
	// clients push too, with their PKCE.
	form := values("client_id", spaID, "request_uri", f.push("acme", "client_id", spaID, "client_secret", "-", "prompt", "none").pushed())
	b.wantCode(b.post("/authorize", form))
	r := newForm(pathPush, request("client_id", "-"))
	r.SetBasicAuth(webID, webSecret)
	b.wantCode(b.get("/authorize?" + values("client_id", webID, "request_uri", f.send("acme", r).pushed()).Encode()))
}

// C4.50: everything is checked as at /authorize, and answered in envelope A with
// 400 or 401.
func TestPushRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name       string
		pairs      []string
		status     int
		code, text string
	}{
		{"wrong secret", []string{"client_secret", "wrong"}, 401, "invalid_client", authFailed},
		{"no secret", []string{"client_secret", "-"}, 401, "invalid_client", authFailed},
		{"unknown client", []string{"client_id", "nobody"}, 401, "invalid_client", authFailed},
		{"request_uri inside", []string{"request_uri", pushedPrefix + "x"}, 400, "invalid_request", "The request_uri parameter must not be pushed"},
		{"request object", []string{"request", "e30.e30."}, 400, "request_not_supported", "The request parameter is not supported"},
		{"redirect_uri (C4.19)", []string{"redirect_uri", "https://evil.example/"}, 400, "invalid_request", "redirect_uri is not one of the client's callbacks"},
		{"response_type (C4.20)", []string{"response_type", "-"}, 400, "invalid_request", "Missing required parameter: response_type"},
		{"implicit (C4.20)", []string{"response_type", "token"}, 400, "unauthorized_client", "Grant type 'implicit' not allowed for the client."},
		{"plain (C4.22)", []string{"code_challenge_method", "plain"}, 400, "invalid_request", "code_challenge_method must be S256"},
		{"PKCE of a public client (C4.22)", []string{"client_id", spaID, "client_secret", "-", "code_challenge", "-", "code_challenge_method", "-"}, 400, "invalid_request", "Missing required parameter: code_challenge"},
		{"audience (C4.31)", []string{"audience", "https://nope.example/"}, 400, "access_denied", "Service not found: https://nope.example/"},
		{"organization (C2.24)", []string{"organization", "org_9"}, 400, "invalid_request", "parameter organization is invalid"},
		{"organization not allowed (C2.41)", []string{"client_id", nativeID, "client_secret", "-", "redirect_uri", nativeCallback, "organization", "one"}, 400, "invalid_request", "parameter organization is not allowed for this client"},
		{"connection (C4.25)", []string{"connection", "nope"}, 400, "invalid_request", "the connection was not found"},
		{"prompt (C3.2)", []string{"prompt", "none login"}, 400, "invalid_request", "prompt=none cannot be combined with other values"},
		{"state (C4.24)", []string{"state", strings.Repeat("x", maxOpaque+1)}, 400, "invalid_request", "*"},
		{"hint (C3.34)", []string{"id_token_hint", "e30.e30.e30"}, 400, "invalid_request", "Invalid id_token_hint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside, clock: f.clock}
			f.push("acme", tt.pairs...).refused(tt.status, tt.code, tt.text)
		})
	}
	twice := request("client_id", webID, "client_secret", webSecret)
	twice.Add("scope", "openid")
	f.send("acme", newForm(pathPush, twice)).refused(400, "invalid_request", "Parameter scope was given more than once") // C0.9
	other := newForm(pathPush, request("client_id", spaID))
	other.SetBasicAuth(webID, webSecret)
	f.send("acme", other).refused(400, "invalid_request", "client_id differs from the one in the Authorization header")
	json := newJSON(`{}`)
	json.URL.Path = pathPush
	f.send("acme", json).refused(415, "invalid_request", "*")
	f.send("acme", newGet(pathPush)).refused(405, "method_not_allowed", "*")
	if n, err := tenancy.PushedRequests.Count(f.in("acme"), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d requests were kept (%v)", n, err)
	}
	f.meter.failReads.Store(true)
	defer f.meter.failReads.Store(false)
	f.push("acme", "audience", catalog).refused(503, "temporarily_unavailable", "*") // C0.11
}

// C4.27: a request_uri is good for its client, once, for 90 seconds, in its
// tenant. Where the browser's request names a callback the client hears of it.
func TestRequestURIRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser("acme")
	refused := func(name string, p *reply) {
		t.Helper()
		if p.status != http.StatusBadRequest || !strings.Contains(p.body, gone) || p.header.Get("Location") != "" {
			t.Errorf("%s: got %d %s to %q, want a page", name, p.status, p.body, p.header.Get("Location"))
		}
	}
	uri := f.push("acme").pushed()
	for name, other := range map[string]string{
		"scheme https": "https://evil.example/request.jwt", "scheme http": "http://127.0.0.1:22/", "unknown": pushedPrefix + strings.Repeat("A", tokenLength),
		"short": pushedPrefix + "x", "another prefix": "urn:example:" + uri, "upper case": strings.ToUpper(uri), "with more": uri + "x", "NUL": pushedPrefix + "\x00",
	} {
		refused(name, b.open(webID, other))
	}
	refused("another client's", b.open(spaID, uri))
	refused("another client's, third party", b.open(thirdPartyID, uri))
	refused("another tenant's (C9.4)", f.browser("widgets").open(webID, uri))
	refused("another tenant's (C9.4)", f.browser("control_plane").open(webID, uri))
	if p := b.open("nobody", uri); p.status != 400 || !strings.Contains(p.body, "Unknown client: nobody") { // C4.18
		t.Errorf("unknown client: %d %s", p.status, p.body)
	}
	if p := readReply(t, b.get("/authorize?request_uri="+url.QueryEscape(uri))); p.status != 400 || !strings.Contains(p.body, "Missing required parameter: client_id") {
		t.Errorf("no client: %d %s", p.status, p.body)
	}
	twice := values("client_id", webID, "request_uri", uri)
	twice.Add("request_uri", uri)
	if p := readReply(t, b.get("/authorize?"+twice.Encode())); p.status != 400 || !strings.Contains(p.body, "must not be repeated") {
		t.Errorf("twice: %d %s", p.status, p.body)
	}
	b.wantError(b.authorize("request_uri", "https://evil.example/request.jwt"), "invalid_request_uri", gone) // C3.1
	stateOf(t, b.get("/authorize?"+values("client_id", webID, "request_uri", uri).Encode()), "/u/login")     // none of them used it up

	uri = f.push("acme").pushed()
	f.clock.advance(pushedLifetime)
	refused("expired", b.open(webID, uri))
	f.push("acme").pushed()
	if n, err := tenancy.PushedRequests.Count(f.in("acme"), tenancy.Filter{}); n > 2 || err != nil {
		t.Errorf("%d requests are kept (%v), want those that expired gone", n, err)
	}
}

// What was true when a request was pushed is found out again (RFC 9126 section 4).
func TestPushedRequestIsJudgedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	uri := f.push("acme", "client_id", spaID, "client_secret", "-", "organization", "org_1").pushed()
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveMember(f.in("acme"), "org_1", ada)...))
	b.wantError(b.get("/authorize?"+values("client_id", spaID, "request_uri", uri).Encode()), "access_denied", "user auth0|ada is not part of the org_1 organization")
	uri = f.push("acme", "client_id", spaID, "client_secret", "-").pushed()
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.Callbacks = []string{"https://new.example.com/"} })
	if p := b.open(spaID, uri); p.status != 400 || !strings.Contains(p.body, "not one of the client&#39;s callbacks") {
		t.Errorf("callback removed: %d %s", p.status, p.body)
	}
	uri = f.push("acme").pushed()
	f.must(tenancy.Commit(f.in("acme"), tenancy.RemoveClient(f.in("acme"), webID)...))
	f.add("acme", func(ctx context.Context) tenancy.Stmt {
		return tenancy.Clients.Insert(ctx, &tenancy.Client{Row: tenancy.Row{ID: webID}, Callbacks: []string{callback}})
	})
	if p := b.open(webID, uri); p.status != 400 || !strings.Contains(p.body, gone) {
		t.Errorf("client made again: %d %s", p.status, p.body)
	}
}

// C4.27, RFC 9126 section 5: where requests have to be pushed, plain ones are
// refused, and a pushed one passes to its end.
func TestPushingRequired(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const text = "The client has to use pushed authorization requests"
	pass := func(tenant string) {
		t.Helper()
		b := f.browser(tenant)
		uri := f.push(tenant, "client_id", spaID, "client_secret", "-").pushed()
		state := stateOf(t, b.get("/authorize?"+values("client_id", spaID, "request_uri", uri).Encode()), "/u/login")
		b.loginPage(state, ada)
		b.wantCode(b.resume(state))
		b.wantError(b.authorize(), "invalid_request", text)
		b.wantError(b.authorize("prompt", "none"), "invalid_request", text)
		b.wantError(b.authorize(pushedRequest, "1"), "invalid_request", text) // the mark is no parameter
	}
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.RequirePushedAuthorization = true })
	pass("acme")
	f.setting("widgets", "require_pushed_authorization_requests", "true")
	pass("widgets")
	if got := f.send("widgets", newGet("/.well-known/openid-configuration")).json["require_pushed_authorization_requests"]; got != true {
		t.Errorf("widgets: advertised as required: %v", got)
	}
	f.loggedIn("control_plane", ada) // nobody else's requests are touched
}

func TestPushingIsOff(t *testing.T) { // C4.56
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "pushed_authorization_requests_supported", "false")
	f.push("acme").refused(404, "not_found", "Not Found")
	answer := f.send("acme", newGet("/.well-known/openid-configuration")).ok()
	if answer.json["pushed_authorization_request_endpoint"] != nil || answer.json["require_pushed_authorization_requests"] != nil {
		t.Errorf("advertised: %s", answer.body)
	}
	f.push("widgets").pushed()
}

// RFC 9126 section 2 has the endpoint accept itself as an assertion's audience.
func TestPushByAssertion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.giveClientKey("acme", webID, "ES256", clientKeys().ec)
	for _, audience := range []string{issuerOf("acme"), issuerOf("acme") + "oauth/token", issuerOf("acme") + "oauth/par"} {
		assertion := f.assertion("ES256", clientKeys().ec, func(c jwt.MapClaims, _ map[string]any) { c["iss"], c["sub"], c["aud"] = webID, webID, audience })
		by := []string{"client_id", "-", "client_secret", "-", "client_assertion_type", assertionType, "client_assertion", assertion}
		uri := f.push("acme", by...).pushed()
		stateOf(t, f.browser("acme").get("/authorize?"+values("client_id", webID, "request_uri", uri).Encode()), "/u/login")
		f.push("acme", by...).refused(401, "invalid_client", authFailed) // once
	}
	row, err := tenancy.PushedRequests.Find(f.in("acme"), tenancy.Filter{})
	f.must(err)
	for _, r := range row {
		if r.Request != nil {
			t.Errorf("a used request is kept: %v", r.Request)
		}
	}
	f.push("acme", "client_secret", webSecret).refused(401, "invalid_client", authFailed)
}

// No secret of the client's is kept with its request.
func TestPushedRequestKeepsNoSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.push("acme").pushed()
	rows, err := tenancy.PushedRequests.Find(f.in("acme"), tenancy.Filter{})
	f.must(err)
	want := map[string]string{pushedRequest: "1"}
	for name, list := range request("client_id", webID) {
		want[name] = list[0]
	}
	if len(rows) != 1 || !maps.Equal(rows[0].Request, want) {
		t.Errorf("kept %v, want %v", rows, want)
	}
}

// C4.27, RFC 9126 section 4: of 16 browsers at a time one gets the request.
func TestRacePushedRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada)
	for range 20 {
		uri := f.push("acme", "client_id", spaID, "client_secret", "-").pushed()
		answers := make([]*reply, racers)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range racers {
			own := f.browser("acme").with(b)
			wg.Go(func() { <-start; answers[i] = own.open(spaID, uri) })
		}
		close(start)
		wg.Wait()
		won := 0
		for _, a := range answers {
			switch {
			case a.status == http.StatusFound && strings.Contains(a.header.Get("Location"), "code="):
				won++
			case a.status != http.StatusBadRequest || !strings.Contains(a.body, gone):
				t.Errorf("loser: %d %s", a.status, a.body)
			}
		}
		if won != 1 {
			t.Fatalf("%d winners", won)
		}
	}
}
