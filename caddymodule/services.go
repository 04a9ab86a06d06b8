package caddymodule

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/oauth"
	"github.com/gatehouse-id/gatehouse/oauth/login"
	tenantsync "github.com/gatehouse-id/gatehouse/sync"
	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/management"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// services is an open runtime: the parts of the product, put together.
type services struct {
	pool       *tenancy.Pool
	directory  *tenancy.Directory
	lifecycle  *tenancy.Lifecycle
	sync       *tenantsync.Loop
	tokens     *oauth.Server
	keeper     *tenancy.Housekeeper
	domains    *tenancy.Domains
	upgrader   *tenancy.Upgrader
	limiter    *tenancy.Limiter
	logBook    *tenancy.LogBook
	oauth      paths
	login      paths
	management http.Handler
	keys       keyManager
	loops      []func(context.Context) // each returns soon after its context ends

	// issuersOf are those of a tenant, under any scheme and port that the
	// installation is reached under: the known ones and those of issuers given.
	issuersOf func(t *tenancy.Tenant, like ...string) []string

	// missing is whether the control plane did not answer at the start.
	missing bool

	// setup is the secret of the link by which the first administrator is made;
	// "" once there is one.
	setup string
}

// domainProver looks for the proofs of custom domains; tests have a DNS of their
// own.
var domainProver tenancy.Prover

// paths is a handler that knows which paths are its own.
type paths interface {
	http.Handler
	Handles(path string) bool
}

// openServices puts the parts together and opens the control plane, which it
// makes at the first start. like are issuers this installation may be reached
// under, with the scheme and port of each, the one for links first.
func openServices(ctx context.Context, rt *runtime, like []string) (s *services, err error) {
	c, log := &rt.config, newLog(rt)
	tenancy.SetManagementAliases(c.ManagementAliases)

	s = &services{pool: rt.store.pool, limiter: c.RateLimit.limiter()}
	s.logBook = &tenancy.LogBook{Pool: s.pool, MachineTokens: c.Logs.MachineTokens != nil && *c.Logs.MachineTokens, Log: log}
	recorder := tenancy.Recorders{logRecorder{rt}, metricsRecorder{}}
	if !c.Logs.Off {
		recorder = append(recorder, s.logBook)
	}
	s.directory = tenancy.NewDirectory(s.pool, c.hosts)
	releases := newReleaser(rt, s, log)
	s.directory.OnLeave(releases.push)
	told := s.newAnnouncer(rt, log)
	recorder = append(recorder, told)
	s.issuersOf = func(t *tenancy.Tenant, also ...string) []string {
		return issuers(s.directory.HostsOf(t.ID), slices.Concat(like, also)...)
	}
	keys := &oauth.Keyring{Algs: c.Keys, Reservoir: new(oauth.Reservoir)}
	if s.sync, err = c.newLoop(s.directory, s.pool, recorder); err != nil {
		return nil, err
	}
	s.upgrader = &tenancy.Upgrader{Pool: s.pool, Directory: s.directory, Log: log}
	s.lifecycle = &tenancy.Lifecycle{
		Pool: s.pool, Directory: s.directory, Master: rt.store.master, Keys: keys, Sync: s.sync, Recorder: recorder,
		Upgrader: s.upgrader, Backups: c.Backups.store(), Placement: c.placement(), OwnerRoles: c.Access.DefaultRoles, OwnerPermissions: c.Access.DefaultPermissions,
		NoAPIExplorer: isFalse(c.Access.CreateAPIExplorer),
	}

	if s.lifecycle.Hooks, err = c.builtIn(); err != nil {
		return nil, err
	}
	s.lifecycle.Webhooks, s.lifecycle.Announce = told.webhooks, told.announce
	s.domains = &tenancy.Domains{Directory: s.directory, Prover: domainProver, Recorder: recorder, Log: log}
	s.keeper = &tenancy.Housekeeper{Pool: s.pool, LogRetention: time.Duration(c.Logs.Keep), Log: log, Leftovers: s.lifecycle.Leftovers}
	post := s.newOutbox(c.Email, log)
	post.Recorder = recorder
	named, err := c.networks()
	if err != nil {
		return nil, err
	}
	client := outbound(named, 10*time.Second)
	tokens, err := oauth.New(oauth.Config{Recorder: recorder, Keys: keys, Log: log, Limit: s.limitClient, Client: client, Issuers: func(ctx context.Context) []string {
		t, err := tenancy.Current(ctx)
		if err != nil {
			return nil
		}
		return issuers(s.directory.HostsOf(t.ID), tenancy.VisitOf(ctx).Issuer)
	}})
	if err != nil {
		return nil, err
	}
	teller := &oauth.Teller{Server: tokens, Pool: s.pool, Directory: s.directory, Client: client, Log: log}
	s.lifecycle.Verify = func(ctx context.Context, _ *tenancy.Tenant) error {
		return tokens.SelfCheck(ctx)
	}
	api, err := management.New(management.Config{
		Verifier: verifier{tokens}, Directory: s.directory, Entrance: s.pool, Lifecycle: s.lifecycle, Keys: keyManager{keys},
		Issuers:       func(t *tenancy.Tenant) []string { return s.issuersOf(t) },
		ValidTenantID: c.hosts.ValidTenantID, Sync: syncAPI(s.sync, failer(log)), Upgrades: s.upgrader.Status, Domains: s.domains, Limit: s.limitManagement, Recorder: recorder, Log: log, Mail: post,
	})
	if err != nil {
		return nil, err
	}
	s.lifecycle.Invite = api.InviteOwner
	s.keys, s.tokens, s.oauth, s.login, s.management = keyManager{keys}, tokens, tokens, login.New(login.Config{Recorder: recorder, Logger: log, Mailer: post, Upstream: s.newUpstream(c.Connections, named, like[0])}), api

	if s.missing, err = s.openControlPlane(ctx, rt, log); err != nil {
		return nil, err
	}
	if !s.missing {
		if s.setup, err = s.setupToken(ctx); err != nil {
			return nil, err
		}
	}
	s.loops = []func(context.Context){
		s.directory.Run, s.sync.Run, s.sync.RunRepairs, s.upgrader.Run, s.keeper.Run, s.logBook.Run, s.domains.Run, told.Run, told.sender.Run, teller.Run, post.Run, releases.Run,
		func(ctx context.Context) { keepFilled(ctx, keys.Reservoir) },
		func(ctx context.Context) { makeOwedKeys(ctx, s, keys, log) },
		func(ctx context.Context) {
			s.directory.RunKeeper(ctx, keeper{rt}, rt.store.master, func(err error) {
				log.Error("the directory could not be kept for a start without the control plane", "error", err)
			})
		},
		func(ctx context.Context) {
			if s.missing {
				s.heal(ctx, rt, log)
			}
			resume(ctx, s.lifecycle, log)
		},
		func(ctx context.Context) { rotateKeys(ctx, s, keys, log) },
	}
	return s, nil
}

