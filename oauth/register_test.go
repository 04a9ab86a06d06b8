package oauth

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// registration switches dynamic registration of a tenant on, openly or not.
func (f *fixture) registration(tenant string, open bool) {
	f.must(tenancy.SettingsRows.Create(f.in(tenant), &tenancy.SettingsRow{
		Row: tenancy.Row{ID: tenancy.SettingsOwn},
		Values: map[string]json.RawMessage{
			"flags.enable_dynamic_client_registration": json.RawMessage("true"), "flags.dcr_open": encoded(f.t, open),
		},
	}))
}

func encoded(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// client sends metadata, changed by more; a nil value leaves a member out.
func (f *fixture) client(tenant, method, path, token string, more map[string]any) *reply {
	f.t.Helper()
	m := map[string]any{"redirect_uris": []string{"https://new.example.net/cb"}, "client_name": "New"}
	maps.Copy(m, more)
	for name, value := range m {
		if value == nil {
			delete(m, name)
		}
	}
	r := httptest.NewRequest(method, path, strings.NewReader(string(encoded(f.t, m))))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return f.send(tenant, r)
}

func TestRegistrationIsOff(t *testing.T) { // C4.62, C4.56
	t.Parallel()
	f := newFixture(t)
	f.registration("widgets", true)
	f.client("acme", http.MethodPost, pathRegister, "", nil).refused(404, "not_found", "Not Found")
	f.client("acme", http.MethodGet, pathClient+spaID, "x", nil).refused(404, "not_found", "Not Found")
	for tenant, want := range map[string]any{"acme": nil, "widgets": issuerOf("widgets") + "oidc/register"} {
		if got := f.send(tenant, newGet("/.well-known/openid-configuration")).ok().json["registration_endpoint"]; got != want {
			t.Errorf("%s: registration_endpoint %v, want %v", tenant, got, want)
		}
	}
}

// RFC 7591 section 3.2.1, contract C4.63, C4.64.
func TestRegistration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	_, err := tenancy.Connections.Update(f.in("acme"), "con_2", func(c *tenancy.Connection) error { c.IsDomainConnection = true; return nil })
	f.must(err)
	got := f.client("acme", http.MethodPost, pathRegister, "", map[string]any{
		"grant_types": []string{"authorization_code", "refresh_token"}, "contacts": []string{"ops@new.example.net"}, "scope": "openid email",
		"post_logout_redirect_uris": []string{"https://new.example.net/bye"}, "backchannel_logout_uri": "https://new.example.net/out",
		"tos_uri": "https://new.example.net/tos", "unheard_of": 1, "is_first_party": true,
	})
	if got.status != http.StatusCreated || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %s %v", got.status, got.body, got.header)
	}
	id := got.text("client_id")
	for name, want := range map[string]any{
		"client_name": "New", "token_endpoint_auth_method": "client_secret_basic", "client_secret_expires_at": 0.0, "application_type": "web",
		"registration_client_uri": issuerOf("acme") + "oidc/register/" + id, "scope": "openid email", "id_token_signed_response_alg": "RS256",
		"backchannel_logout_uri": "https://new.example.net/out", "tos_uri": "https://new.example.net/tos", "unheard_of": nil, "is_first_party": nil,
	} {
		if got.json[name] != want {
			t.Errorf("%s: got %v, want %v", name, got.json[name], want)
		}
	}
	for name, want := range map[string][]string{
		"redirect_uris": {"https://new.example.net/cb"}, "response_types": {"code"}, "grant_types": {"authorization_code", "refresh_token"},
		"contacts": {"ops@new.example.net"}, "post_logout_redirect_uris": {"https://new.example.net/bye"},
	} {
		if list := list(got.json[name]); !slices.Equal(list, want) {
			t.Errorf("%s: got %v, want %v", name, list, want)
		}
	}
	c, err := tenancy.Clients.Get(f.in("acme"), id)
	f.must(err)
	token := got.text("registration_access_token")
	if c.IsFirstParty || c.RegistrationHash == token || c.RegistrationHash != tenancy.HashToken(token) || len(id) != 32 || c.OrganizationUsage != "" {
		t.Errorf("client %+v", c)
	}
	if n, err := tenancy.ClientGrants.Count(f.in("acme"), tenancy.Filter{Where: "client_id = ?", Args: []any{id}}); n != 0 || err != nil { // C9.39
		t.Errorf("%d grants, %v", n, err)
	}
	if ok, err := clientHasConnection(f.in("acme"), id, otherConnection); !ok || err != nil {
		t.Errorf("the domain's connection is enabled: %t, %v", ok, err)
	}
	if e := f.events.last("sapi"); e == nil || e.ClientID != id || strings.Contains(string(encoded(t, e)), token) {
		t.Errorf("event %+v", e)
	}
}

