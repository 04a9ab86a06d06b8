package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the identity provider: its tenants, where they are kept, and what they
// share. The handler `gatehouse` serves it.
//
// Placeholders {env.NAME} and {file.PATH} are replaced when the configuration is
// loaded; write secrets as such, so that they stay out of stored configurations.
type App struct {
	// The domain below which every tenant has its host: with auth.example.com,
	// tenant acme is acme.auth.example.com. Required.
	BaseDomain string `json:"base_domain,omitempty"`

	// The directory for what the server keeps on disk. One process uses it at a
	// time. Default: gatehouse in Caddy's data directory.
	Data string `json:"data,omitempty"`

	// The master secret, which everything secret in the databases is sealed
	// with: at least 16 characters, the same on every start. Older ones may
	// follow it; they open what they sealed. Default: one that is made at the
	// first start and kept in the file "secret" in the data directory.
	Secret []string `json:"secret,omitempty"`

	// The first administrator. Default: none, and the first start prints a link
	// for making one.
	Admin *Admin `json:"admin,omitempty"`

	// A machine client for the management API. Default: none.
	Client *Client `json:"client,omitempty"`

	// The tenant that manages the others.
	ControlPlane *ControlPlane `json:"control_plane,omitempty"`

	// The labels below the base domain that are never a tenant. It replaces the
	// default list (www, api, admin, ...); an empty list reserves none.
	Reserved []string `json:"reserved,omitzero"`

	// What reserved labels show: "control_plane" (default) or "not_found".
	ReservedServe string `json:"reserved_serve,omitempty"`

	// Further labels of tenants: label to tenant id.
	Labels map[string]string `json:"labels,omitempty"`

	// What says which tenant a host is, asked in this order after the control
	// plane's own hosts. Default: custom_domain, subdomain.
	Resolve []json.RawMessage `json:"resolve,omitempty" caddy:"namespace=gatehouse.resolvers inline_key=resolver"`

	// Where tenants' databases are: by default in the first, or in the one that
	// is named when a tenant is made. Default: SQLite files in the data directory,
	// where the control plane is too unless its own option says otherwise.
	Database []*Database `json:"database,omitempty"`

	// How many databases are open at a time, at most. Default: 1000. Fewer are
	// where the process may not open files enough, which is logged.
	OpenDatabases int `json:"open_databases,omitempty"`

	// How many of these may be in each database, by its name. One that is not
	// named may have nearly all of them.
	OpenDatabasesIn map[string]int `json:"open_databases_in,omitempty"`

	// The algorithms every tenant has signing keys for: RS256, which ID tokens
	// need, and any of PS256, ES256, EdDSA. Default: RS256, ES256, EdDSA.
	Keys []string `json:"keys,omitempty"`

	// What tenants get from the control plane.
	Sync *Sync `json:"sync,omitempty"`

	// Which settings tenants inherit.
	Inherit *Inherit `json:"inherit,omitempty"`

	// What tenants' own logs keep.
	Logs *Logs `json:"logs,omitempty"`

	// How many requests are let in. Default: so many that only a flood meets a limit.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	// Where backups go that are asked for as operations. Default: nowhere; such
	// operations are refused.
	Backups *Backups `json:"backups,omitempty"`

	// What a tenant's first administrator may do.
	Access *Access `json:"access,omitempty"`

	// Who is told of what happens to tenants, and who is asked before.
	Hooks []*Hook `json:"hooks,omitempty"`

	// How mail leaves where no e-mail provider is configured. Default: not at all.
	Email *Email `json:"email,omitempty"`

	// How people log in through identity providers elsewhere.
	Connections *Connections `json:"connections,omitempty"`

	// Further audiences that name the management API, for installations that
	// move here.
	ManagementAliases []string `json:"management_aliases,omitempty"`

	// Networks that are not public and that addresses may lead to all the same
	// which tenants choose, such as 10.1.0.0/16: those that clients are told of
	// logouts at. Default: none.
	PrivateNetworks []string `json:"private_networks,omitempty"`

	// The port in issuers and links. Default: the one a request names; in links
	// that belong to no request, Caddy's HTTPS port. Set it where Caddy's port is
	// mapped to another one outside.
	Port int `json:"port,omitempty"`

	ctx     caddy.Context
	log     *zap.Logger
	hosts   *tenancy.Hosts
	events  *caddyevents.App
	poolKey string
	permits bool // whether certificates on demand are asked of Permission

	resolvers []tenancy.HostResolver
	runtime   *runtime // nil until Provision has taken it from the pool
}

// CaddyModule implements [caddy.Module].
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse", New: func() caddy.Module { return new(App) }}
}

// Provision implements [caddy.Provisioner]. It reads and checks, and takes the
// runtime from the configuration before where that asked for the same; it
// writes nothing and opens nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log = ctx, ctx.Logger()
	if err := a.loadResolvers(ctx); err != nil {
		return err
	}
	if err := a.resolve(); err != nil {
		return err
	}
	for _, p := range a.Database {
		module, err := ctx.LoadModule(p, "Raw")
		if err != nil {
			return fmt.Errorf("database %s: %w", p.Name, err)
		}
		m, ok := module.(DatabaseModule)
		if !ok {
			return fmt.Errorf("database %s: %T is no database", p.Name, module)
		}
		p.module = m
	}
	if err := errors.Join(a.loadHooks(ctx), a.loadEvents(ctx)); err != nil {
		return err
	}
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	key, err := a.key()
	if err != nil {
		return err
	}
	taken, _, err := runtimes.LoadOrNew(key, func() (caddy.Destructor, error) { return newRuntime(a) })
	if err != nil {
		return err
	}
	a.poolKey, a.runtime = key, taken.(*runtime)
	return nil
}

// Start implements [caddy.App]: it opens the control plane, unless an earlier
// configuration has, and keeps the loops going. Its error says what to do.
func (a *App) Start() error {
	return a.runtime.start(a)
}

// Stop implements [caddy.App]. The loops end once no configuration wants them;
// what a request needs stays open.
func (a *App) Stop() error {
	a.runtime.stop(a)
	return nil
}

// Cleanup implements [caddy.CleanerUpper]. The last one to go closes the runtime.
func (a *App) Cleanup() error {
	if a.runtime == nil {
		return nil
	}
	a.runtime = nil
	_, err := runtimes.Delete(a.poolKey)
	return err
}

// appOf returns the configured app, for the modules that work on it.
func appOf(ctx caddy.Context) (*App, error) {
	app, err := ctx.AppIfConfigured("gatehouse")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, errors.New("the global option gatehouse is missing; add for instance: { gatehouse { base_domain auth.example.com } }")
	}
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Module       = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
