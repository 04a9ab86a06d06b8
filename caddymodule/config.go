package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Admin is an administrator of the control plane to have from the first start
// on. Placeholders are replaced; where all of them are empty, it is as if the
// option was not written.
type Admin struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Client is a machine client of the control plane to have, with every scope of
// the management API. Its secret follows the configuration. Placeholders are
// replaced; where all of them are empty, it is as if the option was not written.
type Client struct {
	ID string `json:"id"`

	// At least 32 characters.
	Secret string `json:"secret"`
}

// ControlPlane says which tenant manages the others.
type ControlPlane struct {
	// Its tenant id. Default: control_plane.
	ID string `json:"id,omitempty"`

	// Its own hosts, the first one in its issuer. Default: the base domain.
	Hosts []string `json:"hosts,omitempty"`

	// The name of the database it is in, which is not changed afterwards.
	// Default: sqlite, that of the data directory.
	Database string `json:"database,omitempty"`
}

// Sync says what tenants get from the control plane, and how fast. A tenant may
// be switched differently in the registry.
type Sync struct {
	// Whether resource servers are copied. Default: true.
	ResourceServers *bool `json:"resource_servers,omitempty"`

	// Whether roles are copied, with their permissions. Default: true.
	Roles *bool `json:"roles,omitempty"`

	// Whether connections are copied that ask for it with their metadata:
	// sync set to true. Their secrets are not. Default: true.
	Connections *bool `json:"connections,omitempty"`

	// Expressions (CEL) of which any keeps a row out of a tenant, by the variables
	// entity (kind, id, name, identifier, metadata) and tenant (id,
	// friendly_name, metadata, state, placement). Default: none.
	Exclude []string `json:"exclude,omitempty"`

	// What is done where a tenant has a row of its own in place of a copy, by the
	// kinds resource_servers, roles and connections: "refuse" (default) leaves it
	// alone and lists the conflict, "adopt" makes it the copy, "rename" makes the
	// copy under another name (roles and connections).
	OnConflict map[string]string `json:"on_conflict,omitempty"`

	// What becomes of copies that a tenant is no longer to have though the
	// control plane does: "remove" (default), or "detach" for the tenant's own.
	OnUnsync string `json:"on_unsync,omitempty"`

	// How often tenants are looked at even if nothing seems to have changed.
	// Changes made by this process are acted on at once. Default: 30s.
	Every caddy.Duration `json:"every,omitempty"`

	// How many tenants are worked on at a time. Default: 8.
	Workers int `json:"workers,omitempty"`
}

func (s *Sync) every() time.Duration { return time.Duration(s.Every) }

func isFalse(b *bool) bool { return b != nil && !*b }

// Inherit chooses which settings of the control plane tenants inherit. A tenant
// may choose differently in the registry.
type Inherit struct {
	// "all", "selected" (only keys) or "none". Default: "selected" where keys
	// are given, otherwise "all".
	Mode string `json:"mode,omitempty"`

	// The settings that are inherited. A parent key such as "flags" covers its
	// members.
	Keys []string `json:"keys,omitempty"`

	// The settings that are not, in any mode.
	ExcludedKeys []string `json:"excluded_keys,omitempty"`

	// Expressions (CEL) by setting: what tenants inherit in place of the control
	// plane's value, by the variables value and tenant (id, friendly_name,
	// metadata, state, placement); null leaves the product's default.
	Transform map[string]string `json:"transform,omitempty"`
}

func (i *Inherit) choice() tenancy.Inheritance {
	return tenancy.Inheritance{Mode: i.Mode, Keys: i.Keys, ExcludedKeys: i.ExcludedKeys}
}

// Logs says what tenants' own logs keep, which the management API reads.
type Logs struct {
	// Whether no log is kept. Default: false.
	Off bool `json:"off,omitempty"`

	// How long entries stay. Default: 30 days.
	Keep caddy.Duration `json:"keep,omitempty"`

	// Whether every token that a machine gets is an entry too (type seccft).
	// Default: false; getting such a token then writes to no database.
	MachineTokens *bool `json:"machine_tokens,omitempty"`
}

// Backups says where backups go that nobody names a file for.
type Backups struct {
	// The directory, on each node. Placeholders are replaced.
	Dir string `json:"dir"`

	// How many backups of each tenant stay. Default: 7.
	Keep int `json:"keep,omitempty"`
}

