package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// healthy is a configuration that no check has anything against.
const healthy = `{
	admin localhost:2019
	grace_period 30s
	on_demand_tls {
		permission gatehouse
	}
	servers {
		strict_sni_host on
		0rtt off
	}
	log {
		format filter {
			request>uri query {
				delete code
				delete state
			}
			resp_headers>Location delete
		}
	}
	gatehouse {
		base_domain auth.example.com
		secret {file./run/secrets/gatehouse}
		admin ops@example.com {env.ADMIN_PASSWORD}
	}
}
auth.example.com, *.auth.example.com {
	tls {
		on_demand
	}
	log
	gatehouse
}
https:// {
	tls {
		on_demand
	}
	respond 421
}
`

func examineCaddyfile(t *testing.T, caddyfile string) diagnosis {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, caddyfile)
	}
	c, err := readDoctorConfig(adapted)
	if err != nil {
		t.Fatal(err)
	}
	return c.examine()
}

// bad are the checks that found something.
func (d diagnosis) bad() (names []string) {
	for _, c := range d.Checks {
		if len(c.Findings) > 0 {
			names = append(names, c.Check)
		}
	}
	return names
}

// remedies are the words of all remedies and problems.
func (d diagnosis) remedies() (text string) {
	for _, c := range d.Checks {
		for _, f := range c.Findings {
			text += f.Problem + " -> " + f.Remedy + "\n"
		}
	}
	return text
}

// TestDoctorReadsConfigurations: each check finds what is wrong, and it alone; no
// check has anything against a good configuration.
func TestDoctorReadsConfigurations(t *testing.T) {
	if d := examineCaddyfile(t, healthy); d.problems() != 0 || len(d.Checks) != len(configChecks) {
		t.Fatalf("a good configuration: %s", d.remedies())
	}
	open := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(open, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for name, c := range map[string]struct {
		check    string
		from, to string
		remedy   string
	}{
		"on demand for everybody":       {"on-demand certificates need", "permission gatehouse", "ask http://localhost:5555/", "permission gatehouse"},
		"auto_https off":                {"certificates are had automatically", "grace_period 30s", "grace_period 30s\nauto_https off", "auto_https off"},
		"auto_https disable_certs":      {"certificates are had automatically", "grace_period 30s", "grace_period 30s\nauto_https disable_certs", "auto_https off"},
		"no strict_sni_host":            {"the host asked for is the one", "strict_sni_host on", "", "strict_sni_host on"},
		"0-RTT by default":              {"requests come after the handshake", "0rtt off", "", "0rtt off"},
		"no site below the base":        {"the base domain and those below it", "auth.example.com, *.auth.example.com {", "auth.example.com {", "*.auth.example.com { gatehouse }"},
		"no site for the base":          {"the base domain and those below it", "auth.example.com, *.auth.example.com {", "*.auth.example.com {", "auth.example.com, "},
		"sites of another domain":       {"the base domain and those below it", "base_domain auth.example.com", "base_domain login.example.com", "login.example.com"},
		"no catch-all site":             {"hosts of nobody's are refused", "https:// {\n\ttls {\n\t\ton_demand\n\t}\n\trespond 421\n}", "", "respond 421"},
		"codes in the log":              {"codes stay out of the access log", "delete code", "delete id_token_hint", "delete code"},
		"states in the log":             {"codes stay out of the access log", "delete state", "delete id_token_hint", "delete state"},
		"codes on their way back":       {"codes stay out of the access log", "resp_headers>Location delete", "", "Location"},
		"log without a filter":          {"codes stay out of the access log", "format filter {\n\t\t\trequest>uri query {\n\t\t\t\tdelete code\n\t\t\t\tdelete state\n\t\t\t}\n\t\t\tresp_headers>Location delete\n\t\t}", "format json", "filter"},
		"admin on every address":        {"the admin endpoint is private", "admin localhost:2019", "admin :2019", "admin localhost:2019"},
		"admin on a public address":     {"the admin endpoint is private", "admin localhost:2019", "admin 192.0.2.1:2019", "unix/"},
		"secret written out":            {"secrets stay out", "{file./run/secrets/gatehouse}", `"0123456789abcdef0123456789abcdef"`, "{file."},
		"password written out":          {"secrets stay out", "{env.ADMIN_PASSWORD}", `"correct horse battery"`, "{env."},
		"secret beside the data":        {"the master secret is not kept", "secret {file./run/secrets/gatehouse}", "", "secret {file."},
		"a secret's file for everybody": {"files of secrets are private", "{file./run/secrets/gatehouse}", "{file." + open + "}", "chmod go= " + open},
		"a wildcard without DNS":        {"a certificate for tenants' names", "tls {\n\t\ton_demand\n\t}\n\tlog", "tls ops@example.com\n\tlog", "tls { dns"},
		"a wildcard by default":         {"a certificate for tenants' names", "tls {\n\t\ton_demand\n\t}\n\tlog", "log", "tls { on_demand }"},
		"all of 10.0.0.0":               {"tenants reach few private", "base_domain auth", "private_networks 10.0.0.0/8\n\t\tbase_domain auth", "private_networks 10.1.2.0/28"},
		"metadata of the cloud":         {"tenants reach few private", "base_domain auth", "private_networks 169.254.169.254/32\n\t\tbase_domain auth", "its cloud's metadata"},
		"this machine":                  {"tenants reach few private", "base_domain auth", "private_networks ::/0\n\t\tbase_domain auth", "this machine's own services"},
		"connections that never end":    {"a reload does not wait", "grace_period 30s", "", "grace_period"},
		"an ask endpoint of somebody":   {"on-demand certificates need", "permission gatehouse", "permission http http://localhost:1/", "permission gatehouse"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(healthy, c.from) {
				t.Fatalf("nothing to replace: %q", c.from)
			}
			d := examineCaddyfile(t, strings.Replace(healthy, c.from, c.to, 1))
			bad := d.bad()
			if len(bad) != 1 || !strings.HasPrefix(bad[0], c.check) || !strings.Contains(d.remedies(), c.remedy) {
				t.Errorf("found %q, want %q with %q: %s", bad, c.check, c.remedy, d.remedies())
			}
			for _, b := range bad {
				tried[b] = true
			}
		})
	}
	for _, c := range configChecks {
		if !tried[c.name] {
			t.Errorf("no configuration is bad for the check %q", c.name)
		}
	}
}

