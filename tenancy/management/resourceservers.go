package management

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// resourceServers are the APIs that tokens are issued for (contract 5.6).
var resourceServers = &Resource[tenancy.ResourceServer]{
	Path: "/resource-servers", Key: "resource_servers", Entity: "Resource server", ID: "id", Table: tenancy.ResourceServers,
	Members: members{
		"id":                     readOnly(),
		"name":                   text(0, 200),
		"identifier":             text(1, 600).must().atOnce().that(plainLine),
		"scopes":                 texts(scopesAtAll),
		"signing_alg":            text(0, 0).in("RS256", "ES256", "EdDSA"),
		"signing_secret":         never("Access tokens are never signed with a shared secret; choose signing_alg RS256, ES256 or EdDSA"), // contract C11.6
		"token_lifetime":         number(60, 2592000),
		"token_lifetime_for_web": number(60, 2592000),
		"allow_offline_access":   flag(),
		"skip_consent_for_verifiable_first_party_clients": flag(),
		"enforce_policies":           flag(),
		"token_dialect":              tokenDialect,
		"introspection_clients":      texts(100).distinct(),
		"subject_type_authorization": kept[map[string]any](value()),
		"options":                    beside[serverOptions](value()),
		"is_system":                  readOnly(),
		"aliases":                    readOnly(),
		"metadata":                   dict(25, 255),
		"created_at":                 readOnly(),
		"updated_at":                 readOnly(),
	},
	New: func() *tenancy.ResourceServer {
		return &tenancy.ResourceServer{
			Row: tenancy.Row{ID: tenancy.NewHexID()}, SigningAlg: "RS256",
			TokenLifetime: 86400, TokenLifetimeForWeb: 7200, SkipConsent: true, TokenDialect: tenancy.DialectAccessToken,
		}
	},
	Find:     findResourceServer,
	Validate: validateResourceServer,
	Also:     alsoResourceServer,
	View: func(_ context.Context, c *Call, rows []tenancy.ResourceServer, answers []object) error {
		for i := range rows {
			if rows[i].Identifier == tenancy.ManagementAudience {
				aliases := []string{}
				for _, issuer := range c.api.config.Issuers(c.tenant) {
					aliases = append(aliases, issuer+"api/v2/")
				}
				answers[i].set("aliases", aliases)
			}
		}
		return nil
	},
	List: func(_ context.Context, c *Call, f *filter) error {
		if ids := slices.Concat(c.query["identifiers"], c.query["identifiers[]"]); len(ids) > 0 {
			if len(ids) > 100 {
				return badQuery("'identifiers' has more than 100 values")
			}
			for i := range ids {
				ids[i] = c.identifier(ids[i])
			}
			f.and("identifier IN ?", ids)
		}
		return nil
	},
	Taken: func(*tenancy.ResourceServer) error {
		return conflict("Resource server", "A resource server with the same identifier already exists.")
	},
	Synced: true,
}

// tokenDialect limits the dialects of access tokens (contract C2.7).
var tokenDialect = text(0, 0).in(tenancy.DialectAccessToken, tenancy.DialectAccessAuthz, tenancy.DialectRFC9068, tenancy.DialectRFC9068Authz)

// scopesAtAll is how many scopes a resource server can have whatever the tenant's
// quota is.
const scopesAtAll = 10_000

// serverOptions is how older callers write two members (contract C5.56).
type serverOptions struct {
	EnforcePolicies *bool   `json:"enforce_policies"`
	TokenDialect    *string `json:"token_dialect"`
}

// plainLine refuses texts that begin or end with a space or hold a line break.
func plainLine(s string) string {
	if s != strings.TrimSpace(s) || strings.ContainsAny(s, "\r\n\t") {
		return "String has spaces around it or is not one line"
	}
	return ""
}

// findResourceServer finds one by id or by any spelling of its identifier, so
// that no spelling leads around a check (contract C6.31).
func findResourceServer(ctx context.Context, c *Call, id string) (*tenancy.ResourceServer, error) {
	rs, err := tenancy.ResourceServers.Get(ctx, id)
	if !errors.Is(err, tenancy.ErrNotFound) {
		return rs, err
	}
	return tenancy.ResourceServers.First(ctx, "identifier = ?", c.identifier(id))
}

