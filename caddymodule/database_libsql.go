package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
)

func init() {
	caddy.RegisterModule(new(LibSQL))
}

// LibSQL keeps each tenant in a libSQL database of its own: at Turso, where an
// organization is named, and otherwise at an sqld with namespaces. Placeholders
// are replaced in all options; {env.*} keeps tokens out of the stored configuration.
type LibSQL struct {
	// Where sqld answers, as http://host:port. A "*" in the host stands for a
	// database's name; without one the name is the first label of the Host header.
	// At Turso: the platform API. Default there: https://api.turso.tech.
	URL string `json:"url,omitempty"`

	// The token: at Turso one of the platform API, that may read, create and
	// delete databases of the group and mint tokens for them; at sqld a JWT that
	// is valid for all databases, where it asks for one.
	Token string `json:"token,omitempty"`

	// The slug of the organization, or of the account, at Turso.
	Organization string `json:"organization,omitempty"`

	// The group at Turso that databases are made in. Default: default.
	Group string `json:"group,omitempty"`

	// The address of sqld's admin API. Required without an organization.
	Admin string `json:"admin,omitempty"`

	// The key of sqld's admin API, where it asks for one.
	AdminKey string `json:"admin_key,omitempty"`

	// What the names of all databases begin with, up to 13 characters a-z and
	// 0-9. Installations that share an organization or a server need one each.
	// Required at Turso. Default elsewhere: gatehouse.
	Prefix string `json:"prefix,omitempty"`

	// The name of a database that new ones are copied from. It is made when it is
	// not there. Default: none, each database gets its tables by itself.
	Template string `json:"template,omitempty"`
}

// CaddyModule implements [caddy.Module].
func (*LibSQL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: databaseNamespace + ".libsql", New: func() caddy.Module { return new(LibSQL) }}
}

// Provision implements [caddy.Provisioner].
func (l *LibSQL) Provision(caddy.Context) error {
	r := caddy.NewReplacer()
	for name, into := range l.options() {
		replaced, err := r.ReplaceOrErr(*into, true, true)
		if *into != "" && err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*into = replaced
	}
	return nil
}

// options are the options by name.
func (l *LibSQL) options() map[string]*string {
	return map[string]*string{
		"url": &l.URL, "token": &l.Token, "organization": &l.Organization, "group": &l.Group,
		"admin": &l.Admin, "admin_key": &l.AdminKey, "prefix": &l.Prefix, "template": &l.Template,
	}
}

// Validate implements [caddy.Validator]. It reaches no server.
func (l *LibSQL) Validate() error { return l.provider().Check() }

// Provider implements [DatabaseModule].
func (l *LibSQL) Provider() (tenancy.Provider, error) { return l.provider(), nil }

func (l *LibSQL) provider() *libsql.Provider {
	return &libsql.Provider{
		URL: l.URL, Token: l.Token, Organization: l.Organization, Group: l.Group,
		Admin: l.Admin, AdminKey: l.AdminKey, Prefix: l.Prefix, Template: l.Template,
	}
}

// UnmarshalCaddyfile reads
//
//	libsql [<address>] {
//		organization <slug>
//		group        <name>
//		token        <token>
//		admin        <address>
//		admin_key    <key>
//		prefix       <word>
//		template     <name>
//	}
func (l *LibSQL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // libsql
	switch args := d.RemainingArgs(); len(args) {
	case 0:
	case 1:
		l.URL = args[0]
	default:
		return d.Errf("'libsql' takes an address or none, not %d arguments", len(args))
	}
	w := make(words)
	for name, into := range l.options() {
		if name != "url" {
			w[name] = text(into)
		}
	}
	return w.block(d, "libsql")
}

// Interface guards
var (
	_ caddy.Module          = (*LibSQL)(nil)
	_ caddy.Provisioner     = (*LibSQL)(nil)
	_ caddy.Validator       = (*LibSQL)(nil)
	_ caddyfile.Unmarshaler = (*LibSQL)(nil)
	_ DatabaseModule        = (*LibSQL)(nil)
)
