package management

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// kit is an installation in memory and files of the test: a control plane and
// the tenants acme and widgets, made by the real life cycle. acme and widgets
// have rows of equal ids; widgets has some that acme has not, and the other way
// round.
type kit struct {
	*testing.T
	api       *API
	pool      *tenancy.Pool
	directory *tenancy.Directory
	lifecycle *tenancy.Lifecycle
	domains   *tenancy.Domains
	dns       *zone
	events    *events
	mails     *mails
	now       time.Time
}

const (
	cpHost      = "auth.example.com"
	acmeHost    = "acme.auth.example.com"
	widgetsHost = "widgets.auth.example.com"
)

func newKit(t *testing.T) *kit {
	t.Helper()
	k := &kit{T: t, now: time.Now(), events: &events{}, mails: &mails{}}
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	k.must(err)
	k.pool, err = tenancy.NewPool(tenancy.PoolConfig{
		Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: t.TempDir()}, "other": &sqlite.Provider{Dir: t.TempDir()}}, Master: ring,
	})
	k.must(err)
	t.Cleanup(func() { _ = k.pool.Close(context.WithoutCancel(t.Context())) })
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: cpHost})
	k.must(err)
	k.directory = tenancy.NewDirectory(k.pool, hosts)
	k.lifecycle = &tenancy.Lifecycle{Pool: k.pool, Directory: k.directory, Master: ring, Keys: fakeKeys{}, Recorder: k.events}
	k.lifecycle.Upgrader = &tenancy.Upgrader{Pool: k.pool, Directory: k.directory}
	k.dns = &zone{}
	k.domains = &tenancy.Domains{Directory: k.directory, Recorder: k.events, Prover: tenancy.Prover{Resolver: k.dns, Dial: k.dns.dial}}
	k.must(k.lifecycle.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{}))
	for _, id := range []string{"acme", "widgets"} {
		_, err := k.lifecycle.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: "Tenant " + id})
		k.must(err)
		k.inside(id, func(ctx context.Context) { k.seed(ctx, id) })
		k.inside("control_plane", func(ctx context.Context) {
			d := &tenancy.CustomDomain{
				Row: tenancy.Row{ID: only("cd_", id)}, Subject: id, Domain: "seeded." + id + ".test", Held: only("cd_", id),
				Status: tenancy.DomainPending, Type: tenancy.DomainManaged, Token: "token-of-" + id,
			}
			k.must(tenancy.CustomDomains.Create(ctx, d))
		})
		k.inside("control_plane", func(ctx context.Context) { k.seedTeam(ctx, id) })
	}
	k.api, err = New(Config{
		Verifier: verifier{}, Directory: k.directory, Entrance: k.pool, Lifecycle: k.lifecycle, Keys: fakeKeys{},
		Issuers: func(t *tenancy.Tenant) (list []string) {
			for _, host := range k.directory.HostsOf(t.ID) {
				list = append(list, "https://"+host+"/")
			}
			return list
		},
		ValidTenantID: hosts.ValidTenantID, Recorder: k.events, Now: func() time.Time { return k.now },
		Mail: k.mails, Sync: fakeSync(), Upgrades: k.lifecycle.Upgrader.Status, Domains: k.domains,
	})
	k.must(err)
	return k
}

// fakeSync answers what it was asked, and insists on being asked inside the
// control plane.
func fakeSync() *Sync {
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			current, err := tenancy.Current(r.Context())
			if err != nil || !current.IsControlPlane() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, text)
		})
	}
	return &Sync{
		Status: says(`{"revision":1}`), Drift: says(`{"drift":[]}`),
		Plan: func(_ context.Context, w http.ResponseWriter, wish tenancy.Repair) error {
			return json.NewEncoder(w).Encode(map[string]any{"plan": wish})
		},
		Repair: tenancy.BeginRepair,
	}
}

// with is the kit for a part of its test.
func (k *kit) with(t *testing.T) *kit {
	part := *k
	part.T = t
	return &part
}

func (k *kit) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// inside runs f inside a tenant.
func (k *kit) inside(id string, f func(ctx context.Context)) {
	k.Helper()
	t, ok := k.directory.ByID(id)
	if !ok {
		k.Fatalf("no tenant %s", id)
	}
	k.must(k.pool.Do(context.WithoutCancel(k.Context()), t, func(ctx context.Context) error { f(ctx); return nil }))
}

// Ids of the rows that both tenants have. The tenant's name is in the rows'
// texts, and "_only" rows end in the tenant's name instead.
const (
	sameRole   = "rol_same"
	sameAPI    = "0000000000000000000000aa"
	sameClient = "SAMEsameSAMEsameSAMEsameSAMEsame"
	sameGrant  = "cgr_same"
	sameConn   = "con_same"
	sameOrg    = "org_same"
	sameUser   = "auth0|same"
	apiName    = "https://api.example.com"
	sameLog    = "0000000000000000000000000001"
	systemRole = "rol_system"
	systemAPI  = "0000000000000000000000bb"
)

