package oauth

import (
	"context"
	"errors"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// resolveAudience finds the resource server of an audience, the tenant's default
// one where none is named (contract C2.22, C2.23). Without any it returns nil
// and "".
func resolveAudience(ctx context.Context, audience string) (*tenancy.ResourceServer, string, error) {
	audience, err := audienceOrDefault(ctx, audience)
	if err != nil || audience == "" {
		return nil, "", err
	}
	rs, err := tenancy.CachedResourceServer(ctx, tenancy.IdentifierOf(ctx, audience))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, "", refuse(fosite.ErrAccessDenied, "Service not found: %s", audience)
	}
	return rs, audience, err
}

func audienceOrDefault(ctx context.Context, audience string) (string, error) {
	if audience != "" {
		return audience, nil
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return "", err
	}
	return settings.String("default_audience"), nil
}
