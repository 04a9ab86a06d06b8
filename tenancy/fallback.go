package tenancy

import (
	"context"
	"errors"
)

// Fallback is a tenant's copy of something of the control plane's that takes
// effect where the tenant has said nothing of its own (contract 7.5): the options
// of a connection, or the e-mail provider. The sync loop alone writes it, only for
// what the tenant inherits, and no management answer, export, log or event is made
// from it but the names of options. Its secrets are sealed for this table: what a
// tenant can write anywhere else opens none of them.
//
// Row.ID is the control plane's connection, or [FallbackEmail].
type Fallback struct {
	Row
	Covers  string         `json:"-"`                            // the key of inheritance it is chosen by, e.g. "connections.okta"
	Born    Time           `json:"-"`                            // when the control plane's row was made: the oldest connection is the one
	Options map[string]any `json:"-" gorm:"serializer:jsontext"` // what is not secret
	Secrets map[string]any `json:"-" gorm:"serializer:sealed"`   // sealed with the tenant's data key
}

// FallbackEmail is the key, and the id, of the fallback for the e-mail provider
// (contract C7.20).
const FallbackEmail = "emails.provider"

// FallbackKey is the key by which a tenant chooses whether the connections of a
// strategy inherit (contract C7.20).
func FallbackKey(strategy string) string { return "connections." + strategy }

// Fallbacks is the table of fallbacks.
var Fallbacks = newTable[Fallback]("fallbacks", configuration())

// OfferedFallbacks returns what the entered control plane offers for falling back
// on, oldest first: its connections to elsewhere but those whose metadata says
// inherit false (contract C7.15, C7.16), and its e-mail provider. The control plane
// itself falls back on none of it.
func OfferedFallbacks(ctx context.Context) ([]Fallback, error) {
	connections, err := Connections.Find(ctx, Filter{
		Where: "strategy <> ? AND is_system = ?", Args: []any{StrategyDatabase, false}, Order: "created_at, id",
	})
	if err != nil {
		return nil, err
	}
	var list []Fallback
	for i := range connections {
		c := &connections[i]
		if choice := c.Metadata["inherit"]; choice == false || choice == "false" {
			continue
		}
		f := Fallback{Row: Row{ID: c.ID}, Covers: FallbackKey(c.Strategy), Born: c.CreatedAt, Options: c.Options}
		for name, secret := range c.Secrets {
			if f.Secrets == nil {
				f.Secrets = map[string]any{}
			}
			f.Secrets[name] = secret
		}
		list = append(list, f)
	}
	provider, err := EmailProviders.Get(ctx, EmailProviderID)
	if errors.Is(err, ErrNotFound) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	return append(list, *provider.fallback()), nil
}

// cachedFallbacks are those of the entered tenant for connections, oldest first.
func cachedFallbacks(ctx context.Context) ([]Fallback, error) {
	return Cached(ctx, "fallbacks", "", func(ctx context.Context) ([]Fallback, error) {
		return Fallbacks.Find(ctx, Filter{Where: "covers <> ?", Args: []any{FallbackEmail}, Order: "born, id"})
	})
}