// only is the id of the row of a kind that just one tenant has.
func only(prefix, tenant string) string { return prefix + tenant }

func (k *kit) seed(ctx context.Context, tenant string) {
	k.Helper()
	scopes := []tenancy.Scope{{Value: "read:orders"}, {Value: "write:orders", Description: "write"}}
	api := func(id, identifier string, system bool) *tenancy.ResourceServer {
		return &tenancy.ResourceServer{
			Row: tenancy.Row{ID: id}, Name: "API of " + tenant, Identifier: identifier, Scopes: scopes,
			SigningAlg: "RS256", TokenLifetime: 86400, TokenLifetimeForWeb: 7200, TokenDialect: tenancy.DialectAccessToken, IsSystem: system,
		}
	}
	role := func(id, name string, system bool) *tenancy.Role {
		return &tenancy.Role{Row: tenancy.Row{ID: id}, Name: name, NameKey: tenancy.NameKeyOf(name), IsSystem: system}
	}
	client := func(id string) *tenancy.Client {
		return &tenancy.Client{
			Row: tenancy.Row{ID: id}, Name: "Client of " + tenant, AppType: "regular_web", IsFirstParty: true,
			TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"authorization_code"}, Secret: "secret-of-" + tenant,
			JWT: tenancy.DefaultJWTConfiguration(), RefreshToken: tenancy.DefaultRefreshToken(false),
			WebOrigins: []string{"https://app." + tenant + ".test"},
		}
	}
	user := func(id, email string) *tenancy.User {
		return &tenancy.User{Row: tenancy.Row{ID: id}, Connection: "db", Email: email, Name: "Person of " + tenant, Nickname: "p"}
	}
	k.must(tenancy.Commit(ctx,
		tenancy.ResourceServers.Insert(ctx, api(sameAPI, apiName, false)),
		tenancy.ResourceServers.Insert(ctx, api(systemAPI, "https://system.example.com", true)),
		tenancy.ResourceServers.Insert(ctx, api(only("0000000000000000000", tenant), "https://only."+tenant, false)),
		tenancy.Roles.Insert(ctx, role(sameRole, "Same of "+tenant, false)),
		tenancy.Roles.Insert(ctx, role(systemRole, "System", true)),
		tenancy.Roles.Insert(ctx, role(only("rol_", tenant), "Only "+tenant, false)),
		tenancy.Clients.Insert(ctx, client(sameClient)),
		tenancy.Clients.Insert(ctx, client(only("only", tenant))),
		tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{
			Row: tenancy.Row{ID: sameGrant}, ClientID: sameClient, Audience: apiName,
			Scope: []string{"read:orders"}, OrganizationUsage: "allow", SubjectType: "client",
		}),
		tenancy.ClientGrants.Insert(ctx, &tenancy.ClientGrant{
			Row: tenancy.Row{ID: only("cgr_", tenant)}, ClientID: only("only", tenant),
			Audience: apiName, OrganizationUsage: "allow", SubjectType: "client",
		}),
		tenancy.ClientCredentials.Insert(ctx, &tenancy.ClientCredential{
			Row: tenancy.Row{ID: only("cred_", tenant)}, ClientID: only("only", tenant), Name: "Of " + tenant, KeyID: "kid", Alg: "ES256",
		}),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: sameConn}, Name: "db", Strategy: "auth0", DisplayName: "Of " + tenant}),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: only("con_", tenant)}, Name: "only-" + tenant, Strategy: "auth0"}),
		tenancy.EmailProviders.Insert(ctx, &tenancy.EmailProvider{
			Row: tenancy.Row{ID: tenancy.EmailProviderID}, Name: "smtp", DefaultFromAddress: "hi@" + tenant + ".test",
			Credentials: map[string]any{"smtp_host": "mail." + tenant + ".test", "smtp_pass": "password-of-" + tenant},
		}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: sameOrg}, Name: "same", DisplayName: "Of " + tenant}),
		tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: only("org_", tenant)}, Name: "only-" + tenant}),
		tenancy.OrganizationConnections.Insert(ctx, orgConnection{ConnectionID: sameConn}.row(sameOrg)),
		tenancy.Users.Insert(ctx, user(sameUser, "same@"+tenant+".test")),
		tenancy.Users.Insert(ctx, user(only("auth0|", tenant), "only@"+tenant+".test")),
		tenancy.Members.Insert(ctx, tenancy.NewMember(sameOrg, sameUser)),
		tenancy.Invitations.Insert(ctx, &tenancy.Invitation{
			Row: tenancy.Row{ID: only("uinv_", tenant)}, OrgID: only("org_", tenant), TicketHash: "hash of " + tenant,
			Email: "invited@" + tenant + ".test", ExpiresAt: tenancy.At(k.now.Add(time.Hour)),
		}),
		tenancy.Sessions.Insert(ctx, k.session("ses_same", sameUser)),
		tenancy.Sessions.Insert(ctx, k.session(only("ses_", tenant), only("auth0|", tenant))),
		tenancy.Grants.Insert(ctx, k.refresh("rt_same", sameUser)),
		tenancy.Consents.Insert(ctx, &tenancy.Consent{Row: tenancy.Row{ID: only("grt_", tenant)}, UserID: only("auth0|", tenant), ClientID: only("only", tenant)}),
		tenancy.Grants.Insert(ctx, k.refresh(only("rt_", tenant), only("auth0|", tenant))),
		tenancy.SigningKeys.Insert(ctx, &tenancy.SigningKey{
			Row: tenancy.Row{ID: "kid_same"}, Alg: "RS256", Use: tenancy.KeyCurrent,
			Private: []byte("private of " + tenant), Certificate: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		}),
		tenancy.Events.Insert(ctx, &tenancy.Event{Row: tenancy.Row{ID: sameLog}, Date: 1, Type: "s", UserID: sameUser, UserName: "of " + tenant}),
		tenancy.Events.Insert(ctx, &tenancy.Event{Row: tenancy.Row{ID: only("-log_", tenant)}, Date: 1, Type: "s"}),
		tenancy.SigningKeys.Insert(ctx, &tenancy.SigningKey{Row: tenancy.Row{ID: only("kid_", tenant)}, Alg: "RS256", Use: tenancy.KeyNext}),
	))
	k.must(tenancy.ChangeEmailTemplate(ctx, templateOf(tenant), func(*tenancy.EmailTemplate) (*tenancy.EmailTemplate, error) {
		t := tenancy.NewEmailTemplate(templateOf(tenant))
		t.Subject, t.Body = "Of "+tenant, "<p>"+tenant+" says {{ url }}</p>"
		return t, nil
	}))
}

