package oauth

import (
	"net/url"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// RFC 8707: a resource is the audience, in every grant; both and different are
// refused, as is what is no absolute URI.
func TestResource(t *testing.T) {
	t.Parallel()
	f := tvFixture(t)
	b := f.loggedIn("acme", ada)

	// Authorization requests, plain and pushed.
	const scope = "openid read:items offline_access"
	code := b.wantCode(b.authorize("resource", catalog, "scope", scope))
	aud := func(token string) string { return payload(t, token)["aud"].([]any)[0].(string) }
	if got := aud(b.exchange(code, url.Values{"resource": {catalog}})["access_token"].(string)); got != catalog {
		t.Errorf("aud %q", got)
	}
	b.wantCode(b.authorize("resource", catalog, "audience", catalog, "scope", scope))
	for _, pairs := range [][]string{
		{"resource", catalog, "audience", orders}, {"resource", "orders"}, {"resource", catalog + "#part"}, {"resource", "https://[bad"},
	} {
		v := answerOf(t, b.authorize(pairs...))
		if v.Get("error") != "invalid_target" || v.Get("iss") != issuerOf("acme") || v.Has("code") {
			t.Errorf("%v: %v", pairs, v)
		}
		f.ask("acme", "/oauth/par", append([]string{
			"client_id", spaID, "redirect_uri", callback, "response_type", "code", "code_challenge", challenge, "code_challenge_method", "S256",
		}, pairs...)...).refused(400, "invalid_target", "*")
		f.beginDevice("acme", append([]string{"audience", "-"}, pairs...)...).refused(400, "invalid_target", "*")
		f.machineToken("acme", append([]string{"audience", "-"}, pairs...)...).refused(400, "invalid_target", "*")
	}

	// Client credentials.
	if claims := f.machineToken("acme", "audience", "-", "resource", orders).ok().claims("access_token"); claims["aud"] != orders {
		t.Errorf("aud %v", claims["aud"])
	}

	// A grant that was given for another resource is not used up by the mistake.
	code = f.code("acme", codeFor{audience: orders})
	f.redeem("acme", code, "resource", catalog).refused(400, "invalid_target", "The authorization was not granted for resource "+catalog)
	tokens := f.redeem("acme", code, "resource", orders).ok()
	f.refresh("acme", tokens.text("refresh_token"), "resource", catalog).refused(400, "invalid_target", "*")
	f.refresh("acme", tokens.text("refresh_token"), "resource", orders).ok()

	// A device.
	f.useAlg("acme", "rs_catalog", "EdDSA")
	device := f.beginDevice("acme", "audience", "-", "resource", catalog, "scope", "openid read:items").ok()
	b.letIn(device)
	f.token("acme", "grant_type", grantDevice, "client_id", tvID, "device_code", device.text("device_code"), "resource", orders).
		refused(400, "invalid_target", "*")
	if got := aud(f.poll("acme", device).ok().text("access_token")); got != catalog {
		t.Errorf("aud %q", got)
	}

	// Token exchange: the same name of the same thing (RFC 8693 section 2.1).
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantTokenExchange) })
	subject := b.exchange(b.wantCode(b.authorize("audience", orders, "organization", "org_1", "scope", "openid read:orders")), nil)["access_token"].(string)
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.OrganizationUsage = "allow" })
	exchanged := f.token("acme", "grant_type", grantTokenExchange, "client_id", m2mID, "client_secret", m2mSecret,
		"subject_token", subject, "subject_token_type", tokenTypeAccess, "resource", orders).ok()
	if got := exchanged.claims("access_token")["aud"]; got != orders {
		t.Errorf("aud %v", got)
	}
}
