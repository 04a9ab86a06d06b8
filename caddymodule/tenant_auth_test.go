package caddymodule

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestTenantAuthTokens: every token but a good one of the host's tenant gets the
// same 401 (C1.12, C9.3, C9.4, C9.50 to C9.52).
func TestTenantAuthTokens(t *testing.T) {
	g := newGuarded(t)
	good := g.token("acme", nil)
	for range 2 { // also from memory
		wantPassed(t, "good", g.api("acme", "/any", good), fmt.Sprintf(adaSeen, "acme"))
		wantPassed(t, "the other tenant's own", g.api("widgets", "/any", g.token("widgets", nil)), fmt.Sprintf(adaSeen, "widgets"))
		wantBad(t, "of the other tenant, where the same ids exist", g.api("widgets", "/any", good))
	}
	head, rest, _ := strings.Cut(good, ".")
	body, _, _ := strings.Cut(rest, ".")
	var kid struct{ Kid string }
	decoded, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(decoded, &kid) != nil {
		t.Fatal(err)
	}
	encode := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
	none := encode(claims{"alg": "none", "typ": "JWT", "kid": kid.Kid}) + "." + body + "."
	var public []byte
	g.inside("acme", func(ctx context.Context) error {
		key, err := tenancy.SigningKeys.Get(ctx, kid.Kid)
		public = []byte(key.Public)
		return err
	})
	signed := encode(claims{"alg": "HS256", "typ": "JWT", "kid": kid.Kid}) + "." + body
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(signed))
	now := time.Now().Unix()
	for name, token := range map[string]string{
		"alg none":                   none,
		"alg none with a signature":  none + "AA",
		"HS256 over the public key":  signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"expired by 1 s":             g.token("acme", with("exp", now-1)),
		"expires now":                g.token("acme", with("exp", now)),
		"wrong audience":             g.token("acme", with("aud", "https://orders.example.com")),
		"audience of userinfo":       g.token("acme", with("aud", "https://acme.auth.example.com/userinfo")),
		"audience that begins alike": g.token("acme", with("aud", testAPI+".evil.example")),
		"ID token": g.token("acme", func(_, c claims) {
			without("jti", "client_id", "tenant_id", "scope", "permissions")(nil, c)
			c["aud"] = "app"
		}),
		"ID token for the API":         g.token("acme", without("jti", "client_id", "tenant_id", "scope", "permissions")),
		"logout token":                 g.token("acme", func(h, _ claims) { h["typ"] = "logout+jwt" }),
		"tenant_id of the other":       g.token("acme", with("tenant_id", "widgets")),
		"iss of the other":             g.token("acme", with("iss", "https://widgets.auth.example.com/")),
		"signed by the other":          g.token("widgets", func(_, c claims) { c["iss"], c["tenant_id"] = "https://acme.auth.example.com/", "acme" }),
		"iss of the API's own host":    g.token("acme", with("iss", "https://acme.api.example.com/")),
		"iss without slash":            g.token("acme", with("iss", "https://acme.auth.example.com")),
		"of the control plane":         g.token("acme", with("iss", "https://auth.example.com/")),
		"unknown kid":                  g.token("acme", func(h, _ claims) { h["kid"] = "nobody" }),
		"key in the header":            g.token("acme", func(h, _ claims) { h["jku"] = "https://evil.example/jwks.json" }),
		"of a user who does not exist": g.token("acme", with("sub", "auth0|nobody")),
		"of no session":                g.token("acme", with("sid", "ses_9")),
		"of an organization of others": g.token("acme", with("org_id", "org_9")),
		"garbage":                      "garbage",
		"two of them":                  good + "," + good,
	} {
		for range 2 {
			wantBad(t, name, g.api("acme", "/any", token))
		}
	}
	if got := g.do(http.MethodHead, "acme.api.example.com", "/any", "Authorization", "Bearer x"); got.status != 401 || got.body != "" || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("HEAD: got %d %q %v", got.status, got.body, got.header)
	}
}