// store is where the backups go; nil for nowhere.
func (b *Backups) store() *tenancy.BackupStore {
	if b == nil {
		return nil
	}
	return &tenancy.BackupStore{Dir: b.Dir, Keep: b.Keep}
}

// Access says who may do what within a new tenant.
type Access struct {
	// Names of roles of the control plane. Default: Tenant Admin. An empty list
	// gives none.
	DefaultRoles []string `json:"default_roles,omitzero"`

	// Scopes of the management API, beside the roles. Default: none.
	DefaultPermissions []string `json:"default_permissions,omitempty"`

	// Whether a new tenant has a client "API Explorer Application", a machine that
	// may use the tenant's whole management API. Default: true.
	CreateAPIExplorer *bool `json:"create_api_explorer,omitempty"`
}

// resolve replaces the placeholders and checks what can be checked without
// looking at any file. Errors begin with the word to change.
func (a *App) resolve() error {
	var errs []error
	replace := func(word string, empty bool, fields ...*string) {
		for _, f := range fields {
			if *f == "" {
				continue
			}
			value, err := caddy.NewReplacer().ReplaceOrErr(*f, !empty, true)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", word, err))
			}
			*f = strings.TrimRight(value, "\r\n") // of a file's last line
		}
	}
	replace("base_domain", false, &a.BaseDomain)
	replace("data", false, &a.Data)
	for i := range a.Secret {
		replace("secret", false, &a.Secret[i])
	}
	if a.Admin != nil {
		replace("admin", true, &a.Admin.Email, &a.Admin.Password)
		a.Admin = unlessEmpty(a.Admin)
	}
	if a.Client != nil {
		replace("client", true, &a.Client.ID, &a.Client.Secret)
		a.Client = unlessEmpty(a.Client)
	}
	if a.Backups != nil {
		replace("backups", false, &a.Backups.Dir)
	}
	for _, h := range a.Hooks {
		replace("hook", false, &h.URL, &h.Secret)
	}
	if a.Email != nil {
		replace("email", false, &a.Email.To, &a.Email.From, &a.Email.Username, &a.Email.Password, &a.Email.Trust)
	}
	if a.ControlPlane != nil {
		for i := range a.ControlPlane.Hosts {
			replace("control_plane", false, &a.ControlPlane.Hosts[i])
		}
	}
	return errors.Join(append(errs, a.complete()...)...)
}

// unlessEmpty returns nil for a struct without any value.
func unlessEmpty[T comparable](v *T) *T {
	if *v == *new(T) {
		return nil
	}
	return v
}

// complete fills in defaults and lists what is wrong.
func (a *App) complete() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Data == "" {
		a.Data = filepath.Join(caddy.AppDataDir(), "gatehouse")
	}
	var err error
	if a.Data, err = filepath.Abs(a.Data); err != nil {
		wrong("data: %w", err)
	}
	if len(a.Secret) > 0 {
		secrets := make([][]byte, len(a.Secret))
		for i, s := range a.Secret {
			secrets[i] = []byte(s)
		}
		if _, err := tenancy.NewRing(secrets...); err != nil {
			wrong("secret: %w; make one with: openssl rand -hex 32", err)
		}
	}
	if c := a.Admin; c != nil && (!strings.Contains(c.Email, "@") || c.Password == "") {
		wrong("admin: needs an e-mail address and a password; only one of the two is set")
	}
	if c := a.Client; c != nil && (c.ID == "" || len(c.Secret) < 32) {
		wrong("client: needs an id and a secret of at least 32 characters; make one with: openssl rand -hex 32")
	}
	if a.OpenDatabases < 0 {
		wrong("open_databases: cannot be negative")
	}
	if a.Port < 0 || a.Port > 65535 {
		wrong("port: %d is no port", a.Port)
	}
	for _, alg := range a.Keys {
		if !slices.Contains(algorithms, alg) {
			wrong("keys: unknown algorithm %q; there are %s", alg, strings.Join(algorithms, ", "))
		}
	}
	if len(a.Keys) > 0 && !slices.Contains(a.Keys, "RS256") {
		wrong("keys: RS256 is missing; ID tokens are signed with it")
	}
	if a.hosts, err = tenancy.NewHosts(a.hostRules()); err != nil {
		errs = append(errs, err)
	}
	return append(errs, a.completeParts()...)
}

// algorithms are those tokens can be signed with; defaultAlgorithms are those
// tenants have keys for where none are configured.
var (
	defaultAlgorithms = []string{"RS256", "ES256", "EdDSA"}
	algorithms        = []string{"RS256", "PS256", "ES256", "EdDSA"}
)