// What a registered client is good for, and where (C4.63, C9.7, C9.39).
func TestRegisteredClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	f.registration("widgets", true)
	got := f.client("acme", http.MethodPost, pathRegister, "", nil)
	id, token := got.text("client_id"), got.text("registration_access_token")
	r := newForm("/oauth/token", values("grant_type", "authorization_code", "code", "x", "redirect_uri", "https://new.example.net/cb"))
	r.SetBasicAuth(id, got.text("client_secret"))
	f.send("acme", r).refused(400, "invalid_grant", "*") // it authenticates
	f.token("acme", "grant_type", grantClientCredentials, "client_id", id, "client_secret", got.text("client_secret"), "audience", orders).
		refused(400, "unauthorized_client", "*")
	public := f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"token_endpoint_auth_method": "none"})
	if public.status != http.StatusCreated || public.json["client_secret"] != nil {
		t.Errorf("public client: %d %s", public.status, public.body)
	}
	// Another tenant knows neither the client nor its token (C9.7).
	f.client("widgets", http.MethodGet, pathClient+id, token, nil).refused(401, "invalid_token", "*")
}

// RFC 7591 section 3.2.2; D07, A34, C9.39.
func TestRegistrationRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	for _, c := range []struct {
		code string
		more map[string]any
	}{
		{"invalid_redirect_uri", map[string]any{"redirect_uris": nil}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"https://new.example.net/cb#x"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"http://new.example.net/cb"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"http://127.0.0.1/cb"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"https://*.example.net/cb"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"javascript:alert(1)"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"data:text/html,x"}}},
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"com.example.app:/cb"}}}, // of a web application
		{"invalid_redirect_uri", map[string]any{"redirect_uris": []string{"https://a@new.example.net/cb"}}},
		{"invalid_client_metadata", map[string]any{"redirect_uris": "https://new.example.net/cb"}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{"client_credentials"}, "redirect_uris": nil}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{"authorization_code", "password"}}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{"implicit"}, "response_types": []string{"token"}}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{"authorization_code"}, "response_types": []string{"code", "id_token"}}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{"refresh_token"}, "response_types": []string{"code"}}},
		{"invalid_client_metadata", map[string]any{"grant_types": []string{grantTokenExchange}}},
		{"invalid_client_metadata", map[string]any{"scope": "openid read:orders"}},
		{"invalid_client_metadata", map[string]any{"audience": orders}},
		{"invalid_client_metadata", map[string]any{"id_token_signed_response_alg": "none"}},
		{"invalid_client_metadata", map[string]any{"id_token_signed_response_alg": "HS256"}},
		{"invalid_client_metadata", map[string]any{"logo_uri": "javascript:alert(1)"}},
		{"invalid_client_metadata", map[string]any{"backchannel_logout_uri": "http://169.254.169.254/"}},
		{"invalid_client_metadata", map[string]any{"client_name": "<script>"}},
		{"invalid_client_metadata", map[string]any{"initiate_login_uri": "http://new.example.net/"}}, // D22
		{"invalid_software_statement", map[string]any{"software_statement": "x.y.z"}},
	} {
		f.client("acme", http.MethodPost, pathRegister, "", c.more).refused(400, c.code, "*")
	}
	for body, status := range map[string]int{
		`[]`: 400, `{"client_name":"a"`: 400, `{"client_name":"a","client_name":"b"}`: 400, "": 400,
		`{"x":"` + strings.Repeat("x", maxBody) + `"}`: 413,
	} {
		r := httptest.NewRequest(http.MethodPost, pathRegister, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if got := f.send("acme", r); got.status != status || got.text("error") == "" {
			t.Errorf("%.40s: got %d %s, want %d", body, got.status, got.body, status)
		}
	}
	r := newForm(pathRegister, values("client_name", "a"))
	f.send("acme", r).refused(415, "invalid_request", "*")
	if n, err := tenancy.Clients.Count(f.in("acme"), tenancy.Filter{}); n != 5 || err != nil {
		t.Errorf("%d clients, %v: one was registered", n, err)
	}
	if native := f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"application_type": "native", "redirect_uris": []string{"com.example.app:/cb"}}); native.status != http.StatusCreated {
		t.Errorf("a native application: %d %s", native.status, native.body)
	}
}

