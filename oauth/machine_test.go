package oauth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func (f *fixture) updateGrant(tenant string, alter func(*tenancy.ClientGrant)) {
	f.t.Helper()
	_, err := tenancy.ClientGrants.Update(f.in(tenant), "cgr_1", func(g *tenancy.ClientGrant) error { alter(g); return nil })
	f.must(err)
}

func TestMachineToken(t *testing.T) { // C2.8, C2.34, C4.35, SC-026, SC-027
	t.Parallel()
	f := newFixture(t)
	answer := f.machineToken("acme").ok()
	if len(answer.json) != 4 || answer.text("token_type") != "Bearer" || answer.json["expires_in"] != 86400.0 || answer.text("scope") != "read:orders write:orders" {
		t.Errorf("answer %v", answer.json)
	}
	claims := answer.claims("access_token")
	for name, want := range map[string]any{
		"iss": issuerOf("acme"), "sub": m2mID + "@clients", "aud": orders, "azp": m2mID, "client_id": m2mID,
		"gty": "client-credentials", "tenant_id": "acme", "scope": "read:orders write:orders", "sid": nil, "auth_time": nil, "org_id": nil, "org_name": nil,
	} {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if !slices.Equal(list(claims["permissions"]), []string{"read:orders", "write:orders"}) {
		t.Errorf("permissions %v", claims["permissions"])
	}
	if got := f.machineToken("acme", "scope", "write:orders").ok(); got.text("scope") != "write:orders" || !slices.Equal(list(got.claims("access_token")["permissions"]), []string{"write:orders"}) {
		t.Errorf("narrowed: %v", got.json)
	}
	if again := f.machineToken("acme").ok().claims("access_token"); again["jti"] == claims["jti"] {
		t.Error("the same jti twice")
	}
}

func TestMachineRefusals(t *testing.T) { // C2.31 to C2.35, C2.46 to C2.49
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct {
		name       string
		pairs      []string
		grant      func(*tenancy.ClientGrant)
		status     int
		code, text string
	}{
		{"C2.31", []string{"audience", "-"}, nil, 400, "invalid_request", "audience is required"},
		{"C2.32", []string{"audience", "https://no.example/"}, nil, 403, "access_denied", "Service not enabled within domain: https://no.example/"},
		{
			"C2.33",
			[]string{"audience", catalog},
			nil, 403, "access_denied",
			`Client is not authorized to access "` + catalog + `". You need to create a "client-grant" associated to this API.`,
		},
		{"C2.35", []string{"scope", "read:orders audit:orders x"}, nil, 403, "access_denied", "Client has not been granted scopes: audit:orders, x"},
		{"C2.35 OIDC scopes included", []string{"scope", "openid"}, nil, 403, "access_denied", "Client has not been granted scopes: openid"},
		{
			"C2.17 undefined though granted",
			[]string{"scope", "old:orders"},
			func(g *tenancy.ClientGrant) { g.Scope = append(g.Scope, "old:orders") },
			403, "access_denied", "Client has not been granted scopes: old:orders",
		},
		{"scope syntax", []string{"scope", "read:orders\x01"}, nil, 400, "invalid_scope", "Invalid scope"},
		{"C2.46", []string{"organization", "org_9"}, nil, 400, "invalid_request", "parameter organization is invalid"},
		{"C2.47", []string{"organization", "org_1"}, func(g *tenancy.ClientGrant) { g.OrganizationUsage = "" }, 403, "access_denied", "Client grant does not allow organizations"},
		{"C2.48", nil, func(g *tenancy.ClientGrant) { g.OrganizationUsage = "require" }, 403, "access_denied", "Client grant requires an organization"},
		{"C2.49", []string{"organization", "two"}, nil, 403, "access_denied", "Client is not authorized to access organization org_2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{t: t, server: f.server, inside: f.inside}
			f.updateGrant("acme", func(g *tenancy.ClientGrant) {
				g.Scope, g.OrganizationUsage, g.AllowAnyOrganization = []string{"read:orders", "write:orders"}, "allow", false
				if tt.grant != nil {
					tt.grant(g)
				}
			})
			for range 2 { // cold and warm
				f.machineToken("acme", tt.pairs...).refused(tt.status, tt.code, tt.text)
			}
		})
	}
}

