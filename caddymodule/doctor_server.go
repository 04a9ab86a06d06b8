package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

func init() {
	operations = append(operations, operation{"GET /gatehouse/doctor", examineServer})
}

// checkLimit is how long one check may take.
const checkLimit = 10 * time.Second

// lookupHost asks the system's resolver; tests ask nobody.
var lookupHost = net.DefaultResolver.LookupHost

// patient is a running server as the doctor sees it. Its functions are replaced
// in tests.
type patient struct {
	*services
	store      *store
	base       string
	port       int // the public one
	setup      string
	email      *Email
	hooks      []webhook.Endpoint
	requests   func() (all, forwarded int64)
	fileLimit  func() (uint64, bool)
	clock      func() (kept, known bool)
	network    func(path string) string // the kind of network file system, "" for none
	upgrades   func() tenancy.UpgradeStatus
	lookupHost func(ctx context.Context, host string) ([]string, error)
	dial       func(ctx context.Context, address string) error
}

func examineServer(ctx context.Context, s *services, _ *question) (any, error) {
	app, err := appOf(caddy.ActiveContext())
	if err != nil {
		return nil, err
	}
	return newPatient(app.runtime, s).examine(ctx), nil
}

func newPatient(rt *runtime, s *services) *patient {
	return &patient{
		services: s, store: rt.store, base: rt.config.hosts.BaseDomain, port: cmp.Or(rt.config.Port, caddyhttp.DefaultHTTPSPort), setup: s.setup,
		email: rt.config.Email, hooks: rt.config.endpoints(),
		requests:  func() (int64, int64) { return rt.arrived.Load(), rt.forwarded.Load() },
		fileLimit: openFileLimit, clock: clockKept, network: networkFileSystem, upgrades: s.upgrader.Status,
		lookupHost: lookupHost, dial: dialHost,
	}
}

func checkDataMode(_ context.Context, p *patient) (list []finding) {
	for _, path := range []string{p.store.data, filepath.Join(p.store.data, "secret")} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no such file: the secret is configured
		}
		if err != nil {
			list = append(list, foundf("make it readable for this user", "%s cannot be looked at: %v", path, err)...)
		} else if mode := info.Mode().Perm(); mode&0o077 != 0 {
			list = append(list, foundf("chmod go= "+path, "%s can be used by other users (mode %04o)", path, mode)...)
		}
	}
	return list
}

// filesPerDatabase is what an open SQLite database takes, and filesBeside what the
// rest of the server may: connections of clients, mostly.
const (
	filesPerDatabase = 3
	filesBeside      = 1024
)

func checkFileLimit(_ context.Context, p *patient) []finding {
	limit, known := p.fileLimit()
	need := uint64(p.pool.Stats().Limit*filesPerDatabase + filesBeside)
	if !known || limit >= need {
		return nil
	}
	return foundf(fmt.Sprintf("ulimit -n %d (LimitNOFILE=%d for systemd), or fewer: gatehouse { open_databases %d }", need, need, int(max(limit, 2*filesBeside)-filesBeside)/filesPerDatabase),
		"the process may open %d files; %d open databases and their clients need %d", limit, p.pool.Stats().Limit, need)
}

func checkNames(ctx context.Context, p *patient) (list []finding) {
	if isLoopback(p.base) {
		return nil
	}
	for _, host := range []string{p.base, "doctor." + p.base} {
		addresses, err := p.lookupHost(ctx, host)
		if err == nil && len(addresses) > 0 {
			continue
		}
		record := strings.Replace(host, "doctor.", "*.", 1)
		list = append(list, foundf("add a DNS record for "+record+" that points to this server", "%s has no address: %v", record, err)...)
	}
	return list
}

