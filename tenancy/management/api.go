package management

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// Config is what the API depends on. Fields without a note are required.
type Config struct {
	Verifier  Verifier
	Directory Directory
	Entrance  Entrance
	Lifecycle Lifecycle
	Keys      Keys

	// Issuers returns the issuers of a tenant's active hosts, each with its
	// trailing slash, the primary one first (contract C1.11).
	Issuers func(t *tenancy.Tenant) []string

	// ValidTenantID says why an id cannot be a tenant's, see
	// [tenancy.Hosts.ValidTenantID]. Nil leaves it to the grammar.
	ValidTenantID func(id string) error

	// Sync answers what is below /sync. Nil answers 501.
	Sync *Sync

	// Upgrades returns how far the upgrade of all tenants' databases is, see
	// [tenancy.Upgrader]. Nil answers 501.
	Upgrades func() tenancy.UpgradeStatus

	// Domains keeps tenants' custom domains, see [tenancy.Domains]. Nil answers 501.
	Domains Domains

	// Limit counts a request whose token is good, that of a client of the tenant
	// minting acting on the tenant target, tells the headers what is left, and
	// returns an [tenancy.Error] with status 429 for one too many (contract
	// C5.13). Nil counts nothing.
	Limit func(h http.Header, target, minting, client string) error

	// Mail sends invitations; nil sends none, and whoever invites passes on the
	// address in the answer.
	Mail Mailer

	// Recorder takes note of writes and refusals; nil keeps none.
	Recorder tenancy.Recorder

	// Log gets what went wrong in this server, once per request; nil drops it.
	Log *slog.Logger

	// Now is the clock by which cursors expire; nil is time.Now.
	Now func() time.Time
}

// Verifier verifies bearer tokens.
type Verifier interface {
	// Verify checks a token that names one of the issuers, all of the tenant ctx
	// is inside of: its signature by a key of that tenant, then iss, exp and nbf,
	// then that its audience is the management API, then that it was not revoked.
	// Every failure of the token is an error made by [Refused]; an error of
	// reading is returned as it is and answered with 503.
	Verify(ctx context.Context, token string, issuers ...string) (*tenancy.Credential, error)
}

// Directory knows the tenants, from memory.
type Directory interface {
	ByID(id string) (*tenancy.Tenant, bool)
	ByOrganization(orgID string) (*tenancy.Tenant, bool)
	ControlPlane() *tenancy.Tenant // nil while there is none yet
}

// Entrance lets a request into a tenant; see [tenancy.Pool.Enter].
type Entrance interface {
	Enter(ctx context.Context, t *tenancy.Tenant) (inside context.Context, leave func(), err error)
}

// Lifecycle makes, changes and removes tenants; see [tenancy.Lifecycle].
type Lifecycle interface {
	Create(ctx context.Context, wish tenancy.NewTenant) (*tenancy.Tenant, error)
	Update(ctx context.Context, id string, alter func(*tenancy.Tenant) error) (*tenancy.Tenant, error)
	Delete(ctx context.Context, id string) error
	Suspend(ctx context.Context, id, reason string) (*tenancy.Tenant, error)
	Reactivate(ctx context.Context, id string) (*tenancy.Tenant, error)
	Upgrade(ctx context.Context, id string) (*tenancy.Operation, error)
	StartBackup(ctx context.Context, id string) (*tenancy.Operation, error)
	Retry(ctx context.Context, operationID string) (*tenancy.Operation, error)
	Cancel(ctx context.Context, operationID string) (*tenancy.Operation, error)
	StartMove(ctx context.Context, id string, o tenancy.MoveOptions) (*tenancy.Operation, error)
}

// Domains keeps the custom domains of the tenant whose id it is given; see
// [tenancy.Domains].
type Domains interface {
	List(ctx context.Context, tenant string) ([]tenancy.CustomDomain, error)
	Get(ctx context.Context, tenant, id string) (*tenancy.CustomDomain, error)
	Create(ctx context.Context, tenant string, wish tenancy.NewDomain) (*tenancy.CustomDomain, error)
	Update(ctx context.Context, tenant, id string, alter func(*tenancy.CustomDomain) error) (*tenancy.CustomDomain, error)
	Delete(ctx context.Context, tenant, id string) error
	Verify(ctx context.Context, tenant, id string) (*tenancy.CustomDomain, error)

	// Proofs are what verifies a claim, for its owner to publish.
	Proofs(d *tenancy.CustomDomain) []tenancy.Proof
}

