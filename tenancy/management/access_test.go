package management

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// ann is a member of acme's linked organization, and of no other.
const ann = "auth0|ann"

// newAccessKit is a kit with ann in it, and a person in each tenant by whose
// address the tenant acted on is told.
func newAccessKit(t *testing.T) *kit {
	k := newKit(t)
	k.inside("control_plane", func(ctx context.Context) {
		acme, _ := k.directory.ByID("acme")
		k.must(tenancy.Commit(ctx,
			tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: ann}, Connection: "db", Email: "ann@control_plane.test"}),
			tenancy.Members.Insert(ctx, tenancy.NewMember(acme.OrganizationID, ann))))
	})
	return k
}

// TestTruthTable is SC-108: the rows of contract 2.9 over HTTP. The function
// that decides has a test of its own with every row; this one shows that the API
// asks it the right question, and acts on the tenant it answers.
func TestTruthTable(t *testing.T) {
	k := newAccessKit(t)
	noOrg := person(ann)
	org := k.in("acme", person(ann))
	formerOrg := org
	formerOrg.OrgID = "org_ofaformeracme"
	m2m := machine("control_plane", "read:users")
	adminM2M := machine("control_plane", "read:users", "admin:organizations")
	b2b := machine("acme")
	b2b.Machine, b2b.OrgID, b2b.OrgName = false, sameOrg, "same"
	faulty := func(fault string) claims { c := machine("acme"); c.Fault = fault; return c }

	type row struct {
		name   string
		token  claims
		host   string
		header []string
		status int
		says   string // message, or tenant acted on
	}
	acme, widgets := []string{"tenant-id", "acme"}, []string{"tenant-id", "widgets"}
	rows := []row{
		{"TT1", claims{}, acmeHost, nil, 401, "Missing authentication"},
		{"TT2", faulty(InvalidSignature), acmeHost, nil, 401, "Invalid signature received for JSON Web Token validation"},
		{"TT3", faulty(ExpiredToken), acmeHost, nil, 401, "Expired token received for JSON Web Token validation"},
		{"TT4", faulty(BadAudience + "https://x"), acmeHost, nil, 401, "Bad audience: https://x"},
		{"TT5", noOrg, cpHost, nil, 200, "control_plane"},
		{"TT6", noOrg, cpHost, acme, 403, "Access denied to tenant acme: the token has no organization"},
		{"TT7", noOrg, acmeHost, nil, 403, "Access denied to tenant acme: the token has no organization"},
		{"TT8", admin(), cpHost, nil, 200, "control_plane"},
		{"TT9", admin(), cpHost, acme, 200, "acme"},
		{"TT10", admin(), acmeHost, nil, 200, "acme"},
		{"TT11", admin(), cpHost, []string{"tenant-id", "ghost"}, 404, "Tenant not found"},
		{"TT12", noOrg, cpHost, []string{"tenant-id", "ghost"}, 403, "Access denied to tenant ghost: the token has no organization"},
		{"TT13", org, cpHost, nil, 200, "acme"},
		{"TT14", org, cpHost, acme, 200, "acme"},
		{"TT14 upper case", org, cpHost, []string{"tenant-id", "ACME"}, 200, "acme"},
		{"TT15", org, cpHost, widgets, 403, "Access denied to tenant widgets"},
		{"TT15 ghost", org, cpHost, []string{"tenant-id", "ghost"}, 403, "Access denied to tenant ghost"},
		{"TT16", org, cpHost, []string{"tenant-id", "control_plane"}, 403, "Access denied to tenant control_plane"},
		{"TT17", org, acmeHost, nil, 200, "acme"},
		{"TT18", org, widgetsHost, nil, 403, "Access denied to tenant widgets"},
		{"TT19", org, acmeHost, widgets, 400, "tenant-id header does not match the host"},
		{"TT20", admin(), cpHost, []string{"tenant-id", "acme", "X-Tenant-ID", "widgets"}, 400, "tenant-id header is given more than once"},
		{"TT21", formerOrg, cpHost, acme, 403, "Access denied to tenant acme"},
		{"TT22", m2m, cpHost, nil, 200, "control_plane"},
		{"TT22 acme", m2m, cpHost, acme, 403, "Access denied to tenant acme: the token has no organization"},
		{"TT23", adminM2M, cpHost, acme, 200, "acme"},
		{"TT24", k.in("acme", m2m), cpHost, nil, 200, "acme"},
		{"TT25", machine("acme"), acmeHost, acme, 200, "acme"},
		{"TT26", machine("acme"), acmeHost, widgets, 400, "tenant-id header does not match the host"},
		{"TT27", machine("acme"), cpHost, nil, 401, `Unexpected issuer "https://acme.auth.example.com/"; expected "https://auth.example.com/"`},
		{"TT28", machine("acme"), widgetsHost, nil, 401, `Unexpected issuer "https://acme.auth.example.com/"; expected "https://widgets.auth.example.com/"`},
		{"TT29", func() claims { c := machine("acme", "read:users"); c.Machine = false; return c }(), acmeHost, nil, 200, "acme"},
		{"TT30", b2b, acmeHost, nil, 403, "Organization tokens cannot be used with this tenant's Management API"},
		{"TT31", machine("acme", "read:roles"), acmeHost, nil, 403, "Insufficient scope, expected any of: read:users"},
	}
	for _, r := range rows {
		for _, method := range []string{http.MethodGet, http.MethodHead} { // TT43
			t.Run(r.name+" "+method, func(t *testing.T) {
				inner := k.with(t)
				token := ""
				if r.token.Tenant != "" {
					token = r.token.token()
				}
				a := inner.do(method, r.host, "/users", token, nil, r.header...)
				if a.Code != r.status {
					t.Fatalf("status %d, want %d: %s", a.Code, r.status, a.Body)
				}
				switch {
				case method == http.MethodHead:
					if a.Body.Len() > 0 {
						t.Errorf("HEAD has a body: %s", a.Body)
					}
				case r.status != http.StatusOK:
					if a.text("message") != r.says {
						t.Errorf("message\n got %q\nwant %q", a.text("message"), r.says)
					}
				case !strings.Contains(a.Body.String(), "@"+r.says+".test"):
					t.Errorf("did not act on %s: %s", r.says, a.Body)
				}
			})
		}
	}
}

