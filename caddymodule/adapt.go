package caddymodule

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/oauth"
	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/management"
)

// verifier lets the management API verify bearer tokens.
type verifier struct{ server *oauth.Server }

// Verify implements [management.Verifier].
func (v verifier) Verify(ctx context.Context, token string, issuers ...string) (*tenancy.Credential, error) {
	claims, err := v.server.VerifyFor(ctx, issuers, token)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(claims.Audience, func(audience string) bool { return namesManagement(audience, issuers) }) {
		return nil, management.Refused(management.BadAudience + strings.Join(claims.Audience, ", "))
	}
	return &tenancy.Credential{
		TenantID: claims.TenantID, Issuer: claims.Issuer, Subject: claims.Subject, ClientID: claims.ClientID,
		OrgID: claims.OrgID, OrgName: claims.OrgName, Permissions: claims.Permissions, Scopes: strings.Fields(claims.Scope),
		User: claims.GrantType != machineGrant,
	}, nil
}

// machineGrant is the gty of tokens that speak for nobody but the client
// (contract C2.8).
const machineGrant = "client-credentials"

// namesManagement reports whether an audience is any spelling of the management
// API of the tenant with the issuers (contract C2.20).
func namesManagement(audience string, issuers []string) bool {
	if tenancy.IsManagementAudience(audience, "") {
		return true
	}
	return slices.ContainsFunc(issuers, func(issuer string) bool { return tenancy.IsManagementAudience(audience, issuer) })
}

// keyManager lets the management API change signing keys.
type keyManager struct{ keys *oauth.Keyring }

// Rotate implements [management.Keys]: it rotates the keys of every algorithm
// and returns the one of RS256, which signs by default.
func (m keyManager) Rotate(ctx context.Context) (*tenancy.SigningKey, error) {
	var signs *tenancy.SigningKey
	for _, alg := range cmpOr(m.keys.Algs, defaultAlgorithms) {
		key, err := m.keys.Rotate(ctx, alg)
		if err != nil {
			return nil, err
		}
		if signs == nil || alg == "RS256" {
			signs = key
		}
	}
	return signs, nil
}

// Revoke implements [management.Keys].
func (m keyManager) Revoke(ctx context.Context, kid string) (*tenancy.SigningKey, error) {
	key, err := m.keys.Revoke(ctx, kid)
	if errors.Is(err, oauth.ErrNoKey) {
		return nil, tenancy.ErrNotFound
	}
	return key, err
}

func cmpOr(list, instead []string) []string {
	if len(list) == 0 {
		return instead
	}
	return list
}

// keepFilled makes RSA keys ahead while ctx lasts.
func keepFilled(ctx context.Context, r *oauth.Reservoir) {
	r.Start()
	<-ctx.Done()
	r.Stop()
}

// makeOwedKeys makes the keys that new tenants are owed, one tenant at a time, so
// that most are there before anybody needs them.
func makeOwedKeys(ctx context.Context, s *services, keys *oauth.Keyring, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-keys.Owing():
			t, ok := made(ctx, s.directory, id)
			if !ok {
				continue // gone, or so new that it will be made when it is needed
			}
			if err := s.pool.Do(ctx, t, keys.AwaitOwed); err != nil && ctx.Err() == nil {
				log.Error("signing keys could not be made; they are when they are needed", "tenant", id, "error", err)
			}
		}
	}
}

// made waits while a tenant is being made: whoever came into its database beside
// that would have it opened a second time.
func made(ctx context.Context, d *tenancy.Directory, id string) (*tenancy.Tenant, bool) {
	for end := time.Now().Add(time.Second); ; {
		t, ok := d.ByID(id)
		if !ok || t.State != tenancy.StateProvisioning || ctx.Err() != nil || time.Now().After(end) {
			return t, ok
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// resume takes up what the end of an earlier process cut off.
func resume(ctx context.Context, l *tenancy.Lifecycle, log *slog.Logger) {
	if err := l.Resume(ctx); err != nil && ctx.Err() == nil {
		log.Error("what was cut off at tenants (making, deleting, moving one) could not be finished", "error", err)
	}
}

// How often keys are looked at. The first look comes a while after the start,
// when there is less to do than then.
const (
	rotationDelay = 10 * time.Minute
	rotationEvery = 24 * time.Hour
)

// rotateKeys replaces signing keys that are due, one tenant after the other.
func rotateKeys(ctx context.Context, s *services, keys *oauth.Keyring, log *slog.Logger) {
	for wait := rotationDelay; ; wait = rotationEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		for id, t := range s.directory.All() {
			if t.State != tenancy.StateActive && t.State != tenancy.StateSuspended {
				continue
			}
			if err := s.pool.DoIdle(ctx, t, keys.RotateDue); err != nil && ctx.Err() == nil {
				log.Error("signing keys could not be rotated", "tenant", id, "error", err)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// Interface guards
var (
	_ management.Verifier = verifier{}
	_ management.Keys     = keyManager{}
)
