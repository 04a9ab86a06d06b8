package oauth

import (
	"context"
	"slices"
	"strings"

	"github.com/ory/fosite"
)

// decideRefresh decides what the tokens of a refresh may say. Permissions,
// membership and block are found out again at each use (contract C4.39).
//
// The organization parameter switches (contract C2.42): the answer is for that
// organization, while the refresh token stays bound to its own.
func (x *exchange) decideRefresh(ctx context.Context) error {
	if err := x.sameAudience(ctx); err != nil {
		return err
	}
	organization, grantable := x.grant.OrgID, strings.Fields(x.grant.Scope)
	if name := x.request.get("organization"); name != "" {
		org, err := x.server.resolveOrganization(ctx, x.client.Client, name)
		if err != nil {
			return err
		}
		if org.ID != organization {
			// What was granted depended on the other organization; what was asked
			// for did not.
			organization = org.ID
			for _, scope := range strings.Fields(x.data.Requested) {
				if !slices.Contains(grantable, scope) {
					grantable = append(grantable, scope)
				}
			}
		}
	}
	scopes, err := narrow(grantable, x.request.get("scope"))
	if err != nil {
		return err
	}
	return x.decideUser(ctx, errInvalidRefreshToken(), Ask{Audience: x.grant.Audience, Scopes: scopes, Organization: organization})
}

// narrow is the part of a grant's scope that is requested: all of it unless the
// scope parameter says less (RFC 6749 section 6; defect 12).
func narrow(granted []string, requested string) ([]string, error) {
	list, err := parseScope(requested)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return granted, nil
	}
	for _, scope := range list {
		if !slices.Contains(granted, scope) {
			return nil, refuse(fosite.ErrInvalidScope, "The requested scope exceeds the scope granted to the refresh token")
		}
	}
	return list, nil
}

// sameAudience refuses tokens for another resource server than the grant's
// (contract C4.38).
func (x *exchange) sameAudience(ctx context.Context) error {
	if err := x.sameTarget(ctx); err != nil {
		return err
	}
	audience := x.request.get("audience")
	if audience == "" || x.isTarget(ctx, audience) {
		return nil
	}
	return refuse(fosite.ErrAccessDenied, "The refresh token was not issued for audience %s", truncate(audience, 600))
}