// templateOf is the e-mail template that just one tenant has.
func templateOf(tenant string) string {
	return map[string]string{"acme": tenancy.TemplateResetEmail, "widgets": tenancy.TemplateWelcomeEmail}[tenant]
}

// seedTeam gives a tenant, on the control plane, a member who is a Tenant Admin,
// and an invitation.
func (k *kit) seedTeam(ctx context.Context, tenant string) {
	k.Helper()
	t, _ := k.directory.ByID(tenant)
	role, err := tenancy.BuiltInRole(ctx, tenancy.RoleTenantAdmin)
	k.must(err)
	boss := only("auth0|boss-", tenant)
	k.must(tenancy.Commit(ctx,
		tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: boss}, Connection: "db", Email: "boss@" + tenant + ".test"}),
		tenancy.Members.Insert(ctx, tenancy.NewMember(t.OrganizationID, boss)),
		tenancy.UserRoles.Insert(ctx, tenancy.NewUserRole(boss, t.OrganizationID, role.ID)),
		tenancy.Invitations.Insert(ctx, &tenancy.Invitation{
			Row: tenancy.Row{ID: only("uinv_", tenant)}, OrgID: t.OrganizationID, TicketHash: "hash of " + tenant,
			Email: "invited@" + tenant + ".test", ExpiresAt: tenancy.At(k.now.Add(time.Hour)),
		}),
	))
}

// mails keeps what was sent; while broken is set, nothing can be.
type mails struct {
	mu     sync.Mutex
	list   []mail.Message
	broken bool
}

func (m *mails) Send(_ context.Context, message mail.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return errors.New("no mail server")
	}
	m.list = append(m.list, message)
	return nil
}

func (k *kit) session(id, user string) *tenancy.Session {
	later := tenancy.At(k.now.Add(time.Hour))
	return &tenancy.Session{Row: tenancy.Row{ID: id}, TokenHash: "hash-" + id, UserID: user, ExpiresAt: later, IdleExpiresAt: later}
}

func (k *kit) refresh(id, user string) *tenancy.Grant {
	return &tenancy.Grant{
		Row: tenancy.Row{ID: id}, Kind: tenancy.GrantRefresh, Hash: "hash-" + id, Family: id, UserID: user, ClientID: sameClient,
		Scope: "openid offline_access", ExpiresAt: tenancy.At(k.now.Add(time.Hour)),
	}
}

