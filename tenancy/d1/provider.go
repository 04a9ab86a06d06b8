package d1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// Provider keeps tenants in one account at Cloudflare. It is ready when Account,
// Prefix, and either Token or Worker and Secret are set.
type Provider struct {
	// Account is the id of the account. Required.
	Account string

	// Token is a token of the account with the permission D1 Edit. With it,
	// tenants are in D1.
	Token string

	// Location is where new databases in D1 are, by Cloudflare's hint; empty for
	// near to whoever makes them.
	Location string

	// API is the address of Cloudflare's API. Default: the public one.
	API string

	// Worker is the address of the Worker in docs/d1-worker, and Secret what it
	// expects. With them, tenants are in Durable Objects.
	Worker, Secret string

	// Prefix is what names of databases begin with, before an underscore. Two
	// installations in one account need two. Required.
	Prefix string

	once   sync.Once
	remote remote.Provider
}

const publicAPI = "https://api.cloudflare.com/client/v4"

// locations are the hints that D1 takes.
var locations = []string{"wnam", "enam", "weur", "eeur", "apac", "oc"}

// Check returns what is wrong with the configuration, without reaching anybody.
func (p *Provider) Check() error {
	switch {
	case len(p.Account) != 32 || strings.Trim(p.Account, "0123456789abcdef") != "":
		return errors.New("the account is an id of 32 hexadecimal digits: find it in the addresses of Cloudflare's dashboard")
	case p.Prefix == "":
		return errors.New("prefix is missing: name this installation, so that no other one of the account has the same databases")
	case p.Prefix != strings.Trim(p.Prefix, "-") || len(p.Prefix) > 40 || strings.Trim(p.Prefix, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("prefix is at most 40 lower-case letters, digits and dashes between them, not %q", p.Prefix)
	case p.Worker == "" && p.secret() == "" && p.token() == "":
		return errors.New("token is missing: name a token of the account, or a worker and its secret")
	case (p.Worker != "" || p.Secret != "") && p.Token != "":
		return errors.New("token and worker exclude each other: with a token tenants are in D1, with a worker in Durable Objects")
	case p.Token != "":
		if p.Location != "" && !slices.Contains(locations, p.Location) {
			return fmt.Errorf("location_hint is one of %s, not %q", strings.Join(locations, ", "), p.Location)
		}
		return checkURL("api", p.address())
	case p.Location != "" || p.API != "":
		return errors.New("location_hint and api are for D1 with a token; the worker has LOCATION in its wrangler.toml")
	case len(p.secret()) < 32:
		return errors.New("the secret of the worker has at least 32 characters: make one with \"openssl rand -base64 32\"")
	}
	return checkURL("worker", p.Worker)
}

// checkURL refuses an address over which secrets would be readable.
func checkURL(word, address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s is an URL such as https://example.com", word)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s is an URL without user, query and fragment", word)
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return fmt.Errorf("%s has to be reached by https: secrets go there", word)
	}
	return nil
}

func (p *Provider) address() string {
	if p.API == "" {
		return publicAPI
	}
	return strings.TrimSuffix(p.API, "/")
}

// token and secret are without the line end that a file has.
func (p *Provider) token() string  { return strings.TrimSpace(p.Token) }
func (p *Provider) secret() string { return strings.TrimSpace(p.Secret) }

// ready returns what does the work.
func (p *Provider) ready() *remote.Provider {
	p.once.Do(func() {
		s := &server{prefix: p.Prefix + "_", hint: p.Location, ids: make(map[string]string)}
		if p.Worker != "" {
			s.api = newAPI(strings.TrimSuffix(p.Worker, "/"), p.Account, p.secret(), true)
		} else {
			s.api = newAPI(p.address(), p.Account, p.token(), false)
		}
		p.remote = remote.Provider{Server: s, Limits: remote.Limits{Params: paramLimit, BatchTime: requestTime}}
	})
	return &p.remote
}

// Dialector implements tenancy.Provider.
func (p *Provider) Dialector() gorm.Dialector { return p.ready().Dialector() }

// Rebind implements tenancy.Provider.
func (p *Provider) Rebind(sql string) string { return p.ready().Rebind(sql) }

// Create implements tenancy.Provider.
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	return p.ready().Create(ctx, loc)
}

// Open implements tenancy.Provider.
func (p *Provider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	return p.ready().Open(ctx, loc)
}

// Drop implements tenancy.Provider.
func (p *Provider) Drop(ctx context.Context, loc tenancy.Location) error {
	return p.ready().Drop(ctx, loc)
}

// SchemaVersion implements tenancy.Versioned.
func (p *Provider) SchemaVersion() int64 { return p.ready().SchemaVersion() }

// Count returns how many databases there are of this installation, also half made
// ones. With it a lost control plane is told from a first start.
func (p *Provider) Count(ctx context.Context) (int, error) {
	s := p.ready().Server.(*server)
	n, err := s.api.count(ctx, s.prefix)
	return n, translate(err)
}

// Close ends connections that are kept.
func (p *Provider) Close() error {
	p.ready().Server.(*server).api.client.CloseIdleConnections()
	return nil
}

// Interface guards
var (
	_ tenancy.Provider  = (*Provider)(nil)
	_ tenancy.Versioned = (*Provider)(nil)
)