// TestDoctorAcceptsOtherWays: what is as good is not complained about.
func TestDoctorAcceptsOtherWays(t *testing.T) {
	for name, change := range map[string][2]string{
		"a socket":             {"admin localhost:2019", "admin unix//run/caddy.sock"},
		"no admin":             {"admin localhost:2019", "admin off"},
		"admin by default":     {"admin localhost:2019", ""},
		"IPv6 loopback":        {"admin localhost:2019", "admin [::1]:2019"},
		"no HTTP/3":            {"0rtt off", "protocols h1 h2"},
		"no access log":        {"\tlog\n\tgatehouse", "\tgatehouse"},
		"whole address hidden": {"request>uri query {\n\t\t\t\tdelete code\n\t\t\t\tdelete state\n\t\t\t}", "request>uri delete"},
		"placeholder domain":   {"base_domain auth.example.com", "base_domain {env.BASE_DOMAIN}"},
		"no redirects":         {"grace_period 30s", "grace_period 30s\nauto_https disable_redirects"},
		"Caddy's own CA":       {"tls {\n\t\ton_demand\n\t}\n\tlog", "tls internal\n\tlog"},
		"a few machines":       {"base_domain auth", "private_networks 10.1.2.0/28 fd12:3456:789a:1::/64\n\t\tbase_domain auth"},
		"certificates by hand": {"tls {\n\t\ton_demand\n\t}\n\tlog", "tls /run/cert.pem /run/key.pem\n\tlog"},
	} {
		t.Run(name, func(t *testing.T) {
			if d := examineCaddyfile(t, strings.Replace(healthy, change[0], change[1], 1)); d.problems() != 0 {
				t.Errorf("found: %s", d.remedies())
			}
		})
	}
	if d := examineCaddyfile(t, ":80 {\n\trespond ok\n}"); !slices.Contains(d.bad(), "the base domain and those below it are served") {
		t.Errorf("a configuration without Gatehouse: %s", d.remedies())
	}
}

