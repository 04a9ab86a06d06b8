package caddymodule

import (
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestConfigRefused checks what is found when a configuration is loaded, also
// one that never was a Caddyfile. Each message begins with the word to change.
func TestConfigRefused(t *testing.T) {
	long := strings.Repeat("s", 32)
	t.Setenv("GATEHOUSE_TEST_PASSWORD", "")
	for _, c := range []struct {
		name string
		app  App
		want string
	}{
		{"no base domain", App{}, "base_domain: is missing"},
		{"base domain with scheme", App{BaseDomain: "https://auth.example.com"}, `base_domain: "https://auth.example.com" is not a domain name`},
		{"unset variable", App{BaseDomain: "a.test", Data: "{env.GATEHOUSE_TEST_PASSWORD}"}, "data: "},
		{"unknown placeholder", App{BaseDomain: "{nobody.knows}"}, "base_domain: "},
		{"empty secret", App{BaseDomain: "a.test", Secret: []string{"{env.GATEHOUSE_TEST_PASSWORD}"}}, "secret: "},
		{"short secret", App{BaseDomain: "a.test", Secret: []string{"short"}}, "secret: secret 1 is 5 bytes long"},
		{"half an admin", App{BaseDomain: "a.test", Admin: &Admin{"ops@example.com", "{env.GATEHOUSE_TEST_PASSWORD}"}}, "admin: "},
		{"half a client", App{BaseDomain: "a.test", Client: &Client{"{env.GATEHOUSE_TEST_PASSWORD}", long}}, "client: "},
		{"short client secret", App{BaseDomain: "a.test", Client: &Client{"mgmt", "short"}}, "client: "},
		{"unknown algorithm", App{BaseDomain: "a.test", Keys: []string{"RS256", "HS256"}}, `keys: unknown algorithm "HS256"`},
		{"no algorithm for ID tokens", App{BaseDomain: "a.test", Keys: []string{"ES256"}}, "keys: RS256 is missing"},
		{"port", App{BaseDomain: "a.test", Port: 70000}, "port: 70000 is no port"},
		{"reserved label", App{BaseDomain: "a.test", Reserved: []string{"www.api"}}, `reserved: "www.api"`},
		{"what reserved labels serve", App{BaseDomain: "a.test", ReservedServe: "nothing"}, `reserved: cannot serve "nothing"`},
		{"label of a reserved name", App{BaseDomain: "a.test", Labels: map[string]string{"www": "acme"}}, `labels: "www" is reserved`},
		{"inherit mode", App{BaseDomain: "a.test", Inherit: &Inherit{Mode: "some"}}, "inherit: "},
		{"inherit keys in mode all", App{BaseDomain: "a.test", Inherit: &Inherit{Mode: "all", Keys: []string{"flags"}}}, "inherit: keys choose"},
		{"key that is never inherited", App{BaseDomain: "a.test", Inherit: &Inherit{Keys: []string{"default_audience"}}}, "inherit: "},
		{"platform scope for owners", App{BaseDomain: "a.test", Access: &Access{DefaultPermissions: []string{"create:tenants"}}}, "access: "},
		{"database without a name", App{BaseDomain: "a.test", Database: []*Database{{}}}, "database: "},
		{"database with the built-in name", App{BaseDomain: "a.test", Database: []*Database{{Name: "sqlite"}}}, "database: "},
		{"exclude with a variable that is not there", App{BaseDomain: "a.test", Sync: &Sync{Exclude: []string{"true", "role.id == ''"}}}, "sync: exclude: line 1, column 1 of the expression: undeclared reference to 'role'"},
		{"policy of no kind", App{BaseDomain: "a.test", Sync: &Sync{OnConflict: map[string]string{"users": "adopt"}}}, `sync: on_conflict: there is no kind "users"`},
		{"policy a kind has not", App{BaseDomain: "a.test", Sync: &Sync{OnConflict: map[string]string{"resource_servers": "rename"}}}, "sync: on_conflict: resource_servers: there are refuse, adopt"},
		{"what unsync does", App{BaseDomain: "a.test", Sync: &Sync{OnUnsync: "keep"}}, "sync: on_unsync: "},
		{"transform of a key that is never inherited", App{BaseDomain: "a.test", Inherit: &Inherit{Transform: map[string]string{"default_audience": "value"}}}, "inherit: transform: "},
		{"transform that is none", App{BaseDomain: "a.test", Inherit: &Inherit{Transform: map[string]string{"support_url": "value +"}}}, "inherit: transform: support_url: line 1, column 8 of the expression: Syntax error"},
		{"control plane in no database", App{BaseDomain: "a.test", ControlPlane: &ControlPlane{Database: "main"}}, `control_plane: there is no database "main", only sqlite`},
		{"limit of no database", App{BaseDomain: "a.test", OpenDatabasesIn: map[string]int{"main": 1}}, `open_databases: there is no database "main", only sqlite`},
		{"limit of nothing", App{BaseDomain: "a.test", OpenDatabasesIn: map[string]int{"sqlite": 0}}, "open_databases: "},
		{"backups beside the working directory", App{BaseDomain: "a.test", Backups: &Backups{Dir: "backups"}}, "backups: "},
		{"no backup kept", App{BaseDomain: "a.test", Backups: &Backups{Dir: "/b", Keep: -1}}, "backups: "},
		{"mail from nobody", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test"}}, "email: smtp needs whom mail is from; add: from no-reply@a.test"},
		{"mail from no address", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test", From: "Example"}}, `email: from: "Example" is no address`},
		{"mail to no port", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test:smtp", From: "a@x.test"}}, `email: smtp: "smtp" is no port`},
		{"mail to no host", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "smtp://x.test", From: "a@x.test"}}, `email: smtp: "smtp://x.test" is no mail server`},
		{"mail by no kind", App{BaseDomain: "a.test", Email: &Email{Kind: "pigeon"}}, `email: there is no kind "pigeon"`},
		{"mail with no such security", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test", From: "a@x.test", Security: "rot13"}}, `email: security is starttls, tls or none, not "rot13"`},
		{"mail with a password in the open", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test", From: "a@x.test", Username: "u", Security: "none"}}, "email: security none sends no password"},
		{"mail that trusts nobody", App{BaseDomain: "a.test", Email: &Email{Kind: "smtp", To: "x.test", From: "a@x.test", Trust: "email_test.nothing"}}, "email: trust: "},
		{"negative sync", App{BaseDomain: "a.test", Sync: &Sync{Workers: -1}}, "sync: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.app.resolve()
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want an error that begins with %s", err, c.want)
			}
		})
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	a := App{
		BaseDomain: "Auth.Example.com.",
		Admin:      &Admin{"{env.GATEHOUSE_TEST_EMPTY}", "{env.GATEHOUSE_TEST_EMPTY}"},
		Client:     &Client{"{env.GATEHOUSE_TEST_EMPTY}", "{env.GATEHOUSE_TEST_EMPTY}"},
	}
	if err := a.resolve(); err != nil {
		t.Fatal(err)
	}
	if a.Admin != nil || a.Client != nil {
		t.Errorf("got admin %v and client %v of empty variables, want none", a.Admin, a.Client)
	}
	if got := a.hosts.ControlPlaneHosts; len(got) != 1 || got[0] != "auth.example.com" {
		t.Errorf("got control plane hosts %q, want the base domain", got)
	}
	if got := a.Inherit.choice(); got.Mode != tenancy.InheritAll {
		t.Errorf("got mode %q, want all", got.Mode)
	}
	if !strings.HasSuffix(a.Data, "gatehouse") {
		t.Errorf("got data directory %q, want gatehouse in Caddy's", a.Data)
	}
}

// TestFingerprint checks that everything which shapes the runtime is in its key,
// and nothing that does not.
func TestFingerprint(t *testing.T) {
	key := func(a App) (store, all string) {
		t.Helper()
		if err := a.resolve(); err != nil {
			t.Fatal(err)
		}
		store, err := a.storeKey()
		if err != nil {
			t.Fatal(err)
		}
		all, err = a.key()
		if err != nil {
			t.Fatal(err)
		}
		return store, all
	}
	base := App{BaseDomain: "a.test"}
	store, all := key(base)
	if s, a := key(App{BaseDomain: "a.test"}); s != store || a != all {
		t.Error("equal configurations have different keys")
	}
	for name, c := range map[string]struct {
		app       App
		sameStore bool
	}{
		"port":   {App{BaseDomain: "a.test", Port: 8443}, true},
		"domain": {App{BaseDomain: "b.test"}, true},
		"data":   {App{BaseDomain: "a.test", Data: "/elsewhere"}, false},
		"secret": {App{BaseDomain: "a.test", Secret: []string{strings.Repeat("s", 32)}}, false},
		"limits": {App{BaseDomain: "a.test", OpenDatabasesIn: map[string]int{"sqlite": 7}}, false},
		"limit":  {App{BaseDomain: "a.test", OpenDatabases: 7}, false},
		"database": {
			App{BaseDomain: "a.test", Database: []*Database{{Name: "main", module: &SQLite{Dir: "/srv"}}}},
			false,
		},
	} {
		s, a := key(c.app)
		if a == all {
			t.Errorf("%s: the key did not change", name)
		}
		if (s == store) != c.sameStore {
			t.Errorf("%s: the store's key is the same: %t, want %t", name, s == store, c.sameStore)
		}
		if strings.Contains(a+s, "ssss") {
			t.Errorf("%s: the key shows a secret", name)
		}
	}
}