// fakeKeys stands in for the keys of package oauth, which management cannot
// import.
type fakeKeys struct{}

func (fakeKeys) EnsureKeys(context.Context) error { return nil }

func (fakeKeys) Rotate(ctx context.Context) (*tenancy.SigningKey, error) {
	t, err := tenancy.Current(ctx)
	return &tenancy.SigningKey{Row: tenancy.Row{ID: "new"}, Certificate: "cert of " + t.ID}, err
}

func (fakeKeys) Revoke(ctx context.Context, kid string) (*tenancy.SigningKey, error) {
	return tenancy.SigningKeys.Update(ctx, kid, func(k *tenancy.SigningKey) error {
		k.RevokedAt = 1
		return nil
	})
}

// events keeps what was recorded.
type events struct {
	mu   sync.Mutex
	list []recorded
}

type recorded struct {
	tenant string
	tenancy.Event
}

func (e *events) Record(ctx context.Context, event tenancy.Event) {
	id := ""
	if t, err := tenancy.Current(ctx); err == nil {
		id = t.ID
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, recorded{id, event})
}

func (e *events) of(kind string) []recorded {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.list), func(r recorded) bool { return r.Type != kind })
}

// claims are the content of the tests' tokens. They are not signed: what a
// verifier does is tested where it is written. This one believes what it reads,
// if it is asked inside the tenant that the token says it is from.
type claims struct {
	Issuer   string   `json:"iss"`
	Tenant   string   `json:"tenant_id"`
	Subject  string   `json:"sub"`
	OrgID    string   `json:"org_id,omitempty"`
	OrgName  string   `json:"org_name,omitempty"`
	Scopes   []string `json:"permissions"`
	Machine  bool     `json:"machine,omitempty"`
	Fault    string   `json:"fault,omitempty"` // what the verifier says
	NoSecret bool     `json:"-"`
}

func (c claims) token() string {
	payload, _ := json.Marshal(c)
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
}

type verifier struct{}

func (verifier) Verify(ctx context.Context, token string, issuers ...string) (*tenancy.Credential, error) {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, err
	}
	t, err := tenancy.Current(ctx)
	switch {
	case err != nil:
		return nil, err
	case c.Fault == "unavailable":
		return nil, tenancy.Unavailable(fmt.Errorf("keys of %s", t.ID), "")
	case c.Fault != "":
		return nil, Refused(c.Fault)
	case c.Tenant != t.ID || !slices.Contains(issuers, c.Issuer):
		return nil, Refused(InvalidSignature)
	}
	return &tenancy.Credential{
		TenantID: c.Tenant, Issuer: c.Issuer, Subject: c.Subject, ClientID: "client-of-" + c.Tenant,
		OrgID: c.OrgID, OrgName: c.OrgName, Permissions: c.Scopes, User: !c.Machine,
	}, nil
}

func issuerOf(tenant string) string {
	if tenant == "control_plane" {
		return "https://" + cpHost + "/"
	}
	return "https://" + tenant + "." + cpHost + "/"
}

// machine is a tenant's own client with scopes; none means all that it can have.
func machine(tenant string, scopes ...string) claims {
	if scopes == nil {
		scopes = tenancy.ManagementScopes(tenant == "control_plane")
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == tenancy.ScopePlatformAdmin })
	}
	return claims{Issuer: issuerOf(tenant), Tenant: tenant, Subject: "m2m@clients", Scopes: scopes, Machine: true}
}

// admin is a platform administrator.
func admin() claims {
	c := machine("control_plane")
	c.Subject, c.Scopes, c.Machine = "auth0|root", tenancy.ManagementScopes(true), false
	return c
}

// person is a user of the control plane who holds scopes; none means those of
// the tenant class.
func person(sub string, scopes ...string) claims {
	if scopes == nil {
		scopes = tenancy.TenantScopes
	}
	return claims{Issuer: issuerOf("control_plane"), Tenant: "control_plane", Subject: sub, Scopes: scopes}
}

// in binds a token of the control plane to the organization linked to a tenant.
func (k *kit) in(tenant string, c claims) claims {
	t, ok := k.directory.ByID(tenant)
	if !ok {
		k.Fatalf("no tenant %s", tenant)
	}
	c.OrgID, c.OrgName = t.OrganizationID, tenant
	return c
}

// cp is a context inside the control plane until the test ends.
func (k *kit) cp() context.Context {
	k.Helper()
	ctx, leave, err := k.directory.EnterControlPlane(k.Context())
	k.must(err)
	k.Cleanup(leave)
	return ctx
}

// until waits until something holds that goes on behind an answer.
func (k *kit) until(what string, holds func() bool) {
	k.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.Fatal(what)
		}
	}
}