// TestDoctorLooksAtTheServer: each check of a running server finds its ill and
// nothing in a server that is well.
func TestDoctorLooksAtTheServer(t *testing.T) {
	s := newServer(t)
	s.options = `
		admin ops@example.com "correct horse battery 9"`
	s.start()
	s.tenant("acme")
	well := func() *patient {
		p := newPatient(runningRuntime(t), s.services())
		p.fileLimit = func() (uint64, bool) { return 1 << 20, true }
		p.lookupHost = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil }
		p.dial = func(context.Context, string) error { return nil }
		p.clock = func() (bool, bool) { return true, true }
		p.network = func(string) string { return "" }
		p.email = &Email{Kind: "smtp"}
		return p
	}
	if d := well().examine(t.Context()); d.problems() != 0 || len(d.Checks) != len(serverChecks) {
		t.Fatalf("a server that is well: %s", d.remedies())
	}
	tried := map[string]bool{}
	ill := func(name, check, words string, infect func(p *patient)) {
		t.Helper()
		p := well()
		infect(p)
		d := p.examine(t.Context())
		bad := d.bad()
		if len(bad) != 1 || !strings.HasPrefix(bad[0], check) || !strings.Contains(d.remedies(), words) {
			t.Errorf("%s: found %q, want %q with %q: %s", name, bad, check, words, d.remedies())
		}
		for _, b := range bad {
			tried[b] = true
		}
	}
	secret := filepath.Join(s.data, "secret")
	for path, mode := range map[string]os.FileMode{secret: 0o600, s.data: 0o700} {
		if err := os.Chmod(path, mode|0o044); err != nil {
			t.Fatal(err)
		}
		ill("readable "+path, "only this user", "chmod go= "+path, func(*patient) {})
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	ill("few files", "the process may open", "ulimit -n 4024", func(p *patient) { p.fileLimit = func() (uint64, bool) { return 1024, true } })
	ill("no DNS", "the base domain's names", "no such host", func(p *patient) {
		p.lookupHost = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
	})
	ill("no wildcard", "the base domain's names", "*.auth.example.com", func(p *patient) {
		p.lookupHost = func(_ context.Context, host string) ([]string, error) {
			if host == p.base {
				return []string{"192.0.2.1"}, nil
			}
			return nil, nil
		}
	})
	ill("a closed port", "the public port", "auth.example.com:443 cannot be connected to", func(p *patient) {
		p.dial = func(_ context.Context, address string) error { return errors.New("connection refused at " + address) }
	})
	ill("a clock that drifts", "the clock is kept right", "set-ntp true", func(p *patient) { p.clock = func() (bool, bool) { return false, true } })
	ill("data over a network", "the data directory is on a local disk", "network file system (NFS)", func(p *patient) { p.network = func(string) string { return "NFS" } })
	ill("an old schema", "every database has this program's schema", "migrate run acme", func(p *patient) {
		p.upgrades = func() tenancy.UpgradeStatus {
			return tenancy.UpgradeStatus{Stopped: true, Failures: []tenancy.UpgradeFailure{{TenantID: "acme", SchemaVersion: 3, LastError: "disk full"}}}
		}
	})
	ill("no mail", "mail leaves", "email smtp", func(p *patient) { p.email = nil })
	ill("mail to the log only", "mail leaves", "POST /api/v2/emails/provider", func(p *patient) { p.email = &Email{Kind: "log"} })
	s.deafWebhook(t, ill)
	ill("a proxy nobody trusts", "clients' addresses", "trusted_proxies", func(p *patient) {
		p.requests = func() (int64, int64) { return 100, 90 }
	})
	ill("a placement that does not answer", "every placement", "refuses", func(p *patient) {
		p.store = &store{data: p.store.data, placements: map[string]tenancy.Provider{builtinPlacement: deaf{}}}
	})
	ill("a placement that is gone", "every placement", "which is not configured", func(p *patient) {
		p.store = &store{data: p.store.data, placements: map[string]tenancy.Provider{}}
	})
	ill("no administrator", "there is an administrator", "admin ops@example.com", func(p *patient) {
		p.setup = "a link that was printed"
		inside, leave, err := p.directory.EnterControlPlane(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		if err := tenancy.Commit(inside, tenancy.SQL(inside, `DELETE FROM counters WHERE tenant_id = @tenant AND id = 'administrator'`)); err != nil {
			t.Fatal(err)
		}
	})
	s.brokenTenants(t, ill)
	for _, c := range serverChecks {
		if !tried[c.name] && c.name != "the registry can be read" && c.name != "changes arrive in tenants" {
			t.Errorf("no server is ill for the check %q", c.name)
		}
	}
}

// deafWebhook has a webhook that did not take what it was told, several times.
func (s *server) deafWebhook(t *testing.T, ill func(name, check, words string, infect func(*patient))) {
	t.Helper()
	away := tenancy.Subscription{URL: "https://ops.example.com/in"}
	control := func(f func(inside context.Context) error) {
		inside, leave, err := s.services().directory.EnterControlPlane(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
		if err := f(inside); err != nil {
			t.Fatal(err)
		}
	}
	control(func(inside context.Context) error {
		var stmts []tenancy.Stmt
		for i, attempts := range []int64{failedAttempts - 1, failedAttempts, failedAttempts + 9} {
			stmts = append(stmts, tenancy.Deliveries.Insert(inside, &tenancy.Delivery{
				Row: tenancy.Row{ID: fmt.Sprint("evt_", i)}, Hook: away.ID(), Subject: "acme", Type: "tenant.created", Payload: "{}", Attempts: attempts,
				DueAt: tenancy.At(time.Now().Add(time.Hour)), ExpiresAt: tenancy.At(time.Now().Add(2 * time.Hour)),
			}))
		}
		return tenancy.Commit(inside, stmts...)
	})
	ill("a webhook that is away", "webhooks take what they are told", "https://ops.example.com/in did not take 2 events", func(p *patient) {
		p.hooks = []webhook.Endpoint{{Subscription: away}, {Subscription: tenancy.Subscription{URL: "https://well.example.com/"}}}
	})
	control(func(inside context.Context) error {
		return tenancy.Commit(inside, tenancy.Deliveries.RemoveWhere(inside, "subject = ?", "acme"))
	})
}

// brokenTenants has tenants that could not be made and could not be removed.
func (s *server) brokenTenants(t *testing.T, ill func(name, check, words string, infect func(*patient))) {
	t.Helper()
	set := func(state tenancy.State, reason string) func(*patient) {
		return func(p *patient) {
			inside, leave, err := p.directory.EnterControlPlane(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
			_, err = tenancy.Tenants.Update(inside, "acme", func(t *tenancy.Tenant) error {
				t.State, t.ProvisioningError = state, reason
				return nil
			})
			if err := errors.Join(err, p.directory.Refresh(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
	}
	ill("a failed tenant", "every tenant is made or gone", "database: disk full", set(tenancy.StateFailed, "database: disk full"))
	ill("a tenant half removed", "every tenant is made or gone", "tenants delete acme", set(tenancy.StateDeleting, ""))
	set(tenancy.StateActive, "")(newPatient(runningRuntime(t), s.services()))
}

// deaf is a placement whose server is gone.
type deaf struct{ tenancy.Provider }

func (deaf) Count(context.Context) (int, error) { return 0, errors.New("the server refuses") }

// TestDoctorWithoutControlPlane: what the doctor says when the control plane's
// database is lost under a running server.
func TestDoctorWithoutControlPlane(t *testing.T) {
	s := newServer(t)
	s.start()
	s.tenant("acme")
	p := newPatient(runningRuntime(t), s.services())
	if bad := append(checkRegistry(t.Context(), p), checkSync(t.Context(), p)...); len(bad) != 0 {
		t.Fatalf("at first: %v", bad)
	}
	if err := os.Remove(filepath.Join(s.data, "tenants", "control_plane.db")); err != nil {
		t.Fatal(err)
	}
	if err := s.services().pool.Forget(t.Context(), p.directory.ControlPlane()); err != nil {
		t.Fatal(err)
	}
	_ = p.directory.Refresh(t.Context()) // kept in Stale
	p.sync.Kick()
	for deadline := time.Now().Add(10 * time.Second); p.sync.Stats().Trouble == nil && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond) // the loop tells nobody
	}
	if bad := checkRegistry(t.Context(), p); len(bad) != 1 || !strings.Contains(bad[0].Remedy, "control plane's database") {
		t.Errorf("the registry: %v", bad)
	}
	if bad := checkSync(t.Context(), p); len(bad) != 1 || !strings.Contains(bad[0].Problem, "cannot be read") {
		t.Errorf("sync: %v", bad)
	}
}

// TestDoctorCommand asks a server as an operator does, and a file before a start.
func TestDoctorCommand(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	for range 30 {
		s.do(http.MethodGet, "auth.example.com", discovery, "X-Forwarded-For", "192.0.2.7")
	}
	x := s.run("doctor")
	if x.failure == nil || !strings.Contains(x.err, "things to mend") {
		t.Errorf("it ended with %v: %s", x.failure, x.err)
	}
	for _, want := range []string{"ok   the registry can be read", "BAD  clients' addresses are known", "servers { trusted_proxies", "BAD  the host asked", "strict_sni_host on"} {
		if !strings.Contains(x.out, want) {
			t.Errorf("no %q in:\n%s", want, x.out)
		}
	}
	file := filepath.Join(s.dir, "Caddyfile")
	free := strings.Replace(healthy, "localhost:2019", fmt.Sprintf("localhost:%d", freePort(t)), 1)
	if err := os.WriteFile(file, []byte(free), 0o600); err != nil {
		t.Fatal(err)
	}
	y := runCommand(t, "doctor", "--config", file).holds(t, "ok   the admin endpoint is private")
	if !strings.Contains(y.err, "only the configuration was looked at") || strings.Contains(y.out, "BAD") {
		t.Errorf("of a file: %s%s", y.out, y.err)
	}
}