// RFC 7591 section 3: who may register where it is not open (C4.62).
func TestInitialAccessToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", false)
	f.registration("widgets", false)
	for _, tenant := range []string{"acme", "widgets"} {
		f.must(tenancy.Commit(f.in(tenant), tenancy.ClientGrants.Insert(f.in(tenant), &tenancy.ClientGrant{
			Row: tenancy.Row{ID: "cgr_m"}, ClientID: m2mID, Audience: tenancy.ManagementAudience, Scope: []string{"create:clients", "read:clients"},
		})))
	}
	initial := func(tenant, scope string) string {
		return f.machineToken(tenant, "audience", tenancy.ManagementAudience, "scope", scope).ok().text("access_token")
	}
	f.client("acme", http.MethodPost, pathRegister, "", nil).refused(401, "invalid_token", "Missing initial access token")
	f.client("acme", http.MethodPost, pathRegister, "nonsense", nil).refused(401, "invalid_token", "*")
	f.client("acme", http.MethodPost, pathRegister, initial("widgets", "create:clients"), nil).refused(401, "invalid_token", "*")
	f.client("acme", http.MethodPost, pathRegister, f.machineToken("acme").ok().text("access_token"), nil).refused(401, "invalid_token", "*")
	got := f.client("acme", http.MethodPost, pathRegister, initial("acme", "read:clients"), nil)
	if got.refused(403, "insufficient_scope", "*"); !strings.Contains(got.header.Get("WWW-Authenticate"), "create:clients") {
		t.Errorf("WWW-Authenticate %q", got.header.Get("WWW-Authenticate"))
	}
	if got := f.client("acme", http.MethodPost, pathRegister, initial("acme", "create:clients"), nil); got.status != http.StatusCreated {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// RFC 7592.
func TestClientConfiguration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	first := f.client("acme", http.MethodPost, pathRegister, "", map[string]any{"logo_uri": "https://new.example.net/logo.png"})
	second := f.client("acme", http.MethodPost, pathRegister, "", nil)
	id, token := first.text("client_id"), first.text("registration_access_token")
	at := pathClient + id
	got := f.client("acme", http.MethodGet, at, token, nil).ok()
	if got.text("client_secret") != first.text("client_secret") || got.text("registration_access_token") != token || got.text("logo_uri") == "" {
		t.Errorf("read %s", got.body)
	}
	for path, wrong := range map[string][]string{
		at: {"", "nonsense", second.text("registration_access_token"), tenancy.HashToken(token)},
		// Nobody's, and clients that never registered themselves.
		pathClient + "nobody": {token, ""}, pathClient + spaID: {token, "", tenancy.HashToken("")},
	} {
		for _, w := range wrong {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				f.client("acme", method, path, w, map[string]any{"client_id": id}).refused(401, "invalid_token", "*")
			}
		}
	}
	for _, more := range []map[string]any{
		{"client_id": nil},
		{"client_id": second.text("client_id")},
		{"client_id": id, "client_secret": "chosen"},
		{"client_id": id, "grant_types": []string{"client_credentials"}},
		{"client_id": id, "registration_access_token": token},
	} {
		if got := f.client("acme", http.MethodPut, at, token, more); got.status != http.StatusBadRequest {
			t.Errorf("PUT %v: %d %s", more, got.status, got.body)
		}
	}
	put := f.client("acme", http.MethodPut, at, token, map[string]any{"client_id": id, "client_name": "Newer"}).ok()
	if put.text("client_name") != "Newer" || put.json["logo_uri"] != nil || put.text("client_secret") != first.text("client_secret") { // replaced whole
		t.Errorf("PUT %s", put.body)
	}
	if public := f.client("acme", http.MethodPut, at, token, map[string]any{"client_id": id, "token_endpoint_auth_method": "none"}).ok(); public.json["client_secret"] != nil {
		t.Errorf("a public client has a secret: %s", public.body)
	}
	if got := f.client("acme", http.MethodDelete, at, token, nil); got.status != http.StatusNoContent || got.body != "" {
		t.Errorf("DELETE: %d %s", got.status, got.body)
	}
	f.client("acme", http.MethodGet, at, token, nil).refused(401, "invalid_token", "*")
	f.client("acme", http.MethodGet, pathClient+second.text("client_id"), second.text("registration_access_token"), nil).ok()
	f.client("acme", http.MethodGet, pathClient+"a/b", token, nil).refused(404, "not_found", "*")
}

// One visitor cannot fill a tenant with clients.
func TestRegistrationIsBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.registration("acme", true)
	f.registration("widgets", true)
	n := 0
	for ; n < 60; n++ {
		if got := f.client("acme", http.MethodPost, pathRegister, "", nil); got.status != http.StatusCreated {
			got.refused(429, "too_many_attempts", "*")
			break
		}
	}
	if n != 50 {
		t.Errorf("%d clients were registered from one address", n)
	}
	if got := f.client("widgets", http.MethodPost, pathRegister, "", nil); got.status != http.StatusCreated {
		t.Errorf("another tenant: %d %s", got.status, got.body)
	}
}