func TestMachineOrganizations(t *testing.T) { // C2.45 to C2.50, C9.23, SC-029
	t.Parallel()
	f := newFixture(t)
	org := func(answer *reply) any { return answer.ok().claims("access_token")["org_id"] }
	for _, name := range []string{"org_1", "one", "ONE"} {
		if claims := f.machineToken("acme", "organization", name).ok().claims("access_token"); claims["org_id"] != "org_1" || claims["org_name"] != "one" {
			t.Errorf("organization=%s: %v", name, claims)
		}
	}
	if got := org(f.machineToken("acme")); got != nil {
		t.Errorf("none named: %v", got)
	}
	f.machineToken("acme", "organization", "org_2").refused(403, "access_denied", "Client is not authorized to access organization org_2")
	f.add("acme", func(ctx context.Context) tenancy.Stmt {
		return tenancy.GrantOrganizations.Insert(ctx, &tenancy.GrantOrganization{
			Row:     tenancy.Row{ID: tenancy.Join("cgr_1", "org_2")},
			GrantID: "cgr_1", OrganizationID: "org_2",
		})
	})
	if got := org(f.machineToken("acme", "organization", "org_2")); got != "org_2" { // at once: what is remembered is forgotten
		t.Errorf("associated: %v", got)
	}
	f.machineToken("widgets", "organization", "org_2").refused(403, "access_denied", "Client is not authorized to access organization org_2")
	f.updateGrant("acme", func(g *tenancy.ClientGrant) { g.AllowAnyOrganization = true })
	if got := org(f.machineToken("acme", "organization", "org_3")); got != "org_3" {
		t.Errorf("any: %v", got)
	}
	f.updateGrant("acme", func(g *tenancy.ClientGrant) { g.OrganizationUsage = "require" })
	f.machineToken("acme").refused(403, "access_denied", "Client grant requires an organization")
	f.updateClient("acme", m2mID, func(c *tenancy.Client) {
		c.DefaultOrganization = &tenancy.DefaultOrganization{OrganizationID: "org_1", Flows: []string{"client_credentials"}}
	})
	if got := org(f.machineToken("acme")); got != "org_1" { // C2.48
		t.Errorf("default organization: %v", got)
	}
	f.updateClient("acme", m2mID, func(c *tenancy.Client) { c.IsFirstParty = false })
	f.machineToken("acme", "organization", "org_3").refused(403, "access_denied", "Client is not authorized to access organization org_3") // C2.50
}

func TestMachineDefaultAudience(t *testing.T) { // C2.31
	t.Parallel()
	f := newFixture(t)
	f.setting("acme", "default_audience", `"`+orders+`"`)
	if aud := f.machineToken("acme", "audience", "-").ok().claims("access_token")["aud"]; aud != orders {
		t.Errorf("aud %v", aud)
	}
}

// The management API is named by the host's own URL there only (C2.20), though
// what was allowed is remembered.
func TestMachineManagementAudience(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add("acme", func(ctx context.Context) tenancy.Stmt {
		return tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{
			Row: tenancy.Row{ID: "cgr_2"}, ClientID: m2mID,
			Audience: tenancy.ManagementAudience, Scope: []string{"read:users", "admin:organizations"},
		})
	})
	spelling := issuerOf("acme") + "api/v2/"
	for range 2 {
		claims := f.machineToken("acme", "audience", spelling).ok().claims("access_token")
		if claims["aud"] != spelling || claims["scope"] != "read:users" {
			t.Errorf("claims %v", claims)
		}
		f.inside["acme"] = tenancy.WithVisit(f.in("acme"), &tenancy.Visit{Issuer: "https://login.acme.test/", RequestID: "req_1"})
		f.machineToken("acme", "audience", spelling).refused(403, "access_denied", "Service not enabled within domain: "+spelling)
		f.inside["acme"] = tenancy.WithVisit(f.in("acme"), &tenancy.Visit{Issuer: issuerOf("acme"), RequestID: "req_1"})
	}
}

// A warm request reads no database and stays within its allocations (design 7).
func TestMachineTokenIsCheap(t *testing.T) {
	f := newFixture(t)
	_, err := tenancy.ResourceServers.Update(f.in("acme"), "rs_orders", func(rs *tenancy.ResourceServer) error { rs.SigningAlg = "ES256"; return nil })
	f.must(err)
	f.machineToken("acme", "organization", "one").ok()
	before := f.meter.sql()
	body := values("grant_type", grantClientCredentials, "client_id", m2mID, "client_secret", m2mSecret, "audience", orders, "organization", "one").Encode()
	allocs := testing.AllocsPerRun(50, func() {
		r, err := http.NewRequestWithContext(f.in("acme"), http.MethodPost, "/oauth/token", strings.NewReader(body))
		f.must(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		f.server.ServeHTTP(&discard{header: make(http.Header, 8)}, r)
	})
	if used := f.meter.sql() - before; used != 0 {
		t.Errorf("%d SQL statements in 51 warm requests", used)
	}
	if allocs > 160 {
		t.Errorf("%v allocations, want at most 160", allocs)
	}
	if n := strings.Count(strings.Join(f.events.types(), " "), "seccft"); n != 52 {
		t.Errorf("%d of 52 requests succeeded", n)
	}
}