// checkPlacements asks each placement how many databases it has, or opens one.
func checkPlacements(ctx context.Context, p *patient) (list []finding) {
	some := map[string]*tenancy.Tenant{}
	for _, t := range p.directory.All() {
		if _, ok := some[t.Placement]; !ok && t.State == tenancy.StateActive {
			some[t.Placement] = t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.store.placements)) {
		var err error
		if c, ok := p.store.placements[name].(interface {
			Count(ctx context.Context) (int, error)
		}); ok {
			_, err = c.Count(ctx)
		} else if t := some[name]; t != nil {
			err = p.pool.Do(ctx, t, func(ctx context.Context) error { return tenancy.Ping(ctx) })
		}
		if err != nil {
			list = append(list, foundf("see that its server runs and that address and password in the option database are right", "placement %s does not answer: %v", name, err)...)
		}
	}
	for name, t := range some {
		if p.store.placements[name] == nil {
			list = append(list, foundf("add it again: gatehouse { database "+name+" ... }", "tenant %s lives in placement %s, which is not configured", t.ID, name)...)
		}
	}
	return list
}

func checkRegistry(_ context.Context, p *patient) []finding {
	err := p.directory.Stale()
	if err == nil {
		return nil
	}
	return foundf("see that the control plane's database is there; tenants go on as they were known last", "the registry could not be read: %v", err)
}

// listedTenants is how many tenants of a kind are named one by one.
const listedTenants = 5

func checkTenants(_ context.Context, p *patient) (list []finding) {
	counts := map[tenancy.State]int{}
	for id, t := range p.directory.All() {
		counts[t.State]++
		if n := counts[t.State]; n > listedTenants {
			continue
		}
		switch t.State {
		case tenancy.StateFailed:
			remedy := commandLine(fmt.Sprintf("tenants create %s --name %q", id, t.FriendlyName))
			if t.CreatedBy != adminActor {
				remedy = "send the same request again, or POST /api/v2/operations/{id}/retry"
			}
			list = append(list, foundf(remedy+"; or remove it: "+commandLine("tenants delete "+id), "tenant %s could not be made: %s", id, t.ProvisioningError)...)
		case tenancy.StateDeleting:
			list = append(list, foundf(commandLine("tenants delete "+id), "tenant %s is not wholly removed", id)...)
		}
	}
	for _, state := range []tenancy.State{tenancy.StateFailed, tenancy.StateDeleting} {
		if more := counts[state] - listedTenants; more > 0 {
			list = append(list, foundf(commandLine("tenants list --state "+string(state)), "%d further tenants are %s", more, state)...)
		}
	}
	return list
}

func checkSync(_ context.Context, p *patient) (list []finding) {
	stats := p.sync.Stats()
	if stats.Trouble != nil {
		list = append(list, foundf("see that the control plane's database is there", "the control plane cannot be read: %v", stats.Trouble)...)
	}
	if stats.Failed > 0 {
		list = append(list, foundf(commandLine("sync status --state failed"), "changes could not be applied to %d tenants, several times in a row", stats.Failed)...)
	}
	return list
}

// checkForwarded tells a proxy that nobody trusts from a client that invents
// headers: through a proxy come most requests.
func checkForwarded(_ context.Context, p *patient) []finding {
	all, forwarded := p.requests()
	if all < 20 || forwarded*2 < all {
		return nil
	}
	return foundf("servers { trusted_proxies static 10.0.0.0/8 } with the addresses of your proxy",
		"%d of %d requests came with X-Forwarded-For from an address that is not trusted: all clients count as one", forwarded, all)
}

func checkAdministrator(ctx context.Context, p *patient) []finding {
	if p.setup == "" {
		return nil
	}
	inside, leave, err := p.directory.EnterControlPlane(ctx)
	if err != nil {
		return nil // checkRegistry's
	}
	defer leave()
	if has, err := tenancy.HasAdministrator(inside); err != nil || has {
		return nil
	}
	return found("the control plane has no administrator: whoever has the link of the first start can become it",
		"open the link, or: gatehouse { admin ops@example.com {env.ADMIN_PASSWORD} }")
}
