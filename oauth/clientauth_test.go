package oauth

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Every failure of client authentication has one answer (C4.32, C4.33).
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := []string{"grant_type", grantClientCredentials, "audience", orders}
	for _, tt := range []struct {
		name            string
		id, secret      string
		method          string // registered
		basic, accepted bool
	}{
		{"post", m2mID, m2mSecret, authPost, false, true},
		{"basic", m2mID, m2mSecret, authPost, true, true},
		{"post for basic", m2mID, m2mSecret, authBasic, false, true},
		{"wrong", m2mID, "wrong", authPost, false, false},
		{"wrong basic", m2mID, "wrong", authPost, true, false},
		{"empty", m2mID, "", authPost, false, false},
		{"missing", m2mID, "-", authPost, false, false},
		{"unknown client", "nobody", m2mSecret, authPost, false, false},
		{"no client", "", m2mSecret, authPost, false, false},
		{"no client, basic", "", "", authPost, true, false},
		{"secret of a public client", m2mID, m2mSecret, authNone, false, false},
		{"client of a method that is not offered", m2mID, m2mSecret, "private_key_jwt", false, false},
		{"client without a method", m2mID, m2mSecret, "", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside}
			f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.TokenEndpointAuthMethod = tt.method })
			r := newForm("/oauth/token", values(append(good, "client_id", tt.id, "client_secret", tt.secret)...))
			if tt.basic {
				r = newForm("/oauth/token", values(good...))
				r.SetBasicAuth(tt.id, tt.secret)
			}
			answer := f.send("acme", r)
			if tt.accepted {
				answer.ok()
				return
			}
			answer.refused(401, "invalid_client", "Client authentication failed")
			if challenged := answer.header.Get("WWW-Authenticate") != ""; challenged != tt.basic {
				t.Errorf("challenged: %v", challenged)
			}
		})
	}
}

func TestMalformedAuthorizationHeader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, header := range [][]string{{"Basic"}, {"Basic !!!"}, {"Bearer abc"}, {"Basic YTpi", "Basic YTpi"}} {
		r := newForm("/oauth/token", values("grant_type", grantClientCredentials, "audience", orders, "client_id", m2mID))
		r.Header["Authorization"] = header
		if got := f.send("acme", r).refused(401, "invalid_client", "*").header.Get("WWW-Authenticate"); got == "" {
			t.Errorf("%v: no challenge", header)
		}
	}
}

// Inside Basic both parts are form-encoded (RFC 6749 section 2.3.1); clients that
// do not encode are understood too.
func TestBasicEncoding(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const secret = "a+b%20c d/e=f&g+a+b%20c d/e=f&g"
	hash, err := tenancy.HashSecret(f.in("acme"), secret)
	f.must(err)
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.SecretHash = hash })
	for _, sent := range []string{secret, url.QueryEscape(secret)} {
		r := newForm("/oauth/token", values("grant_type", grantClientCredentials, "audience", orders))
		r.SetBasicAuth(m2mID, sent)
		f.send("acme", r).ok()
	}
}

func TestSecretRotation(t *testing.T) { // C4.33, SC-072
	t.Parallel()
	f := newFixture(t)
	const next = "next-secret-next-secret-next-secret-next-secret"
	hash, err := tenancy.HashSecret(f.in("acme"), next)
	f.must(err)
	f.updateClient("acme", m2mID, func(c *tenancy.Client) {
		c.PreviousSecretHash, c.SecretHash, c.PreviousUntil = c.SecretHash, hash, tenancy.At(f.clock.now().Add(time.Minute))
	})
	f.machineToken("acme").ok()
	f.machineToken("acme", "client_secret", next).ok()
	f.clock.advance(time.Minute)
	f.machineToken("acme").refused(401, "invalid_client", "Client authentication failed")
	f.machineToken("acme", "client_secret", next).ok()
}

// Form and JSON are equal (C4.36).
func TestJSONBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := `{"grant_type":"client_credentials","client_id":"m2m","client_secret":"` + m2mSecret + `","audience":"` + orders + `"`
	f.send("acme", newJSON(body+`}`)).ok()
	f.send("acme", newJSON(body+`,"other":{"a":[1,2]},"timeout":10,"x":null}`)).ok() // not ours: ignored
	for _, tt := range []struct{ body, text string }{
		{body + `,"scope":5}`, "Parameter scope must be a string"},
		{body + `,"scope":null}`, "Parameter scope must be a string"},
		{body + `,"scope":["a"]}`, "Parameter scope must be a string"},
		{body, "Malformed request body"},
		{body + `} {}`, "Malformed request body"},
		{`[]`, "Malformed request body"},
		{``, "Malformed request body"},
		{`"x"`, "Malformed request body"},
		{`{"grant_type":"client_credentials\u0000"}`, "Parameter grant_type is not valid text"},
	} {
		f.send("acme", newJSON(tt.body)).refused(400, "invalid_request", tt.text)
	}
}

func TestMalformedForms(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, form := range []url.Values{{"grant_type": {"x\x00"}}, {"grant_type": {"\xff"}}, {"gra\x00nt": {"x"}}} {
		f.send("acme", newForm("/oauth/token", form)).refused(400, "invalid_request", "*")
	}
	f.send("acme", newForm("/oauth/token?%zz", values("grant_type", "x"))).refused(400, "invalid_request", "Malformed query")
	r, err := http.NewRequest(http.MethodPost, "/oauth/token", newForm("/", url.Values{}).Body)
	f.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f.send("acme", r).refused(400, "invalid_request", "Missing required parameter: grant_type")
}
