package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestTenantAuthStates: whatever becomes of a tenant shows at once (C1.17 to
// C1.21, C9.54, C9.55).
func TestTenantAuthStates(t *testing.T) {
	g := newGuarded(t)
	token := g.token("acme", nil)
	state := func(s tenancy.State) {
		t.Helper()
		_, err := g.services().lifecycle.Update(t.Context(), "acme", func(row *tenancy.Tenant) error { row.State = s; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	wantPassed(t, "active", g.api("acme", "/any", token), fmt.Sprintf(adaSeen, "acme"))
	state(tenancy.StateSuspended)
	wantRefused(t, "suspended", g.api("acme", "/any", token, "Accept", "text/html"), 403, "access_denied", "Tenant is suspended", "")
	for _, s := range []tenancy.State{tenancy.StateProvisioning, tenancy.StateFailed} {
		state(s)
		if got := g.api("acme", "/api/v2/x", token); got.status != 503 || got.header.Get("Retry-After") != "5" || got.member(t, "error") != "temporarily_unavailable" {
			t.Errorf("%s: got %d %s", s, got.status, got.body)
		}
	}
	state(tenancy.StateActive)
	wantPassed(t, "active again", g.api("acme", "/any", token), fmt.Sprintf(adaSeen, "acme"))
	if err := g.services().lifecycle.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if got := g.api("acme", "/any", token); got.status != 404 || got.body != unknownTenant {
		t.Errorf("deleted: got %d %s", got.status, got.body)
	}
	g.tenant("acme")
	g.inside("acme", g.fill)
	wantBad(t, "re-created", g.api("acme", "/any", token))
	wantPassed(t, "the other tenant", g.api("widgets", "/any", g.token("widgets", nil)), fmt.Sprintf(adaSeen, "widgets"))
}

// TestTenantAuthEnds: a token ends with what it came from, at once (C3.31, C4.48).
func TestTenantAuthEnds(t *testing.T) {
	g := newGuarded(t)
	post := func(path string, form url.Values) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", g.http, path), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "acme.auth.example.com"
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return g.send(http.DefaultClient, r)
	}
	secret := url.Values{"client_id": {"robot"}, "client_secret": {testSecret}}
	token := post("/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {testSecret}, "audience": {testAPI}}).member(t, "access_token")
	wantPassed(t, "a machine's", g.api("acme", "/any", token), "robot@clients|||read:orders||robot|acme|acme")
	secret.Set("token", token)
	if got := post("/oauth/revoke", secret); got.status != http.StatusOK {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	wantBad(t, "revoked", g.api("acme", "/any", token))

	for name, end := range map[string]func(context.Context) error{
		"session ended": func(ctx context.Context) error { return tenancy.Sessions.Delete(ctx, "ses_1") },
		"member removed": func(ctx context.Context) error {
			return tenancy.Commit(ctx, tenancy.RemoveMember(ctx, "org_1", testUser)...)
		},
		"user removed": func(ctx context.Context) error { return tenancy.Commit(ctx, tenancy.RemoveUser(ctx, testUser)...) },
	} {
		id := strings.ReplaceAll(name, " ", "-")
		g.tenant(id)
		g.inside(id, g.fill)
		token := g.token(id, nil)
		wantPassed(t, "before", g.api(id, "/any", token), fmt.Sprintf(adaSeen, id))
		g.inside(id, end)
		wantBad(t, name, g.api(id, "/any", token))
		wantPassed(t, name+" elsewhere", g.api("acme", "/any", g.token("acme", nil)), fmt.Sprintf(adaSeen, "acme"))
	}
}

// TestTenantAuthConnections: neither a connection for another tenant nor a
// recording gets a token through (RFC 9110 section 15.5.20, RFC 8470).
func TestTenantAuthConnections(t *testing.T) {
	g := newGuarded(t)
	token := g.token("acme", nil)
	h := &TenantAuth{Audience: []string{testAPI}, HostSuffix: "api.example.com", runtime: runningRuntime(t)}
	for _, c := range []struct {
		name, sni string
		complete  bool
		want      int
	}{
		{"same", "acme.api.example.com", true, 200},
		{"the same tenant by another name", "acme.auth.example.com", true, 200},
		{"no name", "", true, 200},
		{"another tenant", "widgets.api.example.com", true, 421},
		{"nobody", "elsewhere.org", true, 421},
		{"early", "acme.api.example.com", false, 425},
	} {
		r := request("GET", "https://acme.api.example.com/.well-known/x")
		r.Header.Set("Authorization", "Bearer "+token)
		r.TLS = &tls.ConnectionState{ServerName: c.sni, HandshakeComplete: c.complete}
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, r, passed{}); err != nil {
			t.Fatal(err)
		}
		if w.Code != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, w.Code, w.Body, c.want)
		}
	}
	w := httptest.NewRecorder()
	if err := (&TenantAuth{runtime: new(runtime)}).ServeHTTP(w, request("GET", "https://acme.api.example.com/api/v2/x"), passed{}); err != nil {
		t.Fatal(err)
	}
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || !strings.HasPrefix(w.Body.String(), `{"error":"temporarily_unavailable"`) {
		t.Errorf("not ready: got %d %s", w.Code, w.Body)
	}
}

// passed is the handler behind the gateway.
type passed struct{}

func (passed) ServeHTTP(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// TestTenantAuthRefused checks what is found when a configuration is loaded. Each
// message begins with the word to change.
func TestTenantAuthRefused(t *testing.T) {
	audience := []string{testAPI}
	for _, c := range []struct {
		name string
		h    TenantAuth
		want string
	}{
		{"no audience", TenantAuth{}, "audience: is missing"},
		{"empty audience", TenantAuth{Audience: []string{"{env.GATEHOUSE_TEST_UNSET}"}}, "audience: "},
		{"scope with a quote", TenantAuth{Audience: audience, Scope: []string{`a"b`}}, `scope: "a\"b" is no scope`},
		{"scope of two words", TenantAuth{Audience: audience, Scope: []string{"a b"}}, `scope: "a b" is no scope`},
		{"permission with a backslash", TenantAuth{Audience: audience, Permission: []string{`a\b`}}, "permission: "},
		{"word among organizations", TenantAuth{Audience: audience, Organization: []string{"one", "Required"}}, `organization: "required" stands alone`},
		{"no organization's name", TenantAuth{Audience: audience, Organization: []string{"one.two"}}, `organization: "one.two" can be no`},
		{"suffix with a scheme", TenantAuth{Audience: audience, HostSuffix: "https://api.example.com"}, `host_suffix: "https://api.example.com" is not`},
		{"suffix with a port", TenantAuth{Audience: audience, HostSuffix: "api.example.com:443"}, `host_suffix: "api.example.com:443" is not`},
	} {
		errs := c.h.resolve()
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), c.want) {
			t.Errorf("%s: got %v, want an error that begins with %s", c.name, errs, c.want)
		}
	}
	h := TenantAuth{Audience: audience, HostSuffix: ".API.example.com", Organization: []string{"ONE", "org_X"}}
	if errs := h.resolve(); errs != nil || h.HostSuffix != "api.example.com" || h.Organization[0] != "one" || h.Organization[1] != "org_X" {
		t.Errorf("got %+v, %v", h, errs)
	}
}
