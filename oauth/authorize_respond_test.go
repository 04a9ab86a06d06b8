package oauth

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C4.20, C2.39, conformance C01 to C08: every response type gives exactly what it
// names, in the fragment unless asked otherwise, with state and iss; hashes tie
// the parts together (OpenID Connect Core sections 3.2.2.10, 3.3.2.11).
func TestFrontChannel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = append(c.GrantTypes, grantImplicit) })
	b := f.loggedIn("acme", ada)
	discovered := list(f.send("acme", newGet("/.well-known/openid-configuration")).ok().json["response_types_supported"])
	if len(discovered) != 7 {
		t.Fatalf("response types %v", discovered)
	}
	for _, types := range discovered {
		t.Run(types, func(t *testing.T) {
			front := types != "code"
			w := b.authorize("response_type", types, "audience", orders, "organization", "org_1",
				"scope", "openid profile offline_access read:orders", "prompt", "none", "response_mode", map[bool]string{true: "-", false: "query"}[front])
			location, err := url.Parse(w.Header().Get("Location"))
			if err != nil || w.Code != 302 || (location.Fragment != "") != front || front && location.RawQuery != "" {
				t.Fatalf("%d to %s", w.Code, location)
			}
			v := answerOf(t, w)
			want := []string{"iss", "state"}
			for part, names := range map[string][]string{
				"code": {"code"}, "id_token": {"id_token"}, "token": {"access_token", "expires_in", "scope", "token_type"},
			} {
				if slices.Contains(strings.Fields(types), part) {
					want = append(want, names...)
				}
			}
			var got []string
			for name := range v {
				got = append(got, name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || v.Get("state") != "state-1" || v.Get("iss") != issuerOf("acme") {
				t.Fatalf("answer has %v, want %v", got, want)
			}
			if token := v.Get("access_token"); token != "" {
				claims := payload(t, token)
				if claims["org_id"] != "org_1" || claims["scope"] != "openid profile read:orders" || v.Get("scope") != claims["scope"] || v.Get("expires_in") != "7200" ||
					claims["exp"].(float64)-claims["iat"].(float64) != 7200 || claims["sid"] != b.session().ID {
					t.Errorf("access token %v, answer %v", claims, v)
				}
				if _, err := f.server.Verify(f.in("acme"), token); err != nil {
					t.Error(err)
				}
			}
			if token := v.Get("id_token"); token != "" {
				claims := payload(t, token)
				if claims["nonce"] != "nonce-1" || claims["aud"] != spaID || claims["org_id"] != "org_1" || claims["name"] != "Ada of acme" {
					t.Errorf("ID token %v", claims)
				}
				for name, of := range map[string]string{"at_hash": v.Get("access_token"), "c_hash": v.Get("code")} {
					if got, _ := claims[name].(string); got != halfHash("RS256", of) {
						t.Errorf("%s %q of %q", name, got, of)
					}
				}
			}
			if code := v.Get("code"); code != "" {
				tokens := b.exchange(code, nil)
				if tokens["refresh_token"] == nil {
					t.Errorf("code gave %v", tokens)
				}
				f.redeem("acme", code).refused(400, "invalid_grant", "Invalid authorization code")
				if front := v.Get("access_token"); front != "" { // of the same family
					if _, err := f.server.Verify(f.in("acme"), front); err == nil {
						t.Error("the token beside a code that was used twice lives on")
					}
				}
			}
		})
	}
}

// C4.21, C3.1: modes, and no tokens for clients that do not list the grant, for
// people who may not, or in a query.
func TestFrontChannelRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{grantImplicit} })
	b := f.browser("acme")
	implicit := []string{"response_type", "id_token token", "code_challenge", "-", "code_challenge_method", "-"}
	with := func(pairs ...string) []string { return append(slices.Clone(implicit), pairs...) }

	// A login, a form and a message.
	v := answerOf(t, b.login(ada, with()...))
	if v.Get("access_token") == "" || v.Get("id_token") == "" || v.Has("code") {
		t.Errorf("answer %v", v)
	}
	if w := b.authorize(with("response_mode", "form_post")...); !strings.Contains(w.Body.String(), `name="access_token"`) || !strings.Contains(w.Body.String(), `name="iss"`) {
		t.Errorf("form %s", w.Body)
	}
	if v := answerOf(t, b.authorize(with("response_mode", "web_message", "prompt", "none")...)); v.Get("id_token") == "" || v.Get("iss") != issuerOf("acme") {
		t.Errorf("message %v", v)
	}

	b.wantError(b.authorize(with("response_mode", "query")...), "invalid_request", "Invalid response_mode 'query' for response_type 'id_token token'")
	b.wantError(b.authorize(with("response_type", "code")...), "unauthorized_client", "Grant type 'authorization_code' not allowed for the client.")
	b.wantError(b.authorize(with("organization", "org_3", "prompt", "none")...), "access_denied", "user "+ada+" is not part of the org_3 organization")
	b.wantError(b.authorize(with("audience", "https://nowhere.example.com")...), "access_denied", "Service not found: https://nowhere.example.com")
	f.token("acme", "grant_type", grantImplicit, "client_id", spaID).refused(400, "unsupported_grant_type", "*")
	f.updateClient("acme", spaID, func(c *tenancy.Client) { c.GrantTypes = []string{"authorization_code"} })
	for _, types := range []string{"token", "id_token", "id_token token", "code id_token", "code token", "token id_token code"} {
		b.wantError(b.authorize("response_type", types), "unauthorized_client", "Grant type 'implicit' not allowed for the client.")
	}
}