// TestTokensThatAreNone holds what is answered before any tenant is asked.
func TestTokensThatAreNone(t *testing.T) {
	k := newKit(t)
	good := machine("acme").token()
	for name, header := range map[string][]string{
		"garbage":      {"Authorization", "Bearer abc"},
		"two dots":     {"Authorization", "Bearer a.b.c"},
		"two values":   {"Authorization", "Bearer " + good + ", Bearer " + good},
		"two headers":  {"Authorization", "Bearer " + good, "Authorization", "Bearer " + good},
		"no issuer":    {"Authorization", "Bearer e30.e30.c2ln"},
		"huge":         {"Authorization", "Bearer " + strings.Repeat("a", maxToken+1)},
		"other's word": {"Authorization", "Bearer " + claims{Issuer: issuerOf("acme"), Tenant: "widgets"}.token()},
	} {
		t.Run(name, func(t *testing.T) {
			inner := k.with(t)
			inner.play(scenario{path: "/users", header: header, status: 401, code: "invalid_token", check: func(t *testing.T, a answered) {
				if got := a.Header().Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
					t.Errorf("WWW-Authenticate %q (C2.69)", got)
				}
			}})
		})
	}
	k.run([]scenario{
		{name: "basic is no bearer", path: "/users", header: []string{"Authorization", "Basic abc"}, status: 401, says: "Missing authentication"},
		{
			name: "keys cannot be read", path: "/users", token: func() claims { c := machine("acme"); c.Fault = "unavailable"; return c }(),
			status: 503, code: "service_unavailable", says: "Internal error (request req-1)",
		},
	})
}

// TestSuspended is TT41 and TT42.
func TestSuspended(t *testing.T) {
	k := newAccessKit(t)
	org := k.in("acme", person(ann))
	_, err := k.lifecycle.Update(t.Context(), "acme", func(t *tenancy.Tenant) error { t.State = tenancy.StateSuspended; return nil })
	k.must(err)
	toAcme := []string{"tenant-id", "acme"}
	suspended := func(s scenario) scenario {
		s.status, s.code, s.says = 403, "tenant_suspended", "Tenant is suspended"
		return s
	}
	k.run([]scenario{
		suspended(scenario{name: "TT41 control plane", host: cpHost, token: org, path: "/users"}),
		suspended(scenario{name: "TT41 acme", token: org, path: "/users"}),
		suspended(scenario{name: "own token", token: machine("acme"), path: "/users"}),
		{name: "TT42 read", host: cpHost, token: admin(), header: toAcme, path: "/users", status: 200},
		suspended(scenario{name: "TT42 write", host: cpHost, token: admin(), header: toAcme, method: "PATCH", path: "/users/auth0%7Csame", body: `{}`}),
	})
}

// TestPreflight is TT44 and contract C5.12.
func TestPreflight(t *testing.T) {
	k := newKit(t)
	ask := []string{"Access-Control-Request-Method", "PATCH"}
	k.inside("acme", func(ctx context.Context) {
		_, err := tenancy.Clients.Update(ctx, sameClient, func(c *tenancy.Client) error {
			c.AllowedOrigins = []string{"https://*.preview.acme.test"}
			return nil
		})
		k.must(err)
	})
	k.run([]scenario{
		{
			name: "registered", method: "OPTIONS", path: "/roles/x", header: append(ask, "Origin", "https://app.acme.test"), status: 204,
			check: func(t *testing.T, a answered) {
				h := a.Header()
				if h.Get("Access-Control-Allow-Origin") != "https://app.acme.test" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PATCH") {
					t.Errorf("headers %v", h)
				}
				if h.Get("Access-Control-Allow-Credentials") != "" {
					t.Error("credentials are allowed")
				}
			},
		},
		{
			name: "another tenant's", method: "OPTIONS", path: "/roles/x", header: append(ask, "Origin", "https://app.widgets.test"), status: 204,
			check: func(t *testing.T, a answered) {
				if got := a.Header().Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("C9.45: allows %s", got)
				}
			},
		},
		{
			name: "below a wildcard", method: "OPTIONS", path: "/roles/x", header: append(ask, "Origin", "https://pr-1.preview.acme.test"), status: 204,
			check: func(t *testing.T, a answered) {
				if got := a.Header().Get("Access-Control-Allow-Origin"); got != "https://pr-1.preview.acme.test" {
					t.Errorf("allows %q", got)
				}
			},
		},
		{
			name: "two labels below it", method: "OPTIONS", path: "/roles/x", header: append(ask, "Origin", "https://a.pr-1.preview.acme.test"), status: 204,
			check: func(t *testing.T, a answered) {
				if got := a.Header().Get("Access-Control-Allow-Origin"); got != "" {
					t.Errorf("C9.45: allows %s", got)
				}
			},
		},
		{
			name: "answer", path: "/roles", token: machine("acme"), header: []string{"Origin", "https://app.acme.test"}, status: 200,
			check: func(t *testing.T, a answered) {
				if !strings.Contains(a.Header().Get("Access-Control-Expose-Headers"), "ETag") || a.Header().Get("Vary") != "Origin" {
					t.Errorf("headers %v", a.Header())
				}
			},
		},
	})
}