func validateResourceServer(_ context.Context, c *Call, before, row *tenancy.ResourceServer) error {
	if before == nil && c.identifier(row.Identifier) == tenancy.ManagementAudience {
		return conflict("Resource server", "A resource server with the same identifier already exists.")
	}
	if options, ok := extra[serverOptions](c, "options"); ok {
		if err := mirror(c, options, row); err != nil {
			return err
		}
	}
	if !c.given("token_lifetime_for_web") && row.TokenLifetimeForWeb > row.TokenLifetime {
		row.TokenLifetimeForWeb = row.TokenLifetime
	}
	if limit := c.tenant.Quota("scopes"); limit > 0 && int64(len(row.Scopes)) > limit && (before == nil || len(row.Scopes) > len(before.Scopes)) {
		return tenancy.QuotaExceeded("scopes", limit)
	}
	seen := make(map[string]bool, len(row.Scopes))
	for _, s := range row.Scopes {
		switch n := len([]rune(s.Value)); {
		case n < 1 || n > 280 || strings.ContainsAny(s.Value, " \t\r\n\"\\"):
			return invalid("scopes", "Scope value must have 1 to 280 characters without spaces: %s", s.Value)
		case len([]rune(s.Description)) > 500:
			return invalid("scopes", "Description of scope %s is too long, maximum 500", s.Value)
		case seen[s.Value]:
			return invalid("scopes", "Array items are not unique: %s", s.Value)
		}
		seen[s.Value] = true
	}
	switch {
	case row.TokenLifetimeForWeb > row.TokenLifetime:
		return invalid("token_lifetime_for_web", "Value %d is greater than token_lifetime %d", row.TokenLifetimeForWeb, row.TokenLifetime)
	case strings.HasSuffix(row.TokenDialect, "_authz") && !row.EnforcePolicies:
		return invalid("token_dialect", "%s needs enforce_policies to be true", row.TokenDialect)
	}
	return nil
}

// mirror copies options to the top level; both given must agree.
func mirror(c *Call, options serverOptions, row *tenancy.ResourceServer) error {
	if v := options.EnforcePolicies; v != nil {
		if c.given("enforce_policies") && row.EnforcePolicies != *v {
			return invalid("options.enforce_policies", "Value differs from enforce_policies")
		}
		row.EnforcePolicies = *v
	}
	if v := options.TokenDialect; v != nil {
		if err := tokenDialect.accept(valueOf(*v), "options.token_dialect"); err != nil {
			return err
		}
		if c.given("token_dialect") && row.TokenDialect != *v {
			return invalid("options.token_dialect", "Value differs from token_dialect")
		}
		row.TokenDialect = *v
	}
	return nil
}

func alsoResourceServer(ctx context.Context, c *Call, before, row *tenancy.ResourceServer) ([]tenancy.Stmt, error) {
	switch {
	case before == nil:
		return nil, nil
	case row == nil:
		audience, unchanged, err := ownSetting(ctx, "default_audience")
		if err != nil {
			return nil, err
		}
		if audience == before.Identifier {
			return nil, tenancy.Errorf(http.StatusConflict, "resource_server_conflict",
				"Resource server is set as the tenant's default_audience; clear it before deleting")
		}
		return append(tenancy.RemoveResourceServer(ctx, before), unchanged), nil
	}
	var removed []string
	for _, s := range before.Scopes {
		if !row.Defines(s.Value) {
			removed = append(removed, s.Value)
		}
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return withoutScopes(ctx, before, removed)
}

// withoutScopes removes scopes that are no longer defined from whoever was given
// them (contract C5.57). Grants are rewritten too: a scope that is defined again
// later must not come back to them by itself.
func withoutScopes(ctx context.Context, rs *tenancy.ResourceServer, removed []string) ([]tenancy.Stmt, error) {
	grants, err := tenancy.ClientGrants.Find(ctx, tenancy.Filter{Where: "audience = ?", Args: []any{rs.Identifier}})
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	for _, scope := range removed {
		stmts = append(stmts, tenancy.RemoveScope(ctx, rs.ID, scope)...)
	}
	// A grant made after they were read would keep the scope.
	stmts = append(stmts, tenancy.Require(ctx, "(SELECT COUNT(*) FROM client_grants WHERE tenant_id = @tenant AND audience = ?) = ?",
		rs.Identifier, len(grants)))
	for i := range grants {
		g := &grants[i]
		left := slices.DeleteFunc(slices.Clone(g.Scope), func(s string) bool { return slices.Contains(removed, s) })
		if len(left) < len(g.Scope) {
			g.Scope = left
			stmts = append(stmts, tenancy.ClientGrants.Replace(ctx, g))
		}
	}
	return stmts, nil
}
