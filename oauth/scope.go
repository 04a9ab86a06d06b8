package oauth

import (
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Scopes of OpenID Connect with a meaning of their own.
const (
	scopeOpenID  = "openid"
	scopeProfile = "profile"
	scopeEmail   = "email"
	scopeAddress = "address"
	scopePhone   = "phone"
	scopeOffline = "offline_access"
)

// isOIDCScope reports whether the scope is one of OpenID Connect, which every
// user's token may have (OpenID Connect Core 5.4; contract C2.29).
func isOIDCScope(scope string) bool {
	switch scope {
	case scopeOpenID, scopeProfile, scopeEmail, scopeAddress, scopePhone, scopeOffline:
		return true
	}
	return false
}

// longestScope is the largest scope parameter that is looked at, in bytes. All
// scopes a resource server can have, of the usual length, fit.
const longestScope = 1 << 16

// parseScope splits a scope parameter at its spaces and drops repetitions; the
// order stays (RFC 6749 section 3.3). "" is nil.
func parseScope(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > longestScope || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, refuse(fosite.ErrInvalidScope, "Invalid scope")
	}
	var list []string
	seen := make(map[string]bool)
	for scope := range strings.SplitSeq(text, " ") {
		if scope != "" && !seen[scope] {
			seen[scope] = true
			list = append(list, scope)
		}
	}
	return list, nil
}

// scopeValues are the scopes a resource server defines.
func scopeValues(rs *tenancy.ResourceServer) []string {
	list := make([]string, len(rs.Scopes))
	for i, s := range rs.Scopes {
		list[i] = s.Value
	}
	return list
}

// definedScopes is [scopeValues] for looking up.
func definedScopes(rs *tenancy.ResourceServer) map[string]bool {
	defined := make(map[string]bool, len(rs.Scopes))
	for _, s := range rs.Scopes {
		defined[s.Value] = true
	}
	return defined
}

// listsPermissions reports whether tokens for the resource server list the
// holder's permissions (contract C2.8, C2.16).
func listsPermissions(rs *tenancy.ResourceServer) bool {
	return rs.EnforcePolicies && (rs.TokenDialect == tenancy.DialectAccessAuthz || rs.TokenDialect == tenancy.DialectRFC9068Authz)
}
