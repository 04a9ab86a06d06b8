package test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/gatehouse-id/gatehouse/oauth/upstream/upstreamtest"
)

// elsewhere is a provider of the plans whose people may also log in at an identity
// provider.
type elsewhere struct {
	*provider
	op         *upstreamtest.OP
	connection string // path of the connection
}

// leave has a browser sent to the identity provider, and returns what it comes
// back with.
func (e *elsewhere) leave(v *visitor) url.Values {
	v.t.Helper()
	there := e.look(v, e.request(e.one, "connection", "partner", "prompt", "login", "scope", "openid email"))
	if there.status != 0 || !strings.HasPrefix(there.url.String(), e.op.Issuer) {
		v.t.Fatalf("not sent to the provider: %s %d %.300s", there.url, there.status, there.body)
	}
	return e.op.Authorize(v.t, there.url.String())
}

// back is the browser coming back with an answer.
func (e *elsewhere) back(v *visitor, answer url.Values) page {
	v.t.Helper()
	return v.open(e.endpoint("login/callback?" + answer.Encode()))
}

// in logs a person in and returns the ID token's claims.
func (e *elsewhere) in(v *visitor) map[string]any {
	v.t.Helper()
	return e.redeemed(v.t, e.one, e.wantCode(v.t, e.back(v, e.leave(v)))).claims
}

// wantStranger: nobody was let in.
func (e *elsewhere) wantStranger(v *visitor, p page, what string) {
	v.t.Helper()
	if p.status < 400 || p.status == http.StatusInternalServerError {
		v.t.Errorf("%s: %s %d %.300s", what, p.url, p.status, p.body)
	}
	e.wantSession(v, false)
}

// upstreamAttackPlan is the attacks through identity providers elsewhere.
func upstreamAttackPlan(e *elsewhere) []module {
	return []module{{"A23", "upstream-login", func(t testing.TB, _ *provider) {
		for name, attack := range map[string]func(testing.TB, *elsewhere){
			"ID tokens": attackWithIDTokens, "addresses": attackWithAddresses, "claims": attackWithClaims,
			"answers": attackWithAnswers, "connections that ended": attackWithEndedConnections,
		} {
			t.Log(name)
			attack(t, e)
		}
	}}}
}

// ZITADEL CVE-2026-55669 and GHSA-wxg7-w2v3-w38g, and what else must be right about
// an ID token (OpenID Connect Core section 3.1.3.7).
func attackWithIDTokens(t testing.TB, e *elsewhere) {
	e.op.Person(map[string]any{"sub": "1", "email": "ida@example.net", "email_verified": true})
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	for name, alter := range map[string]func(jwt.MapClaims){
		"another audience":   func(c jwt.MapClaims) { c["aud"] = "another client" },
		"audiences, not us":  func(c jwt.MapClaims) { c["aud"] = []string{"one", "another"} },
		"no audience":        func(c jwt.MapClaims) { delete(c, "aud") },
		"asked by another":   func(c jwt.MapClaims) { c["aud"], c["azp"] = []any{c["aud"], "evil"}, "evil" },
		"expired":            func(c jwt.MapClaims) { c["exp"] = past },
		"never expires":      func(c jwt.MapClaims) { delete(c, "exp") },
		"issued tomorrow":    func(c jwt.MapClaims) { c["iat"] = future },
		"never issued":       func(c jwt.MapClaims) { delete(c, "iat") },
		"not yet":            func(c jwt.MapClaims) { c["nbf"] = future },
		"another issuer":     func(c jwt.MapClaims) { c["iss"] = e.issuer(e.tenant) },
		"another nonce":      func(c jwt.MapClaims) { c["nonce"] = "another" },
		"no nonce":           func(c jwt.MapClaims) { delete(c, "nonce") },
		"nobody":             func(c jwt.MapClaims) { delete(c, "sub") },
		"an empty subject":   func(c jwt.MapClaims) { c["sub"] = "" },
		"a subject in parts": func(c jwt.MapClaims) { c["sub"] = "1\u0000|x" },
	} {
		v := newVisitor(t)
		e.op.Alter(alter)
		e.wantStranger(v, e.back(v, e.leave(v)), name)
	}
	e.op.Alter(nil)
	if got := e.in(newVisitor(t)); got["sub"] != "oidc|partner|1" {
		t.Errorf("a good one: %v", got)
	}
}

// nOAuth, and Keycloak CVE-2026-14781 and CVE-2026-9087: people are found by
// connection and subject, an address proves nothing, and is verified by who names it.
func attackWithAddresses(t testing.TB, e *elsewhere) {
	for i, verified := range []any{true, "true", false} {
		e.op.Person(map[string]any{"sub": fmt.Sprint("thief", i), "email": conformUser, "email_verified": verified})
		v := newVisitor(t)
		got := e.in(v)
		if got["sub"] != fmt.Sprint("oidc|partner|thief", i) || got["sub"] == e.user {
			t.Errorf("with the address of %s, who logs in is %v", conformUser, got["sub"])
		}
		if i > 0 && got["email"] != nil {
			t.Errorf("an address that somebody of the connection has: %v", got)
		}
	}
	e.op.Person(map[string]any{"sub": "split", "email": "split@example.net", "email_verified": false})
	e.op.Alter(func(c jwt.MapClaims) { delete(c, "email"); c["email_verified"] = true })
	if got := e.in(newVisitor(t)); got["email"] != "split@example.net" || got["email_verified"] != false {
		t.Errorf("verified in the ID token, named in user info: %v", got)
	}
	e.op.Alter(nil)
	// What was verified once is not when the address changes.
	e.op.Person(map[string]any{"sub": "moves", "email": "moves@example.net", "email_verified": true})
	before := e.in(newVisitor(t))
	e.op.Person(map[string]any{"sub": "moves", "email": "boss@example.net"})
	after := e.in(newVisitor(t))
	if before["email_verified"] != true || after["sub"] != before["sub"] || after["email"] != "boss@example.net" || after["email_verified"] != false {
		t.Errorf("an address changed from %v to %v", before, after)
	}
}