// TestTenantAuthBearer: a token is taken from one header and from nowhere else
// (RFC 6750 section 2; C2.69).
func TestTenantAuthBearer(t *testing.T) {
	g := newGuarded(t)
	good := g.token("acme", nil)
	missing := func(what string, got reply) {
		t.Helper()
		wantRefused(t, what, got, 401, "invalid_token", "Missing access token", "Bearer")
	}
	missing("none", g.api("acme", "/any", ""))
	missing("in the query", g.api("acme", "/any?access_token="+good, ""))
	missing("another scheme", g.api("acme", "/any", "", "Authorization", "Basic "+good))
	missing("nothing behind the scheme", g.api("acme", "/any", "", "Authorization", "Bearer "))
	missing("in a cookie", g.api("acme", "/any", "", "Cookie", "access_token="+good))
	missing("where upstreams have a management API", g.api("acme", "/api/v2/users", ""))
	const text = "The access token must be sent in one way only"
	wantRefused(t, "two headers", g.api("acme", "/any", good, "Authorization", "Bearer "+good), 400, "invalid_request", text,
		`Bearer error="invalid_request", error_description="`+text+`"`)
	wantPassed(t, "scheme in lower case", g.api("acme", "/any", "", "Authorization", "bearer "+good), fmt.Sprintf(adaSeen, "acme"))
}

// TestTenantAuthScopes: what a token may do is asked for after what it is.
func TestTenantAuthScopes(t *testing.T) {
	g := newGuarded(t)
	token, plain := g.token("acme", nil), g.token("acme", without("org_id", "org_name", "scope", "permissions"))
	seen := fmt.Sprintf(adaSeen, "acme")
	unaffiliated := testUser + "|||||app|acme|acme"
	insufficient := func(what string, got reply, text, challenge string) {
		t.Helper()
		wantRefused(t, what, got, 403, "insufficient_scope", text, `Bearer error="insufficient_scope"`+challenge)
	}
	const organization = "The access token is not for an organization that is allowed here"
	wantPassed(t, "scopes", g.api("acme", "/scope", token), seen)
	insufficient("scope missing", g.api("acme", "/more", token), "Insufficient scope, expected: openid, admin:orders", `, scope="openid admin:orders"`)
	insufficient("no scope", g.api("acme", "/scope", plain), "Insufficient scope, expected: read:orders, openid", `, scope="read:orders openid"`)
	insufficient("part of a scope", g.api("acme", "/scope", g.token("acme", with("scope", "openid read:orders2 xread:orders"))),
		"Insufficient scope, expected: read:orders, openid", `, scope="read:orders openid"`)
	wantPassed(t, "permission", g.api("acme", "/permission", token), seen)
	insufficient("permission missing", g.api("acme", "/no-permission", token), "Insufficient scope, expected: read:orders, delete:orders", "")
	insufficient("scope is no permission", g.api("acme", "/permission", g.token("acme", without("permissions"))), "Insufficient scope, expected: read:orders", "")

	wantPassed(t, "any organization", g.api("acme", "/any", plain), unaffiliated)
	wantPassed(t, "organization", g.api("acme", "/required", token), seen)
	insufficient("org missing", g.api("acme", "/required", plain), organization, "")
	wantPassed(t, "none", g.api("acme", "/off", plain), unaffiliated)
	insufficient("one where none is allowed", g.api("acme", "/off", token), organization, "")
	wantPassed(t, "listed by name", g.api("acme", "/listed", token), seen)
	insufficient("another one", g.api("acme", "/others", token), organization, "")
	insufficient("none of a list", g.api("acme", "/listed", plain), organization, "")
}

