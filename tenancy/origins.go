package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Origins are the origins of web pages (RFC 6454) that clients registered: exact
// ones, and those with a "*" for the left-most label. The zero value is none.
type Origins struct {
	exact map[string]bool
	below map[string]bool // what follows "https://*.", with the port if it names one
}

// Add takes origins, or URLs that have one, of a client. A "*" counts for
// first-party clients only, as in callbacks (contract C4.19): alone, for more than
// a label or above a public suffix it is nothing.
func (o *Origins) Add(c *Client, registered ...string) {
	if o.exact == nil {
		o.exact, o.below = make(map[string]bool), make(map[string]bool)
	}
	for _, text := range registered {
		if !strings.Contains(text, "*") {
			if origin := OriginOf(text); origin != "" {
				o.exact[origin] = true
			}
			continue
		}
		rest, ok := strings.CutPrefix(strings.ToLower(text), "https://*.")
		rest, _, _ = strings.Cut(rest, "/")
		if rest = strings.TrimSuffix(rest, ":443"); ok && c.IsFirstParty && WildcardDomain(rest) {
			o.below[rest] = true
		}
	}
}

// Allow reports whether an origin, as a browser says it, is among them. "null" and
// "" never are.
func (o *Origins) Allow(origin string) bool {
	origin = strings.ToLower(origin)
	if o.exact[origin] {
		return true
	}
	host, ok := strings.CutPrefix(origin, "https://")
	label, rest, dot := strings.Cut(host, ".")
	return ok && dot && isLabel(label) && o.below[rest]
}

// Origins are those whose pages may use the endpoints of this client: its web
// origins, allowed origins and the origins of its callbacks, of which one with a
// "*" gives none (contract C4.17).
func (c *Client) Origins() *Origins {
	o := new(Origins)
	o.addClient(c)
	return o
}

func (o *Origins) addClient(c *Client) {
	o.Add(c, c.WebOrigins...)
	o.Add(c, c.AllowedOrigins...)
	for _, callback := range c.Callbacks {
		if !strings.Contains(callback, "*") {
			o.Add(c, callback)
		}
	}
}

// CachedOrigins returns [Client.Origins] of all clients of the entered tenant
// together, from memory when it can.
func CachedOrigins(ctx context.Context) (*Origins, error) {
	return Cached(ctx, "origins", "", func(ctx context.Context) (*Origins, error) {
		return loadOrigins(ctx, (*Origins).addClient)
	})
}

// CachedListedOrigins is [CachedOrigins] without those of callbacks (contract
// C5.12).
func CachedListedOrigins(ctx context.Context) (*Origins, error) {
	return Cached(ctx, "listed origins", "", func(ctx context.Context) (*Origins, error) {
		return loadOrigins(ctx, func(o *Origins, c *Client) {
			o.Add(c, c.WebOrigins...)
			o.Add(c, c.AllowedOrigins...)
		})
	})
}

// loadOrigins reads no more of clients than what is needed: their secrets stay
// sealed.
func loadOrigins(ctx context.Context, add func(*Origins, *Client)) (*Origins, error) {
	rows, err := Query(ctx, `SELECT web_origins, allowed_origins, callbacks, CASE WHEN is_first_party THEN 1 ELSE 0 END
		FROM clients WHERE tenant_id = @tenant`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := new(Origins)
	for rows.Next() {
		var text [3]string
		var own int64
		if err := rows.Scan(&text[0], &text[1], &text[2], &own); err != nil {
			return nil, err
		}
		c := Client{IsFirstParty: own == 1}
		if err := errors.Join(json.Unmarshal([]byte(text[0]), &c.WebOrigins),
			json.Unmarshal([]byte(text[1]), &c.AllowedOrigins), json.Unmarshal([]byte(text[2]), &c.Callbacks)); err != nil {
			return nil, err
		}
		add(all, &c)
	}
	return all, rows.Err()
}

// MatchesWildcard reports whether uri is the registered one with the "*", which
// stands for the whole left-most label of an https host, replaced by exactly one
// label (contract C3.35, C4.19).
func MatchesWildcard(registered, uri string) bool {
	rest, ok := strings.CutPrefix(registered, "https://*.")
	if !ok || strings.Contains(rest, "*") {
		return false
	}
	host := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host = rest[:i]
	}
	if !WildcardDomain(host) {
		return false
	}
	label, ok := strings.CutPrefix(uri, "https://")
	if !ok {
		return false
	}
	label, ok = strings.CutSuffix(label, "."+rest)
	return ok && isLabel(label)
}

// WildcardDomain reports whether a "*" may stand for a label below the domain,
// which may be followed by a port. The domain has to belong to somebody: under a
// public suffix, or a single label, anyone can have a name.
func WildcardDomain(host string) bool {
	domain, port, _ := strings.Cut(host, ":")
	if strings.Trim(port, "0123456789") != "" {
		return false
	}
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return isDomain(domain) && suffix != domain
}

// OriginOf returns the origin of an http or https URI (RFC 6454 section 6.2) or
// "" where it has none.
func OriginOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._:[]") != "" {
		return "" // a parser lets characters into hosts that mean something in a policy header
	}
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	return u.Scheme + "://" + strings.TrimSuffix(host, ":")
}