func (a *App) hostRules() tenancy.Hosts {
	rules := tenancy.Hosts{BaseDomain: a.BaseDomain, Reserved: a.Reserved, ReservedServe: a.ReservedServe, Labels: a.Labels, Resolvers: a.resolvers}
	if a.ControlPlane != nil {
		rules.ControlPlane, rules.ControlPlaneHosts = a.ControlPlane.ID, a.ControlPlane.Hosts
	}
	return rules
}

// completeParts is complete for the nested options.
func (a *App) completeParts() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if a.Sync == nil {
		a.Sync = new(Sync)
	}
	errs = append(errs, a.Sync.check()...)
	if a.Inherit == nil {
		a.Inherit = new(Inherit)
	}
	if a.Inherit.Mode == "" {
		a.Inherit.Mode = tenancy.InheritAll
		if len(a.Inherit.Keys) > 0 {
			a.Inherit.Mode = tenancy.InheritSelected
		}
	}
	if err := a.Inherit.choice().Validate(); err != nil {
		wrong("inherit: %w", err)
	} else if a.Inherit.Mode != tenancy.InheritSelected && len(a.Inherit.Keys) > 0 {
		wrong("inherit: keys choose what mode selected inherits; mode %s takes none", a.Inherit.Mode)
	}
	if _, err := a.Inherit.transforms(); err != nil {
		wrong("inherit: %w", err)
	}
	if a.Logs == nil {
		a.Logs = new(Logs)
	}
	if a.Logs.Keep < 0 {
		wrong("logs: keep cannot be negative")
	}
	if a.Logs.Keep == 0 {
		a.Logs.Keep = caddy.Duration(30 * 24 * time.Hour)
	}
	if b := a.Backups; b != nil && (!filepath.IsAbs(b.Dir) || b.Keep < 0) {
		wrong("backups: needs an absolute path and a number that is not negative, not %q and %d", b.Dir, b.Keep)
	}
	for _, h := range a.Hooks {
		if err := h.check(); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := a.networks(); err != nil {
		errs = append(errs, err)
	}
	if a.RateLimit == nil {
		a.RateLimit = new(RateLimit)
	}
	errs = append(errs, a.RateLimit.check()...)
	if a.Email != nil {
		if err := a.Email.complete(a.BaseDomain); err != nil {
			errs = append(errs, err)
		}
	}
	if a.Access == nil {
		a.Access = new(Access)
	}
	for _, p := range a.Access.DefaultPermissions {
		if !slices.Contains(tenancy.TenantScopes, p) {
			wrong("access: default_permissions: %q is no scope that a tenant's management API has", p)
		}
	}
	return append(errs, a.completePlacements()...)
}

// completePlacements is complete for the options about databases.
func (a *App) completePlacements() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	names := map[string]bool{builtinPlacement: true}
	for _, p := range a.Database {
		if p.Name == "" || names[p.Name] {
			wrong("database: every database needs a name of its own, and %q is that of the data directory; not %q", builtinPlacement, p.Name)
		}
		names[p.Name] = true
	}
	known := strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	if cp := a.ControlPlane; cp != nil && cp.Database != "" && !names[cp.Database] {
		wrong("control_plane: there is no database %q, only %s; add for instance: database %s postgres {env.DATABASE_URL}", cp.Database, known, cp.Database)
	}
	for _, name := range slices.Sorted(maps.Keys(a.OpenDatabasesIn)) {
		switch n := a.OpenDatabasesIn[name]; {
		case !names[name]:
			wrong("open_databases: there is no database %q, only %s", name, known)
		case n < 1:
			wrong("open_databases: %q needs a number from 1 on", name)
		}
	}
	return errs
}

// storeKey names what the databases are and how they are opened;
// configurations with the same key share their store.
func (a *App) storeKey() (string, error) {
	modules := make([]any, 0, 2*len(a.Database))
	for _, p := range a.Database {
		modules = append(modules, p.Name, p.module) // as provisioned: placeholders are replaced
	}
	return fingerprint(a.Data, a.Secret, modules, a.OpenDatabases, a.OpenDatabasesIn)
}

// key names everything that shapes the runtime.
func (a *App) key() (string, error) {
	store, err := a.storeKey()
	if err != nil {
		return "", err
	}
	return fingerprint(store, a)
}

// fingerprint is a hash, because the values hold secrets and pool keys turn up
// in error messages.
func fingerprint(values ...any) (string, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}
