package tenancy

import (
	"context"
	"errors"
)

// EmailProvider is how a tenant's mail leaves the house, where it has a way of
// its own (contract C5.94). There is one row at most, with the id
// [EmailProviderID].
type EmailProvider struct {
	Row
	Name               string         `json:"name"`    // one of those of contract C5.94
	Enabled            bool           `json:"enabled"` // false means that no mail is sent at all
	DefaultFromAddress string         `json:"default_from_address"`
	Credentials        map[string]any `json:"-" gorm:"serializer:sealed"` // go in and never come out
	Settings           map[string]any `json:"settings" gorm:"serializer:jsontext"`
}

// EmailProviderID is the id of the one row.
const EmailProviderID = "provider"

// EmailProviders is the table of e-mail providers.
var EmailProviders = newTable[EmailProvider]("email_providers", configuration(), logged(KindEmailProvider, sameID))

// MailRoute is the way that a tenant's mail goes, and where that comes from. It
// holds credentials, which its own texts leave out.
type MailRoute struct {
	// Source is [SourceOwn], [SourceControlPlane], or [SourceDefault] for the
	// installation's way; then Provider is nil.
	Source   string
	Provider *EmailProvider // shared, not to be changed
}

// EmailRoute returns the way of the entered tenant's mail: its own provider if it
// has one, else the control plane's, else the installation's (contract C7.17).
// Both rows are in the tenant's database.
func EmailRoute(ctx context.Context) (*MailRoute, error) {
	return Cached(ctx, "email route", "", func(ctx context.Context) (*MailRoute, error) {
		own, err := EmailProviders.Get(ctx, EmailProviderID)
		switch {
		case err == nil:
			return &MailRoute{SourceOwn, own}, nil
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		f, err := Fallbacks.Get(ctx, FallbackEmail)
		switch {
		case err == nil:
			return &MailRoute{SourceControlPlane, f.emailProvider()}, nil
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
		return &MailRoute{Source: SourceDefault}, nil
	})
}

// String names the way, and nothing that is secret about it.
func (r *MailRoute) String() string {
	if r.Provider == nil {
		return r.Source
	}
	return r.Source + " " + r.Provider.Name
}

// GoString implements fmt.GoStringer.
func (r *MailRoute) GoString() string { return r.String() }

// fallback is what tenants fall back on of the control plane's provider.
func (p *EmailProvider) fallback() *Fallback {
	return &Fallback{
		Row: Row{ID: FallbackEmail}, Covers: FallbackEmail, Born: p.CreatedAt, Secrets: p.Credentials,
		Options: map[string]any{"name": p.Name, "enabled": p.Enabled, "default_from_address": p.DefaultFromAddress, "settings": p.Settings},
	}
}

func (f *Fallback) emailProvider() *EmailProvider {
	p := &EmailProvider{Row: f.Row, Credentials: f.Secrets}
	p.Name, _ = f.Options["name"].(string)
	p.Enabled, _ = f.Options["enabled"].(bool)
	p.DefaultFromAddress, _ = f.Options["default_from_address"].(string)
	p.Settings, _ = f.Options["settings"].(map[string]any)
	return p
}