// TestTenantAuthHosts: the host says whose token it has to be; what a token says
// of itself never widens that.
func TestTenantAuthHosts(t *testing.T) {
	g := newGuarded(t)
	acme, widgets := g.token("acme", nil), g.token("widgets", nil)
	ask := func(host, path, token string, header ...string) reply {
		t.Helper()
		return g.do(http.MethodGet, host, path, append(header, "Authorization", "Bearer "+token)...)
	}
	unknown := func(what string, got reply) {
		t.Helper()
		if got.status != http.StatusNotFound || got.body != unknownTenant {
			t.Errorf("%s: got %d %s", what, got.status, got.body)
		}
	}
	seenAcme, seenWidgets := fmt.Sprintf(adaSeen, "acme"), fmt.Sprintf(adaSeen, "widgets")
	wantPassed(t, "a host of gatehouse's", ask("acme.auth.example.com", "/hosts", acme), seenAcme)
	wantPassed(t, "with a port, a dot and capitals", ask("ACME.api.example.com.:8443", "/any", acme), seenAcme)
	wantBad(t, "forwarded by anybody", ask("widgets.api.example.com", "/any", acme, "X-Forwarded-Host", "acme.api.example.com", "Tenant-Id", "acme"))
	for _, host := range []string{
		"ghost.api.example.com", "api.example.com", "a.acme.api.example.com", "acmeapi.example.com", "www.api.example.com",
		"acme.api.example.com.evil.org", "control_plane.api.example.com", "elsewhere.org",
	} {
		unknown(host, ask(host, "/any", acme))
	}
	unknown("no suffix configured", ask("acme.api.example.com", "/hosts", acme))
	if got := ask("acme..api.example.com", "/any", acme); got.status != http.StatusBadRequest {
		t.Errorf("invalid host: got %d %s", got.status, got.body)
	}

	wantPassed(t, "one tenant", ask("elsewhere.org", "/one", acme), seenAcme)
	wantBad(t, "one tenant, token of another", ask("elsewhere.org", "/one", widgets))
	unknown("one tenant, host of another", ask("widgets.api.example.com", "/one", widgets))
	unknown("one tenant, host of nobody", ask("ghost.api.example.com", "/one", acme))

	wantPassed(t, "by issuer", ask("elsewhere.org", "/issuer", acme), seenAcme)
	wantPassed(t, "by issuer", ask("api.example.com", "/issuer", widgets), seenWidgets)
	wantBad(t, "by issuer, on a host of another tenant", ask("widgets.api.example.com", "/issuer", acme))
	unknown("by issuer, on a host of nobody's", ask("ghost.api.example.com", "/issuer", acme))
	wantBad(t, "by an issuer that did not sign it", ask("elsewhere.org", "/issuer", g.token("widgets", with("iss", "https://acme.auth.example.com/"))))
	wantBad(t, "by a foreign issuer", ask("elsewhere.org", "/issuer", g.token("acme", with("iss", "https://evil.example/"))))
	wantBad(t, "by no issuer", ask("elsewhere.org", "/issuer", "garbage"))
	wantPassed(t, "by issuer, among some", ask("elsewhere.org", "/issuer-one", acme), seenAcme)
	wantBad(t, "by issuer, not among them", ask("elsewhere.org", "/issuer-one", widgets))
}

// TestTenantAuthHeaders: an upstream cannot be told anything by the client in the
// headers that tell it what the token says.
func TestTenantAuthHeaders(t *testing.T) {
	g := newGuarded(t)
	token, robot := g.token("acme", nil), g.token("acme", without("org_id", "org_name"))
	spoofed := []string{
		"X-User-Id", "auth0|root", "x-org-id", "org_9", "X-ORG-NAME", "nine", "X-Scope", "admin", "X-Permissions", "admin",
		"X-Client-Id", "root", "X-Tenant-Id", "widgets", "X-Tenant-Id", "control_plane", "X_User_Id", "auth0|root",
	}
	wantPassed(t, "removed", g.api("acme", "/quiet", token, spoofed...), "||||||||")
	wantPassed(t, "set", g.api("acme", "/forward", token, spoofed...), testUser+"|org_1|one|openid read:orders|read:orders|app|acme||")
	wantPassed(t, "set to nothing", g.api("acme", "/forward", robot, spoofed...), testUser+"|||openid read:orders|read:orders|app|acme||")
	// A proxy removes what Connection names.
	hop := []string{"Connection", "x-org-id, keep-alive", "Connection", "X-Tenant-ID"}
	wantPassed(t, "hop by hop", g.api("acme", "/forward", token, hop...), testUser+"|org_1|one|openid read:orders|read:orders|app|acme|keep-alive|")
	wantPassed(t, "hop by hop, only", g.api("acme", "/forward", token, "Connection", "X-User-Id"), testUser+"|org_1|one|openid read:orders|read:orders|app|acme||")
}
