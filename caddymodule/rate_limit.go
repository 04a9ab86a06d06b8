package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// RateLimit says how many requests are let in. Every node counts for itself, in
// memory. What is the same for everybody, discovery and keys, is not counted.
type RateLimit struct {
	// Whether nothing is counted. Default: false.
	Off bool `json:"off,omitempty"`

	// Requests to the authentication endpoints of one tenant. Default: 600000 in 1m.
	Tenant *Rate `json:"tenant,omitempty"`

	// Requests of one client, where clients prove who they are. Default: 300000 in 1m.
	Client *Rate `json:"client,omitempty"`

	// Requests to one tenant from one address, the first 64 bits of an IPv6 one.
	// Default: 300000 in 1m.
	Address *Rate `json:"address,omitempty"`

	// Requests of the management API that act on one tenant. Default: 60000 in 1m.
	Management *Rate `json:"management,omitempty"`
}

// Rate is a number of requests that may come at once, and the time in which as
// many come back, one by one.
type Rate struct {
	// 0 is no limit.
	Requests int            `json:"requests"`
	Per      caddy.Duration `json:"per,omitempty"`
}

// check lists what is wrong.
func (l *RateLimit) check() (errs []error) {
	for word, r := range map[string]*Rate{"tenant": l.Tenant, "client": l.Client, "address": l.Address, "management": l.Management} {
		if r != nil && (r.Requests < 0 || r.Requests > maxRate || r.Requests > 0 && r.Per <= 0 || time.Duration(r.Per) > maxPer) {
			errs = append(errs, fmt.Errorf("rate_limit: %s needs a number up to %d and a time up to %s, for instance: %s 6000 1m", word, maxRate, maxPer, word))
		}
	}
	return errs
}

// The largest numbers that still count exactly.
const (
	maxRate = 1_000_000_000
	maxPer  = 24 * time.Hour
)

// limiter makes what counts; nil counts nothing.
func (l *RateLimit) limiter() *tenancy.Limiter {
	if l.Off {
		return nil
	}
	or := func(r *Rate, instead tenancy.Rate) tenancy.Rate {
		if r == nil {
			return instead
		}
		return tenancy.Rate{Requests: r.Requests, Per: time.Duration(r.Per)}
	}
	d := tenancy.DefaultRates
	return tenancy.NewLimiter(tenancy.Rates{
		Tenant: or(l.Tenant, d.Tenant), Client: or(l.Client, d.Client), Address: or(l.Address, d.Address), Management: or(l.Management, d.Management),
	})
}

// limits counts a request that arrives, and returns what it is answered with
// where there were too many. The tenant's database is not touched then.
func (s *services) limits(h http.Header, r *http.Request, t *tenancy.Tenant, visit *tenancy.Visit) *refusal {
	if strings.HasPrefix(r.URL.Path, "/.well-known/") {
		return nil
	}
	managed := isManagement(r.URL.Path)
	q := s.limiter.Arrive(t.ID, visit.ClientIP, managed, time.Now())
	err := q.Tell(h)
	if err == nil {
		return nil
	}
	limitedTotal.WithLabelValues("arrival").Inc()
	a := refusalOf(err, visit.RequestID)
	a.retryAfter = int(q.Seconds())
	a.page = !managed && strings.HasPrefix(r.URL.Path, "/u/") || r.URL.Path == "/authorize" || r.URL.Path == "/activate"
	return &a
}

// limitClient counts a request of a client of the entered tenant.
func (s *services) limitClient(ctx context.Context, h http.Header, client string) error {
	t, err := tenancy.Current(ctx)
	if err != nil {
		return err
	}
	return counted("client", s.limiter.Client(t.ID, client, time.Now()).Tell(h))
}

// limitManagement counts a request of the management API.
func (s *services) limitManagement(h http.Header, target, minting, client string) error {
	return counted("management", s.limiter.Manage(target, minting, client, time.Now()).Tell(h))
}

func counted(limit string, err error) error {
	if err != nil {
		limitedTotal.WithLabelValues(limit).Inc()
	}
	return err
}

// UnmarshalCaddyfile reads
//
//	rate_limit {
//		tenant     <requests> <duration> | off
//		client     <requests> <duration> | off
//		address    <requests> <duration> | off
//		management <requests> <duration> | off
//	}
//
// or `rate_limit off`.
func (l *RateLimit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	off, err := isOff(d)
	if err != nil {
		return err
	}
	if off {
		l.Off = true
		return noBlock(d)
	}
	return words{
		"tenant":     rate(&l.Tenant),
		"client":     rate(&l.Client),
		"address":    rate(&l.Address),
		"management": rate(&l.Management),
	}.block(d, "rate_limit")
}

// rate reads a number of requests and a duration, or "off" for no limit.
func rate(into **Rate) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, args := d.Val(), d.RemainingArgs()
		if len(args) == 1 && args[0] == "off" {
			*into = new(Rate)
			return nil
		}
		if len(args) != 2 {
			return d.Errf("'%s' takes a number of requests and a duration, or off; for instance: %s 6000 1m", word, word)
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > maxRate {
			return d.Errf("'%s' takes a number of requests from 1 to %d, not '%s'", word, maxRate, args[0])
		}
		per, err := caddy.ParseDuration(args[1])
		if err != nil || per <= 0 || per > maxPer {
			return d.Errf("'%s' takes a duration up to %s such as 1m, not '%s'", word, maxPer, args[1])
		}
		*into = &Rate{Requests: n, Per: caddy.Duration(per)}
		return nil
	}
}

// Interface guards
var _ caddyfile.Unmarshaler = (*RateLimit)(nil)