// newAnnouncer makes what tells of tenants' life.
func (s *services) newAnnouncer(rt *runtime, log *slog.Logger) *announcer {
	endpoints := rt.config.endpoints()
	a := &announcer{runtime: rt, directory: s.directory, log: log, queue: make(chan announced, 1024)}
	for _, e := range endpoints {
		a.webhooks = append(a.webhooks, e.Subscription)
	}
	a.sender = &webhook.Sender{ControlPlane: s.directory, Endpoints: endpoints, Log: log, Count: func(address string, r webhook.Result) {
		host := ""
		if u, err := url.Parse(address); err == nil {
			host = u.Host
		}
		deliveriesTotal.WithLabelValues(host, string(r)).Inc()
	}}
	return a
}

// newLoop makes the loop that keeps tenants up to date.
func (a *App) newLoop(directory *tenancy.Directory, pool *tenancy.Pool, recorder tenancy.Recorder) (*tenantsync.Loop, error) {
	exclude, err := a.Sync.excludes()
	if err != nil {
		return nil, err
	}
	transforms, err := a.Inherit.transforms()
	if err != nil {
		return nil, err
	}
	return tenantsync.New(tenantsync.Config{
		Directory: directory, Pool: pool, Workers: a.Sync.Workers, Every: a.Sync.every(),
		ResourceServersOff: isFalse(a.Sync.ResourceServers), RolesOff: isFalse(a.Sync.Roles), ConnectionsOff: isFalse(a.Sync.Connections),
		Inherit: a.Inherit.choice(), Transforms: transforms, Exclude: exclude, Expressions: a.expressions(),
		OnConflict: a.Sync.policies(), Detach: a.Sync.OnUnsync == "detach", Recorder: recorder,
	}), nil
}

// syncAPI is the loop as the management API knows it.
func syncAPI(l *tenantsync.Loop, fail func(http.ResponseWriter, *http.Request, error)) *management.Sync {
	return &management.Sync{Status: l.StatusHandler(fail), Drift: l.DriftHandler(fail), Plan: l.PlanRepair, Repair: l.Repair}
}

func (s *services) setupToken(ctx context.Context) (token string, err error) {
	err = s.pool.Do(ctx, s.directory.ControlPlane(), func(ctx context.Context) error {
		token, err = tenancy.SetupToken(ctx)
		return err
	})
	return token, err
}

// bootstrap is what the control plane is made with.
func (a *App) bootstrap() tenancy.ControlPlaneConfig {
	cp := tenancy.ControlPlaneConfig{ID: a.hosts.ControlPlane, Placement: builtinPlacement}
	if a.ControlPlane != nil && a.ControlPlane.Database != "" {
		cp.Placement = a.ControlPlane.Database
	}
	if a.Admin != nil {
		cp.AdminEmail, cp.AdminPassword = a.Admin.Email, a.Admin.Password
	}
	if a.Client != nil {
		cp.ClientID, cp.ClientSecret = a.Client.ID, a.Client.Secret
	}
	return cp
}

// placement is where new tenants' databases go.
func (a *App) placement() string {
	if len(a.Database) > 0 {
		return a.Database[0].Name
	}
	return builtinPlacement
}

// endpoint returns what answers a path, or nil for a path of nobody's.
func (s *services) endpoint(path string) http.Handler {
	switch {
	case isManagement(path):
		return s.management
	case s.oauth.Handles(path):
		return s.oauth
	case s.login.Handles(path):
		return s.login
	}
	return nil
}

// refuses returns what a tenant answers in its state, or nil where that is for
// the endpoint to say: of a suspended tenant some routes still answer (C1.17 to
// C1.21).
func (s *services) refuses(t *tenancy.Tenant, path, requestID string) *refusal {
	switch t.State {
	case tenancy.StateActive:
		return nil
	case tenancy.StateSuspended:
		if isManagement(path) || s.oauth.Handles(path) {
			return nil
		}
		return &suspended
	}
	a := unavailable(requestID)
	if isManagement(path) {
		a.code, a.text = "tenant_unavailable", "Tenant is not available"
	}
	return &a
}
