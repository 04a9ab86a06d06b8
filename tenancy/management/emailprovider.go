package management

import (
	"context"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// emailProvider is the tenant's own way for mail (contract C5.94). What it inherits
// is not here: a GET is 404 then, and `settings/effective` says where mail goes.
var emailProvider = &Resource[tenancy.EmailProvider]{
	Path: "/emails/provider", Entity: "Email provider", Scopes: "email_provider", Only: tenancy.EmailProviderID, Table: tenancy.EmailProviders,
	Members: members{
		"name":                 text(1, 0).must().in(mail.Relays...),
		"enabled":              flag(),
		"default_from_address": text(0, 254).that(senderAddress),
		"credentials":          beside[map[string]any](member{max: 20}),
		"settings":             member{max: 20},
		"created_at":           readOnly(),
		"updated_at":           readOnly(),
	},
	New: func() *tenancy.EmailProvider {
		return &tenancy.EmailProvider{Row: tenancy.Row{ID: tenancy.EmailProviderID}, Enabled: true}
	},
	Validate: validateEmailProvider,
	Also: func(ctx context.Context, _ *Call, before, row *tenancy.EmailProvider) ([]tenancy.Stmt, error) {
		if row != nil {
			return nil, nil
		}
		return []tenancy.Stmt{tenancy.EmailProviders.Remove(ctx, before.ID)}, nil
	},
	Taken: func(*tenancy.EmailProvider) error {
		return conflict("Email provider", "The email provider is already configured; change it with PATCH")
	},
	Synced: true,
}

func senderAddress(s string) string {
	if s != "" && !emailForm.MatchString(s) {
		return "Object didn't pass validation for format email: " + s
	}
	return ""
}

// validateEmailProvider takes credentials over whole: were one kept while another
// member changes, a password could be sent to a server that whoever changes the
// address runs. So name and address do not change without them either.
func validateEmailProvider(_ context.Context, c *Call, before, row *tenancy.EmailProvider) error {
	credentials, given := extra[map[string]any](c, "credentials")
	if given {
		row.Credentials = credentials
	}
	if !given && (before == nil || before.Name != row.Name) {
		return invalid("", "Missing required property: credentials")
	}
	if _, err := mail.Relay(row.Name, row.Credentials, row.Settings); err != nil {
		path, text, _ := strings.Cut(err.Error(), ": ")
		return invalid(path, "%s", text)
	}
	return nil
}
