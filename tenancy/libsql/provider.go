package libsql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// Provider makes and opens tenants' databases at Turso, where Organization is
// set, and otherwise at an sqld with namespaces. It must not be copied. It reaches
// nothing before the first tenant is created or opened. Close it when it is no
// longer used.
type Provider struct {
	// URL is where sqld answers, as http://host:port. A "*" in the host stands for
	// a database's name: http://*.db.example.com. Without one the name is the
	// first label of the Host header. At Turso it is the platform API; default
	// https://api.turso.tech.
	URL string

	// Token authorizes requests: at sqld those to the databases (a JWT; empty where
	// it asks for none), at Turso those to the platform API.
	Token string

	// Prefix begins the names of all databases, followed by "-". Installations
	// that share an organization or a server need one each. Up to 13 characters
	// a-z and 0-9. Required at Turso; elsewhere the default is "gatehouse".
	Prefix string

	// Template names a database that new ones are copied from. It is made if it is
	// not there. Empty means that each new database gets its tables by itself.
	Template string

	// Organization is the slug of the organization, or of the account, at Turso.
	Organization string

	// Group is the group new databases are made in, at Turso. Default "default".
	Group string

	// Admin is the address of sqld's admin API. Required without Organization.
	Admin string

	// AdminKey authorizes requests to Admin: what sqld is started with as
	// --admin-auth-key. May be empty.
	AdminKey string

	dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil for the network
	known migrations.List                                                      // nil for all there are
	now   func() time.Time                                                     // nil for the clock

	limits remote.Limits

	mu       sync.Mutex
	core     *remote.Provider
	client   *http.Client
	closed   bool
	template chan struct{} // closed once the template is there; holds one while nobody makes it
}

const (
	platformURL   = "https://api.turso.tech"
	defaultPrefix = "gatehouse"
	defaultGroup  = "default"
	connectTime   = 5 * time.Second
	idleTime      = 30 * time.Second // shorter than servers keep connections
	idleConns     = 256
)

const lowercase = "abcdefghijklmnopqrstuvwxyz0123456789"

// Check returns what is wrong with the configuration, without reaching a server.
func (p *Provider) Check() error {
	_, err := p.server(nil)
	return err
}

// server returns the way to the databases the configuration describes.
func (p *Provider) server(client *http.Client) (remote.Server, error) {
	n := naming{prefix: p.Prefix, template: p.Template}
	if n.prefix == "" && p.Organization == "" {
		n.prefix = defaultPrefix
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	for _, secret := range []string{p.Token, p.AdminKey} {
		if strings.ContainsAny(secret, " \t\r\n") {
			return nil, errors.New("the token holds white space")
		}
	}
	if p.Organization != "" {
		return p.turso(client, n)
	}
	switch {
	case p.Group != "":
		return nil, errors.New("a group needs an organization")
	case p.URL == "":
		return nil, errors.New("the address is missing: that of sqld, for instance http://127.0.0.1:8080, or an organization at Turso")
	case p.Admin == "":
		return nil, errors.New("the address of sqld's admin API is missing, for instance http://127.0.0.1:8081")
	}
	data, err := address(p.URL, 1)
	if err != nil {
		return nil, err
	}
	admin, err := address(p.Admin, 0)
	if err != nil {
		return nil, err
	}
	return &sqld{client: client, naming: n, data: data, admin: admin, token: p.Token, key: p.AdminKey}, nil
}

func (p *Provider) turso(client *http.Client, n naming) (remote.Server, error) {
	at := p.URL
	if at == "" {
		at = platformURL
	}
	base, err := address(at, 0)
	switch {
	case err != nil:
		return nil, err
	case p.Admin != "" || p.AdminKey != "":
		return nil, errors.New("an admin API belongs to an sqld of one's own, an organization to Turso: use one of them")
	case base.Scheme != "https" && !isLoopback(base.Hostname()):
		return nil, fmt.Errorf("the token must not go to %s unencrypted: use https", base.Host)
	case p.Token == "":
		return nil, errors.New("the platform token is missing: make one with turso auth api-tokens mint")
	case strings.Trim(p.Organization, lowercase+"-_.ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return nil, fmt.Errorf("organization %q: use its slug", p.Organization)
	}
	t := &turso{client: client, naming: n, base: base, organization: p.Organization, group: p.Group, key: p.Token, now: p.now}
	if t.group == "" {
		t.group = defaultGroup
	}
	if t.now == nil {
		t.now = time.Now
	}
	return t, nil
}

// address parses the address of a server, which has nothing behind the host and
// at most so many stars in it.
func address(text string, stars int) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("an address is no URL") // it may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("address %q: use http://host:port or https://host", u.Redacted())
	case strings.Count(u.Host, "*") > stars:
		return nil, fmt.Errorf("address %q: it has too many *", u.Redacted())
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("address %q: only scheme, host and port are used; the token has its own option", u.Scheme+"://"+u.Host)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// databases returns what the provider works with. It reaches nothing.
func (p *Provider) databases() (*remote.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, tenancy.Unavailable(errors.New("provider is closed"), "")
	case p.core != nil:
		return p.core, nil
	}
	client := newClient(p.dial)
	server, err := p.server(client)
	if err != nil {
		return nil, tenancy.Unavailable(err, "correct the database option")
	}
	p.client, p.core = client, &remote.Provider{Server: server, Known: p.known, Limits: p.limits}
	p.template = make(chan struct{}, 1)
	p.template <- struct{}{}
	return p.core, nil
}

// Dialector implements tenancy.Provider.
func (p *Provider) Dialector() gorm.Dialector { return sqlite.Dialector() }

// Rebind implements tenancy.Provider: SQLite's placeholders are "?".
func (p *Provider) Rebind(sql string) string { return sql }

// Create implements tenancy.Provider.
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	core, err := p.databases()
	if err != nil {
		return err
	}
	if p.Template != "" {
		if err := p.ensureTemplate(ctx, core); err != nil {
			return err
		}
	}
	return core.Create(ctx, loc)
}

// ensureTemplate makes the template, or brings it up to date, once.
func (p *Provider) ensureTemplate(ctx context.Context, core *remote.Provider) error {
	select {
	case _, making := <-p.template:
		if !making {
			return nil
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := core.CreateTemplate(ctx, templateName); err != nil {
		p.template <- struct{}{} // somebody else's turn to try
		return fmt.Errorf("template: %w", err)
	}
	close(p.template)
	return nil
}

// Open implements tenancy.Provider.
func (p *Provider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	core, err := p.databases()
	if err != nil {
		return nil, err
	}
	return core.Open(ctx, loc)
}

// Drop implements tenancy.Provider.
func (p *Provider) Drop(ctx context.Context, loc tenancy.Location) error {
	core, err := p.databases()
	if err != nil {
		return err
	}
	return core.Drop(ctx, loc)
}

// Close closes all connections. The provider's databases have been closed before.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	return nil
}

// SchemaVersion implements tenancy.Versioned.
func (p *Provider) SchemaVersion() int64 {
	if p.known != nil {
		return p.known.Version()
	}
	return migrations.All().Version()
}

// Interface guards
var (
	_ tenancy.Provider  = (*Provider)(nil)
	_ tenancy.Versioned = (*Provider)(nil)
)
