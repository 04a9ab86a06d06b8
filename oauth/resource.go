package oauth

import (
	"context"
	"net/http"
	"net/url"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// A resource indicator (RFC 8707) and the audience parameter name the same thing
// here: a resource server of the tenant. A request may have either, or both alike.

// errInvalidTarget is the answer to a resource that cannot be asked for (RFC 8707
// section 2).
func errInvalidTarget(format string, args ...any) *oauthError {
	return refusal(http.StatusBadRequest, "invalid_target", format, args...)
}

// targetOf is the audience of a request with both parameters, which may be "".
func targetOf(audience, resource string) (string, error) {
	if resource == "" {
		return audience, nil
	}
	// "The value of resource parameter MUST be an absolute URI [...] and MUST NOT
	// include a fragment component."
	if u, err := url.Parse(resource); err != nil || !u.IsAbs() || u.Fragment != "" || len(resource) > maxParameter {
		return "", errInvalidTarget("resource must be an absolute URI without fragment")
	}
	if audience != "" && audience != resource {
		return "", errInvalidTarget("resource and audience differ")
	}
	return resource, nil
}

// target makes the resource the request's audience.
func (t *tokenRequest) target() error {
	if !t.form.Has("resource") {
		return nil
	}
	audience, err := targetOf(t.get("audience"), t.get("resource"))
	if audience != "" {
		t.form.Set("audience", audience)
	}
	return err
}

// target is the same for an authorization request.
func (a *authorization) target() error {
	audience, err := targetOf(a.params["audience"], a.params["resource"])
	if audience != "" {
		a.params["audience"] = audience
	}
	return err
}

// sameTarget refuses a resource that the grant presented was not given for: a
// token can be narrowed to what was granted, and that is one resource server (RFC
// 8707 section 2.2).
func (x *exchange) sameTarget(ctx context.Context) error {
	resource := x.request.get("resource")
	if resource == "" || x.isTarget(ctx, resource) {
		return nil
	}
	return errInvalidTarget("The authorization was not granted for resource %s", truncate(resource, 600))
}

// isTarget reports whether an audience is the grant's, in any spelling of it.
func (x *exchange) isTarget(ctx context.Context, audience string) bool {
	return audience == x.grant.Audience ||
		x.grant.Audience != "" && tenancy.IdentifierOf(ctx, audience) == tenancy.IdentifierOf(ctx, x.grant.Audience)
}