// Mailer sends messages; see [mail.Sender].
type Mailer interface {
	Send(ctx context.Context, m mail.Message) error
}

// Keys changes the signing keys of the entered tenant (contract C5.86).
type Keys interface {
	// Rotate makes the next keys current and returns the one that signs by
	// default now.
	Rotate(ctx context.Context) (*tenancy.SigningKey, error)

	// Revoke ends a key that is not current at once, and returns it. An unknown
	// key is [tenancy.ErrNotFound]; the current one a 409 [tenancy.Error].
	Revoke(ctx context.Context, kid string) (*tenancy.SigningKey, error)
}

// API serves /api/v2. It is safe for concurrent use.
type API struct {
	config Config
	router *router
	routes []route
}

// New makes the API.
func New(c Config) (*API, error) {
	if c.Verifier == nil || c.Directory == nil || c.Entrance == nil || c.Lifecycle == nil || c.Keys == nil || c.Issuers == nil {
		return nil, errors.New("management: a dependency is missing")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{config: c, routes: table()}
	a.router = newRouter(a.routes)
	return a, nil
}

// Routes lists every route of the API, by path and method.
func Routes() []RouteInfo {
	var infos []RouteInfo
	for _, r := range newRouter(table()).all() {
		infos = append(infos, r.info())
	}
	return infos
}

// table is all routes.
func table() []route {
	return slices.Concat(
		tenantRoutes, operationRoutes, syncRoutes, settingsRoutes, protectionRoutes,
		organizations.routes(), organizationRoutes, memberRoutes, invitationRoutes, organizationConnectionRoutes, organizationGrantRoutes,
		teamRoutes,
		roles.routes(), roleRoutes,
		resourceServers.routes(),
		clients.routes(), clientRoutes, clientCredentialRoutes,
		clientGrants.routes(), clientGrantRoutes,
		connections.routes(), connectionRoutes, emailProvider.routes(), emailTemplateRoutes, ticketRoutes,
		users.routes(), userRoutes,
		keyRoutes, domainRoutes, sessionRoutes, consentRoutes, logRoutes,
	)
}

// ServeHTTP answers a request whose context is inside the tenant of its host and
// carries a [tenancy.Visit]. It answers every request below /api/v2, also those
// for paths that do not exist.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{api: a, w: w, r: r, host: r.Context(), query: r.URL.Query()}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.config.Log.ErrorContext(r.Context(), "panic in the management API", "panic", p, "stack", string(debug.Stack()))
			c.fail(r.Context(), errPanic)
		}
	}()
	if a.cors(c); r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	routes, params := a.router.match(r.URL.EscapedPath())
	if routes == nil {
		c.fail(r.Context(), tenancy.Errorf(http.StatusNotFound, "not_found", "Not Found"))
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	found := routes[method]
	if found == nil {
		err := tenancy.Errorf(http.StatusMethodNotAllowed, "invalid_uri", "Method Not Allowed")
		err.Header = map[string]string{"Allow": allow(routes)}
		c.fail(r.Context(), err)
		return
	}
	c.route, c.params = found, params
	a.serve(c)
}

func (a *API) count(c *Call) error {
	if a.config.Limit == nil {
		return nil
	}
	return a.config.Limit(c.w.Header(), c.tenant.ID, c.credential.TenantID, c.credential.ClientID)
}

var errPanic = errors.New("panic")

// serve lets a request in and answers it.
func (a *API) serve(c *Call) {
	ctx, leave, err := a.enter(c)
	if err != nil {
		c.fail(c.host, err)
		a.audit(c.host, c, err)
		return
	}
	defer leave()
	if err := a.count(c); err != nil { // no entry in the log: there would be too many
		c.fail(ctx, err)
		return
	}
	body, err := c.perform(tenancy.WithActor(ctx, c.credential.Subject))
	if err != nil {
		c.fail(ctx, err)
		a.audit(ctx, c, err)
		return
	}
	if c.route.access.Write {
		a.audit(ctx, c, nil)
	}
	if !c.answered {
		c.succeed(body)
	}
}
