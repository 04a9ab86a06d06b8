package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1"
)

func init() {
	caddy.RegisterModule(new(D1))
}

// D1 keeps each tenant in a SQLite database of its own at Cloudflare: in a D1
// database with a token, or in a Durable Object with a Worker. The first has
// about 4 requests a second for the whole account; the second is for traffic.
type D1 struct {
	// The id of the Cloudflare account. Placeholders are replaced. Required.
	Account string `json:"account"`

	// A token of the account with the permission D1 Edit, for databases in D1.
	// Placeholders are replaced; {env.*} keeps it out of the stored
	// configuration. Either this or the Worker is required.
	Token string `json:"token,omitempty"`

	// The Worker that keeps the databases, deployed as docs/d1.md says.
	Worker *D1Worker `json:"worker,omitempty"`

	// Where new D1 databases are: wnam, enam, weur, eeur, apac or oc. Default:
	// near to where they are made from. The Worker has a setting of its own.
	LocationHint string `json:"location_hint,omitempty"`

	// What the databases' names begin with, before an underscore and the tenant's id.
	// Two installations in one account need two. Required.
	Prefix string `json:"prefix,omitempty"`

	// The address of Cloudflare's API. Default: https://api.cloudflare.com/client/v4.
	API string `json:"api,omitempty"`
}

// D1Worker is the Worker of docs/d1-worker.
type D1Worker struct {
	// Its address. Placeholders are replaced. Required.
	URL string `json:"url"`

	// Its SECRET, at least 32 characters. Placeholders are replaced. Required.
	Secret string `json:"secret"`
}

// CaddyModule implements [caddy.Module].
func (*D1) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: databaseNamespace + ".d1", New: func() caddy.Module { return new(D1) }}
}

// Provision implements [caddy.Provisioner].
func (d *D1) Provision(caddy.Context) error {
	fields := map[string]*string{"account": &d.Account, "token": &d.Token, "api": &d.API}
	if d.Worker != nil {
		fields["worker url"], fields["worker secret"] = &d.Worker.URL, &d.Worker.Secret
	}
	replacer := caddy.NewReplacer()
	for name, field := range fields {
		value, err := replacer.ReplaceOrErr(*field, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*field = value
	}
	return nil
}

// Validate implements [caddy.Validator]. It reaches nobody.
func (d *D1) Validate() error { return d.provider().Check() }

// Provider implements [DatabaseModule].
func (d *D1) Provider() (tenancy.Provider, error) { return d.provider(), nil }

func (d *D1) provider() *d1.Provider {
	p := &d1.Provider{Account: d.Account, Token: d.Token, Location: d.LocationHint, Prefix: d.Prefix, API: d.API}
	if d.Worker != nil {
		p.Worker, p.Secret = d.Worker.URL, d.Worker.Secret
	}
	return p
}

// UnmarshalCaddyfile reads
//
//	d1 <account> {
//		token         <token>
//		worker        <url> <secret>
//		location_hint wnam | enam | weur | eeur | apac | oc
//		prefix        <name>
//		api           <url>
//	}
func (d *D1) UnmarshalCaddyfile(p *caddyfile.Dispenser) error {
	p.Next() // d1
	if err := text(&d.Account)(p); err != nil {
		return err
	}
	return words{
		"token":         text(&d.Token),
		"worker":        d.unmarshalWorker,
		"location_hint": text(&d.LocationHint),
		"prefix":        text(&d.Prefix),
		"api":           text(&d.API),
	}.block(p, "d1")
}

func (d *D1) unmarshalWorker(p *caddyfile.Dispenser) error {
	d.Worker = new(D1Worker)
	return texts(&d.Worker.URL, &d.Worker.Secret)(p)
}

// Interface guards
var (
	_ caddy.Module          = (*D1)(nil)
	_ caddy.Provisioner     = (*D1)(nil)
	_ caddy.Validator       = (*D1)(nil)
	_ caddyfile.Unmarshaler = (*D1)(nil)
	_ DatabaseModule        = (*D1)(nil)
)
