package tenancy

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// ConnectionOptions are a connection's options as they are in effect, secrets
// among them: its own, and where it has none those it inherits from the control
// plane (contract C7.15). Printed, logged or marshalled they are the names of what
// is inherited and nothing else (C7.18). They are immutable.
type ConnectionOptions struct {
	values    map[string]any
	own       []string        // names, sorted
	inherited []string        // names, sorted
	secret    map[string]bool // which names are of secrets
	from      string          // the control plane's connection; "" where nothing is inherited
}

// EffectiveOptions returns the options in effect of a connection of the entered tenant. A
// key that the connection has wins whatever its value, "" and null included, and
// the merge is one level deep. What is inherited comes from the tenant's own copy:
// the control plane is not asked (contract C7.21).
func (c *Connection) EffectiveOptions(ctx context.Context) (*ConnectionOptions, error) {
	o := &ConnectionOptions{values: map[string]any{}, secret: map[string]bool{}}
	maps.Copy(o.values, c.Options)
	for name, secret := range c.Secrets {
		o.values[name], o.secret[name] = secret, true
	}
	o.own = sortedKeys(o.values)
	if c.Strategy == StrategyDatabase {
		return o, nil
	}
	list, err := cachedFallbacks(ctx)
	if err != nil {
		return nil, err
	}
	f := c.fallback(list)
	if f == nil || diverted(c.Options, f.Options) {
		return o, nil
	}
	fill := func(name string, value any, secret bool) {
		if _, has := o.values[name]; has {
			return
		}
		o.values[name], o.from = value, f.ID
		o.inherited = append(o.inherited, name)
		if secret {
			o.secret[name] = true
		}
	}
	for name, value := range f.Options {
		fill(name, value, false)
	}
	for name, value := range f.Secrets {
		fill(name, value, true)
	}
	slices.Sort(o.inherited)
	return o, nil
}

// fallback picks what a connection falls back on: a copy on what it is a copy of,
// any other on the control plane's oldest connection of its strategy.
func (c *Connection) fallback(list []Fallback) *Fallback {
	for i := range list {
		if f := &list[i]; c.IsSystem && c.Origin == f.ID || !c.IsSystem && f.Covers == FallbackKey(c.Strategy) {
			return f
		}
	}
	return nil
}

// Destinations are the options that decide where a connection's requests go, in
// every spelling that is read. Whoever sends a request for a connection takes its
// address from one of these, or from what is found at one of them, and from
// nothing else.
var Destinations = []string{
	"issuer", "discovery_url", "token_endpoint", "authorization_endpoint", "userinfo_endpoint", "jwks_uri", "domain",
	"tenant_domain", "tenantid", "tenant_id", "host", "base_url", "gateway_url", "gateway_host", "oidc_metadata",
	"authorization_url", "authorizationURL", "token_url", "tokenURL", "userinfo_url", "userInfoURL", "jwks_url", "end_session_endpoint",
}

// diverted reports whether a connection's own options would have requests go
// anywhere but to where the control plane's go: then nothing is inherited, for a
// secret goes only where the control plane would send it (contract C7.16, C9.26).
func diverted(own, theirs map[string]any) bool {
	return slices.ContainsFunc(Destinations, func(name string) bool {
		value, has := own[name]
		if !has {
			return false
		}
		expected, known := theirs[name]
		return !known || !reflect.DeepEqual(value, expected)
	})
}

// Value returns an option as it was given, or nil.
func (o *ConnectionOptions) Value(name string) any { return o.values[name] }

// Text returns an option that is a text, without the spaces around it, or "".
func (o *ConnectionOptions) Text(name string) string {
	text, _ := o.values[name].(string)
	return strings.TrimSpace(text)
}

// Bool returns an option that is a switch, or false.
func (o *ConnectionOptions) Bool(name string) bool {
	on, _ := o.values[name].(bool)
	return on
}

// Inherited returns the names of the options that are inherited, sorted; never nil.
func (o *ConnectionOptions) Inherited() []string { return append([]string{}, o.inherited...) }

// InheritsSecret reports whether any inherited option is secret: then what is
// done with the connection is done in the control plane's name (contract C7.19).
func (o *ConnectionOptions) InheritsSecret() bool {
	return slices.ContainsFunc(o.inherited, func(name string) bool { return o.secret[name] })
}

// String implements fmt.Stringer.
func (o *ConnectionOptions) String() string {
	return "options, inherited: " + strings.Join(o.inherited, " ")
}

// GoString implements fmt.GoStringer.
func (o *ConnectionOptions) GoString() string { return o.String() }

// LogValue implements slog.LogValuer.
func (o *ConnectionOptions) LogValue() slog.Value { return slog.StringValue(o.String()) }

// MarshalText implements encoding.TextMarshaler.
func (o *ConnectionOptions) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// ExplainedOption says where one option of a connection comes from (contract
// C7.24). It has no value.
type ExplainedOption struct {
	ConnectionID     string  `json:"connection_id"`
	Strategy         string  `json:"strategy"`
	Key              string  `json:"key"`
	Source           string  `json:"source"`
	Secret           bool    `json:"secret"`
	FromConnectionID *string `json:"from_connection_id"` // the control plane's; null where the option is the tenant's own
}

// explainConnections explains the options of the entered tenant's connections to
// elsewhere, of one strategy or of all.
func explainConnections(ctx context.Context, strategy string) ([]ExplainedOption, error) {
	f := Filter{Where: "strategy <> ?", Args: []any{StrategyDatabase}, Order: "created_at, id"}
	if strategy != "" {
		f.Where, f.Args = f.Where+" AND strategy = ?", append(f.Args, strategy)
	}
	connections, err := Connections.Find(ctx, f)
	if err != nil {
		return nil, err
	}
	list := []ExplainedOption{}
	for i := range connections {
		c := &connections[i]
		o, err := c.EffectiveOptions(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range o.own {
			list = append(list, ExplainedOption{c.ID, c.Strategy, name, SourceOwn, o.secret[name], nil})
		}
		for _, name := range o.inherited {
			list = append(list, ExplainedOption{c.ID, c.Strategy, name, SourceControlPlane, o.secret[name], &o.from})
		}
	}
	return list, nil
}
