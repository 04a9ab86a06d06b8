package tenancy

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
)

// ManagementAudience is the identifier of the management API's own resource
// server, which every tenant has (contract C2.20).
const ManagementAudience = "urn:gatehouse:management"

// ScopePlatformAdmin makes its holder, outside of any organization, an
// administrator of every tenant (contract C2.62).
const ScopePlatformAdmin = "admin:organizations"

// TenantScopes are the management API's scopes of the tenant class, which exist
// in every tenant (contract C5.16), sorted.
var TenantScopes = expandScopes(
	"create read update delete", "users roles clients client_grants client_credentials connections resource_servers organizations organization_connections custom_domains email_provider",
	"create read delete", "organization_members organization_member_roles organization_invitations organization_client_grants",
	"create read update", "signing_keys email_templates",
	"read update", "client_keys tenant_settings branding prompts attack_protection users_app_metadata",
	"read update delete", "sessions refresh_tokens tenants",
	"read delete", "grants",
	"read", "logs logs_users stats tenant_operations",
	"create", "user_tickets",
)

// PlatformScopes are those that exist on the control plane only, sorted.
var PlatformScopes = expandScopes(
	"admin", "organizations",
	"create", "tenants tenant_operations",
	"suspend", "tenants",
	"read update", "sync",
	"move", "tenants",
	"export", "tenants tenant_secrets",
	"import", "tenants",
)

func expandScopes(pairs ...string) []string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		for _, verb := range strings.Fields(pairs[i]) {
			for _, noun := range strings.Fields(pairs[i+1]) {
				list = append(list, verb+":"+noun)
			}
		}
	}
	slices.Sort(list)
	return list
}

// ManagementScopes returns the scopes of a tenant's management API, sorted.
func ManagementScopes(controlPlane bool) []string {
	if !controlPlane {
		return TenantScopes
	}
	all := slices.Concat(TenantScopes, PlatformScopes)
	slices.Sort(all)
	return all
}

// managementAliases are further names of the management API.
var managementAliases atomic.Pointer[[]string]

// SetManagementAliases names further strings that mean the management API, for
// installations that move here (contract 1.1), in place of those named before.
// It may be called while requests are served, as when a configuration is
// replaced.
func SetManagementAliases(aliases []string) {
	aliases = slices.Clone(aliases)
	managementAliases.Store(&aliases)
}

// IdentifierOf returns the identifier of the resource server that an audience
// names: itself, or [ManagementAudience] for any spelling of the management API
// under the issuer of the current visit. Tokens repeat the spelling used.
func IdentifierOf(ctx context.Context, audience string) string {
	if IsManagementAudience(audience, VisitOf(ctx).Issuer) {
		return ManagementAudience
	}
	return audience
}

// IsManagementAudience reports whether an audience names the management API of
// the tenant with the issuer.
func IsManagementAudience(audience, issuer string) bool {
	if audience == ManagementAudience || issuer != "" && audience == issuer+"api/v2/" {
		return true
	}
	aliases := managementAliases.Load()
	return aliases != nil && slices.Contains(*aliases, audience)
}