// A11, C9.43: what a provider says of our own claims is not heard.
func attackWithClaims(t testing.TB, e *elsewhere) {
	e.op.Person(map[string]any{
		"sub": "claims", "email": "claims@example.net", "org_id": "org_evil", "org_name": "evil", "tenant_id": "conform-other", "permissions": []string{"admin"},
		"scope": "admin:organizations", "azp": e.op.ClientID, "sid": "ses_evil", "app_metadata": map[string]any{"admin": true}, "user_id": e.user, "blocked": true,
		"gty": "password", "act": map[string]any{"sub": "x"}, "roles": []string{"admin"},
	})
	v := newVisitor(t)
	got := e.redeemed(t, e.one, e.wantCode(t, e.back(v, e.leave(v))))
	for _, c := range []map[string]any{got.claims, claims(t, got.Access)} {
		text := fmt.Sprint(c)
		for _, evil := range []string{"evil", "conform-other", "admin", "gty:", "act:", "roles:"} {
			if strings.Contains(text, evil) {
				t.Errorf("the token says %s: %v", evil, c)
			}
		}
	}
}

// Mix-up (RFC 9207), ZITADEL CVE-2025-46815, and answers that are somebody else's.
func attackWithAnswers(t testing.TB, e *elsewhere) {
	e.op.Person(map[string]any{"sub": "answers", "email": "answers@example.net"})
	victim, attacker := newVisitor(t), newVisitor(t)
	answer := e.leave(attacker)
	e.wantStranger(victim, e.back(victim, answer), "another browser's answer")
	e.leave(victim)
	e.wantStranger(victim, e.back(victim, answer), "another browser's answer, in a login of one's own")
	mixed := e.leave(attacker)
	mixed.Set("iss", "https://evil.example")
	e.wantStranger(attacker, e.back(attacker, mixed), "an answer of another issuer")
	mixed = e.leave(attacker)
	mixed.Set("code", "another")
	e.wantStranger(attacker, e.back(attacker, mixed), "another code")
	mixed = e.leave(attacker)
	mixed.Add("code", "another")
	e.wantStranger(attacker, e.back(attacker, mixed), "two codes")
	foreign := *e.provider
	foreign.tenant = "conform-other"
	answer = e.leave(attacker)
	if p := attacker.open(foreign.endpoint("login/callback?" + answer.Encode())); p.status != http.StatusBadRequest {
		t.Errorf("at another tenant: %s %d", p.url, p.status)
	}
	e.wantCode(t, e.back(attacker, answer))
	if p := e.back(attacker, answer); p.status != http.StatusBadRequest {
		t.Errorf("once more: %s %d", p.url, p.status)
	}
}

// CVE-2025-64717: a connection that was taken from the client, or deleted, lets
// nobody in, also who was under way.
func attackWithEndedConnections(t testing.TB, e *elsewhere) {
	e.op.Person(map[string]any{"sub": "ended", "email": "ended@example.net"})
	v := newVisitor(t)
	enabled := func(status bool) {
		e.api.call(t, http.MethodPatch, e.connection+"/clients", []map[string]any{{"client_id": e.one.id, "status": status}}).want(t, http.StatusNoContent)
	}
	answer := e.leave(v)
	enabled(false)
	e.wantStranger(v, e.back(v, answer), "a connection that is the client's no more")
	if p := e.look(v, e.request(e.one, "connection", "partner")); p.status == 0 && strings.HasPrefix(p.url.String(), e.op.Issuer) {
		t.Errorf("still sent to %s", p.url)
	}
	enabled(true)
	e.wantCode(t, e.back(v, e.leave(v)))
	e.wantSession(v, true)

	late := newVisitor(t)
	answer = e.leave(late)
	e.api.call(t, http.MethodDelete, e.connection, nil).want(t, http.StatusNoContent)
	e.wantStranger(late, e.back(late, answer), "a connection that is deleted")
	e.connect(t) // for whoever comes next
}

// connect makes the connection to the identity provider.
func (e *elsewhere) connect(t testing.TB) {
	c := e.api.create(t, "/connections", map[string]any{
		"name": "partner", "strategy": "oidc", "enabled_clients": []string{e.one.id},
		"options": map[string]any{"issuer": e.op.Issuer, "client_id": e.op.ClientID, "client_secret": e.op.ClientSecret},
	})
	e.connection = "/connections/" + c["id"].(string)
}

// TestUpstreamAttacks has a gateway of its own, which may ask providers on this
// machine.
func TestUpstreamAttacks(t *testing.T) {
	op := upstreamtest.Start(t, "gatehouse", "the secret that gatehouse has there")
	g, config := withoutAdministrator(t)
	config = strings.Replace(config, "private_networks 127.0.0.2/32", "private_networks 127.0.0.0/8", 1)
	p := startProcess(t, g, config)
	e := &elsewhere{provider: newProvider(t, p.gateway, "conform"), op: op}
	newProvider(t, p.gateway, "conform-other")
	e.connect(t)
	plan(t, e.provider, upstreamAttackPlan(e))
}
